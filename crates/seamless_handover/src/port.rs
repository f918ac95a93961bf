//! The door between the ECS and the mesh: commands go out, events come in, nothing blocks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bevy::prelude::*;
use seamless_mesh::{
    link::{MeshLink, SendError},
    protocol::{MeshCommand, MeshEvent},
    ticket::TicketRefusal,
};
use seamless_replication::wire::ticket::{Purpose, Ticket};

/// Commands that are kept while the mesh's thread is behind. Checkpoints and questions are asked
/// again anyway; what may not be lost (a commit) is answered or the group stays frozen.
const MAX_WAITING: usize = 4096;

/// This app's node: the node service, or one of a simulated mesh.
#[derive(Resource, Clone)]
pub struct Mesh {
    link: Arc<dyn MeshLink>,
    waiting: Arc<Mutex<VecDeque<MeshCommand>>>,
}

impl Mesh {
    /// The node behind a link.
    #[must_use]
    pub fn new(link: impl MeshLink + 'static) -> Self {
        Self {
            link: Arc::new(link),
            waiting: Arc::default(),
        }
    }

    /// The link itself: status, clock.
    #[must_use]
    pub fn link(&self) -> &Arc<dyn MeshLink> {
        &self.link
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<MeshCommand>> {
        // A queue has no invariant that a panic elsewhere could have broken.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a command over, or keeps it until there is room, in order.
    pub fn send(&self, command: MeshCommand) {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            tracing::error!("the mesh's thread takes nothing; a command is dropped");
            return;
        }
        waiting.push_back(command);
        self.push(&mut waiting);
    }

    fn push(&self, waiting: &mut VecDeque<MeshCommand>) {
        while let Some(command) = waiting.pop_front() {
            match self.link.send(command) {
                Ok(()) => {}
                Err(SendError::Full(command)) => {
                    waiting.push_front(*command);
                    return;
                }
                Err(SendError::Stopped(_)) => waiting.clear(),
            }
        }
    }

    pub(crate) fn poll(&self) -> Vec<MeshEvent> {
        self.push(&mut self.waiting());
        self.link.poll()
    }

    pub(crate) fn redeem(&self, ticket: &Ticket) -> Result<Purpose, TicketRefusal> {
        self.link.redeem(ticket)
    }
}
