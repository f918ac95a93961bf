//! Directory operations as values, so that a pure state machine can ask for them.

use std::time::Duration;

use seamless_wire::{CellId, GlobalEntity, NodeRef, PeerId, Term};

use super::{
    CellRecord, Checkpoint, CheckpointOutcome, Claim, Create, Directory, EntityRecord, Evidence,
    Join, Joined, Load, OpId, Reclaimed, Regroup, Regrouped, Result, Survey,
};

/// One call of a [`Directory`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is the method of the same name, its fields the arguments"
)]
pub enum DirectoryOp {
    Join(Box<Join>),
    Beat {
        node: NodeRef,
        load: Load,
        clock: Duration,
    },
    Leave {
        node: NodeRef,
    },
    SetDraining {
        node: NodeRef,
        draining: bool,
    },
    Survey {
        known: Option<u64>,
    },
    Bury {
        node: NodeRef,
        evidence: Evidence,
    },
    ClaimCells {
        node: NodeRef,
        op: OpId,
        cells: Vec<CellId>,
    },
    MoveCell {
        node: NodeRef,
        op: OpId,
        cell: CellId,
        to: NodeRef,
    },
    Create {
        node: NodeRef,
        op: OpId,
        create: Box<Create>,
    },
    Retire {
        node: NodeRef,
        root: GlobalEntity,
    },
    Regroup {
        node: NodeRef,
        op: OpId,
        regroup: Box<Regroup>,
    },
    Claim {
        node: NodeRef,
        op: OpId,
        claim: Box<Claim>,
    },
    Abort {
        node: NodeRef,
        op: OpId,
        root: GlobalEntity,
        term: Term,
    },
    Reclaim {
        node: NodeRef,
        op: OpId,
        dead: NodeRef,
    },
    Checkpoint {
        node: NodeRef,
        op: OpId,
        groups: Vec<Checkpoint>,
    },
    Head {
        entity: GlobalEntity,
    },
    FindPlayer {
        player: PeerId,
    },
    Names {
        block: u32,
    },
    OwnedRoots {
        node: NodeRef,
    },
}

/// What a [`DirectoryOp`] gave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is the result of the operation of the same name"
)]
pub enum DirectoryAnswer {
    Joined(Box<Joined>),
    Done,
    Survey(Box<Survey>),
    Cells(Vec<CellRecord>),
    Term(Term),
    Regrouped(Regrouped),
    Reclaimed(Box<Reclaimed>),
    Checkpointed(Vec<CheckpointOutcome>),
    Row(Option<Box<EntityRecord>>),
    Names(Vec<GlobalEntity>),
    Count(u32),
}

impl DirectoryOp {
    /// Makes the call.
    ///
    /// # Errors
    /// Those of the method.
    pub fn run(&self, directory: &mut dyn Directory) -> Result<DirectoryAnswer> {
        use DirectoryAnswer as Answer;
        Ok(match self {
            Self::Join(join) => Answer::Joined(Box::new(directory.join(join)?)),
            Self::Beat { node, load, clock } => {
                directory.beat(*node, *load, *clock)?;
                Answer::Done
            }
            Self::Leave { node } => {
                directory.leave(*node)?;
                Answer::Done
            }
            Self::SetDraining { node, draining } => {
                directory.set_draining(*node, *draining)?;
                Answer::Done
            }
            Self::Survey { known } => Answer::Survey(Box::new(directory.survey(*known)?)),
            Self::Bury { node, evidence } => {
                directory.bury(*node, *evidence)?;
                Answer::Done
            }
            Self::ClaimCells { node, op, cells } => {
                Answer::Cells(directory.claim_cells(*node, *op, cells)?)
            }
            Self::MoveCell { node, op, cell, to } => {
                Answer::Cells(vec![directory.move_cell(*node, *op, *cell, *to)?])
            }
            Self::Create { node, op, create } => {
                Answer::Term(directory.create(*node, *op, create)?)
            }
            Self::Retire { node, root } => Answer::Count(directory.retire(*node, *root)?),
            Self::Regroup { node, op, regroup } => {
                Answer::Regrouped(directory.regroup(*node, *op, regroup)?)
            }
            Self::Claim { node, op, claim } => Answer::Term(directory.claim(*node, *op, claim)?),
            Self::Abort {
                node,
                op,
                root,
                term,
            } => Answer::Term(directory.abort(*node, *op, *root, *term)?),
            Self::Reclaim { node, op, dead } => {
                Answer::Reclaimed(Box::new(directory.reclaim(*node, *op, *dead)?))
            }
            Self::Checkpoint { node, op, groups } => {
                Answer::Checkpointed(directory.checkpoint(*node, *op, groups)?)
            }
            Self::Head { entity } => Answer::Row(directory.head(*entity)?.map(Box::new)),
            Self::FindPlayer { player } => {
                Answer::Row(directory.find_player(*player)?.map(Box::new))
            }
            Self::Names { block } => Answer::Names(directory.names(*block)?),
            Self::OwnedRoots { node } => Answer::Count(directory.owned_roots(*node)?),
        })
    }

    /// What it is called in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Join(_) => "join",
            Self::Beat { .. } => "beat",
            Self::Leave { .. } => "leave",
            Self::SetDraining { .. } => "set_draining",
            Self::Survey { .. } => "survey",
            Self::Bury { .. } => "bury",
            Self::ClaimCells { .. } => "claim_cells",
            Self::MoveCell { .. } => "move_cell",
            Self::Create { .. } => "create",
            Self::Retire { .. } => "retire",
            Self::Regroup { .. } => "regroup",
            Self::Claim { .. } => "claim",
            Self::Abort { .. } => "abort",
            Self::Reclaim { .. } => "reclaim",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Head { .. } => "head",
            Self::FindPlayer { .. } => "find_player",
            Self::Names { .. } => "names",
            Self::OwnedRoots { .. } => "owned_roots",
        }
    }
}
