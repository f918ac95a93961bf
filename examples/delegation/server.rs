//! The server: it moves the players' bodies and every crate that nobody holds, and decides who may
//! hold which.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use bevy::prelude::*;
use bevy_seamless::{
    authority::AuthorityPolicy,
    prelude::*,
    replication::{Admission, Admitted},
    transport::Authentication,
    wire::{Holder, control::DenyReason},
};

use crate::game::{self, Body, Crate, PROTOCOL, Place, Speed, Walk};

/// Crates at the start, in rows of six.
const CRATES: u32 = 24;
/// Crates with those that players build; no more are taken over.
const MOST_CRATES: usize = 48;
/// A player holds this many at most: one in its hands, and some that it pushes.
const HELD: u32 = 4;
/// From how far a crate can be asked for, in metres: an arm's length, and what a player walks
/// while the request is under way.
const FAR: f32 = game::REACH + 3.0;

/// Opens the port.
///
/// # Errors
/// It is taken, or not ours.
pub(crate) fn bind(address: SocketAddr) -> Result<ServerEndpoint, impl std::fmt::Display> {
    ServerEndpoint::bind(&ServerConfig::new(
        address,
        PROTOCOL,
        Authentication::Unsecure,
    ))
}

/// Adds the server's half of the game.
pub(crate) fn add(app: &mut App, endpoint: ServerEndpoint) {
    let mut policy = AuthorityPolicy::new(near).delegation(|world, _, _| {
        let crates = world.try_query_filtered::<(), With<Crate>>();
        crates.is_none_or(|mut crates| crates.iter(world).count() <= MOST_CRATES)
    });
    policy.entities_per_client = HELD;
    // Short names, in the order in which players come.
    let players = AtomicU64::new(0);
    let admission = Admission::new(move |_, _, _| {
        Ok(Admitted {
            peer: PeerId(players.fetch_add(1, Ordering::Relaxed) + 1),
            spectator: false,
        })
    });
    app.insert_resource(endpoint)
        .insert_resource(admission)
        .insert_resource(policy)
        .add_systems(Startup, fill)
        // Who comes again leaves first.
        .add_systems(Update, (leave, enter).chain())
        .add_systems(FixedUpdate, (walk, fly));
}

/// Who asks must stand near enough.
fn near(world: &World, peer: PeerId, entity: Entity) -> Result<(), DenyReason> {
    let Some(at) = world.get::<Place>(entity) else {
        return Err(DenyReason::Policy);
    };
    let mut bodies = world
        .try_query::<(&Body, &Place)>()
        .ok_or(DenyReason::Policy)?;
    let near = bodies
        .iter(world)
        .any(|(body, place)| body.0 == peer && place.0.distance(at.0) <= FAR);
    if near {
        Ok(())
    } else {
        Err(DenyReason::Policy)
    }
}

fn fill(mut commands: Commands) {
    for number in 0..CRATES {
        let (column, row) = ((number % 6) as f32, (number / 6) as f32);
        let at = Vec3::new(column * 3.0 - 7.5, 0.0, row * 3.0 - 4.5);
        commands.spawn((Replicated, Delegated, Crate, Place(at), Speed::default()));
    }
}

fn enter(mut joined: MessageReader<PeerJoined>, mut commands: Commands) {
    for joined in joined.read() {
        let angle = joined.peer.0 as f32 * 2.4;
        let at = Vec2::from_angle(angle) * 10.0;
        let at = Place(Vec3::new(at.x, 0.0, at.y));
        commands.spawn((Replicated, Body(joined.peer), at));
    }
}

/// What a player held is free by itself.
fn leave(
    mut left: MessageReader<PeerLeft>,
    bodies: Query<(Entity, &Body)>,
    mut commands: Commands,
) {
    for left in left.read() {
        for (entity, body) in &bodies {
            if body.0 == left.peer {
                commands.entity(entity).despawn();
            }
        }
    }
}

fn walk(mut bodies: Query<(&Body, &mut Place)>, mut inputs: PlayerInputs<Walk>) {
    for (body, mut place) in &mut bodies {
        for (_, walk) in inputs.due(body.0) {
            let next = game::walk(place.0, walk);
            place.set_if_neq(Place(next));
        }
    }
}

fn fly(mut crates: Query<(&mut Place, &mut Speed, &Authority), (With<Crate>, With<Hosted>)>) {
    for (mut place, mut speed, authority) in &mut crates {
        if !matches!(authority.holder, Holder::Peer(_)) {
            game::fly(&mut place, &mut speed);
        }
    }
}
