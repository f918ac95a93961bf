//! Peers: one per link, with both directions of its stream and what was agreed on it.

pub(crate) mod acks;
pub(crate) mod control;
mod frames;
mod handshake;
pub(crate) mod resume;
pub(crate) mod rtt;
mod said;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bevy::prelude::*;
use seamless_transport::{Channel, LinkId, LinkSide, PeerAddress};
use seamless_wire::{
    GlobalEntity, NodeRef, PeerId, Tick, WireError, WireId,
    control::Control,
    frame::{HandoverOffer, Refusal, ResumeKey},
};

use said::Said;

pub use handshake::{Admission, Admitted};
pub(crate) use handshake::{greet, on_frame, on_open, refuse_other_version, take_names};
pub use resume::SessionState;

use frames::Frames;

use crate::{
    inputs::PeerInputs,
    interest::{PeerInterest, ToldScopes},
    messages::Spoken,
    plugin::ReplicationConfig,
    receive::Receiver,
    send::Sender,
    slots::{Departed, NetSlot, Role, Slots},
    snapshot::transfer::Transfers,
};

/// How far a link has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// Waiting for the other's introduction or answer.
    Greeting,
    /// Rows flow.
    Ready,
    /// It is being closed.
    Ended,
}

/// One link with everything above it.
pub struct Peer {
    pub(crate) link: LinkId,
    pub(crate) side: LinkSide,
    pub(crate) state: PeerState,
    pub(crate) id: Option<PeerId>,
    pub(crate) spectator: bool,
    pub(crate) node: Option<NodeRef>,
    pub(crate) since: Duration,
    /// How long the handshake has taken, pauses of ours left out, and when that was reckoned.
    pub(crate) greeting: (Duration, Duration),
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) interest: PeerInterest,
    /// Which scopes we asked for, on a client.
    pub(crate) told_scopes: ToldScopes,
    pub(crate) inputs: PeerInputs,
    pub(crate) last_sent: Tick,
    /// Instead of what the configuration says.
    bytes_per_tick: Option<usize>,
    /// Unreliable messages for the next datagram.
    pub(crate) unreliable: Vec<Spoken>,
    /// Messages that may have to be said again.
    pub(crate) said: Said,
    /// Reliable frames that the link had no room for yet, by channel.
    pub(crate) frames: [Frames; Channel::ALL.len()],
    pub(crate) asked_for_names: bool,
    /// A client wants more names.
    pub(crate) wants_names: bool,
    /// When it was lent some the last time.
    pub(crate) lent_names: Tick,
    /// Snapshots on their way.
    pub(crate) transfers: Transfers,
    /// Where it leads.
    pub(crate) address: Option<PeerAddress>,
    /// What a client shows to go on after a drop.
    pub(crate) resume_key: Option<ResumeKey>,
    /// What a client showed to go on here, until something comes from it: it may not have heard that
    /// there is another.
    pub(crate) shown_key: Option<ResumeKey>,
    /// The dropped link that a client asked to go on with.
    pub(crate) presented: Option<LinkId>,
    /// Names that the client was lent last: the first of each range, and how many.
    pub(crate) lent: VecDeque<(u64, u32)>,
    /// The dropped link whose session goes on here.
    pub(crate) resumed_from: Option<LinkId>,
    /// Whether the game was told that it joined, and not yet that it left.
    pub(crate) joined: bool,
    /// Whether it ends when it was told what it is to hear, and since when that is so.
    pub(crate) dismissed: bool,
    dismissed_at: Option<Duration>,
}

/// Ranges of names of which a client may still have some. It asks for more when the last is half used.
const LENT_RANGES: usize = 8;

impl Peer {
    /// The client was lent these names.
    pub(crate) fn lend(&mut self, first: GlobalEntity, count: u32) {
        if self.lent.len() == LENT_RANGES {
            self.lent.pop_front();
        }
        self.lent.push_back((first.to_bits(), count));
    }

    /// Whether the client may give this name to something. A look at each range.
    pub(crate) fn was_lent(&self, name: GlobalEntity) -> bool {
        let is_in = |&(first, count): &(u64, u32)| {
            let ahead = name.to_bits().checked_sub(first);
            ahead.is_some_and(|ahead| ahead < u64::from(count))
        };
        self.lent.iter().any(is_in)
    }

