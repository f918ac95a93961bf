//! What links did, in a file, and played back without a network.
//!
//! A [`RecordPlugin`] writes what an app took from its links, or gave to them, frame by frame: for bug
//! reports, and as a source of input for tests and examples. A [`PlaybackPlugin`] gives it to an app
//! in place of a network. Time is recorded too, so an app that does the same things goes through the
//! same states, tick by tick and bit for bit: replication reads no other clock and draws no chance.
//!
//! What is not in a recording: what came in other ways than over links (a keyboard, a node's directory,
//! a clock that [`NetClock::follow`](crate::NetClock::follow) was given). An app that does other things
//! than the one that was recorded is still shown all that the peer said.
//!
//! ```no_run
//! use bevy::prelude::*;
//! use seamless_replication::recording::{PlaybackPlugin, RecordPlugin};
//!
//! // In the player's client:
//! App::new().add_plugins(RecordPlugin::new("session.seamless"));
//! // At home, with the same components registered:
//! App::new().add_plugins(PlaybackPlugin::new("session.seamless"));
//! ```
//!
//! Recordings contain everything that peers said, and the tickets they came with, which are used up. Their bytes are described in `docs/wire-format.md`.

mod file;
mod playback;
mod player;
mod record;
mod recorder;
mod writer;

pub use file::{PlaybackError, RecordingFile};
pub use playback::{Diverged, Pace, Playback, PlaybackState};
pub use player::PlaybackPlugin;
pub use record::{RecordPlugin, RecordWhat};
pub use recorder::{Recording, RecordingState, RecordingStats};
