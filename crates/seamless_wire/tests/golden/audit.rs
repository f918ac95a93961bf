//! What a peer should have: the section, and the hash of a row.

use seamless_wire::{
    Tick,
    audit::{self, Audited, RowHash},
    codec,
    record::Version,
};

use crate::support::{assert_bits, assert_number, hex, lent};

#[test]
fn an_audit_is_gaps_ages_and_hashes() {
    let tick = Tick(66_002);
    let entities = [(5, 66_000, 0xbeef), (6, 66_000, 0x1234), (300, 66_003, 0)];
    let entities = entities.map(|(index, version, hash)| Audited {
        index,
        version: Version(version),
        hash,
    });
    assert_bits(
        |w| audit::write_section(w, tick, &entities),
        |r| audit::read_section(r, tick),
        &entities.to_vec(),
        "67c1de7da791006842010000",
    );
}

#[test]
fn the_hash_of_a_row_is_over_its_components_and_its_fence() {
    let mut hash = RowHash::default();
    hash.component(0, &[0x64]);
    hash.component(2, &[0, 0, 0, 0x3f]);
    assert_number(hash.finish().into(), 0x391f, "the hash of a row");
    hash.tenure(&seamless_wire::Tenure::default());
    assert_number(hash.finish().into(), 0x391f, "the hash of a row");
    hash.tenure(&lent());
    // What came before, as bytes, and the tenure's, which have a test of their own.
    let mut bytes = hex("0000 01000000 64  0200 04000000 0000003f");
    bytes.extend(codec::to_vec(&lent()).expect("it encodes"));
    let fnv = bytes.iter().fold(0x811c_9dc5_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let folded = (fnv >> 16) ^ (fnv & 0xffff);
    assert_number(
        hash.finish().into(),
        folded.into(),
        "the hash of a lent row",
    );
}
