//! Real nodes: threads, loopback HTTP, the directory in a file.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print"
)]
#![cfg(all(feature = "http", feature = "sqlite"))]

mod real;

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use real::{
    Folder, Node, PATIENCE, config,
    http::{get, raw},
    knock, ms, pair, see_each_other, until,
};
use seamless_mesh::{
    directory::{Directory, SqliteDirectory},
    link::MeshLink,
    protocol::{MeshCommand, Outcome, Phase, Role},
    service::{MeshHandle, Offer, ServiceConfig, StartError, boot_clock, enter},
    ticket::TicketRefusal,
};
use seamless_wire::{
    GlobalEntity, NodeId, PeerId, Tick,
    mesh::RejectReason,
    ticket::{Purpose, TICKET_BYTES, Ticket},
};

fn ticket(token: &[u8]) -> Ticket {
    Ticket::from_bytes(&<[u8; TICKET_BYTES]>::try_from(token).unwrap()).unwrap()
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[test]
fn players_walk_between_two_real_nodes_and_are_frozen_for_milliseconds() {
    const ROUNDS: usize = 200;
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let door = one.door();
    let offer = knock(&mut [&mut one, &mut two], door, 7);
    let root = offer.root;
    assert!(one.plays(root));
    let (mut claims, mut frozen, mut freezes) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        let (from, to) = if round % 2 == 0 {
            (&mut one, &mut two)
        } else {
            (&mut two, &mut one)
        };
        loop {
            from.cross(root, to.me.unwrap().id.0);
            until(&mut [&mut *from, &mut *to], PATIENCE, |nodes| {
                nodes[0].reserved.contains_key(&root)
            });
            let resumed = from.resumed;
            from.freeze(root);
            freezes += 1;
            until(&mut [&mut *from, &mut *to], PATIENCE, |nodes| {
                let crossed = nodes[1].plays(root) && !nodes[0].hosted.contains_key(&root);
                crossed || nodes[0].resumed > resumed
            });
            // A machine that is busy with other things for 50 ms makes the source take it back.
            if from.resumed == resumed {
                break;
            }
        }
    }
    assert!(
        one.resumed + two.resumed <= ROUNDS as u32 / 20,
        "it is the rule"
    );
    thread::sleep(ms(700));
    for node in [&one, &two] {
        for trace in node.handle().status().traces {
            let committed = trace.at(Phase::Committed);
            match (trace.role, committed, trace.at(Phase::Claimed)) {
                (Role::Target, Some(committed), Some(claimed)) => claims.push(claimed - committed),
                (Role::Source, Some(committed), _) => {
                    let (outcome, at) = trace.outcome.unwrap();
                    frozen.push(at - committed);
                    let in_time = at - committed < ms(50);
                    assert!(
                        !in_time || matches!(outcome, Outcome::HandedOver(_)),
                        "{outcome:?}"
                    );
                }
                _ => {}
            }
        }
    }
    assert!(claims.len() >= ROUNDS - 2 && frozen.len() >= ROUNDS - 2);
    println!(
        "COMMIT received to claimed: p50 {:?}, p99 {:?}; frozen as the source sees it: p50 {:?}, p99 {:?}",
        percentile(&mut claims, 50),
        percentile(&mut claims, 99),
        percentile(&mut frozen, 50),
        percentile(&mut frozen, 99)
    );
    assert!(percentile(&mut frozen, 50) < ms(20));
    let row = SqliteDirectory::open(folder.file())
        .unwrap()
        .head(root)
        .unwrap()
        .unwrap();
    assert_eq!(row.tick, Tick(1 + freezes), "no state was lost on the way");
}

#[test]
fn a_target_that_is_full_or_of_another_schema_refuses() {
    let folder = Folder::new();
    let mut one = Node::start(config(1, &folder), &folder);
    let mut full = config(2, &folder);
    full.capacity = 0;
    let mut two = Node::start(full, &folder);
    let mut other = config(3, &folder);
    other.schema = 99;
    let mut three = Node::start(other, &folder);
    see_each_other(&mut [&mut one, &mut two, &mut three], &folder, 3);
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two, &mut three], door, 7).root;
    one.cross(root, 2);
    until(&mut [&mut one, &mut two, &mut three], PATIENCE, |nodes| {
        nodes[0].rejected.last() == Some(&RejectReason::Full)
    });
    one.cross(root, 3);
    until(&mut [&mut one, &mut two, &mut three], PATIENCE, |nodes| {
        nodes[0].rejected.last() == Some(&RejectReason::Schema)
    });
    assert!(one.plays(root));
}

