//! Items of clients about frozen entities: whoever hosts the entity after the freeze goes on with them.

use std::collections::BTreeMap;

use bevy::{platform::collections::HashMap, prelude::*};
use seamless_replication::{
    ControlReceived, Peer, Peers, SessionState,
    wire::{
        GlobalEntity, PeerId,
        control::{AuthorityAnswer, Control, DenyReason},
    },
};

use crate::{AuthorityStats, server::hear};

/// Most items that wait while their entities are frozen.
const MAX_DEFERRED: usize = 4096;

/// Items that wait, in the order in which they were said.
#[derive(Default)]
pub(crate) struct Deferred {
    items: BTreeMap<u64, ControlReceived>,
    /// Where the release of a holder stands.
    releases: HashMap<(PeerId, GlobalEntity), u64>,
    next: u64,
}

impl Deferred {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether another request may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < MAX_DEFERRED
    }

    /// An item waits behind the others.
    pub(crate) fn push(&mut self, item: ControlReceived) -> u64 {
        let at = self.next;
        self.next += 1;
        self.items.insert(at, item);
        at
    }

    /// A release waits in the place of an earlier one of the same entity by the same client: there are
    /// no more of them than clients hold entities. What the client said in between was said after it
    /// had given the entity back.
    pub(crate) fn release(&mut self, entity: GlobalEntity, item: ControlReceived) {
        let key = (item.peer, entity);
        let before = self.releases.get(&key);
        match before.and_then(|at| self.items.get_mut(at)) {
            Some(waiting) => *waiting = item,
            None => {
                let at = self.push(item);
                self.releases.insert(key, at);
            }
        }
    }

    /// A client goes on over another link: so does what it said. A look at each item.
    pub(crate) fn follow(&mut self, peers: &Peers) {
        for item in self.items.values_mut() {
            if let SessionState::Stands(present) = peers.session(item.link) {
                item.link = present;
            }
        }
    }

    /// Takes what is about these entities. A look at each item.
    pub(crate) fn take(&mut self, entities: &[GlobalEntity]) -> Vec<ControlReceived> {
        let is_about = |_: &u64, item: &mut ControlReceived| {
            subject(&item.control).is_some_and(|entity| entities.contains(&entity))
        };
        let taken = self.items.extract_if(.., is_about);
        let taken = taken.map(|(_, item)| item).collect();
        self.releases
            .retain(|(_, entity), _| !entities.contains(entity));
        taken
    }
}

/// Which entity an item of a client is about.
fn subject(control: &Control) -> Option<GlobalEntity> {
    match control {
        Control::AuthorityRequest { entity, .. } | Control::AuthorityRelease { entity, .. } => {
            Some(*entity)
        }
        _ => None,
    }
}

/// Goes on with items that came here while an entity was frozen: with requests, if the session goes on
/// in which they were made; with what was given back, in any case.
pub fn resume_deferred(world: &mut World, items: Vec<ControlReceived>) {
    for mut item in items {
        let is_request = matches!(item.control, Control::AuthorityRequest { .. });
        match world.resource::<Peers>().session(item.link) {
            SessionState::Suspended if is_request => {
                deny_suspended(world, item.peer, &item.control);
                continue;
            }
            // The client knows that it will not be answered.
            SessionState::Over if is_request => continue,
            SessionState::Stands(present) => item.link = present,
            SessionState::Suspended | SessionState::Over => {}
        }
        hear(world, &item);
    }
}

/// Goes on with items that came while an entity was frozen on the node it came from.
pub fn resume_from_source(world: &mut World, items: Vec<(PeerId, Control)>) {
    for (peer, control) in items {
        let link = world.resource::<Peers>().by_id(peer).map(Peer::link);
        match link {
            Some(link) => hear(
                world,
                &ControlReceived {
                    link,
                    peer,
                    control,
                },
            ),
            None => deny_suspended(world, peer, &control),
        }
    }
}

/// Who has no link, but may come back, is lent nothing. It hears so then.
fn deny_suspended(world: &mut World, peer: PeerId, control: &Control) {
    let &Control::AuthorityRequest { request, entity } = control else {
        return;
    };
    let reason = DenyReason::HostedElsewhere;
    let answer = Control::AuthorityAnswer {
        request,
        entity,
        answer: AuthorityAnswer::Denied(reason),
    };
    let mut peers = world.resource_mut::<Peers>();
    let Some(suspended) = peers.suspended_mut(peer) else {
        return;
    };
    if let Err(error) = suspended.send_control(&answer) {
        tracing::warn!(%peer, %error, "a request cannot be answered");
    }
    world.resource_mut::<AuthorityStats>().deny(reason);
}
