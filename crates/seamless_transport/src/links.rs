//! All links of an app.

use std::collections::VecDeque;

use bevy::prelude::*;

use crate::{CloseReason, Link, LinkId, tap::TapConfig};

/// All links of an app, whatever carries them: a dense table in the order of ids.
#[derive(Resource, Debug, Default)]
pub struct Links {
    slots: Vec<Slot>,
    /// Free slots, the longest unused first, so that generations rise slowly.
    free: VecDeque<u16>,
    tap: TapConfig,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u16,
    link: Option<Box<Link>>,
}

impl Links {
    /// The links in the order of their ids: the same for equal histories.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(|slot| slot.link.as_deref())
    }

    /// The links in the order of their ids, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.link.as_deref_mut())
    }

    /// A link, if it is still there. O(1).
    #[must_use]
    pub fn get(&self, id: LinkId) -> Option<&Link> {
        let slot = self.slots.get(usize::from(id.index))?;
        slot.link
            .as_deref()
            .filter(|_| slot.generation == id.generation)
    }

    /// A link to be changed, if it is still there. O(1).
    #[must_use]
    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let slot = self.slots.get_mut(usize::from(id.index))?;
        let current = slot.generation == id.generation;
        slot.link.as_deref_mut().filter(|_| current)
    }

    /// Number of links, closed ones that can still be read included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Notes what passes links from now on, or nothing any more. Whoever asks for it takes what was
    /// noted with [`Link::take_tapped`], once a frame; what was not taken yet is gone.
    pub fn set_tap(&mut self, config: TapConfig) {
        self.tap = config;
        for link in self.iter_mut() {
            link.set_tap(config);
        }
    }

    /// What of them is noted.
    #[must_use]
    pub const fn tap(&self) -> TapConfig {
        self.tap
    }

    /// Closes all links, see [`Link::close`].
    pub fn close_all(&mut self, reason: CloseReason) {
        self.iter_mut().for_each(|link| link.close(reason));
    }

    /// Adds a link. `None` if all 65,536 slots are in use or used up.
    pub(crate) fn insert(&mut self, make: impl FnOnce(LinkId) -> Link) -> Option<LinkId> {
        let index = match self.free.pop_front() {
            Some(index) => index,
            None => {
                let index = u16::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                index
            }
        };
        let slot = &mut self.slots[usize::from(index)];
        let id = LinkId {
            index,
            generation: slot.generation,
        };
        let mut link = Box::new(make(id));
        link.set_tap(self.tap);
        slot.link = Some(link);
        Some(id)
    }

    /// Frees the slots of links that closed a tick ago. Call once, at the end of a tick.
    pub(crate) fn sweep(&mut self) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if !slot.link.as_mut().is_some_and(|link| link.decay()) {
                continue;
            }
            slot.link = None;
            // A slot without a next generation is never used again.
            if let Some(next) = slot.generation.checked_add(1) {
                slot.generation = next;
                self.free.push_back(index as u16);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{LinkState, PeerAddress, TransportConfig, carrier::CarrierKind, link::Peer};

    fn add(links: &mut Links) -> LinkId {
        let peer = Peer {
            carrier: CarrierKind::MemoryServer,
            address: PeerAddress::Memory(1),
            netcode_id: 1,
            user_data: None,
        };
        let config = TransportConfig::default();
        links
            .insert(|id| Link::new(id, peer, &config, Duration::ZERO))
            .unwrap()
    }

    #[test]
    fn an_id_is_never_used_again() {
        let mut links = Links::default();
        let first = add(&mut links);
        links.get_mut(first).unwrap().finish(CloseReason::ByPeer);
        links.sweep();
        let closed = LinkState::Closed(CloseReason::ByPeer);
        assert_eq!(links.get(first).unwrap().state(), closed);
        links.sweep();
        assert!(links.get(first).is_none());
        let second = add(&mut links);
        assert_eq!((second.index, second.generation), (first.index, 1));
        assert!(links.get_mut(first).is_none());
    }

    #[test]
    fn a_slot_retires_with_its_last_generation() {
        let mut links = Links::default();
        add(&mut links);
        links.slots[0].generation = u16::MAX;
        links
            .iter_mut()
            .for_each(|link| link.finish(CloseReason::ByPeer));
        links.sweep();
        links.sweep();
        assert!(links.is_empty());
        assert_eq!(add(&mut links).index, 1);
    }

    #[test]
    fn links_come_in_the_order_of_their_ids() {
        let mut links = Links::default();
        let ids: Vec<_> = (0..5).map(|_| add(&mut links)).collect();
        links.get_mut(ids[1]).unwrap().finish(CloseReason::ByPeer);
        links.sweep();
        links.sweep();
        add(&mut links);
        let order: Vec<_> = links.iter().map(|link| link.id()).collect();
        assert!(order.is_sorted());
        assert_eq!(links.len(), 5);
    }
}
