//! Real nodes and what strangers send them: junk, replays, wrong keys, floods.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(all(feature = "http", feature = "sqlite"))]

mod real;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use real::{
    Folder, Node, PATIENCE, config,
    http::{get, post, raw},
    knock, ms, pair_with, see_each_other, until,
};
use seamless_mesh::{
    link::MeshLink,
    service::{EnterError, MeshKey, auth, enter},
};
use seamless_wire::{PeerId, mesh::RejectReason};

#[test]
fn a_door_is_closed_to_the_wrong_and_the_impatient() {
    let folder = Folder::new();
    let mut config = config(1, &folder);
    config.authenticate = Some(Arc::new(|player, credential, _| {
        if credential == Some("sesame") {
            Ok(())
        } else {
            Err(format!("{player} does not know the word"))
        }
    }));
    config.limits.knocks_at_once = 30;
    config.limits.knocks_per_second = 1;
    let mut one = Node::start(config, &folder);
    see_each_other(&mut [&mut one], &folder, 1);
    let door = one.door();
    let refused = enter(door, PeerId(7), Some("password"), ms(2000)).unwrap_err();
    assert!(refused.to_string().contains("does not know the word"));
    let knocking = thread::spawn(move || enter(door, PeerId(7), Some("sesame"), ms(3000)));
    until(&mut [&mut one], PATIENCE, |_| knocking.is_finished());
    assert!(knocking.join().unwrap().is_ok());
    for body in [
        "",
        "{",
        "[]",
        "{\"player\":-1}",
        "{\"player\":\"x\"}",
        "null",
    ] {
        let answer = raw(door, &post("/session", "", body.as_bytes()));
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
    }
    let answer = raw(door, &post("/session", "", &vec![b' '; 100_000]));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let limited =
        (0..40).any(|_| raw(door, &post("/session", "", b"{}")).starts_with("HTTP/1.1 429"));
    assert!(limited);
    // It may come again: the client waits and knocks.
    let waits = enter(door, PeerId(8), Some("sesame"), ms(2000));
    assert!(matches!(waits, Err(EnterError::Retry { .. })), "{waits:?}");
    assert!(one.handle().http().limited.get() > 0);
    assert_eq!(one.logins, 1);
}

