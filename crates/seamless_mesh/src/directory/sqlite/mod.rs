//! The directory in an SQLite file: many processes on one machine, nothing to start.
//!
//! WAL with `synchronous=NORMAL`: what was committed survives the death of every process. A power
//! failure may take the last commits with it, whole and from the end; the term counter jumps then
//! (see [`super::Join::boot`]), so that no term comes twice. Who can read the file can read the
//! mesh's secret in it, so it is made for its owner alone.

mod tables;

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use tables::SqliteTables;

use super::{DirectoryError, Result, transactions::Transactional};

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
        0..100 => Duration::from_micros(20),
        100..300 => Duration::from_millis(1),
        300..460 => Duration::from_millis(5),
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
        // A file that is not ours is left as it is. One transaction: another process may be just
        // making it, and half of what it makes looks foreign.
        connection.execute_batch("BEGIN")?;
        let found = ours(connection);
        connection.execute_batch("ROLLBACK")?;
        check(found?)?;
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
