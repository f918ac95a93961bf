//! How a client gets a ticket.

use std::{net::SocketAddr, time::Duration};

#[cfg(feature = "http")]
use bevy::platform::cell::SyncCell;
use seamless_replication::wire::PeerId;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOutcome {
    /// Connect with this netcode token.
    Ticket {
        /// Where.
        address: SocketAddr,
        /// The token.
        token: Vec<u8>,
    },
    /// Not now: the player's node is dead, or it is on its way.
    Later(Duration),
    /// That node did not answer; another may.
    Unreachable(String),
    /// No, for good.
    Refused(String),
}

/// Where tickets come from: the mesh's `POST /session`, or a simulation.
pub trait SessionPort: Send + Sync + 'static {
    /// Begins to ask for a ticket. At most one question is open at a time.
    fn ask(&mut self, player: PeerId);

    /// The answer, once it is there.
    fn poll(&mut self) -> Option<SessionOutcome>;
}

/// Knocks at doors over HTTP, one after the other, each on a thread of its own for the time of the
/// knock. Doors that it hears of are remembered.
#[cfg(feature = "http")]
pub struct HttpSession {
    doors: Vec<SocketAddr>,
    next: usize,
    patience: Duration,
    credential: Option<String>,
    answer: Option<SyncCell<std::sync::mpsc::Receiver<(SessionOutcome, Vec<SocketAddr>)>>>,
}

/// Most doors that are remembered.
#[cfg(feature = "http")]
const MAX_DOORS: usize = 64;

#[cfg(feature = "http")]
impl HttpSession {
    /// Knocks at these doors, beginning with the `first`th. Each has `patience` to answer.
    #[must_use]
    pub const fn new(doors: Vec<SocketAddr>, first: usize, patience: Duration) -> Self {
        Self {
            doors,
            next: first,
            patience,
            credential: None,
            answer: None,
        }
    }

    /// Shows this at the door; what it means is between the game and its servers.
    #[must_use]
    pub fn with_credential(mut self, credential: impl Into<String>) -> Self {
        self.credential = Some(credential.into());
        self
    }
}

#[cfg(feature = "http")]
impl SessionPort for HttpSession {
    fn ask(&mut self, player: PeerId) {
        let (send, receive) = std::sync::mpsc::channel();
        self.answer = Some(SyncCell::new(receive));
        if self.doors.is_empty() {
            // The sender is dropped: nobody answers.
            return;
        }
        let door = self.doors[self.next % self.doors.len()];
        self.next += 1;
        let (patience, credential) = (self.patience, self.credential.clone());
        std::thread::spawn(move || {
            // The asker may be gone by now; then nobody wants the answer.
            let _ = send.send(knock(door, player, credential.as_deref(), patience));
        });
    }

    fn poll(&mut self) -> Option<SessionOutcome> {
        use std::sync::mpsc::TryRecvError;
        let (outcome, doors) = match self.answer.as_mut()?.get().try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => (
                SessionOutcome::Unreachable("the knock was dropped".into()),
                Vec::new(),
            ),
        };
        self.answer = None;
        for door in doors {
            if self.doors.len() < MAX_DOORS && !self.doors.contains(&door) {
                self.doors.push(door);
            }
        }
        Some(outcome)
    }
}

#[cfg(feature = "http")]
fn knock(
    door: SocketAddr,
    player: PeerId,
    credential: Option<&str>,
    patience: Duration,
) -> (SessionOutcome, Vec<SocketAddr>) {
    use seamless_mesh::service::{EnterError, enter};
    match enter(door, player, credential, patience) {
        Ok(offer) => (
            SessionOutcome::Ticket {
                address: offer.address,
                token: offer.token,
            },
            offer.doors,
        ),
        Err(EnterError::Retry { after, doors }) => (SessionOutcome::Later(after), doors),
        Err(EnterError::Refused(reason)) => (SessionOutcome::Refused(reason), Vec::new()),
        Err(error @ (EnterError::Unreachable { .. } | EnterError::Nonsense(_))) => {
            (SessionOutcome::Unreachable(error.to_string()), Vec::new())
        }
    }
}
