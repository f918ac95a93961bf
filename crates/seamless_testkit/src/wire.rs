//! A wire between a client and its server that a test has its hands on.
//!
//! Weather is chance; a wire is intent: lose exactly this datagram, hold that one back and let it
//! come late, put one there that nobody sent. It is an app of its own between the two, which takes
//! everything off one link and puts it on the other.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bevy::prelude::*;
use seamless_transport::{
    Channel, CloseReason, LinkId, LinkSide, LinkState, Links, TransportPlugin, TransportSystems,
};

/// A direction of a wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

/// Something on a wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// Which way it goes.
    pub way: Way,
    /// The reliable channel it goes by; `None`: a state datagram.
    pub channel: Option<Channel>,
    /// What it is.
    pub bytes: Vec<u8>,
}

impl Parcel {
    /// A state datagram.
    #[must_use]
    pub const fn datagram(way: Way, bytes: Vec<u8>) -> Self {
        Self {
            way,
            channel: None,
            bytes,
        }
    }

    /// Whether it is a state datagram with something in it that is to be acknowledged.
    #[must_use]
    pub fn is_numbered(&self) -> bool {
        self.channel.is_none() && self.bytes.first().is_some_and(|first| first & 1 != 0)
    }
}

/// What becomes of a parcel. Reliable ones that are lost are not sent again: their channel has
/// done its work before the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It is lost.
    Lose,
    /// It is lost, and kept for the test ([`Wire::kept`]).
    Hold,
    /// It goes on, and a copy is kept for the test.
    Copy,
}

type Decide = Box<dyn FnMut(&Parcel) -> Fate + Send>;

#[derive(Default)]
struct State {
    decide: Option<Decide>,
    kept: Vec<Parcel>,
    /// What waits for its link: injected, or reliable and the link is full or not open yet.
    waiting: VecDeque<Parcel>,
}

/// A test's hands on a wire. A cheap clone.
#[derive(Resource, Clone, Default)]
pub struct Wire(Arc<Mutex<State>>);

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks `decide` about everything from now on.
    pub fn decide(&self, decide: impl FnMut(&Parcel) -> Fate + Send + 'static) {
        self.state().decide = Some(Box::new(decide));
    }

    /// Lets everything pass from now on.
    pub fn pass(&self) {
        self.state().decide = None;
    }

    /// This fate for all state datagrams of one direction.
    pub fn all(&self, way: Way, fate: Fate) {
        self.decide(move |parcel| {
            if parcel.way == way && parcel.channel.is_none() {
                fate
            } else {
                Fate::Pass
            }
        });
    }

    /// This fate for the next numbered datagram of one direction; the rest passes.
    pub fn next(&self, way: Way, fate: Fate) {
        let mut done = false;
        self.decide(move |parcel| {
            if !done && parcel.way == way && parcel.is_numbered() {
                done = true;
                return fate;
            }
            Fate::Pass
        });
    }

    /// Takes what was kept so far, the oldest first.
    pub fn kept(&self) -> Vec<Parcel> {
        std::mem::take(&mut self.state().kept)
    }

    /// Puts a parcel on the wire. Nobody is asked about it.
    pub fn put(&self, parcel: Parcel) {
        self.state().waiting.push_back(parcel);
    }

    fn take(&self, parcel: Parcel) {
        let mut state = self.state();
        let fate = match &mut state.decide {
            Some(decide) => decide(&parcel),
            None => Fate::Pass,
        };
        if matches!(fate, Fate::Hold | Fate::Copy) {
            state.kept.push(parcel.clone());
        }
        if matches!(fate, Fate::Pass | Fate::Copy) {
            state.waiting.push_back(parcel);
        }
    }
}

/// An app that is a wire. It listens by itself; `server` is its link to the server.
pub(crate) fn wire_app(wire: Wire) -> App {
    let mut app = App::new();
    app.add_plugins((MinimalPlugins, TransportPlugin::default()))
        .insert_resource(wire)
        .add_systems(PreUpdate, carry.after(TransportSystems::Receive));
    app
}

/// Takes everything off both links and puts on them what goes on.
fn carry(wire: Res<Wire>, mut links: ResMut<Links>) {
    let mut ends: [Option<LinkId>; 2] = [None, None];
    for link in links.iter_mut() {
        let way = match link.side() {
            LinkSide::ToClient => Way::ToServer,
            LinkSide::ToServer => Way::ToClient,
        };
        ends[usize::from(way == Way::ToServer)] = Some(link.id());
        for channel in Channel::ALL {
            while let Some(bytes) = link.recv_reliable(channel) {
                wire.take(Parcel {
                    way,
                    channel: Some(channel),
                    bytes: bytes.to_vec(),
                });
            }
        }
        while let Some(bytes) = link.recv_datagram() {
            wire.take(Parcel::datagram(way, bytes.to_vec()));
        }
    }
    let [Some(to_server), Some(to_client)] = ends else {
        return;
    };
    end_together(&mut links, to_server, to_client);
    let waiting = std::mem::take(&mut wire.state().waiting);
    let mut still = VecDeque::new();
    for parcel in waiting {
        let id = if parcel.way == Way::ToServer {
            to_server
        } else {
            to_client
        };
        let Some(link) = links.get_mut(id) else {
            continue;
        };
        let Some(channel) = parcel.channel else {
            // As anywhere: a datagram that cannot be sent now is lost.
            let _ = link.send_datagram(&parcel.bytes);
            continue;
        };
        let behind = still.iter().any(|p: &Parcel| p.way == parcel.way);
        if behind
            || link
                .send_reliable(channel, parcel.bytes.clone().into())
                .is_err()
        {
            still.push_back(parcel);
        }
    }
    still.append(&mut wire.state().waiting);
    wire.state().waiting = still;
}

/// When one link is gone, the other goes too.
fn end_together(links: &mut Links, a: LinkId, b: LinkId) {
    for (id, other) in [(a, b), (b, a)] {
        let gone = links
            .get(id)
            .is_some_and(|link| matches!(link.state(), LinkState::Closed(_)));
        if gone && let Some(link) = links.get_mut(other) {
            link.close(CloseReason::ByPeer);
        }
    }
}