#[test]
fn a_killed_node_is_taken_over_within_a_second() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let door = one.door();
    let mut roots: Vec<GlobalEntity> = (1..=20)
        .map(|player| knock(&mut [&mut one, &mut two], door, player).root)
        .collect();
    roots.sort_unstable();
    one.checkpoint();
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].handle().status().counters.checkpointed == 20
    });
    one.handle.take().unwrap().kill();
    let took = until(&mut [&mut two], ms(5000), |nodes| {
        roots.iter().all(|root| nodes[0].plays(*root))
    });
    println!("20 players taken over {took:?} after the kill");
    assert!(took < ms(1000), "{took:?}");
    assert_eq!(two.reclaimed, 20);
    let door = two.door();
    let offer = knock(&mut [&mut two], door, 5);
    assert!(roots.contains(&offer.root));
    assert_eq!(two.logins, 0, "nobody was made anew");
}

#[test]
fn without_locks_silence_is_noticed_in_seconds() {
    let folder = Folder::new();
    let without = |id| {
        let mut config = config(id, &folder);
        config.locks = None;
        config
    };
    let mut one = Node::start(without(1), &folder);
    let mut two = Node::start(without(2), &folder);
    see_each_other(&mut [&mut one, &mut two], &folder, 2);
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two], door, 7).root;
    one.checkpoint();
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].handle().status().counters.checkpointed == 1
    });
    one.handle.take().unwrap().kill();
    let took = until(&mut [&mut two], ms(8000), |nodes| nodes[0].plays(root));
    assert!(took > ms(2000), "nothing else could tell: {took:?}");
}

#[test]
fn a_node_that_leaves_hands_its_cells_over_and_goes() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two], door, 7).root;
    one.send(MeshCommand::Leave { patience: ms(5000) });
    until(&mut [&mut one, &mut two], ms(2000), |_| {
        let mut directory = SqliteDirectory::open(folder.file()).unwrap();
        let rest = directory.survey(None).unwrap().rest.unwrap();
        rest.cells.iter().all(|cell| cell.owner.id == NodeId(2))
    });
    // The game hands its last group over, into what was its own cell.
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].prepare(root, 1);
        thread::sleep(ms(20));
        nodes[0].reserved.contains_key(&root)
    });
    one.freeze(root);
    until(&mut [&mut one, &mut two], ms(5000), |nodes| {
        nodes[1].plays(root) && nodes[0].left
    });
    assert!(!one.handle().may_simulate());
    let mut directory = SqliteDirectory::open(folder.file()).unwrap();
    assert_eq!(directory.survey(None).unwrap().nodes.len(), 1);
    assert_eq!(two.reclaimed, 0);
}

#[test]
fn any_door_lets_a_player_in_and_makes_it_once() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let (first, second) = (one.door(), two.door());
    // A new player who begins on the first node knocks at the second.
    let offer = knock(&mut [&mut one, &mut two], second, 7);
    assert_eq!(offer.address, one.handle().addresses().udp);
    assert!(one.plays(offer.root));
    assert_eq!(offer.doors.len(), 2);
    let Purpose::Enter { root, .. } = ticket(&offer.token).purpose else {
        panic!("another purpose");
    };
    assert_eq!(root, offer.root);
    assert_eq!(
        two.handle().redeem(&ticket(&offer.token)),
        Err(TicketRefusal::Node)
    );
    assert!(one.handle().redeem(&ticket(&offer.token)).is_ok());
    assert_eq!(
        one.handle().redeem(&ticket(&offer.token)),
        Err(TicketRefusal::Used)
    );
    let again = knock(&mut [&mut one, &mut two], first, 7);
    assert_eq!(again.root, offer.root);
    assert_eq!(one.logins + two.logins, 1);
}

