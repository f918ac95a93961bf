//! Snapshots over a link.
//!
//! [`Peer::send_snapshot`] cuts a snapshot into chunks, which go over the bulk channel as there is
//! room for them, within the link's budget and behind rows that are too large for a datagram. The
//! other end gets a [`SnapshotReceived`]; what it does with it is the game's matter:
//! [`stage`](super::stage) and [`spawn`](super::StagedSnapshot::spawn) it, or write it to a file.
//! It has nothing to do with how clients join: those are told what they see by the stream of rows.
//!
//! Chunks come in order. One that does not follow the one before it, that is out of bounds or does
//! not unpack ends its snapshot; the rest of it is dropped unread. At most
//! [`max_from_server`](SnapshotTransfer::max_from_server) or
//! [`max_from_client`](SnapshotTransfer::max_from_client) bytes are gathered for a link, and the
//! same again while the rows are made of them.

use std::{collections::VecDeque, sync::Arc};

use bevy::prelude::*;
use seamless_transport::{Channel, LinkId, LinkSide, Links};
use seamless_wire::{
    PeerId, Tick, WireError,
    frame::Frame,
    snapshot::{
        Compressor, MAX_SNAPSHOT, SnapshotAssembler, SnapshotChunk, SnapshotError, WorldSnapshot,
    },
};

use super::{default_compressor, known};
use crate::{
    clock::NetClock,
    peer::{Peer, PeerState, Peers},
    plugin::ReplicationConfig,
};

/// Most snapshots that wait on a link, the one that is being sent included.
const MAX_WAITING: usize = 4;

/// Snapshots that may begin on a link within [`WINDOW_SECONDS`]. A sender begins one a second; late
/// chunks may come close together.
const MAX_BEGUN: u32 = 8;

/// Seconds over which beginnings are counted.
const WINDOW_SECONDS: u32 = 4;

/// Reliable bytes that may wait in front of the network while chunks are added.
const MAX_QUEUED_BYTES: usize = 64 << 10;

/// How snapshots go over links, and how large they may be.
#[derive(Resource, Clone)]
pub struct SnapshotTransfer {
    /// What squeezes chunks. By default Zstandard at level 3, or nothing without the feature
    /// `zstd`. What comes may be squeezed by this one, by Zstandard, or not at all.
    pub compressor: Arc<dyn Compressor>,
    /// Bytes that are squeezed at a time, up to 512 KiB. 16 KiB by default.
    pub piece_bytes: usize,
    /// Most bytes of a snapshot from a server, before compression. 64 MiB by default, and never
    /// more; 0 for none.
    pub max_from_server: usize,
    /// Most bytes of a snapshot from a client, before compression. 0 by default: none is taken.
    pub max_from_client: usize,
}

impl Default for SnapshotTransfer {
    fn default() -> Self {
        Self {
            compressor: default_compressor(),
            piece_bytes: 16 << 10,
            max_from_server: MAX_SNAPSHOT,
            max_from_client: 0,
        }
    }
}

/// A snapshot has arrived, whole.
#[derive(Message, Clone, Debug)]
pub struct SnapshotReceived {
    /// From which link.
    pub link: LinkId,
    /// The client's name: the sender's on a server, our own on a client.
    pub peer: PeerId,
    /// What the sender calls it.
    pub tag: u32,
    /// What it sent.
    pub snapshot: Arc<WorldSnapshot>,
}

/// A snapshot was begun and came to nothing.
#[derive(Message, Clone, Debug)]
pub struct SnapshotFailed {
    /// From which link.
    pub link: LinkId,
    /// The client's name: the sender's on a server, our own on a client.
    pub peer: PeerId,
    /// What the sender calls it.
    pub tag: u32,
    /// Why. Nothing of it is kept.
    pub error: TransferError,
}

/// Why a snapshot did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// A chunk is not what it should be.
    #[error(transparent)]
    Chunk(#[from] SnapshotError),
    /// Chunks come in order, and this one does not.
    #[error("chunk {found} came where chunk {wanted} belongs")]
    Order {
        /// The next one.
        wanted: u32,
        /// What came.
        found: u32,
    },
    /// This end takes none from there.
    #[error("snapshots from there are not taken")]
    NotTaken,
    /// Others began just now: one a second is sent.
    #[error("snapshots follow each other too fast")]
    TooFast,
    /// The link ended before the last chunk came.
    #[error("the link ended")]
    LinkEnded,
}

/// Why a snapshot is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendSnapshotError {
    /// The handshake is not done, or the link only watches.
    #[error("the link does not take snapshots now")]
    NotReady,
    /// Others wait already.
    #[error("{MAX_WAITING} snapshots wait already")]
    Busy,
    /// It is too large, or does not encode.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Snapshots on their way over one link.
#[derive(Default)]
pub(crate) struct Transfers {
    out: VecDeque<(u32, VecDeque<SnapshotChunk>)>,
    gathering: Option<Gathering>,
    /// When the next one may be begun.
    next: Tick,
    /// How many the peer began since `window`.
    begun: u32,
    window: Tick,
}

struct Gathering {
    tag: u32,
    next: u32,
    assembler: SnapshotAssembler,
}

impl Peer {
    /// Sends a snapshot under a number of the game's own. It is squeezed here and now: some 10 ms
    /// for each megabyte. A link that ends takes with it what it has not delivered, also if the client comes
    /// back: the receiver is told of one that it had begun to get.
    ///
    /// # Errors
    /// [`SendSnapshotError`] if it cannot be sent; nothing of it is, then.
    pub fn send_snapshot(
        &mut self,
        tag: u32,
        snapshot: &WorldSnapshot,
        transfer: &SnapshotTransfer,
    ) -> Result<(), SendSnapshotError> {
        if self.state != PeerState::Ready || self.spectator {
            return Err(SendSnapshotError::NotReady);
        }
        if self.transfers.out.len() >= MAX_WAITING {
            return Err(SendSnapshotError::Busy);
        }
        // What does not get smaller must still fit a frame.
        let piece = transfer.piece_bytes.clamp(1, 512 << 10);
        let chunks = snapshot.into_chunks(piece, &*transfer.compressor)?;
        self.transfers.out.push_back((tag, chunks.into()));
        Ok(())
    }

