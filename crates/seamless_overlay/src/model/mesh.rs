//! The mesh as one node sees it.

use std::time::Duration;

use seamless_wire::{CellId, GlobalEntity, HandoverId, NodeRef, PeerId, Term};

/// The mesh as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct MeshModel {
    /// The node's name in this life, once it has joined.
    pub node: Option<NodeRef>,
    /// Whether the directory is quick enough to freeze anything.
    pub healthy: bool,
    /// Whether nothing may run here: the last sign of life was too long ago.
    pub fenced: bool,
    /// The 99th percentile of what a directory operation took lately.
    pub directory_p99: Duration,
    /// Who is there.
    pub nodes: Vec<NodeModel>,
    /// The ground.
    pub grid: GridModel,
    /// Who owns which cell. Cells that are missing are nobody's.
    pub cells: Vec<CellModel>,
    /// What crosses borders: players, with what hangs on them.
    pub roots: Vec<RootModel>,
    /// Counted since the start.
    pub counters: MeshCountersModel,
    /// Handovers that ended lately, the newest first.
    pub recent: Vec<RecentHandover>,
}

impl MeshModel {
    /// Whether the node owns a cell.
    #[must_use]
    pub fn owns(&self, cell: &CellModel) -> bool {
        self.node == Some(cell.owner)
    }

    /// Adds what another node of the same mesh knows better: itself and its own roots. For tools
    /// that look at several nodes at once.
    pub fn absorb(&mut self, other: &Self) {
        let Some(node) = other.node else { return };
        let hosted: Vec<&RootModel> = other
            .roots
            .iter()
            .filter(|root| root.host == Some(node))
            .collect();
        self.roots
            .retain(|known| hosted.iter().all(|root| root.name != known.name));
        self.roots.extend(hosted.into_iter().copied());
        let itself = other.nodes.iter().find(|known| known.node == node);
        for known in self.nodes.iter_mut().filter(|known| known.node == node) {
            *known = itself.copied().unwrap_or(*known);
        }
    }
}

/// A node of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeModel {
    /// Who.
    pub node: NodeRef,
    /// Players that it simulates.
    pub players: u32,
    /// What one of its ticks takes; zero if it has not said so.
    pub tick: Duration,
    /// Cells that it owns.
    pub cells: u32,
    /// Whether it is going down.
    pub draining: bool,
}

/// The ground: a grid of cells, numbered row by row from the corner with the lowest x and z.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GridModel {
    /// The corner with the lowest x and z, in metres.
    pub origin: [f32; 2],
    /// Sides of a cell along x and z, in metres.
    pub cell: [f32; 2],
    /// Cells along x.
    pub columns: u32,
    /// Cells along z.
    pub rows: u32,
}

/// An owned cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellModel {
    /// Which.
    pub cell: CellId,
    /// Whose.
    pub owner: NodeRef,
    /// Since which term.
    pub term: Term,
}

/// Something that crosses borders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RootModel {
    /// Its name.
    pub name: GlobalEntity,
    /// Whose player it is.
    pub player: Option<PeerId>,
    /// Who simulates it, if that is known.
    pub host: Option<NodeRef>,
    /// Where it is on x and z, in metres.
    pub at: [f32; 2],
    /// How far its crossing has come.
    pub crossing: CrossingModel,
}

/// How far a root's crossing has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrossingModel {
    /// Not near a border.
    #[default]
    Inside,
    /// The neighbour was asked for room.
    Asked {
        /// Where to.
        to: CellId,
    },
    /// There is room.
    Reserved {
        /// The attempt.
        handover: HandoverId,
        /// Where to.
        to: CellId,
        /// Whether the client's second link stands.
        attached: bool,
    },
    /// Nobody simulates it; the mesh decides.
    Frozen {
        /// The attempt.
        handover: HandoverId,
        /// Where to, if that is known.
        to: Option<CellId>,
    },
    /// Refused; it is asked again later.
    Cooling,
}

impl CrossingModel {
    /// One word; nothing for what is inside.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Inside => "",
            Self::Asked { .. } => "asked",
            Self::Reserved {
                attached: false, ..
            } => "reserved",
            Self::Reserved { attached: true, .. } => "attached",
            Self::Frozen { .. } => "frozen",
            Self::Cooling => "cooling",
        }
    }

    /// The cell it is on its way to.
    #[must_use]
    pub const fn target(&self) -> Option<CellId> {
        match self {
            Self::Asked { to } | Self::Reserved { to, .. } => Some(*to),
            Self::Frozen { to, .. } => *to,
            Self::Inside | Self::Cooling => None,
        }
    }

    /// The attempt, once it has a number.
    #[must_use]
    pub const fn handover(&self) -> Option<HandoverId> {
        match self {
            Self::Reserved { handover, .. } | Self::Frozen { handover, .. } => Some(*handover),
            Self::Inside | Self::Asked { .. } | Self::Cooling => None,
        }
    }
}

/// Counted since the node's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshCountersModel {
    /// Groups that went to another node.
    pub handed_over: u64,
    /// Groups that came.
    pub activated: u64,
    /// Groups that were frozen and stayed.
    pub resumed: u64,
    /// Refusals of neighbours, by reason.
    pub rejected: Vec<(String, u64)>,
    /// Dead nodes whose things were taken over.
    pub reclaims: u64,
    /// Groups among those.
    pub reclaimed_groups: u64,
    /// Clients that were refused at the door.
    pub refused_tickets: u64,
}

/// A handover that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentHandover {
    /// The attempt.
    pub handover: HandoverId,
    /// Whether the group was this node's.
    pub source: bool,
    /// The other node.
    pub with: NodeRef,
    /// How it ended.
    pub outcome: String,
    /// Whether the group changed its host.
    pub handed_over: bool,
    /// From the freeze to the end, if it came to a freeze.
    pub frozen: Option<Duration>,
}
