//! Who owns which region.

use seamless_wire::{CellId, NodeRef};

use super::{draw, present, relayout};
use crate::directory::{CellRecord, OpId, Refusal, Result, tables::Tables};

/// See [`crate::directory::Directory::claim_cells`].
pub fn claim_cells(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    cells: &[CellId],
) -> Result<Vec<CellRecord>> {
    present(t, node)?;
    let mut found = Vec::new();
    let mut free = Vec::new();
    for &cell in cells {
        match t.cell(cell)? {
            Some(record) => {
                let owner = t.node(record.owner.id)?;
                if owner.is_some_and(|owner| owner.node == record.owner) {
                    found.push(record);
                } else {
                    free.push(cell);
                }
            }
            None => free.push(cell),
        }
    }
    if !free.is_empty() {
        let term = draw(t)?;
        for cell in free {
            let record = CellRecord {
                cell,
                owner: node,
                term,
                op,
            };
            t.put_cell(&record)?;
            found.push(record);
        }
        relayout(t)?;
    }
    found.sort_by_key(|record| record.cell);
    Ok(found)
}

/// See [`crate::directory::Directory::move_cell`].
pub fn move_cell(
    t: &mut impl Tables,
    node: NodeRef,
    op: OpId,
    cell: CellId,
    to: NodeRef,
) -> Result<CellRecord> {
    present(t, node)?;
    present(t, to)?;
    match t.cell(cell)? {
        Some(record) if record.owner == node => {}
        _ => return Err(Refusal::NotCellOwner(cell).into()),
    }
    let record = CellRecord {
        cell,
        owner: to,
        term: draw(t)?,
        op,
    };
    t.put_cell(&record)?;
    relayout(t)?;
    Ok(record)
}
