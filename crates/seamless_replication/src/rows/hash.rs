//! Hashes of rows, for audits.

use seamless_wire::{audit::RowHash, record::Version};

use super::{ComponentSets, Row, Rows, SetId};

/// The hash of what a peer is told of a row: all of it, or the components of `told`.
pub(crate) fn hash_of(sets: &ComponentSets, row: &Row, told: SetId) -> u16 {
    let mut hash = RowHash::default();
    for &component in sets.components(told) {
        if let Some(at) = sets.position(row.set, component) {
            hash.component(component, row.value(at));
        }
    }
    hash.tenure(&row.fence);
    hash.finish()
}

/// Hashes of newest rows by slot, made when the first link asks: 8 bytes for each slot up to the
/// highest that was asked for.
#[derive(Default)]
pub(crate) struct RowHashes(Vec<Option<Known>>);

#[derive(Clone, Copy)]
struct Known {
    version: Version,
    told: SetId,
    hash: u16,
}

impl RowHashes {
    /// The hash of what is told of a slot's newest row.
    pub(crate) fn of_newest(&mut self, rows: &Rows, slot: u32, told: SetId) -> Option<u16> {
        let newest = rows.newest(slot)?;
        Some(self.of(slot, &rows.sets, newest, told))
    }

    /// The hash of a slot's row. One hash of its bytes for each version and each part of it that
    /// some link is told; nothing after that, however many links ask.
    fn of(
        &mut self,
        slot: u32,
        sets: &ComponentSets,
        (version, row): (Version, &Row),
        told: SetId,
    ) -> u16 {
        let at = slot as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        if let Some(known) = self.0[at]
            && known.version == version
            && known.told == told
        {
            return known.hash;
        }
        let hash = hash_of(sets, row, told);
        self.0[at] = Some(Known {
            version,
            told,
            hash,
        });
        hash
    }
}
