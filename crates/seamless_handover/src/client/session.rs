//! How a client gets a ticket.

use std::{net::SocketAddr, time::Duration};

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

/// Asks nodes over HTTP, one after the other, each on a thread of its own for the time of the
/// question.
#[cfg(feature = "http")]
pub struct HttpSession {
    nodes: Vec<SocketAddr>,
    next: usize,
    answer: Option<std::sync::mpsc::Receiver<SessionOutcome>>,
    patience: Duration,
}

#[cfg(feature = "http")]
impl HttpSession {
    /// Asks these nodes, beginning with the `first`th. Each has `patience` to answer.
    #[must_use]
    pub const fn new(nodes: Vec<SocketAddr>, first: usize, patience: Duration) -> Self {
        Self { nodes, next: first, answer: None, patience }
    }
}

#[cfg(feature = "http")]
impl SessionPort for HttpSession {
    fn ask(&mut self, player: PeerId) {
        if self.nodes.is_empty() {
            return;
        }
        let node = self.nodes[self.next % self.nodes.len()];
        self.next += 1;
        let patience = self.patience;
        let (send, receive) = std::sync::mpsc::channel();
        self.answer = Some(receive);
        std::thread::spawn(move || {
            // The asker may be gone by now; then nobody wants the answer.
            let _ = send.send(ask(node, player, patience));
        });
    }

    fn poll(&mut self) -> Option<SessionOutcome> {
        use std::sync::mpsc::TryRecvError;
        let outcome = match self.answer.as_ref()?.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                SessionOutcome::Unreachable("the question was dropped".into())
            }
        };
        self.answer = None;
        Some(outcome)
    }
}

#[cfg(feature = "http")]
fn ask(node: SocketAddr, player: PeerId, patience: Duration) -> SessionOutcome {
    use seamless_mesh::service::SessionAnswer;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        .build()
        .into();
    let answer = agent
        .post(format!("http://{node}/session"))
        .send_json(serde_json::json!({ "player": player.0 }))
        .and_then(|mut response| response.body_mut().read_json::<SessionAnswer>());
    match answer {
        Ok(answer) => answer.into(),
        Err(error) => SessionOutcome::Unreachable(format!("{node}: {error}")),
    }
}
