//! Who owns what in a mesh of game servers.

pub mod directory;
