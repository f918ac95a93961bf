//! Zstandard, on honest bytes and on others.
#![cfg(feature = "zstd")]

use proptest::prelude::*;
use seamless_wire::{
    GlobalEntity, Tenure, Tick,
    snapshot::{
        BadDictionary, Compressor, MAX_PIECE, SnapshotAssembler, SnapshotChunk, SnapshotError,
        SnapshotRow, WorldSnapshot, Zstd,
    },
};

fn squeezed(compressor: &Zstd, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compressor.compress(bytes, &mut out);
    out
}

fn unpacked(compressor: &Zstd, bytes: &[u8], max: usize) -> Result<Vec<u8>, SnapshotError> {
    let mut out = Vec::new();
    compressor.decompress(bytes, max, &mut out).map(|()| out)
}

/// Something that is neither noise nor empty.
fn page(bytes: usize) -> Vec<u8> {
    let words = (0u32..).flat_map(|n| format!("{} of {} ", n % 97, n % 31).into_bytes());
    words.take(bytes).collect()
}

fn world(rows: u32) -> WorldSnapshot {
    WorldSnapshot {
        tick: Tick(7),
        schema: 5,
        rows: (1..=rows)
            .map(|i| SnapshotRow {
                entity: GlobalEntity::new(2, i.into()).expect("legal"),
                tenure: Tenure::default(),
                components: vec![(1, page(i as usize % 500)), (2, i.to_le_bytes().into())],
            })
            .collect(),
    }
}

#[test]
fn a_world_comes_back_at_every_level_and_piece_size() {
    let world = world(400);
    let dictionary = page(200_000);
    for level in [-5, 1, 3, 19, 99] {
        let plain = Zstd::new(level);
        let primed = Zstd::new(level).with_dictionary(&dictionary).expect("one");
        for compressor in [plain, primed] {
            for size in [100, 4096, MAX_PIECE] {
                let chunks = world.into_chunks(size, &compressor).expect("small");
                let mut assembler = SnapshotAssembler::default();
                let pushed = chunks.iter().rev().map(|c| assembler.push(c, &compressor));
                assert_eq!(
                    pushed.last(),
                    Some(Ok(Some(world.clone()))),
                    "{level} {size}"
                );
            }
        }
    }
}

#[test]
fn it_squeezes() {
    let bytes = page(100_000);
    let [fast, small] = [1, 19].map(|level| squeezed(&Zstd::new(level), &bytes).len());
    assert!(small < fast && fast < bytes.len() / 4, "{fast} {small}");
}

#[test]
fn the_largest_piece_unpacks_with_the_largest_window() {
    let bytes = page(MAX_PIECE);
    for level in [1, 19] {
        let dictionary = page(1 << 21);
        let primed = Zstd::new(level).with_dictionary(&dictionary).expect("one");
        for compressor in [Zstd::new(level), primed] {
            let packed = squeezed(&compressor, &bytes);
            let back = unpacked(&compressor, &packed, MAX_PIECE);
            assert!(back.as_ref() == Ok(&bytes), "{level}");
        }
    }
}

#[test]
fn a_bomb_is_given_up_when_there_is_no_more_room() {
    // 32 kB that unpack to a gigabyte. The frames are Zstandard's own and correct.
    let mut bomb = Vec::new();
    let mut encoder = zstd::stream::Encoder::new(&mut bomb, 19).expect("an encoder");
    encoder.window_log(20).expect("a legal window");
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        std::io::Write::write_all(&mut encoder, &zeros).expect("memory");
    }
    encoder.finish().expect("memory");
    assert!(bomb.len() < 200_000, "{}", bomb.len());

    let max = 10_000;
    let mut out = Vec::new();
    let got = Zstd::default().decompress(&bomb, max, &mut out);
    assert_eq!(got, Err(SnapshotError::Bomb { max }));
    assert!(out.capacity() <= 2 * max, "{}", out.capacity());

    let chunk = SnapshotChunk {
        index: 0,
        count: 2,
        total: 64 << 20,
        digest: 0,
        compressor: Zstd::ID,
        dictionary: 0,
        payload: bomb,
    };
    let mut assembler = SnapshotAssembler::default();
    let got = assembler.push(&chunk, &Zstd::default());
    assert_eq!(got, Err(SnapshotError::Bomb { max: MAX_PIECE }));
    assert_eq!(assembler.held(), 0);
}

