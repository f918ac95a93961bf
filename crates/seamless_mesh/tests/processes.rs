//! The crash table with real processes: one node here, the other in a child that dies at a named
//! point, is killed, or is stopped and goes on.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]
#![cfg(all(unix, feature = "http", feature = "sqlite"))]

mod real;

use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use real::{Folder, Node, config, knock, ms, see_each_other, until};
use seamless_mesh::{
    directory::{Directory, SqliteDirectory},
    link::MeshLink,
    service::boot_clock,
};
use seamless_wire::{GlobalEntity, NodeId, Tick};

const CHILD: &str = "SEAMLESS_TEST_CHILD";
const FOLDER: &str = "SEAMLESS_TEST_FOLDER";
const CROSS: &str = "SEAMLESS_TEST_CROSS";

/// How soon a survivor plays on, with room for a loaded machine.
const FAILOVER: Duration = ms(3000);

/// How long a source waits for a claim where the usual 50 ms would be a busy machine's mistake.
const PATIENT: Duration = ms(1000);

fn log_of(folder: &Path) -> PathBuf {
    folder.join("ticks")
}

/// What a child does; as a test of its own it does nothing.
#[test]
fn a_node_in_a_process_of_its_own() {
    let (Ok(id), Ok(folder)) = (env::var(CHILD), env::var(FOLDER)) else {
        return;
    };
    let folder = Folder(folder.into());
    let cross: Option<u32> = env::var(CROSS).ok().map(|cell| cell.parse().unwrap());
    let mut config = config(id.parse().unwrap(), &folder);
    // Only who dies at its abort should come to one, however busy the machine is.
    if !env::var("SEAMLESS_FAIL").is_ok_and(|point| point.ends_with("abort")) {
        config.timing.freeze_budget = PATIENT;
    }
    let mut node = Node::start(config, &folder);
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_of(&folder.0))
        .unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let mut stored = false;
    while Instant::now() < until {
        node.hear();
        let roots: Vec<GlobalEntity> = node.hosted.keys().copied().collect();
        for root in roots {
            if !node.plays(root) || !node.handle().may_simulate() {
                continue;
            }
            let hosted = &node.hosted[&root];
            // Written before anything leaves for this tick.
            writeln!(log, "{root} {} {}", hosted.term, boot_clock().as_nanos()).unwrap();
            if !stored {
                stored = true;
                node.checkpoint();
            } else if let Some(cell) = cross {
                if node.reserved.contains_key(&root) {
                    node.freeze(root);
                } else if node.handle().status().counters.checkpointed > 0 {
                    node.prepare(root, cell);
                }
            }
        }
        thread::sleep(ms(5));
    }
    std::mem::forget(folder);
}

struct Process(Child);

