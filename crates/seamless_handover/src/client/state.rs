//! What a client of a mesh knows.

use std::{collections::BTreeMap, time::Duration};

use bevy::prelude::*;
use seamless_replication::{
    transport::LinkId,
    wire::{GlobalEntity, HandoverId, NodeRef, PeerId, Term, Tick},
};

/// What a link is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkUse {
    /// We want to play over it; asked for at this time.
    Entering(Duration),
    /// The other side of a border, before a crossing.
    Offered {
        /// Which crossing.
        handover: HandoverId,
        /// Whether we have told the source that it stands.
        told: bool,
        /// Since when.
        since: Duration,
    },
    /// We play over it.
    Playing,
    /// We played over it, or nearly; it is closed a while after this.
    Former(Duration),
}

/// A client's place in the mesh.
#[derive(Resource, Debug)]
pub struct MeshClient {
    /// Who we are.
    pub player: PeerId,
    /// The name of our root, once we are in.
    pub root: Option<GlobalEntity>,
    /// The highest term under which a host told us that we are its.
    pub term: Term,
    /// The node that hosts us.
    pub node: Option<NodeRef>,
    pub(crate) links: BTreeMap<LinkId, LinkUse>,
    pub(crate) dialled: u64,
    /// Over which link we play, the newest tick of its node, and when that came.
    pub(crate) heard: Option<(LinkId, Tick, Duration)>,
    pub(crate) asking: bool,
    pub(crate) ask_again: Option<Duration>,
    /// Since when our host is ours no more, if no other has said that it is.
    pub(crate) orphaned: Option<Duration>,
    /// Counted since the start.
    pub counters: ClientCounters,
    /// Why we were turned away for good.
    pub refused: Option<String>,
    /// Whether to get into the mesh, and back after a loss.
    pub wanted: bool,
}

/// Counted since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ClientCounters {
    /// Times that another node became our host while we had its link.
    pub crossings: u32,
    /// Times that we had to ask for a ticket, the first included.
    pub logins: u32,
    /// Offers that we could not follow.
    pub failed_offers: u32,
}

impl MeshClient {
    /// A client of this player. Enters as soon as the app runs.
    #[must_use]
    pub const fn new(player: PeerId) -> Self {
        Self {
            player,
            root: None,
            term: Term(0),
            node: None,
            links: BTreeMap::new(),
            dialled: 0,
            heard: None,
            asking: false,
            ask_again: None,
            orphaned: None,
            counters: ClientCounters {
                crossings: 0,
                logins: 0,
                failed_offers: 0,
            },
            refused: None,
            wanted: true,
        }
    }

    /// The link we play over.
    #[must_use]
    pub fn playing(&self) -> Option<LinkId> {
        self.links
            .iter()
            .find(|(_, used)| **used == LinkUse::Playing)
            .map(|(link, _)| *link)
    }

    /// Links and what they are for.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, LinkUse)> {
        self.links.iter().map(|(link, used)| (*link, *used))
    }
}

/// Another host is ours: after a crossing, a login, or a rescue.
#[derive(Message, Clone, Copy, Debug)]
pub struct HostChanged {
    /// The link to it.
    pub link: LinkId,
    /// Its term for our root.
    pub term: Term,
    /// Our root.
    pub root: GlobalEntity,
    /// Whether we came over a border, on a link that stood before. Otherwise we had to come in by
    /// the door.
    pub crossed: bool,
}
