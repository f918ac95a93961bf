//! Heads of rows sections, records, leaves.

use seamless_wire::{
    Allocator, BitReader, GlobalEntity, Holder, Tenure, Term, WireError, WireId,
    record::{Form, Leave, LeaveReason, RecordCursor, RecordHead, RowsHead, Version},
};

use crate::support::{assert_bits, epoch, lent, member, root};

fn absolute(
    index: u32,
    (generation, version): (u32, u32),
    global: GlobalEntity,
    tenure: Tenure,
) -> RecordHead {
    RecordHead {
        index,
        form: Form::Absolute {
            generation,
            version: Version(version),
            global,
        },
        tenure: Some(tenure),
    }
}

const fn delta(index: u32, baseline: u8, age: u32, mask: u64) -> RecordHead {
    RecordHead {
        index,
        form: Form::Delta {
            baseline,
            age,
            mask,
        },
        tenure: None,
    }
}

/// Pins the records of one section, without values.
#[track_caller]
fn assert_records(components: usize, records: &[RecordHead], pinned: &str) {
    assert_bits(
        |w| {
            let mut cursor = RecordCursor::default();
            for record in records {
                cursor.write(w, components, record);
            }
            RecordCursor::write_end(w);
        },
        |r| read_records(r, components),
        &records.to_vec(),
        pinned,
    );
}

fn read_records(r: &mut BitReader<'_>, components: usize) -> Result<Vec<RecordHead>, WireError> {
    let mut cursor = RecordCursor::default();
    let mut records = vec![];
    while let Some(record) = cursor.read(r, components)? {
        records.push(record);
    }
    Ok(records)
}

#[track_caller]
fn assert_head(written: Allocator, read: Allocator, components: &[u16], pinned: &str) {
    assert_bits(
        |w| RowsHead::write(w, written, components),
        |r| RowsHead::read(r, 8),
        &RowsHead {
            allocator: read,
            components: components.to_vec(),
        },
        pinned,
    );
}

#[test]
fn a_rows_section_begins_with_who_numbered_and_the_components() {
    assert_head(Allocator::Local, Allocator::Peer, &[0, 2, 3], "b402");
    assert_head(Allocator::Peer, Allocator::Local, &[7], "4700");
    assert_head(Allocator::Local, Allocator::Peer, &[], "02");
}

#[test]
fn absolute_records_carry_name_version_and_tenure_against_the_one_before() {
    let kept = Tenure {
        epoch: epoch(12, 4),
        since: epoch(12, 4),
        holder: Holder::Host,
        delegated: true,
    };
    let former = GlobalEntity::from_bits(root().to_bits() - 3).expect("legal");
    assert_records(
        3,
        &[
            absolute(70, (0, 9), root(), lent()),
            absolute(71, (3, 1000), member(), lent()),
            absolute(80, (1, 0), former, kept),
        ],
        "653c0100000000000600000000 5ee9cc4fda2600000000000080 13f0631153e1cd0803",
    );
}

#[test]
fn the_first_tenure_of_a_section_is_compared_with_the_empty_one() {
    assert_records(
        0,
        &[absolute(0, (0, 0), root(), Tenure::default())],
        "03070000000000800100000080570a",
    );
}

#[test]
fn delta_records_carry_a_baseline_an_age_and_a_mask() {
    let mut second = delta(10, 0x30, 32, 0b010);
    second.tenure = Some(Tenure::plain(Term(12)));
    assert_records(3, &[delta(3, 0x28, 1, 0b101), second], "0f50d21c0c84330101");
}

#[test]
fn a_mask_has_a_bit_for_each_component_of_the_section() {
    assert_records(40, &[delta(0, 1, 2, 1 << 39 | 1)], "0302160000000008");
}

#[test]
fn a_tenure_that_begins_after_now_is_refused() {
    let mut bad = delta(0, 0, 1, 0);
    bad.tenure = Some(Tenure {
        since: epoch(13, 0),
        ..lent()
    });
    let mut w = seamless_wire::BitWriter::new();
    RecordCursor::default().write(&mut w, 0, &bad);
    let bytes = w.finish().to_vec();
    assert!(matches!(
        read_records(&mut BitReader::new(&bytes), 0),
        Err(WireError::Invalid { .. })
    ));
}

#[test]
fn leaves_name_a_slot_its_use_and_a_reason() {
    let id = |allocator, index, generation| WireId {
        allocator,
        index,
        generation,
    };
    let written = [
        (id(Allocator::Local, 5, 0), LeaveReason::Despawned),
        (id(Allocator::Peer, 1000, 7), LeaveReason::OutOfSight),
        (
            id(Allocator::Local, WireId::MAX_INDEX - 1, u32::MAX),
            LeaveReason::Moved,
        ),
    ]
    .map(|(id, reason)| Leave { id, reason });
    let read = written.map(|leave| Leave {
        id: WireId {
            allocator: leave.id.allocator.flipped(),
            ..leave.id
        },
        ..leave
    });
    assert_bits(
        |w| {
            written.iter().for_each(|leave| leave.write(w));
            Leave::write_end(w);
        },
        Leave::read_all,
        &read.to_vec(),
        "2d3204145100 4000e00700000008 00000020",
    );
}
