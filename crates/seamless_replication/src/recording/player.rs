//! An app that plays a recording.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bevy::{
    prelude::*,
    time::{TimeSystems, TimeUpdateStrategy},
};
use bytes::Bytes;
use seamless_transport::{
    Channel, ClientEndpoints, CloseReason, LinkId, LinkSide, LinksPlayback, PeerAddress,
    PlayedEvent, PlayedPeer,
};
use seamless_wire::{
    WIRE_VERSION,
    recording::{RecordedEvent, RecordedFrame, RecordedLink, RecordedPeer},
    snapshot::Compressor,
};

use super::{Diverged, Pace, Playback, PlaybackError, PlaybackState, RecordingFile};
use crate::{clock::NetClock, names::Names, registry::Registry, slots::Slots};

/// Plays a recording to an app in place of a network.
///
/// # Overview
///
/// Each frame of this app is one of the recorded one: before `Time<Real>` is read it is told how long
/// the recorded frame took, and the links get what they got in it. Links that this app asks for with
/// [`ClientEndpoints::connect`] open no socket and stand when the recorded ones did; those that
/// nobody asks for, a server's for example, are there by themselves. What the app sends goes nowhere.
///
/// At the end, or when something is wrong, no more is played: the links stay as they are, and time goes
/// on as it did before ([`Playback::state`]).
///
/// Entities that the app names by itself get the names that they had.
///
/// Add it after the [`ReplicationPlugin`](crate::ReplicationPlugin), and no endpoint of a server; spawn nothing
/// that is [`Replicated`](crate::Replicated) before.
#[derive(Clone)]
pub struct PlaybackPlugin {
    /// The file.
    pub path: PathBuf,
    /// How fast.
    pub pace: Pace,
    /// What unpacks it, if that is more than Zstandard without a dictionary.
    pub compressor: Option<Arc<dyn Compressor>>,
}

impl PlaybackPlugin {
    /// Plays this file, a recorded frame for each frame of this app.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            pace: Pace::default(),
            compressor: None,
        }
    }

    /// At another pace.
    #[must_use]
    pub const fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }
}

impl Plugin for PlaybackPlugin {
    fn build(&self, app: &mut App) {
        let source = RecordingFile::open(&self.path, self.compressor.clone());
        let block = source.as_ref().ok().and_then(|source| source.head().names);
        app.init_resource::<Slots>();
        let mut slots = app.world_mut().resource_mut::<Slots>();
        // What is spawned before the first frame has names already.
        if let Some(names) = block.and_then(Names::in_block)
            && slots.names.is_own()
        {
            slots.set_names(names);
        }
        app.init_resource::<ClientEndpoints>()
            .init_resource::<LinksPlayback>()
            .insert_resource(Playback::new(source, self.pace))
            .add_systems(PreStartup, check)
            .add_systems(First, begin_frame.before(TimeSystems))
            .add_systems(Last, end_frame);
        let mut endpoints = app.world_mut().resource_mut::<ClientEndpoints>();
        endpoints.play_back(true);
    }
}

/// Whether this app can play it at all.
fn check(mut playback: ResMut<Playback>, registry: Res<Registry>, clock: Res<NetClock>) {
    let Some(head) = playback.source.as_ref().map(RecordingFile::head) else {
        return;
    };
    let theirs = head.wire_version;
    let differences = registry.schema().differences(&head.schema);
    let error = if theirs != WIRE_VERSION {
        let ours = WIRE_VERSION;
        PlaybackError::WireVersion { ours, theirs }
    } else if !differences.is_empty() {
        PlaybackError::Schema(differences)
    } else if head.tick_rate != clock.rate() {
        let (ours, theirs) = (clock.rate(), head.tick_rate);
        PlaybackError::TickRate { ours, theirs }
    } else if !head.received {
        PlaybackError::NothingReceived
    } else {
        return;
    };
    playback.end(PlaybackState::Failed(error));
}

/// Tells the time and the links what the recorded frame was.
fn begin_frame(
    mut playback: ResMut<Playback>,
    mut links: ResMut<LinksPlayback>,
    mut time: ResMut<TimeUpdateStrategy>,
) {
    let playback = &mut *playback;
    if !playback.is_playing() {
        return;
    }
    let Some(frame) = playback.next_frame() else {
        if let Some(strategy) = playback.strategy.take() {
            *time = strategy;
        }
        return;
    };
    let delta = Duration::from_nanos(frame.delta);
    playback.keep_pace(delta);
    let before = std::mem::replace(&mut *time, TimeUpdateStrategy::ManualDuration(delta));
    playback.strategy.get_or_insert(before);
    playback.frames += 1;
    playback.tick = frame.tick;
    feed(&frame, &mut links);
}

fn feed(frame: &RecordedFrame, links: &mut LinksPlayback) {
    let mut flushes = 0;
    for event in frame.events().flatten() {
        match event {
            RecordedEvent::Opened(link, peer) => {
                links.arrives(name(link), PlayedEvent::Opened(played(peer)));
            }
            RecordedEvent::Closed(link, reason) => {
                let reason = CloseReason::ALL.get(usize::from(reason)).copied();
                let reason = reason.unwrap_or(CloseReason::Abandoned);
                match u32::checked_sub(flushes, 1) {
                    None => links.arrives(name(link), PlayedEvent::Closed(reason)),
                    Some(flush) => links.ends(name(link), flush, reason),
                }
            }
            RecordedEvent::Received(link, bytes) => {
                let bytes = Bytes::copy_from_slice(bytes);
                links.arrives(name(link), PlayedEvent::Datagram(bytes));
            }
            RecordedEvent::ReceivedReliable(link, channel, bytes) => {
                let channel = Channel::ALL.get(usize::from(channel));
                if let Some(channel) = channel {
                    let event = PlayedEvent::Reliable(*channel, Bytes::copy_from_slice(bytes));
                    links.arrives(name(link), event);
                }
            }
            RecordedEvent::Flushed => flushes += 1,
            // This app says it again, or something else.
            RecordedEvent::Sent(..) | RecordedEvent::SentReliable(..) => {}
        }
    }
}

fn end_frame(mut playback: ResMut<Playback>, clock: Res<NetClock>) {
    let (recorded, played) = (playback.tick, clock.tick());
    if playback.is_playing() && playback.diverged.is_none() && recorded != played {
        let frame = playback.frames.saturating_sub(1);
        tracing::warn!(frame, %recorded, %played, "not what was recorded");
        playback.diverged = Some(Diverged {
            frame,
            recorded,
            played,
        });
    }
}

const fn name(link: RecordedLink) -> LinkId {
    LinkId {
        index: link.index,
        generation: link.generation,
    }
}

fn played(peer: RecordedPeer) -> PlayedPeer {
    let user_data = peer.user_data.and_then(|data| data.try_into().ok());
    PlayedPeer {
        side: match peer.to_server {
            true => LinkSide::ToServer,
            false => LinkSide::ToClient,
        },
        address: match peer.address {
            Some(address) => PeerAddress::Udp(address),
            None => PeerAddress::Memory(peer.memory),
        },
        netcode_id: peer.netcode_id,
        user_data: user_data.map(Box::new),
    }
}
