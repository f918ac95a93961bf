//! What else is said of a component that is replicated.

use bevy::{
    ecs::{
        component::StorageType,
        lifecycle::{Add, Remove},
        query::ArchetypeFilter,
    },
    prelude::*,
};

use super::{Audience, Registered, builder, condition::Condition};

/// Options of the component that was registered last. [`app`](Self::app) goes on to the next.
pub struct Rule<'a> {
    app: &'a mut App,
    id: u64,
}

impl<'a> Rule<'a> {
    pub(super) const fn new(app: &'a mut App, id: u64) -> Self {
        Self { app, id }
    }

    pub(super) fn resource(self) -> Self {
        self.edit(|c| {
            c.is_resource = true;
            c.descriptor.host_only = true;
        })
    }

    /// Only the host writes it, also while a client holds the entity: a crate's durability, a
    /// door's lock.
    #[must_use]
    pub fn host_only(self) -> Self {
        self.edit(|c| c.descriptor.host_only = true)
    }

    /// How much a change of it matters when there is not room for everything. 1 by default; at least
    /// 1/64 and at most 1024, so that nothing is forgotten. Of an entity's replicated components the
    /// heaviest counts, whichever of them changed: for what matters less than other entities, all of
    /// them must weigh less.
    #[must_use]
    pub fn priority(self, weight: f32) -> Self {
        const LEAST: f32 = 1.0 / 64.0;
        let weight = if weight.is_nan() { LEAST } else { weight };
        self.edit(|c| c.priority = weight.clamp(LEAST, 1024.0))
    }

    /// The peers are told the first value that the host collects of an entity, and no later one:
    /// a name, a seed, a kind. Who joins later is told the first value too. One that was removed
    /// is told anew when it comes back in a later tick, and one that a
    /// [snapshot](crate::snapshot) was loaded over. Entities that it refers to must be on the
    /// network before it.
    ///
    /// Implies [`host_only`](Self::host_only). Another host begins with the value that it has. A
    /// write costs as much as that of any other component, and no bytes.
    ///
    /// # Panics
    /// If it is stored in a sparse set.
    #[must_use]
    pub fn once(self) -> Self {
        self.edit(|c| {
            assert_ne!(
                c.storage,
                StorageType::SparseSet,
                "\"{}\" is in a sparse set and cannot be told once",
                c.descriptor.path
            );
            c.once = true;
            c.descriptor.host_only = true;
        })
    }

    /// What this app shows of it on entities of others is this app's own matter once it was told:
    /// for components that the game predicts or smooths in place. The audit compares only what is
    /// kept, not what is shown ([`audit_world`](crate::ReplicationConfig::audit_world)). Not part
    /// of the schema.
    #[must_use]
    pub fn unaudited(self) -> Self {
        self.edit(|c| c.unaudited = true)
    }

    /// Only clients of an audience are told of it: the owner, a team, whomever a function names. The
    /// others see the entity without it, and none of its values goes over their links. That it changed can be
    /// seen from when they are told of the entity: what must not be known at all belongs on an entity that
    /// they do not see.
    /// [`except_component`](crate::interest::PeerInterest::except_component) lets single clients
    /// in or leaves them out, entity by entity, while the app runs.
    ///
    /// The server asks when the entity comes into a client's sight, when its row begins to have
    /// the component, when it gets another holder, owner or other scopes, and when a client
    /// changes scopes; audiences that look at the entity also when one of its replicated
    /// components changes. [`Slots::ask_again`](crate::Slots::ask_again) is for anything else. A
    /// client that holds the entity keeps what it may write.
    ///
    /// It is the server's business, and no part of the schema. Clients tell their server all.
    ///
    /// Cost: nothing for components, entities and links without such a rule. Clients from whom
    /// the same is hidden share what is encoded. A change of the verdict costs one whole record.
    #[must_use]
    pub fn visible_to(self, audience: Audience) -> Self {
        self.edit(|c| c.audience = Some(audience))
    }

    /// Only on entities that match `F`: `With<T>`, `Without<T>`, `Or<..>` and tuples of them. The
    /// peers lose the component when the entity stops to match. With several of them, all must
    /// hold.
    ///
    /// It is the host's business: no part of the schema, and peers need not know what `F` names. A
    /// holder tells all that it may write, also where its copy does not match; add
    /// [`host_only`](Self::host_only) where that is not wanted. Snapshots and handovers keep the
    /// component whether it matches or not.
    ///
    /// Cost: one look per archetype, and a row from scratch when an entity gets or loses a
    /// component that `F` names. If one of those is stored in a sparse set, entities with this
    /// component are looked at one by one.
    #[must_use]
    pub fn when<F>(self) -> Self
    where
        F: ArchetypeFilter + 'static,
        F::State: 'static,
    {
        let condition = Condition::new::<F>(self.app.world_mut());
        for &id in &condition.reads {
            if builder(self.app).watched.insert(id) {
                let world = self.app.world_mut();
                world.spawn(Observer::new(crate::collect::touch::<Add>).with_component(id));
                world.spawn(Observer::new(crate::collect::touch::<Remove>).with_component(id));
            }
        }
        self.edit(|c| c.conditions.push(condition))
    }

    /// Back to the app.
    pub fn app(self) -> &'a mut App {
        self.app
    }

    fn edit(self, change: impl FnOnce(&mut Registered)) -> Self {
        if let Some(entry) = builder(self.app).components.get_mut(&self.id) {
            change(entry);
        }
        self
    }
}
