//! What each client must see, from the server's world and the operations alone.

use std::collections::{BTreeMap, HashMap};

use bevy::{ecs::entity_disabling::Disabled, prelude::*};
use seamless_replication::{
    Ints, NetSlot, Peer, Peers, Quantize, TransformPrecision,
    interest::{InterestGrid, InterestRegionId, ToolScopeId, ToolScopes, View},
    wire::{GlobalEntity, PeerId},
};
use seamless_testkit::{AppId, Cluster};

use super::{SECRETS, Secret};
use crate::common::{Health, Label, Place, Stunned, Target};

/// How far every view goes.
pub const SIGHT: f32 = 20.0;

/// The grid. Without hysteresis the past does not matter.
pub const GRID: InterestGrid = InterestGrid {
    region: 16.0,
    hysteresis: 0.0,
};

/// The values of an entity, to the bit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Own {
    place: Option<[u32; 3]>,
    label: Option<String>,
    health: Option<u32>,
    stunned: Option<u8>,
    secret: Option<u32>,
    transform: Option<([u32; 3], String)>,
}

impl Own {
    /// Whether a client may show it so. Secrets are not for all.
    fn is_shown_as(&self, shown: &Self) -> bool {
        let secret = self.secret.filter(|_| shown.secret.is_some());
        Self {
            secret,
            ..self.clone()
        } == *shown
    }
}

/// An entity as an app shows it, references as names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    pub own: Own,
    /// `Some(None)`: at nobody who is in sight.
    target: Option<Option<GlobalEntity>>,
    /// The parent, if it is in sight.
    parent: Option<GlobalEntity>,
}

/// All that an app shows.
pub type Sight = BTreeMap<GlobalEntity, Seen>;

type All<'a> = (
    Entity,
    &'a NetSlot,
    Option<&'a Place>,
    Option<&'a Label>,
    Option<&'a Health>,
    Option<&'a Stunned>,
    Option<&'a Transform>,
    Option<&'a Secret>,
    Option<&'a Target>,
    Option<&'a ChildOf>,
);

/// What decides who sees an entity.
type Sighted<'a> = (
    Entity,
    &'a NetSlot,
    Option<&'a Place>,
    Option<&'a ToolScopes>,
);

/// What is told of a transform: its integers, and where they put it.
fn told(transform: &Transform, is_server: bool) -> ([u32; 3], String) {
    let precision = TransformPrecision::default();
    let mut ints = Ints::default();
    transform.quantize(&precision, &mut ints);
    let place = transform.translation.to_array().map(|part| {
        let steps = (f64::from(part) * 512.0).round();
        let there = steps.clamp(-16_777_216.0, 16_777_216.0) as i32 as f32 / 512.0;
        if is_server { there } else { part }.to_bits()
    });
    (place, format!("{ints:?}"))
}

/// What an app shows.
pub fn sight(cluster: &mut Cluster, app: AppId, is_server: bool) -> Sight {
    let world = cluster.world(app);
    // What is disabled is on the network like all else.
    let mut query = world.query_filtered::<All<'_>, Allow<Disabled>>();
    let name = |entity| world.get::<NetSlot>(entity).and_then(NetSlot::global);
    query
        .iter(world)
        .filter_map(
            |(_, slot, place, label, health, stunned, transform, secret, target, parent)| {
                let own = Own {
                    place: place.map(|place| [place.0, place.1, place.2].map(f32::to_bits)),
                    label: label.map(|label| short(&label.0)),
                    health: health.map(|health| health.0),
                    stunned: stunned.map(|stunned| stunned.0),
                    secret: secret.map(|secret| secret.0),
                    transform: transform.map(|transform| told(transform, is_server)),
                };
                let seen = Seen {
                    own,
                    target: target.map(|target| name(target.0)),
                    parent: parent.and_then(|parent| name(parent.parent())),
                };
                Some((slot.global()?, seen))
            },
        )
        .collect()
}

/// Values on a client's entities that are not on the network: there should be none.
pub fn ghosts(cluster: &mut Cluster, app: AppId) -> usize {
    let world = cluster.world(app);
    let mut query = world.query_filtered::<(), (
        Without<NetSlot>,
        Or<(
            With<Place>,
            With<Label>,
            With<Health>,
            With<Stunned>,
            With<Target>,
        )>,
    )>();
    query.iter(world).count()
}

/// Long labels are one letter; then their beginning and their length say all.
fn short(label: &str) -> String {
    match label.get(..40) {
        Some(start) => format!("{start} ({})", label.len()),
        None => label.into(),
    }
}

