//! The tables in the file, inside one transaction.

use std::{net::SocketAddr, time::Duration};

use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use seamless_wire::{
    CellId, GlobalEntity, Incarnation, InputSeq, NodeId, NodeRef, PeerId, Term, Tick,
};

use super::unavailable;
use crate::directory::{
    Addresses, CellRecord, DirectoryError, EntityRecord, Load, NodeRecord, OpId, Origin, Result,
    tables::{Meta, Tables},
};

/// The tables of a [`SqliteDirectory`](super::SqliteDirectory) inside one transaction.
#[derive(Debug)]
pub struct SqliteTables<'a> {
    pub(super) connection: &'a Connection,
}

impl SqliteTables<'_> {
    fn run(&mut self, sql: &str, params: impl Params) -> Result<()> {
        let run = || self.connection.prepare_cached(sql)?.execute(params);
        run().map(drop).map_err(unavailable)
    }

    fn one<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let run = || {
            self.connection
                .prepare_cached(sql)?
                .query_row(params, read)
                .optional()
        };
        run().map_err(unavailable)
    }

    fn all<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(params, read)?;
            rows.collect::<rusqlite::Result<Vec<T>>>()
        };
        run().map_err(unavailable)
    }
}

// SQLite's integers are signed; all 64 bits are kept, order is not used there.
const fn put(value: u64) -> i64 {
    value.cast_signed()
}

