//! The one place that knows which serde format we use.
//!
//! bincode 2.0.1, which is frozen upstream: kept because the format is frozen too, and because
//! replacing it is a change of this file. Four rules make it safe on hostile bytes:
//!
//! * every decode has a limit, so a length that lies cannot make us allocate;
//! * no byte may follow the value;
//! * no zero-sized element inside a sequence (its count would be free): our own types have none,
//!   and a user's component that has one is bounded by [`MAX_VALUE`] in what it may decode;
//! * digests are taken over the bytes as received, never over a second encoding, because more
//!   than one encoding decodes to the same value.

use serde::{Serialize, de::DeserializeOwned};

use crate::WireError;

/// Largest serde value we read or write, in bytes: one component, one message, one frame.
pub const MAX_VALUE: usize = 1 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_VALUE>()
}

/// Appends the encoding of `value` to `out`.
///
/// # Errors
/// [`WireError::Payload`] if the type refuses to be serialised; [`WireError::OutOfBounds`] if the
/// encoding is larger than [`MAX_VALUE`]. `out` is as before then.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    match bincode::serde::encode_into_std_write(value, out, config()) {
        Ok(written) if written <= MAX_VALUE => Ok(()),
        Ok(written) => {
            out.truncate(start);
            Err(WireError::OutOfBounds {
                what: "encoded value",
                value: written as u64,
                max: MAX_VALUE as u64,
            })
        }
        Err(error) => {
            out.truncate(start);
            Err(WireError::Payload(error.to_string()))
        }
    }
}

/// The encoding of `value` in a new buffer.
///
/// # Errors
/// As [`encode`].
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::new();
    encode(value, &mut out)?;
    Ok(out)
}

/// Decodes a value that fills `bytes` exactly.
///
/// # Errors
/// [`WireError::Payload`] for anything that is not such a value, [`WireError::Trailing`] if bytes
/// are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| WireError::Payload(error.to_string()))?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(WireError::Trailing(bytes.len() - used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lying_length_is_refused() {
        // 253: an eight byte length follows; 2^40.
        let bytes = [253, 0, 0, 0, 0, 0, 1, 0, 0];
        assert!(matches!(
            decode::<String>(&bytes),
            Err(WireError::Payload(_))
        ));
        assert!(matches!(
            decode::<Vec<u64>>(&bytes),
            Err(WireError::Payload(_))
        ));
    }

    #[test]
    fn bytes_after_the_value_are_refused() {
        assert_eq!(decode::<u8>(&[1, 2, 3]), Err(WireError::Trailing(2)));
    }

    #[test]
    fn a_failed_encoding_leaves_nothing_behind() {
        let mut out = vec![7];
        assert!(encode(&vec![0u8; MAX_VALUE + 1], &mut out).is_err());
        assert_eq!(out, [7]);
    }
}