fn region(place: &Place) -> InterestRegionId {
    GRID.region_of(Vec3::new(place.0, place.1, place.2), None)
}

/// What a client must show once everything has settled: what the server has, as far as view,
/// scopes and exceptions let it be seen.
pub fn wanted(
    cluster: &mut Cluster,
    server: AppId,
    client: PeerId,
    exceptions: &HashMap<Entity, bool>,
) -> Sight {
    let all = sight(cluster, server, true);
    let world = cluster.world(server);
    let mut entities = world.query_filtered::<Sighted<'_>, Allow<Disabled>>();
    let mut peers = world.resource_mut::<Peers>();
    let Some(interest) = peers.by_id_mut(client).map(Peer::interest_mut) else {
        return Sight::new();
    };
    let (view, subscribed): (View, Vec<_>) = (interest.view(), interest.scopes().collect());
    let from = match view {
        View::Everything | View::Nothing => None,
        View::At(at, _) => Some(GRID.region_of(at, None)),
        View::Around(entity, _) => world.get::<Place>(entity).map(region),
    };
    let everything = view == View::Everything;
    let regions: Vec<_> = from
        .into_iter()
        .flat_map(|from| GRID.around(from, SIGHT))
        .collect();
    let visible: BTreeMap<GlobalEntity, bool> = entities
        .iter(world)
        .filter_map(|(entity, slot, place, scopes)| {
            let near = place.is_none_or(|place| everything || regions.contains(&region(place)));
            let scopes = scopes.map_or(&[][..], |scopes| &scopes.0);
            let open = scopes.is_empty() || scopes.iter().any(|s| subscribed.contains(s));
            let shown = exceptions.get(&entity).copied();
            Some((slot.global()?, shown.unwrap_or(near && open)))
        })
        .collect();
    let is_visible = |name: &GlobalEntity| visible.get(name) == Some(&true);
    let mut all: Sight = all
        .into_iter()
        .filter(|(name, _)| is_visible(name))
        .collect();
    let knows = subscribed.contains(&ToolScopeId(SECRETS));
    for seen in all.values_mut() {
        seen.own.secret = seen.own.secret.filter(|_| knows);
        seen.target = seen.target.map(|target| target.filter(&is_visible));
        seen.parent = seen.parent.filter(&is_visible);
    }
    all
}

/// What differs between two sights, short enough to read.
pub fn differences(got: &Sight, want: &Sight) -> Option<String> {
    let names = got.keys().chain(want.keys());
    let mut all: Vec<String> = names
        .filter(|name| got.get(name) != want.get(name))
        .map(|name| {
            let (got, want) = (got.get(name), want.get(name));
            let short = |seen: String| seen.chars().take(400).collect::<String>();
            let [got, want] = [got, want].map(|seen| short(format!("{seen:?}")));
            format!("{name:?}\n  shows {got}\n  wants {want}")
        })
        .collect();
    all.sort();
    all.dedup();
    (!all.is_empty()).then(|| all.join("\n"))
}

/// The states that every entity went through on the server, and how far each client is.
#[derive(Default)]
pub struct History {
    states: HashMap<GlobalEntity, Vec<Own>>,
    shown: HashMap<(usize, GlobalEntity), usize>,
}

impl History {
    /// The server's world as it is in this tick.
    pub fn record(&mut self, sight: &Sight) {
        for (name, seen) in sight {
            let states = self.states.entry(*name).or_default();
            if states.last() != Some(&seen.own) {
                states.push(seen.own.clone());
            }
        }
    }

    /// A client shows whole states that the server had, and never goes back to an earlier one.
    pub fn check(&mut self, client: usize, sight: &Sight) -> Result<(), String> {
        for (name, seen) in sight {
            let from = self.shown.entry((client, *name)).or_default();
            let states = self.states.get(name).map_or(&[][..], Vec::as_slice);
            let is_it = |state: &Own| state.is_shown_as(&seen.own);
            let later = states[*from..].iter().position(is_it);
            match later {
                Some(later) => *from += later,
                None if states.iter().any(is_it) => {
                    return Err(format!("client {client} goes back with {name:?}: {seen:?}"));
                }
                None => {
                    return Err(format!(
                        "client {client} shows what the server never had of {name:?}: {seen:?}\nlast: {:?}",
                        states.last()
                    ));
                }
            }
        }
        Ok(())
    }
}
