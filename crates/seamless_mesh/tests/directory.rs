//! Every backend passes the one suite, and the file refuses what is not its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]

mod memory {
    use std::sync::Arc;

    use seamless_mesh::directory::{Directory, MemoryDirectory, conformance::Opener};

    fn fresh() -> Opener {
        let directory = MemoryDirectory::new();
        Arc::new(move || Box::new(directory.clone()) as Box<dyn Directory>)
    }

    seamless_mesh::directory_conformance!(fresh);
}

mod faulty {
    use std::sync::Arc;

    use seamless_mesh::directory::{
        Directory, MemoryDirectory,
        conformance::Opener,
        faults::{FaultSwitch, FaultyDirectory},
    };

    fn fresh() -> Opener {
        let directory = MemoryDirectory::new();
        let switch = FaultSwitch::default();
        Arc::new(move || {
            Box::new(FaultyDirectory::new(directory.clone(), switch.clone())) as Box<dyn Directory>
        })
    }

    seamless_mesh::directory_conformance!(fresh);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::{
        env, fs,
        path::{Path, PathBuf},
        process::{Command, Stdio},
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        thread,
        time::{Duration, Instant},
    };

    use seamless_mesh::directory::{
        Addresses, Claim, Create, Directory, DirectoryError, Join, OpId, Refusal, SqliteDirectory,
        conformance::Opener, sqlite::OpenError,
    };
    use seamless_wire::{CellId, GlobalEntity, InputSeq, NodeId, NodeRef, Term, Tick};

