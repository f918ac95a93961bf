//! Links over UDP, encrypted by netcode.

mod client;
mod door;
mod handshake;
mod server;
mod server_link;
mod socket;

pub(crate) use client::{OpenError, UdpClient};
pub use server::{
    Authentication, BindError, EndpointStats, MAX_CLIENTS, ServerConfig, ServerEndpoint,
};
