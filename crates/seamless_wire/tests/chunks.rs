//! Chunks from somebody who means no good, or over a carrier that loses, doubles and reorders.

use seamless_wire::{
    GlobalEntity, Tenure, Tick, WireError,
    snapshot::{
        Compressor, MAX_CHUNKS, MAX_PIECE, MAX_SNAPSHOT, Plain, SnapshotAssembler, SnapshotChunk,
        SnapshotError, SnapshotRow, WorldSnapshot,
    },
};

fn snapshot(tick: u32, rows: u32) -> WorldSnapshot {
    WorldSnapshot {
        tick: Tick(tick),
        schema: 5,
        rows: (1..=rows)
            .map(|i| SnapshotRow {
                entity: GlobalEntity::new(2, i.into()).expect("legal"),
                tenure: Tenure::default(),
                // Heterogeneous on purpose: from none to three components.
                components: (0..i % 4)
                    .map(|c| (c.into(), vec![i as u8; c as usize * 7]))
                    .collect(),
            })
            .collect(),
    }
}

fn cut(snapshot: &WorldSnapshot, size: usize) -> Vec<SnapshotChunk> {
    snapshot.into_chunks(size, &Plain).expect("small")
}

/// Pushes all; the last answer.
fn gather<'a>(
    assembler: &mut SnapshotAssembler,
    chunks: impl IntoIterator<Item = &'a SnapshotChunk>,
) -> Result<Option<WorldSnapshot>, SnapshotError> {
    let pushed = chunks
        .into_iter()
        .map(|chunk| assembler.push(chunk, &Plain));
    pushed.last().expect("some chunk")
}

#[test]
fn a_snapshot_survives_every_chunk_size_and_order() {
    for rows in [0, 1, 2, 17] {
        let snapshot = snapshot(99, rows);
        for size in [0, 1, 2, 3, 7, 64, MAX_PIECE, usize::MAX] {
            let mut chunks = cut(&snapshot, size);
            assert!(chunks.iter().all(|c| c.payload.len() <= size.max(1)));
            chunks.reverse();
            let got = gather(&mut SnapshotAssembler::default(), &chunks);
            assert_eq!(got.as_ref(), Ok(&Some(snapshot.clone())), "{rows} {size}");
        }
    }
}

#[test]
fn a_chunk_that_comes_twice_counts_once() {
    let snapshot = snapshot(1, 9);
    let chunks = cut(&snapshot, 16);
    let mut assembler = SnapshotAssembler::default();
    let (last, rest) = chunks.split_last().expect("several");
    for chunk in rest.iter().chain(rest) {
        assert_eq!(assembler.push(chunk, &Plain), Ok(None));
    }
    let held: usize = rest.iter().map(|chunk| chunk.payload.len()).sum();
    assert_eq!((assembler.held(), assembler.missing()), (held, Some(1)));
    assert_eq!(assembler.push(last, &Plain), Ok(Some(snapshot)));
    assert_eq!((assembler.held(), assembler.missing()), (0, None));
}

#[test]
fn without_one_chunk_there_is_no_snapshot() {
    let chunks = cut(&snapshot(1, 9), 16);
    for lost in 0..chunks.len() {
        let mut assembler = SnapshotAssembler::default();
        let others = chunks.iter().filter(|chunk| chunk.index as usize != lost);
        assert_eq!(gather(&mut assembler, others), Ok(None), "{lost}");
        assert_eq!(assembler.missing(), Some(1));
    }
}

#[test]
fn a_changed_byte_is_noticed_and_nothing_is_kept() {
    let mut chunks = cut(&snapshot(1, 9), 16);
    chunks[2].payload[3] ^= 1;
    let mut assembler = SnapshotAssembler::default();
    let got = gather(&mut assembler, &chunks);
    assert!(matches!(got, Err(SnapshotError::Digest { .. })), "{got:?}");
    assert_eq!(assembler.held(), 0);
}

#[test]
fn a_chunk_of_another_snapshot_is_refused_and_changes_nothing() {
    let (ours, theirs) = (snapshot(1, 9), snapshot(2, 9));
    let (mine, strange) = (cut(&ours, 16), cut(&theirs, 16));
    let mut assembler = SnapshotAssembler::default();
    let (last, rest) = mine.split_last().expect("several");
    for (chunk, other) in rest.iter().zip(&strange) {
        assert_eq!(assembler.push(chunk, &Plain), Ok(None));
        let refused = SnapshotError::Mixed {
            ours: mine[0].digest,
            theirs: other.digest,
        };
        assert_eq!(assembler.push(other, &Plain), Err(refused));
    }
    assert_eq!(assembler.push(last, &Plain), Ok(Some(ours)));
    assert_eq!(gather(&mut assembler, &strange), Ok(Some(theirs)));
}

