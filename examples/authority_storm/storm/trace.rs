//! Every write by its number: who made it, and by what right.

use std::collections::BTreeMap;

use seamless_replication::wire::{Epoch, GlobalEntity};

/// Which app: 0 is the server, the others are clients by their seats.
pub type Who = usize;

/// The server.
pub const SERVER: Who = 0;

/// By what right somebody wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// The writer hosts the entity.
    Host,
    /// It is lent to the writer, since this epoch.
    Holder(Epoch),
    /// None at all.
    None,
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub who: Who,
    pub entity: GlobalEntity,
    pub right: Right,
}

/// All writes, by number.
#[derive(Default)]
pub struct Trace {
    all: Vec<Write>,
    of: BTreeMap<GlobalEntity, Vec<u64>>,
}

impl Trace {
    /// Notes a write and gives its number.
    pub fn write(&mut self, write: Write) -> u64 {
        self.all.push(write);
        let number = self.all.len() as u64;
        self.of.entry(write.entity).or_default().push(number);
        number
    }

    pub fn get(&self, number: u64) -> Option<&Write> {
        self.all.get(number.checked_sub(1)? as usize)
    }

    /// The last write of an entity that `is` what is looked for.
    pub fn last(&self, entity: GlobalEntity, is: impl Fn(&Write) -> bool) -> Option<u64> {
        let mut of = self.of.get(&entity)?.iter().rev().copied();
        of.find(|number| self.get(*number).is_some_and(&is))
    }
}
