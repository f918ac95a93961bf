//! Groups that come here: from a neighbour, or from a node that died.

use bevy::{platform::cell::SyncCell, prelude::*};
use seamless_authority::resume_from_source;
use seamless_mesh::protocol::{MeshEvent, ReclaimedGroup, Staged};
use seamless_replication::{
    Frozen, NetClock, NetSlot, Peers, Slots,
    inputs::Inboxes,
    interest::View,
    snapshot::StagedSnapshot,
    wire::{
        CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, Tenure, Term, Tick,
        control::Control,
    },
};

use super::{
    depart::tell,
    door::Linkless,
    plugin::Stored,
    state::{GroupActivated, HandoverRoot, MeshView, PlayerLogin, StateMissing},
    terms::set_term,
};
use crate::{geometry::BorderRules, port::Mesh};

/// Groups that are ours already, until the first tick that is not another's.
///
/// Nodes begin a tick within milliseconds of each other, and a claim takes less: without this, a
/// group could live the same tick twice.
#[derive(Resource, Default)]
pub(super) struct Held(Vec<(Tick, SyncCell<MeshEvent>)>);

impl Held {
    /// Forgets groups that went elsewhere before they began here.
    pub(super) fn drop_rows(&mut self, lost: &[GlobalEntity]) {
        for (_, event) in &mut self.0 {
            if let MeshEvent::Reclaimed { groups, .. } = event.get() {
                groups.retain(|group| !lost.contains(&group.root));
            }
        }
        self.0.retain_mut(|(_, event)| match event.get() {
            MeshEvent::Activate { handover, .. } => !lost.contains(&handover.root),
            _ => true,
        });
    }
}

/// Puts a group by until its time has come.
pub(super) fn hold(world: &mut World, mesh: &Mesh, event: MeshEvent) {
    let last = match &event {
        MeshEvent::Activate { tick, .. } => *tick,
        // It was dead before we heard of it.
        _ => world.resource::<NetClock>().tick_at(mesh.link().mesh_now()),
    };
    world
        .resource_mut::<Held>()
        .0
        .push((last, SyncCell::new(event)));
}

/// `FixedFirst`: groups whose next tick this is begin.
pub(super) fn begin(world: &mut World) {
    if world.resource::<Held>().0.is_empty() {
        return;
    }
    let now = world.resource::<NetClock>().tick();
    let held = std::mem::take(&mut world.resource_mut::<Held>().0);
    let (due, later) = held.into_iter().partition(|(last, _)| *last < now);
    world.resource_mut::<Held>().0 = later;
    for (_, event) in due {
        match SyncCell::to_inner(event) {
            MeshEvent::Activate {
                handover,
                term,
                manifest,
                tick,
                last_input,
                staged,
                queue,
                claimed_at,
                ..
            } => {
                world.resource_mut::<MeshView>().expected.remove(&handover);
                let arrival = Arrival {
                    handover: Some(handover),
                    term,
                    tick,
                    last_input,
                    player: manifest.player,
                    claimed_at: Some(claimed_at),
                };
                if host(world, staged, &arrival).is_some() {
                    world.resource_mut::<MeshView>().counters.activated += 1;
                }
                resume_from_source(world, queue);
            }
            MeshEvent::Reclaimed {
                dead, term, groups, ..
            } => {
                reclaimed(world, dead, term, groups);
            }
            _ => {}
        }
    }
}

/// How a group came here.
struct Arrival {
    handover: Option<HandoverId>,
    term: Term,
    tick: Tick,
    last_input: InputSeq,
    player: Option<PeerId>,
    claimed_at: Option<std::time::Duration>,
}

/// Hosts a group from its decoded state. `None` if the state is not of our making, or an observer of
/// the game despawned the root as it came.
fn host(world: &mut World, staged: Staged, arrival: &Arrival) -> Option<Entity> {
    let Ok(snapshot) = staged.downcast::<StagedSnapshot>() else {
        tracing::error!("a group came with a state that another stager made");
        return None;
    };
    let term = arrival.term;
    let mut group = snapshot.spawn(world, |_, mut tenure: Tenure| {
        tenure.rehost(term.max(tenure.epoch.term));
        tenure
    });
    for &member in &group {
        if let Ok(mut member) = world.get_entity_mut(member) {
            member.remove::<Frozen>();
        }
        if let Ok(mut member) = world.get_entity_mut(member) {
            member.insert(Stored);
        }
        forget_tombstone(world, member);
    }
    let &root = group.first()?;
    group.retain(|member| world.get::<NetSlot>(*member).is_some());
    if group.first() != Some(&root) {
        return None;
    }
    settle(world, root, arrival.player, true);
    if let Some(player) = arrival.player {
        take_player(world, player, root, arrival);
    }
    world.write_message(GroupActivated {
        root,
        members: group,
        handover: arrival.handover,
        term,
        tick: arrival.tick,
        last_input: arrival.last_input,
        claimed_at: arrival.claimed_at,
    });
    Some(root)
}