#[test]
fn nothing_that_a_stranger_sends_does_anything() {
    let folder = Folder::new();
    let key = [9; 32];
    let mut config = config(1, &folder);
    config.key = Some(MeshKey::new(key));
    let mut one = Node::start(config, &folder);
    see_each_other(&mut [&mut one], &folder, 1);
    let (http, me) = (one.http(), one.me.unwrap());
    let now = one.handle().mesh_now();
    let signed = |key: &[u8; 32], path: &str, body: &[u8], now: Duration, nonce: u8| {
        let header = auth::sign(key, me, "POST", path, body, now, [nonce; 16]);
        post(path, &format!("{}: {header}\r\n", auth::HEADER), body)
    };
    let expect = |request: Vec<u8>, status: &str| {
        let answer = raw(http, &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "wanted {status}: {answer}"
        );
    };
    let paths = [
        "/handover/prepare",
        "/handover/commit",
        "/handover/release",
        "/dead",
        "/enter",
    ];
    for (at, path) in paths.into_iter().enumerate() {
        let nonce = at as u8 * 10;
        expect(post(path, "", b"hello"), "401");
        expect(
            post(path, &format!("{}: nonsense\r\n", auth::HEADER), b"hello"),
            "400",
        );
        expect(signed(&[8; 32], path, b"hello", now, nonce), "401");
        expect(
            signed(
                &key,
                path,
                b"hello",
                now + Duration::from_secs(600),
                nonce + 2,
            ),
            "401",
        );
        // A node's signature under junk: understood as a node's, not as a message.
        expect(signed(&key, path, &[255; 40], now, nonce + 3), "4");
        expect(signed(&key, path, &[255; 40], now, nonce + 3), "409");
        expect(
            signed(&key, path, &vec![0; 20 << 20], now, nonce + 4),
            "413",
        );
    }
    expect(get("/handover/nonsense"), "400");
    expect(get("/nowhere"), "404");
    expect(b"\x00\x01\x02 nonsense\r\n\r\n".to_vec(), "400");
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    expect(long.into_bytes(), "4");
    // Half a request, and connections that say nothing.
    let _silent: Vec<_> = (0..40).map(|_| TcpStream::connect(http).unwrap()).collect();
    let mut half = TcpStream::connect(http).unwrap();
    half.write_all(b"POST /dead HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        .unwrap();
    drop(half);
    let healthy = raw(http, &get("/healthz"));
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    let counted = one.handle().http();
    // The half request is turned away by its head.
    assert_eq!((counted.unsigned.get(), counted.replayed.get()), (6, 5));
    assert!(counted.wrong.get() >= 5 && counted.expired.get() >= 5 && counted.oversized.get() >= 5);
    let status = one.handle().status();
    assert_eq!(
        (
            status.busy.targets,
            status.counters.void,
            status.counters.claimed
        ),
        (0, 0, 0)
    );
    assert!(one.handle().may_simulate());
}

#[test]
fn a_replayed_commit_of_a_real_handover_is_refused() {
    // A relay between the nodes records what passes and plays it again.
    let folder = Folder::new();
    let (mut one, mut two) = pair_with(&folder, |config| {
        config.timing.freeze_budget = ms(10_000);
    });
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two], door, 7).root;
    let (relay, target) = (TcpListener::bind("127.0.0.1:0").unwrap(), two.http());
    let relay_at = relay.local_addr().unwrap();
    let recorded: Arc<std::sync::Mutex<Vec<u8>>> = Arc::default();
    let tape = Arc::clone(&recorded);
    thread::spawn(move || {
        for stream in relay.incoming() {
            let (Ok(near), Ok(far)) = (stream, TcpStream::connect(target)) else {
                return;
            };
            let (mut near_out, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let tape = Arc::clone(&tape);
            thread::spawn(move || {
                let (mut near, mut buffer) = (near, [0; 65536]);
                while let Ok(read @ 1..) = near.read(&mut buffer) {
                    tape.lock().unwrap().extend_from_slice(&buffer[..read]);
                    if far_out.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
            thread::spawn(move || std::io::copy(&mut { far }, &mut near_out));
        }
    });
    // The directory's record of the second node names the relay.
    let connection = rusqlite::Connection::open(folder.file()).unwrap();
    connection
        .execute("UPDATE node SET http=?1 WHERE id=2", [relay_at.to_string()])
        .unwrap();
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        let nodes = nodes[0].handle().status().nodes;
        nodes.iter().any(|record| record.addresses.http == relay_at)
    });
    one.cross(root, 2);
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].reserved.contains_key(&root)
    });
    one.freeze(root);
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[1].plays(root)
    });
    let tape = recorded.lock().unwrap().clone();
    let before = two.handle().http().replayed.get();
    raw(target, &tape);
    let after = two.handle().http().replayed.get();
    assert!(
        after > before + 1,
        "PREPARE and COMMIT again: {before} to {after}"
    );
    assert_eq!(two.handle().status().counters.claimed, 1);
    assert!(two.plays(root));
}

#[test]
fn a_node_without_the_key_is_a_stranger() {
    let folder = Folder::new();
    let with = |id, key: u8| {
        let mut config = config(id, &folder);
        config.key = Some(MeshKey::new([key; 32]));
        config
    };
    let mut one = Node::start(with(1, 5), &folder);
    let mut two = Node::start(with(2, 6), &folder);
    see_each_other(&mut [&mut one, &mut two], &folder, 2);
    let door = one.door();
    let root = knock(&mut [&mut one, &mut two], door, 7).root;
    one.cross(root, 2);
    until(&mut [&mut one, &mut two], PATIENCE, |nodes| {
        nodes[0].rejected.last() == Some(&RejectReason::Unreachable)
    });
    assert!(two.handle().http().wrong.get() > 0);
    assert!(one.plays(root));
}