    /// A folder of its own that goes away with the last handle.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = env::temp_dir().join(format!("seamless-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("mesh.sqlite")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn fresh() -> Opener {
        let folder = Folder::new();
        Arc::new(move || {
            Box::new(SqliteDirectory::open(folder.file()).unwrap()) as Box<dyn Directory>
        })
    }

    seamless_mesh::directory_conformance!(fresh);

    fn join(d: &mut SqliteDirectory, id: u32) -> NodeRef {
        let address = ([127, 0, 0, 1], 1).into();
        let join = Join {
            id: NodeId(id),
            life: u64::from(id),
            addresses: Addresses {
                udp: address,
                http: address,
                session: address,
            },
            boot: 1,
            clock: Duration::ZERO,
            secret: [1; 32],
        };
        d.join(&join).unwrap().node
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = SqliteDirectory::open("/nowhere/at/all/mesh.sqlite").unwrap_err();
        assert!(matches!(error, OpenError::NoFolder(_)));
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_left_alone() {
        let folder = Folder::new();
        fs::write(
            folder.file(),
            b"certainly not a database, and longer than its header would be....",
        )
        .unwrap();
        let before = fs::read(folder.file()).unwrap();
        let error = SqliteDirectory::open(folder.file()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign(_)), "{error}");
        assert_eq!(fs::read(folder.file()).unwrap(), before);

        let other = folder.0.join("other.sqlite");
        let connection = rusqlite::Connection::open(&other).unwrap();
        connection
            .execute_batch("CREATE TABLE recipes(name TEXT)")
            .unwrap();
        drop(connection);
        let error = SqliteDirectory::open(&other).unwrap_err();
        assert!(matches!(error, OpenError::Foreign(_)), "{error}");
    }

    #[test]
    fn a_file_of_another_version_is_refused() {
        let folder = Folder::new();
        drop(SqliteDirectory::open(folder.file()).unwrap());
        let connection = rusqlite::Connection::open(folder.file()).unwrap();
        connection.execute_batch("PRAGMA user_version=9").unwrap();
        drop(connection);
        let error = SqliteDirectory::open(folder.file()).unwrap_err();
        assert!(
            matches!(error, OpenError::Version { found: 9, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_a_panic() {
        let folder = Folder::new();
        let mut d = SqliteDirectory::open(folder.file()).unwrap();
        join(&mut d, 1);
        drop(d);
        let mut bytes = fs::read(folder.file()).unwrap();
        for byte in bytes.iter_mut().skip(1000) {
            *byte ^= 0x5a;
        }
        fs::write(folder.file(), bytes).unwrap();
        if let Ok(mut d) = SqliteDirectory::open(folder.file()) {
            let error = d.survey(None).unwrap_err();
            assert!(matches!(error, DirectoryError::Unavailable(_)), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        let mut d = SqliteDirectory::open(folder.file()).unwrap();
        join(&mut d, 1);
        for file in fs::read_dir(&folder.0).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn what_was_committed_is_there_after_the_file_is_opened_again() {
        let folder = Folder::new();
        let node = join(&mut SqliteDirectory::open(folder.file()).unwrap(), 4);
        let mut d = SqliteDirectory::open(folder.file()).unwrap();
        assert_eq!(d.survey(None).unwrap().nodes[0].node, node);
    }

    #[test]
    fn row_35_a_transaction_that_finds_the_disk_full_fails_whole() {
        let folder = Folder::new();
        let mut d = SqliteDirectory::open(folder.file()).unwrap();
        let node = join(&mut d, 1);
        let root = GlobalEntity::new(40, 1).unwrap();
        let create = Create {
            root,
            members: vec![],
            player: None,
            cell: CellId(1),
        };
        let term = d.create(node, OpId(1), &create).unwrap();
        let big = seamless_mesh::directory::Checkpoint {
            root,
            term,
            tick: Tick(5),
            last_input: InputSeq(1),
            cell: CellId(1),
            rows: vec![(root, vec![7; 1 << 20])],
        };
        // SQLite's own limit of pages stands for the disk's.
        d.limit_pages(20).unwrap();
        let error = d
            .checkpoint(node, OpId(2), std::slice::from_ref(&big))
            .unwrap_err();
        assert!(!matches!(error, DirectoryError::Refused(_)), "{error}");
        let row = d.head(root).unwrap().unwrap();
        assert_eq!(
            (row.tick, row.written),
            (Tick(0), Term(0)),
            "not even the small part"
        );
        d.limit_pages(1 << 30).unwrap();
        d.checkpoint(node, OpId(2), &[big]).unwrap();
        assert_eq!(d.head(root).unwrap().unwrap().tick, Tick(5));
    }

    // What a child process of the test below does; alone it does nothing.
    #[test]
    fn child_of_the_test_below() {
        let Ok(file) = env::var("SEAMLESS_TEST_DIRECTORY") else {
            return;
        };
        let id: u32 = env::var("SEAMLESS_TEST_NODE").unwrap().parse().unwrap();
        let mut d = SqliteDirectory::open(Path::new(&file)).unwrap();
        let me = join(&mut d, id);
        d.claim_cells(me, OpId(1), &[CellId(id)]).unwrap();
        let root = GlobalEntity::new(40, 1).unwrap();
        let mut won = 0;
        let until = Instant::now() + Duration::from_secs(20);
        for op in 2.. {
            if Path::new(&file).with_extension("stop").exists() {
                break;
            }
            let row = d.head(root).unwrap().unwrap();
            if row.owner == me {
                // Sometimes keep it under a fresh term, which voids what others are trying.
                if op % 7 == 0 {
                    d.abort(me, OpId(op), root, row.term).unwrap_err_or_ok();
                }
                continue;
            }
            let claim = Claim {
                root,
                from: row.owner,
                term: row.term,
                manifest: row.manifest,
                cell: CellId(id),
                tick: Tick(row.tick.0 + 1),
                last_input: InputSeq(0),
                rows: vec![(root, vec![id as u8])],
            };
            match d.claim(me, OpId(op), &claim) {
                Ok(_) => won += 1,
                Err(DirectoryError::Refused(Refusal::Stale { .. })) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(Instant::now() < until);
        }
        fs::write(
            Path::new(&file).with_extension(format!("won{id}")),
            won.to_string(),
        )
        .unwrap();
    }

    trait Either {
        fn unwrap_err_or_ok(self);
    }

    impl Either for Result<Term, DirectoryError> {
        fn unwrap_err_or_ok(self) {
            assert!(matches!(
                self,
                Ok(_) | Err(DirectoryError::Refused(Refusal::Stale { .. }))
            ));
        }
    }

    #[test]
    fn several_processes_claim_one_root_from_each_other_and_no_claim_is_lost_or_doubled() {
        let folder = Folder::new();
        let mut d = SqliteDirectory::open(folder.file()).unwrap();
        let me = join(&mut d, 9);
        let root = GlobalEntity::new(40, 1).unwrap();
        let create = Create {
            root,
            members: vec![],
            player: None,
            cell: CellId(9),
        };
        d.create(me, OpId(1), &create).unwrap();
        let mut children: Vec<_> = (1..=3)
            .map(|id| {
                Command::new(env::current_exe().unwrap())
                    .args(["--exact", "sqlite::child_of_the_test_below"])
                    .env("SEAMLESS_TEST_DIRECTORY", folder.file())
                    .env("SEAMLESS_TEST_NODE", id.to_string())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        thread::sleep(Duration::from_millis(800));
        fs::write(folder.file().with_extension("stop"), "").unwrap();
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
        let won: u32 = (1..=3)
            .map(|id| {
                let file = folder.file().with_extension(format!("won{id}"));
                fs::read_to_string(file).unwrap().parse::<u32>().unwrap()
            })
            .sum();
        assert!(won > 10, "they did race");
        // Each claim raised the tick by one, so the tick counts them.
        assert_eq!(d.head(root).unwrap().unwrap().tick, Tick(won));
    }

    #[test]
    fn a_file_that_many_make_at_once_is_made_once() {
        for _ in 0..40 {
            let folder = Folder::new();
            let start = std::sync::Barrier::new(8);
            thread::scope(|scope| {
                let open = || {
                    start.wait();
                    SqliteDirectory::open(folder.file())
                };
                let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                for opened in opening {
                    assert!(opened.join().unwrap().is_ok());
                }
            });
        }
    }
}
