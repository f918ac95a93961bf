//! What authority over one entity comes to, in a few lines: the reference.

/// Clients by number.
pub const CLIENTS: usize = 4;

/// Who may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Nobody,
    Host,
    Client(usize),
}

/// Something that happens to an entity, or to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Request(usize),
    Release(usize),
    Write(usize),
    Give(usize),
    Take,
    Reset,
    Include(usize),
    Exclude(usize),
    Enable,
    Disable,
    /// Another one takes its place.
    Despawn,
    Disconnect(usize),
    Reconnect(usize),
}

/// An entity and who is there, without a network.
#[derive(Clone, Debug)]
pub struct Model {
    pub holder: Who,
    pub delegated: bool,
    /// How often it changed hands.
    pub changes: u32,
    pub linked: [bool; CLIENTS],
    pub sees: [bool; CLIENTS],
}

impl Default for Model {
    fn default() -> Self {
        Self {
            holder: Who::Nobody,
            delegated: true,
            changes: 0,
            linked: [true; CLIENTS],
            sees: [true; CLIENTS],
        }
    }
}

impl Model {
    fn hand_to(&mut self, who: Who) {
        if self.holder != who {
            self.holder = who;
            self.changes += 1;
        }
    }

    fn lost_by(&mut self, client: usize) {
        if self.holder == Who::Client(client) {
            self.hand_to(Who::Nobody);
        }
    }

    /// Whether a client is there and sees it.
    pub fn watched_by(&self, client: usize) -> bool {
        self.linked[client] && self.sees[client]
    }

    /// What happens if nothing else is under way.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Request(c) => {
                if self.delegated && self.watched_by(c) && self.holder == Who::Nobody {
                    self.hand_to(Who::Client(c));
                }
            }
            Op::Release(c) => self.lost_by(c),
            Op::Give(c) => {
                if self.delegated && self.watched_by(c) {
                    self.hand_to(Who::Client(c));
                }
            }
            Op::Take if self.delegated => self.hand_to(Who::Host),
            Op::Reset if self.delegated => self.hand_to(Who::Nobody),
            Op::Write(_) | Op::Take | Op::Reset => {}
            Op::Include(c) => self.sees[c] |= self.linked[c],
            Op::Exclude(c) => {
                if self.linked[c] {
                    self.sees[c] = false;
                    self.lost_by(c);
                }
            }
            Op::Enable => self.delegated = true,
            Op::Disable => {
                if self.delegated {
                    self.hand_to(Who::Nobody);
                    self.delegated = false;
                }
            }
            Op::Despawn => {
                *self = Self {
                    linked: self.linked,
                    sees: self.linked,
                    ..Self::default()
                };
            }
            Op::Disconnect(c) => {
                if self.linked[c] {
                    self.linked[c] = false;
                    self.sees[c] = false;
                    self.lost_by(c);
                }
            }
            Op::Reconnect(c) => {
                if !self.linked[c] {
                    self.linked[c] = true;
                    self.sees[c] = true;
                }
            }
        }
    }
}
