//! Fields, numbers and values against a baseline.

use seamless_wire::{
    BitReader, BitWriter, WireError,
    bits::{unzigzag, zigzag},
    delta,
};

use crate::support::{assert_bits, assert_bytes, hex};

#[test]
fn bits_fill_bytes_from_the_least_significant_on() {
    let mut w = BitWriter::new();
    w.put(0b101, 3);
    w.put_bool(true);
    w.put(0x1ff, 9);
    w.put_u64(0x0123_4567_89ab_cdef);
    w.put_bytes(&[0xa5, 0x5a]);
    let pinned = "fd ff bd 79 35 f1 ac 68 24 a0 54 0b";
    assert_bytes(w.finish(), pinned);

    let bytes = hex(pinned);
    let mut r = BitReader::new(&bytes);
    assert_eq!(r.get(3), Ok(0b101));
    assert_eq!(r.get_bool(), Ok(true));
    assert_eq!(r.get(9), Ok(0x1ff));
    assert_eq!(r.get_u64(), Ok(0x0123_4567_89ab_cdef));
    let mut two = vec![];
    assert_eq!(r.get_bytes(2, &mut two), Ok(()));
    assert_eq!(two, [0xa5, 0x5a]);
    assert_eq!(r.expect_end(), Ok(()));
}

#[test]
fn a_run_of_bits_is_the_same_at_any_offset() {
    let mut w = BitWriter::new();
    w.put(0b101, 3);
    w.put_run(&hex("3fff5a01"), 26);
    assert_bytes(w.finish(), "fdf9d70a");
}

#[test]
fn filling_that_is_not_zero_is_no_end() {
    let mut r = BitReader::new(&[0b101]);
    assert_eq!(r.get(1), Ok(1));
    assert_eq!(r.expect_end(), Err(WireError::Trailing(1)));
}

#[test]
fn exp_golomb_numbers_are_zeros_a_one_and_the_rest() {
    for (value, order, pinned) in [
        (0, 0, "01"),
        (1, 0, "02"),
        (2, 0, "06"),
        (7, 0, "08"),
        (0, 3, "01"),
        (9, 3, "0a"),
        (100, 6, "2201"),
        (u64::from(u32::MAX), 0, "000000000100000000"),
        (u64::MAX - 1, 0, "0000000000000080ffffffffffffff7f"),
        (u64::MAX, 6, "0000000000000004000000000000e007"),
    ] {
        assert_bits(
            |w| w.put_golomb(value, order),
            |r| r.get_golomb(order),
            &value,
            pinned,
        );
    }
}

#[test]
fn a_number_past_64_bits_is_refused() {
    // 64 zeros, and a number of order 6 whose high part alone has 64 bits.
    for bytes in [
        hex("0000000000000000 01"),
        hex("0000000000000080 ffffffffffffff7f 00"),
    ] {
        assert!(matches!(
            BitReader::new(&bytes).get_golomb(6),
            Err(WireError::Invalid { .. })
        ));
    }
}

#[test]
fn signed_numbers_alternate() {
    for (value, order, pinned) in [
        (0, 0, "01"),
        (-1, 0, "02"),
        (1, 0, "06"),
        (-2, 0, "04"),
        (2, 0, "0c"),
        (-1000, 0, "00841e"),
        (-5, 4, "13"),
    ] {
        assert_bits(
            |w| w.put_signed_golomb(value, order),
            |r| r.get_signed_golomb(order),
            &value,
            pinned,
        );
    }
    assert_eq!(zigzag(i64::MIN), u64::MAX);
    assert_eq!(unzigzag(u64::MAX), i64::MIN);
}

/// Pins `new` against `base`.
#[track_caller]
fn assert_delta(base: Option<&[u8]>, new: &[u8], pinned: &str) {
    assert_bits(
        |w| delta::write_bytes(w, base, new),
        |r| {
            let mut out = vec![];
            delta::read_bytes(r, base, 100, &mut out)?;
            Ok(out)
        },
        &new.to_vec(),
        pinned,
    );
}

const BASE: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn a_value_without_a_baseline_is_its_length_and_its_bytes() {
    assert_delta(None, &[1, 2, 3], "27406000");
    assert_delta(None, &[], "01");
}

#[test]
fn a_value_of_another_length_than_its_baseline_travels_whole() {
    assert_delta(Some(&[1, 2, 3]), &[1, 2], "4b8000");
}

#[test]
fn bytes_that_stayed_cost_a_bit_in_eight() {
    assert_delta(Some(&BASE), &BASE, "00");
}

#[test]
fn bytes_that_changed_are_named_by_a_mask_of_their_group() {
    let mut new = BASE;
    new[1] = 0xff;
    new[9] = 0xee;
    assert_delta(Some(&BASE), &new, "0afcd71d");
}

#[test]
fn a_changed_group_without_a_changed_byte_is_refused() {
    // The same length, a changed group, an empty mask.
    let bytes = hex("0200");
    let mut out = vec![];
    assert!(matches!(
        delta::read_bytes(&mut BitReader::new(&bytes), Some(&BASE), 100, &mut out),
        Err(WireError::Invalid { .. })
    ));
}

#[test]
fn a_value_longer_than_allowed_is_refused() {
    let bytes = hex("27406000");
    let mut out = vec![];
    assert!(matches!(
        delta::read_bytes(&mut BitReader::new(&bytes), None, 2, &mut out),
        Err(WireError::OutOfBounds {
            value: 3,
            max: 2,
            ..
        })
    ));
}
