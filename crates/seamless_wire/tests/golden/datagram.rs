//! One whole datagram: the example of `docs/wire-format.md`, bit by bit.

use seamless_wire::{
    Allocator, BitReader, BitWriter, PacketSeq, Tenure, Term, Tick, WireError,
    control::{self, Control, ControlSeq, NumberedItem},
    delta::{self, Baseline},
    packet::{AckBits, HeaderContext, SectionKind, StateHeader},
    record::{Form, RecordCursor, RecordHead, RowsHead, Version},
};

use crate::support::{assert_bits, root};

const BYTES: &str = "
    83 d2 01 73 11 04 00 57 f9 00 a0 38 30 88 d4 85
    19 00 00 00 00 00 00 1a 00 00 00 00 f0 ca 4c 00
    06 59 02 00 00 f8 99 65 f4 d0 0b 00";

/// What the receiver has of component 2 of entities 6 and 7: version 65999 and the one before.
/// Two changes after it follow 1.75 and 4.5, if it goes on like this.
const BASELINES: [(f32, f32); 2] = [(1.25, 1.0), (3.5, 3.0)];

/// What follows: nearly, and exactly.
const MOVED: [f32; 2] = [1.75 + 5.0 * f32::EPSILON, 4.5];

fn header() -> StateHeader {
    let mut acks = AckBits::new(PacketSeq(65_540));
    acks.report(PacketSeq(65_540), true);
    acks.report(PacketSeq(65_538), true);
    acks.report(PacketSeq(65_537), false);
    StateHeader {
        seq: Some(PacketSeq(70_003)),
        tick: Tick(66_002),
        acks: Some(acks),
    }
}

const CONTEXT: HeaderContext = HeaderContext {
    seq: PacketSeq(70_002),
    sent: PacketSeq(65_541),
    tick: Tick(66_001),
};

fn records() -> [RecordHead; 3] {
    let changed = |index| RecordHead {
        index,
        form: Form::Delta {
            version: Version(66_002),
            baseline: Version(65_999),
            steps: 2,
            mask: 0b10,
            fence: None,
        },
    };
    let whole = RecordHead {
        index: 5,
        form: Form::Absolute {
            generation: 0,
            version: Version(66_000),
            global: root(),
            tenure: Tenure::plain(Term(12)),
        },
    };
    [whole, changed(6), changed(7)]
}

fn write(w: &mut BitWriter) {
    header().write(w);

    SectionKind::Control.write(w);
    let item = Control::RouteKept { term: Term(12) };
    let bytes = item.to_bytes().expect("it is small");
    let seq = ControlSeq(7);
    control::write_section(w, &[NumberedItem { seq, bytes: &bytes }]);

    SectionKind::Rows.write(w);
    RowsHead::write(w, Allocator::Local, &[0, 2]);
    let mut cursor = RecordCursor::new(Tick(66_002), 2);
    let [whole, changed @ ..] = records();
    cursor.write(w, 2, &whole);
    delta::write_bytes(w, None, &[100]);
    delta::write_bytes(w, None, &0.5f32.to_le_bytes());
    for ((head, (value, before)), moved) in changed.iter().zip(BASELINES).zip(MOVED) {
        cursor.write(w, 2, head);
        let base = Baseline {
            value: &value.to_le_bytes(),
            before: Some((&before.to_le_bytes(), 2)),
        };
        delta::write_bytes(w, Some(base), &moved.to_le_bytes());
    }
    RecordCursor::write_end(w);

    SectionKind::End.write(w);
}

#[derive(Debug, PartialEq)]
struct Everything {
    header: StateHeader,
    control: Vec<(ControlSeq, Control)>,
    head: RowsHead,
    rows: Vec<(RecordHead, Vec<Vec<u8>>)>,
}

fn read(r: &mut BitReader<'_>) -> Result<Everything, WireError> {
    let header = StateHeader::read(r, CONTEXT)?;
    assert_eq!(SectionKind::read(r)?, SectionKind::Control);
    let control = control::read_section(r, ControlSeq(7))?;
    assert_eq!(SectionKind::read(r)?, SectionKind::Rows);
    let head = RowsHead::read(r, 3)?;
    let mut cursor = RecordCursor::new(header.tick, head.components.len());
    let mut rows = vec![];
    while let Some(record) = cursor.read(r, head.components.len())? {
        let mut values = vec![];
        match record.form {
            Form::Absolute { .. } => {
                for _ in &head.components {
                    let mut value = vec![];
                    delta::read_bytes(r, None, 100, &mut value)?;
                    values.push(value);
                }
            }
            Form::Delta { steps, .. } => {
                let (value, before) = BASELINES[record.index as usize - 6];
                let base = Baseline {
                    value: &value.to_le_bytes(),
                    before: Some((&before.to_le_bytes(), steps)),
                };
                let mut value = vec![];
                delta::read_bytes(r, Some(base), 100, &mut value)?;
                values.push(value);
            }
        }
        rows.push((record, values));
    }
    assert_eq!(SectionKind::read(r)?, SectionKind::End);
    Ok(Everything {
        header,
        control,
        head,
        rows,
    })
}

#[test]
fn the_example_of_the_page_is_written_and_read_as_it_stands_there() {
    let [whole, nearly, exactly] = records();
    let bytes = |value: f32| value.to_le_bytes().to_vec();
    let everything = Everything {
        header: header(),
        control: vec![(ControlSeq(7), Control::RouteKept { term: Term(12) })],
        head: RowsHead {
            allocator: Allocator::Peer,
            components: vec![0, 2],
        },
        rows: vec![
            (whole, vec![vec![100], bytes(0.5)]),
            (nearly, vec![bytes(MOVED[0])]),
            (exactly, vec![bytes(MOVED[1])]),
        ],
    };
    assert_bits(write, read, &everything, BYTES);
}
