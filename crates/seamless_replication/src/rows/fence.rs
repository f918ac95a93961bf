//! The fence of a row, in a word.

use std::{ops::Deref, sync::Arc};

use seamless_wire::{Tenure, Term};

/// The fence of what nobody ever lent and no mesh hosts.
static PLAIN: Tenure = Tenure::plain(Term(0));

/// A [`Tenure`] that rows share: it changes seldom, and there are many rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Option<Arc<Tenure>>);

impl Fence {
    /// The fence with this tenure; `like` is shared if it has it.
    #[inline]
    pub(crate) fn new(tenure: &Tenure, like: Option<&Self>) -> Self {
        match like {
            Some(like) if **like == *tenure => like.clone(),
            _ if *tenure == PLAIN => Self(None),
            _ => Self(Some(Arc::new(*tenure))),
        }
    }

    /// Bytes that it takes elsewhere, at most: rows mostly share them.
    #[inline]
    pub(super) const fn heap_bytes(&self) -> usize {
        match self.0 {
            None => 0,
            // With two counters.
            Some(_) => size_of::<Tenure>() + 2 * size_of::<usize>(),
        }
    }
}

impl Deref for Fence {
    type Target = Tenure;

    #[inline]
    fn deref(&self) -> &Tenure {
        self.0.as_deref().unwrap_or(&PLAIN)
    }
}

impl PartialEq for Fence {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

impl Eq for Fence {}
