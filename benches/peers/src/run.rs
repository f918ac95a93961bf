//! One subject in one scenario, in this process: joins, warms up, measures, settles, compares.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::{
    check::{self, Staleness},
    memory,
    motion::Motion,
    report::Figures,
    scenario::{Kind, Scenario},
    sealing::Way,
    subject::{self, FLOOR, Subject},
    tick::{Tick, median, micros, processor_time},
};

/// Ticks within which everybody must have joined, and within which everything must have settled.
const PATIENCE: usize = 1_000;

/// Ticks of the empty app: it is small and must be known well.
const FLOOR_TICKS: usize = 2_000;

/// Less than so many bytes for each client in a tick is no data.
const QUIET_BYTES: u64 = 100;

/// Ticks between two comparisons while the world settles.
const LOOK_EVERY: usize = 10;

/// A run in progress.
struct Run<'a> {
    scenario: &'a Scenario,
    subject: Box<dyn Subject>,
    motion: Motion,
    /// Resident bytes before the subject was made.
    bare: u64,
    staleness: Option<Staleness>,
}

/// What an empty app costs.
pub(crate) fn floor() -> Result<Figures, String> {
    let scenario = Scenario {
        name: "floor".into(),
        kind: Kind::Steady,
        entities: 1,
        clients: 1,
        changed: 0.0,
        ticks: FLOOR_TICKS,
    };
    let mut run = Run::new(&scenario, FLOOR, 1)?;
    let ticks: Vec<Tick> = (0..FLOOR_TICKS).map(|_| run.step(0)).collect();
    let mut figures = Figures::new(&scenario.name, FLOOR);
    figures.server_tick_us = median(ticks.iter().map(|tick| micros(tick.server)));
    Ok(figures)
}

