//! Who owns what in a mesh of game servers.

pub mod directory;
pub mod link;
pub mod liveness;
pub mod protocol;
#[cfg(feature = "http")]
pub mod service;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod ticket;
pub mod timing;
