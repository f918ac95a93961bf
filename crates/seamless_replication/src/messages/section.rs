//! Unreliable messages in a datagram.

use seamless_wire::{
    BitReader, BitWriter, GlobalEntity, WireError,
    frame::{MAX_MENTIONS, Mention},
    packet::SectionKind,
    record::Version,
};

use super::MAX_UNRELIABLE;
use crate::registry::Registry;

/// Most unreliable messages in one datagram.
const MAX_IN_SECTION: u64 = 64;

/// Bytes of one mention: an entity and a version.
pub(super) const MENTION: usize = 8 + 4;

/// A message as it travels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spoken {
    /// Index into the agreed schema.
    pub(crate) kind: u16,
    pub(crate) mentions: Vec<Mention>,
    pub(crate) payload: Vec<u8>,
}

impl Spoken {
    /// Bits that it takes at most.
    const fn bits(&self) -> usize {
        // Kind, number of mentions, length.
        33 + 9 + 17 + (self.mentions.len() * MENTION + self.payload.len()) * 8
    }
}

/// Writes as many unreliable messages as fit into `room` bits and takes them out of the list.
pub(crate) fn write_section(w: &mut BitWriter, room: usize, messages: &mut Vec<Spoken>) -> bool {
    let mut bits = 3 + 13;
    let count = messages
        .iter()
        .take(MAX_IN_SECTION as usize)
        .take_while(|message| {
            bits += message.bits();
            bits <= room
        })
        .count();
    if count == 0 {
        return false;
    }
    SectionKind::Messages.write(w);
    w.put_golomb(count as u64, 1);
    for message in messages.drain(..count) {
        w.put_golomb(u64::from(message.kind), 3);
        w.put_golomb(message.mentions.len() as u64, 0);
        for Mention { entity, version } in &message.mentions {
            w.put_u64(entity.to_bits());
            w.put(version.0.into(), 32);
        }
        w.put_golomb(message.payload.len() as u64, 5);
        w.put_bytes(&message.payload);
    }
    true
}

/// Reads a section of unreliable messages.
///
/// # Errors
/// [`WireError`] for one that [`write_section`] cannot have made.
pub(crate) fn read_section(
    r: &mut BitReader<'_>,
    registry: &Registry,
    out: &mut Vec<Spoken>,
) -> Result<(), WireError> {
    let count = r.get_bounded(1, MAX_IN_SECTION, "number of messages")?;
    for _ in 0..count {
        let kinds = registry.schema().messages.len() as u64;
        let kind = r.get_golomb(3)?;
        if kind >= kinds {
            return Err(WireError::OutOfBounds {
                what: "kind of message",
                value: kind,
                max: kinds,
            });
        }
        let mentioned = r.get_bounded(0, MAX_MENTIONS as u64, "mentions of a message")?;
        let mut mentions = Vec::new();
        for _ in 0..mentioned {
            let bits = r.get_u64()?;
            let entity = GlobalEntity::from_bits(bits).ok_or(WireError::Invalid {
                what: "entity name",
                value: bits,
            })?;
            let version = Version(r.get(32)? as u32);
            mentions.push(Mention { entity, version });
        }
        let len = r.get_bounded(5, MAX_UNRELIABLE as u64, "length of a message")? as usize;
        let mut payload = Vec::new();
        r.get_bytes(len, &mut payload)?;
        out.push(Spoken {
            kind: kind as u16,
            mentions,
            payload,
        });
    }
    Ok(())
}
