//! Numbers that both ends must agree on: what one writes, the other must take.

use seamless_wire::{
    GlobalEntity, MAX_DATAGRAM, WIRE_VERSION, WireId, audit, codec, control, frame, packet, record,
    recording, schema, snapshot, ticket,
};

use crate::support::assert_number;

#[test]
fn limits_are_those_of_the_page() {
    for (what, now, pinned) in [
        ("the version", WIRE_VERSION.into(), 6),
        ("bytes of a datagram", MAX_DATAGRAM as u64, 1190),
        ("the mark", packet::STATE_MARK.into(), 0x80),
        ("acks in a datagram", packet::MAX_ACK_BITS.into(), 1024),
        ("inputs in a datagram", packet::MAX_INPUTS.into(), 32),
        ("bytes of an input", packet::MAX_INPUT_BYTES as u64, 128),
        ("items in a datagram", control::MAX_ITEMS as u64, 256),
        ("bytes of an item", control::MAX_ITEM_BYTES as u64, 256),
        ("components of a row", record::MAX_COMPONENTS as u64, 64),
        ("changes since a baseline", record::MAX_BASELINES.into(), 32),
        ("entities in an audit", audit::MAX_AUDITED as u64, 256),
        ("leaves in a datagram", record::Leave::MAX as u64, 1024),
        ("short names", WireId::MAX_INDEX.into(), 1 << 20),
        (
            "blocks of names",
            GlobalEntity::MAX_BLOCK.into(),
            (1 << 24) - 1,
        ),
        ("bits of a counter", GlobalEntity::COUNTER_BITS.into(), 40),
        ("bytes of a value", codec::MAX_VALUE as u64, 1 << 20),
        ("elements for nothing", codec::FREE_ELEMENTS as u64, 4096),
        ("levels of a value", codec::MAX_DEPTH.into(), 128),
        ("bytes of a frame", frame::MAX_CONTROL_FRAME as u64, 65_536),
        ("bytes of a message", frame::MAX_MESSAGE as u64, 65_280),
        ("mentions of a message", frame::MAX_MENTIONS as u64, 16),
        ("bytes of a big row", frame::MAX_BIG_ROW as u64, 1_048_560),
        ("bytes of a schema", schema::MAX_SCHEMA_BYTES as u64, 65_496),
        ("descriptors", schema::MAX_DESCRIPTORS as u64, 4096),
        ("bytes of a path", schema::MAX_PATH as u64, 512),
        (
            "bytes of a snapshot",
            snapshot::MAX_SNAPSHOT as u64,
            64 << 20,
        ),
        ("chunks of a snapshot", snapshot::MAX_CHUNKS as u64, 1 << 16),
        ("bytes of a piece", snapshot::MAX_PIECE as u64, 1 << 20),
        (
            "bytes of a file's head",
            snapshot::MAX_FILE_HEAD as u64,
            1 << 20,
        ),
        ("bytes of a block", recording::MAX_BLOCK as u64, 1 << 20),
        ("bytes of a record", recording::MAX_RECORD as u64, 64 << 20),
        ("version of save files", snapshot::FILE_VERSION.into(), 1),
        (
            "version of recordings",
            recording::RECORDING_VERSION.into(),
            2,
        ),
        ("bytes of a ticket", ticket::TICKET_BYTES as u64, 256),
    ] {
        assert_number(now, pinned, what);
    }
}
