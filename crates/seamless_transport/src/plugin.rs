//! Puts the transport into an app's schedules. See [`TransportPlugin`].

use std::time::Duration;

use bevy::{app::AppExit, ecs::system::SystemParam, prelude::*};
use bevy_renet::{RenetClient, RenetServer, RenetServerEvent};

use crate::{
    ClientEndpoints, CloseReason, Link, LinkClosed, LinkOpened, LinkSide, LinkState, Links,
    LinksPlayback, MemoryServer, ServerEndpoint, TransportConfig, carrier::CarrierKind,
    channel::connection_config, frame::Frame, notice::Notices,
};

/// Drives all endpoints of an app.
///
/// # Overview
///
/// In `PreUpdate`, [`TransportSystems::Receive`] reads every endpoint until nothing waits. Each
/// datagram is checked, decrypted and checked again; state datagrams go to their link's queue,
/// reliable packets to renet and renet's messages to the link's queues. What opened is told as
/// [`LinkOpened`], in the order of arrival, what closed as [`LinkClosed`], in the order of ids, and
/// renet's own events are triggered as [`RenetServerEvent`]. Handshakes and keep-alives leave here.
///
/// Once a tick, [`flush_links`] sends what the links' queues hold, in the order of link ids. Where
/// it stands is [`flush`](Self::flush)'s choice. Nothing else sends, and nothing at all in
/// `PostUpdate`: renet acknowledges with every send, so sends must be ticks and not frames.
///
/// In `Last`, when the app exits, all links are told goodbye.
///
/// bevy_renet's own plugins must not be added: they would drive renet a second time. Its resources
/// [`RenetServer`] and [`RenetClient`] are there for reading and for `disconnect`; messages go
/// through [`Link`]s.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransportPlugin {
    /// Where [`flush_links`] stands.
    pub flush: FlushPlacement,
}

/// Where [`flush_links`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlushPlacement {
    /// In `FixedPostUpdate`: every fixed step is a tick.
    #[default]
    FixedPostUpdate,
    /// Nowhere: whoever knows the ticks adds it, in [`TransportSystems::Send`], once a tick.
    Manual,
}

/// Where the transport works.
#[derive(SystemSet, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportSystems {
    /// In `PreUpdate`: afterwards everything that arrived stands in the links' queues.
    Receive,
    /// Once a tick: before it, whatever should leave with this tick must be queued.
    Send,
}

impl Plugin for TransportPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<TransportConfig>()
            .init_resource::<Links>()
            .init_resource::<ClientEndpoints>()
            .add_message::<LinkOpened>()
            .add_message::<LinkClosed>()
            .add_systems(
                PreUpdate,
                (prepare_engines, receive_links)
                    .chain()
                    .in_set(TransportSystems::Receive),
            )
            .add_systems(Last, say_goodbye.run_if(on_message::<AppExit>));
        if self.flush == FlushPlacement::FixedPostUpdate {
            app.add_systems(FixedPostUpdate, flush_links.in_set(TransportSystems::Send));
        }
    }
}

/// Everything that a frame or a tick works on.
#[derive(SystemParam)]
pub struct Transport<'w> {
    links: ResMut<'w, Links>,
    config: Res<'w, TransportConfig>,
    server: Option<ResMut<'w, ServerEndpoint>>,
    memory: Option<ResMut<'w, MemoryServer>>,
    clients: ResMut<'w, ClientEndpoints>,
    playback: Option<ResMut<'w, LinksPlayback>>,
    renet_server: Option<ResMut<'w, RenetServer>>,
    renet_client: Option<ResMut<'w, RenetClient>>,
    notices: Notices<'w>,
    time: Res<'w, Time<Real>>,
}

