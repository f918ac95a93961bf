//! What happens in a storm.

use bevy::prelude::*;
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_replication::{
    Authority, Hosted, NetSlot, Peers, Remote, Replicated,
    transport::{CloseReason, Links},
    wire::{GlobalEntity, Holder},
};

use super::{
    Ballast, Mark, Seal, Storm,
    trace::{Right, SERVER, Who, Write},
};

/// Most frames that a client stays away.
const AWAY: usize = 60;

impl Storm {
    /// One operation, whatever the dice say.
    pub fn act(&mut self) {
        self.operations += 1;
        match self.rng.below(100) {
            0..30 => self.request(),
            30..46 => self.release(),
            46..53 => self.on_server(|e, peer| {
                e.give_authority(peer);
            }),
            53..57 => self.on_server(|e, _| {
                e.take_authority();
            }),
            57..64 => self.on_server(|e, _| {
                e.reset_authority();
            }),
            64..72 => self.include_or_exclude(),
            72..77 => self.delegate_or_not(),
            77..79 => self.despawn_on_server(),
            79..81 => self.spawn_on_server(),
            81..85 => self.spawn_on_client(),
            85..90 => self.delegate_own(),
            90..92 => self.despawn_own(),
            92..94 => self.rogue(),
            94..98 => self.publish_or_take_over(),
            98 => self.server_writes(),
            _ => self.disconnect(),
        }
    }

    fn any_client(&mut self) -> Option<Who> {
        let who = 1 + self.rng.below(self.plan.clients);
        self.is_linked(who).then_some(who)
    }

    /// One of an app's entities that match.
    fn any<F: bevy::ecs::query::QueryFilter>(&mut self, who: Who) -> Option<Entity> {
        let world = self.world(who);
        let mut query = world.query_filtered::<(Entity, &NetSlot), F>();
        let mut all: Vec<(Option<GlobalEntity>, Entity)> = query
            .iter(world)
            .map(|(entity, slot)| (slot.global(), entity))
            .collect();
        all.sort_unstable();
        self.rng.pick(&all).map(|(_, entity)| *entity)
    }

    fn command(&mut self, who: Who, entity: Entity, f: impl FnOnce(&mut EntityCommands)) {
        let world = self.world(who);
        f(&mut world.commands().entity(entity));
        world.flush();
    }

    fn request(&mut self) {
        let Some(who) = self.any_client() else { return };
        let Some(entity) = self.any::<With<Remote>>(who) else {
            return;
        };
        self.command(who, entity, |e| {
            e.request_authority();
        });
        self.oracle_asked(who, entity);
    }

    /// Half the time with a write in the same tick.
    fn release(&mut self) {
        let Some(who) = self.any_client() else { return };
        let Some(entity) = self.any::<With<seamless_authority::Granted>>(who) else {
            return;
        };
        if self.rng.chance(0.5) {
            self.write_one(who, entity);
        }
        self.oracle_released(who, entity);
        self.command(who, entity, |e| {
            e.release_authority();
        });
    }

    fn on_server(
        &mut self,
        f: impl FnOnce(&mut EntityCommands, seamless_replication::wire::PeerId),
    ) {
        let Some(entity) = self.any::<With<Hosted>>(SERVER) else {
            return;
        };
        let client = 1 + self.rng.below(self.plan.clients);
        let Some(peer) = self.seats[client].peer else {
            return;
        };
        self.command(SERVER, entity, |e| f(e, peer));
    }

    fn include_or_exclude(&mut self) {
        let client = 1 + self.rng.below(self.plan.clients);
        let shown = self.rng.chance(0.6);
        let entity = self.any::<With<NetSlot>>(SERVER);
        let (Some(peer), Some(entity)) = (self.seats[client].peer, entity) else {
            return;
        };
        let world = self.world(SERVER);
        let Some(&slot) = world.get::<NetSlot>(entity) else {
            return;
        };
        let Some(name) = slot.global() else { return };
        let mut peers = world.resource_mut::<Peers>();
        let Some(link) = peers.by_id_mut(peer) else {
            return;
        };
        link.interest_mut().except(&slot, (!shown).then_some(false));
        if std::env::var_os("STORM_FOLLOW")
            .is_some_and(|followed| followed == name.to_string().as_str())
        {
            eprintln!(
                "{}: {client} is shown {name}: {shown}",
                self.cluster.frames()
            );
        }
        if shown {
            self.hidden.remove(&(peer, name));
        } else {
            self.hidden.insert((peer, name));
        }
    }

    fn delegate_or_not(&mut self) {
        let Some(entity) = self.any::<With<Hosted>>(SERVER) else {
            return;
        };
        let lent = self.world(SERVER).get::<Delegated>(entity).is_some();
        self.command(SERVER, entity, |e| {
            if lent {
                e.undelegate();
            } else {
                e.delegate();
            }
        });
    }

    pub fn spawn_on_server(&mut self) {
        let most = self.plan.entities * 5 / 4;
        let world = self.world(SERVER);
        let mut query = world.query_filtered::<(), With<Hosted>>();
        if query.iter(world).count() >= most {
            return;
        }
        let entity = world
            .spawn((Replicated, Delegated, Seal(1), Ballast("b".repeat(60))))
            .id();
        self.write_host(SERVER, entity);
    }

