//! What storms found about entities that go to and fro between a client and its server, in the few
//! steps that it takes.

mod common;

use bevy::prelude::*;
use common::{
    Place,
    authority::{Event, at, heard, move_to, own_on_a_wire},
    command, counted, get,
    hostile::forged,
    me, settle,
};
use seamless_authority::{AuthorityCommandsExt, AuthorityStats, Delegated, Granted};
use seamless_replication::{
    Hosted, NetSlot, Remote, Replicated, Slots,
    migrate::{host_map, written_version},
    wire::{
        BitReader, PacketSeq, Tick,
        audit::{self, Audited},
        control::DenyReason,
        packet::{HeaderContext, SectionKind, StateHeader},
        record::Version,
    },
};
use seamless_testkit::{Fate, Parcel, Way, Wire};

/// Whether there are control items in a datagram.
fn has_control(parcel: &Parcel) -> bool {
    let mut r = BitReader::new(&parcel.bytes);
    let context = HeaderContext {
        seq: PacketSeq(0),
        sent: PacketSeq(0),
        tick: Tick(0),
    };
    parcel.channel.is_none()
        && StateHeader::read(&mut r, context).is_ok()
        && SectionKind::read(&mut r) == Ok(SectionKind::Control)
}

/// Nothing that the server says arrives, but for what it has received.
fn no_control_arrives(wire: &Wire) {
    wire.decide(
        |parcel| match parcel.way == Way::ToClient && has_control(parcel) {
            true => Fate::Lose,
            false => Fate::Pass,
        },
    );
}

#[test]
fn an_audit_of_what_migrated_meanwhile_finds_nothing() {
    let (mut cluster, [server, client], wire, [own, there]) = own_on_a_wire();
    no_control_arrives(&wire);
    command(&mut cluster, server, there, |e| {
        e.delegate();
    });
    cluster.run(3);
    let before = counted(&mut cluster, server).audit;
    cluster.run(90);
    assert!(
        get::<Hosted>(&mut cluster, client, own).is_some(),
        "not yet"
    );
    let after = counted(&mut cluster, server).audit;
    assert!(after.compared > before.compared, "{after:?}");
    assert_eq!(after.differing, 0);
}

#[test]
fn what_was_asked_for_anew_is_told_whole_after_a_migration_that_names_what_was_before() {
    let (mut cluster, [server, client], wire, [own, there]) = own_on_a_wire();
    no_control_arrives(&wire);
    // The server thinks that it has something wrong, and asks for it to be told whole.
    let world = cluster.world(client);
    let slot = *world.get::<NetSlot>(own).expect("on the network");
    let version = written_version(world, &slot).expect("written");
    let index = host_map(world.resource::<Slots>())
        .find_map(|(id, entity)| (entity == own).then_some(id.0.index))
        .expect("hosted");
    let audited = Audited {
        index,
        version: Version(version),
        hash: 1,
    };
    let tick = Tick(cluster.frames() as u32 + 1);
    let bytes = forged(tick.0, None, |w| {
        SectionKind::Audit.write(w);
        audit::write_section(w, tick, &[audited]);
    });
    wire.put(Parcel::datagram(Way::ToServer, bytes));
    cluster.run(2);
    assert_eq!(counted(&mut cluster, server).audit.differing, 1);
    command(&mut cluster, server, there, |e| {
        e.delegate();
    });
    cluster.run(3);
    // The client hears of both at once. What it says then is lost for some ticks.
    wire.all(Way::ToClient, Fate::Pass);
    wire.all(Way::ToServer, Fate::Lose);
    cluster.run_until("the client hears of it", 60, |cluster| {
        get::<Granted>(cluster, client, own).is_some()
    });
    assert_eq!(counted(&mut cluster, client).audit.resent, 1);
    move_to(&mut cluster, client, own, 2.0);
    cluster.run(3);
    wire.pass();
    for x in 3..8u8 {
        move_to(&mut cluster, client, own, f32::from(x));
        cluster.step();
    }
    cluster.run(2);
    assert_eq!(at(&mut cluster, server, there), Some(7.0));
}

#[test]
fn what_a_client_despawned_is_gone_also_if_its_slot_is_lent_something_at_once() {
    let (mut cluster, [server, client], wire, [own, _]) = own_on_a_wire();
    wire.all(Way::ToServer, Fate::Lose);
    cluster.world(client).despawn(own);
    cluster.run(3);
    let other = cluster
        .world(server)
        .spawn((Replicated, Delegated, Place(7.0, 0.0, 0.0)))
        .id();
    cluster.step();
    let me = me(&mut cluster, client);
    command(&mut cluster, server, other, |e| {
        e.give_authority(me);
    });
    cluster.run(10);
    let mut held = cluster
        .world(client)
        .query_filtered::<Entity, With<Granted>>();
    let held = held.single(cluster.world(client)).expect("one");
    wire.pass();
    move_to(&mut cluster, client, held, 8.0);
    settle(&mut cluster, server, &[client]);
    let mut told = cluster.world(server).query_filtered::<(), With<Remote>>();
    assert_eq!(told.iter(cluster.world(server)).count(), 0);
    assert_eq!(at(&mut cluster, server, other), Some(8.0));
}

#[test]
fn a_delegation_that_the_server_was_faster_with_denies_nothing() {
    let (mut cluster, [server, client], wire, [own, there]) = own_on_a_wire();
    wire.all(Way::ToServer, Fate::Hold);
    command(&mut cluster, client, own, |e| {
        e.delegate();
    });
    cluster.step();
    command(&mut cluster, server, there, |e| {
        e.delegate();
    });
    cluster.run(3);
    assert!(get::<Granted>(&mut cluster, client, own).is_some());
    heard(&mut cluster, client);
    // It is gone when the client's wish arrives, and the client hears of the refusal first.
    cluster.world(server).despawn(there);
    // What is said of that goes a few times unasked, and is lost.
    wire.decide(|parcel| match parcel.way {
        Way::ToClient => Fate::Lose,
        Way::ToServer => Fate::Hold,
    });
    cluster.run(4);
    wire.decide(
        |parcel| match parcel.way == Way::ToClient && !has_control(parcel) {
            true => Fate::Lose,
            false => Fate::Pass,
        },
    );
    for parcel in wire.kept() {
        wire.put(parcel);
    }
    cluster.run_until("it is refused", 90, |cluster| {
        let stats = cluster.world(server).resource::<AuthorityStats>();
        stats.refused.get(&DenyReason::Unknown) == Some(&1)
    });
    cluster.run(2);
    assert!(cluster.world(client).get_entity(own).is_ok(), "not yet");
    wire.pass();
    cluster.run(60);
    assert!(cluster.world(client).get_entity(own).is_err());
    let denied = heard(&mut cluster, client);
    let denied = denied
        .iter()
        .filter(|event| matches!(event, Event::Denied(..)));
    assert_eq!(denied.count(), 0);
}
