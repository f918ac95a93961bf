//! A client's own entity, and who sees it.

use bevy::prelude::*;
use seamless_authority::{AuthorityCommandsExt, PublicationDenied, Published};
use seamless_replication::{
    Hosted, Remote, Replicated,
    transport::{CloseReason, Links},
    wire::{GlobalEntity, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Weather};

use super::{Health, Label, Place, authority::lending, command, find, name, ready, wait_for};

#[derive(Resource, Default)]
struct Refusals(Vec<(Entity, DenyReason)>);

/// As [`lending`], and writes down which publications were refused.
pub fn owning(app: &mut App) {
    lending(app);
    app.init_resource::<Refusals>().add_observer(
        |event: On<PublicationDenied>, mut refusals: ResMut<Refusals>| {
            refusals.0.push((event.entity, event.reason));
        },
    );
}

/// A server, a client with an entity of its own, and another client.
pub struct Own {
    pub cluster: Cluster,
    pub server: AppId,
    pub owner: AppId,
    pub other: AppId,
    pub name: GlobalEntity,
    /// With its owner.
    pub own: Entity,
    /// On the server.
    pub there: Entity,
}

pub fn own((seed, weather): (u64, Weather)) -> Own {
    let mut cluster = Cluster::new(seed, owning);
    cluster.set_weather(weather);
    let server = cluster.server();
    let owner = cluster.client(server);
    let other = cluster.client(server);
    ready(&mut cluster, owner);
    ready(&mut cluster, other);
    let bundle = (
        Replicated,
        Place(1.0, 0.0, 0.0),
        Label("mine".into()),
        Health(5),
    );
    let own = cluster.world(owner).spawn(bundle).id();
    let name = name(&mut cluster, owner, own);
    let there = wait_for(&mut cluster, server, name);
    Own {
        cluster,
        server,
        owner,
        other,
        name,
        own,
        there,
    }
}

impl Own {
    pub fn by_owner(&mut self, f: impl FnOnce(&mut EntityCommands)) {
        command(&mut self.cluster, self.owner, self.own, f);
    }

    pub fn by_server(&mut self, f: impl FnOnce(&mut EntityCommands)) {
        command(&mut self.cluster, self.server, self.there, f);
    }

    /// Its owner publishes it; gives the entity as the other client sees it then.
    pub fn publish(&mut self) -> Entity {
        self.by_owner(|e| {
            e.publish();
        });
        self.shown()
    }

    /// Its owner hides it again, and the other client sees it no more.
    pub fn unpublish(&mut self) {
        self.by_owner(|e| {
            e.unpublish();
        });
        self.until_seen(false);
    }

    /// The entity as the other client sees it.
    pub fn seen(&mut self) -> Option<Entity> {
        find(&mut self.cluster, self.other, self.name)
    }

    /// Runs until the other client sees it, or does not.
    pub fn until_seen(&mut self, seen: bool) {
        let (other, name) = (self.other, self.name);
        let what = if seen { "it is shown" } else { "it is hidden" };
        self.cluster.run_until(what, 300, |cluster| {
            find(cluster, other, name).is_some() == seen
        });
    }

    /// Runs until the other client sees it, and gives it.
    pub fn shown(&mut self) -> Entity {
        self.until_seen(true);
        self.seen().expect("it is shown")
    }

    /// Runs until the owner knows whether others see it.
    pub fn until_published(&mut self, published: bool) {
        let (owner, own) = (self.owner, self.own);
        self.cluster.run_until("the owner is told", 300, |cluster| {
            cluster.world(owner).get::<Published>(own).is_some() == published
        });
    }

    /// Whether the owner, or else the server, hosts it.
    pub fn is_owners(&mut self) -> bool {
        let at_owner = self.cluster.world(self.owner).entity(self.own);
        let owners = at_owner.contains::<Hosted>();
        assert_ne!(owners, at_owner.contains::<Remote>());
        let at_server = self.cluster.world(self.server).entity(self.there);
        assert_eq!(owners, at_server.contains::<Remote>());
        assert_ne!(owners, at_server.contains::<Hosted>());
        owners
    }

    /// What the owner was refused since the last call.
    pub fn refusals(&mut self) -> Vec<DenyReason> {
        let world = self.cluster.world(self.owner);
        let refusals = std::mem::take(&mut world.resource_mut::<Refusals>().0);
        refusals.into_iter().map(|(_, reason)| reason).collect()
    }

    /// The owner's link is closed.
    pub fn owner_leaves(&mut self) {
        let world = self.cluster.world(self.owner);
        for link in world.resource_mut::<Links>().iter_mut() {
            link.close(CloseReason::ByPeer);
        }
    }

    /// The owner connects again.
    pub fn owner_comes_again(&mut self) {
        self.cluster.connect(self.owner, self.server);
        self.cluster.run(10);
        ready(&mut self.cluster, self.owner);
    }
}
