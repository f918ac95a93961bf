//! What the mesh thread, the HTTP servers and the game share.

use std::{
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use seamless_wire::NodeRef;

use super::{
    auth::{AuthError, Gate},
    clock::boot_clock,
    metrics::{FrozenTimes, HttpCounters},
};
use crate::{directory::Origin, link::MeshStatus, ticket::TicketDesk};

/// What the mesh thread, the HTTP servers and the game share.
pub(super) struct Shared {
    pub(super) configured: Option<[u8; 32]>,
    pub(super) secret: RwLock<Option<[u8; 32]>>,
    pub(super) me: RwLock<Option<NodeRef>>,
    pub(super) origin: AtomicI64,
    pub(super) in_mesh: AtomicBool,
    pub(super) fence: AtomicU64,
    pub(super) gate: Mutex<Gate>,
    pub(super) status: Mutex<MeshStatus>,
    pub(super) desk: TicketDesk,
    pub(super) http: HttpCounters,
    pub(super) frozen: FrozenTimes,
}

impl Shared {
    pub(super) fn new(configured: Option<[u8; 32]>, desk: TicketDesk) -> Self {
        Self {
            configured,
            secret: RwLock::default(),
            me: RwLock::default(),
            origin: AtomicI64::new(0),
            in_mesh: AtomicBool::new(false),
            fence: AtomicU64::new(0),
            gate: Mutex::default(),
            status: Mutex::default(),
            desk,
            http: HttpCounters::default(),
            frozen: FrozenTimes::default(),
        }
    }

    /// The key of the mesh, once we have one.
    pub(super) fn key(&self) -> Option<[u8; 32]> {
        self.configured
            .or_else(|| *self.secret.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn me(&self) -> Option<NodeRef> {
        *self.me.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MeshStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn doors(&self) -> Vec<SocketAddr> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status
            .nodes
            .iter()
            .map(|record| record.addresses.session)
            .collect()
    }

    pub(super) fn may_simulate(&self) -> bool {
        boot_clock().as_nanos() < u128::from(self.fence.load(Ordering::Acquire))
    }

    pub(super) fn mesh_now(&self) -> Duration {
        if self.in_mesh.load(Ordering::Acquire) {
            Origin(self.origin.load(Ordering::Acquire)).mesh_time(boot_clock())
        } else {
            Duration::ZERO
        }
    }

    pub(super) fn count_refusal(&self, error: AuthError) {
        match error {
            AuthError::Missing => self.http.unsigned.add(),
            AuthError::Malformed => self.http.malformed.add(),
            AuthError::Expired => self.http.expired.add(),
            AuthError::Wrong => self.http.wrong.add(),
            AuthError::Replayed => self.http.replayed.add(),
            AuthError::Full | AuthError::NotReady => self.http.busy.add(),
        }
    }

    pub(super) fn set_fence(&self, deadline: Duration) {
        let nanos = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        self.fence.store(nanos, Ordering::Release);
    }
}
