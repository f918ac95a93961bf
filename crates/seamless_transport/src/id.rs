//! The name of a link inside one app.

use std::fmt;

/// Names a link in this app's [`Links`](crate::Links) table.
///
/// Never sent anywhere and never reused: a slot that is used again has a higher generation, and a
/// slot whose generations are used up stays empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// Slot in the table.
    pub index: u16,
    /// How often the slot was used before.
    pub generation: u16,
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}v{}", self.index, self.generation)
    }
}
