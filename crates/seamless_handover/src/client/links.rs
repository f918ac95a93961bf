//! A client's links: in, across, and back in after a loss.

use std::{net::SocketAddr, time::Duration};

use bevy::{ecs::message::MessageCursor, prelude::*};
use seamless_replication::{
    ControlReceived, HandoverOffered, NetClock, Peer, PeerJoined, PeerRefused, PeerState, Peers,
    inputs::InputOutbox,
    wire::{HandoverId, Tick, control::Control, frame::Refusal, packet::InputAck},
};
use seamless_transport::{
    ClientConfig, ClientEndpoints, CloseReason, ConditionerConfig, LinkId, LinkState, Links, Token,
    TransportConfig,
};

use super::{
    session::{SessionOutcome, SessionPort},
    state::{HostChanged, LinkUse, MeshClient},
};

/// How long a link is kept that we do not play over any more: the next crossing may lead back.
const KEEP_FORMER: Duration = Duration::from_secs(5);

/// How long a link that was offered may take to stand.
const OFFER_PATIENCE: Duration = Duration::from_secs(5);

/// How long entering may take before it is tried again.
const ENTER_PATIENCE: Duration = Duration::from_secs(2);

/// How long after its former host's last word the new one may take to say that it is ours.
const ROUTE_PATIENCE: Duration = Duration::from_millis(250);

/// Where tickets come from.
#[derive(Resource)]
pub struct Sessions(pub Box<dyn SessionPort>);

/// What makes a link's configuration of an address and what a node minted for us.
type Dial = dyn Fn(SocketAddr, &[u8]) -> Result<ClientConfig, String> + Send + Sync;

/// How a node is dialled: by default with a netcode token over UDP.
#[derive(Resource)]
pub struct Dialer(pub Box<Dial>);

impl Default for Dialer {
    fn default() -> Self {
        Self(Box::new(|_, token| {
            let token = Token::from_bytes(token).map_err(|error| error.to_string())?;
            Ok(ClientConfig::secure(token))
        }))
    }
}

/// How a client behaves.
#[derive(Resource, Clone, Debug)]
pub struct MeshClientConfig {
    /// Ticks of silence after which the client looks for whoever hosts it now.
    pub silence_ticks: u32,
    /// Weather for its links, to try out bad networks.
    pub weather: ConditionerConfig,
}

impl Default for MeshClientConfig {
    fn default() -> Self {
        Self {
            silence_ticks: 10,
            weather: ConditionerConfig::default(),
        }
    }
}

/// Follows what servers say about links.
pub(super) fn follow(
    world: &mut World,
    mut offers: Local<MessageCursor<HandoverOffered>>,
    mut joined: Local<MessageCursor<PeerJoined>>,
    mut controls: Local<MessageCursor<ControlReceived>>,
    mut refusals: Local<MessageCursor<PeerRefused>>,
) {
    if world.get_resource::<MeshClient>().is_none() {
        return;
    }
    let offered: Vec<HandoverOffered> = offers
        .read(world.resource::<Messages<HandoverOffered>>())
        .cloned()
        .collect();
    for offer in offered {
        on_offer(world, &offer);
    }
    let arrived: Vec<PeerJoined> = joined
        .read(world.resource::<Messages<PeerJoined>>())
        .copied()
        .collect();
    for PeerJoined { link, .. } in arrived {
        tell_attached(world, link);
    }
    let said: Vec<ControlReceived> = controls
        .read(world.resource::<Messages<ControlReceived>>())
        .cloned()
        .collect();
    for item in said {
        on_control(world, &item);
    }
    let turned_away: Vec<PeerRefused> = refusals
        .read(world.resource::<Messages<PeerRefused>>())
        .cloned()
        .collect();
    for PeerRefused { link, reason } in turned_away {
        let mut client = world.resource_mut::<MeshClient>();
        client.links.remove(&link);
        if let Refusal::Schema(_) | Refusal::WireVersion { .. } = reason {
            // It will not be different the next time.
            tracing::error!(%link, %reason, "the mesh does not let us in");
            client.refused = Some(reason.to_string());
        } else {
            tracing::debug!(%link, %reason, "turned away");
        }
    }
}

