//! What a server's tick costs, in instructions: it follows what changed, not what there is.
//!
//! Valgrind counts them, which takes no quiet machine. Without it the test says so and is skipped;
//! `.ci/run` installs it. `cargo test --release --test instructions -- --nocapture` prints figures
//! of an optimised build.

mod common;

use std::{env, fs, path::PathBuf, process::Command, thread};

use bevy::prelude::*;
use common::{Place, ready, register};
use seamless_replication::{
    Peers, Replicated, ReplicationConfig,
    interest::{InterestAppExt, InterestGrid, View},
};
use seamless_testkit::{AppId, Cluster, Weather};

/// What is counted: so many entities and clients, of which so many entities change in each tick.
#[derive(Clone, Copy, Debug)]
struct Load {
    entities: usize,
    clients: usize,
    changed: usize,
    /// Clients look elsewhere, and what changes goes to another region each time.
    elsewhere: bool,
}

const VARIABLE: &str = "SEAMLESS_COUNTED_LOAD";
const TICKS: usize = 10;

/// Runs a load in a process of its own and gives instructions per tick of the server.
fn count(load: Load) -> f64 {
    let elsewhere = usize::from(load.elsewhere);
    let name = format!(
        "{}-{}-{}-{elsewhere}",
        load.entities, load.clients, load.changed
    );
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("instructions-{name}"));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg("--toggle-collect=*counted_tick*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().expect("we run"))
        .args([
            "--exact",
            "the_counted_load",
            "--ignored",
            "--test-threads=1",
        ])
        .env(VARIABLE, &name)
        .output()
        .expect("valgrind starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{load:?}: {said}");
    let counted = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse::<u64>().ok());
    let _ = fs::remove_file(out);
    let counted = counted.filter(|count| *count > 0);
    counted.expect("valgrind counts what the tick calls") as f64 / TICKS as f64
}

/// One tick of the server: nothing else is counted.
#[inline(never)]
fn counted_tick(app: &mut App) {
    app.update();
}

fn change(cluster: &mut Cluster, server: AppId, entities: &[Entity], step: f32) {
    for &entity in entities {
        let mut place = cluster.world(server).get_mut::<Place>(entity);
        let place = place.as_mut().expect("it has one");
        place.0 += step;
        place.2 -= 0.25;
    }
}

#[test]
#[ignore = "is run by the other test, under valgrind"]
fn the_counted_load() {
    let Ok(load) = env::var(VARIABLE) else {
        return;
    };
    let numbers: Vec<usize> = load
        .split('-')
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [entities, clients, changed, elsewhere] = numbers[..] else {
        panic!("{load} is no load");
    };
    let elsewhere = elsewhere == 1;
    let mut cluster = Cluster::new(1, move |app| {
        register(app);
        if elsewhere {
            app.interest_position::<Place>(|place| Vec3::new(place.0, place.1, place.2));
        }
    });
    cluster.set_weather(Weather::near());
    let server = cluster.server();
    let mut config = cluster.world(server).resource_mut::<ReplicationConfig>();
    config.parallel_rows = usize::MAX;
    let clients: Vec<AppId> = (0..clients).map(|_| cluster.client(server)).collect();
    for &client in &clients {
        ready(&mut cluster, client);
    }
    let all: Vec<Entity> = (0..entities)
        .map(|n| {
            let place = Place(n as f32, 0.0, 1.0);
            cluster.world(server).spawn((Replicated, place)).id()
        })
        .collect();
    let there = if elsewhere { 0 } else { entities };
    if elsewhere {
        let mut peers = cluster.world(server).resource_mut::<Peers>();
        for peer in peers.iter_mut() {
            let view = View::At(Vec3::splat(100_000.0), 100.0);
            peer.interest_mut().set_view(view);
        }
    }
    for client in clients.clone() {
        cluster.run_until("all are there, or none", 600, |cluster| {
            let world = cluster.world(client);
            world.query::<&Place>().iter(world).count() == there
        });
    }
    // To another region and back, whose members are as many as before.
    let region = cluster.world(server).resource::<InterestGrid>().region;
    let step = |tick: usize| match (elsewhere, tick % 2) {
        (false, _) => 0.125,
        (true, 0) => region * 2.0,
        (true, _) => -region * 2.0,
    };
    for tick in 0..20 {
        change(&mut cluster, server, &all[..changed], step(tick));
        cluster.step();
    }
    for tick in 0..TICKS {
        change(&mut cluster, server, &all[..changed], step(tick));
        counted_tick(cluster.app(server));
        for &client in &clients {
            cluster.app(client).update();
        }
    }
}

const FEW: usize = 256;
const MANY: usize = 1024;

#[test]
fn a_tick_takes_instructions_for_what_changed_and_hardly_any_for_what_rests() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("SKIPPED: valgrind is not installed, so no instructions were counted");
        return;
    }
    let load = |entities, clients, changed| Load {
        entities,
        clients,
        changed,
        elsewhere: false,
    };
    let elsewhere = |clients, changed| Load {
        elsewhere: true,
        ..load(FEW, clients, changed)
    };
    let loads = [
        load(FEW, 1, 0),
        load(MANY, 1, 0),
        load(FEW, 1, 16),
        load(FEW, 1, 128),
        load(MANY, 1, 16),
        load(MANY, 1, 128),
        load(FEW, 5, 16),
        load(FEW, 5, 128),
        elsewhere(1, 16),
        elsewhere(1, 128),
        elsewhere(9, 16),
        elsewhere(9, 128),
    ];
    let (some, others) = loads.split_at(loads.len() / 2);
    let count_all = |loads: &[Load]| loads.iter().map(|&load| count(load)).collect::<Vec<_>>();
    let counts = thread::scope(|scope| {
        let others = scope.spawn(|| count_all(others));
        let mut counts = count_all(some);
        counts.extend(others.join().expect("no panic"));
        counts
    });
    let per = |more: usize, less: usize, what: usize| (counts[more] - counts[less]) / what as f64;
    let resting = per(1, 0, MANY - FEW);
    let changed = per(3, 2, 112);
    let changed_among_many = per(5, 4, 112);
    let each_further_client = (per(7, 6, 112) - changed) / 4.0;
    let crossing = per(9, 8, 112);
    let each_that_looks_elsewhere = (per(11, 10, 112) - crossing) / 8.0;
    eprintln!(
        "instructions for each entity that goes to another region: {crossing:.0}, and \
         {each_that_looks_elsewhere:.0} for each client that looks elsewhere"
    );
    eprintln!(
        "instructions of a server's tick: {resting:.1} for each entity that rests, {changed:.0} for \
         each that changes ({changed_among_many:.0} among {MANY}), and {each_further_client:.0} of \
         these for each further client"
    );
    assert!(resting * 50.0 < changed, "{resting} and {changed}");
    let ratio = changed_among_many / changed;
    assert!(
        (0.9..1.1).contains(&ratio),
        "{changed}, {changed_among_many}"
    );
    assert!(each_further_client * 8.0 < changed, "{each_further_client}");
    assert!(
        each_that_looks_elsewhere * 8.0 < crossing,
        "{each_that_looks_elsewhere} of {crossing}"
    );
}
