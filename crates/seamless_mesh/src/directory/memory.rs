//! The directory in memory: for tests, and for a mesh inside one process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use seamless_wire::{CellId, GlobalEntity, NodeId, NodeRef, PeerId};

use super::{
    CellRecord, EntityRecord, EntityRow, NodeRecord, Result,
    tables::{Meta, Tables},
    transactions::Transactional,
};

/// A directory in memory. Clones are handles of the same directory.
#[derive(Debug, Clone, Default)]
pub struct MemoryDirectory {
    shared: Arc<Mutex<Shared>>,
    seen: u64,
}

#[derive(Debug, Default)]
struct Shared {
    tables: MemoryTables,
    version: u64,
}

/// The tables of a [`MemoryDirectory`].
#[derive(Debug, Default)]
pub struct MemoryTables {
    meta: Meta,
    nodes: BTreeMap<NodeId, NodeRecord>,
    dead: BTreeSet<NodeRef>,
    cells: BTreeMap<CellId, CellRecord>,
    entities: BTreeMap<GlobalEntity, EntityRow>,
    players: BTreeMap<PeerId, GlobalEntity>,
}

impl MemoryDirectory {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every row, for oracles in tests. Takes time in proportion to their number.
    #[must_use]
    pub fn rows(&self) -> Vec<EntityRecord> {
        let shared = self.lock();
        shared
            .tables
            .entities
            .values()
            .map(|row| row.record)
            .collect()
    }

    /// Rises with every change. For oracles in tests.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transactional for MemoryDirectory {
    type Tables<'a> = MemoryTables;

    fn write<R>(&mut self, body: impl FnOnce(&mut MemoryTables) -> Result<R>) -> Result<R> {
        let mut shared = self.lock();
        // The transactions write only when nothing can be refused any more, and these tables
        // cannot fail, so there is nothing to undo.
        let result = body(&mut shared.tables)?;
        shared.version += 1;
        Ok(result)
    }

    fn look<R>(&mut self, body: impl FnOnce(&mut MemoryTables) -> Result<R>) -> Result<R> {
        body(&mut self.lock().tables)
    }

    fn has_changed(&mut self) -> Result<bool> {
        let version = self.lock().version;
        let changed = version != self.seen;
        self.seen = version;
        Ok(changed)
    }
}

impl Tables for MemoryTables {
    fn meta(&mut self) -> Result<Meta> {
        Ok(self.meta)
    }

    fn put_meta(&mut self, meta: &Meta) -> Result<()> {
        self.meta = *meta;
        Ok(())
    }

    fn nodes(&mut self) -> Result<Vec<NodeRecord>> {
        Ok(self.nodes.values().cloned().collect())
    }

    fn node(&mut self, id: NodeId) -> Result<Option<NodeRecord>> {
        Ok(self.nodes.get(&id).cloned())
    }

    fn put_node(&mut self, record: &NodeRecord) -> Result<()> {
        self.nodes.insert(record.node.id, record.clone());
        Ok(())
    }

    fn remove_node(&mut self, id: NodeId) -> Result<()> {
        self.nodes.remove(&id);
        Ok(())
    }

    fn dead(&mut self) -> Result<Vec<NodeRef>> {
        Ok(self.dead.iter().copied().collect())
    }

    fn put_dead(&mut self, node: NodeRef) -> Result<()> {
        self.dead.insert(node);
        Ok(())
    }

    fn remove_dead(&mut self, node: NodeRef) -> Result<()> {
        self.dead.remove(&node);
        Ok(())
    }

    fn cells(&mut self) -> Result<Vec<CellRecord>> {
        Ok(self.cells.values().copied().collect())
    }

    fn cell(&mut self, cell: CellId) -> Result<Option<CellRecord>> {
        Ok(self.cells.get(&cell).copied())
    }

    fn put_cell(&mut self, record: &CellRecord) -> Result<()> {
        self.cells.insert(record.cell, *record);
        Ok(())
    }

    fn entity(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>> {
        Ok(self.entities.get(&entity).map(|row| row.record))
    }

    fn entities_of_root(&mut self, root: GlobalEntity) -> Result<Vec<EntityRecord>> {
        let records = self.entities.values().map(|row| row.record);
        Ok(records.filter(|row| row.root == root).collect())
    }

    fn entities_of_owner(&mut self, owner: NodeRef) -> Result<Vec<EntityRecord>> {
        let records = self.entities.values().map(|row| row.record);
        let mut rows: Vec<_> = records.filter(|row| row.owner == owner).collect();
        rows.sort_by_key(|row| (row.root, row.entity));
        Ok(rows)
    }

    fn owns_entities(&mut self, owner: NodeRef) -> Result<bool> {
        Ok(self.entities.values().any(|row| row.record.owner == owner))
    }

    fn names(&mut self, block: u32) -> Result<Vec<GlobalEntity>> {
        let names = self.entities.keys().copied();
        Ok(names.filter(|name| name.block() == block).collect())
    }

    fn player(&mut self, player: PeerId) -> Result<Option<EntityRecord>> {
        let row = self
            .players
            .get(&player)
            .and_then(|root| self.entities.get(root));
        Ok(row.map(|row| row.record))
    }

    fn put_entity(&mut self, record: &EntityRecord) -> Result<()> {
        if let Some(player) = record.player {
            self.players.insert(player, record.entity);
        }
        let row = self
            .entities
            .entry(record.entity)
            .or_insert_with(|| EntityRow {
                record: *record,
                state: Vec::new(),
            });
        row.record = *record;
        Ok(())
    }

    fn remove_entity(&mut self, entity: GlobalEntity) -> Result<()> {
        if let Some(row) = self.entities.remove(&entity)
            && let Some(player) = row.record.player
        {
            self.players.remove(&player);
        }
        Ok(())
    }

    fn state(&mut self, entity: GlobalEntity) -> Result<Vec<u8>> {
        let row = self.entities.get(&entity);
        Ok(row.map(|row| row.state.clone()).unwrap_or_default())
    }

    fn put_state(&mut self, entity: GlobalEntity, state: &[u8]) -> Result<()> {
        if let Some(row) = self.entities.get_mut(&entity) {
            state.clone_into(&mut row.state);
        }
        Ok(())
    }
}
