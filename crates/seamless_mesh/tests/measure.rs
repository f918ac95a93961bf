//! Measurements, to be run alone and in release:
//! `cargo test -p seamless_mesh --release --test measure -- --ignored --nocapture --test-threads 1`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]
#![cfg(feature = "sqlite")]

use std::{
    env, fs,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use seamless_mesh::directory::{
    Addresses, Checkpoint, Claim, Create, Directory, Join, OpId, SqliteDirectory,
};
use seamless_wire::{CellId, GlobalEntity, InputSeq, NodeId, Tick};

const WRITERS: u32 = 4;
const CLAIMS: u64 = 1000;

fn percentile(times: &[Duration], per_mille: usize) -> Duration {
    times[(times.len() * per_mille / 1000).min(times.len() - 1)]
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!(
        "{what}: {} calls, p50 {:?}, p99 {:?}, p99.9 {:?}, worst {:?}",
        times.len(),
        percentile(&times, 500),
        percentile(&times, 990),
        percentile(&times, 999),
        times[times.len() - 1]
    );
}

#[test]
#[ignore = "a measurement"]
fn what_a_claim_costs_with_four_writers() {
    for (pace, name) in [
        (Duration::ZERO, "flat out"),
        (Duration::from_millis(2), "500 a second each"),
        (Duration::from_millis(20), "50 a second each"),
    ] {
        let folder = env::temp_dir().join(format!("seamless-measure-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("mesh.sqlite");
        let start = Arc::new(Barrier::new(WRITERS as usize));
        let writers: Vec<_> = (1..=WRITERS)
            .map(|id| {
                let (file, start) = (file.clone(), Arc::clone(&start));
                thread::spawn(move || write(&file, id, &start, pace))
            })
            .collect();
        let (mut claims, mut checkpoints) = (Vec::new(), Vec::new());
        for writer in writers {
            let (claimed, stored) = writer.join().unwrap();
            claims.extend(claimed);
            checkpoints.extend(stored);
        }
        report(
            &format!("claim of a player with 3 things, 2 KiB each, {name}"),
            claims,
        );
        report(
            &format!("checkpoint of 20 such players in one transaction, {name}"),
            checkpoints,
        );
        let _ = fs::remove_dir_all(folder);
    }
}

/// Claims a root of its own back and forth between two nodes of its own.
fn write(
    file: &std::path::Path,
    id: u32,
    start: &Barrier,
    pace: Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    let mut d = SqliteDirectory::open(file).unwrap();
    let address = ([127, 0, 0, 1], 1).into();
    let mut join = |id: u32| {
        let join = Join {
            id: NodeId(id),
            life: id.into(),
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
    };
    let nodes = [join(id), join(id + 100)];
    let name = |n: u64| GlobalEntity::new(40 + id, n).unwrap();
    let members: Vec<GlobalEntity> = (2..=4).map(name).collect();
    for node in nodes {
        d.claim_cells(node, OpId(1), &[CellId(node.id.0)]).unwrap();
    }
    let create = |root, members| Create {
        root,
        members,
        player: None,
        cell: CellId(id),
    };
    let mut term = d
        .create(nodes[0], OpId(2), &create(name(1), members.clone()))
        .unwrap();
    let others: Vec<(GlobalEntity, _)> = (0..20)
        .map(|n| {
            let root = name(100 + n);
            (
                root,
                d.create(nodes[0], OpId(100 + n), &create(root, vec![]))
                    .unwrap(),
            )
        })
        .collect();
    let state = vec![7; 2048];
    let (mut claims, mut checkpoints) = (Vec::new(), Vec::new());
    start.wait();
    for n in 0..CLAIMS {
        let (from, to) = (nodes[(n % 2) as usize], nodes[((n + 1) % 2) as usize]);
        let claim = Claim {
            root: name(1),
            from,
            term,
            manifest: 1,
            cell: CellId(to.id.0),
            tick: Tick(n as u32),
            last_input: InputSeq(0),
            rows: std::iter::once(name(1))
                .chain(members.clone())
                .map(|entity| (entity, state.clone()))
                .collect(),
        };
        let began = Instant::now();
        term = d.claim(to, OpId(1000 + n), &claim).unwrap();
        claims.push(began.elapsed());
        if n % 100 == 0 {
            let groups: Vec<Checkpoint> = others
                .iter()
                .map(|(root, term)| Checkpoint {
                    root: *root,
                    term: *term,
                    tick: Tick(n as u32),
                    last_input: InputSeq(0),
                    cell: CellId(id),
                    rows: vec![(*root, state.clone())],
                })
                .collect();
            let began = Instant::now();
            d.checkpoint(nodes[0], OpId(100_000 + n), &groups).unwrap();
            checkpoints.push(began.elapsed());
        }
        thread::sleep(pace);
    }
    (claims, checkpoints)
}