    fn despawn_on_server(&mut self) {
        if let Some(entity) = self.any::<With<Hosted>>(SERVER) {
            self.world(SERVER).despawn(entity);
        }
    }

    fn spawn_on_client(&mut self) {
        let Some(who) = self.any_client() else { return };
        let world = self.world(who);
        let mut query = world.query_filtered::<(), With<Hosted>>();
        if query.iter(world).count() >= 16 {
            return;
        }
        let entity = world
            .spawn((Replicated, Seal(7), Ballast("c".repeat(60))))
            .id();
        if self.name(who, entity).is_none() {
            self.world(who).despawn(entity);
            return;
        }
        self.write_host(who, entity);
        if self.rng.chance(0.3) {
            self.command(who, entity, |e| {
                e.delegate();
            });
        }
    }

    fn delegate_own(&mut self) {
        let Some(who) = self.any_client() else { return };
        if let Some(entity) = self.any::<With<Hosted>>(who) {
            self.command(who, entity, |e| {
                e.delegate();
            });
        }
    }

    fn despawn_own(&mut self) {
        let Some(who) = self.any_client() else { return };
        if let Some(entity) = self.any::<With<Hosted>>(who) {
            if let Some(name) = self.name(who, entity) {
                let last = self.oracle.trace.last(name, |_| true).unwrap_or(0);
                self.oracle.forsaken.insert((who, name), last);
            }
            self.world(who).despawn(entity);
        }
    }

    /// A client shows or hides what is its own; or the server does, or takes it over.
    fn publish_or_take_over(&mut self) {
        let by_server = self.rng.chance(0.5);
        if by_server {
            let Some(entity) = self.any::<With<Remote>>(SERVER) else {
                return;
            };
            let what = self.rng.below(3);
            self.command(SERVER, entity, |e| {
                match what {
                    0 => e.publish(),
                    1 => e.unpublish(),
                    _ => e.delegate(),
                };
            });
            return;
        }
        let Some(who) = self.any_client() else { return };
        let Some(entity) = self.any::<With<Hosted>>(who) else {
            return;
        };
        let shown = self.rng.chance(0.7);
        self.command(who, entity, |e| {
            match shown {
                true => e.publish(),
                false => e.unpublish(),
            };
        });
    }

    fn rogue(&mut self) {
        let Some(who) = self.any_client() else { return };
        let Some(entity) = self.any::<(With<Remote>, With<AuthorityView>)>(who) else {
            return;
        };
        let Some(name) = self.name(who, entity) else {
            return;
        };
        let number = self.oracle.trace.write(Write {
            who,
            entity: name,
            right: Right::None,
        });
        self.write_rogue(who, entity, Mark(number));
    }

    fn server_writes(&mut self) {
        let Some(entity) = self.any::<With<Hosted>>(SERVER) else {
            return;
        };
        self.write_one(SERVER, entity);
        if let Some(mut seal) = self.world(SERVER).get_mut::<Seal>(entity) {
            seal.0 += 1;
        }
    }

    fn disconnect(&mut self) {
        if self.rng.chance(0.7) {
            return;
        }
        let Some(who) = self.any_client() else { return };
        let back = self.cluster.frames() + self.rng.below(AWAY) as u64;
        self.seats[who].away_until = Some(back);
        self.seats[who].peer = None;
        for link in self.world(who).resource_mut::<Links>().iter_mut() {
            link.close(CloseReason::ByPeer);
        }
    }

    /// Everybody writes some of what is theirs to write.
    pub fn write(&mut self) {
        for who in 1..self.seats.len() {
            let world = self.world(who);
            let mut query = world
                .query_filtered::<(Entity, &NetSlot), Or<(With<seamless_authority::Granted>, With<Hosted>)>>();
            let mut own: Vec<(Option<GlobalEntity>, Entity)> = query
                .iter(world)
                .map(|(entity, slot)| (slot.global(), entity))
                .collect();
            own.sort_unstable();
            for (_, entity) in own {
                if self.rng.chance(0.3) {
                    self.write_one(who, entity);
                }
            }
        }
        for _ in 0..self.plan.entities / 40 {
            if let Some(entity) = self.any::<With<Hosted>>(SERVER) {
                self.write_one(SERVER, entity);
            }
        }
    }

    /// Writes what this app may write now; nothing if it may not.
    fn write_one(&mut self, who: Who, entity: Entity) {
        let world = self.world(who);
        let hosted = world.get::<Hosted>(entity).is_some();
        let authority = world.get::<Authority>(entity).copied();
        let right = match authority {
            // A server leaves alone what it lent.
            Some(Authority {
                holder: Holder::Peer(_),
                ..
            }) if hosted && who == SERVER => return,
            _ if hosted => Right::Host,
            Some(authority) => Right::Holder(authority.since),
            None => return,
        };
        self.mark(who, entity, right);
    }

    fn write_host(&mut self, who: Who, entity: Entity) {
        self.mark(who, entity, Right::Host);
    }

    fn mark(&mut self, who: Who, entity: Entity, right: Right) {
        let Some(name) = self.name(who, entity) else {
            return;
        };
        let number = self.oracle.trace.write(Write {
            who,
            entity: name,
            right,
        });
        self.world(who).entity_mut(entity).insert(Mark(number));
    }
}
