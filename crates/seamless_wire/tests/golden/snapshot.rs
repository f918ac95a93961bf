//! Rows outside a connection.

use seamless_wire::{
    Tenure, Tick, WireError,
    snapshot::{Plain, SnapshotAssembler, SnapshotRow, WorldSnapshot},
};

use crate::support::{assert_bytes, assert_value, hex, lent, member, root};

const PINNED: &str = "
    0f000000  fcd0010100 fd8877665544332211 02
    23000000  fd0500000000bc0a00  0c 03 09 02 02 4d 01 00 00 00
              02  05 03 010203  fdefcdab8967452301 00
    13000000  fd0600000000bc0a00  00 00 00 00 00 00 00 00 00  00";

fn snapshot() -> WorldSnapshot {
    WorldSnapshot {
        tick: Tick(66_000),
        schema: 0x1122_3344_5566_7788,
        rows: vec![
            SnapshotRow {
                entity: root(),
                tenure: lent(),
                components: vec![(5, vec![1, 2, 3]), (0x0123_4567_89ab_cdef, vec![])],
            },
            SnapshotRow {
                entity: member(),
                tenure: Tenure::default(),
                components: vec![],
            },
        ],
    }
}

#[test]
fn a_snapshot_is_a_head_and_rows_each_behind_its_length() {
    assert_bytes(&snapshot().to_bytes().expect("it is small"), PINNED);
    assert_eq!(WorldSnapshot::from_bytes(&hex(PINNED)), Ok(snapshot()));
}

#[test]
fn a_snapshot_cut_anywhere_or_with_a_tail_is_refused() {
    let mut bytes = hex(PINNED);
    for len in 0..bytes.len() {
        assert!(WorldSnapshot::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    bytes.push(0);
    assert_eq!(
        WorldSnapshot::from_bytes(&bytes),
        Err(WireError::Trailing(1))
    );
}

#[test]
fn chunks_say_which_they_are_and_what_the_whole_digests_to() {
    let chunks = snapshot().into_chunks(43, &Plain).expect("it is small");
    let head = "02 51 fdd01217c5bd68464b 00 00";
    let pinned = [
        format!(
            "00 {head} 2b 0f000000fcd0010100fd8877665544332211 \
             0223000000fd0500000000bc0a000c030902024d0100000002"
        ),
        format!(
            "01 {head} 26 0503010203fdefcdab8967452301001300 \
             0000fd0600000000bc0a0000000000000000000000"
        ),
    ];
    assert_eq!(chunks.len(), pinned.len());
    let mut assembler = SnapshotAssembler::default();
    let mut whole = None;
    for (chunk, pinned) in chunks.iter().zip(&pinned) {
        assert_value(chunk, pinned);
        whole = assembler.push(chunk, &Plain).expect("ours");
    }
    assert_eq!(whole, Some(snapshot()));
}
