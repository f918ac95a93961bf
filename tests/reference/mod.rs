//! A reference of authority, and what runs it beside the real thing.

pub mod model;
pub mod run;
