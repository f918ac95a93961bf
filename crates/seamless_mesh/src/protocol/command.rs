//! What the game side says to its node, and what it is told.

use std::{any::Any, fmt, net::SocketAddr, time::Duration};

use seamless_wire::{
    CellId, GlobalEntity, HandoverId, InputSeq, NodeRef, PeerId, RequestId, Term, Tick,
    control::Control,
    mesh::{Manifest, RejectReason},
    snapshot::SnapshotRow,
};

use crate::directory::{CellRecord, Load, NodeRecord, Origin};

/// Decoded state on its way to the game side.
///
/// Opaque here: a [`Stager`] of the game made it, the game takes it apart again.
pub struct Staged(Box<dyn Any + Send>);

impl Staged {
    /// Wraps what a stager made.
    #[must_use]
    pub fn new(value: impl Any + Send) -> Self {
        Self(Box::new(value))
    }

    /// What the stager made.
    ///
    /// # Errors
    /// The box as it is, if it holds another type.
    pub fn downcast<T: Any>(self) -> Result<T, Self> {
        self.0.downcast().map(|value| *value).map_err(Self)
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Staged")
    }
}

/// Decodes state before it is claimed. Nothing after the claim may fail, so everything that can
/// fail is done here: unknown components, values that do not decode, bounds.
///
/// Called on the mesh thread with the bytes of a [`seamless_wire::snapshot::WorldSnapshot`].
pub trait Stager: Send {
    /// Decodes.
    ///
    /// # Errors
    /// One line that says what does not fit.
    fn stage(&self, bytes: &[u8]) -> Result<Staged, String>;
}

impl<F: Fn(&[u8]) -> Result<Staged, String> + Send> Stager for F {
    fn stage(&self, bytes: &[u8]) -> Result<Staged, String> {
        self(bytes)
    }
}

/// One root with all that hangs on it, to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointGroup {
    /// The root. It has a row already: from a login, a [`MeshCommand::Create`] or a handover. One
    /// that has none is not stored.
    pub root: GlobalEntity,
    /// The term under which it is simulated here.
    pub term: Term,
    /// All rows are as of the end of this tick.
    pub tick: Tick,
    /// The last input that is in them.
    pub last_input: InputSeq,
    /// The root and everything that hangs on it.
    pub members: Vec<SnapshotRow>,
    /// Where it is.
    pub cell: CellId,
}

