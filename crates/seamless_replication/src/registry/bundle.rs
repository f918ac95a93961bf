//! Components that are replicated together or not at all.

use bevy::{ecs::query::ArchetypeFilter, prelude::*, reflect::TypePath};
use serde::{Serialize, de::DeserializeOwned};

use super::ReplicateAppExt;

/// A tuple of two to eight serde components for
/// [`replicate_bundle`](ReplicateAppExt::replicate_bundle).
pub trait ReplicatedBundle {
    /// Registers each component for entities that have all of them.
    fn register(app: &mut App);
}

/// One component of a bundle whose entities match `F`.
fn part<C, F>(app: &mut App)
where
    C: Component + TypePath + Serialize + DeserializeOwned,
    F: ArchetypeFilter + 'static,
    F::State: 'static,
{
    let _ = app.replicate::<C>().when::<F>();
}

macro_rules! replicated_bundle {
    ($($component:ident),+) => {
        replicated_bundle!(@with [$($component),+] ($(With<$component>,)+));
    };
    (@with [$($component:ident),+] $all:tt) => {
        impl<$($component),+> ReplicatedBundle for ($($component,)+)
        where
            $($component: Component + TypePath + Serialize + DeserializeOwned,)+
        {
            fn register(app: &mut App) {
                $(part::<$component, $all>(app);)+
            }
        }
    };
}

replicated_bundle!(A, B);
replicated_bundle!(A, B, C);
replicated_bundle!(A, B, C, D);
replicated_bundle!(A, B, C, D, E);
replicated_bundle!(A, B, C, D, E, F);
replicated_bundle!(A, B, C, D, E, F, G);
replicated_bundle!(A, B, C, D, E, F, G, H);
