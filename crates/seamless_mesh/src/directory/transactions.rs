//! The operations of a directory, written once over plain [`Tables`].
//!
//! Each function is the body of one transaction. It looks at everything first and writes only
//! when nothing can be refused any more, so that a refusal leaves no trace even in tables that
//! cannot roll back.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use seamless_wire::{CellId, GlobalEntity, Incarnation, InputSeq, NodeRef, PeerId, Term, Tick};

use super::{
    CellRecord, Checkpoint, CheckpointOutcome, Claim, Create, Directory, EntityRecord, EntityRow,
    Evidence, Join, Joined, Load, NodeRecord, OpId, Origin, Reclaimed, Refusal, Regroup, Regrouped,
    Result, Survey, SurveyRest, tables::Tables,
};

/// How far the term counter jumps when the machine was started anew. More terms than are drawn
/// between two syncs of the file, by orders of magnitude.
pub const TERM_JUMP: u64 = 1 << 20;

/// How far the counter of blocks jumps then.
pub const BLOCK_JUMP: u32 = 1 << 8;

/// How far mesh time jumps then: more than the time between two beats that reach the disk.
pub const CLOCK_JUMP: Duration = Duration::from_secs(60);

/// The first block that is issued. Block 0 names nothing, block 1 is for world files.
pub const FIRST_BLOCK: u32 = GlobalEntity::WORLD_BLOCK + 1;

fn present(t: &mut impl Tables, node: NodeRef) -> Result<NodeRecord> {
    match t.node(node.id)? {
        Some(record) if record.node == node => Ok(record),
        _ => Err(Refusal::NodeGone(node).into()),
    }
}

fn draw(t: &mut impl Tables) -> Result<Term> {
    let mut meta = t.meta()?;
    meta.term.0 += 1;
    t.put_meta(&meta)?;
    Ok(meta.term)
}

fn relayout(t: &mut impl Tables) -> Result<()> {
    let mut meta = t.meta()?;
    meta.layout += 1;
    t.put_meta(&meta)
}

fn take_out(t: &mut impl Tables, node: NodeRef) -> Result<()> {
    t.remove_node(node.id)?;
    let owns = t.owns_entities(node)? || t.cells()?.iter().any(|cell| cell.owner == node);
    if owns {
        t.put_dead(node)?;
    }
    relayout(t)
}

/// See [`super::Directory::join`].
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

/// See [`super::Directory::beat`].
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

/// See [`super::Directory::leave`].
pub fn leave(t: &mut impl Tables, node: NodeRef) -> Result<()> {
    present(t, node)?;
    take_out(t, node)
}

/// See [`super::Directory::set_draining`].
pub fn set_draining(t: &mut impl Tables, node: NodeRef, draining: bool) -> Result<()> {
    let mut record = present(t, node)?;
    if record.draining == draining {
        return Ok(());
    }
    record.draining = draining;
    t.put_node(&record)?;
    relayout(t)
}

/// See [`super::Directory::survey`].
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

/// See [`super::Directory::bury`].
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

/// See [`super::Directory::claim_cells`].
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

/// See [`super::Directory::move_cell`].
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

fn fresh_row(
    node: NodeRef,
    op: OpId,
    term: Term,
    cell: CellId,
) -> impl Fn(GlobalEntity) -> EntityRecord {
    move |entity| EntityRecord {
        entity,
        root: entity,
        player: None,
        owner: node,
        term,
        op,
        cell,
        manifest: 1,
        written: Term::default(),
        tick: Tick::default(),
        last_input: InputSeq::default(),
    }
}

/// See [`super::Directory::create`].
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

/// See [`super::Directory::retire`].
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

fn stale(root: GlobalEntity, found: Option<EntityRecord>) -> Refusal {
    Refusal::Stale {
        root,
        found: found.map(Box::new),
    }
}

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

/// See [`super::Directory::regroup`].
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

/// See [`super::Directory::claim`].
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

/// See [`super::Directory::abort`].
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

/// See [`super::Directory::reclaim`].
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

/// See [`super::Directory::checkpoint`].
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

/// See [`super::Directory::read`].
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

