//! A player's half: what it wants, and what it does with the crates that it was lent.
//!
//! It writes a crate only while it has authority over it. What it has not, it asks for; the answer
//! may be no, because somebody else was faster.

use std::net::SocketAddr;

use bevy::{platform::collections::HashMap, prelude::*};
use bevy_seamless::{
    prelude::*,
    transport::{ConditionerConfig, Links, TransportConfig},
};

use crate::game::{self, Body, Crate, PROTOCOL, Place, REACH, SIDE, Speed, TICK_RATE, Walk};

/// How high a crate is carried, in metres.
const OVERHEAD: f32 = 1.9;
/// How fast it is thrown, forwards and upwards, in metres a second.
const THROW: Vec2 = Vec2::new(9.0, 4.5);
/// How near a player must be to push, from middle to middle, and how fast a pushed crate goes.
const TOUCH: f32 = 1.1;
const PUSH: f32 = 6.5;
/// Ticks after which a crate that is not touched any more is given back.
const LET_GO: u32 = TICK_RATE as u32 / 2;

/// What the player wants in this tick; keys or a bot say so.
#[derive(Resource, Default, Debug)]
pub(crate) struct Wish {
    /// Which way, at most of length one.
    pub(crate) walk: Vec2,
    /// Takes the nearest crate, or puts down what it has.
    pub(crate) grab: bool,
    /// Takes the nearest crate out of somebody's hands, which the server will not allow.
    pub(crate) contest: bool,
    /// Throws what it has.
    pub(crate) throw: bool,
    /// Makes a crate of its own and gives it to all.
    pub(crate) build: bool,
}

/// What the player does.
#[derive(Resource, Default, Debug)]
pub(crate) struct Hands {
    /// Looks this way.
    pub(crate) facing: Vec3,
    /// Asked for, to be carried.
    pub(crate) asked: Option<Entity>,
    /// Carried.
    pub(crate) carried: Option<Entity>,
    /// Pushed, or asked for to be pushed, and for how many ticks not touched.
    pushed: HashMap<Entity, u32>,
    /// Crates that were just denied, and for how many ticks that is to be seen.
    pub(crate) denied: HashMap<Entity, u32>,
    pub(crate) done: Done,
}

/// What came of it, counted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Done {
    pub(crate) granted: u64,
    pub(crate) denied: u64,
    pub(crate) lost: u64,
    pub(crate) thrown: u64,
    pub(crate) built: u64,
}

/// A player's own body: where it stands.
fn body(bodies: &Query<(&Body, &Place), Without<Crate>>, peers: &Peers) -> Option<Vec3> {
    let me = peers.me()?;
    let mine = |(body, _): &(&Body, &Place)| body.0 == me;
    bodies.iter().find(mine).map(|(_, place)| place.0)
}

/// Adds the player's half of the game, and a link to the server.
pub(crate) fn add(app: &mut App, server: SocketAddr, conditioner: ConditionerConfig) {
    let connect = move |mut endpoints: ResMut<ClientEndpoints>,
                        mut links: ResMut<Links>,
                        limits: Res<TransportConfig>|
          -> Result {
        let mut config = ClientConfig::unsecure(server, PROTOCOL);
        config.conditioner = conditioner;
        endpoints.connect(&mut links, &limits, config)?;
        Ok(())
    };
    app.init_resource::<Wish>()
        .init_resource::<Hands>()
        .add_systems(Startup, connect)
        .add_systems(FixedUpdate, (go, reach, push, carry, build).chain())
        .add_observer(granted)
        .add_observer(denied)
        .add_observer(lost);
}

/// Says where it wants to go.
fn go(wish: Res<Wish>, mut hands: ResMut<Hands>, mut inputs: LocalInputs<Walk>) {
    let way = wish.walk.clamp_length_max(1.0);
    inputs.push(&Walk(way));
    if way != Vec2::ZERO {
        hands.facing = Vec3::new(way.x, 0.0, way.y).normalize();
    }
    hands.denied.retain(|_, ticks| {
        *ticks = ticks.saturating_sub(1);
        *ticks > 0
    });
}

/// Asks for the nearest crate, or puts down or throws the one in its hands.
fn reach(
    (mut wish, mut hands, peers): (ResMut<Wish>, ResMut<Hands>, Res<Peers>),
    bodies: Query<(&Body, &Place), Without<Crate>>,
    mut crates: Query<(Entity, &mut Place, &mut Speed, &AuthorityView), With<Crate>>,
    mut commands: Commands,
) {
    let (grab, contest, throw) = (wish.grab, wish.contest, wish.throw);
    (wish.grab, wish.contest, wish.throw) = (false, false, false);
    if let Some(carried) = hands.carried {
        if !grab && !throw {
            return;
        }
        if let Ok((_, mut place, mut speed, _)) = crates.get_mut(carried) {
            let forwards = if throw { THROW } else { Vec2::ZERO };
            place.0 += hands.facing * 1.2 * SIDE;
            // The speed goes with the release: the server lets it fly on from there.
            speed.0 = hands.facing * forwards.x + Vec3::Y * forwards.y;
            commands.entity(carried).release_authority();
            hands.done.thrown += u64::from(throw);
        }
        hands.carried = None;
    } else if (grab || contest)
        && hands.asked.is_none()
        && let Some(me) = body(&bodies, &peers)
    {
        let free = |view: &AuthorityView| *view == AuthorityView::Available;
        let near = crates
            .iter()
            .map(|(entity, place, _, view)| (entity, place.0.distance(me), free(view)))
            .filter(|(_, far, free)| *far < REACH && (*free || contest))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((entity, ..)) = near {
            hands.asked = Some(entity);
            commands.entity(entity).request_authority();
        }
    }
}

