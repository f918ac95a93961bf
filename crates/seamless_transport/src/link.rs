//! One connection to one peer, whatever carries it.

use std::time::Duration;

use bytes::Bytes;
use seamless_wire::{MAX_DATAGRAM, packet::STATE_MARK, ticket::TICKET_BYTES};

use crate::{
    Backlog, Channel, CloseReason, ConditionerConfig, LinkError, LinkId, LinkSide, LinkState,
    LinkStats, PeerAddress, Refused, TransportConfig,
    carrier::{Carrier, CarrierKind, Path},
    conditioner::Weather,
    engine::Engine,
    limiter::{FaultMeter, LinkLimiter},
    queues::{Inbox, Outbox},
    reliable::Reliable,
    stats::Class,
    tap::{self, Tap, TapConfig, TapWay, Tapped},
};

/// Ticks that a closed link can still be read: the one in which it closed and the next.
const READABLE_TICKS: u8 = 2;

/// One connection to one peer.
///
/// What is sent is queued and leaves with the tick's flush; what arrived in
/// [`TransportSystems::Receive`](crate::TransportSystems::Receive) waits in queues. All queues are
/// bounded. A link does nothing by itself: it is the desk between the layers above and the
/// endpoint that carries it.
#[derive(Debug)]
pub struct Link {
    id: LinkId,
    side: LinkSide,
    pub(crate) carrier: CarrierKind,
    peer: PeerAddress,
    netcode_id: u64,
    user_data: Option<Box<[u8; TICKET_BYTES]>>,
    state: LinkState,
    closing: Option<Closing>,
    /// Set where the link must end; the endpoint that carries it does the rest.
    doom: Option<CloseReason>,
    /// Ticks until a closed link's slot is freed.
    readable: u8,
    outbox: Outbox,
    inbox: Inbox,
    reliable: Reliable,
    /// Boxed: most links have none.
    weather: Option<Box<Weather>>,
    /// Boxed: most links have none.
    tap: Option<Box<Tap>>,
    pub(crate) limiter: LinkLimiter,
    faults: FaultMeter,
    bounds: Bounds,
    pub(crate) stats: LinkStats,
    rtt: Duration,
    pub(crate) times: Times,
}

/// When things last happened, on the clock of `Time<Real>`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) heard: Duration,
    pub(crate) sent: Duration,
    pub(crate) served: Duration,
}

/// The link's part of [`TransportConfig`].
#[derive(Debug)]
struct Bounds {
    datagrams_out: usize,
    datagrams_in: usize,
    close_time: Duration,
    /// See [`Link::set_budget`].
    budget: Option<usize>,
}

/// Bytes of reliable packets that a link with the smallest of budgets sends in a tick, so that what is on
/// the bulk channel arrives at all.
const MIN_RELIABLE: usize = 300;

#[derive(Debug)]
struct Closing {
    reason: CloseReason,
    /// How long it waits at most, and until when that is, once something left since.
    time: Duration,
    until: Option<Duration>,
}

/// Who is at the other end, as the endpoint knows it.
pub(crate) struct Peer {
    pub(crate) carrier: CarrierKind,
    pub(crate) address: PeerAddress,
    pub(crate) netcode_id: u64,
    pub(crate) user_data: Option<Box<[u8; TICKET_BYTES]>>,
}

impl Link {
    pub(crate) fn new(id: LinkId, peer: Peer, config: &TransportConfig, now: Duration) -> Self {
        let side = peer.carrier.side();
        Self {
            id,
            side,
            carrier: peer.carrier,
            peer: peer.address,
            netcode_id: peer.netcode_id,
            user_data: peer.user_data,
            state: match side {
                LinkSide::ToServer => LinkState::Connecting,
                LinkSide::ToClient => LinkState::Connected,
            },
            closing: None,
            doom: None,
            readable: READABLE_TICKS,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            reliable: Reliable::default(),
            weather: None,
            tap: None,
            limiter: LinkLimiter::new(config.link_rate),
            faults: FaultMeter::new(config.faults),
            bounds: Bounds {
                datagrams_out: config.datagrams_per_tick,
                datagrams_in: config.datagrams_unread,
                close_time: config.close_time,
                budget: None,
            },
            stats: LinkStats::default(),
            rtt: Duration::ZERO,
            times: Times {
                heard: now,
                sent: now,
                served: now,
            },
        }
    }

    /// Its name in this app.
    #[must_use]
    pub const fn id(&self) -> LinkId {
        self.id
    }

    /// Which end this app is.
    #[must_use]
    pub const fn side(&self) -> LinkSide {
        self.side
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> LinkState {
        self.state
    }

    /// Whether data can flow.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, LinkState::Connected)
    }

