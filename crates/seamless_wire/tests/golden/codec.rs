//! The serde format.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use seamless_wire::{
    CellId, GlobalEntity, Holder, Incarnation, InputSeq, NodeId, PeerId, RequestId, Tenure,
    TenureEnd, Term, Tick, WireError, WriteMask, codec,
};
use serde::{Deserialize, Serialize};

use crate::support::{assert_value, epoch, handover, hex, lent, root, source};

#[test]
fn integers_take_one_byte_up_to_250_and_a_mark_beyond() {
    assert_value(&0u32, "00");
    assert_value(&250u32, "fa");
    assert_value(&251u32, "fb fb00");
    assert_value(&65_535u32, "fb ffff");
    assert_value(&65_536u32, "fc 00000100");
    assert_value(&(1u64 << 32), "fd 0000000001000000");
    assert_value(&(1u128 << 64), "fe 0000000000000000 0100000000000000");
    assert_value(&300u16, "fb 2c01");
}

#[test]
fn a_u8_is_a_byte_and_has_no_mark() {
    assert_value(&251u8, "fb");
    assert_value(&-1i8, "ff");
}

#[test]
fn signed_integers_alternate() {
    assert_value(&0i32, "00");
    assert_value(&-1i32, "01");
    assert_value(&1i32, "02");
    assert_value(&-126i64, "fb fb00");
    assert_value(&-300i16, "fb 5702");
}

#[test]
fn a_longer_form_of_an_integer_is_read_too() {
    // So digests are taken over bytes, never over values.
    assert_eq!(codec::decode::<u32>(&hex("fb 0100")), Ok(1));
    assert_eq!(codec::decode::<u32>(&hex("fc 01000000")), Ok(1));
    assert!(matches!(
        codec::decode::<u32>(&hex("fd 0100000000000000")),
        Err(WireError::Payload(_))
    ));
}

#[test]
fn floats_are_their_bits() {
    assert_value(&1.5f32, "0000c03f");
    assert_value(&-0.25f64, "000000000000d0bf");
}

#[test]
fn texts_and_lists_begin_with_their_length() {
    assert_value(&"grüß".to_owned(), "06 6772c3bcc39f");
    assert_value(&'ß', "c39f");
    assert_value(&vec![1u8, 251, 255], "03 01fbff");
    assert_value(&vec![1u16, 251], "02 01 fbfb00");
    let map: BTreeMap<u8, bool> = [(1, true), (2, false)].into();
    assert_value(&map, "02 01 01 02 00");
}

#[test]
fn arrays_tuples_and_structs_are_their_parts() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Part {
        a: u8,
        b: Option<bool>,
        c: (),
    }
    assert_value(&[1u16, 2], "01 02");
    assert_value(&(1u8, 300u16), "01 fb2c01");
    assert_value(
        &Part {
            a: 1,
            b: Some(true),
            c: (),
        },
        "01 01 01",
    );
    assert_value(
        &Part {
            a: 1,
            b: None,
            c: (),
        },
        "01 00",
    );
}

#[test]
fn enums_begin_with_the_number_of_their_variant() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        One(u16),
        Struct { a: u8, b: u8 },
    }
    assert_value(&Kind::Unit, "00");
    assert_value(&Kind::One(300), "01 fb2c01");
    assert_value(&Kind::Struct { a: 4, b: 5 }, "02 04 05");
    assert!(matches!(
        codec::decode::<Kind>(&[3]),
        Err(WireError::Payload(_))
    ));
}

#[test]
fn addresses_are_a_family_the_octets_and_the_port() {
    assert_value(
        &SocketAddr::from((Ipv4Addr::new(10, 0, 0, 7), 5000)),
        "00 0a000007 fb8813",
    );
    assert_value(
        &"[2001:db8::1]:80"
            .parse::<SocketAddr>()
            .expect("an address"),
        "01 20010db8000000000000000000000001 50",
    );
}

#[test]
fn names_and_counters_are_their_numbers() {
    assert_value(&root(), "fd 0500000000bc0a00");
    assert_value(
        &GlobalEntity::new(GlobalEntity::WORLD_BLOCK, 1).expect("legal"),
        "fd 0100000000010000",
    );
    assert_value(&Tick(66_000), "fc d0010100");
    assert_value(&Term(300), "fb 2c01");
    assert_value(&PeerId(77), "4d");
    assert_value(&NodeId(3), "03");
    assert_value(&Incarnation(9), "09");
    assert_value(&CellId(7), "07");
    assert_value(&InputSeq(41), "29");
    assert_value(&RequestId(300), "fb 2c01");
    assert_value(&source(), "03 09");
    assert_value(&handover(), "fd0500000000bc0a00 0c 02");
}

#[test]
fn a_reserved_name_is_refused() {
    // No block; and low 32 bits of zero.
    for bytes in [hex("05"), hex("fd 0000000000bc0a00")] {
        assert!(matches!(
            codec::decode::<GlobalEntity>(&bytes),
            Err(WireError::Payload(_))
        ));
    }
}

#[test]
fn a_tenure_is_two_epochs_a_holder_and_a_flag() {
    assert_value(&lent(), "0c 03  09 02  02 4d  01  00 00 00");
    assert_value(
        &Tenure {
            epoch: epoch(300, 4),
            since: epoch(300, 4),
            holder: Holder::Host,
            delegated: true,
            writes: WriteMask::withholding(0b101),
            lease: 90,
            ended: TenureEnd::Taken,
        },
        "fb2c01 04  fb2c01 04  01  01  05 5a 03",
    );
    assert_value(&Tenure::default(), "00 00  00 00  00  00  00 00 00");
}
