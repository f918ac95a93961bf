//! What a grant costs those who only watch it.

use bevy::prelude::*;
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_replication::{
    NetSlot, Replicated, ReplicationStats, Slots,
    wire::{GlobalEntity, Holder},
};

use crate::storm::{
    Seal, Storm,
    trace::{SERVER, Who},
};

/// Entities that are lent, and how often each: with so many, the mean of a storm is within a twelfth of
/// what it is over all storms, also where a third of the datagrams is lost.
const ENTITIES: usize = 24;
const GRANTS: usize = 5;

/// Bytes that one grant costs each observer: records that tell of it, without the datagrams' heads,
/// and with those that were lost. On the storm's own network, when all else is at rest.
pub fn control_bytes(storm: &mut Storm) -> f64 {
    if storm.plan.clients < 2 {
        return 0.0;
    }
    let (mut bits, mut observers) = (0, 0);
    for _ in 0..ENTITIES {
        let (more, watched) = measure(storm);
        bits += more;
        observers += watched;
    }
    bits as f64 / 8.0 / observers.max(1) as f64
}

/// Bits, and how many observers there were, summed over the grants of one entity.
fn measure(storm: &mut Storm) -> (u64, usize) {
    let bundle = (Replicated, Delegated, Seal(3));
    let crate_ = storm.world(SERVER).spawn(bundle).id();
    let Some(name) = storm.name(SERVER, crate_) else {
        return (0, 0);
    };
    let mut bits = 0;
    let mut observers = 0;
    for grant in 0..GRANTS {
        until(storm, |storm| {
            everybody(storm, name, |holder| holder == Holder::Nobody)
        });
        let who = 1 + grant % storm.plan.clients;
        let Some(peer) = storm.seats[who].peer else {
            continue;
        };
        let Some(entity) = storm.entity(who, name) else {
            continue;
        };
        let before = fence_bits(storm, who);
        command(storm, who, entity, |e| {
            e.request_authority();
        });
        until(storm, |storm| {
            everybody(storm, name, |holder| holder == Holder::Peer(peer))
        });
        storm.cluster.run(10);
        // Less if a link ended meanwhile, with what it had counted.
        bits += fence_bits(storm, who).saturating_sub(before);
        observers += storm.plan.clients - 1;
        if storm.world(who).get::<AuthorityView>(entity) == Some(&AuthorityView::Granted) {
            command(storm, who, entity, |e| {
                e.release_authority();
            });
        }
    }
    storm.world(SERVER).despawn(crate_);
    (bits, observers)
}

fn command(storm: &mut Storm, who: Who, entity: Entity, f: impl FnOnce(&mut EntityCommands)) {
    let world = storm.world(who);
    f(&mut world.commands().entity(entity));
    world.flush();
}

fn until(storm: &mut Storm, mut done: impl FnMut(&mut Storm) -> bool) {
    for _ in 0..600 {
        if done(storm) {
            return;
        }
        storm.cluster.step();
    }
}

/// Whether all apps show a holder like this.
fn everybody(storm: &mut Storm, name: GlobalEntity, is: impl Fn(Holder) -> bool) -> bool {
    (0..storm.seats.len()).all(|who| {
        let Some(entity) = storm.entity(who, name) else {
            return false;
        };
        let world = storm.world(who);
        let slot = world.get::<NetSlot>(entity);
        let tenure = slot.and_then(|slot| world.resource::<Slots>().tenure(slot));
        tenure.is_some_and(|tenure| is(tenure.holder))
    })
}

/// What the server told all but one client of changes of the fence.
fn fence_bits(storm: &mut Storm, but: Who) -> u64 {
    let but = storm.seats[but].peer;
    let stats = storm.world(SERVER).resource::<ReplicationStats>();
    let others = stats.links.values().filter(|link| link.peer != but);
    others.map(|link| link.authority.fence_bits).sum()
}
