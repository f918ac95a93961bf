//! The directory in an SQLite file: many processes on one machine, nothing to start.
//!
//! WAL with `synchronous=NORMAL`: what was committed survives the death of every process. A power
//! failure may take the last commits with it, whole and from the end; the term counter jumps then
//! (see [`super::Join::boot`]), so that no term comes twice. Who can read the file can read the
//! mesh's secret in it, so it is made for its owner alone.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, params};
use seamless_wire::{
    CellId, GlobalEntity, Incarnation, InputSeq, NodeId, NodeRef, PeerId, Term, Tick,
};

use super::{
    Addresses, CellRecord, DirectoryError, EntityRecord, Load, NodeRecord, OpId, Origin, Result,
    tables::{Meta, Tables},
    transactions::Transactional,
};

/// Marks our files among SQLite's: "SMLS".
const APPLICATION_ID: i64 = 0x534d_4c53;

/// Version of the tables in the file.
pub const SCHEMA_VERSION: i64 = 1;

/// Waits for another process's transaction; tells whether to try once more.
///
/// Those take about 0.1 ms, so the first tries come soon; SQLite's own handler would sleep for
/// whole milliseconds. Gives up after about a second: the disk is stuck then.
fn wait_while_busy(tries: i32) -> bool {
    let wait = match tries {
        ..100 => Duration::from_micros(20),
        ..300 => Duration::from_millis(1),
        ..460 => Duration::from_millis(5),
        _ => return false,
    };
    thread::sleep(wait);
    true
}

/// How long opening waits for another process that is just making the file.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

const SCHEMA: &str = "
CREATE TABLE meta(
    one INTEGER PRIMARY KEY CHECK(one = 1),
    term INTEGER NOT NULL, next_block INTEGER NOT NULL, layout INTEGER NOT NULL,
    origin INTEGER NOT NULL, boot BLOB NOT NULL, clock INTEGER NOT NULL, secret BLOB NOT NULL
) STRICT;
CREATE TABLE node(
    id INTEGER PRIMARY KEY, inc INTEGER NOT NULL, life INTEGER NOT NULL,
    udp TEXT NOT NULL, http TEXT NOT NULL, session TEXT NOT NULL,
    beat INTEGER NOT NULL, players INTEGER NOT NULL, tick_us INTEGER NOT NULL,
    draining INTEGER NOT NULL, block INTEGER NOT NULL
) STRICT;
CREATE TABLE dead(id INTEGER NOT NULL, inc INTEGER NOT NULL, PRIMARY KEY(id, inc)) STRICT, WITHOUT ROWID;
CREATE TABLE cell(
    id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, inc INTEGER NOT NULL,
    term INTEGER NOT NULL, op INTEGER NOT NULL
) STRICT;
CREATE TABLE entity(
    gid INTEGER PRIMARY KEY, root INTEGER NOT NULL, player INTEGER UNIQUE,
    owner INTEGER NOT NULL, inc INTEGER NOT NULL, term INTEGER NOT NULL, op INTEGER NOT NULL,
    cell INTEGER NOT NULL, manifest INTEGER NOT NULL, written INTEGER NOT NULL,
    tick INTEGER NOT NULL, k INTEGER NOT NULL, bytes BLOB NOT NULL
) STRICT;
CREATE INDEX entity_root ON entity(root);
CREATE INDEX entity_owner ON entity(owner, inc);
INSERT INTO meta VALUES(1, 0, 0, 0, 0, zeroblob(16), 0, zeroblob(32));
";

/// Why a directory file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not there.
    #[error("directory file {}: the folder does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The file cannot be read or written, or is damaged.
    #[error("directory file {}: {reason}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the system or SQLite says.
        reason: String,
    },
    /// The file is something else.
    #[error("directory file {}: not a directory of bevy_seamless", .0.display())]
    Foreign(PathBuf),
    /// The file is of another version of this crate.
    #[error("directory file {}: version {found}, this program uses {SCHEMA_VERSION}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
}

/// A directory in a file. One connection; every process and thread opens its own.
#[derive(Debug)]
pub struct SqliteDirectory {
    connection: Connection,
    seen: i64,
}

