//! One whole datagram: the example of `docs/wire-format.md`, bit by bit.

use seamless_wire::{
    Allocator, BitReader, BitWriter, PacketSeq, Tenure, Term, Tick, WireError,
    control::{self, Control, ControlSeq, NumberedItem},
    delta,
    packet::{AckBits, HeaderContext, SectionKind, StateHeader},
    record::{Form, RecordCursor, RecordHead, RowsHead, Version},
};

use crate::support::{assert_bits, root};

const BYTES: &str = "
    83 d2 01 73 11 04 00 57 f9 00 a0 38 30 88 d4 c5
    13 00 00 00 00 00 60 00 00 00 00 e0 95 ce 04 06
    59 0a 10 18 20 18 4a 14 13 00";

/// What the receiver has of entity 6 as version 296, component 2.
const BASELINE: [u8; 4] = [1, 2, 3, 4];

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

fn records() -> [RecordHead; 2] {
    [
        RecordHead {
            index: 5,
            form: Form::Absolute {
                generation: 0,
                version: Version(9),
                global: root(),
            },
            tenure: Some(Tenure::plain(Term(12))),
        },
        RecordHead {
            index: 6,
            form: Form::Delta {
                baseline: 296u32 as u8,
                age: 1,
                mask: 0b10,
            },
            tenure: None,
        },
    ]
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
    let mut cursor = RecordCursor::default();
    let [whole, changed] = records();
    cursor.write(w, 2, &whole);
    delta::write_bytes(w, None, &[100]);
    delta::write_bytes(w, None, &[1, 2, 3, 4]);
    cursor.write(w, 2, &changed);
    delta::write_bytes(w, Some(&BASELINE), &[1, 2, 3, 9]);
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
    let mut cursor = RecordCursor::default();
    let mut rows = vec![];
    while let Some(record) = cursor.read(r, head.components.len())? {
        let bases: &[Option<&[u8]>] = match record.form {
            Form::Absolute { .. } => &[None, None],
            Form::Delta { .. } => &[Some(&BASELINE)],
        };
        let mut values = vec![];
        for base in bases {
            let mut value = vec![];
            delta::read_bytes(r, *base, 100, &mut value)?;
            values.push(value);
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
    let [whole, changed] = records();
    let everything = Everything {
        header: header(),
        control: vec![(ControlSeq(7), Control::RouteKept { term: Term(12) })],
        head: RowsHead {
            allocator: Allocator::Peer,
            components: vec![0, 2],
        },
        rows: vec![
            (whole, vec![vec![100], vec![1, 2, 3, 4]]),
            (changed, vec![vec![1, 2, 3, 9]]),
        ],
    };
    assert_bits(write, read, &everything, BYTES);
}