    pub(crate) fn new(link: LinkId, side: LinkSide, now: Duration) -> Self {
        Self {
            link,
            side,
            state: PeerState::Greeting,
            id: None,
            spectator: false,
            node: None,
            since: now,
            greeting: (Duration::ZERO, now),
            sender: Sender::default(),
            receiver: Receiver::default(),
            interest: PeerInterest::default(),
            told_scopes: ToldScopes::default(),
            inputs: PeerInputs::default(),
            last_sent: Tick(0),
            bytes_per_tick: None,
            unreliable: Vec::new(),
            said: Said::default(),
            frames: Default::default(),
            asked_for_names: false,
            wants_names: false,
            lent_names: Tick(0),
            transfers: Transfers::default(),
            address: None,
            resume_key: None,
            shown_key: None,
            presented: None,
            lent: VecDeque::new(),
            resumed_from: None,
            joined: false,
            dismissed: false,
            dismissed_at: None,
        }
    }

    /// The link is over: what the game is to be told, if it was not yet.
    pub(crate) fn leaves(&mut self) -> Option<PeerLeft> {
        let peer = self.id.filter(|_| std::mem::take(&mut self.joined))?;
        Some(PeerLeft {
            link: self.link,
            peer,
            spectator: self.spectator,
        })
    }

    /// The link.
    #[must_use]
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// Whether we are the client or the server on it.
    #[must_use]
    pub const fn side(&self) -> LinkSide {
        self.side
    }

    /// How far it has come.
    #[must_use]
    pub const fn state(&self) -> PeerState {
        self.state
    }

    /// The client's name: the other's on a server, our own on a client. `None` before the
    /// handshake is done.
    #[must_use]
    pub const fn id(&self) -> Option<PeerId> {
        self.id
    }

    /// Whether the link only watches until a handover is decided.
    #[must_use]
    pub const fn is_spectator(&self) -> bool {
        self.spectator
    }

    /// The node at the other end, on a client of a mesh.
    #[must_use]
    pub const fn node(&self) -> Option<NodeRef> {
        self.node
    }

    /// Smoothed round-trip time, including the tick an answer waits for.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.sender.rtt.smoothed()
    }

    /// The share of our numbered datagrams that were lost, 0 to 1, since the link stands.
    #[must_use]
    pub fn loss(&self) -> f32 {
        let counters = &self.sender.counters;
        if counters.packets == 0 {
            0.0
        } else {
            counters.lost_packets as f32 / counters.packets as f32
        }
    }

    /// Entities the peer may see.
    #[must_use]
    pub fn visible(&self) -> usize {
        self.sender.visible()
    }

    /// Bytes of reliable messages, rows and snapshots that wait for room on the link. Past 32 MiB on a
    /// channel, 64 bytes for each of them counted in, the link is closed.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.frames.iter().map(Frames::bytes).sum()
    }

    /// Bytes of memory for rows that the peer told, against which it tells the next. At most
    /// [`ReplicationConfig::client_baseline_bytes`](crate::ReplicationConfig::client_baseline_bytes) on
    /// a server.
    #[must_use]
    pub const fn baseline_bytes(&self) -> usize {
        self.receiver.table.bytes()
    }

    /// Gives the link a budget of its own, in bytes per tick, instead of
    /// [`ReplicationConfig::bytes_per_tick`](crate::ReplicationConfig::bytes_per_tick): for a player
    /// whose network carries less, or more. `None`: as all others. It lasts as long as the session.
    pub const fn set_bytes_per_tick(&mut self, bytes: Option<usize>) {
        self.bytes_per_tick = bytes;
    }

    /// What the link may take in a tick at present, in bytes: its budget, less while its network is
    /// full, never less than a datagram of it.
    #[must_use]
    pub fn budget(&self, config: &ReplicationConfig) -> usize {
        self.sender.budget(self.full_budget(config))
    }

    /// The budget while the network is not full.
    pub(crate) fn full_budget(&self, config: &ReplicationConfig) -> usize {
        self.bytes_per_tick.unwrap_or(config.bytes_per_tick)
    }

    /// How many more control items can be queued at present.
    #[must_use]
    pub fn control_room(&self) -> usize {
        self.sender.control.room()
    }

    /// Queues a control item.
    ///
    /// # Errors
    /// [`WireError`] if thousands wait already.
    pub fn send_control(&mut self, item: &Control) -> Result<(), WireError> {
        self.sender.control.push(item)
    }

    /// What the peer sees.
    pub fn interest_mut(&mut self) -> &mut PeerInterest {
        &mut self.interest
    }

    /// Where the peer looks from, in this tick, if from anywhere.
    #[must_use]
    pub const fn eye(&self) -> Option<Vec3> {
        self.interest.eye()
    }

    /// Closes the link at the end of the tick. Nothing more is told over it; what was queued before
    /// arrives, or was lost. Whose link dropped cannot come back to its session.
    pub const fn end(&mut self) {
        self.state = PeerState::Ended;
    }

    /// Closes the link at the end of the tick, when all that the game has written up to then is told: a
    /// reason why, for example. Reliable messages arrive before the link ends: it waits two seconds for room
    /// on it, if more than 512 KiB wait, and then five until they are acknowledged; by then the game hears
    /// nothing of the client any more. Whose link dropped cannot come back to its session.
    pub const fn dismiss(&mut self) {
        self.dismissed = true;
    }

    /// The newest tick that came from the peer.
    #[must_use]
    pub const fn heard(&self) -> Tick {
        self.receiver.tick
    }

    /// Makes a spectator's link the one that plays, or back.
    pub const fn set_spectator(&mut self, spectator: bool) {
        self.spectator = spectator;
    }
}

