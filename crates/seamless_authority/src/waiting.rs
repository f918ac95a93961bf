//! Wishes of clients about entities whose first row has not arrived: the item rides in another
//! datagram than the row perhaps, and a large row in none.

use std::collections::BTreeMap;

use seamless_replication::{
    transport::LinkId,
    wire::{GlobalEntity, PeerId, Tick},
};

/// How long they wait, in seconds.
pub(crate) const WAITING_SECONDS: u32 = 2;

/// Wishes by the link they came over and the entity they are about. One for each entity.
pub(crate) struct Waiting<T> {
    of: BTreeMap<LinkId, BTreeMap<GlobalEntity, Wish<T>>>,
}

struct Wish<T> {
    what: T,
    peer: PeerId,
    /// When it is answered without the entity.
    deadline: Tick,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        let of = BTreeMap::new();
        Self { of }
    }
}

impl<T> Waiting<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Notes a wish, in the place of an earlier one about the same entity. False if `most` of that
    /// link wait already.
    pub(crate) fn push(
        &mut self,
        (link, peer): (LinkId, PeerId),
        entity: GlobalEntity,
        (what, deadline): (T, Tick),
        most: usize,
    ) -> bool {
        let wishes = self.of.entry(link).or_default();
        if let Some(wish) = wishes.get_mut(&entity) {
            wish.what = what;
            return true;
        }
        let room = wishes.len() < most;
        if room {
            let wish = Wish {
                what,
                peer,
                deadline,
            };
            wishes.insert(entity, wish);
        }
        room
    }

    /// Takes those whose entity `is_here` or whose time is up, of each link no more than it has
    /// `room` for answers. A look at each.
    pub(crate) fn take_due(
        &mut self,
        now: Tick,
        is_here: impl Fn(LinkId, PeerId, GlobalEntity) -> bool,
        room: impl Fn(LinkId) -> usize,
    ) -> Vec<(LinkId, PeerId, GlobalEntity, T)> {
        let mut due = Vec::new();
        for (&link, wishes) in &mut self.of {
            let is_due = |entity: &GlobalEntity, wish: &mut Wish<T>| {
                now >= wish.deadline || is_here(link, wish.peer, *entity)
            };
            let taken = wishes.extract_if(.., is_due);
            let taken = taken.take(room(link));
            due.extend(taken.map(|(entity, wish)| (link, wish.peer, entity, wish.what)));
        }
        self.of.retain(|_, wishes| !wishes.is_empty());
        due
    }

    /// Who wished is gone.
    pub(crate) fn link_lost(&mut self, link: LinkId) {
        self.of.remove(&link);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.of.values().map(BTreeMap::len).sum()
    }
}