fn get(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

fn get_node(row: &Row<'_>, at: usize) -> rusqlite::Result<NodeRef> {
    Ok(NodeRef {
        id: NodeId(row.get(at)?),
        incarnation: Incarnation(get(row, at + 1)?),
    })
}

fn bad(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(
        at,
        "reserved value".to_owned(),
        rusqlite::types::Type::Integer,
    )
}

fn get_name(row: &Row<'_>, at: usize) -> rusqlite::Result<GlobalEntity> {
    GlobalEntity::from_bits(get(row, at)?).ok_or_else(|| bad(at))
}

fn get_address(row: &Row<'_>, at: usize) -> rusqlite::Result<SocketAddr> {
    row.get::<_, String>(at)?.parse().map_err(|_| bad(at))
}

const NODE: &str = "id, inc, life, udp, http, session, beat, players, tick_us, draining, block";

fn read_node(row: &Row<'_>) -> rusqlite::Result<NodeRecord> {
    Ok(NodeRecord {
        node: get_node(row, 0)?,
        life: get(row, 2)?,
        addresses: Addresses {
            udp: get_address(row, 3)?,
            http: get_address(row, 4)?,
            session: get_address(row, 5)?,
        },
        beat: get(row, 6)?,
        load: Load {
            players: row.get(7)?,
            tick_us: row.get(8)?,
        },
        draining: row.get(9)?,
        block: row.get(10)?,
    })
}

fn read_cell(row: &Row<'_>) -> rusqlite::Result<CellRecord> {
    Ok(CellRecord {
        cell: CellId(row.get(0)?),
        owner: get_node(row, 1)?,
        term: Term(get(row, 3)?),
        op: OpId(get(row, 4)?),
    })
}

const ENTITY: &str = "gid, root, player, owner, inc, term, op, cell, manifest, written, tick, k";

fn read_entity(row: &Row<'_>) -> rusqlite::Result<EntityRecord> {
    Ok(EntityRecord {
        entity: get_name(row, 0)?,
        root: get_name(row, 1)?,
        player: row
            .get::<_, Option<i64>>(2)?
            .map(|player| PeerId(player.cast_unsigned())),
        owner: get_node(row, 3)?,
        term: Term(get(row, 5)?),
        op: OpId(get(row, 6)?),
        cell: CellId(row.get(7)?),
        manifest: row.get(8)?,
        written: Term(get(row, 9)?),
        tick: Tick(row.get(10)?),
        last_input: InputSeq(row.get(11)?),
    })
}

impl Tables for SqliteTables<'_> {
    fn meta(&mut self) -> Result<Meta> {
        let sql = "SELECT term, next_block, layout, origin, boot, clock, secret FROM meta";
        let meta = self.one(sql, [], |row| {
            Ok(Meta {
                term: Term(get(row, 0)?),
                next_block: row.get(1)?,
                layout: get(row, 2)?,
                origin: Origin(row.get(3)?),
                boot: u128::from_le_bytes(row.get(4)?),
                clock: Duration::from_nanos(get(row, 5)?),
                secret: row.get(6)?,
            })
        })?;
        meta.ok_or_else(|| DirectoryError::Unavailable("the file has no counters".to_owned()))
    }

    fn put_meta(&mut self, meta: &Meta) -> Result<()> {
        let sql = "UPDATE meta SET term=?1, next_block=?2, layout=?3, origin=?4, boot=?5, \
                   clock=?6, secret=?7";
        let clock = u64::try_from(meta.clock.as_nanos()).unwrap_or(u64::MAX);
        self.run(
            sql,
            params![
                put(meta.term.0),
                meta.next_block,
                put(meta.layout),
                meta.origin.0,
                meta.boot.to_le_bytes(),
                put(clock),
                meta.secret
            ],
        )
    }

    fn nodes(&mut self) -> Result<Vec<NodeRecord>> {
        self.all(
            &format!("SELECT {NODE} FROM node ORDER BY id"),
            [],
            read_node,
        )
    }

    fn node(&mut self, id: NodeId) -> Result<Option<NodeRecord>> {
        self.one(
            &format!("SELECT {NODE} FROM node WHERE id=?1"),
            [id.0],
            read_node,
        )
    }

    fn put_node(&mut self, record: &NodeRecord) -> Result<()> {
        self.run(
            &format!(
                "INSERT OR REPLACE INTO node({NODE}) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)"
            ),
            params![
                record.node.id.0,
                put(record.node.incarnation.0),
                put(record.life),
                record.addresses.udp.to_string(),
                record.addresses.http.to_string(),
                record.addresses.session.to_string(),
                put(record.beat),
                record.load.players,
                record.load.tick_us,
                record.draining,
                record.block
            ],
        )
    }

    fn remove_node(&mut self, id: NodeId) -> Result<()> {
        self.run("DELETE FROM node WHERE id=?1", [id.0])
    }

    fn dead(&mut self) -> Result<Vec<NodeRef>> {
        self.all("SELECT id, inc FROM dead ORDER BY id, inc", [], |row| {
            get_node(row, 0)
        })
    }

    fn put_dead(&mut self, node: NodeRef) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO dead(id, inc) VALUES(?1, ?2)";
        self.run(sql, params![node.id.0, put(node.incarnation.0)])
    }

    fn remove_dead(&mut self, node: NodeRef) -> Result<()> {
        let sql = "DELETE FROM dead WHERE id=?1 AND inc=?2";
        self.run(sql, params![node.id.0, put(node.incarnation.0)])
    }

    fn cells(&mut self) -> Result<Vec<CellRecord>> {
        self.all(
            "SELECT id, owner, inc, term, op FROM cell ORDER BY id",
            [],
            read_cell,
        )
    }

    fn cell(&mut self, cell: CellId) -> Result<Option<CellRecord>> {
        let sql = "SELECT id, owner, inc, term, op FROM cell WHERE id=?1";
        self.one(sql, [cell.0], read_cell)
    }

    fn put_cell(&mut self, record: &CellRecord) -> Result<()> {
        self.run(
            "INSERT OR REPLACE INTO cell(id, owner, inc, term, op) VALUES(?1,?2,?3,?4,?5)",
            params![
                record.cell.0,
                record.owner.id.0,
                put(record.owner.incarnation.0),
                put(record.term.0),
                put(record.op.0)
            ],
        )
    }

    fn entity(&mut self, entity: GlobalEntity) -> Result<Option<EntityRecord>> {
        let sql = format!("SELECT {ENTITY} FROM entity WHERE gid=?1");
        self.one(&sql, [put(entity.to_bits())], read_entity)
    }

    fn entities_of_root(&mut self, root: GlobalEntity) -> Result<Vec<EntityRecord>> {
        let sql = format!("SELECT {ENTITY} FROM entity WHERE root=?1");
        let mut rows = self.all(&sql, [put(root.to_bits())], read_entity)?;
        rows.sort_by_key(|row| row.entity);
        Ok(rows)
    }

    fn entities_of_owner(&mut self, owner: NodeRef) -> Result<Vec<EntityRecord>> {
        let sql = format!("SELECT {ENTITY} FROM entity WHERE owner=?1 AND inc=?2");
        let owner = params![owner.id.0, put(owner.incarnation.0)];
        let mut rows = self.all(&sql, owner, read_entity)?;
        rows.sort_by_key(|row| (row.root, row.entity));
        Ok(rows)
    }

    fn owns_entities(&mut self, owner: NodeRef) -> Result<bool> {
        let sql = "SELECT 1 FROM entity WHERE owner=?1 AND inc=?2 LIMIT 1";
        let owner = params![owner.id.0, put(owner.incarnation.0)];
        Ok(self.one(sql, owner, |_| Ok(()))?.is_some())
    }

    fn names(&mut self, block: u32) -> Result<Vec<GlobalEntity>> {
        let sql = "SELECT gid FROM entity WHERE gid BETWEEN ?1 AND ?2";
        let bits = |counter| u64::from(block) << GlobalEntity::COUNTER_BITS | counter;
        // One block lies on one side of the sign, so its names are one range of signed integers.
        let range = [
            put(bits(0)),
            put(bits((1 << GlobalEntity::COUNTER_BITS) - 1)),
        ];
        let mut names = self.all(sql, range, |row| get_name(row, 0))?;
        names.sort_unstable();
        Ok(names)
    }

    fn player(&mut self, player: PeerId) -> Result<Option<EntityRecord>> {
        let sql = format!("SELECT {ENTITY} FROM entity WHERE player=?1");
        self.one(&sql, [put(player.0)], read_entity)
    }

    fn put_entity(&mut self, record: &EntityRecord) -> Result<()> {
        self.run(
            &format!(
                "INSERT INTO entity({ENTITY}, bytes) \
                 VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,x'') \
                 ON CONFLICT(gid) DO UPDATE SET root=?2, player=?3, owner=?4, inc=?5, term=?6, \
                 op=?7, cell=?8, manifest=?9, written=?10, tick=?11, k=?12"
            ),
            params![
                put(record.entity.to_bits()),
                put(record.root.to_bits()),
                record.player.map(|player| put(player.0)),
                record.owner.id.0,
                put(record.owner.incarnation.0),
                put(record.term.0),
                put(record.op.0),
                record.cell.0,
                record.manifest,
                put(record.written.0),
                record.tick.0,
                record.last_input.0
            ],
        )
    }

    fn remove_entity(&mut self, entity: GlobalEntity) -> Result<()> {
        self.run("DELETE FROM entity WHERE gid=?1", [put(entity.to_bits())])
    }

    fn state(&mut self, entity: GlobalEntity) -> Result<Vec<u8>> {
        let sql = "SELECT bytes FROM entity WHERE gid=?1";
        let state = self.one(sql, [put(entity.to_bits())], |row| row.get(0))?;
        Ok(state.unwrap_or_default())
    }

    fn put_state(&mut self, entity: GlobalEntity, state: &[u8]) -> Result<()> {
        let sql = "UPDATE entity SET bytes=?2 WHERE gid=?1";
        self.run(sql, params![put(entity.to_bits()), state])
    }
}