/// All peers, by link.
#[derive(Resource, Default)]
pub struct Peers {
    pub(crate) map: BTreeMap<LinkId, Box<Peer>>,
    me: Option<PeerId>,
    /// Whether a server ever had us.
    was_client: bool,
    /// How many of them are taken out, because what they said is applied.
    taken: usize,
    /// The player of a listen server.
    local: Option<PeerId>,
    /// Sessions whose link dropped, the oldest first.
    pub(crate) suspended: Vec<resume::Suspended>,
}

impl Peers {
    /// All peers in the order of their links.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.map.values().map(|peer| &**peer)
    }

    /// All peers, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.map.values_mut().map(|peer| &mut **peer)
    }

    /// The peer on a link.
    #[must_use]
    pub fn get(&self, link: LinkId) -> Option<&Peer> {
        self.map.get(&link).map(|peer| &**peer)
    }

    /// The peer on a link, to change.
    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Peer> {
        self.map.get_mut(&link).map(|peer| &mut **peer)
    }

    /// The ready link of a client, on a server: the one that plays before one that watches.
    #[must_use]
    pub fn by_id(&self, id: PeerId) -> Option<&Peer> {
        self.ready_of(id).min_by_key(|peer| peer.spectator)
    }

    /// As [`by_id`](Self::by_id), to change.
    pub fn by_id_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        let link = self.by_id(id)?.link;
        self.get_mut(link)
    }

    /// What became of the session that a link carried, or the link before that one. A look at each peer.
    #[must_use]
    pub fn session(&self, link: LinkId) -> SessionState {
        let is_its = |peer: &Peer| peer.link == link || peer.resumed_from == Some(link);
        // The former link may stand for a moment when its session goes on over another already, or when
        // another session has taken its place.
        let stands = |peer: &&Peer| peer.state != PeerState::Ended && is_its(peer);
        let present = self.iter().filter(stands);
        if let Some(peer) = present.max_by_key(|peer| peer.link != link) {
            SessionState::Stands(peer.link)
        } else if self.suspended.iter().any(|kept| is_its(&kept.peer)) {
            SessionState::Suspended
        } else {
            SessionState::Over
        }
    }

    /// The tick of its host as of which an entity of another is known here: that of the newest record of it.
    /// `None` for what this app hosts, for what nobody tells of at present or told since it migrated, and in
    /// observers of what arrives just then: the peer is taken out meanwhile. What a host does not change, it
    /// does not tell again.
    #[must_use]
    pub fn told_at(&self, slots: &Slots, slot: &NetSlot) -> Option<Tick> {
        let here = slots.get(slot.index)?;
        let Role::Remote { source: Some(link) } = here.role() else {
            return None;
        };
        let name = here.remote_name?;
        let table = &self.get(link)?.receiver.table;
        let newest = table.get(name.allocator, name.index)?.newest;
        // What migrated and rests since was never told.
        newest.filter(|newest| *newest > Tick(0))
    }

    /// A client whose link dropped and that may come back: what it is told waits for that.
    pub fn suspended_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        let mut kept = self.suspended.iter_mut().map(|kept| &mut *kept.peer);
        kept.find(|peer| peer.id == Some(id) && peer.side == LinkSide::ToClient)
    }

    fn ready_of(&self, id: PeerId) -> impl Iterator<Item = &Peer> {
        self.iter().filter(move |peer| {
            peer.id == Some(id) && peer.state == PeerState::Ready && peer.side == LinkSide::ToClient
        })
    }

    /// Our own name: on a client, or on a server that has a
    /// [local player](crate::listen::ListenPlugin).
    #[must_use]
    pub const fn me(&self) -> Option<PeerId> {
        match self.me {
            None => self.local,
            me => me,
        }
    }

    /// Whether something that a peer said is applied at present: observers run in between. That peer is
    /// not in here meanwhile.
    #[must_use]
    pub const fn is_receiving(&self) -> bool {
        self.taken > 0
    }

    /// Takes a peer out, to apply what it says: observers that run meanwhile can use the others.
    pub(crate) fn take(&mut self, link: LinkId) -> Option<Box<Peer>> {
        let peer = self.map.remove(&link)?;
        self.taken += 1;
        Some(peer)
    }

    /// It is back.
    pub(crate) fn put_back(&mut self, peer: Box<Peer>) {
        self.taken = self.taken.saturating_sub(1);
        self.map.insert(peer.link, peer);
    }

    /// Our own name as a client of somebody else: none on a server, also if it has a local player.
    #[must_use]
    pub const fn as_client(&self) -> Option<PeerId> {
        self.me
    }

    /// Whether this is the player who sits at this server.
    #[must_use]
    pub fn is_local(&self, peer: PeerId) -> bool {
        self.local == Some(peer)
    }

    /// The player who sits at this server, if one does.
    #[must_use]
    pub const fn local(&self) -> Option<PeerId> {
        self.local
    }

    pub(crate) const fn set_local(&mut self, player: PeerId) {
        self.local = Some(player);
    }

    pub(crate) fn set_me(&mut self, me: PeerId) {
        self.me = Some(me);
        self.was_client = true;
    }

    /// Whether a server has us, or had: then there may be inputs of a player that it had.
    pub(crate) const fn was_client(&self) -> bool {
        self.was_client
    }

    /// We let a client in: if we were one, and no server has us any more, we are none.
    pub(crate) fn serve(&mut self) {
        let suspended = self.suspended.iter().map(|suspended| &suspended.peer);
        let mut all = self.map.values().chain(suspended);
        if all.all(|peer| peer.side == LinkSide::ToClient) {
            self.me = None;
        }
    }

    /// The link on which a server tells of an entity, or the client that owns it, with its short name
    /// there, if any link but `except` does.
    pub(crate) fn other_source(
        &self,
        global: GlobalEntity,
        owner: Option<PeerId>,
        except: LinkId,
    ) -> Option<(LinkId, WireId)> {
        self.iter()
            .filter(|peer| peer.link != except && peer.state == PeerState::Ready)
            .filter(|peer| peer.side == LinkSide::ToServer || owner.is_some() && peer.id == owner)
            .find_map(|peer| {
                peer.receiver
                    .table
                    .name_of(global)
                    .map(|name| (peer.link, name))
            })
    }

    /// An entity left its slot: tell whoever saw it.
    pub(crate) fn slot_departed(&mut self, departed: &Departed) {
        let &Departed {
            slot,
            generation,
            global,
            reason,
            migrating,
            ..
        } = departed;
        // Who comes back hears of it, too.
        let suspended = self.suspended.iter_mut().map(|other| &mut other.peer);
        for peer in self.map.values_mut().chain(suspended) {
            if migrating == Some(peer.link) {
                // It was told under which name it goes on.
                peer.sender.appear(slot);
                peer.sender.migrated(slot);
            }
            peer.sender.vanish(slot, generation, reason);
            peer.interest.forget(slot, global);
        }
    }
}

