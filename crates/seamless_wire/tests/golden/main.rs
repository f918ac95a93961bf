//! The bytes on the wire, written down.
//!
//! For each thing that travels: a fixed value, its bytes, and that these bytes are read as this
//! value. The bytes were computed from `docs/wire-format.md`, not taken from this crate's output.
//! If a test here fails because the format is meant to change, raise `seamless_wire::WIRE_VERSION`
//! and change that page with it.

mod audit;
mod bits;
mod codec;
mod control;
mod datagram;
mod file;
mod frame;
mod ints;
mod limits;
mod mesh;
mod packet;
mod record;
mod snapshot;
mod support;
mod ticket;