/// The game side to its node.
#[derive(Debug, Clone, PartialEq)]
pub enum MeshCommand {
    /// This group is near the border: ask the owner of the cell for room. Repeated with other
    /// members it changes the same attempt; while the group is frozen it is ignored. Answered by
    /// [`MeshEvent::Reserved`] or [`MeshEvent::Rejected`].
    Prepare {
        /// The root.
        root: GlobalEntity,
        /// Everything that hangs on it, without the root.
        members: Vec<GlobalEntity>,
        /// Whose player the root is.
        player: Option<PeerId>,
        /// Where it goes.
        cell: CellId,
        /// Where its client looks from, in metres.
        viewpoint: [f32; 3],
    },
    /// It stays. While the group is frozen: it should stay, see [`MeshEvent::Resumed`].
    Cancel {
        /// The root.
        root: GlobalEntity,
    },
    /// The group is frozen as of the end of `tick`; hand it over. Always answered, by
    /// [`MeshEvent::HandedOver`] or [`MeshEvent::Resumed`]; until then it stays frozen.
    Commit {
        /// As told by [`MeshEvent::Reserved`].
        handover: HandoverId,
        /// The last tick that was simulated.
        tick: Tick,
        /// The last input that is in the state.
        last_input: InputSeq,
        /// A [`seamless_wire::snapshot::WorldSnapshot`] of the group.
        state: Vec<u8>,
        /// Control items that came after the freeze.
        queue: Vec<(PeerId, Control)>,
    },
    /// The client's second link stands. Said at the target, or at the source if it heard so.
    ClientAttached {
        /// For which handover.
        handover: HandoverId,
    },
    /// The client's second link came to nothing, or broke. Said at the target and at the source:
    /// another token is minted when the source asks the target next.
    ClientDetached {
        /// For which handover.
        handover: HandoverId,
    },
    /// Store these. The groups of one command are one transaction; of a root that is not stored
    /// yet when it comes again only the later state is. A player's group has the root's whole
    /// tree.
    Checkpoint {
        /// The groups.
        groups: Vec<CheckpointGroup>,
    },
    /// Make rows for something that did not come from a login and should survive this node.
    /// Answered by [`MeshEvent::Created`].
    Create {
        /// The root, named from this node's block.
        root: GlobalEntity,
        /// Everything that hangs on it, without the root.
        members: Vec<GlobalEntity>,
        /// Where.
        cell: CellId,
    },
    /// These roots are gone for good, with everything that hangs on them.
    Retire {
        /// Which.
        roots: Vec<GlobalEntity>,
    },
    /// Take those of these cells that nobody has. See [`MeshEvent::CellsChanged`].
    ClaimCells(Vec<CellId>),
    /// Give a cell away. Groups in it stay here until they are handed over.
    MoveCell {
        /// Which.
        cell: CellId,
        /// To whom.
        to: NodeRef,
    },
    /// Which names of this block have rows? Answered by [`MeshEvent::Names`].
    ReadNames {
        /// The block.
        block: u32,
    },
    /// The answer to [`MeshEvent::Login`].
    SessionAnswer {
        /// Which login.
        request: RequestId,
        /// Whether the player is in the world. If not, its row goes again.
        accepted: bool,
    },
    /// How busy we are.
    Load(Load),
    /// Leave the mesh: take nothing more, give the cells away, wait until every root is handed
    /// over, at most `patience`, and go. Answered by [`MeshEvent::Left`].
    Leave {
        /// How long to wait for the last root. What is left then is reclaimed by others from
        /// its last checkpoint.
        patience: Duration,
    },
}

/// A root that was taken over from a dead node.
#[derive(Debug)]
pub struct ReclaimedGroup {
    /// The root.
    pub root: GlobalEntity,
    /// Whose player it is.
    pub player: Option<PeerId>,
    /// Where it was.
    pub cell: CellId,
    /// At the end of which tick the state was.
    pub tick: Tick,
    /// The last input in it.
    pub last_input: InputSeq,
    /// The state. `None` if none was ever stored: a player who had just logged in, to be made
    /// anew. An error if it does not decode here; the rows are ours all the same.
    pub staged: Option<Result<Staged, String>>,
    /// Members that have a row but no stored state: they joined after the last checkpoint. The
    /// rows are ours; the game makes the entities anew or retires them.
    pub missing: Vec<GlobalEntity>,
}