#[test]
fn a_frame_that_wants_a_large_window_is_refused_before_it_gets_one() {
    let mut bytes = Vec::new();
    let mut encoder = zstd::stream::Encoder::new(&mut bytes, 3).expect("an encoder");
    encoder.window_log(27).expect("a legal window");
    std::io::Write::write_all(&mut encoder, &page(1000)).expect("memory");
    encoder.finish().expect("memory");
    let got = unpacked(&Zstd::default(), &bytes, MAX_PIECE);
    assert!(
        matches!(got, Err(SnapshotError::Squeezed { .. })),
        "{got:?}"
    );
}

#[test]
fn a_frame_cut_anywhere_or_with_a_tail_is_refused() {
    let compressor = Zstd::default();
    let bytes = page(3000);
    let mut packed = squeezed(&compressor, &bytes);
    for len in 0..packed.len() {
        let got = unpacked(&compressor, &packed[..len], bytes.len());
        assert!(matches!(got, Err(SnapshotError::Squeezed { .. })), "{len}");
    }
    let twice = [&packed[..], &packed[..]].concat();
    packed.push(0);
    for longer in [packed, twice] {
        let got = unpacked(&compressor, &longer, 2 * bytes.len());
        assert!(
            matches!(got, Err(SnapshotError::Squeezed { .. })),
            "{got:?}"
        );
    }
}

#[test]
fn a_reader_without_the_dictionary_says_so() {
    let world = world(9);
    let primed = Zstd::new(3).with_dictionary(&page(5000)).expect("one");
    let other = Zstd::new(3).with_dictionary(&page(5001)).expect("one");
    let chunks = world.into_chunks(MAX_PIECE, &primed).expect("small");
    let theirs = primed.dictionary();
    for (reader, ours) in [(Zstd::default(), 0), (other.clone(), other.dictionary())] {
        let got = SnapshotAssembler::default().push(&chunks[0], &reader);
        assert_eq!(got, Err(SnapshotError::Dictionary { ours, theirs }));
    }
    let got = SnapshotAssembler::default().push(&chunks[0], &primed.clone());
    assert_eq!(got, Ok(Some(world)));
}

#[test]
fn bytes_that_are_no_dictionary_are_refused() {
    let got = Zstd::new(3).with_dictionary(&[]);
    assert_eq!(got.err(), Some(BadDictionary { bytes: 0 }));
    // The mark of a trained dictionary, and then nothing of one.
    let broken = [&[0x37, 0xa4, 0x30, 0xec], &[0xff; 60][..]].concat();
    let got = Zstd::new(3).with_dictionary(&broken);
    assert_eq!(got.err(), Some(BadDictionary { bytes: 64 }));
}

proptest! {
    #[test]
    fn what_was_squeezed_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let compressor = Zstd::default();
        let packed = squeezed(&compressor, &bytes);
        prop_assert_eq!(unpacked(&compressor, &packed, bytes.len()), Ok(bytes));
    }

    #[test]
    fn junk_is_an_error_or_something_within_the_bound(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        framed in any::<bool>(),
    ) {
        if framed {
            bytes.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
        }
        if let Ok(out) = unpacked(&Zstd::default(), &bytes, 1000) {
            prop_assert!(out.len() <= 1000);
        }
    }

    #[test]
    fn damage_is_an_error_or_something_within_the_bound(at in 0usize..500, bit in 0u8..8) {
        let mut packed = squeezed(&Zstd::default(), &page(1000));
        let at = at % packed.len();
        packed[at] ^= 1 << bit;
        if let Ok(out) = unpacked(&Zstd::default(), &packed, 1000) {
            prop_assert!(out.len() <= 1000);
        }
    }
}
