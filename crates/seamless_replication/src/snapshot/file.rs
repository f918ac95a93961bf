//! Worlds in files.

use std::path::Path;

use bevy::prelude::*;
use seamless_wire::{
    GlobalEntity, WireError,
    schema::ComponentDescriptor,
    snapshot::{FileHead, FilePiece, WorldSnapshot, digest},
};

use super::{
    FileOptions, LoadError, SaveError, StagedSnapshot, atomic,
    read::{ReadError, read},
    stage, take_snapshot,
};
use crate::{
    Role,
    clock::NetClock,
    registry::{Registered, Registry},
    slots::Slots,
};

/// Fewest bytes of a piece, so that the list of them fits the head.
const MIN_PIECE: usize = 4 << 10;

/// What goes into a file.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All entities that this app hosts and that have a name, in the order of their names. Not what
    /// clients host: that is theirs to bring back.
    Hosted,
    /// These, in this order. Those without a name are left out.
    Entities(&'a [Entity]),
}

/// A world outside an app: what is written to a file or was read from one.
///
/// [`take`](Self::take) and [`StagedSnapshot::spawn`] need the world; everything between them can
/// be done on another thread.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedWorld {
    /// The rows.
    pub snapshot: WorldSnapshot,
    /// Ticks per second of the writer.
    pub tick_rate: u16,
    /// The first name that the writer had not given to anything yet.
    pub free_name: Option<GlobalEntity>,
    /// Components that the writer replicated.
    pub components: Vec<ComponentDescriptor>,
    /// Components that it only kept.
    pub kept: Vec<ComponentDescriptor>,
}

impl SavedWorld {
    /// Takes it from a world, as of the end of the newest tick. Costs a copy of every component.
    ///
    /// # Errors
    /// [`WireError`] if a component refuses to be encoded.
    pub fn take(world: &World, scope: Scope<'_>) -> Result<Self, WireError> {
        let registry = world.resource::<Registry>();
        let describe = |list: &[Registered]| list.iter().map(|c| c.descriptor.clone()).collect();
        let hosted;
        let entities = match scope {
            Scope::Entities(entities) => entities,
            Scope::Hosted => {
                hosted = hosted_entities(world.resource::<Slots>());
                &hosted
            }
        };
        Ok(Self {
            snapshot: take_snapshot(world, entities)?,
            tick_rate: world.resource::<NetClock>().rate(),
            free_name: world.resource::<Slots>().names.peek(),
            components: describe(registry.components()),
            kept: describe(registry.kept()),
        })
    }

    /// Writes it to a file and waits until it is on the disk: into a new file beside it, which then
    /// takes its place. So a crash leaves the former file or this one, whole. Gives the length.
    ///
    /// # Errors
    /// [`SaveError`]; the former file is still there then.
    pub fn write(&self, path: impl AsRef<Path>, options: &FileOptions) -> Result<u64, SaveError> {
        let path = path.as_ref();
        let chunks = self
            .snapshot
            .into_chunks(options.piece_bytes.max(MIN_PIECE), &*options.compressor)?;
        let first = chunks.first().expect("a snapshot has a head");
        let pieces = chunks.iter().map(|chunk| FilePiece {
            bytes: chunk.payload.len() as u32,
            digest: digest(&chunk.payload),
        });
        let head = FileHead {
            tick: self.snapshot.tick,
            tick_rate: self.tick_rate,
            free_name: self.free_name,
            schema: self.snapshot.schema,
            components: self.components.clone(),
            kept: self.kept.clone(),
            entities: self.snapshot.rows.len() as u32,
            total: first.total,
            digest: first.digest,
            compressor: first.compressor,
            dictionary: first.dictionary,
            pieces: pieces.collect(),
        };
        let head = head.to_bytes()?;
        let parts = std::iter::once(&head[..]).chain(chunks.iter().map(|c| &c.payload[..]));
        atomic::write(path, parts).map_err(|source| SaveError::Io {
            path: path.into(),
            source,
        })
    }

    /// Reads a file. Takes memory in proportion to what comes out of it, at most twice
    /// [`FileOptions::max_bytes`], whatever its head claims.
    ///
    /// # Errors
    /// [`LoadError`] but for its last two.
    pub fn read(path: impl AsRef<Path>, options: &FileOptions) -> Result<Self, LoadError> {
        let path = path.as_ref();
        read(path, options).map_err(|error| match error {
            ReadError::Io(source) => LoadError::Io {
                path: path.into(),
                source,
            },
            ReadError::File(error) => LoadError::File {
                path: path.into(),
                error,
            },
        })
    }

    /// Decodes it for an app that registered the same components, or more.
    ///
    /// # Errors
    /// [`LoadError::Schema`] if one in it is not registered here or coded in another way,
    /// [`LoadError::Value`] if a value does not decode.
    pub fn stage(&self, registry: &Registry) -> Result<StagedSnapshot, LoadError> {
        let differences = self.differences(registry);
        if !differences.is_empty() {
            return Err(LoadError::Schema(differences));
        }
        let mut staged = stage(registry, &self.snapshot)?;
        staged.free_name = self.free_name;
        Ok(staged)
    }

    /// What of the components in its rows is otherwise here, in words.
    fn differences(&self, registry: &Registry) -> Vec<String> {
        let mut used: Vec<u64> = self
            .snapshot
            .rows
            .iter()
            .flat_map(|row| row.components.iter().map(|(id, _)| *id))
            .collect();
        used.sort_unstable();
        used.dedup();
        let described = |id| {
            let all = self.components.iter().chain(&self.kept);
            all.into_iter().find(|there| there.id == id)
        };
        let compare = |id: u64| match (described(id), registry.by_hash(id)) {
            (None, _) => Some(format!("{id:#018x} is in its rows and not described")),
            (Some(there), None) => Some(format!("\"{}\" is not registered here", there.path)),
            (Some(there), Some(here)) => (here.descriptor.codec != there.codec).then(|| {
                let (path, here) = (&there.path, &here.descriptor.codec);
                format!(
                    "\"{path}\" is \"{here}\" here and \"{}\" there",
                    there.codec
                )
            }),
        };
        used.into_iter().filter_map(compare).collect()
    }
}

/// Saves a world: [`SavedWorld::take`] and [`SavedWorld::write`]. Gives the length of the file.
///
/// # Errors
/// [`SaveError`]; the former file is still there then.
pub fn save_snapshot(
    world: &World,
    scope: Scope<'_>,
    path: impl AsRef<Path>,
    options: &FileOptions,
) -> Result<u64, SaveError> {
    SavedWorld::take(world, scope)?.write(path, options)
}

/// Reads a file and decodes all of it: [`SavedWorld::read`] and [`SavedWorld::stage`]. What comes
/// out is put into a world with [`StagedSnapshot::spawn`], which cannot fail.
///
/// # Errors
/// [`LoadError`].
pub fn load_snapshot(
    registry: &Registry,
    path: impl AsRef<Path>,
    options: &FileOptions,
) -> Result<StagedSnapshot, LoadError> {
    SavedWorld::read(path, options)?.stage(registry)
}

/// In the order of their names, so that the same world gives the same file.
fn hosted_entities(slots: &Slots) -> Vec<Entity> {
    let hosted = slots.iter().filter(|(_, slot)| slot.role() == Role::Host);
    let mut named: Vec<_> = hosted
        .filter_map(|(_, slot)| Some((slot.global()?, slot.entity)))
        .collect();
    named.sort_unstable_by_key(|(name, _)| *name);
    named.into_iter().map(|(_, entity)| entity).collect()
}
