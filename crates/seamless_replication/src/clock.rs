//! Which tick it is.
//!
//! A tick is a reading of a clock, not a count of schedule runs: `floor(now / tick length)`, where
//! `now` counts from an origin that all nodes of a mesh share. It may be skipped (a stall loses
//! what is past a quarter of a second, as `Time<Virtual>` does), and it is never repeated. Before
//! each fixed loop the plugin puts `Time<Fixed>` in phase with this clock, so that the fixed
//! schedules run exactly when a tick begins.

use std::time::Duration;

use bevy::{
    app::{RunFixedMainLoop, RunFixedMainLoopSystems},
    prelude::*,
    time::TimeSystems,
};
use seamless_wire::Tick;

use crate::plugin::ReplicationSystems;

/// Most ticks that one frame catches up on; older ones are skipped. A quarter of a second.
pub(crate) const CATCH_UP: Duration = Duration::from_millis(250);

/// The network's clock. Read [`NetClock::tick`] for the present tick.
#[derive(Resource)]
pub struct NetClock {
    now: Duration,
    /// How far it went on with this frame.
    step: Duration,
    tick_length: Duration,
    rate: u16,
    tick: Tick,
    fresh: bool,
    source: Option<Box<dyn Fn() -> Duration + Send + Sync>>,
    started: bool,
}

impl NetClock {
    /// A clock of `rate` ticks a second (1 to 1000) that starts at zero with the app.
    ///
    /// # Panics
    /// If the rate is out of range; it is a constant of the game.
    #[must_use]
    pub fn new(rate: u16) -> Self {
        assert!(
            (1..=1000).contains(&rate),
            "a tick rate of {rate}, allowed is 1 to 1000"
        );
        Self {
            now: Duration::ZERO,
            step: Duration::ZERO,
            tick_length: Duration::from_nanos(1_000_000_000 / u64::from(rate)),
            rate,
            tick: Tick(0),
            fresh: false,
            source: None,
            started: false,
        }
    }

    /// The present tick.
    #[must_use]
    pub const fn tick(&self) -> Tick {
        self.tick
    }

    /// Ticks per second.
    #[must_use]
    pub const fn rate(&self) -> u16 {
        self.rate
    }

    /// Length of a tick.
    #[must_use]
    pub const fn tick_length(&self) -> Duration {
        self.tick_length
    }

    /// Time since the origin, as of the beginning of this frame.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// How long ago the present tick should have begun.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.now.saturating_sub(self.tick_length * self.tick.0)
    }

    /// Reads the time from `source` from now on (a mesh's common clock, relative to its origin)
    /// instead of adding up frames. It must never fall.
    pub fn follow(&mut self, source: impl Fn() -> Duration + Send + Sync + 'static) {
        self.source = Some(Box::new(source));
        self.started = false;
    }

    /// The tick that it is at the beginning of this frame. Outside of the fixed loop
    /// [`tick`](Self::tick) may be one of long ago, after a pause: what is to wait for a time waits from
    /// here.
    #[must_use]
    pub fn due(&self) -> Tick {
        self.tick_at(self.now)
    }

    /// Whether the app paused before this frame: what came meanwhile lay there, for nobody knows how
    /// long.
    #[must_use]
    pub fn is_after_pause(&self) -> bool {
        self.step > CATCH_UP
    }

    /// See [`tick_is_fresh`].
    pub(crate) const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The tick that runs at a time since the origin.
    #[must_use]
    pub fn tick_at(&self, now: Duration) -> Tick {
        let ticks = now.as_nanos() / self.tick_length.as_nanos();
        Tick(u32::try_from(ticks).unwrap_or(u32::MAX))
    }
}

/// Advances [`NetClock`] and keeps `Time<Fixed>` in phase with it.
///
/// `First` reads the clock, `BeforeFixedMainLoop` sets how often the fixed loop will run, and
/// `FixedFirst` raises the tick.
pub(crate) struct ClockPlugin {
    pub(crate) rate: u16,
}

impl Plugin for ClockPlugin {
    fn build(&self, app: &mut App) {
        let clock = NetClock::new(self.rate);
        app.insert_resource(Time::<Fixed>::from_duration(clock.tick_length))
            .insert_resource(clock)
            .add_systems(First, read_clock.after(TimeSystems))
            .add_systems(
                RunFixedMainLoop,
                align_fixed_time
                    .in_set(RunFixedMainLoopSystems::BeforeFixedMainLoop)
                    .in_set(ReplicationSystems::Align),
            )
            .add_systems(FixedFirst, raise_tick.in_set(ReplicationSystems::Tick));
    }
}

