//! When a client has all that it saw at first.

use std::time::Duration;

use bevy::prelude::*;
use fixedbitset::FixedBitSet;
use seamless_transport::{LinkId, LinkSide};
use seamless_wire::PeerId;

use super::{Known, Office, Sender};
use crate::{
    clock::NetClock,
    peer::{PeerState, Peers},
    rows::Rows,
};

/// On a server: a client has acknowledged every entity that it saw when it joined, and that it sees still.
/// So what it is told from now on it hears in a world that is whole: a message that the level is ready.
/// Written once for each [`PeerJoined`](crate::PeerJoined), at the end of a tick; for the player of a
/// [listen server](crate::listen) at once.
///
/// What it saw is looked at in the first tick of the frame after the one with [`PeerJoined`](crate::PeerJoined):
/// the view and the scopes that the game gives it in answer to that count. What comes into its sight later is
/// not waited for, such as scopes that the client asks for, nor is what is too large or does not encode.
#[derive(Message, Clone, Copy, Debug)]
pub struct PeerCaughtUp {
    /// The link.
    pub link: LinkId,
    /// The client's name.
    pub peer: PeerId,
}

/// How far a client has come with what it saw at first.
#[derive(Debug, Default)]
pub(crate) enum CatchUp {
    /// It has just joined, and the game has not heard of it.
    #[default]
    Joins,
    /// The game hears of it in the frame that began then, and says what it is to see.
    IsShown(Duration),
    /// It has not acknowledged these, as far as was looked.
    Lacks(FixedBitSet),
    /// It has them all, or is no client.
    Done,
}

/// Once a tick, when the tick's datagrams are away. A look at each entity that a client saw when it
/// joined, and at one in each tick that it has not acknowledged.
pub(crate) fn note_caught_up(
    mut peers: ResMut<Peers>,
    office: Res<Office>,
    (rows, clock): (Res<Rows>, Res<NetClock>),
    mut caught_up: MessageWriter<PeerCaughtUp>,
) {
    for peer in peers.iter_mut() {
        let Some(id) = peer.id.filter(|_| peer.state == PeerState::Ready) else {
            continue;
        };
        if peer.side != LinkSide::ToClient {
            continue;
        }
        let sender = &mut peer.sender;
        let lacks = match &mut sender.catch_up {
            CatchUp::Done => continue,
            CatchUp::Joins => {
                sender.catch_up = CatchUp::IsShown(clock.now());
                continue;
            }
            CatchUp::IsShown(frame) if *frame == clock.now() => continue,
            CatchUp::IsShown(_) => sender.visible.clone(),
            CatchUp::Lacks(lacks) => std::mem::take(lacks),
        };
        sender.catch_up = match sender.still_lacks(lacks, &office.known, &rows) {
            Some(lacks) => CatchUp::Lacks(lacks),
            None => {
                let link = peer.link;
                caught_up.write(PeerCaughtUp { link, peer: id });
                CatchUp::Done
            }
        };
    }
}

impl Sender {
    /// Without the first ones of these that the peer has acknowledged, or will not. `None` if none is left.
    fn still_lacks(
        &self,
        mut lacks: FixedBitSet,
        known: &Known,
        rows: &Rows,
    ) -> Option<FixedBitSet> {
        while let Some(first) = lacks.minimum() {
            let slot = first as u32;
            let exception = self.exceptions.get(&slot);
            let is_told = self.sees(slot)
                && rows.newest(slot).is_some()
                && exception.is_none_or(|exception| exception.too_large.is_none());
            if is_told && self.has(slot, known).0.is_none() {
                return Some(lacks);
            }
            lacks.remove(first);
        }
        None
    }
}
