//! Heads of rows sections, records, leaves.

use seamless_wire::{
    Allocator, BitReader, BitWriter, GlobalEntity, Holder, PeerId, Tenure, TenureEnd, Term, Tick,
    WireError, WireId, WriteMask,
    record::{
        FenceChange, Form, Leave, LeaveReason, MAX_BASELINES, RecordCursor, RecordHead, RowsHead,
        Version,
    },
};

use crate::support::{assert_bits, epoch, hex, lent, member, root};

/// The datagram's tick.
const NOW: u32 = 66_000;

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
            tenure,
        },
    }
}

/// A delta of `version`, `steps` changes after `baseline`.
const fn delta(
    index: u32,
    (version, baseline, steps): (u32, u32, u32),
    mask: u64,
    fence: Option<FenceChange>,
) -> RecordHead {
    RecordHead {
        index,
        form: Form::Delta {
            version: Version(version),
            baseline: Version(baseline),
            steps,
            mask,
            fence,
        },
    }
}

/// Pins the records of one section in a datagram of this tick, without values.
#[track_caller]
fn assert_records(tick: u32, components: usize, records: &[RecordHead], pinned: &str) {
    assert_bits(
        |w| {
            let mut cursor = RecordCursor::new(Tick(tick), components);
            for record in records {
                cursor.write(w, components, record);
            }
            RecordCursor::write_end(w);
        },
        |r| read_records(r, tick, components),
        &records.to_vec(),
        pinned,
    );
}

fn read_records(
    r: &mut BitReader<'_>,
    tick: u32,
    components: usize,
) -> Result<Vec<RecordHead>, WireError> {
    let mut cursor = RecordCursor::new(Tick(tick), components);
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
        writes: WriteMask::withholding(2),
        lease: 300,
        ended: TenureEnd::Taken,
    };
    let former = GlobalEntity::from_bits(root().to_bits() - 3).expect("legal");
    assert_records(
        NOW,
        3,
        &[
            absolute(70, (0, NOW), root(), lent()),
            absolute(71, (3, NOW - 400), member(), lent()),
            // A change ahead of the tick.
            absolute(80, (1, NOW + 1), former, kept),
        ],
        "65380000000000001a00000000 f0cacc4f7a34c11200438a1805a0487246e80a000000000000003016",
    );
}

#[test]
fn the_first_tenure_of_a_section_is_compared_with_the_empty_one() {
    assert_records(
        0,
        0,
        &[absolute(0, (0, 0), root(), Tenure::default())],
        "030e0000000000800600000000bc02",
    );
}

#[test]
fn versions_wrap() {
    assert_records(
        2,
        0,
        &[
            absolute(0, (0, u32::MAX), root(), Tenure::default()),
            absolute(1, (0, 1), member(), Tenure::default()),
        ],
        "03e60000000000006800000000c02b361100",
    );
    assert_records(1, 1, &[delta(0, (1, u32::MAX - 1, 0), 0, None)], "03ac00");
}

#[test]
fn a_record_like_its_neighbour_is_four_ones() {
    let like = |index| delta(index, (NOW, NOW - 3, 3), 0b011, None);
    assert_records(NOW, 3, &[like(40)], "a32cc200");
    assert_records(
        NOW,
        3,
        &[like(40), like(41), like(42), like(43)],
        "a32cc2 fe1f",
    );
}

#[test]
fn before_the_first_delta_a_change_of_one_tick_and_one_step_is_usual() {
    let usual = |index| delta(index, (NOW, NOW - 1, 1), 0b011, None);
    // The last one has a gap before it.
    assert_records(NOW, 3, &[usual(40), usual(41), usual(43)], "a3ed6b");
}

#[test]
fn a_delta_that_is_not_usual_carries_lag_age_steps_and_perhaps_a_tenure() {
    let told_anew = Some(FenceChange::Whole(Tenure::plain(Term(12))));
    assert_records(
        NOW,
        3,
        &[
            delta(3, (NOW - 2, NOW - 300, 9), 0b101, None),
            delta(10, (NOW, NOW - 2, 0), 0b010, told_anew),
        ],
        "0f48d0044573 ce330120",
    );
}

#[test]
fn a_transfer_says_how_often_to_whom_and_how_the_tenure_before_ended() {
    let to = |times, holder, ended| {
        Some(FenceChange::Transfer {
            times,
            holder,
            ended,
        })
    };
    let (peer, nobody) = (Holder::Peer(PeerId(7)), Holder::Nobody);
    assert_records(
        NOW,
        1,
        &[
            delta(0, (NOW, NOW - 1, 0), 0, to(1, peer, TenureEnd::Unheld)),
            delta(1, (NOW, NOW - 1, 0), 0, to(2, nobody, TenureEnd::Released)),
        ],
        "038c0d87 191313",
    );
}

