//! Control items: small, ordered, delivered once.
//!
//! They ride in state datagrams, so that a loss is noticed within a few ticks (a reliable channel
//! with a fixed resend time would need 300 ms), and are numbered per link and direction. What a
//! lost datagram carried is sent again; the receiver applies them in order.

use serde::{Deserialize, Serialize};

use crate::{
    BitReader, BitWriter, WireError, codec,
    epoch::{Epoch, Tenure, Term},
    ids::{GlobalEntity, HandoverId, InputSeq, RequestId},
    record::Version,
    tick::Tick,
};

/// Largest encoding of one item, in bytes.
pub const MAX_ITEM_BYTES: usize = 256;

/// Most items in one section.
pub const MAX_ITEMS: usize = 256;

/// Number of an item on one link and in one direction; widened from 16 bits by the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ControlSeq(pub u64);

/// One item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Control {
    /// Client to host: lend me this entity.
    AuthorityRequest {
        /// Answered exactly once under this number.
        request: RequestId,
        /// Which.
        entity: GlobalEntity,
    },
    /// Client to host: I give it back. Its final values are in a record of the same datagram or an
    /// earlier one.
    AuthorityRelease {
        /// Which.
        entity: GlobalEntity,
        /// The epoch it was held under.
        epoch: Epoch,
        /// The last row that the holder wrote, by the version of its own stream.
        last: Option<u32>,
    },
    /// Host to client: the answer to a request.
    AuthorityAnswer {
        /// Which request.
        request: RequestId,
        /// Which entity.
        entity: GlobalEntity,
        /// Granted or not.
        answer: AuthorityAnswer,
    },
    /// Client to server: take over an entity that I spawned, and let it be lent.
    Delegate {
        /// Which.
        entity: GlobalEntity,
    },
    /// Server to client: taken over. The one time an entity is renumbered.
    MigrateResponse {
        /// Which.
        entity: GlobalEntity,
        /// The client's slot that it had.
        old_index: u32,
        /// That slot's generation.
        old_generation: u32,
        /// The server's slot that it has now.
        new_index: u32,
        /// That slot's generation.
        new_generation: u32,
        /// Its fence from here on.
        tenure: Tenure,
        /// The last version of the client's stream that the server applied.
        applied: u32,
        /// The number the same row has in the server's stream.
        version: u32,
    },
    /// Server to client: not taken over.
    DelegateRefused {
        /// Which.
        entity: GlobalEntity,
        /// Why.
        reason: DenyReason,
    },
    /// Client to server: migrated as told.
    Migrated {
        /// Which.
        entity: GlobalEntity,
        /// What the client has of it.
        kept: Kept,
    },
    /// A row that went by the bulk channel has arrived and is kept as a baseline.
    RowKept {
        /// Whether the receiver of this item allocated the index.
        yours: bool,
        /// The slot.
        index: u32,
        /// The tick in which it was sent: a row may be sent again in another life of its slot.
        tick: Tick,
    },
    /// Server to client: names for your own spawns.
    Names {
        /// The first.
        first: GlobalEntity,
        /// How many, counting up.
        count: u32,
    },
    /// Client to server: I am running out of names.
    MoreNames,
    /// Client to server: tell me about these regions and scopes.
    Subscribe(Subscription),
    /// Client to source node: my link to the target stands.
    Attached {
        /// For which handover.
        handover: HandoverId,
    },
    /// Client to source node: I could not reach the target.
    AttachFailed {
        /// For which handover.
        handover: HandoverId,
    },
    /// Node to client: I am your host now.
    Route {
        /// The player's root.
        root: GlobalEntity,
        /// Under this term.
        term: Term,
        /// From this tick on.
        tick: Tick,
        /// The last input that is already in its state.
        applied: InputSeq,
    },
    /// Client to node: understood.
    RouteKept {
        /// Under which term.
        term: Term,
    },
    /// Source node to client: the handover came to nothing; keep playing here.
    HandoverEnded {
        /// Which.
        handover: HandoverId,
    },
    /// Node to client: another node is your host. It says so itself if you are linked there; if
    /// not, ask at a door.
    RouteEnded {
        /// The other's term.
        term: Term,
    },
    /// What you say that I have of an entity of yours, I do not have: tell it whole.
    Resend {
        /// The slot.
        index: u32,
        /// The version that I should have.
        version: u32,
    },
    /// Server to client: what you wrote of this entity is not yours to write. Said once for each
    /// entity; the datagrams are not acknowledged.
    WriteRefused {
        /// Which.
        entity: GlobalEntity,
        /// Whether the server hosts it itself, and the client spoke as its host.
        hosted: bool,
    },
    /// Client to server: show an entity that I host to other clients, or to nobody but you.
    Publish {
        /// Which.
        entity: GlobalEntity,
        /// Whether others see it.
        public: bool,
    },
    /// Server to client: the answer to [`Publish`](Self::Publish); or the server decided so itself.
    Published {
        /// Which.
        entity: GlobalEntity,
        /// Whether others see it from here on.
        public: bool,
        /// Why it is not as it was asked for.
        refused: Option<DenyReason>,
    },
    /// So many reliable messages of yours came since the session began: after a drop they need not be said
    /// again.
    Heard {
        /// How many; it goes on from zero after the last number.
        messages: u32,
    },
}