/// The node to its game side.
#[derive(Debug)]
pub enum MeshEvent {
    /// We are part of the mesh. After [`Expelled`](Self::Expelled) it comes again, under another
    /// incarnation.
    Joined {
        /// Our name in this life.
        node: NodeRef,
        /// The block to name entities from, with counters below 2^39; the rest of it is the
        /// mesh's own, for players who log in.
        block: u32,
        /// Where mesh time begins.
        origin: Origin,
    },
    /// There is room for the group. Comes again when the client is attached, when there is
    /// another token, or when the manifest is another one.
    Reserved {
        /// This attempt. `handover.term` is the term of the root from here on.
        handover: HandoverId,
        /// Who takes it.
        node: NodeRef,
        /// Where its client should go.
        address: SocketAddr,
        /// What lets the client in there; empty if it has what it needs.
        token: Vec<u8>,
        /// Whether the client's second link stands.
        attached: bool,
    },
    /// There is no room. The attempt is over.
    Rejected {
        /// The root.
        root: GlobalEntity,
        /// Why.
        reason: RejectReason,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The group is another node's now: it becomes remote here.
    HandedOver {
        /// Which attempt.
        handover: HandoverId,
        /// Its new term.
        term: Term,
        /// Whose it is.
        to: NodeRef,
    },
    /// The group stays: go on after the tick at which it was frozen, under this term.
    Resumed {
        /// Which attempt. It is over.
        handover: HandoverId,
        /// The term, another one if the COMMIT had left.
        term: Term,
    },
    /// A group may come, and its client may look in first. Comes again with another manifest.
    Expect {
        /// Which attempt.
        handover: HandoverId,
        /// What may come.
        manifest: Manifest,
        /// Where its client looks from, in metres.
        viewpoint: [f32; 3],
        /// Where it is now.
        from: NodeRef,
    },
    /// It does not come after all.
    Unexpect {
        /// Which attempt.
        handover: HandoverId,
    },
    /// It is ours: simulate it from `tick + 1` and `last_input + 1` on, under this term.
    Activate {
        /// Which attempt.
        handover: HandoverId,
        /// The term.
        term: Term,
        /// What came.
        manifest: Manifest,
        /// In which cell it is now.
        cell: CellId,
        /// The last tick that the source simulated.
        tick: Tick,
        /// The last input that is in the state.
        last_input: InputSeq,
        /// The state.
        staged: Staged,
        /// Control items that came to the source after the freeze.
        queue: Vec<(PeerId, Control)>,
        /// When the claim won, on the node's clock.
        claimed_at: Duration,
    },
    /// All of a dead node's things are ours, under this term. A handover of one of these roots
    /// that was expected here is over with it.
    Reclaimed {
        /// Whose they were.
        dead: NodeRef,
        /// The term of all of them.
        term: Term,
        /// The cells.
        cells: Vec<CellRecord>,
        /// The roots.
        groups: Vec<ReclaimedGroup>,
    },
    /// A root of ours has rows, under this term, from here on: the answer to
    /// [`MeshCommand::Create`]; or a [`MeshCommand::Prepare`] made them; or a checkpoint came
    /// under an earlier term than theirs. `None` if one of the names was in use.
    Created {
        /// The root.
        root: GlobalEntity,
        /// The term.
        term: Option<Term>,
    },
    /// A checkpoint of this root was not stored: it has no row, for it hung on a root that was
    /// retired with all its rows. [`MeshCommand::Create`] makes one.
    NoRow {
        /// The root.
        root: GlobalEntity,
    },
    /// Who owns which cell, all of them.
    CellsChanged(Vec<CellRecord>),
    /// The answer to [`MeshCommand::ReadNames`]: these have rows, whoever owns them.
    Names {
        /// The block.
        block: u32,
        /// The names, in order.
        names: Vec<GlobalEntity>,
    },
    /// Who is in the mesh, all of them.
    NodesChanged(Vec<NodeRecord>),
    /// These are not ours, although we thought so: drop them.
    LostRows(Vec<GlobalEntity>),
    /// Run no tick until [`Unfenced`](Self::Unfenced).
    Fenced,
    /// Go on.
    Unfenced,
    /// We were taken for dead: nothing that we had is ours any more. Drop all of it. Attempts end
    /// without further events; a [`Joined`](Self::Joined) follows.
    Expelled,
    /// We left in good order.
    Left,
    /// How the directory does. While not `ok`, freeze nothing.
    Health {
        /// Whether a freeze would be short.
        ok: bool,
        /// The 99th percentile of what an operation took lately.
        cas_p99: Duration,
    },
    /// A new player. Its row is made; put it into the world, under this name and term, in this
    /// cell, then answer with [`MeshCommand::SessionAnswer`].
    Login {
        /// Names the answer.
        request: RequestId,
        /// Who.
        player: PeerId,
        /// The name of its root.
        root: GlobalEntity,
        /// Its term.
        term: Term,
        /// Where.
        cell: CellId,
    },
}