    /// Whether [`close`](Self::close) was called and the last words are on their way.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Where the peer is. On a client's side with several server addresses in its token, the one
    /// it tries or uses.
    #[must_use]
    pub const fn peer_address(&self) -> PeerAddress {
        self.peer
    }

    /// The client's id in the connect token, which is also renet's client id on the server. Random
    /// for each token; not a player's name.
    #[must_use]
    pub const fn netcode_id(&self) -> u64 {
        self.netcode_id
    }

    /// On the server's side, the sealed user data of the client's connect token. Authentic only if
    /// the endpoint is not [`Authentication::Unsecure`](crate::Authentication::Unsecure).
    #[must_use]
    pub fn user_data(&self) -> Option<&[u8; TICKET_BYTES]> {
        self.user_data.as_deref()
    }

    /// Counters since the link was made.
    #[must_use]
    pub const fn stats(&self) -> &LinkStats {
        &self.stats
    }

    /// What waits now.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let (reliable_out, reliable_unacked, reliable_in) = self.reliable.backlog();
        Backlog {
            datagrams_out: self.outbox.len(),
            datagrams_in: self.inbox.len(),
            reliable_out,
            reliable_unacked,
            reliable_in,
        }
    }

    /// About how many bytes are to leave in a tick. State datagrams are the sender's own to count, and all
    /// of them go. What is on the bulk channel gets what they leave of it, in the mean, and a quarter of it or
    /// 300 bytes in any case. What is on the control channel goes at once, and what is on the other with it.
    /// [`TransportConfig::reliable_bytes_per_tick`](crate::TransportConfig::reliable_bytes_per_tick) bounds
    /// both. `None`, the default: no budget.
    pub const fn set_budget(&mut self, bytes: Option<usize>) {
        self.bounds.budget = bytes;
    }

    /// Bytes of state datagrams that wait for the end of the tick, and of reliable packets that left at the
    /// end of the last one.
    #[must_use]
    pub fn tick_bytes(&self) -> (usize, usize) {
        let waiting = self.outbox.iter().map(<[u8]>::len).sum();
        (waiting, self.reliable.sent_bytes())
    }

    /// renet's estimate of the round trip, zero before the first reliable message is acknowledged.
    /// It includes the ticks of both sides and held-back acknowledgements: layers above measure
    /// their own.
    #[must_use]
    pub const fn engine_rtt(&self) -> Duration {
        self.rtt
    }

    /// When anything authentic last came from the peer, as elapsed time of `Time<Real>`.
    #[must_use]
    pub const fn heard_at(&self) -> Duration {
        self.times.heard
    }

    /// Queues a state datagram for this tick's flush. Unreliable, unordered, at most once.
    ///
    /// Takes 1 to [`MAX_DATAGRAM`] bytes, the first at least
    /// [`STATE_MARK`]. Costs a copy. Where the system sends datagrams of one length together, what
    /// lacks at most a 32nd of the longest and is followed by another one arrives that long, with
    /// zeros behind it: that is much cheaper to send.
    ///
    /// # Errors
    /// Any [`LinkError`] but [`LinkError::Backpressure`]; nothing was queued.
    pub fn send_datagram(&mut self, datagram: &[u8]) -> Result<(), LinkError> {
        self.check_open()?;
        let Some(first) = datagram.first() else {
            return Err(LinkError::Empty);
        };
        if *first < STATE_MARK {
            return Err(LinkError::NotAState(*first));
        }
        if datagram.len() > MAX_DATAGRAM {
            return Err(LinkError::TooLong {
                len: datagram.len(),
                max: MAX_DATAGRAM,
            });
        }
        if self.outbox.len() >= self.bounds.datagrams_out {
            return Err(LinkError::QueueFull);
        }
        self.outbox.push(datagram);
        if let Some(tap) = &mut self.tap {
            tap.note(TapWay::Sent, None, datagram);
        }
        Ok(())
    }

    /// Whether a state datagram or a reliable message waits to be read.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.inbox.len() > 0 || self.reliable.has_unread()
    }

    /// The oldest received state datagram, perhaps with zeros behind it, see
    /// [`send_datagram`](Self::send_datagram). It shares a block of 64 KiB with its neighbours: keep
    /// what was decoded, not the bytes.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        tap::received(&mut self.tap, None, self.inbox.pop())
    }

    /// All received state datagrams, oldest first.
    pub fn drain_datagrams(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        std::iter::from_fn(|| self.recv_datagram())
    }

    /// Queues a message that arrives once and in the order of its channel, as long as the link
    /// lives.
    ///
    /// # Errors
    /// [`LinkError::Backpressure`] when too much waits on the channel, and for messages that are
    /// empty or longer than [`Channel::max_message`]; nothing was queued.
    pub fn send_reliable(&mut self, channel: Channel, message: Bytes) -> Result<(), LinkError> {
        self.check_open()?;
        let Some(tap) = &mut self.tap else {
            return self.reliable.send(channel, message);
        };
        self.reliable.send(channel, message.clone())?;
        tap.note(TapWay::Sent, Some(channel), &message);
        Ok(())
    }

    /// The next reliable message. Read them: a link whose messages stay unread stops taking more.
    pub fn recv_reliable(&mut self, channel: Channel) -> Option<Bytes> {
        tap::received(&mut self.tap, Some(channel), self.reliable.recv(channel))
    }

    /// Gives everything that its tap noted since it was asked last, in order, and how much was
    /// forgotten because nobody asked. Nothing without [`Links::set_tap`](crate::Links::set_tap).
    pub fn take_tapped(&mut self, each: impl FnMut(Tapped<'_>)) -> u64 {
        self.tap.as_mut().map_or(0, |tap| tap.take(each))
    }

    /// Ends the link. What is queued leaves with the next flush; the goodbye follows as soon as
    /// everything reliable is acknowledged, a tick later at the earliest and after
    /// [`TransportConfig::close_time`] at the latest. Nothing more can be sent. A second call
    /// changes nothing.
    pub const fn close(&mut self, reason: CloseReason) {
        self.close_within(reason, self.bounds.close_time);
    }

    /// As [`close`](Self::close), with another time until the goodbye at the latest.
    pub const fn close_within(&mut self, reason: CloseReason, time: Duration) {
        match self.state {
            LinkState::Connecting => self.doom(reason),
            LinkState::Connected if self.closing.is_none() => {
                self.closing = Some(Closing {
                    reason,
                    time,
                    until: None,
                });
            }
            LinkState::Connected | LinkState::Closed(_) => {}
        }
    }

    /// Drops the link without a goodbye, as if this process had died. For tests of the peer.
    pub const fn abandon(&mut self) {
        self.doom(CloseReason::Abandoned);
    }

    /// Sets or changes the weather of this link, on this side. Datagrams on their way arrive as
    /// they would have.
    pub fn set_conditioner(&mut self, config: ConditionerConfig) {
        match &mut self.weather {
            Some(weather) => weather.change(&config),
            None => self.weather = Some(Box::new(Weather::new(&config))),
        }
    }

    pub(crate) fn set_tap(&mut self, config: TapConfig) {
        self.tap = (!config.is_off()).then(|| Box::new(Tap::new(config)));
    }

    /// A recording gives a state datagram.
    pub(crate) fn play_datagram(&mut self, datagram: &[u8], now: Duration) {
        self.times.heard = now;
        let len = datagram.len();
        self.stats.received.carried(Class::State, len, len);
        if len > MAX_DATAGRAM || datagram.first().is_none_or(|first| *first < STATE_MARK) {
            self.refuse(Refused::UnknownPayload, now);
        } else if self.inbox.push(datagram, self.bounds.datagrams_in) {
            self.refuse(Refused::Unread, now);
        }
    }

    /// A recording gives a reliable message.
    pub(crate) fn play_reliable(&mut self, channel: Channel, message: Bytes, now: Duration) {
        self.times.heard = now;
        let len = message.len();
        self.stats.received.carried(Class::Reliable, len, len);
        self.reliable.play(channel, message);
    }

    /// Counts and drops what waits to be sent.
    pub(crate) fn discard_outgoing(&mut self) {
        let stats = &mut self.stats.sent;
        for datagram in self.outbox.iter() {
            stats.carried(Class::State, datagram.len(), datagram.len());
        }
        self.outbox.clear();
        self.reliable
            .discard(|len| stats.carried(Class::Reliable, len, len));
    }

    const fn check_open(&self) -> Result<(), LinkError> {
        match self.state {
            LinkState::Connected if self.closing.is_none() => Ok(()),
            LinkState::Connected => Err(LinkError::Closing),
            LinkState::Connecting | LinkState::Closed(_) => Err(LinkError::NotConnected),
        }
    }

    /// Marks the link to end at once. The first reason stays.
    pub(crate) const fn doom(&mut self, reason: CloseReason) {
        if self.doom.is_none() && !matches!(self.state, LinkState::Closed(_)) {
            self.doom = Some(reason);
        }
    }

    pub(crate) const fn doomed(&self) -> Option<CloseReason> {
        self.doom
    }

    /// The client's side: the server accepted.
    pub(crate) const fn establish(&mut self) {
        if matches!(self.state, LinkState::Connecting) {
            self.state = LinkState::Connected;
        }
    }

    pub(crate) const fn set_peer(&mut self, peer: PeerAddress) {
        self.peer = peer;
    }

    /// Ends it. What was received stays readable.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        self.state = LinkState::Closed(reason);
        self.closing = None;
        self.doom = None;
        self.outbox.clear();
        self.weather = None;
    }

    /// One tick of a closed link. `true` when its slot can be freed.
    pub(crate) const fn decay(&mut self) -> bool {
        if matches!(self.state, LinkState::Closed(_)) {
            self.readable = self.readable.saturating_sub(1);
        }
        self.readable == 0
    }

    /// Counts a refused packet; too many faults end the link.
    pub(crate) fn refuse(&mut self, kind: Refused, now: Duration) {
        self.stats.refused.count(kind);
        if kind.is_fault() && !self.faults.bear(now) {
            self.doom(CloseReason::Misbehaved);
        }
    }

    /// The system did not take so many datagrams that count as sent.
    pub(crate) fn lose(&mut self, datagrams: usize) {
        for _ in 0..datagrams {
            self.stats.refused.count(Refused::SendFailed);
        }
    }

    /// The weather of arriving datagrams, if there is any.
    pub(crate) fn incoming(&mut self) -> Option<&mut crate::Conditioner> {
        self.weather
            .as_deref_mut()
            .map(|weather| &mut weather.receive)
            .filter(|conditioner| !conditioner.is_clear())
    }

    /// The way out for sealed datagrams.
    pub(crate) fn path(&mut self, now: Duration) -> Path<'_> {
        Path::new(
            self.weather.as_deref_mut().map(|weather| &mut weather.send),
            now,
        )
    }

    /// Takes the payload of an authentic packet of `wire` bytes.
    pub(crate) fn accept(
        &mut self,
        payload: &[u8],
        wire: usize,
        engine: &mut dyn Engine,
        now: Duration,
    ) {
        self.times.heard = now;
        let class = match payload.first() {
            Some(first) if *first >= STATE_MARK => Class::State,
            _ => Class::Reliable,
        };
        self.stats.received.carried(class, payload.len(), wire);
        let verdict = match class {
            _ if payload.is_empty() => Err(Refused::EmptyPayload),
            Class::State if payload.len() > MAX_DATAGRAM => Err(Refused::StateTooLong),
            Class::State => match self.inbox.push(payload, self.bounds.datagrams_in) {
                true => Err(Refused::Unread),
                false => Ok(()),
            },
            Class::Reliable => self.reliable.accept(payload, engine),
        };
        if let Err(kind) = verdict {
            self.refuse(kind, now);
        }
    }

    /// Takes what the engine held back for want of room, and looks after the engine.
    pub(crate) fn settle(&mut self, engine: &mut dyn Engine) {
        self.reliable.catch_up(engine);
        if engine.is_disconnected() {
            // The application ended it through renet's resource, or renet gave up.
            self.doom(CloseReason::Engine);
        }
    }

    /// Sends this tick's datagrams and reliable packets.
    pub(crate) fn flush(
        &mut self,
        engine: &mut dyn Engine,
        carrier: &mut dyn Carrier,
        now: Duration,
    ) {
        if !self.is_connected() {
            return;
        }
        self.outbox.fills = carrier.sends_together();
        let weather = self.weather.as_deref_mut().map(|weather| &mut weather.send);
        let mut path = Path::new(weather, now);
        let (stats, times) = (&mut self.stats, &mut self.times);
        let mut send = |payload: &[u8], class| match carrier.send(payload, &mut path) {
            Ok(wire) => {
                stats.sent.carried(class, payload.len(), wire);
                times.sent = now;
            }
            Err(kind) => stats.refused.count(kind),
        };
        let mut state_bytes = 0;
        for datagram in self.outbox.iter() {
            state_bytes += datagram.len();
            send(datagram, Class::State);
        }
        self.outbox.clear();
        // Who goes says all that it has to say.
        let budget = self.bounds.budget.filter(|_| self.closing.is_none());
        let room = budget.map(|budget| {
            let least = (budget / 4).max(MIN_RELIABLE);
            budget.saturating_sub(state_bytes).max(least)
        });
        let reliable = |packet: &[u8]| send(packet, Class::Reliable);
        if self.reliable.flush((now, room), engine, reliable) {
            self.rtt = Duration::try_from_secs_f64(engine.rtt()).unwrap_or_default();
        }
        self.advance_closing(now, engine);
    }

    fn advance_closing(&mut self, now: Duration, engine: &dyn Engine) {
        let Some(closing) = &mut self.closing else {
            return;
        };
        let Some(until) = closing.until else {
            closing.until = Some(now + closing.time);
            return;
        };
        let reason = closing.reason;
        if now >= until || self.reliable.is_settled(engine) {
            self.doom(reason);
        }
    }
}