/// What a client that migrated has of the entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// The named row, which is now the first baseline of the reverse stream.
    Row,
    /// The entity, but not the named row. The server begins with an absolute record.
    Entity,
    /// Nothing: it had despawned it. The server tells it of the entity anew.
    Nothing,
}

/// Which end of a link may say an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The client.
    Client,
    /// The server.
    Server,
    /// Either.
    Both,
}

impl Control {
    /// Which end may say it. From the other it means nothing.
    #[must_use]
    pub const fn speaker(&self) -> Speaker {
        match self {
            Self::AuthorityRequest { .. }
            | Self::AuthorityRelease { .. }
            | Self::Delegate { .. }
            | Self::Publish { .. }
            | Self::Migrated { .. }
            | Self::MoreNames
            | Self::Subscribe(_)
            | Self::Attached { .. }
            | Self::AttachFailed { .. }
            | Self::RouteKept { .. } => Speaker::Client,
            Self::AuthorityAnswer { .. }
            | Self::MigrateResponse { .. }
            | Self::DelegateRefused { .. }
            | Self::Names { .. }
            | Self::Route { .. }
            | Self::HandoverEnded { .. }
            | Self::RouteEnded { .. }
            | Self::WriteRefused { .. }
            | Self::Published { .. }
            // Only a server numbers what the other end writes.
            | Self::RowKept { yours: false, .. } => Speaker::Server,
            Self::RowKept { yours: true, .. } | Self::Resend { .. } | Self::Heard { .. } => {
                Speaker::Both
            }
        }
    }

    /// The item's bytes.
    ///
    /// # Errors
    /// [`WireError::OutOfBounds`] above [`MAX_ITEM_BYTES`]; none of ours is near.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let bytes = codec::to_vec(self)?;
        if bytes.len() > MAX_ITEM_BYTES {
            return Err(WireError::OutOfBounds {
                what: "control item",
                value: bytes.len() as u64,
                max: MAX_ITEM_BYTES as u64,
            });
        }
        Ok(bytes)
    }
}

/// The answer to an authority request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorityAnswer {
    /// Yours, from this epoch on.
    Granted(Epoch),
    /// Not yours.
    Denied(DenyReason),
}

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DenyReason {
    /// Somebody else has it.
    Held,
    /// The game's policy says no.
    Policy,
    /// The requester does not see it.
    OutOfScope,
    /// It cannot be lent.
    NotDelegated,
    /// It is hosted on the far side of a border, or on its way there.
    HostedElsewhere,
    /// There is no such entity, or there is none any more.
    Unknown,
    /// Too many requests or spawns.
    Limited,
    /// It is too far away.
    TooFar,
    /// It was granted, and taken back before the requester knew.
    Revoked,
}

/// What a client wants to be told about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subscription {
    /// Scopes to add.
    pub enter: Vec<u32>,
    /// Scopes to leave.
    pub leave: Vec<u32>,
}

/// One numbered item as it is written.
pub struct NumberedItem<'a> {
    /// Its number.
    pub seq: ControlSeq,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Bits that one item takes in a section at most: the largest gap of numbers, the largest length,
