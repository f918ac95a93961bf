//! An entity that goes from hand to hand all the time, for minutes.
//!
//! `SEAMLESS_MINUTES` says for how many; 1 if it is not set.

mod common;

use common::{
    authority::{Event, at, heard, move_to, three, view},
    command, me,
    memory::{assert_flat, resident},
};
use seamless_authority::{AuthorityCommandsExt, AuthorityStats, AuthorityView, Pending};
use seamless_replication::{
    Authority, Peers,
    migrate::redirects,
    wire::{Epoch, Holder, PeerId},
};
use seamless_testkit::Weather;

/// Ticks in a second.
const RATE: usize = 30;

/// How often it changes hands in a second.
const BOUNCES: usize = 50;

#[test]
fn an_entity_that_changes_hands_fifty_times_a_second_stays_one() {
    let minutes = std::env::var("SEAMLESS_MINUTES").map_or(1, |text| {
        let minutes = text.parse();
        minutes.expect("SEAMLESS_MINUTES is a number")
    });
    let mut t = three((1, Weather::lossy(0.05)));
    let ids: [PeerId; 2] = t.clients.map(|client| me(&mut t.cluster, client));
    let (server, clients, seen) = (t.server, t.clients, t.seen);
    let (mut bounces, mut changes, mut due) = (0usize, 0u32, 0usize);
    let first = t.cluster.world(server).get::<Authority>(t.crate_).copied();
    let first = first.expect("it can be lent").epoch;
    let mut last = first;
    let mut known = [Epoch::default(); 2];
    let mut heard_of = [[0u64; 2]; 2];
    let mut warm = None;
    let frames = minutes * 60 * RATE;
    for frame in 0..frames {
        due += BOUNCES;
        while due >= RATE {
            due -= RATE;
            // From A to the server, to B, to A.
            let step = bounces % 3;
            bounces += 1;
            changes += 1;
            t.on_server(|e| {
                match step {
                    0 => e.give_authority(ids[0]),
                    1 => e.take_authority(),
                    _ => e.give_authority(ids[1]),
                };
            });
        }
        for n in 0..2 {
            if view(&mut t.cluster, clients[n], seen[n]) == Some(AuthorityView::Granted) {
                move_to(&mut t.cluster, clients[n], seen[n], frame as f32);
            }
        }
        t.cluster.step();
        let authority = t.cluster.world(server).get::<Authority>(t.crate_).copied();
        let epoch = authority.expect("it can be lent").epoch;
        assert!(epoch >= last, "epochs rise");
        last = epoch;
        for n in 0..2 {
            let there = t.cluster.world(clients[n]).get::<Authority>(seen[n]);
            let epoch = there.expect("it is the same entity all the time").epoch;
            assert!(epoch >= known[n] && epoch <= last);
            known[n] = epoch;
            for event in heard(&mut t.cluster, clients[n]) {
                match event {
                    Event::Granted(_) => heard_of[n][0] += 1,
                    Event::Lost(..) => heard_of[n][1] += 1,
                    Event::Denied(..) => {}
                }
                let [granted, lost] = heard_of[n];
                assert!(granted == lost || granted == lost + 1, "{granted} {lost}");
            }
        }
        if frame == frames / 3 {
            warm = resident();
        }
    }
    assert_eq!(last.seq - first.seq, changes, "each is one epoch");
    assert_flat(warm, 4096);
    t.on_server(|e| {
        e.reset_authority();
    });
    t.cluster.run(90);
    assert_eq!(t.holder(), Some(Holder::Nobody));
    let there = at(&mut t.cluster, server, t.crate_);
    for n in 0..2 {
        assert_eq!(at(&mut t.cluster, clients[n], seen[n]), there);
        let free = Some(AuthorityView::Available);
        assert_eq!(view(&mut t.cluster, clients[n], seen[n]), free);
        for event in heard(&mut t.cluster, clients[n]) {
            heard_of[n][1] += u64::from(matches!(event, Event::Lost(..)));
            heard_of[n][0] += u64::from(matches!(event, Event::Granted(_)));
        }
        let [granted, lost] = heard_of[n];
        assert!(
            granted == lost && granted > minutes as u64 * 60,
            "{granted}"
        );
    }
    let world = t.cluster.world(server);
    assert_eq!(world.resource::<Pending>().waiting(), 0);
    assert_eq!(redirects(world.resource::<Peers>()).count(), 0);
    let stats = world.resource::<AuthorityStats>();
    assert_eq!(
        stats.lent,
        bounces.div_ceil(3) as u64 + (bounces / 3) as u64
    );
    // And it can be had as if nothing had been.
    command(&mut t.cluster, clients[1], seen[1], |e| {
        e.request_authority();
    });
    t.until(1, AuthorityView::Granted);
}
