//! Hex to bytes, comparisons that say what to do, and the values that many tests share.

use std::fmt::Debug;

use seamless_wire::{
    BitReader, BitWriter, Epoch, GlobalEntity, HandoverId, Holder, Incarnation, NodeId, NodeRef,
    PeerId, Tenure, TenureEnd, Term, WireError, WriteMask, codec,
};
use serde::{Serialize, de::DeserializeOwned};

/// The bytes of a hex text. Blanks stand between fields and count for nothing.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hex digit") as u8)
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "half a byte in {text:?}");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails unless `written` is what was pinned.
#[track_caller]
pub(crate) fn assert_bytes(written: &[u8], pinned: &str) {
    let pinned = hex(pinned);
    assert!(
        written == pinned,
        "the bytes on the wire have changed\n  pinned: {}\n  now:    {}\n\
         if that is meant, raise WIRE_VERSION and update docs/wire-format.md",
        text(&pinned),
        text(written),
    );
}

/// Fails unless a number of the format is what was pinned.
#[track_caller]
pub(crate) fn assert_number(now: u64, pinned: u64, what: &str) {
    assert_eq!(
        now, pinned,
        "{what} has changed; if that is meant, raise WIRE_VERSION and update docs/wire-format.md"
    );
}

/// Pins a serde value. Its bytes, cut anywhere or with one more, are no value.
#[track_caller]
pub(crate) fn assert_value<T>(value: &T, pinned: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    assert_bytes(&codec::to_vec(value).expect("it encodes"), pinned);
    let mut bytes = hex(pinned);
    let read: T = codec::decode(&bytes).expect("pinned bytes decode");
    assert_eq!(&read, value, "pinned bytes are read as another value");
    for len in 0..bytes.len() {
        let cut = codec::decode::<T>(&bytes[..len]);
        assert!(cut.is_err(), "{len} bytes are read as {cut:?}");
    }
    bytes.push(0);
    assert_eq!(codec::decode::<T>(&bytes), Err(WireError::Trailing(1)));
}

/// Pins what `write` writes from the first bit on, and what `read` reads from there. The bits, cut
/// anywhere, are no value.
#[track_caller]
pub(crate) fn assert_bits<T: PartialEq + Debug>(
    write: impl FnOnce(&mut BitWriter),
    read: impl Fn(&mut BitReader<'_>) -> Result<T, WireError>,
    value: &T,
    pinned: &str,
) {
    let mut w = BitWriter::new();
    write(&mut w);
    assert_bytes(w.finish(), pinned);
    let bytes = hex(pinned);
    let mut r = BitReader::new(&bytes);
    let got = read(&mut r).expect("pinned bits are read");
    assert_eq!(&got, value, "pinned bits are read as another value");
    assert_eq!(
        r.expect_end(),
        Ok(()),
        "pinned bits are not read to the end"
    );
    for len in 0..bytes.len() {
        let cut = read(&mut BitReader::new(&bytes[..len]));
        assert!(cut.is_err(), "{len} bytes are read as {cut:?}");
    }
}

/// Bits `0x000abc00_00000005`.
pub(crate) fn root() -> GlobalEntity {
    GlobalEntity::new(0xabc, 5).expect("legal")
}

/// The name after [`root`].
pub(crate) fn member() -> GlobalEntity {
    GlobalEntity::new(0xabc, 6).expect("legal")
}

pub(crate) const fn source() -> NodeRef {
    NodeRef {
        id: NodeId(3),
        incarnation: Incarnation(9),
    }
}

pub(crate) const fn target() -> NodeRef {
    NodeRef {
        id: NodeId(4),
        incarnation: Incarnation(11),
    }
}

pub(crate) fn handover() -> HandoverId {
    HandoverId {
        root: root(),
        term: Term(12),
        attempt: 2,
    }
}

pub(crate) const fn epoch(term: u64, seq: u32) -> Epoch {
    Epoch {
        term: Term(term),
        seq,
    }
}

/// Lent to peer 77 since an older host.
pub(crate) const fn lent() -> Tenure {
    Tenure {
        epoch: epoch(12, 3),
        since: epoch(9, 2),
        holder: Holder::Peer(PeerId(77)),
        delegated: true,
        writes: WriteMask::ALL,
        lease: 0,
        ended: TenureEnd::Unheld,
    }
}
