//! The one place that knows which serde format we use.
//!
//! bincode 2.0.1 writes, and is frozen upstream: kept because the format is frozen too, and because
//! replacing it is a change of this file. What it wrote is read by code of our own
//! ([`parts`]). Five rules make that safe on hostile bytes:
//!
//! * no value is longer than [`MAX_VALUE`], and nothing is allocated for a length before its bytes
//!   are there;
//! * the elements of all sequences of a value are at most as many as its bytes and
//!   [`FREE_ELEMENTS`] more: elements that take no byte cost the sender nothing, and nine bytes can
//!   claim 2^64 of them;
//! * values nest at most [`MAX_DEPTH`] deep: a level costs the sender a byte and us a stack frame;
//! * no byte may follow the value;
//! * digests are taken over the bytes as received, never over a second encoding, because more
//!   than one encoding decodes to the same value.

mod parts;
mod reader;

use bincode::{config::standard, enc::write::Writer, error::EncodeError};
use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;
use reader::Reader;

/// Largest serde value we read or write, in bytes: one component, one message, one frame.
pub const MAX_VALUE: usize = 1 << 20;

/// How many elements the sequences and maps of a value may have beyond one for each of its bytes.
///
/// An element of a list takes a byte at least, unless its type is empty (`()`, a marker). A list
/// of such elements is only a number, so a short one suffices. A longer one encodes and does not
/// decode: send its length instead.
pub const FREE_ELEMENTS: usize = 4096;

/// How deep a value may nest: options, structs, enums and sequences inside one another, each one
/// level. Only a type that contains itself gets there.
pub const MAX_DEPTH: u32 = 128;

/// Appends the encoding of `value` to `out`.
///
/// # Errors
/// [`WireError::Payload`] if the type refuses to be serialised; [`WireError::OutOfBounds`] if the
/// encoding is larger than [`MAX_VALUE`]. `out` is as before then.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    let encoded = bincode::serde::encode_into_writer(value, Append(out), standard());
    let written = out.len() - start;
    let refused = match encoded {
        Ok(()) if written <= MAX_VALUE => return Ok(()),
        Ok(()) => WireError::OutOfBounds {
            what: "encoded value",
            value: written as u64,
            max: MAX_VALUE as u64,
        },
        Err(error) => WireError::Payload(error.to_string()),
    };
    out.truncate(start);
    Err(refused)
}

/// Writes at the end. Bytes come one or a few at a time, so it has to be inlined.
struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The encoding of `value` in a new buffer.
///
/// # Errors
/// As [`encode`].
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WireError> {
    // Most values are small: one piece of memory instead of one after the other.
    let mut out = Vec::with_capacity(64);
    encode(value, &mut out)?;
    Ok(out)
}

/// Decodes a value that fills `bytes` exactly.
///
/// Takes time and memory in proportion to `bytes`, whatever they claim.
///
/// # Errors
/// [`WireError::OutOfBounds`] for more than [`MAX_VALUE`] bytes and for a value with too many
/// elements or levels, [`WireError::Payload`] for anything else that is not such a value,
/// [`WireError::Trailing`] if bytes are left over.
#[inline(always)]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let mut reader = reader_of(bytes)?;
    let value = parts::read(&mut reader)?;
    match reader.left() {
        0 => Ok(value),
        left => Err(WireError::Trailing(left)),
    }
}

/// Decodes a value that stands first in `bytes`, whatever follows, and how many bytes it takes.
///
/// # Errors
/// As [`decode`], but for [`WireError::Trailing`].
pub fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), WireError> {
    let mut reader = reader_of(bytes)?;
    let value = parts::read(&mut reader)?;
    Ok((value, bytes.len() - reader.left()))
}