    /// Chunks of snapshots that were not handed to the network yet.
    #[must_use]
    pub fn chunks_left(&self) -> usize {
        let out = self.transfers.out.iter();
        out.map(|(_, chunks)| chunks.len()).sum()
    }
}

/// Queues chunks where there is room for them. Once a tick, a look at each link.
pub(crate) fn send_chunks(
    mut peers: ResMut<Peers>,
    links: Res<Links>,
    config: Res<ReplicationConfig>,
    clock: Res<NetClock>,
) {
    let (now, second) = (clock.tick(), u32::from(clock.rate()));
    for peer in peers.iter_mut() {
        if peer.transfers.out.is_empty() || peer.state != PeerState::Ready {
            continue;
        }
        let Some(link) = links.get(peer.link) else {
            continue;
        };
        let mut room = peer.budget(&config);
        while room > 0
            && peer.frames[Channel::Bulk as usize].is_empty()
            && link.backlog().reliable_out < MAX_QUEUED_BYTES
        {
            let Some((tag, chunks)) = peer.transfers.out.front_mut() else {
                break;
            };
            if chunks.front().is_some_and(|chunk| chunk.index == 0) {
                if now < peer.transfers.next {
                    break;
                }
                peer.transfers.next = now.plus(second);
            }
            let Some(chunk) = chunks.pop_front() else {
                peer.transfers.out.pop_front();
                continue;
            };
            room = room.saturating_sub(chunk.payload.len());
            let (tag, chunk) = (*tag, Box::new(chunk));
            peer.send_frame(Frame::Chunk { tag, chunk });
        }
    }
}

/// A link has ended: what was on its way over it will not arrive.
pub(crate) fn cut(world: &mut World, peer: &mut Peer) {
    let Transfers { gathering, .. } = std::mem::take(&mut peer.transfers);
    if let Some((Gathering { tag, .. }, id)) = gathering.zip(peer.id) {
        world.write_message(SnapshotFailed {
            link: peer.link,
            peer: id,
            tag,
            error: TransferError::LinkEnded,
        });
    }
}

/// Takes a chunk that came.
pub(crate) fn take_chunk(world: &mut World, peer: &mut Peer, tag: u32, chunk: &SnapshotChunk) {
    let Some(id) = peer.id else { return };
    let transfer = world.get_resource_or_init::<SnapshotTransfer>().clone();
    let clock = world.resource::<NetClock>();
    let (now, second) = (clock.tick(), u32::from(clock.rate()));
    let limit = match peer.side {
        LinkSide::ToServer => transfer.max_from_server,
        LinkSide::ToClient => transfer.max_from_client,
    };
    let link = peer.link;
    match peer
        .transfers
        .take(tag, chunk, limit, (now, second), &transfer.compressor)
    {
        Ok(Taken::More | Taken::Dropped) => {}
        Ok(Taken::Whole(snapshot)) => {
            let snapshot = Arc::new(snapshot);
            world.write_message(SnapshotReceived {
                link,
                peer: id,
                tag,
                snapshot,
            });
        }
        Err(error) => {
            tracing::warn!(%link, tag, %error, "a snapshot is refused");
            peer.receiver.counters.malformed += 1;
            world.write_message(SnapshotFailed {
                link,
                peer: id,
                tag,
                error,
            });
        }
    }
}

/// What became of a chunk.
enum Taken {
    /// Others must follow.
    More,
    /// It belongs to a snapshot that failed.
    Dropped,
    /// It was the last.
    Whole(WorldSnapshot),
}

impl Transfers {
    fn take(
        &mut self,
        tag: u32,
        chunk: &SnapshotChunk,
        limit: usize,
        (now, second): (Tick, u32),
        own: &Arc<dyn Compressor>,
    ) -> Result<Taken, TransferError> {
        if chunk.index == 0 {
            if limit == 0 {
                return Err(TransferError::NotTaken);
            }
            if now.since(self.window) >= WINDOW_SECONDS * second {
                self.window = now;
                self.begun = 0;
            }
            self.begun += 1;
            if self.begun > MAX_BEGUN {
                self.gathering = None;
                return Err(TransferError::TooFast);
            }
            let cut = self.gathering.replace(Gathering {
                tag,
                next: 0,
                assembler: SnapshotAssembler::with_limit(limit),
            });
            if let Some(cut) = cut {
                self.gathering = None;
                let wanted = cut.next;
                return Err(TransferError::Order { wanted, found: 0 });
            }
        }
        // Out while it is looked at: whatever is wrong with the chunk ends it.
        let Some(mut gathering) = self.gathering.take() else {
            return Ok(Taken::Dropped);
        };
        if (chunk.index, tag) != (gathering.next, gathering.tag) {
            let (wanted, found) = (gathering.next, chunk.index);
            return Err(TransferError::Order { wanted, found });
        }
        let compressor = known(chunk.compressor, chunk.dictionary, Some(own))?;
        match gathering.assembler.push(chunk, &*compressor)? {
            Some(snapshot) => Ok(Taken::Whole(snapshot)),
            None => {
                gathering.next += 1;
                self.gathering = Some(gathering);
                Ok(Taken::More)
            }
        }
    }
}