impl SqliteDirectory {
    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    /// [`OpenError`], in one line each. Never waits longer than three seconds.
    pub fn open(path: impl AsRef<Path>) -> std::result::Result<Self, OpenError> {
        let path = path.as_ref();
        let folder = match path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => return Err(OpenError::NoFolder(path.to_owned())),
        };
        if !folder.is_dir() {
            return Err(OpenError::NoFolder(path.to_owned()));
        }
        let unusable = |reason: &dyn ToString| OpenError::Unusable {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        make_private(path).map_err(|error| unusable(&error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| unusable(&error))?;
        let mut directory = Self {
            connection,
            seen: 0,
        };
        let until = Instant::now() + OPEN_TIMEOUT;
        loop {
            match directory.prepare_file(path) {
                // Turning the log on does not wait for others by itself.
                Err(Setup::Sqlite(error)) if is_busy(&error) && Instant::now() < until => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(Setup::Sqlite(error))
                    if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) =>
                {
                    return Err(OpenError::Foreign(path.to_owned()));
                }
                Err(Setup::Sqlite(error)) => return Err(unusable(&error)),
                Err(Setup::Open(error)) => return Err(error),
                Ok(()) => return Ok(directory),
            }
        }
    }

    /// Lets the file grow to at most so many pages, as a full disk would. For tests.
    ///
    /// # Errors
    /// [`DirectoryError::Unavailable`].
    pub fn limit_pages(&self, pages: u32) -> Result<()> {
        self.connection
            .execute_batch(&format!("PRAGMA max_page_count={pages}"))
            .map_err(unavailable)
    }

    fn prepare_file(&mut self, path: &Path) -> std::result::Result<(), Setup> {
        self.connection.busy_handler(Some(wait_while_busy))?;
        let connection = &self.connection;
        connection.set_prepared_statement_cache_capacity(64);
        let ours = |connection: &Connection| -> rusqlite::Result<(i64, i64, i64)> {
            Ok((
                connection.query_row("PRAGMA application_id", [], |row| row.get(0))?,
                connection.query_row("PRAGMA user_version", [], |row| row.get(0))?,
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
            ))
        };
        let check = |(id, found, tables): (i64, i64, i64)| {
            if id == 0 && tables == 0 {
                Ok(false)
            } else if id != APPLICATION_ID {
                Err(OpenError::Foreign(path.to_owned()))
            } else if found != SCHEMA_VERSION {
                Err(OpenError::Version {
                    path: path.to_owned(),
                    found,
                })
            } else {
                Ok(true)
            }
        };
        // A file that is not ours is left as it is.
        check(ours(connection)?)?;
        connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
        connection.execute_batch("PRAGMA synchronous=NORMAL")?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let make = || -> std::result::Result<(), Setup> {
            if !check(ours(connection)?)? {
                connection.execute_batch(SCHEMA)?;
                connection.execute_batch(&format!(
                    "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}"
                ))?;
            }
            connection.execute_batch("COMMIT")?;
            Ok(())
        };
        let made = make();
        if made.is_err() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        made?;
        self.seen = self.data_version()?;
        Ok(())
    }

    fn data_version(&self) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))
    }

    fn transaction<R>(
        &mut self,
        begin: &str,
        body: impl FnOnce(&mut SqliteTables<'_>) -> Result<R>,
    ) -> Result<R> {
        self.statement(begin).map_err(unavailable)?;
        let result = body(&mut SqliteTables {
            connection: &self.connection,
        });
        match result {
            Ok(value) => match self.statement("COMMIT") {
                Ok(()) => Ok(value),
                Err(error) => {
                    let busy = is_busy(&error);
                    let _ = self.statement("ROLLBACK");
                    Err(if busy {
                        unavailable(error)
                    } else {
                        DirectoryError::InDoubt(error.to_string())
                    })
                }
            },
            Err(error) => {
                // After some errors SQLite has rolled back by itself, and says so.
                let _ = self.statement("ROLLBACK");
                Err(error)
            }
        }
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

enum Setup {
    Sqlite(rusqlite::Error),
    Open(OpenError),
}

impl From<rusqlite::Error> for Setup {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<OpenError> for Setup {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: rusqlite::Error) -> DirectoryError {
    DirectoryError::Unavailable(error.to_string())
}

/// Makes the file if there is none, readable for its owner alone.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl Transactional for SqliteDirectory {
    type Tables<'a> = SqliteTables<'a>;

    fn write<R>(&mut self, body: impl FnOnce(&mut SqliteTables<'_>) -> Result<R>) -> Result<R> {
        self.transaction("BEGIN IMMEDIATE", body)
    }

    fn look<R>(&mut self, body: impl FnOnce(&mut SqliteTables<'_>) -> Result<R>) -> Result<R> {
        self.transaction("BEGIN", body)
    }

    fn has_changed(&mut self) -> Result<bool> {
        let version = self.data_version().map_err(unavailable)?;
        let changed = version != self.seen;
        self.seen = version;
        Ok(changed)
    }
}

/// The tables of a [`SqliteDirectory`] inside one transaction.
#[derive(Debug)]
pub struct SqliteTables<'a> {
    connection: &'a Connection,
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