impl Process {
    fn start(id: u32, folder: &Folder, cross: Option<u32>, fail: Option<&str>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "a_node_in_a_process_of_its_own", "--nocapture"])
            .env(CHILD, id.to_string())
            .env(FOLDER, &folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(cell) = cross {
            command.env(CROSS, cell.to_string());
        }
        if let Some(point) = fail {
            command.env("SEAMLESS_FAIL", point);
        }
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    fn is_dead(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When the child simulated the root, in the machine's time.
fn ticks(folder: &Folder, root: GlobalEntity) -> Vec<Duration> {
    let log = fs::read_to_string(log_of(&folder.0)).unwrap_or_default();
    let prefix = format!("{root} ");
    log.lines()
        .filter(|line| line.starts_with(&prefix))
        .map(|line| Duration::from_nanos(line.rsplit(' ').next().unwrap().parse().unwrap()))
        .collect()
}

/// The child owns the player and crosses to us; it dies at this point. We must have the player
/// in the end, and the child must not have simulated it after we began.
fn source_dies(point: &str, slow_stager: bool) -> (Node, GlobalEntity, Tick) {
    let folder = Folder::new();
    let mut ours = config(2, &folder);
    if slow_stager {
        let stager = ours.stager;
        ours.stager = Box::new(move |bytes: &[u8]| {
            thread::sleep(ms(150));
            stager.stage(bytes)
        });
    }
    let mut survivor = Node::start(ours, &folder);
    let mut child = Process::start(1, &folder, Some(2), Some(point));
    see_each_other(&mut [&mut survivor], &folder, 2);
    let door = survivor.door();
    let root = knock(&mut [&mut survivor], door, 7).root;
    until(&mut [&mut survivor], ms(15_000), |_| child.is_dead());
    let took = until(&mut [&mut survivor], FAILOVER, |nodes| nodes[0].plays(root));
    let began = boot_clock();
    println!("{point}: playing {took:?} after the end was noticed");
    assert!(
        ticks(&folder, root).iter().all(|tick| *tick < began),
        "{point}"
    );
    let row = SqliteDirectory::open(folder.file())
        .unwrap()
        .head(root)
        .unwrap()
        .unwrap();
    assert_eq!(row.owner, survivor.me.unwrap(), "{point}");
    let tick = survivor.hosted[&root].tick;
    (survivor, root, tick)
}

#[test]
fn row_01_source_killed_before_the_freeze() {
    let (survivor, _, tick) = source_dies("after_reserved", false);
    assert_eq!(
        (survivor.reclaimed, tick),
        (1, Tick(1)),
        "from the checkpoint"
    );
}

#[test]
fn row_02_source_killed_after_the_freeze_before_the_commit_left() {
    let (survivor, _, tick) = source_dies("after_freeze", false);
    assert_eq!(
        (survivor.reclaimed, tick),
        (1, Tick(1)),
        "from the checkpoint"
    );
}

#[test]
fn row_03_and_04_source_killed_when_the_commit_had_left() {
    let (survivor, _, tick) = source_dies("after_commit_sent", false);
    assert_eq!(
        (survivor.reclaimed, tick),
        (0, Tick(2)),
        "the frozen state itself"
    );
}

#[test]
fn row_03_source_killed_before_its_abort() {
    let (survivor, _, tick) = source_dies("before_abort", true);
    assert_eq!(
        (survivor.reclaimed, tick),
        (0, Tick(2)),
        "the claim still won"
    );
}

#[test]
fn row_14_source_killed_after_its_abort_and_the_commit_is_void() {
    let (survivor, _, tick) = source_dies("after_abort", true);
    assert_eq!(
        (survivor.reclaimed, tick),
        (1, Tick(1)),
        "the claim was void"
    );
    assert_eq!(survivor.handle().status().counters.claimed, 0);
}

/// We own the player and cross to the child, which dies at this point. We must have the player
/// back. Gives how it came.
fn target_dies(point: &str) -> Node {
    let folder = Folder::new();
    let mut ours = config(1, &folder);
    ours.timing.freeze_budget = PATIENT;
    let mut survivor = Node::start(ours, &folder);
    let mut child = Process::start(2, &folder, None, Some(point));
    see_each_other(&mut [&mut survivor], &folder, 2);
    let door = survivor.door();
    let root = knock(&mut [&mut survivor], door, 7).root;
    survivor.checkpoint();
    until(&mut [&mut survivor], ms(15_000), |nodes| {
        nodes[0].handle().status().counters.checkpointed == 1
    });
    survivor.cross(root, 2);
    until(&mut [&mut survivor], ms(15_000), |nodes| {
        nodes[0].reserved.contains_key(&root)
    });
    survivor.freeze(root);
    until(&mut [&mut survivor], ms(15_000), |_| child.is_dead());
    let took = until(&mut [&mut survivor], FAILOVER, |nodes| nodes[0].plays(root));
    let began = boot_clock();
    println!("{point}: playing {took:?} after the end was noticed");
    assert!(
        ticks(&folder, root).iter().all(|tick| *tick < began),
        "{point}"
    );
    assert_eq!(
        survivor.hosted[&root].tick,
        Tick(2),
        "{point}: nothing is lost"
    );
    let row = SqliteDirectory::open(folder.file())
        .unwrap()
        .head(root)
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.owner, row.term),
        (survivor.me.unwrap(), survivor.hosted[&root].term)
    );
    survivor
}