/// A reader of bytes that are not too many for a value.
#[inline(always)]
fn reader_of(bytes: &[u8]) -> Result<Reader<'_>, WireError> {
    if bytes.len() > MAX_VALUE {
        return Err(WireError::OutOfBounds {
            what: "encoded value",
            value: bytes.len() as u64,
            max: MAX_VALUE as u64,
        });
    }
    Ok(Reader::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, HashSet, LinkedList},
        time::{Duration, Instant},
    };

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    /// Takes no byte.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Marker;

    /// Everything serde has.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Everything {
        unit: (),
        marker: Marker,
        integers: (u8, i16, u32, i64, u128),
        floats: [f32; 2],
        text: String,
        letter: char,
        maybe: Option<Box<Self>>,
        list: Vec<Vec<u16>>,
        map: BTreeMap<String, Kind>,
        kinds: Vec<Kind>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        New(Wrapped),
        Tuple(u8, bool),
        Struct { a: f64, b: Option<i8> },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Wrapped(Vec<u8>);

    fn everything() -> Everything {
        let kinds = vec![
            Kind::Unit,
            Kind::New(Wrapped(vec![1, 251, 255])),
            Kind::Tuple(9, true),
            Kind::Struct {
                a: -0.5,
                b: Some(-3),
            },
        ];
        let inner = Everything {
            unit: (),
            marker: Marker,
            integers: (250, -300, 70_000, i64::MIN, u128::MAX),
            floats: [1.5, f32::INFINITY],
            text: "grüß".into(),
            letter: 'ß',
            maybe: None,
            list: vec![vec![], vec![1, 300]],
            map: [("a".into(), Kind::Unit)].into(),
            kinds,
        };
        Everything {
            maybe: Some(Box::new(inner.clone())),
            ..inner
        }
    }

    /// A list by links: each of them costs a sender one byte.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Link(Option<Box<Self>>);

    fn chain(links: usize) -> Link {
        (1..links).fold(Link(None), |chain, _| Link(Some(Box::new(chain))))
    }

    /// `len` as bincode writes a length that does not fit two bytes.
    fn claim(len: u64) -> Vec<u8> {
        let mut bytes = vec![253];
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes
    }

    fn assert_refused<T: DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) {
        let started = Instant::now();
        let result = decode::<T>(bytes);
        let taken = started.elapsed();
        let name = std::any::type_name::<T>();
        assert!(
            matches!(
                result,
                Err(WireError::OutOfBounds {
                    what: "elements of a value",
                    ..
                })
            ),
            "{name}: {result:?}"
        );
        assert!(taken < Duration::from_secs(1), "{name} took {taken:?}");
    }

    #[test]
    fn every_kind_of_value_survives() {
        let value = everything();
        assert_eq!(decode(&to_vec(&value).unwrap()), Ok(value));
    }

    #[test]
    fn a_lying_length_is_refused() {
        let bytes = claim(1 << 40);
        assert!(matches!(
            decode::<String>(&bytes),
            Err(WireError::Payload(_))
        ));
        assert_refused::<Vec<u64>>(&bytes);
    }

    #[test]
    fn elements_that_take_no_byte_are_not_counted_out_at_the_word_of_a_peer() {
        for len in [1 << 20, 1 << 40, u64::MAX] {
            let bytes = claim(len);
            assert_refused::<Vec<()>>(&bytes);
            assert_refused::<Vec<Marker>>(&bytes);
            assert_refused::<Vec<[u64; 0]>>(&bytes);
            assert_refused::<Vec<((), Marker)>>(&bytes);
            assert_refused::<LinkedList<()>>(&bytes);
            assert_refused::<HashSet<Marker>>(&bytes);
            assert_refused::<BTreeMap<(), ()>>(&bytes);
        }
    }

    #[test]
    fn a_sequence_inside_another_part_is_bounded_as_well() {
        let lie = claim(u64::MAX);
        let after = |head: &[u8]| [head, &lie].concat();
        assert_refused::<(u8, Vec<()>)>(&after(&[1]));
        assert_refused::<Option<Vec<()>>>(&after(&[1]));
        assert_refused::<Vec<Vec<()>>>(&after(&[1]));
        assert_refused::<BTreeMap<u8, Vec<()>>>(&after(&[1, 5]));
        assert_refused::<BTreeMap<Vec<()>, u8>>(&after(&[1]));
        assert_refused::<Result<u8, Vec<()>>>(&after(&[1]));
        assert_refused::<Wrapped>(&lie);
    }

    #[test]
    fn many_sequences_share_one_bound() {
        // A hundred lists of 4000 nothings each, in 301 bytes.
        let mut bytes = vec![100];
        for _ in 0..100 {
            bytes.push(251);
            bytes.extend_from_slice(&4000u16.to_le_bytes());
        }
        assert_refused::<Vec<Vec<()>>>(&bytes);
    }

    #[test]
    fn a_short_list_of_nothings_survives() {
        for len in [0, 1, 7, FREE_ELEMENTS] {
            let list = vec![Marker; len];
            assert_eq!(decode(&to_vec(&list).unwrap()), Ok(list));
        }
    }

    #[test]
    fn as_many_elements_as_bytes_are_no_attack() {
        let lists: Vec<Vec<Vec<u8>>> = vec![vec![vec![]; 100]; 1000];
        assert_eq!(decode(&to_vec(&lists).unwrap()), Ok(lists));
        let flags = vec![true; MAX_VALUE - 5];
        assert_eq!(decode(&to_vec(&flags).unwrap()), Ok(flags));
    }

    #[test]
    fn what_fits_when_written_fits_when_read() {
        // As wide as integers are and as short as they can be written.
        let numbers = vec![7u128; MAX_VALUE - 5];
        assert_eq!(decode(&to_vec(&numbers).unwrap()), Ok(numbers));
    }

    #[test]
    fn a_value_inside_a_value_inside_a_value_ends_before_the_stack() {
        // Two levels a link: the struct and its option.
        let deep = MAX_DEPTH as usize / 2;
        assert_eq!(decode(&to_vec(&chain(deep)).unwrap()), Ok(chain(deep)));
        for bytes in [to_vec(&chain(deep + 1)).unwrap(), vec![1; MAX_VALUE]] {
            assert_eq!(
                decode::<Link>(&bytes),
                Err(WireError::OutOfBounds {
                    what: "nesting of a value",
                    value: u64::from(MAX_DEPTH) + 1,
                    max: MAX_DEPTH.into(),
                })
            );
        }
    }

    #[test]
    fn bytes_after_the_value_are_refused() {
        assert_eq!(decode::<u8>(&[1, 2, 3]), Err(WireError::Trailing(2)));
        let mut bytes = to_vec(&everything()).unwrap();
        bytes.push(0);
        assert_eq!(decode::<Everything>(&bytes), Err(WireError::Trailing(1)));
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = to_vec(&everything()).unwrap();
        for len in 0..bytes.len() {
            assert!(
                decode::<Everything>(&bytes[..len]).is_err(),
                "{len} of {} bytes were read",
                bytes.len()
            );
        }
    }

    #[test]
    fn more_bytes_than_the_limit_are_refused_both_ways() {
        let too_large = |value: usize| WireError::OutOfBounds {
            what: "encoded value",
            value: value as u64,
            max: MAX_VALUE as u64,
        };
        // The length takes five bytes.
        let longest = vec![7u8; MAX_VALUE - 5];
        let mut bytes = to_vec(&longest).unwrap();
        assert_eq!(bytes.len(), MAX_VALUE);
        assert_eq!(decode(&bytes), Ok(longest));
        bytes.push(0);
        assert_eq!(
            decode::<Vec<u8>>(&bytes),
            Err(too_large(MAX_VALUE + 1)),
            "not even if only the tail is too much"
        );
        assert_eq!(
            to_vec(&vec![7u8; MAX_VALUE - 4]),
            Err(too_large(MAX_VALUE + 1))
        );
    }

    #[test]
    fn a_failed_encoding_leaves_nothing_behind() {
        let mut out = vec![7];
        assert!(encode(&vec![0u8; MAX_VALUE + 1], &mut out).is_err());
        assert_eq!(out, [7]);
    }

    /// Bytes among which those that mean something to the format are frequent.
    fn junk() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![any::<u8>(), 0u8..4, 248u8..=255, Just(0xc3), Just(0x9f)];
        proptest::collection::vec(byte, 0..60)
    }

    /// Bytes are the value that bincode makes of them, and none where it makes none.
    fn as_bincode<T: DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        let limited = standard().with_limit::<MAX_VALUE>();
        let theirs = bincode::serde::decode_from_slice::<T, _>(bytes, limited);
        let ours = decode_front::<T>(bytes);
        match (&ours, &theirs) {
            // What is not equal to itself is one of the floats.
            (Ok(ours), Ok(theirs)) => assert_eq!(format!("{ours:?}"), format!("{theirs:?}")),
            (Err(_), Err(_)) => {}
            _ => panic!("{bytes:?}: {ours:?}, bincode {theirs:?}"),
        }
    }

    proptest! {
        #[test]
        fn junk_is_an_error_or_a_value_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Everything>(&bytes);
            let _ = decode::<Vec<Kind>>(&bytes);
            let _ = decode::<Link>(&bytes);
        }

        #[test]
        fn junk_is_read_as_bincode_reads_it(bytes in junk()) {
            as_bincode::<Everything>(&bytes);
            as_bincode::<Vec<Kind>>(&bytes);
            as_bincode::<(char, char, i8, i16, i32)>(&bytes);
            as_bincode::<(u16, u32, u64, u128, i128)>(&bytes);
            as_bincode::<BTreeMap<i64, Option<f32>>>(&bytes);
            as_bincode::<(bool, String, Option<char>)>(&bytes);
            as_bincode::<Result<[u16; 3], (Marker, f64)>>(&bytes);
        }

        #[test]
        fn a_value_with_a_wrong_byte_is_read_as_bincode_reads_it(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = to_vec(&everything()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            as_bincode::<Everything>(&bytes);
        }
    }
}