/// Whoever walks into a crate asks for it, moves it, and gives it back when it lies.
fn push(
    (wish, mut hands, peers): (Res<Wish>, ResMut<Hands>, Res<Peers>),
    bodies: Query<(&Body, &Place), Without<Crate>>,
    mut crates: Query<(Entity, &mut Place, &mut Speed, &AuthorityView), With<Crate>>,
    mut commands: Commands,
) {
    let Some(me) = body(&bodies, &peers) else {
        return;
    };
    let hands = &mut *hands;
    for (entity, mut place, mut speed, view) in &mut crates {
        let way = place.0 - me;
        let touched = way.y < SIDE
            && way.xz().length() < TOUCH
            && wish.walk.dot(way.xz()) > 0.0
            && hands.carried != Some(entity);
        match view {
            AuthorityView::Available if touched && hands.asked != Some(entity) => {
                hands.pushed.insert(entity, 0);
                commands.entity(entity).request_authority();
            }
            AuthorityView::Granted if hands.carried != Some(entity) => {
                let Some(untouched) = hands.pushed.get_mut(&entity) else {
                    continue;
                };
                *untouched = if touched { 0 } else { *untouched + 1 };
                if touched {
                    let away = way.with_y(0.0).normalize_or_zero() * PUSH;
                    speed.set_if_neq(Speed(away.with_y(speed.0.y)));
                }
                game::fly(&mut place, &mut speed);
                if *untouched > LET_GO {
                    hands.pushed.remove(&entity);
                    commands.entity(entity).release_authority();
                }
            }
            _ => {}
        }
    }
}

/// What is carried is where its carrier is.
fn carry(
    (hands, peers): (Res<Hands>, Res<Peers>),
    bodies: Query<(&Body, &Place), Without<Crate>>,
    mut crates: Query<(&mut Place, &mut Speed), (With<Crate>, With<Granted>)>,
) {
    let carried = hands.carried.map(|entity| crates.get_mut(entity));
    if let (Some(Ok((mut place, mut speed))), Some(me)) = (carried, body(&bodies, &peers)) {
        place.set_if_neq(Place(me + Vec3::Y * OVERHEAD));
        speed.set_if_neq(Speed::default());
    }
}

/// A crate of our own: we host it, until the server has taken it over. From then on it is one of
/// all, and we hold it until we give it back.
fn build(
    (mut wish, mut hands, peers): (ResMut<Wish>, ResMut<Hands>, Res<Peers>),
    bodies: Query<(&Body, &Place), Without<Crate>>,
    mut commands: Commands,
) {
    if !std::mem::take(&mut wish.build) {
        return;
    }
    let Some(me) = body(&bodies, &peers).filter(|_| hands.carried.is_none()) else {
        return;
    };
    let at = Place(me + Vec3::Y * OVERHEAD);
    let own = commands
        .spawn((Replicated, Crate, at, Speed::default()))
        .delegate()
        .id();
    hands.asked = Some(own);
    hands.done.built += 1;
}

fn granted(event: On<AuthorityGranted>, mut hands: ResMut<Hands>, mut commands: Commands) {
    hands.done.granted += 1;
    if hands.asked == Some(event.entity) {
        hands.asked = None;
        hands.pushed.remove(&event.entity);
        hands.carried = Some(event.entity);
    } else if !hands.pushed.contains_key(&event.entity) {
        // What we wanted it for is past.
        commands.entity(event.entity).release_authority();
    }
}

fn denied(
    event: On<AuthorityDenied>,
    own: Query<(), (With<Crate>, With<Hosted>)>,
    mut hands: ResMut<Hands>,
    mut commands: Commands,
) {
    hands.pushed.remove(&event.entity);
    if own.contains(event.entity) {
        // One more than the server takes over.
        commands.entity(event.entity).despawn();
    }
    // Somebody else took what was free: only who asked is denied something.
    if hands.asked == Some(event.entity) {
        hands.asked = None;
        hands.done.denied += 1;
        hands.denied.insert(event.entity, u32::from(TICK_RATE));
    }
}

fn lost(event: On<AuthorityLost>, mut hands: ResMut<Hands>) {
    hands.pushed.remove(&event.entity);
    hands.done.lost += u64::from(event.reason.is_some());
    if hands.carried == Some(event.entity) {
        hands.carried = None;
    }
}
