//! A recording that is being played.

use std::time::{Duration, Instant};

use bevy::{prelude::*, time::TimeUpdateStrategy};
use seamless_wire::{
    Tick,
    recording::{Record, RecordedFrame},
};

use super::{PlaybackError, RecordingFile};

/// Longest wait before a frame. What stood still longer does so for this long only.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// A recorded frame for each frame of this app, however long these take.
    #[default]
    Frames,
    /// As fast as it was recorded: a frame waits for its time before it begins.
    RealTime,
}

/// How far a playback has come.
#[derive(Debug)]
pub enum PlaybackState {
    /// It goes on.
    Playing,
    /// The recording is over.
    Ended {
        /// Whether it ends here because it had reached its greatest length.
        full: bool,
    },
    /// It cannot be played, or no further.
    Failed(PlaybackError),
}

/// A recording that is being played.
#[derive(Resource)]
pub struct Playback {
    pub(super) source: Option<RecordingFile>,
    state: PlaybackState,
    pub(super) pace: Pace,
    pub(super) frames: u64,
    pub(super) tick: Tick,
    pub(super) diverged: Option<Diverged>,
    /// When the next frame may begin.
    due: Option<Instant>,
    /// How time went before.
    pub(super) strategy: Option<TimeUpdateStrategy>,
}

/// This app does not do what the recorded one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Diverged {
    /// In which frame, from 0.
    pub frame: u64,
    /// Which tick it was.
    pub recorded: Tick,
    /// Which tick it is.
    pub played: Tick,
}

impl Playback {
    pub(super) fn new(source: Result<RecordingFile, PlaybackError>, pace: Pace) -> Self {
        let (source, state) = match source {
            Ok(source) => (Some(source), PlaybackState::Playing),
            Err(error) => {
                tracing::error!(%error, "nothing is played");
                (None, PlaybackState::Failed(error))
            }
        };
        Self {
            source,
            state,
            pace,
            frames: 0,
            tick: Tick(0),
            diverged: None,
            due: None,
            strategy: None,
        }
    }

    /// How far it has come.
    #[must_use]
    pub const fn state(&self) -> &PlaybackState {
        &self.state
    }

    /// Whether it goes on.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        matches!(self.state, PlaybackState::Playing)
    }

    /// Frames that were played.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Where this app began to count other ticks than the recorded one, if it did: it has another clock
    /// or pauses its time otherwise, and is not in the recorded states.
    #[must_use]
    pub const fn diverged(&self) -> Option<Diverged> {
        self.diverged
    }

    pub(super) fn end(&mut self, state: PlaybackState) {
        match &state {
            PlaybackState::Failed(error) => tracing::error!(%error, "the playback ends"),
            _ => tracing::info!(frames = self.frames, "the playback ends"),
        }
        self.state = state;
        self.source = None;
    }

    pub(super) fn next_frame(&mut self) -> Option<RecordedFrame> {
        let record = self.source.as_mut()?.next_record();
        let state = match record {
            Ok(Some(Record::Frame(frame))) => return Some(frame),
            Ok(Some(Record::Gap { frames })) => PlaybackState::Failed(PlaybackError::Gap {
                after: self.frames,
                frames,
            }),
            Ok(Some(Record::End { full })) => PlaybackState::Ended { full },
            // Whoever wrote it did not get to write its end.
            Ok(None) => PlaybackState::Ended { full: false },
            Err(error) => PlaybackState::Failed(error),
        };
        self.end(state);
        None
    }

    /// Waits until the frame may begin.
    pub(super) fn keep_pace(&mut self, delta: Duration) {
        if self.pace == Pace::Frames {
            return;
        }
        let now = Instant::now();
        let due = self.due.unwrap_or(now) + delta.min(MAX_WAIT);
        self.due = Some(due);
        std::thread::sleep(due.saturating_duration_since(now));
    }
}