#[test]
fn after_clear_another_snapshot_begins() {
    let (first, second) = (snapshot(1, 9), snapshot(2, 9));
    let mut assembler = SnapshotAssembler::default();
    assert_eq!(assembler.push(&cut(&first, 16)[0], &Plain), Ok(None));
    assembler.clear();
    assert_eq!(gather(&mut assembler, &cut(&second, 16)), Ok(Some(second)));
}

#[test]
fn chunks_that_lie_about_their_numbers_are_refused() {
    let honest = cut(&snapshot(1, 9), 16).remove(0);
    let lies: [fn(&mut SnapshotChunk); 6] = [
        |chunk| chunk.count = u32::MAX,
        |chunk| chunk.count = MAX_CHUNKS as u32 + 1,
        |chunk| chunk.count = chunk.total + 1,
        |chunk| chunk.count = 0,
        |chunk| chunk.index = chunk.count,
        |chunk| chunk.total = MAX_SNAPSHOT as u32 + 1,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut chunk = honest.clone();
        chunk.total = chunk.total.max(70_000);
        lie(&mut chunk);
        let mut assembler = SnapshotAssembler::default();
        let got = assembler.push(&chunk, &Plain);
        let bounds = matches!(got, Err(SnapshotError::Wire(WireError::OutOfBounds { .. })));
        assert!(bounds, "{number}: {got:?}");
        assert_eq!(assembler.missing(), None);
    }
    let mut empty = honest;
    empty.payload.clear();
    let got = SnapshotAssembler::default().push(&empty, &Plain);
    assert_eq!(got, Err(SnapshotError::Empty { index: 0 }));
}

#[test]
fn a_payload_never_takes_the_room_of_those_that_are_to_come() {
    let mut chunks = cut(&snapshot(1, 9), 16);
    let (total, count) = (chunks[0].total as usize, chunks.len());
    chunks[1].payload = vec![0; total - 16 - (count - 2) + 1];
    let mut assembler = SnapshotAssembler::default();
    assert_eq!(assembler.push(&chunks[0], &Plain), Ok(None));
    let max = chunks[1].payload.len() - 1;
    let got = assembler.push(&chunks[1], &Plain);
    assert_eq!(got, Err(SnapshotError::Bomb { max }));
    // Whatever is in them, no more is held than the whole was to have.
    chunks[1].payload.pop();
    assert_eq!(assembler.push(&chunks[1], &Plain), Ok(None));
    assert_eq!(assembler.held(), total - (count - 2));
    let got = assembler.push(&chunks[2], &Plain);
    assert_eq!(got, Err(SnapshotError::Bomb { max: 1 }));
}

#[test]
fn a_flood_of_chunks_holds_no_more_than_the_limit() {
    const LIMIT: usize = 100_000;
    let mut assembler = SnapshotAssembler::with_limit(LIMIT);
    let mut chunk = SnapshotChunk {
        index: 0,
        count: MAX_CHUNKS as u32,
        total: LIMIT as u32,
        digest: 1,
        compressor: 0,
        dictionary: 0,
        payload: vec![7; 1000],
    };
    for index in 0..MAX_CHUNKS as u32 - 1 {
        chunk.index = index;
        let _ = assembler.push(&chunk, &Plain);
        assert!(assembler.held() <= LIMIT);
    }
    chunk.total = LIMIT as u32 + 1;
    let got = assembler.push(&chunk, &Plain);
    assert!(matches!(got, Err(SnapshotError::Wire(_))), "{got:?}");
}

/// Claims to be another compressor, or one with a dictionary.
struct Named(u8, u64);

impl Compressor for Named {
    fn id(&self) -> u8 {
        self.0
    }

    fn dictionary(&self) -> u64 {
        self.1
    }

    fn compress(&self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(input);
    }

    fn decompress(&self, input: &[u8], _: usize, out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        // Does not keep to its bound.
        out.extend_from_slice(input);
        Ok(())
    }
}

#[test]
fn a_reader_with_another_compressor_or_dictionary_says_so() {
    let snapshot = snapshot(1, 3);
    let chunks = snapshot.into_chunks(64, &Named(200, 7)).expect("small");
    let mut assembler = SnapshotAssembler::default();
    let got = assembler.push(&chunks[0], &Named(201, 7));
    let (ours, theirs) = (201, 200);
    assert_eq!(got, Err(SnapshotError::Compressor { ours, theirs }));
    let got = assembler.push(&chunks[0], &Named(200, 0));
    let (ours, theirs) = (0, 7);
    assert_eq!(got, Err(SnapshotError::Dictionary { ours, theirs }));
    for chunk in &chunks[..chunks.len() - 1] {
        assert_eq!(assembler.push(chunk, &Named(200, 7)), Ok(None));
    }
}

#[test]
fn a_compressor_that_gives_too_much_is_not_believed() {
    let mut chunk = cut(&snapshot(1, 3), 1 << 20).remove(0);
    chunk.compressor = 200;
    chunk.payload.push(0);
    let max = chunk.total as usize;
    let got = SnapshotAssembler::default().push(&chunk, &Named(200, 0));
    assert_eq!(got, Err(SnapshotError::Bomb { max }));
}
