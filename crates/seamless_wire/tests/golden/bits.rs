//! Fields, numbers and values against a baseline.

use seamless_wire::{
    BitReader, BitWriter, WireError,
    bits::{unzigzag, zigzag},
    delta::{self, Baseline},
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
fn behind_the_end_of_a_datagram_are_zeros_or_nothing() {
    for (bytes, left) in [
        (&[0b1][..], Ok(())),
        (&[0b1, 0], Ok(())),
        (&[0b11], Err(WireError::Trailing(1))),
        (&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Ok(())),
        (
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80],
            Err(WireError::Trailing(12)),
        ),
    ] {
        let mut r = BitReader::new(bytes);
        assert_eq!(r.get(1), Ok(1));
        assert_eq!(r.expect_zeros(), left, "{bytes:?}");
    }
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
fn assert_delta(base: Option<Baseline<'_>>, new: &[u8], pinned: &str) {
    assert_bits(
        |w| delta::write_bytes(w, base, new),
        |r| {
            let mut out = vec![];
            delta::read_bytes(r, base, 1000, &mut out)?;
            Ok(out)
        },
        &new.to_vec(),
        pinned,
    );
}

/// Pins `new` against the words of `base` alone.
#[track_caller]
fn assert_still(base: &[u32], new: &[u32], pinned: &str) {
    let base = bytes_of(base);
    assert_delta(Some(Baseline::still(&base)), &bytes_of(new), pinned);
}

/// Pins `new`, that many changes after `base`, which came after `before`.
#[track_caller]
fn assert_moving((before, base, steps): (&[u32], &[u32], u32), new: &[u32], pinned: &str) {
    let (before, base) = (bytes_of(before), bytes_of(base));
    let base = Baseline {
        value: &base,
        before: Some((&before, steps)),
    };
    assert_delta(Some(base), &bytes_of(new), pinned);
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn floats<const N: usize>(values: [f32; N]) -> [u32; N] {
    values.map(f32::to_bits)
}

const BASE: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn a_value_without_a_baseline_is_its_length_and_its_bytes() {
    assert_delta(None, &[1, 2, 3], "27406000");
    assert_delta(None, &[], "01");
}

#[test]
fn a_value_of_another_length_than_its_baseline_travels_whole() {
    assert_delta(Some(Baseline::still(&[1, 2, 3])), &[1, 2], "4b8000");
}

#[test]
fn bytes_that_stayed_cost_a_bit_in_eight() {
    assert_delta(Some(Baseline::still(&BASE)), &BASE, "00");
}

#[test]
fn bytes_that_changed_are_named_by_a_mask_of_their_group() {
    let mut new = BASE;
    new[1] = 0xff;
    new[9] = 0xee;
    assert_delta(Some(Baseline::still(&BASE)), &new, "0afcd71d");
}

#[test]
fn a_changed_group_without_a_changed_byte_is_refused() {
    // The same length, a changed group, an empty mask.
    let bytes = hex("0200");
    let mut out = vec![];
    let base = Some(Baseline::still(&BASE));
    assert!(matches!(
        delta::read_bytes(&mut BitReader::new(&bytes), base, 100, &mut out),
        Err(WireError::Invalid { .. })
    ));
}

#[test]
fn whole_words_say_whether_they_travel_as_bytes_or_as_words() {
    // Two bytes that change a float's exponent and an integer out of all order.
    let base: Vec<u8> = (0..12).collect();
    let mut new = base.clone();
    new[3] = 0x83;
    new[11] = 0xee;
    assert_delta(Some(Baseline::still(&base)), &new, "44188cee");
    // An unchanged value takes a bit in eight bytes, or in four: bytes, unless it is a tie.
    assert_still(&[7, 8], &[7, 8], "00");
    assert_still(&[7], &[7], "02");
    // Either way is read, whatever is shorter.
    let seven = bytes_of(&[7]);
    let base = Some(Baseline::still(&seven));
    let mut out = vec![];
    let read = delta::read_bytes(&mut BitReader::new(&[0]), base, 100, &mut out);
    assert_eq!((read, out), (Ok(()), bytes_of(&[7])));
}

#[test]
fn words_are_few_enough_for_128_bytes() {
    let (before, base, new) = (floats([1.0]), floats([1.25]), floats([1.5]));
    let (before, base, new) = (before.repeat(32), base.repeat(32), new.repeat(32));
    assert_moving((&before, &base, 1), &new, "0200000000");
    let (mut new, base) = ([0; 128], [0; 128]);
    new[0] = 1;
    assert_delta(Some(Baseline::still(&base)), &new, "0c08000000");
    // Four more, and there is no flag.
    let (mut new, base) = ([0; 132], [0; 132]);
    new[0] = 1;
    assert_delta(Some(Baseline::still(&base)), &new, "0604000000");
}

const BEFORE: [f32; 2] = [1.0, -1.0];
const AT: [f32; 2] = [1.25, -2.0];

#[test]
fn without_a_past_a_word_is_told_as_its_distance_from_the_baseline() {
    let base = floats(AT);
    // Five floats up; stayed.
    assert_still(&base, &[base[0] + 5, base[1]], "1e02");
    // Small integers are told as well as floats.
    assert_still(&[7, 100], &[8, 100], "0e00");
    // The furthest distance, and one over the end of the order.
    assert_still(&[0], &[u32::MAX], "feffffff7f");
    assert_still(&[0x7fff_ffff], &[u32::MAX], "0e00");
}

#[test]
fn with_a_past_a_word_is_told_as_its_distance_from_where_it_was_going() {
    let (before, base) = (floats(BEFORE), floats(AT));
    let ahead = floats([1.75, -4.0]);
    assert_moving((&before, &base, 2), &ahead, "02");
    // Five floats up; one down, which is one bit up in a negative float.
    assert_moving((&before, &base, 2), &[ahead[0] + 5, ahead[1] + 1], "1e0a00");
    // It stopped.
    assert_moving((&before, &base, 2), &base, "00");
    // One word stopped and one goes on.
    assert_moving((&before, &base, 2), &[base[0], ahead[1]], "040204");
}

#[test]
fn a_past_without_steps_or_of_another_length_is_none() {
    let (before, base) = (floats(BEFORE), floats(AT));
    let new = [base[0] + 5, base[1]];
    assert_moving((&before, &base, 0), &new, "1e02");
    assert_moving((&before[..1], &base, 2), &new, "1e02");
}

#[test]
fn each_operation_of_a_prediction_rounds_by_itself() {
    // 0.1 + (0.1 - 1.3) * 3 is -3.5, but would be one bit off if it rounded once or twice only.
    let ([before], [base], [new]) = (floats([1.3]), floats([0.1]), floats([-3.5]));
    assert_moving((&[before], &[base], 3), &[new], "02");
    // Subnormals are nothing, for some processors take them for that.
    assert_moving((&[5, 100], &[7, 100], 2), &[0, 100], "02");
    // What stood still stays as it is, down to the sign of a zero.
    let (before, base, new) = (
        floats([-0.0, 1.0]),
        floats([-0.0, 1.25]),
        floats([-0.0, 1.75]),
    );
    assert_moving((&before, &base, 2), &new, "02");
}

#[test]
fn a_word_that_leads_to_no_number_is_expected_to_stay() {
    let ([one], nan) = (floats([1.0]), 0x7fc0_0001);
    // The baseline is none, one bit on; the past was none.
    assert_moving((&[one, nan], &[nan, one], 1), &[nan + 1, one], "0e00");
    // It leads to infinity, and the other goes on.
    let (before, base) = (floats([-f32::MAX, 1.0]), floats([f32::MAX, 1.25]));
    let new = [base[0] - 1, 1.75f32.to_bits()];
    assert_moving((&before, &base, 2), &new, "0600");
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