#[test]
fn two_doors_asked_at_once_make_one_row() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let doors = [one.door(), two.door()];
    for player in 2000..2020 {
        let knocking: Vec<_> = (0..6)
            .map(|n| thread::spawn(move || enter(doors[n % 2], PeerId(player), None, ms(5000))))
            .collect();
        until(&mut [&mut one, &mut two], ms(6000), |_| {
            knocking.iter().all(thread::JoinHandle::is_finished)
        });
        let offers: Vec<Offer> = knocking
            .into_iter()
            .filter_map(|knock| knock.join().unwrap().ok())
            .collect();
        assert!(!offers.is_empty());
        assert!(offers.iter().all(|offer| offer.root == offers[0].root));
    }
    assert_eq!(one.logins + two.logins, 20);
}

#[test]
fn a_taken_port_and_a_missing_key_are_said_in_one_line() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let start = |edit: &dyn Fn(&mut ServiceConfig)| {
        let mut config = config(1, &folder);
        edit(&mut config);
        MeshHandle::start(config, SqliteDirectory::open(folder.file()).unwrap()).unwrap_err()
    };
    let error = start(&|config| config.http = address);
    assert!(matches!(error, StartError::PortTaken { what: "node", .. }));
    assert_eq!(error.to_string(), format!("node port {address} is taken"));
    let error = start(&|config| config.door = address);
    assert_eq!(error.to_string(), format!("door port {address} is taken"));
    let error = start(&|config| config.http = ([0, 0, 0, 0], 0).into());
    assert!(matches!(error, StartError::KeyNeeded(_)));
    assert!(!error.to_string().contains('\n'));
    let error = start(&|config| config.locks = Some(folder.file().join("no folder")));
    assert!(matches!(error, StartError::Lock(_)), "{error}");
}

#[test]
fn a_neighbour_that_does_not_answer_stops_nobody() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two], door, 7).root;
    one.cross(root, 2);
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].reserved.contains_key(&root)
    });
    let connection = rusqlite::Connection::open(folder.file()).unwrap();
    connection
        .execute("UPDATE node SET http='127.0.0.1:1' WHERE id=2", [])
        .unwrap();
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        let nodes = nodes[0].handle().status().nodes;
        nodes.iter().any(|record| record.addresses.http.port() == 1)
    });
    one.freeze(root);
    let took = until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].plays(root)
    });
    assert!(took < ms(500), "{took:?}");
    assert_eq!(one.resumed, 1);
}

#[test]
fn a_game_that_does_not_listen_loses_no_event() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two], door, 7).root;
    one.cross(root, 2);
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].reserved.contains_key(&root)
    });
    two.listens = false;
    one.freeze(root);
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        !nodes[0].hosted.contains_key(&root)
    });
    thread::sleep(ms(300));
    two.listens = true;
    until(&mut [&mut one, &mut two], ms(1000), |nodes| {
        nodes[1].plays(root)
    });
}

#[test]
fn a_restarted_process_takes_its_number_again_at_once() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let former = one.me.unwrap();
    one.handle.take().unwrap().kill();
    let start = Instant::now();
    let mut again = Node::start(config(1, &folder), &folder);
    until(&mut [&mut again, &mut two], PATIENCE, |nodes| {
        nodes[0].me.is_some()
    });
    assert!(start.elapsed() < ms(1500), "{:?}", start.elapsed());
    assert!(again.me.unwrap().incarnation > former.incarnation);
}

#[test]
fn metrics_and_mesh_time_are_there() {
    let folder = Folder::new();
    let (mut one, mut two) = pair(&folder);
    let door = one.door();
    knock(&mut [&mut one, &mut two], door, 7);
    thread::sleep(ms(600));
    let page = raw(one.http(), &get("/metrics"));
    assert!(page.starts_with("HTTP/1.1 200"));
    for line in [
        "seamless_mesh_total{what=\"sessions\"} 1",
        "seamless_nodes 2",
        "seamless_fenced 0",
        "frozen_seconds_bucket",
    ] {
        assert!(page.contains(line), "{line} is missing:\n{page}");
    }
    let (a, b) = (one.handle().mesh_now(), two.handle().mesh_now());
    assert!(b >= a && b - a < ms(50), "{a:?} {b:?}");
    assert!(boot_clock() >= a);
}
