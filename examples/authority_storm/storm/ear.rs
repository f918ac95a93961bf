//! What a client hears of its view of one entity, beside what the view's changes call for.

use seamless_authority::AuthorityView::{self, Available, Denied, Granted, Releasing, Requested};

use super::setup::Note;

/// Counts of granted, denied, lost.
#[derive(Default)]
pub struct Ear {
    view: Option<AuthorityView>,
    despawned: bool,
    pub called_for: [u32; 3],
    pub heard: [u32; 3],
}

impl Ear {
    /// In the order in which it happened.
    pub fn hear(&mut self, note: Note) {
        match note {
            Note::View(view) => {
                let before = std::mem::replace(&mut self.view, view);
                let calls = call_for(before, view, !self.despawned);
                for (count, call) in self.called_for.iter_mut().zip(calls) {
                    *count += u32::from(call);
                }
            }
            Note::Despawned => self.despawned = true,
            Note::Granted => self.heard[0] += 1,
            Note::Denied => self.heard[1] += 1,
            Note::Lost => self.heard[2] += 1,
        }
    }

    /// Whether it heard what was called for.
    pub fn is_right(&self) -> bool {
        self.heard == self.called_for
    }
}

/// Which events a change of the view calls for: granted, denied, lost.
fn call_for(before: Option<AuthorityView>, after: Option<AuthorityView>, there: bool) -> [bool; 3] {
    let granted = after == Some(Granted) && before != Some(Granted);
    let lost = before == Some(Granted) && after != Some(Granted);
    let denied = match (before, after) {
        (Some(Requested { .. }), Some(Available | Denied | Releasing(_))) => true,
        (Some(Requested { .. }), None) => there,
        (Some(Granted | Releasing(_) | Denied), _) => false,
        (_, after) => after == Some(Denied),
    };
    [granted, denied, lost]
}
