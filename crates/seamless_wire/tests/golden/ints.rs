//! Integers of quantised values.

use seamless_wire::{BitReader, WireError, delta::Baseline, ints};

use crate::support::assert_bits;

fn bytes(ints: &[i32]) -> Vec<u8> {
    ints.iter().flat_map(|int| int.to_le_bytes()).collect()
}

#[track_caller]
fn assert_ints(base: Option<Baseline<'_>>, new: &[i32], pinned: &str) {
    let new = bytes(new);
    let read = |r: &mut BitReader<'_>| {
        let mut out = vec![];
        ints::read_ints(r, base, &mut out).map(|()| out)
    };
    assert_bits(|w| ints::write_ints(w, base, &new), read, &new, pinned);
}

#[test]
fn against_nothing_each_says_how_many_bits_it_has() {
    assert_ints(None, &[0, -1, 300, i32::MIN], "020824594000000000");
}

#[test]
fn without_a_past_an_integer_is_told_as_its_distance_from_the_baseline() {
    let base = bytes(&[15, -9, 7]);
    assert_ints(Some(Baseline::still(&base)), &[15, -8, -300], "d4b70c");
    let zero = bytes(&[0]);
    assert_ints(Some(Baseline::still(&zero)), &[i32::MIN], "fefffdffffff03");
    // Another number of them.
    assert_ints(Some(Baseline::still(&base)), &[5], "370c");
}

#[test]
fn with_a_past_an_integer_is_told_as_its_distance_from_where_it_was_going() {
    let (before, base) = (bytes(&[10, -7]), bytes(&[15, -9]));
    let moving = Some(Baseline {
        value: &base,
        before: Some((&before, 2)),
    });
    assert_ints(moving, &[25, -13], "00");
    assert_ints(moving, &[29, -13], "1600");
    // Over the end.
    let (before, base) = (bytes(&[i32::MAX - 1]), bytes(&[i32::MAX]));
    let moving = Some(Baseline {
        value: &base,
        before: Some((&before, 1)),
    });
    assert_ints(moving, &[i32::MIN], "00");
}

#[test]
fn a_distance_of_more_than_32_bits_is_refused() {
    let base = bytes(&[0]);
    let mut out = vec![];
    // Same length, then seventeen ones.
    let mut r = BitReader::new(&[0xfe, 0xff, 0x03, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(
        ints::read_ints(&mut r, Some(Baseline::still(&base)), &mut out),
        Err(WireError::Invalid { value: 17, .. })
    ));
}