/// See [`super::Directory::owned_roots`].
pub fn owned_roots(t: &mut impl Tables, node: NodeRef) -> Result<u32> {
    let rows = t.entities_of_owner(node)?;
    Ok(rows.iter().filter(|row| row.root == row.entity).count() as u32)
}

/// A backend that can run a function inside one transaction. It is a [`Directory`] then.
pub trait Transactional: Send {
    /// The tables, as seen from inside.
    type Tables<'a>: Tables;

    /// Runs `body` in a transaction that may write. An error of `body` undoes what it wrote.
    ///
    /// # Errors
    /// Those of `body`, and those of beginning and ending the transaction.
    fn write<R>(&mut self, body: impl FnOnce(&mut Self::Tables<'_>) -> Result<R>) -> Result<R>;

    /// Runs `body` in a transaction that only reads.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn look<R>(&mut self, body: impl FnOnce(&mut Self::Tables<'_>) -> Result<R>) -> Result<R>;

    /// See [`Directory::changed`].
    ///
    /// # Errors
    /// As [`Directory::changed`].
    fn has_changed(&mut self) -> Result<bool>;
}

impl<D: Transactional> Directory for D {
    fn join(&mut self, request: &Join) -> Result<Joined> {
        self.write(|t| join(t, request))
    }

    fn beat(&mut self, node: NodeRef, load: Load, clock: Duration) -> Result<()> {
        self.write(|t| beat(t, node, load, clock))
    }

    fn leave(&mut self, node: NodeRef) -> Result<()> {
        self.write(|t| leave(t, node))
    }

    fn set_draining(&mut self, node: NodeRef, draining: bool) -> Result<()> {
        self.write(|t| set_draining(t, node, draining))
    }

    fn survey(&mut self, known: Option<u64>) -> Result<Survey> {
        self.look(|t| survey(t, known))
    }

    fn bury(&mut self, node: NodeRef, evidence: Evidence) -> Result<()> {
        self.write(|t| bury(t, node, evidence))
    }

    fn claim_cells(
        &mut self,
        node: NodeRef,
        op: OpId,
        cells: &[CellId],
    ) -> Result<Vec<CellRecord>> {
        self.write(|t| claim_cells(t, node, op, cells))
    }

    fn move_cell(
        &mut self,
        node: NodeRef,
        op: OpId,
        cell: CellId,
        to: NodeRef,
    ) -> Result<CellRecord> {
        self.write(|t| move_cell(t, node, op, cell, to))
    }

    fn create(&mut self, node: NodeRef, op: OpId, request: &Create) -> Result<Term> {
        self.write(|t| create(t, node, op, request))
    }

    fn retire(&mut self, node: NodeRef, root: GlobalEntity) -> Result<u32> {
        self.write(|t| retire(t, node, root))
    }

    fn regroup(&mut self, node: NodeRef, op: OpId, request: &Regroup) -> Result<Regrouped> {
        self.write(|t| regroup(t, node, op, request))
    }

    fn claim(&mut self, node: NodeRef, op: OpId, request: &Claim) -> Result<Term> {
        self.write(|t| claim(t, node, op, request))
    }

    fn abort(&mut self, node: NodeRef, op: OpId, root: GlobalEntity, term: Term) -> Result<Term> {
        self.write(|t| abort(t, node, op, root, term))
    }

    fn reclaim(&mut self, node: NodeRef, op: OpId, dead: NodeRef) -> Result<Reclaimed> {
        self.write(|t| reclaim(t, node, op, dead))
    }

    fn checkpoint(
        &mut self,
        node: NodeRef,
        op: OpId,
        groups: &[Checkpoint],
    ) -> Result<Vec<CheckpointOutcome>> {
        self.write(|t| checkpoint(t, node, op, groups))
    }

    fn read(&mut self, root: GlobalEntity) -> Result<Vec<EntityRow>> {
        self.look(|t| read(t, root))
    }

    fn head(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>> {
        self.look(|t| t.entity(entity))
    }

    fn find_player(&mut self, player: PeerId) -> Result<Option<EntityRecord>> {
        self.look(|t| t.player(player))
    }

    fn owned_roots(&mut self, node: NodeRef) -> Result<u32> {
        self.look(|t| owned_roots(t, node))
    }

    fn changed(&mut self) -> Result<bool> {
        self.has_changed()
    }
}
