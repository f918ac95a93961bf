//! Bytes against a baseline's bytes.
//!
//! For values whose meaning we do not know (any serde component): equal length means that most
//! bytes stayed, so a mask says which changed and only those travel. Groups of eight bytes that
//! stayed cost one bit. Another length travels whole.

use crate::{BitReader, BitWriter, WireError};

/// Bytes of one mask.
const GROUP: usize = 8;

/// Writes `new` so that a reader with the same `base` can restore it.
///
/// Costs one pass over `new`. Without a baseline, or with one of another length: a length and the
/// bytes.
pub fn write_bytes(w: &mut BitWriter, base: Option<&[u8]>, new: &[u8]) {
    let Some(base) = base else {
        write_whole(w, new);
        return;
    };
    w.put_bool(base.len() != new.len());
    if base.len() != new.len() {
        write_whole(w, new);
        return;
    }
    for (old, new) in base.chunks(GROUP).zip(new.chunks(GROUP)) {
        let mask = old
            .iter()
            .zip(new)
            .enumerate()
            .fold(0u64, |mask, (i, (old, new))| {
                mask | (u64::from(old != new) << i)
            });
        w.put_bool(mask != 0);
        if mask != 0 {
            w.put(mask, new.len() as u32);
            for (_, &byte) in new.iter().enumerate().filter(|(i, _)| mask >> i & 1 != 0) {
                w.put(u64::from(byte), 8);
            }
        }
    }
}

fn write_whole(w: &mut BitWriter, bytes: &[u8]) {
    w.put_golomb(bytes.len() as u64, 4);
    w.put_bytes(bytes);
}

/// Appends to `out` what [`write_bytes`] wrote against the same `base`.
///
/// # Errors
/// [`WireError`] if the bits end early or a length is above `max`. What was appended by then is
/// left for the caller to drop.
pub fn read_bytes(
    r: &mut BitReader<'_>,
    base: Option<&[u8]>,
    max: usize,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let base = match base {
        Some(base) if !r.get_bool()? => base,
        _ => {
            let len = r.get_bounded(4, max as u64, "length of a value")? as usize;
            return r.get_bytes(len, out);
        }
    };
    for old in base.chunks(GROUP) {
        let start = out.len();
        out.extend_from_slice(old);
        if r.get_bool()? {
            let mask = r.get(old.len() as u32)?;
            if mask == 0 {
                return Err(WireError::Invalid {
                    what: "empty byte mask",
                    value: 0,
                });
            }
            for i in (0..old.len()).filter(|i| mask >> i & 1 != 0) {
                out[start + i] = r.get(8)? as u8;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_survive_any_baseline(
            base in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            new in proptest::collection::vec(any::<u8>(), 0..40),
            same in any::<bool>(),
        ) {
            let new = match (&base, same) {
                (Some(base), true) => base.iter().enumerate().map(|(i, b)| if i % 3 == 0 { b ^ 1 } else { *b }).collect(),
                _ => new,
            };
            let mut w = BitWriter::new();
            write_bytes(&mut w, base.as_deref(), &new);
            let bytes = w.finish().to_vec();
            let mut r = BitReader::new(&bytes);
            let mut out = vec![];
            read_bytes(&mut r, base.as_deref(), 100, &mut out).unwrap();
            prop_assert_eq!(out, new);
            prop_assert_eq!(r.expect_end(), Ok(()));
        }

        #[test]
        fn junk_never_panics_nor_grows(bytes in proptest::collection::vec(any::<u8>(), 0..64), base in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))) {
            let mut out = vec![];
            let _ = read_bytes(&mut BitReader::new(&bytes), base.as_deref(), 32, &mut out);
            prop_assert!(out.len() <= 32);
        }
    }

    #[test]
    fn an_unchanged_value_costs_one_bit_in_eight_bytes() {
        let mut w = BitWriter::new();
        write_bytes(&mut w, Some(&[1; 40]), &[1; 40]);
        assert_eq!(w.bit_len(), 1 + 5);
    }
}
