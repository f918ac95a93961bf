//! Headers, acks, kinds of sections, inputs.

use seamless_wire::{
    BitReader, InputSeq, PacketSeq, Term, Tick, WireError,
    packet::{AckBits, HeaderContext, InputAck, InputBatch, SectionKind, StateHeader},
};

use crate::support::{assert_bits, hex};

const fn context() -> HeaderContext {
    HeaderContext {
        seq: PacketSeq(70_000),
        sent: PacketSeq(65_530),
        tick: Tick(66_000),
    }
}

/// Speaks of 65540 to 65537 and acknowledges two of them.
fn acks() -> AckBits {
    let mut acks = AckBits::new(PacketSeq(65_540));
    acks.report(PacketSeq(65_540), true);
    acks.report(PacketSeq(65_538), true);
    acks.report(PacketSeq(65_537), false);
    acks
}

#[track_caller]
fn assert_header(header: &StateHeader, context: HeaderContext, pinned: &str) {
    assert_bits(
        |w| header.write(w),
        |r| StateHeader::read(r, context),
        header,
        pinned,
    );
}

#[test]
fn a_datagram_without_number_and_acks_begins_with_a_mark_and_its_tick() {
    let header = StateHeader {
        seq: None,
        tick: Tick(66_000),
        acks: None,
    };
    assert_header(&header, context(), "80 d001");
}

#[test]
fn a_numbered_datagram_carries_the_low_bits_of_its_sequence() {
    let header = StateHeader {
        seq: Some(PacketSeq(70_003)),
        tick: Tick(66_002),
        acks: None,
    };
    assert_header(&header, context(), "81 d201 7311");
}

#[test]
fn acks_are_the_newest_sequence_a_reach_and_a_bit_for_each() {
    let header = StateHeader {
        seq: None,
        tick: Tick(66_002),
        acks: Some(acks()),
    };
    assert_header(&header, context(), "82 d201 0400 57");
}

#[test]
fn a_header_with_everything_has_the_sequence_before_the_acks() {
    let header = StateHeader {
        seq: Some(PacketSeq(70_003)),
        tick: Tick(66_002),
        acks: Some(acks()),
    };
    assert_header(&header, context(), "83 d201 7311 0400 57");
}

#[test]
fn a_long_report_goes_on_bit_by_bit() {
    let mut acks = AckBits::new(PacketSeq(5000));
    for back in 0..70 {
        acks.report(PacketSeq(5000 - back), back % 3 == 0);
    }
    let header = StateHeader {
        seq: None,
        tick: Tick(0x1234),
        acks: Some(acks),
    };
    let context = HeaderContext {
        seq: PacketSeq(0),
        sent: PacketSeq(5001),
        tick: Tick(0x1234),
    };
    assert_header(&header, context, "82 3412 8813 98264992244992244992");
}

#[test]
fn a_first_byte_with_other_bits_is_refused() {
    for first in ["00 d001", "7f d001", "84 d001", "c0 d001"] {
        let bytes = hex(first);
        assert!(matches!(
            StateHeader::read(&mut BitReader::new(&bytes), context()),
            Err(WireError::Invalid { .. })
        ));
    }
}

#[test]
fn every_kind_of_section_has_its_number() {
    use SectionKind::{Audit, Control, End, InputAck, Inputs, Leaves, Messages, Rows};
    let kinds = vec![
        Control, Rows, Leaves, Inputs, InputAck, Messages, Audit, End,
    ];
    assert_bits(
        |w| kinds.iter().for_each(|kind| kind.write(w)),
        |r| (0..8).map(|_| SectionKind::read(r)).collect(),
        &kinds,
        "d1581f",
    );
}

#[test]
fn inputs_are_numbered_once_and_coded_each_against_the_one_before() {
    let batch = InputBatch {
        first: InputSeq(41),
        inputs: vec![vec![1, 2], vec![1, 3], vec![9]],
    };
    assert_bits(
        |w| InputBatch::write(w, batch.first, batch.inputs.iter().map(Vec::as_slice)),
        InputBatch::read,
        &batch,
        "29000000 2f01023a702400",
    );
}

#[test]
fn an_input_of_whole_words_is_expected_to_stay_as_the_one_before() {
    let batch = InputBatch {
        first: InputSeq(41),
        inputs: vec![vec![1, 2, 3, 4], vec![2, 2, 3, 4], vec![2, 2, 3, 4]],
    };
    assert_bits(
        |w| InputBatch::write(w, batch.first, batch.inputs.iter().map(Vec::as_slice)),
        InputBatch::read,
        &batch,
        "29000000 4f010203040e04",
    );
}

#[test]
fn an_input_acknowledgement_is_a_term_and_a_number() {
    for (term, applied, pinned) in [
        (12, 43, "195600000000"),
        (1 << 40, 0, "0000000003000000000000000000"),
    ] {
        let ack = InputAck {
            term: Term(term),
            applied: InputSeq(applied),
        };
        assert_bits(|w| ack.write(w), InputAck::read, &ack, pinned);
    }
}
