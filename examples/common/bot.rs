//! A headless player: follows a recorded walk, carries crates over borders, plants banners.

use std::{collections::VecDeque, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bevy::prelude::*;
use bevy_seamless::{
    handover::client::{HostChanged, HttpSession, MeshClientConfig, Sessions},
    mesh::service::boot_clock,
    prelude::*,
    replication::{ReplicationSystems, inputs::InputOutbox, recording::RecordPlugin},
    transport::ConditionerConfig,
};

use super::{
    game::{Banner, Crate, LastInput, Position, TICK_RATE, Walk, headless},
    measure::Measures,
    world::{Deed, WalkFile},
};

/// How near a crate must be to be picked up, in metres.
const ARM: f32 = 8.0;

/// How near a stop counts as reached, in metres.
const REACHED: f32 = 0.5;

/// How long a bot waits at a stop for a crate to be lent to it.
const PATIENCE: u32 = TICK_RATE as u32;

/// What makes a bot.
#[derive(Clone)]
pub struct BotSetup {
    /// Its number, from 1.
    pub player: PeerId,
    /// Its walk.
    pub walk: Arc<WalkFile>,
    /// Where the walk is.
    pub anchor: Vec3,
    /// How it is turned.
    pub quarters: usize,
    /// Doors of the mesh.
    pub doors: Vec<SocketAddr>,
    /// Weather of its links.
    pub weather: ConditionerConfig,
    /// Where what it is told is recorded.
    pub record: Option<PathBuf>,
}

/// The walker.
#[derive(Resource)]
pub struct Bot {
    setup: BotSetup,
    stop: usize,
    waited: u32,
    /// Where its player is, as far as it can know: the server's word, and its own inputs since.
    at: Vec3,
    known: bool,
    /// Inputs since the server's word, and where each led.
    steps: VecDeque<(u32, Walk, Vec3)>,
    carried: Option<Entity>,
    asked: Option<Entity>,
    banners: u64,
    /// Whether it goes on sending inputs.
    pub walking: bool,
}

/// What the machine's clock showed when the app's time began.
#[derive(Resource)]
struct Zero(Duration);

/// The app of one bot.
pub fn app(setup: BotSetup) -> App {
    let mut app = headless(SeamlessPlugins::client(), MeshClientPlugin);
    if let Some(path) = &setup.record {
        app.add_plugins(RecordPlugin::new(path));
    }
    let first = setup.player.0 as usize;
    let tick = Duration::from_secs(1) / u32::from(TICK_RATE);
    let measures = Measures::new(tick, setup.weather.seed);
    app.insert_resource(MeshClient::new(setup.player))
        .insert_resource(MeshClientConfig {
            weather: setup.weather,
            ..default()
        })
        .insert_resource(Sessions(Box::new(HttpSession::new(
            setup.doors.clone(),
            first,
            Duration::from_secs(1),
        ))))
        .insert_resource(Bot {
            setup,
            stop: 0,
            waited: 0,
            at: Vec3::ZERO,
            known: false,
            steps: VecDeque::new(),
            carried: None,
            asked: None,
            banners: 0,
            walking: true,
        })
        .insert_resource(measures)
        .insert_resource(Zero(boot_clock()))
        .add_systems(PreUpdate, listen.after(ReplicationSystems::React))
        .add_systems(FixedUpdate, (act, step, hold).chain())
        .add_observer(
            |granted: On<AuthorityGranted>, mut bot: ResMut<Bot>, mut m: ResMut<Measures>| {
                m.grants += 1;
                if bot.asked == Some(granted.entity) {
                    bot.asked = None;
                    bot.carried = Some(granted.entity);
                }
            },
        )
        .add_observer(|denied: On<AuthorityDenied>, mut bot: ResMut<Bot>| {
            if bot.asked == Some(denied.entity) {
                bot.asked = None;
            }
        })
        .add_observer(|lost: On<AuthorityLost>, mut bot: ResMut<Bot>| {
            if bot.carried == Some(lost.entity) {
                bot.carried = None;
            }
        });
    app.finish();
    app.cleanup();
    app
}

/// Hears the server's word about the own player, compares it with what was predicted, and walks
/// the inputs since then again from there.
fn listen(
    mut bot: ResMut<Bot>,
    mut measures: ResMut<Measures>,
    (client, slots): (Res<MeshClient>, Res<Slots>),
    bodies: Query<(&Position, &LastInput)>,
    mut outbox: ResMut<InputOutbox>,
    mut hosts: MessageReader<HostChanged>,
    (time, zero): (Res<Time<Real>>, Res<Zero>),
) {
    let now = time.elapsed();
    for _ in hosts.read() {
        measures.host_changed(now);
    }
    if outbox.take_advanced()
        && let Some(ack) = outbox.acked()
    {
        measures.acked(now, ack, zero.0);
    }
    let body = client
        .root
        .and_then(|root| slots.entity(root))
        .and_then(|e| bodies.get(e).ok());
    let Some((position, last)) = body else { return };
    if !bot.known {
        bot.known = true;
        bot.at = position.0;
    }
    let Some(&(first, ..)) = bot.steps.front() else {
        bot.at = position.0;
        return;
    };
    if last.0 < first {
        return;
    }
    let index = (last.0 - first) as usize;
    let Some(&(_, _, predicted)) = bot.steps.get(index) else {
        return;
    };
    bot.steps.drain(..=index);
    let error = predicted.distance(position.0);
    measures.corrected(now, error);
    if error > 0.0 {
        let mut at = position.0;
        for (_, walk, led_to) in &mut bot.steps {
            at = walk.step(at);
            *led_to = at;
        }
        bot.at = at;
    }
}

/// Decides what to do at the present stop.
fn act(
    mut bot: ResMut<Bot>,
    mut commands: Commands,
    mut measures: ResMut<Measures>,
    crates: Query<(Entity, &Position, Option<&AuthorityView>), With<Crate>>,
) {
    let bot = &mut *bot;
    if !bot.known || !bot.walking {
        return;
    }
    let (goal, deed) = bot
        .setup
        .walk
        .stop_at(bot.stop, bot.setup.anchor, bot.setup.quarters);
    if bot.at.distance(goal) > REACHED {
        return;
    }
    match deed {
        Deed::Grab if bot.carried.is_none() && bot.waited < PATIENCE => {
            bot.waited += 1;
            if bot.asked.is_none() {
                bot.asked = nearest(bot.at, &crates);
                if let Some(entity) = bot.asked {
                    commands.entity(entity).request_authority();
                }
            }
            return;
        }
        Deed::Drop => {
            if let Some(entity) = bot.carried.take() {
                commands.entity(entity).release_authority();
            }
        }
        Deed::Plant => {
            bot.banners += 1;
            let number = bot.setup.player.0 * 1000 + bot.banners;
            let banner = (Replicated, Position(bot.at), Banner(number));
            commands.spawn(banner).delegate();
            measures.planted += 1;
        }
        Deed::Grab | Deed::Nothing => {}
    }
    bot.waited = 0;
    bot.stop += 1;
}

fn nearest(
    from: Vec3,
    crates: &Query<(Entity, &Position, Option<&AuthorityView>), With<Crate>>,
) -> Option<Entity> {
    crates
        .iter()
        .filter(|(_, at, view)| {
            view.is_some_and(|view| *view == AuthorityView::Available) && at.0.distance(from) < ARM
        })
        .min_by(|a, b| a.1.0.distance(from).total_cmp(&b.1.0.distance(from)))
        .map(|(entity, ..)| entity)
}

/// One tick of walking: an input goes out, and its effect is predicted.
fn step(mut bot: ResMut<Bot>, mut inputs: LocalInputs<Walk>) {
    if !bot.known || !bot.walking {
        return;
    }
    let (goal, _) = bot
        .setup
        .walk
        .stop_at(bot.stop, bot.setup.anchor, bot.setup.quarters);
    let walk = Walk::towards(bot.at, goal);
    let Some(seq) = inputs.push(&walk) else {
        return;
    };
    let at = walk.step(bot.at);
    bot.at = at;
    bot.steps.push_back((seq.0, walk, at));
    // The server's word is never this old while the link lives.
    while bot.steps.len() > 300 {
        bot.steps.pop_front();
    }
}

/// What it holds goes where it goes; banners it planted are given away.
fn hold(
    bot: Res<Bot>,
    mut held: Query<(Entity, &mut Position, Has<Banner>), With<Granted>>,
    mut commands: Commands,
) {
    for (entity, mut position, banner) in &mut held {
        if banner {
            commands.entity(entity).release_authority();
        } else if bot.carried == Some(entity) {
            position.set_if_neq(Position(bot.at + Vec3::Y));
        } else if bot.asked != Some(entity) {
            // Lent, but not wanted any more.
            commands.entity(entity).release_authority();
        }
    }
}