/// Run condition: the fixed schedule runs for a tick that has not run yet.
#[must_use]
pub fn tick_is_fresh(clock: Res<NetClock>) -> bool {
    clock.is_fresh()
}

fn read_clock(mut clock: ResMut<NetClock>, real: Res<Time<Real>>) {
    let now = match &clock.source {
        Some(source) => source(),
        None => clock.now + real.delta(),
    };
    if clock.started {
        clock.step = now.saturating_sub(clock.now);
        clock.now = clock.now.max(now);
    } else {
        // What was before us is not caught up on, and frames before that have no say.
        clock.started = true;
        clock.step = Duration::ZERO;
        clock.now = now;
        clock.tick = clock.due();
    }
}

/// Leaves exactly as much in the accumulator as makes the loop run once for each tick that is
/// due, with the rest being the phase within the present tick.
fn align_fixed_time(
    clock: Res<NetClock>,
    virt: Res<Time<Virtual>>,
    mut fixed: ResMut<Time<Fixed>>,
) {
    if virt.is_paused() {
        return;
    }
    let length = clock.tick_length;
    if fixed.timestep() != length {
        tracing::warn!(
            "the fixed schedules run once a tick, every {length:?}, and not every {:?}: \
             the plugin's tick rate decides",
            fixed.timestep()
        );
        fixed.set_timestep(length);
    }
    let reading = clock.due();
    let limit = (CATCH_UP.as_nanos() / length.as_nanos()).max(1) as u32;
    let due = reading.since(clock.tick).min(limit);
    let phase = clock.now.saturating_sub(length * reading.0);
    let wanted = (length * due + phase).saturating_sub(virt.delta());
    let have = fixed.overstep();
    fixed.discard_overstep(have);
    fixed.accumulate_overstep(wanted);
}

fn raise_tick(mut clock: ResMut<NetClock>, fixed: Res<Time<Fixed>>) {
    let after_this = (fixed.overstep().as_nanos() / clock.tick_length.as_nanos()) as u32;
    let due = Tick(clock.due().0.saturating_sub(after_this));
    clock.fresh = due > clock.tick;
    if clock.fresh {
        clock.tick = due;
    }
}

#[cfg(test)]
mod tests {
    use bevy::time::{TimePlugin, TimeUpdateStrategy};

    use super::*;

    #[derive(Resource, Default)]
    struct Seen(Vec<u32>);

    fn app(rate: u16) -> App {
        let mut app = App::new();
        app.add_plugins((TimePlugin, ClockPlugin { rate }))
            .init_resource::<Seen>()
            .add_systems(
                FixedUpdate,
                (|clock: Res<NetClock>, mut seen: ResMut<Seen>| seen.0.push(clock.tick().0))
                    .run_if(tick_is_fresh),
            );
        app
    }

    fn run(app: &mut App, frames: &[u64]) -> Vec<u32> {
        for &micros in frames {
            let step = TimeUpdateStrategy::ManualDuration(Duration::from_micros(micros));
            app.insert_resource(step);
            app.update();
        }
        std::mem::take(&mut app.world_mut().resource_mut::<Seen>().0)
    }

    #[test]
    fn ticks_follow_the_clock_whatever_the_frame_rate() {
        for frame in [1_000, 7_300, 33_333, 41_000, 100_000] {
            let mut app = app(30);
            let frames = vec![frame; (2_000_000 / frame) as usize];
            let seen = run(&mut app, &frames);
            assert!(
                seen.windows(2).all(|w| w[1] == w[0] + 1),
                "frames of {frame} us: {seen:?}"
            );
            assert!(
                (57..=61).contains(&seen.len()),
                "frames of {frame} us: {} ticks",
                seen.len()
            );
        }
    }

    #[test]
    fn a_stall_skips_ticks_and_repeats_none() {
        let mut app = app(30);
        run(&mut app, &[10_000; 30]);
        let seen = run(&mut app, &[2_000_000, 10_000, 10_000, 10_000, 10_000]);
        assert!(seen.windows(2).all(|w| w[1] == w[0] + 1), "{seen:?}");
        let clock = app.world().resource::<NetClock>();
        assert_eq!(clock.tick(), clock.due());
        assert!(
            seen.len() <= 10,
            "a stall of two seconds is not run after: {seen:?}"
        );
    }

    #[test]
    fn a_followed_clock_decides_the_tick() {
        let mut app = app(10);
        app.world_mut()
            .resource_mut::<NetClock>()
            .follow(|| Duration::from_millis(12_345));
        run(&mut app, &[100_000]);
        assert_eq!(app.world().resource::<NetClock>().tick(), Tick(123));
    }
}
