//! Links over UDP, encrypted by netcode.

mod arrivals;
mod client;
mod departures;
mod door;
mod handshake;
mod server;
mod server_link;
mod socket;

pub(crate) use client::{OpenError, UdpClient};
pub use server::{
    Authentication, BindError, EndpointStats, MAX_CLIENTS, ServerConfig, ServerEndpoint,
};