#[test]
fn a_lag_and_a_tenure_are_of_one_record_and_age_and_steps_of_those_after_it() {
    assert_records(
        NOW,
        2,
        &[
            delta(0, (NOW, NOW - 4, 2), 0b01, Some(FenceChange::Whole(lent()))),
            delta(1, (NOW, NOW - 4, 2), 0b01, None),
            delta(2, (NOW - 1, NOW - 5, 2), 0b01, None),
            delta(3, (NOW, NOW - 4, 2), 0b01, None),
            delta(4, (NOW + 1, NOW - 3, 2), 0b01, None),
        ],
        "033c9ff9498f26d08f3afb63ce02",
    );
}

#[test]
fn an_absolute_record_leaves_what_the_next_delta_is_like() {
    let like = |index| delta(index, (NOW, NOW - 6, 4), 0b10, None);
    assert_records(
        NOW,
        2,
        &[
            like(0),
            absolute(1, (0, NOW), root(), Tenure::default()),
            like(2),
            absolute(3, (0, NOW), member(), Tenure::default()),
        ],
        "035c86 3b0000000000001a00000000f0 8adf05",
    );
}

#[test]
fn a_mask_is_new_or_that_of_the_last_delta() {
    let masks = [0b101, 0b101, 0b010, 0b010, 0b101];
    let records: Vec<RecordHead> = (0..)
        .zip(masks)
        .map(|(index, mask)| delta(index, (NOW, NOW - 1, 1), mask, None))
        .collect();
    assert_records(NOW, 3, &records, "03f54f7f05");
}

#[test]
fn a_mask_has_a_bit_for_each_component_of_the_section() {
    let wide = |index| delta(index, (NOW, NOW - 1, 1), 1 << 39 | 1, None);
    assert_records(NOW, 40, &[wide(0), wide(1)], "0305000000003e");
}

#[test]
fn before_the_first_delta_the_mask_is_every_component() {
    // One record: index 0, usual, the same mask.
    let bytes = hex("0303");
    let records = read_records(&mut BitReader::new(&bytes), NOW, 3).expect("one record");
    let [record] = records[..] else {
        panic!("{records:?}");
    };
    assert!(
        matches!(record.form, Form::Delta { mask, .. } if mask & 0b111 == 0b111),
        "{record:?}"
    );
}

#[test]
fn age_lag_and_steps_have_bounds() {
    let far = i32::MAX as u32;
    assert_records(
        NOW,
        1,
        &[
            delta(0, (NOW, NOW.wrapping_sub(far), MAX_BASELINES), 0, None),
            // As far ahead of the tick as can be said: a lag of -2^31.
            delta(
                1,
                (NOW.wrapping_sub(far + 1), NOW.wrapping_sub(far + 2), 1),
                0,
                None,
            ),
        ],
        "03040000800000006030 6000000080000000e02101",
    );
    // Lag 0, age 1, one step; then an age of 2^31, 33 steps, lags of 2^31 and of -2^31 - 1.
    let read = |bytes| read_records(&mut BitReader::new(&hex(bytes)), NOW, 1);
    let usual = delta(0, (NOW, NOW - 1, 1), 0, None);
    assert_eq!(read("030c01"), Ok(vec![usual]));
    for bytes in ["03040000800000007001", "030c5000"] {
        assert!(matches!(read(bytes), Err(WireError::OutOfBounds { .. })));
    }
    // Nor is a lag of 0 one that has to be said.
    for bytes in [
        "0300000000030000004200",
        "0300000000030000404200",
        "03881000",
    ] {
        assert!(matches!(read(bytes), Err(WireError::Invalid { .. })));
    }
}

#[test]
fn a_tenure_that_begins_after_now_is_refused() {
    let bad = Tenure {
        since: epoch(13, 0),
        ..lent()
    };
    let mut w = BitWriter::new();
    RecordCursor::new(Tick(NOW), 0).write(
        &mut w,
        0,
        &delta(0, (NOW, NOW - 1, 1), 0, Some(FenceChange::Whole(bad))),
    );
    let bytes = w.finish().to_vec();
    assert!(matches!(
        read_records(&mut BitReader::new(&bytes), NOW, 0),
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