/// The other side of a border is offered: link to it, unless we are.
fn on_offer(world: &mut World, offered: &HandoverOffered) {
    let offer = &offered.offer;
    let now = world.resource::<NetClock>().now();
    let ours = &world.resource::<MeshClient>().links;
    let there: Option<LinkId> = world
        .resource::<Peers>()
        .iter()
        .filter(|peer| peer.node() == Some(offer.node) && peer.state() == PeerState::Ready)
        .map(|peer| peer.link())
        // One that we have closed may look well for a while.
        .find(|link| ours.contains_key(link));
    if let Some(link) = there {
        let mut client = world.resource_mut::<MeshClient>();
        if client.playing() != Some(link) {
            let told = matches!(
                client.links.get(&link),
                Some(LinkUse::Offered { handover, told: true, .. }) if *handover == offer.handover
            );
            let used = LinkUse::Offered {
                handover: offer.handover,
                told,
                since: now,
            };
            client.links.insert(link, used);
            tell_attached(world, link);
        }
        return;
    }
    let under_way = world.resource::<MeshClient>().links.values().any(
        |used| matches!(used, LinkUse::Offered { handover, .. } if *handover == offer.handover),
    );
    if under_way {
        return;
    }
    if offer.token.is_empty() {
        // They think that the link is there, which we have just closed.
        say_failed(world, offer.handover);
        return;
    }
    match connect(world, offer.address, &offer.token) {
        Ok(link) => {
            let used = LinkUse::Offered {
                handover: offer.handover,
                told: false,
                since: now,
            };
            world.resource_mut::<MeshClient>().links.insert(link, used);
        }
        Err(error) => {
            tracing::warn!(handover = %offer.handover, error, "the offer cannot be followed");
            world.resource_mut::<MeshClient>().counters.failed_offers += 1;
            say_failed(world, offer.handover);
        }
    }
}

fn connect(world: &mut World, address: SocketAddr, token: &[u8]) -> Result<LinkId, String> {
    let config = (world.resource::<Dialer>().0)(address, token)?;
    let mut client = world.resource_mut::<MeshClient>();
    client.dialled += 1;
    let luck = client
        .dialled
        .wrapping_mul(0x9e37_79b9)
        .wrapping_add(client.player.0);
    let mut weather = world.resource::<MeshClientConfig>().weather;
    // Each link has its own luck.
    weather.seed = weather.seed.wrapping_add(luck);
    let config = config.with_conditioner(weather);
    world.resource_scope(|world, mut endpoints: Mut<ClientEndpoints>| {
        let limits = world.resource::<TransportConfig>().clone();
        let mut links = world.resource_mut::<Links>();
        endpoints
            .connect(&mut links, &limits, config)
            .map_err(|error| error.to_string())
    })
}

/// Tells the source that the link to the target stands.
fn tell_attached(world: &mut World, link: LinkId) {
    let mut client = world.resource_mut::<MeshClient>();
    let Some(LinkUse::Offered { handover, told, .. }) = client.links.get_mut(&link) else {
        return;
    };
    if *told {
        return;
    }
    *told = true;
    let handover = *handover;
    say(world, &Control::Attached { handover });
}

fn say_failed(world: &mut World, handover: HandoverId) {
    say(world, &Control::AttachFailed { handover });
}

fn say(world: &mut World, control: &Control) {
    let Some(playing) = world.resource::<MeshClient>().playing() else {
        return;
    };
    if let Some(peer) = world.resource_mut::<Peers>().get_mut(playing)
        && let Err(error) = peer.send_control(control)
    {
        tracing::warn!(%error, "the host cannot be told");
    }
}

fn on_control(world: &mut World, item: &ControlReceived) {
    match item.control {
        Control::Route {
            root,
            term,
            applied,
            ..
        } => {
            let now = world.resource::<NetClock>().now();
            let node = world
                .resource::<Peers>()
                .get(item.link)
                .and_then(|peer| peer.node());
            let mut client = world.resource_mut::<MeshClient>();
            let former = client.playing();
            let back = former.is_none() && term == client.term;
            let crossed = !matches!(client.links.get(&item.link), Some(LinkUse::Entering(_)));
            if term < client.term || (term == client.term && former == Some(item.link)) {
                return;
            }
            if former.is_some_and(|former| former != item.link) {
                client.counters.crossings += 1;
            }
            client.term = term;
            client.root = Some(root);
            client.node = node;
            for used in client.links.values_mut() {
                if *used == LinkUse::Playing {
                    *used = LinkUse::Former(now);
                }
            }
            client.links.insert(item.link, LinkUse::Playing);
            client.ask_again = None;
            client.orphaned = None;
            if !back {
                world
                    .resource_mut::<InputOutbox>()
                    .take_over(InputAck { term, applied });
            }
            world.resource_mut::<ClientEndpoints>().promote(item.link);
            if let Some(peer) = world.resource_mut::<Peers>().get_mut(item.link) {
                peer.set_spectator(false);
                if let Err(error) = peer.send_control(&Control::RouteKept { term }) {
                    tracing::warn!(%error, "the new host cannot be told");
                }
            }
            // The former host's link only watches from here on.
            if let Some(peer) = former
                .filter(|f| *f != item.link)
                .and_then(|former| world.resource_mut::<Peers>().into_inner().get_mut(former))
            {
                peer.set_spectator(true);
            }
            world.write_message(HostChanged {
                link: item.link,
                term,
                root,
                crossed,
            });
        }
        Control::RouteEnded { term } => {
            let now = world.resource::<NetClock>().now();
            let mut client = world.resource_mut::<MeshClient>();
            if term > client.term && client.playing() == Some(item.link) {
                client.orphaned = Some(now);
            }
        }
        Control::HandoverEnded { handover } => {
            let now = world.resource::<NetClock>().now();
            for used in world.resource_mut::<MeshClient>().links.values_mut() {
                if matches!(used, LinkUse::Offered { handover: h, .. } if *h == handover) {
                    *used = LinkUse::Former(now);
                }
            }
        }
        _ => {}
    }
}

