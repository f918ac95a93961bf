//! What a node really did, tick by tick, for the oracle: written before the tick's packets leave,
//! so that a killed node's log is complete up to what anybody can have seen.
//!
//! A line per fact: `T tick` it ran; `B entity term tick` it simulates this from here on;
//! `E entity tick` this was the last tick in which it did; `P entity player`; `I player input term`
//! it applied this; `K player term input` the player's state contains inputs up to here;
//! `F handover tick nanoseconds` frozen; `C handover tick nanoseconds term` claimed, decoded and staged, under the new term.

use std::{collections::BTreeMap, fmt::Write as _, fs::File, io::Write as _, path::Path};

use bevy::prelude::*;
use bevy_seamless::{
    handover::node::{GroupActivated, GroupFrozen},
    prelude::*,
    replication::{ReplicationSystems, inputs::Inboxes},
    wire::Term,
};

use super::game::{AppliedInputs, Body, Crate};

/// The log of a node.
#[derive(Resource)]
pub struct OracleLog {
    file: File,
    lines: String,
    simulated: BTreeMap<GlobalEntity, Term>,
    now: BTreeMap<GlobalEntity, Term>,
}

impl OracleLog {
    /// Begins a log.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            file,
            lines: String::new(),
            simulated: BTreeMap::new(),
            now: BTreeMap::new(),
        })
    }
}

/// Adds the log's systems; they do nothing without an [`OracleLog`].
pub fn plugin(app: &mut App) {
    app.add_systems(
        FixedUpdate,
        look.after(super::game::walk)
            .run_if(resource_exists::<OracleLog>),
    )
    .add_systems(
        FixedPostUpdate,
        write
            .after(ReplicationSystems::Visibility)
            .before(ReplicationSystems::Send)
            .run_if(resource_exists::<OracleLog>),
    );
}

type Counted = (With<Hosted>, Or<(With<Body>, With<Crate>)>);

/// Which players and crates this node simulates in this tick.
fn look(
    mut log: ResMut<OracleLog>,
    entities: Query<(&NetSlot, Option<&Body>), Counted>,
    slots: Res<Slots>,
) {
    let log = &mut *log;
    log.now.clear();
    for (slot, body) in &entities {
        let (Some(name), Some(tenure)) = (slot.global(), slots.tenure(slot)) else {
            continue;
        };
        log.now.insert(name, tenure.epoch.term);
        if let Some(body) = body
            && !log.simulated.contains_key(&name)
        {
            let _ = writeln!(log.lines, "P {} {}", name.to_bits(), body.player);
        }
    }
}

fn write(
    mut log: ResMut<OracleLog>,
    applied: Res<AppliedInputs>,
    inboxes: Res<Inboxes>,
    clock: Res<NetClock>,
    (mut activated, mut frozen): (MessageReader<GroupActivated>, MessageReader<GroupFrozen>),
    roots: Query<&HandoverRoot>,
) {
    let log = &mut *log;
    let tick = clock.tick().0;
    let lines = &mut log.lines;
    for group in activated.read() {
        if let Some(handover) = group.handover
            && let Some(claimed) = group.claimed_at
        {
            let _ = writeln!(
                lines,
                "C {handover} {} {} {}",
                group.tick.0,
                claimed.as_nanos(),
                group.term.0
            );
        }
        if let Ok(root) = roots.get(group.root)
            && let Some(player) = root.player
        {
            let (term, input) = (group.term.0, group.last_input.0);
            let _ = writeln!(lines, "K {} {term} {input}", player.0);
        }
    }
    for group in frozen.read() {
        let nanos = group.at.as_nanos();
        let _ = writeln!(lines, "F {} {} {nanos}", group.handover, group.tick.0);
    }
    for (name, term) in &log.now {
        if log.simulated.get(name) != Some(term) {
            let _ = writeln!(lines, "B {} {} {tick}", name.to_bits(), term.0);
        }
    }
    for name in log
        .simulated
        .keys()
        .filter(|name| !log.now.contains_key(*name))
    {
        let _ = writeln!(lines, "E {} {}", name.to_bits(), tick.saturating_sub(1));
    }
    for input in &applied.0 {
        let term = inboxes
            .get(input.player)
            .map_or(0, |inbox| inbox.ack().term.0);
        let _ = writeln!(lines, "I {} {} {term}", input.player.0, input.seq.0);
    }
    let _ = writeln!(lines, "T {tick}");
    if let Err(error) = log.file.write_all(lines.as_bytes()) {
        // Without a log there is no verdict; better no run than a false one.
        panic!("the oracle's log cannot be written: {error}");
    }
    lines.clear();
    std::mem::swap(&mut log.simulated, &mut log.now);
}