/// Puts renet's resources where they are needed, and ends links whose endpoint is gone.
fn prepare_engines(mut transport: Transport, mut commands: Commands) {
    let t = &mut transport;
    if t.renet_server.is_none() && (t.server.is_some() || t.memory.is_some()) {
        let config = connection_config(LinkSide::ToClient, &t.config);
        commands.insert_resource(RenetServer::new(config));
    }
    if let Some(client) = t.clients.install_primary(t.renet_client.as_deref_mut()) {
        commands.insert_resource(client);
    }
    t.clients.play_back(t.playback.is_some());
    let (udp, memory) = (t.server.is_some(), t.memory.is_some());
    let playback = t.playback.is_some();
    let orphans = t.links.iter_mut().filter(|link| match link.carrier {
        CarrierKind::UdpServer => !udp,
        CarrierKind::MemoryServer => !memory,
        CarrierKind::Playback(_) => !playback,
        CarrierKind::Client => false,
    });
    for link in orphans.filter(|link| !matches!(link.state(), LinkState::Closed(_))) {
        if let Some(renet) = &mut t.renet_server {
            renet.remove_connection(link.netcode_id());
        }
        t.notices.closed(link, CloseReason::Abandoned);
    }
}

/// Reads every endpoint until nothing waits.
fn receive_links(mut transport: Transport, mut commands: Commands) {
    let t = &mut transport;
    let mut frame = Frame {
        links: &mut t.links,
        config: &t.config,
        notices: &mut t.notices,
        now: t.time.elapsed(),
        delta: t.time.delta(),
    };
    if let Some(renet) = t.renet_server.as_deref_mut() {
        if let Some(server) = &mut t.server {
            server.receive(renet, &mut frame);
        }
        if let Some(memory) = &mut t.memory {
            memory.receive(renet, &mut frame);
        }
    }
    t.clients.receive(t.renet_client.as_deref_mut(), &mut frame);
    if let Some(playback) = &mut t.playback {
        playback.receive(&mut frame);
    }
    trigger_events(t.renet_server.as_deref_mut(), &mut commands);
}

/// Sends what all links have for this tick, in the order of their ids.
///
/// Run it once a network tick, at its end, in [`TransportSystems::Send`]. Several ticks in one
/// frame are several runs.
pub fn flush_links(
    mut transport: Transport,
    mut commands: Commands,
    mut flushed_at: Local<Option<Duration>>,
) {
    let t = &mut transport;
    let now = t.time.elapsed();
    let before = flushed_at.replace(now);
    let delta = now.saturating_sub(before.unwrap_or(now));
    if let Some(renet) = &mut t.renet_server {
        renet.update(delta);
    }
    t.flush_all(now, delta, |_| {});
    // Of several ticks in one frame one counts: whoever reads messages once a frame must still
    // find the link.
    if before != Some(now) {
        t.links.sweep();
    }
    trigger_events(t.renet_server.as_deref_mut(), &mut commands);
}

/// The app ends: sends what waits, and a goodbye to everyone.
fn say_goodbye(mut transport: Transport) {
    let now = transport.time.elapsed();
    transport.flush_all(now, Duration::ZERO, |link| link.doom(CloseReason::Shutdown));
}

impl Transport<'_> {
    fn flush_all(&mut self, now: Duration, delta: Duration, mut before: impl FnMut(&mut Link)) {
        for link in self.links.iter_mut() {
            if matches!(link.state(), LinkState::Closed(_)) {
                continue;
            }
            before(link);
            let notices = &mut self.notices;
            match link.carrier {
                CarrierKind::UdpServer => {
                    if let (Some(server), Some(renet)) = (&mut self.server, &mut self.renet_server)
                    {
                        server.flush(link, renet, notices, now);
                    }
                }
                CarrierKind::MemoryServer => {
                    if let (Some(memory), Some(renet)) = (&mut self.memory, &mut self.renet_server)
                    {
                        memory.flush(link, renet, notices, now);
                    }
                }
                CarrierKind::Playback(_) => {
                    if let Some(playback) = &self.playback {
                        playback.flush(link, notices);
                    }
                }
                CarrierKind::Client => {
                    let installed = self.renet_client.as_deref_mut();
                    self.clients.flush(link, installed, notices, (now, delta));
                }
            }
        }
        if let Some(playback) = &mut self.playback {
            playback.flushed();
        }
    }
}

/// In the order in which they happened.
fn trigger_events(renet: Option<&mut RenetServer>, commands: &mut Commands) {
    let Some(renet) = renet else { return };
    while let Some(event) = renet.get_event() {
        commands.trigger(RenetServerEvent(event));
    }
}
