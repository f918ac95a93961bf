//! What the examples share.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "each example uses a part of it, none exports it, and what examples say they print"
)]

pub mod bot;
pub mod bots;
pub mod children;
pub mod cli;
pub mod config;
pub mod game;
pub mod log;
pub mod measure;
pub mod node;
pub mod oracle;
pub mod parts;
pub mod report;
pub mod summary;
pub mod supervise;
pub mod table;
pub mod world;
