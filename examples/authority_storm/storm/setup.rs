//! What the apps of a storm replicate, and what they write down of themselves.

use bevy::prelude::*;
use seamless_authority::{AuthorityDenied, AuthorityGranted, AuthorityLost, AuthorityView};
use seamless_replication::{Hosted, ReplicateAppExt};
use serde::{Deserialize, Serialize};

/// The number of the write that made it what it is. No two writes have the same.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark(pub u64);

/// Only the host writes it.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal(pub u32);

/// Never changes; sent again it would be noticed.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Ballast(pub String);

/// What a client's app did and heard, in the order in which it happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Note {
    /// The view became this, or is gone.
    View(Option<AuthorityView>),
    /// The entity goes, and its view with it.
    Despawned,
    /// An event.
    Granted,
    Denied,
    Lost,
}

/// Everything noted since it was taken last.
#[derive(Resource, Default)]
pub struct Notes(pub Vec<(Entity, Note)>);

/// Writes without authority that are to happen in this frame.
#[derive(Resource, Default)]
pub struct Rogue(pub Vec<(Entity, Mark)>);

pub fn setup(app: &mut App) {
    app.replicate::<Mark>();
    app.replicate::<Ballast>();
    let _ = app.replicate::<Seal>().host_only();
    app.init_resource::<Notes>()
        .init_resource::<Rogue>()
        .add_observer(
            |event: On<Insert, AuthorityView>,
             views: Query<&AuthorityView>,
             mut notes: ResMut<Notes>| {
                let view = views.get(event.entity).ok().copied();
                notes.0.push((event.entity, Note::View(view)));
            },
        )
        .add_observer(
            |event: On<Despawn, AuthorityView>, mut notes: ResMut<Notes>| {
                notes.0.push((event.entity, Note::Despawned));
            },
        )
        .add_observer(
            |event: On<Remove, AuthorityView>, mut notes: ResMut<Notes>| {
                notes.0.push((event.entity, Note::View(None)));
            },
        )
        .add_observer(|event: On<AuthorityGranted>, mut notes: ResMut<Notes>| {
            notes.0.push((event.entity, Note::Granted));
        })
        .add_observer(
            |event: On<AuthorityDenied>, own: Query<(), With<Hosted>>, mut notes: ResMut<Notes>| {
                // Of our own it means that a delegation was refused.
                if !own.contains(event.entity) {
                    notes.0.push((event.entity, Note::Denied));
                }
            },
        )
        .add_observer(|event: On<AuthorityLost>, mut notes: ResMut<Notes>| {
            notes.0.push((event.entity, Note::Lost));
        })
        .add_systems(FixedUpdate, write_rogue);
}

/// A game that does not ask.
fn write_rogue(mut rogue: ResMut<Rogue>, mut marks: Query<(&mut Mark, &AuthorityView)>) {
    for (entity, mark) in std::mem::take(&mut rogue.0) {
        if let Ok((mut place, AuthorityView::Available | AuthorityView::Denied)) =
            marks.get_mut(entity)
        {
            *place = mark;
        }
    }
}
