//! Links between peers, whatever carries them.
//!
//! Everything above this crate sees a [`Link`]: a connection to one peer that takes unreliable
//! *state datagrams* of up to 1190 bytes and ordered reliable *messages*, both into bounded
//! queues, and sends them once a tick. Below stand `renetcode` (encryption, connect tokens, replay
//! protection) and `renet` (reliable channels), driven through their public interfaces, with a
//! gate in front of each: a packet that would make one of them panic, disconnect or grow never
//! reaches it.
//!
//! # Data flow
//!
//! ```text
//!  layers above      Link queues          engines             wire
//!
//!  send_datagram --> outbox ----------------------+
//!                                                 v
//!  send_reliable --> backlog --> renet --------> netcode --> conditioner --> socket
//!                                                                       (or MemoryHub)
//!  recv_datagram <-- inbox <---------------------+
//!                                   payload gate |
//!  recv_reliable <-- unread <-- renet <----------+-- netcode <-- datagram gate <-- conditioner
//! ```
//!
//! State datagrams bypass renet: they are netcode payloads whose first byte is at least `0x80`;
//! renet's packets begin with 0 to 4. So they cost neither renet's copies nor its
//! acknowledgements, and are the layers above's to number and acknowledge.
//!
//! Time is `Time<Real>` throughout. In tests with virtual time and links in memory, the same steps
//! and the same seeds give the same bytes.
//!
//! # Example
//!
//! A server and a client in one process, stepped by hand. Over UDP the resource is a
//! [`ServerEndpoint`], and its [`TokenMint`] gives the client a [`Token`] to connect with.
//!
//! ```
//! use bevy::{prelude::*, time::TimeUpdateStrategy};
//! use seamless_transport::*;
//!
//! let hub = MemoryHub::new();
//! let app = || {
//!     let mut app = App::new();
//!     app.add_plugins((MinimalPlugins, TransportPlugin::default()))
//!         .insert_resource(TimeUpdateStrategy::FixedTimesteps(1));
//!     app
//! };
//! let mut server = app();
//! server.insert_resource(MemoryServer::listen(&hub, 1, MemoryConfig::default()).unwrap());
//!
//! let mut client = app();
//! client.add_systems(Startup, move |
//!     mut clients: ResMut<ClientEndpoints>,
//!     mut links: ResMut<Links>,
//!     config: Res<TransportConfig>,
//! | {
//!     let server = ClientConfig::memory(&hub, 1);
//!     clients.connect(&mut links, &config, server).expect("a free slot");
//! });
//! client.add_systems(Update, |mut opened: MessageReader<LinkOpened>, mut links: ResMut<Links>| {
//!     for LinkOpened { link } in opened.read() {
//!         let link = links.get_mut(*link).expect("told just now");
//!         link.send_reliable(Channel::Control, "hello".into()).expect("an empty queue");
//!     }
//! });
//!
//! for _ in 0..4 {
//!     client.update();
//!     server.update();
//! }
//! let mut links = server.world_mut().resource_mut::<Links>();
//! let link = links.iter_mut().next().unwrap();
//! assert_eq!(link.recv_reliable(Channel::Control).unwrap(), "hello");
//! ```
//!
//! # Layout
//!
//! * [`link`](Link), [`links`](Links), [`id`](LinkId), [`state`](LinkState): what a link is.
//! * [`channel`](Channel): the two reliable channels and their bounds.
//! * [`config`](TransportConfig) and `limiter`: limits of all links.
//! * [`gate`]: what may reach netcode and renet.
//! * `reliable`, `flight`, `pacing`, `engine`, `queues`: the inside of a link.
//! * [`stats`](LinkStats): true bytes on the wire, and everything refused.
//! * [`token`](Token), [`mint`](TokenMint), [`clock`](TokenClock): the right to open a link.
//! * [`udp`](ServerEndpoint): a server's endpoint, and the clients' half of it.
//! * [`connect`](ClientConfig), [`client`](ClientEndpoints): the links that this app asked for.
//! * [`memory`](MemoryHub): links inside one process.
//! * [`conditioner`](Conditioner): delay, loss and worse, from a seed.
//! * [`tap`](TapConfig), [`playback`](LinksPlayback): what passed links, and links that play it.
//! * [`notice`](LinkOpened): what the app is told.
//! * [`plugin`](TransportPlugin): where all this runs.
//!
//! # Noise
//!
//! renetcode logs an error for every packet that it cannot decrypt, at the sender's pleasure.
//! Filter `renetcode=off` in production; the counters here tell more.

mod carrier;
mod channel;
mod client;
mod clock;
mod conditioner;
mod config;
mod connect;
mod engine;
mod flight;
mod frame;
pub mod gate;
mod id;
mod limiter;
mod link;
mod links;
mod memory;
mod mint;
mod notice;
mod pacing;
mod playback;
mod plugin;
mod queues;
mod reliable;
mod secret;
mod state;
mod stats;
mod tap;
mod token;
mod udp;

pub use channel::Channel;
pub use client::ClientEndpoints;
pub use clock::TokenClock;
pub use conditioner::{Condition, Conditioner, ConditionerConfig};
pub use config::{FaultLimit, Rate, StrangerLimits, TransportConfig};
pub use connect::{ClientConfig, ConnectError, ServerAddress};
pub use id::LinkId;
pub use link::Link;
pub use links::Links;
pub use memory::{ListenError, MemoryConfig, MemoryHub, MemoryServer};
pub use mint::{MAX_UNUSED_TOKENS, MintError, TokenMint, TokenRequest};
pub use notice::{LinkClosed, LinkOpened};
pub use playback::{LinksPlayback, PlayedEvent, PlayedPeer};
pub use plugin::{FlushPlacement, Transport, TransportPlugin, TransportSystems, flush_links};
pub use secret::secret;
pub use state::{CloseReason, LinkError, LinkSide, LinkState, PeerAddress};
pub use stats::{
    Backlog, LinkStats, Refused, RefusedCounts, Tally, Traffic, UDP_IPV4_HEADER_BYTES,
    UDP_IPV6_HEADER_BYTES,
};
pub use tap::{TapConfig, TapWay, Tapped};
pub use token::{MAX_TIMEOUT_SECONDS, MAX_TOKEN_ADDRESSES, MAX_TOKEN_SECONDS, Token, TokenError};
pub use udp::{
    Authentication, BindError, EndpointStats, MAX_CLIENTS, ServerConfig, ServerEndpoint,
};
