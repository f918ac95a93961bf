//! Who is in the mesh.

use std::time::Duration;

use seamless_wire::{GlobalEntity, Incarnation, NodeRef};

use super::{TERM_JUMP, present, relayout};
use crate::directory::{
    Evidence, Join, Joined, Load, NodeRecord, Origin, Refusal, Result, Survey, SurveyRest,
    tables::Tables,
};

/// How far the counter of blocks jumps then.
pub const BLOCK_JUMP: u32 = 1 << 8;

/// How far mesh time jumps then: more than the time between two beats that reach the disk.
pub const CLOCK_JUMP: Duration = Duration::from_secs(60);

/// The first block that is issued. Block 0 names nothing, block 1 is for world files.
pub const FIRST_BLOCK: u32 = GlobalEntity::WORLD_BLOCK + 1;

fn take_out(t: &mut impl Tables, node: NodeRef) -> Result<()> {
    t.remove_node(node.id)?;
    let owns = t.owns_entities(node)? || t.cells()?.iter().any(|cell| cell.owner == node);
    if owns {
        t.put_dead(node)?;
    }
    relayout(t)
}

/// See [`crate::directory::Directory::join`].
pub fn join(t: &mut impl Tables, join: &Join) -> Result<Joined> {
    let mut meta = t.meta()?;
    let rebooted = meta.boot != 0 && meta.boot != join.boot;
    if let Some(record) = t.node(join.id)?.filter(|_| !rebooted) {
        if record.life != join.life {
            return Err(Refusal::NodeTaken(Box::new(record)).into());
        }
        return Ok(Joined {
            node: record.node,
            block: record.block,
            origin: meta.origin,
            secret: meta.secret,
        });
    }
    meta.next_block = meta.next_block.max(FIRST_BLOCK);
    if rebooted {
        meta.term.0 += TERM_JUMP;
        meta.next_block = meta.next_block.saturating_add(BLOCK_JUMP);
    }
    if meta.next_block > GlobalEntity::MAX_BLOCK {
        return Err(Refusal::NoNames.into());
    }
    if rebooted {
        // Every process of the former boot is dead, and what it wrote last may be lost.
        for record in t.nodes()? {
            take_out(t, record.node)?;
        }
        meta.layout = t.meta()?.layout;
    }
    if meta.boot != join.boot {
        let clock = if rebooted {
            meta.clock + CLOCK_JUMP
        } else {
            Duration::ZERO
        };
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        meta.origin = Origin(nanos(join.clock).saturating_sub(nanos(clock)));
        meta.boot = join.boot;
    }
    if meta.secret == [0; 32] {
        meta.secret = join.secret;
    }
    meta.term.0 += 1;
    let block = meta.next_block;
    meta.next_block += 1;
    meta.layout += 1;
    t.put_meta(&meta)?;
    let node = NodeRef {
        id: join.id,
        incarnation: Incarnation(meta.term.0),
    };
    t.put_node(&NodeRecord {
        node,
        life: join.life,
        addresses: join.addresses,
        beat: 1,
        load: Load::default(),
        draining: false,
        block,
    })?;
    Ok(Joined {
        node,
        block,
        origin: meta.origin,
        secret: meta.secret,
    })
}

/// See [`crate::directory::Directory::beat`].
pub fn beat(t: &mut impl Tables, node: NodeRef, load: Load, clock: Duration) -> Result<()> {
    let mut record = present(t, node)?;
    record.beat += 1;
    record.load = load;
    t.put_node(&record)?;
    let mut meta = t.meta()?;
    if clock > meta.clock {
        meta.clock = clock;
        t.put_meta(&meta)?;
    }
    Ok(())
}

/// See [`crate::directory::Directory::leave`].
pub fn leave(t: &mut impl Tables, node: NodeRef) -> Result<()> {
    present(t, node)?;
    take_out(t, node)
}

/// See [`crate::directory::Directory::set_draining`].
pub fn set_draining(t: &mut impl Tables, node: NodeRef, draining: bool) -> Result<()> {
    let mut record = present(t, node)?;
    if record.draining == draining {
        return Ok(());
    }
    record.draining = draining;
    t.put_node(&record)?;
    relayout(t)
}

/// See [`crate::directory::Directory::survey`].
pub fn survey(t: &mut impl Tables, known: Option<u64>) -> Result<Survey> {
    let layout = t.meta()?.layout;
    let rest = if known == Some(layout) {
        None
    } else {
        Some(SurveyRest {
            cells: t.cells()?,
            dead: t.dead()?,
        })
    };
    Ok(Survey {
        layout,
        nodes: t.nodes()?,
        rest,
    })
}

/// See [`crate::directory::Directory::bury`].
pub fn bury(t: &mut impl Tables, node: NodeRef, evidence: Evidence) -> Result<()> {
    let silent = |record: &NodeRecord| match evidence {
        Evidence::Silent { beat } => record.beat == beat,
        Evidence::Dead => true,
    };
    match t.node(node.id)? {
        Some(record) if record.node == node && silent(&record) => take_out(t, node),
        _ => Err(Refusal::NotSilent(node).into()),
    }
}
