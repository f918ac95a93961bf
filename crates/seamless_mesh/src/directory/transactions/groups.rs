//! Which rows are under one root, and what is stored of them.

use std::collections::{BTreeMap, BTreeSet};

use seamless_wire::{GlobalEntity, NodeRef};

use super::{draw, fresh_row, present, stale};
use crate::directory::{
    Checkpoint, CheckpointOutcome, EntityRecord, OpId, Refusal, Regroup, Regrouped, Result,
    tables::Tables,
};

/// What to write so that exactly the rows named are under a root.
struct Arrangement {
    /// Rows that exist and change.
    changed: BTreeMap<GlobalEntity, EntityRecord>,
    /// Rows to make.
    missing: Vec<GlobalEntity>,
}

/// Looks at everything, writes nothing. The inner error names a row that is another node's.
fn arrange(
    t: &mut impl Tables,
    node: NodeRef,
    root: GlobalEntity,
    members: impl Iterator<Item = GlobalEntity>,
) -> Result<std::result::Result<Arrangement, EntityRecord>> {
    let named: BTreeSet<GlobalEntity> = members.chain([root]).collect();
    let mut missing = Vec::new();
    let mut moves: BTreeMap<GlobalEntity, (EntityRecord, GlobalEntity)> = BTreeMap::new();
    let mut former = BTreeSet::from([root]);
    for &entity in &named {
        match t.entity(entity)? {
            None => missing.push(entity),
            Some(row) => {
                // What hung on a row that is now under this root, or what this root hung on.
                former.insert(row.root);
                if row.root != root {
                    moves.insert(entity, (row, root));
                }
            }
        }
    }
    let mut seen: BTreeMap<GlobalEntity, EntityRecord> = BTreeMap::new();
    for &old in &former {
        for row in t.entities_of_root(old)? {
            let orphaned = old == root || named.contains(&old);
            if !named.contains(&row.entity) && orphaned && row.entity != old {
                moves.insert(row.entity, (row, row.entity));
            }
            seen.insert(row.entity, row);
        }
    }
    let foreign = seen
        .values()
        .chain(moves.values().map(|(row, _)| row))
        .find(|row| row.owner != node);
    if let Some(row) = foreign {
        return Ok(Err(*row));
    }
    let mut changed: BTreeMap<GlobalEntity, EntityRecord> = BTreeMap::new();
    let mut touched: BTreeSet<GlobalEntity> = BTreeSet::new();
    for (row, to) in moves.values() {
        touched.extend([row.root, *to]);
        changed.insert(row.entity, EntityRecord { root: *to, ..*row });
    }
    if !missing.is_empty() {
        touched.insert(root);
    }
    for entity in touched {
        if let Some(row) = changed
            .get(&entity)
            .copied()
            .or_else(|| seen.get(&entity).copied())
        {
            changed.insert(
                entity,
                EntityRecord {
                    manifest: row.manifest + 1,
                    ..row
                },
            );
        }
    }
    Ok(Ok(Arrangement { changed, missing }))
}

fn apply(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    regroup: &Regroup,
    arrangement: &Arrangement,
) -> Result<()> {
    for row in arrangement.changed.values() {
        t.put_entity(row)?;
    }
    if arrangement.missing.is_empty() {
        return Ok(());
    }
    // What is new under a root that is there takes the root's term, which its owner knows.
    let (cell, term) = match t.entity(regroup.root)? {
        Some(root) => (root.cell, root.term),
        None => (regroup.cell, draw(t)?),
    };
    let fresh = fresh_row(node, op, term, cell);
    for &entity in &arrangement.missing {
        let player = if entity == regroup.root {
            regroup.player
        } else {
            None
        };
        t.put_entity(&EntityRecord {
            root: regroup.root,
            player,
            ..fresh(entity)
        })?;
    }
    Ok(())
}

/// See [`crate::directory::Directory::regroup`].
pub fn regroup(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    regroup: &Regroup,
) -> Result<Regrouped> {
    present(t, node)?;
    let arrangement = arrange(t, node, regroup.root, regroup.members.iter().copied())?
        .map_err(|row| Refusal::NotOwner(Box::new(row)))?;
    if arrangement.missing.contains(&regroup.root)
        && let Some(player) = regroup.player
        && let Some(row) = t.player(player)?
    {
        return Err(Refusal::PlayerExists(Box::new(row)).into());
    }
    apply(t, node, op, regroup, &arrangement)?;
    match t.entity(regroup.root)? {
        Some(row) => Ok(Regrouped {
            term: row.term,
            manifest: row.manifest,
            player: row.player,
            made: row.op == op,
        }),
        None => Err(stale(regroup.root, None).into()),
    }
}

/// See [`crate::directory::Directory::checkpoint`].
pub fn checkpoint(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    groups: &[Checkpoint],
) -> Result<Vec<CheckpointOutcome>> {
    present(t, node)?;
    let mut outcomes = Vec::with_capacity(groups.len());
    for group in groups {
        outcomes.push(checkpoint_one(t, node, op, group)?);
    }
    Ok(outcomes)
}

fn checkpoint_one(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    group: &Checkpoint,
) -> Result<CheckpointOutcome> {
    let foreign = |entity, row: Option<EntityRecord>| {
        let row = row.map(|row| (row.owner, row.term));
        Ok(CheckpointOutcome::Foreign { entity, row })
    };
    let root = match t.entity(group.root)? {
        Some(row) if row.owner == node && row.term <= group.term => row,
        found => return foreign(group.root, found),
    };
    // A member may have been under a later term than its root, as a root of its own.
    let stamp = |row: &EntityRecord| (group.term.max(row.term), group.tick);
    for entity in group
        .rows
        .iter()
        .map(|(entity, _)| *entity)
        .chain([group.root])
    {
        let row = t.entity(entity)?;
        if row.is_some_and(|row| (row.written, row.tick) > stamp(&row)) {
            return Ok(CheckpointOutcome::Older);
        }
    }
    let members = group.rows.iter().map(|(entity, _)| *entity);
    let arrangement = match arrange(t, node, group.root, members)? {
        Ok(arrangement) => arrangement,
        Err(row) => return foreign(row.entity, Some(row)),
    };
    let regroup = Regroup {
        root: group.root,
        members: Vec::new(),
        player: None,
        cell: group.cell,
    };
    apply(t, node, op, &regroup, &arrangement)?;
    for (entity, state) in &group.rows {
        t.put_state(*entity, state)?;
    }
    let entities: BTreeSet<GlobalEntity> = group.rows.iter().map(|(entity, _)| *entity).collect();
    let mut manifest = root.manifest;
    for entity in entities.into_iter().chain([group.root]) {
        let Some(row) = t.entity(entity)? else {
            continue;
        };
        if entity == group.root {
            manifest = row.manifest;
        }
        t.put_entity(&EntityRecord {
            cell: group.cell,
            written: stamp(&row).0,
            tick: group.tick,
            last_input: group.last_input,
            ..row
        })?;
    }
    Ok(CheckpointOutcome::Stored { manifest })
}