/// Runs a subject in a scenario.
pub(crate) fn run(scenario: &Scenario, name: &str, seed: u64) -> Result<Figures, String> {
    let mut run = Run::new(scenario, name, seed)?;
    let mut figures = Figures::new(&scenario.name, name);
    run.join(&mut figures)?;
    run.rest(&mut figures);
    if scenario.kind != Kind::Join {
        if scenario.kind == Kind::Lossy {
            run.subject.set_loss(Scenario::LOSS, seed);
        }
        for _ in 0..Scenario::WARM_UP {
            run.step(scenario.changes());
        }
        run.measure(&mut figures);
    }
    let subject = &mut run.subject;
    let alone = memory::resident_without(|| subject.drop_clients());
    figures.server_rss_mb = alone.map(|alone| (alone as f64 - run.bare as f64) / 1e6);
    figures.process_rss_mb = Some(memory::process_peak_mb());
    run.settle()?;
    run.way(&mut figures);
    Ok(figures)
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, name: &str, seed: u64) -> Result<Self, String> {
        let motion = Motion::new(scenario.entities, seed);
        let bare = memory::resident();
        let subject = subject::make(name, scenario, motion.bodies())?;
        let staleness = (scenario.kind == Kind::Lossy).then(|| Staleness::new(scenario.entities));
        Ok(Self {
            scenario,
            subject,
            motion,
            bare,
            staleness,
        })
    }

    /// One tick of everybody, in which so many entities change.
    fn step(&mut self, changes: usize) -> Tick {
        let clients = (0..self.scenario.clients)
            .map(|client| {
                let started = Instant::now();
                self.subject.client_tick(client);
                started.elapsed()
            })
            .collect();
        let changed = self.motion.advance(changes).to_vec();
        let writing = Instant::now();
        self.subject.write(&changed, self.motion.bodies());
        let write = writing.elapsed();
        if let Some(staleness) = &mut self.staleness {
            staleness.remember(self.motion.bodies());
        }
        let (started, cpu) = (Instant::now(), processor_time());
        self.subject.server_tick();
        let server = started.elapsed();
        let server_cpu = processor_time().saturating_sub(cpu);
        self.subject.turn();
        Tick {
            server,
            server_cpu,
            write,
            clients,
        }
    }

    /// Connects all clients and waits until each has all that it should have.
    fn join(&mut self, figures: &mut Figures) -> Result<(), String> {
        // The world is older than its clients.
        for _ in 0..LOOK_EVERY {
            self.subject.server_tick();
        }
        self.subject.connect(self.scenario.clients);
        let (mut time, mut counts, mut steady) = (Duration::ZERO, Vec::new(), 0);
        for tick in 1..=PATIENCE {
            time += self.step(0).total();
            let now: Vec<usize> = (0..self.scenario.clients)
                .map(|client| self.subject.count(client))
                .collect();
            let whole = now.iter().all(|&count| count == self.scenario.entities);
            steady = match now == counts && !now.contains(&0) {
                true => steady + 1,
                false => 0,
            };
            counts = now;
            let joined = match self.scenario.kind {
                Kind::Interest => steady >= LOOK_EVERY,
                _ => whole,
            };
            if !joined {
                continue;
            }
            if self.scenario.kind == Kind::Join {
                let bytes = self.subject.sent().bytes as f64;
                figures.join_ms = Some(time.as_secs_f64() * 1e3);
                figures.join_ticks = Some(tick);
                figures.join_bytes_per_client = Some(bytes / self.scenario.clients as f64);
            }
            return Ok(());
        }
        let least = counts.iter().min().copied().unwrap_or(0);
        Err(format!(
            "not joined within {PATIENCE} ticks: some client has {least} entities"
        ))
    }

    /// Lets everybody rest until nothing is sent again of what joining sent: acknowledgements of
    /// that are not part of what is measured afterwards.
    fn rest(&mut self, figures: &mut Figures) {
        let mut quiet = 0;
        for _ in 0..PATIENCE {
            let before = self.subject.sent().bytes;
            self.step(0);
            let sent = self.subject.sent().bytes - before;
            quiet = match sent < QUIET_BYTES * self.scenario.clients as u64 {
                true => quiet + 1,
                false => 0,
            };
            if quiet >= LOOK_EVERY {
                break;
            }
        }
        if self.scenario.kind == Kind::Join {
            let bytes = self.subject.sent().bytes as f64;
            figures.join_bytes_until_quiet_per_client = Some(bytes / self.scenario.clients as f64);
        }
    }

    fn measure(&mut self, figures: &mut Figures) {
        let (scenario, changes) = (self.scenario, self.scenario.changes());
        let mut ticks = Vec::with_capacity(scenario.ticks);
        let mut own = Vec::new();
        let seen_before = self.seen();
        let sent_before = self.subject.sent();
        self.subject.own_time();
        for _ in 0..scenario.ticks {
            ticks.push(self.step(changes));
            own.extend(self.subject.own_time().map(micros));
            if let Some(staleness) = &mut self.staleness {
                for client in 0..scenario.clients {
                    staleness.look(&*self.subject, client);
                }
            }
        }
        let sent = self.subject.sent();
        let (bytes, datagrams) = (
            (sent.bytes - sent_before.bytes) as f64,
            (sent.datagrams - sent_before.datagrams) as f64,
        );
        let client_ticks = (scenario.clients * scenario.ticks) as f64;
        let seen = (seen_before + self.seen()) / 2.0;
        let changes_seen = seen * f64::from(scenario.changed) / 100.0 * scenario.ticks as f64;
        let mut server: Vec<f64> = ticks.iter().map(|tick| micros(tick.server)).collect();
        server.sort_by(f64::total_cmp);
        figures.server_tick_us = median(server.iter().copied());
        figures.server_tick_p99_us = server.get(server.len() * 99 / 100).copied();
        figures.server_cpu_us = median(ticks.iter().map(|tick| micros(tick.server_cpu)));
        figures.write_us = median(ticks.iter().map(|tick| micros(tick.write)));
        figures.own_us = median(own.into_iter());
        figures.client_tick_us = median(
            ticks
                .iter()
                .flat_map(|tick| &tick.clients)
                .map(|time| micros(*time)),
        );
        figures.bytes_per_change = (changes_seen > 0.0).then(|| bytes / changes_seen);
        figures.bytes_per_client_tick = Some(bytes / client_ticks);
        figures.datagrams_per_client_tick = Some(datagrams / client_ticks);
        figures.entities_per_client = Some(seen / scenario.clients as f64);
        let staleness = self.staleness.as_ref();
        figures.staleness_ticks_p99 = staleness.map(|staleness| staleness.percentile(0.99));
    }

    /// What a tick's datagrams cost after the tick, if that can be measured here.
    fn way(&self, figures: &mut Figures) {
        let each = figures.datagrams_per_client_tick;
        if let Some((datagrams, bytes)) = each.zip(figures.bytes_per_client_tick)
            && datagrams > 0.0
        {
            let clients = self.scenario.clients as f64;
            let together = if self.subject.sends_together() {
                datagrams
            } else {
                1.0
            };
            match Way::of(datagrams * clients, bytes * clients, together) {
                Ok(way) => {
                    figures.sealing_us = Some(way.sealing_us);
                    figures.sockets_us = Some(way.sockets_us);
                }
                Err(error) => {
                    let _ = writeln!(io::stderr(), "no figures of sealing and sockets: {error}");
                }
            }
        }
    }

    /// Entities that clients have, all clients together.
    fn seen(&mut self) -> f64 {
        let counts = (0..self.scenario.clients).map(|client| self.subject.count(client));
        counts.sum::<usize>() as f64
    }

    /// Waits until nothing differs any more.
    fn settle(&mut self) -> Result<(), String> {
        let mut difference = None;
        for _ in 0..PATIENCE / LOOK_EVERY {
            for _ in 0..LOOK_EVERY {
                self.step(0);
            }
            difference = check::difference(&mut *self.subject, self.scenario);
            if difference.is_none() {
                return Ok(());
            }
        }
        let difference = difference.unwrap_or_default();
        Err(format!("differs after {PATIENCE} ticks: {difference}"))
    }
}
