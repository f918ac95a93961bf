//! What operations do to a server's world.

use bevy::{
    ecs::{component::Mutable, entity_disabling::Disabled},
    prelude::*,
};
use seamless_replication::{
    NetSlot, Replicated,
    interest::{ToolScopeId, ToolScopes, View},
};

use super::{Kind, Look, Op, Secret, Value, oracle::SIGHT, run::Run};
use crate::common::{Health, Label, Place, Stunned, Target};

impl Run {
    pub fn happen(&mut self, op: &Op) {
        match op {
            Op::Spawn(n, values) => {
                let world = self.cluster.world(self.server);
                let mut entity = world.spawn(Replicated);
                for value in values {
                    insert(&mut entity, value);
                }
                self.entities.insert(*n, entity.id());
            }
            Op::Except(client, n, shown) => {
                if let Some(entity) = self.alive(*n) {
                    self.except(*client, entity, *shown);
                }
            }
            Op::Subscribe(client, scope, enter) => {
                self.interest(*client, |interest| {
                    if *enter {
                        interest.subscribe(ToolScopeId(*scope));
                    } else {
                        interest.unsubscribe(ToolScopeId(*scope));
                    }
                });
            }
            Op::Look(client, look) => self.look(*client, *look),
            Op::Move(n, by) => {
                self.motion.insert(*n, Vec3::from_array(*by));
            }
            Op::Despawn(n)
            | Op::Insert(n, _)
            | Op::Remove(n, _)
            | Op::Touch(n)
            | Op::Parent(n, _)
            | Op::Target(n, _)
            | Op::Scopes(n, _)
            | Op::Disable(n, _) => {
                if let Some(entity) = self.alive(*n) {
                    self.change(entity, op);
                }
            }
        }
    }

    fn change(&mut self, entity: Entity, op: &Op) {
        let other = match op {
            Op::Parent(_, Some(parent)) => self.alive(*parent),
            // Dead ones too.
            Op::Target(_, target) => self.entities.get(target).copied(),
            _ => None,
        };
        let mut entity = self.cluster.world(self.server).entity_mut(entity);
        match (op, other) {
            (Op::Despawn(_), _) => entity.despawn(),
            (Op::Insert(_, value), _) => insert(&mut entity, value),
            (Op::Remove(_, kind), _) => remove(&mut entity, *kind),
            (Op::Touch(_), _) => touch(&mut entity),
            (Op::Parent(_, Some(_)), Some(parent)) => drop(entity.insert(ChildOf(parent))),
            (Op::Parent(_, None), _) => drop(entity.remove::<ChildOf>()),
            (Op::Target(..), Some(target)) => drop(entity.insert(Target(target))),
            (Op::Scopes(_, scopes), _) => {
                let scopes = scopes.iter().map(|scope| ToolScopeId(*scope)).collect();
                entity.insert(ToolScopes(scopes));
            }
            (Op::Disable(_, true), _) => drop(entity.insert(Disabled)),
            (Op::Disable(_, false), _) => drop(entity.remove::<Disabled>()),
            _ => {}
        }
    }

    fn except(&mut self, client: usize, entity: Entity, shown: Option<bool>) {
        let world = self.cluster.world(self.server);
        let slot = *world.get::<NetSlot>(entity).expect("it is replicated");
        if self.interest(client, |interest| interest.except(&slot, shown)) {
            match shown {
                Some(shown) => self.exceptions[client].insert(entity, shown),
                None => self.exceptions[client].remove(&entity),
            };
        }
    }

    pub(super) fn look(&mut self, client: usize, look: Look) {
        let view = match look {
            Look::Everything => View::Everything,
            Look::Nothing => View::Nothing,
            Look::At(x, z) => View::At(Vec3::new(x, 0.0, z), SIGHT),
            Look::Around(n) => match self.alive(n) {
                Some(entity) => View::Around(entity, SIGHT),
                None => return,
            },
        };
        self.interest(client, |interest| interest.set_view(view));
    }
}

fn insert(entity: &mut EntityWorldMut<'_>, value: &Value) {
    match value {
        Value::Place([x, y, z]) => entity.insert(Place(*x, *y, *z)),
        Value::Label(letter, len) => entity.insert(Label(letter.to_string().repeat(*len))),
        Value::Health(health) => entity.insert(Health(*health)),
        Value::Stunned(by) => entity.insert(Stunned(*by)),
        Value::Secret(secret) => entity.insert(Secret(*secret)),
        Value::Transform(at, [yaw, pitch]) => entity.insert(
            Transform::from_translation(Vec3::from_array(*at))
                .with_rotation(Quat::from_rotation_y(*yaw) * Quat::from_rotation_x(*pitch)),
        ),
    };
}

fn remove(entity: &mut EntityWorldMut<'_>, kind: Kind) {
    match kind {
        Kind::Label => entity.remove::<Label>(),
        Kind::Health => entity.remove::<Health>(),
        Kind::Stunned => entity.remove::<Stunned>(),
        Kind::Transform => entity.remove::<Transform>(),
        Kind::Target => entity.remove::<Target>(),
        Kind::Secret => entity.remove::<Secret>(),
    };
}

fn touch(entity: &mut EntityWorldMut<'_>) {
    fn one<C: Component<Mutability = Mutable>>(entity: &mut EntityWorldMut<'_>) {
        if let Some(mut component) = entity.get_mut::<C>() {
            component.set_changed();
        }
    }
    one::<Place>(entity);
    one::<Label>(entity);
    one::<Health>(entity);
    one::<Stunned>(entity);
    one::<Transform>(entity);
    one::<Target>(entity);
    one::<Secret>(entity);
}