/// A peer's handshake is done; rows flow from here on.
#[derive(Message, Clone, Copy, Debug)]
pub struct PeerJoined {
    /// The link.
    pub link: LinkId,
    /// The client's name.
    pub peer: PeerId,
    /// Whether it only watches.
    pub spectator: bool,
    /// Whether it goes on with what it had before its former link dropped, see
    /// [`resume_grace`](crate::ReplicationConfig::resume_grace).
    pub resumed: bool,
}

/// A peer that had joined is gone.
///
/// Who comes again before the end of its former link was noticed leaves and joins in the same frame:
/// read this before [`PeerJoined`].
#[derive(Message, Clone, Copy, Debug)]
pub struct PeerLeft {
    /// The link, which is closed, or will be in a moment.
    pub link: LinkId,
    /// The client's name.
    pub peer: PeerId,
    /// Whether it only watched.
    pub spectator: bool,
}

/// The other side did not let us in, or we did not let it in.
#[derive(Message, Clone, Debug)]
pub struct PeerRefused {
    /// The link, which is being closed.
    pub link: LinkId,
    /// Why.
    pub reason: Refusal,
}

/// A control item that is not the replication's own business.
#[derive(Message, Clone, Debug)]
pub struct ControlReceived {
    /// From which link.
    pub link: LinkId,
    /// The client's name: the sender's on a server, our own on a client.
    pub peer: PeerId,
    /// What.
    pub control: Control,
}

/// A server tells us to open a second link.
#[derive(Message, Clone, Debug)]
pub struct HandoverOffered {
    /// From which link.
    pub link: LinkId,
    /// Where to.
    pub offer: HandoverOffer,
}