fn forget_tombstone(world: &mut World, entity: Entity) {
    let name = world.get::<NetSlot>(entity).and_then(NetSlot::global);
    if let Some(name) = name {
        world.resource_mut::<MeshView>().tombstones.remove(&name);
    }
}

/// An entity becomes a root of ours.
pub(super) fn settle(world: &mut World, entity: Entity, player: Option<PeerId>, stored: bool) {
    let mut root = HandoverRoot::new(player);
    root.arrived = world.resource::<NetClock>().tick();
    root.stored = stored;
    if let Ok(mut entity) = world.get_entity_mut(entity) {
        entity.insert(root);
    }
    if let Some(player) = player {
        world
            .resource_mut::<MeshView>()
            .players
            .insert(player, entity);
    }
}

/// A player's inputs go on after the last one that is in its state, and its client is told.
fn take_player(world: &mut World, player: PeerId, entity: Entity, arrival: &Arrival) {
    let Arrival {
        term,
        tick,
        last_input,
        ..
    } = *arrival;
    world
        .resource_mut::<Inboxes>()
        .entry(player)
        .resume(last_input, term, tick);
    let Some(root) = world.get::<NetSlot>(entity).and_then(NetSlot::global) else {
        return;
    };
    Linkless::watch(world, player);
    let interest = world.resource::<BorderRules>().interest;
    if let Some(peer) = world.resource_mut::<Peers>().by_id_mut(player) {
        peer.set_spectator(false);
        peer.interest_mut().set_view(View::Around(entity, interest));
    }
    tell(
        world,
        player,
        &Control::Route {
            root,
            term,
            tick,
            applied: last_input,
        },
    );
}

/// A dead node's things are ours.
fn reclaimed(world: &mut World, dead: NodeRef, term: Term, groups: Vec<ReclaimedGroup>) {
    tracing::warn!(%dead, groups = groups.len(), "taken over from a dead node");
    world.resource_mut::<MeshView>().counters.reclaims += 1;
    for group in groups {
        let ReclaimedGroup {
            root,
            player,
            cell,
            tick,
            last_input,
            staged,
            missing,
        } = group;
        let hosted = match staged {
            Some(Ok(staged)) => host(
                world,
                staged,
                &Arrival {
                    handover: None,
                    term,
                    tick,
                    last_input,
                    player,
                    claimed_at: None,
                },
            ),
            Some(Err(error)) => {
                tracing::error!(%root, error, "a stored state does not decode here");
                None
            }
            // It had just logged in: it begins anew.
            None => player.and_then(|player| {
                world.trigger(PlayerLogin { player, root, cell });
                world.flush();
                let entity = world.resource::<Slots>().entity(root)?;
                settle(world, entity, Some(player), true);
                set_term(world, root, term);
                world.resource_mut::<Inboxes>().entry(player).host(term);
                Linkless::watch(world, player);
                Some(entity)
            }),
        };
        if hosted.is_some() {
            world.resource_mut::<MeshView>().counters.reclaimed_groups += 1;
        }
        make_anew(world, missing, cell, term);
    }
}

/// Things that had a row and no state yet when their node died: the game puts them where they
/// belong.
fn make_anew(world: &mut World, names: Vec<GlobalEntity>, cell: CellId, term: Term) {
    if names.is_empty() {
        return;
    }
    tracing::warn!(?names, %cell, "picked up after the last checkpoint; to be made anew");
    world.trigger(StateMissing {
        names: names.clone(),
        cell,
    });
    world.flush();
    for name in names {
        if let Some(entity) = world.resource::<Slots>().entity(name) {
            if let Ok(mut entity) = world.get_entity_mut(entity) {
                entity.insert(Stored);
            }
            set_term(world, name, term);
        }
    }
}
