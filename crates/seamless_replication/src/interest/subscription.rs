//! Scopes that clients ask for: what a client wants, and what its server allows.

use std::collections::BTreeSet;

use bevy::prelude::*;
use seamless_transport::LinkSide;
use seamless_wire::{
    PeerId,
    control::{Control, Subscription},
};

use super::ToolScopeId;
use crate::peer::{Peer, PeerState, Peers};

/// Most scopes in one item: five bytes each, and room for the rest of it.
const SCOPES_PER_ITEM: usize = 40;

/// What decides.
type Allow = dyn Fn(&World, PeerId, ToolScopeId) -> bool + Send + Sync;

/// Which scopes a server lets clients enter on their own ([`Subscriptions`]).
///
/// By default none: who is in a scope sees what is in it, so the scope of a team or of a room is
/// the server's to give ([`PeerInterest::subscribe`](super::PeerInterest::subscribe)). Open are
/// scopes that hold nothing a player must not know: a map layer, a tool.
#[derive(Resource)]
pub struct ScopePolicy {
    allow: Box<Allow>,
}

impl Default for ScopePolicy {
    fn default() -> Self {
        Self::new(|_, _, _| false)
    }
}

impl ScopePolicy {
    /// Decides with `allow(world, client, scope)`, asked once whenever a client wants to enter.
    #[must_use]
    pub fn new(
        allow: impl Fn(&World, PeerId, ToolScopeId) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            allow: Box::new(allow),
        }
    }

    /// Lets everybody enter these scopes and no others.
    #[must_use]
    pub fn open(scopes: impl IntoIterator<Item = ToolScopeId>) -> Self {
        let open: BTreeSet<ToolScopeId> = scopes.into_iter().collect();
        Self::new(move |_, _, scope| open.contains(&scope))
    }
}

/// Server: a client wants to enter and leave scopes. It leaves only those that it entered on its
/// own.
pub(crate) fn hear(world: &World, peer: &mut Peer, client: PeerId, wish: Subscription) {
    let policy = world.resource::<ScopePolicy>();
    for scope in wish.enter.into_iter().map(ToolScopeId) {
        let entered = (policy.allow)(world, client, scope) && peer.interest.choose(scope);
        if !entered {
            peer.receiver.counters.refused_scopes += 1;
        }
    }
    for scope in wish.leave.into_iter().map(ToolScopeId) {
        peer.interest.unchoose(scope);
    }
}

/// Client: the scopes it asks for, of every server that it is linked to, also after a handover.
///
/// A server honours what its [`ScopePolicy`] allows. What it puts the client in by itself does not
/// stand here.
///
/// ```
/// # use bevy::prelude::*;
/// # use seamless_replication::interest::{Subscriptions, ToolScopeId};
/// const RADAR: ToolScopeId = ToolScopeId(3);
///
/// fn toggle_radar(mut subscriptions: ResMut<Subscriptions>) {
///     if !subscriptions.leave(RADAR) {
///         subscriptions.enter(RADAR);
///     }
/// }
/// ```
#[derive(Resource, Clone, Default, Debug, PartialEq, Eq)]
pub struct Subscriptions(BTreeSet<ToolScopeId>);

impl Subscriptions {
    /// Asks to be told of what is in a scope. False if that was asked already.
    pub fn enter(&mut self, scope: ToolScopeId) -> bool {
        self.0.insert(scope)
    }

    /// Does not want to be told of it any more. False if it was not asked for.
    pub fn leave(&mut self, scope: ToolScopeId) -> bool {
        self.0.remove(&scope)
    }

    /// Whether a scope is asked for.
    #[must_use]
    pub fn contains(&self, scope: ToolScopeId) -> bool {
        self.0.contains(&scope)
    }

    /// The scopes that are asked for, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ToolScopeId> + '_ {
        self.0.iter().copied()
    }
}

/// What a server was told of them.
#[derive(Default, Debug)]
pub(crate) struct ToldScopes {
    scopes: BTreeSet<ToolScopeId>,
    /// Whether all of it is queued.
    done: bool,
}

impl ToldScopes {
    /// What is wanted may have changed while nobody could be told.
    pub(crate) const fn look_again(&mut self) {
        self.done = false;
    }
}

/// Client: tells servers what changed, and new ones everything. Once a tick, a look at each link.
pub(crate) fn tell_servers(mut peers: ResMut<Peers>, wanted: Res<Subscriptions>) {
    for peer in peers
        .iter_mut()
        .filter(|peer| peer.side == LinkSide::ToServer && peer.state == PeerState::Ready)
    {
        if wanted.is_changed() || !peer.told_scopes.done {
            tell(peer, &wanted.0);
        }
    }
}

/// Brings a server to what is wanted. What there is no room for now is told in a later tick; what
/// was told twice does no harm.
fn tell(peer: &mut Peer, wanted: &BTreeSet<ToolScopeId>) {
    peer.told_scopes.done = false;
    let told = &peer.told_scopes.scopes;
    let part = |from: &BTreeSet<ToolScopeId>, without: &BTreeSet<ToolScopeId>| -> Vec<u32> {
        from.difference(without).map(|scope| scope.0).collect()
    };
    let (leave, enter) = (part(told, wanted), part(wanted, told));
    let leaving = leave.chunks(SCOPES_PER_ITEM).map(|leave| Subscription {
        leave: leave.to_vec(),
        enter: Vec::new(),
    });
    let entering = enter.chunks(SCOPES_PER_ITEM).map(|enter| Subscription {
        enter: enter.to_vec(),
        leave: Vec::new(),
    });
    for wish in leaving.chain(entering) {
        if peer.send_control(&Control::Subscribe(wish)).is_err() {
            return;
        }
    }
    peer.told_scopes.scopes.clone_from(wanted);
    peer.told_scopes.done = true;
}
