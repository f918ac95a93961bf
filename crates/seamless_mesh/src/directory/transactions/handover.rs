//! Rows come, change hands and go.

use std::collections::BTreeMap;

use seamless_wire::{GlobalEntity, NodeRef, Term};

use super::{draw, fresh_row, present, relayout, stale};
use crate::directory::{
    CellRecord, Claim, Create, EntityRecord, EntityRow, OpId, Reclaimed, Refusal, Result,
    tables::Tables,
};

/// See [`crate::directory::Directory::create`].
pub fn create(t: &mut impl Tables, node: NodeRef, op: OpId, create: &Create) -> Result<Term> {
    present(t, node)?;
    if let Some(row) = t.entity(create.root)? {
        if row.owner == node && row.op == op {
            return Ok(row.term);
        }
        return Err(Refusal::EntityExists(create.root).into());
    }
    if let Some(player) = create.player
        && let Some(row) = t.player(player)?
    {
        return Err(Refusal::PlayerExists(Box::new(row)).into());
    }
    for &member in &create.members {
        if t.entity(member)?.is_some() {
            return Err(Refusal::EntityExists(member).into());
        }
    }
    let term = draw(t)?;
    let fresh = fresh_row(node, op, term, create.cell);
    t.put_entity(&EntityRecord {
        player: create.player,
        ..fresh(create.root)
    })?;
    for &member in &create.members {
        t.put_entity(&EntityRecord {
            root: create.root,
            ..fresh(member)
        })?;
    }
    Ok(term)
}

/// See [`crate::directory::Directory::retire`].
pub fn retire(t: &mut impl Tables, node: NodeRef, root: GlobalEntity) -> Result<u32> {
    present(t, node)?;
    let rows = t.entities_of_root(root)?;
    if let Some(row) = rows.iter().find(|row| row.owner != node) {
        return Err(stale(root, Some(*row)).into());
    }
    for row in &rows {
        t.remove_entity(row.entity)?;
    }
    Ok(rows.len() as u32)
}

/// See [`crate::directory::Directory::claim`].
pub fn claim(t: &mut impl Tables, node: NodeRef, op: OpId, claim: &Claim) -> Result<Term> {
    present(t, node)?;
    let found = t.entity(claim.root)?;
    let root = match found {
        Some(row) if row.owner == node && row.op == op => return Ok(row.term),
        Some(row) if row.owner == claim.from && row.term == claim.term => row,
        _ => return Err(stale(claim.root, found).into()),
    };
    let rows = t.entities_of_root(claim.root)?;
    let states: BTreeMap<GlobalEntity, &[u8]> = claim
        .rows
        .iter()
        .map(|(entity, state)| (*entity, state.as_slice()))
        .collect();
    let same = root.manifest == claim.manifest
        && states.len() == claim.rows.len()
        && rows.len() == states.len()
        && rows
            .iter()
            .all(|row| row.owner == claim.from && states.contains_key(&row.entity));
    if !same {
        return Err(Refusal::Manifest {
            root: claim.root,
            version: root.manifest,
        }
        .into());
    }
    match t.cell(claim.cell)? {
        Some(cell) if cell.owner == node => {}
        _ => return Err(Refusal::NotCellOwner(claim.cell).into()),
    }
    let term = draw(t)?;
    for row in rows {
        t.put_entity(&EntityRecord {
            owner: node,
            term,
            op,
            cell: claim.cell,
            written: term,
            tick: claim.tick,
            last_input: claim.last_input,
            ..row
        })?;
        t.put_state(
            row.entity,
            states.get(&row.entity).copied().unwrap_or_default(),
        )?;
    }
    Ok(term)
}

/// See [`crate::directory::Directory::abort`].
pub fn abort(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    root: GlobalEntity,
    term: Term,
) -> Result<Term> {
    present(t, node)?;
    match t.entity(root)? {
        Some(row) if row.owner == node && row.op == op => return Ok(row.term),
        Some(row) if row.owner == node && row.term == term => {}
        found => return Err(stale(root, found).into()),
    }
    let mut rows = t.entities_of_root(root)?;
    rows.extend(t.entity(root)?.filter(|row| row.root != root));
    let term = draw(t)?;
    for row in rows {
        t.put_entity(&EntityRecord { term, op, ..row })?;
    }
    Ok(term)
}

/// See [`crate::directory::Directory::reclaim`].
pub fn reclaim(t: &mut impl Tables, node: NodeRef, op: OpId, dead: NodeRef) -> Result<Reclaimed> {
    present(t, node)?;
    if t.node(dead.id)?.is_some_and(|record| record.node == dead) {
        return Err(Refusal::NotBuried(dead).into());
    }
    let rows = t.entities_of_owner(dead)?;
    let cells: Vec<CellRecord> = t
        .cells()?
        .into_iter()
        .filter(|cell| cell.owner == dead)
        .collect();
    if !rows.is_empty() || !cells.is_empty() {
        let term = draw(t)?;
        for row in rows {
            t.put_entity(&EntityRecord {
                owner: node,
                term,
                op,
                ..row
            })?;
        }
        for cell in cells {
            t.put_cell(&CellRecord {
                owner: node,
                term,
                op,
                ..cell
            })?;
        }
    }
    if t.dead()?.contains(&dead) {
        t.remove_dead(dead)?;
        relayout(t)?;
    }
    // Read back by number, so that a repetition gives what the first call took.
    let mut taken: Vec<EntityRecord> = t.entities_of_owner(node)?;
    taken.retain(|row| row.op == op);
    taken.sort_by_key(|row| (row.root, row.entity != row.root, row.entity));
    let cells: Vec<CellRecord> = t
        .cells()?
        .into_iter()
        .filter(|cell| cell.owner == node && cell.op == op)
        .collect();
    let term = taken
        .first()
        .map(|row| row.term)
        .or_else(|| cells.first().map(|cell| cell.term))
        .unwrap_or_default();
    let mut rows = Vec::with_capacity(taken.len());
    for record in taken {
        let state = t.state(record.entity)?;
        rows.push(EntityRow { record, state });
    }
    Ok(Reclaimed { term, cells, rows })
}

/// See [`crate::directory::Directory::read`].
pub fn read(t: &mut impl Tables, root: GlobalEntity) -> Result<Vec<EntityRow>> {
    let mut records = t.entities_of_root(root)?;
    records.sort_by_key(|row| (row.entity != root, row.entity));
    let mut rows = Vec::with_capacity(records.len());
    for record in records {
        let state = t.state(record.entity)?;
        rows.push(EntityRow { record, state });
    }
    Ok(rows)
}

/// See [`crate::directory::Directory::owned_roots`].
pub fn owned_roots(t: &mut impl Tables, node: NodeRef) -> Result<u32> {
    let rows = t.entities_of_owner(node)?;
    Ok(rows.iter().filter(|row| row.root == row.entity).count() as u32)
}