/// the bytes.
#[must_use]
pub const fn item_bits(bytes: usize) -> usize {
    33 + 13 + bytes * 8
}

/// Writes a section's body. Numbers must ascend; at most [`MAX_ITEMS`].
pub fn write_section(w: &mut BitWriter, items: &[NumberedItem<'_>]) {
    w.put_golomb(items.len() as u64, 1);
    let mut next = None;
    for item in items {
        match next {
            None => w.put(item.seq.0 & 0xffff, 16),
            Some(next) => w.put_golomb(item.seq.0 - next, 0),
        }
        next = Some(item.seq.0 + 1);
        w.put_golomb(item.bytes.len() as u64, 4);
        w.put_bytes(item.bytes);
    }
}

/// Reads a section's body: numbers, widened near `near`, and items.
///
/// # Errors
/// [`WireError`] for bodies that [`write_section`] cannot have made and for items that do not
/// decode.
pub fn read_section(
    r: &mut BitReader<'_>,
    near: ControlSeq,
) -> Result<Vec<(ControlSeq, Control)>, WireError> {
    let count = r.get_bounded(1, MAX_ITEMS as u64, "number of control items")? as usize;
    let mut items = Vec::with_capacity(count);
    let mut next: Option<u64> = None;
    let mut bytes = Vec::new();
    for _ in 0..count {
        let seq = match next {
            None => {
                let low = r.get(16)? as u16;
                let ahead = low.wrapping_sub(near.0 as u16) as i16;
                near.0
                    .checked_add_signed(i64::from(ahead))
                    .ok_or_else(|| WireError::Invalid {
                        what: "control sequence",
                        value: low.into(),
                    })?
            }
            Some(next) => next + r.get_bounded(0, u64::from(u16::MAX), "control gap")?,
        };
        next = Some(seq + 1);
        let len = r.get_bounded(4, MAX_ITEM_BYTES as u64, "length of a control item")? as usize;
        bytes.clear();
        r.get_bytes(len, &mut bytes)?;
        items.push((ControlSeq(seq), codec::decode(&bytes)?));
    }
    Ok(items)
}

/// The version named in an item as the type the streams use.
#[must_use]
pub const fn version(number: u32) -> Version {
    Version(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_item_takes_more_bits_than_are_set_aside_for_it() {
        let longest = [7; MAX_ITEM_BYTES];
        let at = |seq| NumberedItem {
            seq: ControlSeq(seq),
            bytes: &longest,
        };
        let written = |items: &[NumberedItem<'_>]| {
            let mut w = BitWriter::new();
            write_section(&mut w, items);
            w.bit_len()
        };
        let far = 6 + 1 + u64::from(u16::MAX);
        // The count takes as many bits for three items as for two.
        let two = written(&[at(5), at(6)]);
        let three = written(&[at(5), at(6), at(far)]);
        assert_eq!(three - two, item_bits(MAX_ITEM_BYTES));
        assert!(two <= 4 + 2 * item_bits(MAX_ITEM_BYTES));
    }

    proptest! {
        #[test]
        fn numbered_items_survive(first in 0u64..1 << 20, gaps in proptest::collection::vec(0u64..5, 0..20)) {
            let mut seq = first;
            let items: Vec<(ControlSeq, Control)> = gaps.iter().map(|gap| {
                seq += gap + 1;
                let entity = GlobalEntity::new(7, seq | 1).unwrap();
                (ControlSeq(seq), Control::AuthorityRequest { request: RequestId(seq as u32), entity })
            }).collect();
            let bytes: Vec<Vec<u8>> = items.iter().map(|(_, item)| item.to_bytes().unwrap()).collect();
            let numbered: Vec<NumberedItem<'_>> = items.iter().zip(&bytes)
                .map(|((seq, _), bytes)| NumberedItem { seq: *seq, bytes }).collect();
            let mut w = BitWriter::new();
            write_section(&mut w, &numbered);
            let written = w.finish().to_vec();
            prop_assert_eq!(read_section(&mut BitReader::new(&written), ControlSeq(first)), Ok(items));
        }

        #[test]
        fn junk_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_section(&mut BitReader::new(&bytes), ControlSeq(3));
        }
    }
}
