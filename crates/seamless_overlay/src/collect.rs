//! Fills the model from a world.
//!
//! Data flow: the replication keeps [`ReplicationStats`] up to date once a tick; [`collect`] copies
//! them, counts who holds what, and asks the mesh how it goes. Nothing in the world is changed but
//! the [`OverlayModel`].

mod authority;
#[cfg(feature = "mesh")]
mod mesh;

use std::time::Duration;

use bevy::{prelude::*, time::common_conditions::on_real_timer};
use seamless_replication::{
    NetClock, Peer, PeerState, Peers, ReplicationStats,
    stats::{ComponentStats, LinkStats, RefusedStats},
};

use crate::model::{
    Both, ClockModel, ComponentModel, EntitiesModel, LinkModel, LinkUse, OverlayModel,
    RefusedModel, TrafficModel,
};

/// How often the model is made anew by default: often enough to be looked at.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// Keeps the [`OverlayModel`] of an app up to date, in `Last`.
///
/// For apps that show or send it by themselves; [`OverlayPlugin`](crate::plugin::OverlayPlugin)
/// does the same while its panel is open.
pub struct CollectPlugin {
    /// Time between two collections.
    pub every: Duration,
}

impl Default for CollectPlugin {
    fn default() -> Self {
        Self { every: INTERVAL }
    }
}

impl Plugin for CollectPlugin {
    fn build(&self, app: &mut App) {
        app.init_resource::<OverlayModel>()
            .add_systems(Last, collect.run_if(on_real_timer(self.every)));
    }
}

/// A system that makes the [`OverlayModel`] anew, a few times a second, and has it
/// [follow](OverlayModel::follow) the one before.
///
/// In a world without [`ReplicationStats`] it does nothing, so that something else may fill the
/// model there.
pub fn collect(world: &mut World) {
    let Some(mut model) = read(world) else { return };
    if let Some(before) = world.get_resource::<OverlayModel>() {
        model.follow(before);
    }
    world.insert_resource(model);
}

/// What there is to show of a world; `None` if it does not replicate.
///
/// Cost: one visit to each link, each component type and each entity whose authority can be lent,
/// and in a mesh to each cell and each root and a copy of the last 256 handovers. About 20 µs for
/// 16 links and 1,000 such entities: nothing four times a second, too much for every tick.
#[must_use]
pub fn read(world: &World) -> Option<OverlayModel> {
    let stats = world.get_resource::<ReplicationStats>()?;
    let peers = world.get_resource::<Peers>();
    let links: Vec<LinkModel> = stats
        .links
        .iter()
        .map(|(id, link)| {
            let peer = peers.and_then(|peers| peers.get(*id));
            LinkModel {
                name: id.to_string(),
                ..link_model(link, peer)
            }
        })
        .collect();
    let mut model = OverlayModel {
        name: name(world, peers),
        clock: clock(world, stats),
        traffic: traffic(stats, &links),
        links,
        components: components(&stats.components),
        entities: EntitiesModel {
            hosted: stats.entities.0 as u64,
            remote: stats.entities.1 as u64,
            unencodable: stats.unencodable,
        },
        authority: authority::read(world),
        mesh: None,
    };
    #[cfg(feature = "mesh")]
    {
        model.mesh = mesh::read(world);
        if let Some(node) = model.mesh.as_ref().and_then(|mesh| mesh.node) {
            model.name = format!("node {}", node.id);
        }
    }
    Some(model)
}

fn name(world: &World, peers: Option<&Peers>) -> String {
    if let Some(me) = peers.and_then(Peers::me) {
        return format!("client {me}");
    }
    let serves = world
        .get_resource::<ReplicationStats>()
        .is_some_and(|stats| stats.links.values().any(|link| !link.to_server));
    if serves { "server" } else { "unlinked" }.to_owned()
}

fn clock(world: &World, stats: &ReplicationStats) -> ClockModel {
    let clock = world.get_resource::<NetClock>();
    ClockModel {
        tick: clock.map(|clock| clock.tick().0).unwrap_or_default(),
        rate: clock.map(NetClock::rate).unwrap_or_default(),
        lateness: stats.tick_lateness,
        send: stats.send_time,
        receive: stats.receive_time,
    }
}

fn traffic(stats: &ReplicationStats, links: &[LinkModel]) -> TrafficModel {
    let packets = links.iter().fold((0.0, 0.0), |(received, sent), link| {
        let rates = link.packets_per_second;
        (received + rates.received, sent + rates.sent)
    });
    let bytes = stats
        .links
        .values()
        .fold((0u64, 0u64), |(received, sent), link| {
            (
                received.saturating_add(link.bytes.0),
                sent.saturating_add(link.bytes.1),
            )
        });
    TrafficModel {
        bytes_per_second: stats.bytes_per_second().into(),
        packets_per_second: packets.into(),
        bytes: bytes.into(),
        history: stats.history.iter().copied().map(Both::from).collect(),
        packet_history: Vec::new(),
    }
}

fn link_model(link: &LinkStats, peer: Option<&Peer>) -> LinkModel {
    let used = match peer.map(Peer::state) {
        Some(PeerState::Greeting) => LinkUse::Greeting,
        Some(PeerState::Ready) if link.spectator => LinkUse::Watching,
        Some(PeerState::Ready) => LinkUse::Playing,
        Some(PeerState::Ended) | None => LinkUse::Ending,
    };
    let (records, absolute, resent) = link.records;
    LinkModel {
        name: String::new(),
        peer: link.peer,
        node: peer.and_then(Peer::node),
        to_server: link.to_server,
        used,
        bytes_per_second: link.bytes_per_second.into(),
        packets_per_second: link.packets_per_second.into(),
        rtt: link.rtt,
        loss: f64::from(link.loss),
        visible: link.visible as u64,
        unsettled: link.unsettled as u64,
        records,
        absolute,
        resent,
        insured: link.insured,
        deferred: link.deferred,
        refused: refused(&link.refused),
    }
}

const fn refused(refused: &RefusedStats) -> RefusedModel {
    RefusedModel {
        duplicates: refused.duplicates,
        malformed: refused.malformed,
        late: refused.late,
        stale: refused.stale,
        fenced: refused.fenced,
        undecodable: refused.undecodable,
        over_bounds: refused.over_bounds,
    }
}

fn components(stats: &[ComponentStats]) -> Vec<ComponentModel> {
    let bits =
        |component: &ComponentStats| component.absolute_bits as f64 + component.delta_bits as f64;
    let all: f64 = stats.iter().map(bits).sum();
    let share = |component| {
        if all > 0.0 {
            bits(component) / all
        } else {
            0.0
        }
    };
    stats
        .iter()
        .map(|component| ComponentModel {
            path: component.path.clone(),
            absolute_bits: component.absolute_bits,
            delta_bits: component.delta_bits,
            share: share(component),
        })
        .collect()
}