#[test]
fn row_06_target_killed_before_its_claim() {
    let survivor = target_dies("before_claim");
    assert_eq!((survivor.resumed, survivor.reclaimed), (1, 0));
}

#[test]
fn row_07_target_killed_after_its_claim() {
    let survivor = target_dies("after_claim");
    assert_eq!((survivor.resumed, survivor.reclaimed), (0, 1));
}

#[test]
fn row_07_target_killed_before_it_activates() {
    let survivor = target_dies("before_activate");
    assert_eq!((survivor.resumed, survivor.reclaimed), (0, 1));
}

#[test]
fn row_08_target_killed_when_it_was_active() {
    let survivor = target_dies("after_activate");
    assert_eq!((survivor.resumed, survivor.reclaimed), (0, 1));
}

#[test]
fn a_kill_at_any_moment_is_noticed_within_milliseconds() {
    let folder = Folder::new();
    let mut survivor = Node::start(config(2, &folder), &folder);
    let child = Process::start(1, &folder, None, None);
    see_each_other(&mut [&mut survivor], &folder, 2);
    let door = survivor.door();
    let root = knock(&mut [&mut survivor], door, 7).root;
    until(&mut [&mut survivor], ms(15_000), |_| {
        let row = SqliteDirectory::open(folder.file())
            .unwrap()
            .head(root)
            .unwrap();
        row.is_some_and(|row| row.tick > Tick(0))
    });
    child.signal("-KILL");
    let took = until(&mut [&mut survivor], FAILOVER, |nodes| nodes[0].plays(root));
    println!("playing {took:?} after kill -9");
    assert!(took < ms(1000), "{took:?}");
}

#[test]
fn row_22_a_stopped_process_finds_itself_expelled_when_it_goes_on() {
    let folder = Folder::new();
    let mut survivor = Node::start(config(2, &folder), &folder);
    let child = Process::start(1, &folder, None, None);
    see_each_other(&mut [&mut survivor], &folder, 2);
    let door = survivor.door();
    let root = knock(&mut [&mut survivor], door, 7).root;
    until(&mut [&mut survivor], ms(15_000), |_| {
        let row = SqliteDirectory::open(folder.file())
            .unwrap()
            .head(root)
            .unwrap();
        row.is_some_and(|row| row.tick > Tick(0))
    });
    child.signal("-STOP");
    let took = until(&mut [&mut survivor], ms(9000), |nodes| nodes[0].plays(root));
    println!("playing {took:?} after SIGSTOP");
    let began = boot_clock();
    let before = survivor.me.unwrap();
    thread::sleep(ms(300));
    child.signal("-CONT");
    let mut directory = SqliteDirectory::open(folder.file()).unwrap();
    // It comes back as somebody new.
    until(&mut [&mut survivor], ms(6000), |_| {
        let nodes = directory_nodes(&folder);
        nodes
            .iter()
            .any(|node| node.id == NodeId(1) && node.incarnation > before.incarnation)
    });
    thread::sleep(ms(300));
    assert!(
        ticks(&folder, root).iter().all(|tick| *tick < began),
        "it simulated what is ours"
    );
    let row = directory.head(root).unwrap().unwrap();
    assert_eq!(row.owner, before);
    assert!(survivor.plays(root));
}

fn directory_nodes(folder: &Folder) -> Vec<seamless_wire::NodeRef> {
    let mut directory = SqliteDirectory::open(folder.file()).unwrap();
    let nodes = directory.survey(None).unwrap().nodes;
    nodes.into_iter().map(|record| record.node).collect()
}