/// Once a frame: links that are over are forgotten, those of no more use closed, and whoever is
/// outside asks to be let in.
pub(super) fn keep_linked(world: &mut World) {
    if world.get_resource::<MeshClient>().is_none() {
        return;
    }
    let now = world.resource::<NetClock>().now();
    tidy(world, now);
    let silent = is_silent(world);
    let client = world.resource::<MeshClient>();
    let entering = client
        .links
        .values()
        .any(|used| matches!(used, LinkUse::Entering(_)));
    let orphaned = client
        .orphaned
        .is_some_and(|since| now.saturating_sub(since) > ROUTE_PATIENCE);
    let outside = client.playing().is_none() || silent || orphaned;
    let wants = client.wanted && client.refused.is_none() && outside && !entering;
    let may = client.ask_again.is_none_or(|at| now >= at);
    if client.asking {
        hear_session(world, now);
    } else if wants && may {
        let player = client.player;
        world.resource_mut::<MeshClient>().asking = true;
        world.resource_mut::<Sessions>().0.ask(player);
    }
}

fn tidy(world: &mut World, now: Duration) {
    let links: Vec<(LinkId, LinkUse)> = world.resource::<MeshClient>().links().collect();
    for (link, used) in links {
        let over = world
            .resource::<Links>()
            .get(link)
            .is_none_or(|link| matches!(link.state(), LinkState::Closed(_)));
        if over {
            world.resource_mut::<MeshClient>().links.remove(&link);
            if let LinkUse::Offered { handover, .. } = used {
                say_failed(world, handover);
            }
            continue;
        }
        let ready = world
            .resource::<Peers>()
            .get(link)
            .is_some_and(|peer| peer.state() == PeerState::Ready);
        let expired = match used {
            LinkUse::Playing => false,
            LinkUse::Former(since) => now.saturating_sub(since) > KEEP_FORMER,
            LinkUse::Entering(since) => now.saturating_sub(since) > ENTER_PATIENCE,
            LinkUse::Offered { since, .. } => !ready && now.saturating_sub(since) > OFFER_PATIENCE,
        };
        if !expired {
            continue;
        }
        if let Some(link) = world.resource_mut::<Links>().get_mut(link) {
            link.close(CloseReason::Requested);
        }
        world.resource_mut::<MeshClient>().links.remove(&link);
        if let LinkUse::Offered { handover, .. } = used {
            world.resource_mut::<MeshClient>().counters.failed_offers += 1;
            say_failed(world, handover);
        }
    }
}

/// Whether our host has told of no new tick for too long. A node that may not run is silent, though
/// its sockets still answer.
fn is_silent(world: &mut World) -> bool {
    let Some(playing) = world.resource::<MeshClient>().playing() else {
        return false;
    };
    let Some(link) = world.resource::<Links>().get(playing) else {
        return true;
    };
    let connected = link.state() == LinkState::Connected;
    let limit = world.resource::<NetClock>().tick_length()
        * world.resource::<MeshClientConfig>().silence_ticks;
    let elapsed = world.resource::<Time<Real>>().elapsed();
    let peer = world.resource::<Peers>().get(playing);
    let tick = peer.map_or(Tick(0), Peer::heard);
    let mut client = world.resource_mut::<MeshClient>();
    match client.heard {
        Some((link, newest, since)) if link == playing && newest == tick => {
            connected && elapsed.saturating_sub(since) > limit
        }
        _ => {
            client.heard = Some((playing, tick, elapsed));
            false
        }
    }
}

fn hear_session(world: &mut World, now: Duration) {
    let Some(outcome) = world.resource_mut::<Sessions>().0.poll() else {
        return;
    };
    world.resource_mut::<MeshClient>().asking = false;
    match outcome {
        SessionOutcome::Ticket { address, token } => match connect(world, address, &token) {
            Ok(link) => {
                let mut client = world.resource_mut::<MeshClient>();
                client.counters.logins += 1;
                client.links.insert(link, LinkUse::Entering(now));
            }
            Err(error) => {
                tracing::warn!(error, "a ticket cannot be used");
                world.resource_mut::<MeshClient>().ask_again =
                    Some(now + Duration::from_millis(250));
            }
        },
        SessionOutcome::Later(wait) => {
            world.resource_mut::<MeshClient>().ask_again =
                Some(now + wait.clamp(Duration::from_millis(20), Duration::from_secs(5)));
        }
        SessionOutcome::Unreachable(why) => {
            tracing::debug!(why, "a node does not answer");
            world.resource_mut::<MeshClient>().ask_again = Some(now + Duration::from_millis(20));
        }
        SessionOutcome::Refused(why) => {
            tracing::error!(why, "the mesh does not let us in");
            world.resource_mut::<MeshClient>().refused = Some(why);
        }
    }
}
