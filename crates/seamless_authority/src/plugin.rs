//! The plugin: order of things.

use bevy::{
    ecs::{message::MessageCursor, world::DeferredWorld},
    prelude::*,
};
use seamless_replication::{
    Authority, ControlReceived, Frozen, NetClock, PeerJoined, PeerLeft, Peers, ReplicationSystems,
    Slots, interest::Watched, tick_is_fresh, transport::LinkSide,
};

use crate::{
    AuthorityStats,
    client::{self, Asked},
    delegate,
    guard::{self, WriteGuard},
    held::{self, Held},
    holder::HolderEvent,
    later::{self, Later},
    lease::{self, Leases},
    policy::{AuthorityPolicy, Terms},
    publish::{self, Early, Wishes},
    server::{self, Pending},
    view::{self, AuthorityView},
};

/// Lets the authority over a hosted entity be lent. Spawn it with
/// [`Replicated`](seamless_replication::Replicated); take it off to end it.
#[derive(Component, Clone, Copy, Debug, Default, Reflect)]
#[reflect(Component)]
pub struct Delegated;

/// When authority changes, for systems that have to come before or after.
#[derive(SystemSet, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthoritySystems {
    /// `PreUpdate`, in [`ReplicationSystems::React`]: requests, answers and releases take effect.
    React,
}

/// Delegation, the same on servers and clients.
///
/// After the replication received (`PreUpdate`, [`ReplicationSystems::React`]): items of clients
/// are decided, answers of servers are heard, releases whose last row is there and delegations
/// whose first row is there are carried out, holders who left or do not see their entity any more
/// lose it. Between collect and send: a client's releases go out with the rows of the same tick.
pub struct AuthorityPlugin;

impl Plugin for AuthorityPlugin {
    fn build(&self, app: &mut App) {
        // Who only reads the world can ask for it also where nobody has it yet.
        app.world_mut().register_component::<AuthorityView>();
        app.init_resource::<Slots>();
        let mut slots = app.world_mut().resource_mut::<Slots>();
        slots.set_fence_follower(follow_fence);
        app.init_resource::<Asked>()
            .init_resource::<Later>()
            .init_resource::<Pending>()
            .init_resource::<AuthorityPolicy>()
            .init_resource::<Terms>()
            .init_resource::<Held>()
            .init_resource::<held::Adopted>()
            .init_resource::<Wishes>()
            .init_resource::<Early>()
            .init_resource::<WriteGuard>()
            .init_resource::<guard::Watched>()
            .init_resource::<Leases>()
            .init_resource::<AuthorityStats>()
            .add_observer(held::forget)
            .add_observer(held::leave)
            .add_observer(publish::forget)
            .add_observer(publish::unmarked)
            .add_observer(lease::forget)
            .add_observer(view::tell_granted)
            .add_observer(view::tell_lost)
            .add_observer(view::send_release)
            .add_observer(enable)
            .add_observer(disable)
            .add_systems(
                PreUpdate,
                (react, guard::begin)
                    .chain()
                    .in_set(AuthoritySystems::React),
            )
            .add_systems(
                PreUpdate,
                guard::refuse_writes.before(ReplicationSystems::Receive),
            )
            .configure_sets(
                PreUpdate,
                AuthoritySystems::React.in_set(ReplicationSystems::React),
            )
            .add_systems(
                FixedPostUpdate,
                (
                    (lease::end_leases, guard::refuse_writes)
                        .chain()
                        .before(ReplicationSystems::Collect),
                    client::send_releases
                        .after(ReplicationSystems::Visibility)
                        .before(ReplicationSystems::Send),
                )
                    .run_if(tick_is_fresh),
            );
    }
}

/// A fence changed. No query: whatever hides entities from those, its fence counts.
fn follow_fence(world: &mut DeferredWorld<'_>, entity: Entity, authority: &Authority) {
    let now = world.resource::<NetClock>().tick();
    held::follow(&mut world.resource_mut::<Held>(), entity, authority);
    // A fence that came with a save, or from another server: the mark says the same.
    if authority.hosted && authority.delegated != world.get::<Delegated>(entity).is_some() {
        let mut commands = world.commands();
        let mut entity = commands.entity(entity);
        match authority.delegated {
            true => entity.try_insert(Delegated),
            false => entity.try_remove::<Delegated>(),
        };
    }
    lease::follow(&mut world.resource_mut::<Leases>(), entity, authority, now);
    if world.get::<Frozen>(entity).is_none() {
        view::follow(world, entity, authority);
    }
}

fn enable(event: On<Add, Delegated>, mut commands: Commands) {
    let entity = event.entity;
    commands.queue(move |world: &mut World| {
        server::apply(world, entity, HolderEvent::Enable);
    });
}

fn disable(event: On<Remove, Delegated>, mut commands: Commands) {
    let entity = event.entity;
    commands.queue(move |world: &mut World| {
        server::apply(world, entity, HolderEvent::Disable);
    });
}

/// Everything that was received and concerns authority, in the order it came.
fn react(
    world: &mut World,
    mut controls: Local<MessageCursor<ControlReceived>>,
    mut joined: Local<MessageCursor<PeerJoined>>,
    mut left: Local<MessageCursor<PeerLeft>>,
    mut leaving: Local<Vec<PeerLeft>>,
    mut watched: Local<MessageCursor<Watched>>,
) {
    later::catch_up(world);
    let joined = joined.read(world.resource::<Messages<PeerJoined>>());
    if joined.filter(|joined| joined.resumed).count() > 0 {
        server::resumed(world);
    }
    // What left a client's sight did so before this frame. What that says now, it says after it.
    let blind: Vec<Watched> = watched
        .read(world.resource::<Messages<Watched>>())
        .filter(|watched| !watched.sees)
        .copied()
        .collect();
    for Watched { entity, peer, .. } in blind {
        if world.get_entity(entity).is_ok() {
            server::vanished(world, entity, peer);
        }
    }
    let items: Vec<ControlReceived> = controls
        .read(world.resource::<Messages<ControlReceived>>())
        .cloned()
        .collect();
    for item in items {
        let side = world
            .resource::<Peers>()
            .get(item.link)
            .map(|peer| peer.side());
        match side {
            Some(LinkSide::ToClient) => server::hear(world, &item),
            Some(LinkSide::ToServer) => client::hear(world, &item),
            None => {}
        }
    }
    client::settle_unfenced(world);
    delegate::clear_up(world);
    publish::send_wishes(world);
    publish::finish(world);
    server::finish_releases(world);
    server::finish_delegations(world);
    server::look_at_returned(world);
    // Who came again left, and its old link may stand for a while: it is told of entities still.
    leaving.extend(left.read(world.resource::<Messages<PeerLeft>>()));
    let peers = world.resource::<Peers>();
    let is_gone = |left: &mut PeerLeft| peers.get(left.link).is_none();
    let gone: Vec<PeerLeft> = leaving.extract_if(.., is_gone).collect();
    for PeerLeft {
        link,
        peer,
        spectator,
    } in gone
    {
        client::link_lost(world, link);
        server::link_lost(world, link);
        publish::link_lost(world, link);
        publish::owner_left(world, peer, spectator);
        let back = world.resource::<Peers>().by_id(peer).is_some();
        match (spectator, back) {
            (true, _) => {}
            (false, true) => server::client_returned(world, peer),
            (false, false) => server::client_left(world, peer),
        }
    }
    client::settle_lost(world);
}
