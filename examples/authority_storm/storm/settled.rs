//! What must be so once the network has become quiet.

use bevy::prelude::*;
use seamless_authority::{AuthorityView, Granted, Published};
use seamless_replication::{
    Authority, Hosted, NetSlot, Peers, Remote, Slots,
    wire::{GlobalEntity, Holder, Tenure},
};

use super::{
    Ballast, Mark, Seal, Storm,
    trace::{SERVER, Who},
};

/// Frames within which everything must come to rest.
const PATIENCE: usize = 600;

/// Frames for which it must stay so.
const STAYS: usize = 15;

/// All that an app shows of an entity.
#[derive(Clone, PartialEq, Debug)]
struct Whole {
    tenure: Tenure,
    mark: Option<Mark>,
    seal: Option<Seal>,
    ballast: Option<Ballast>,
}

impl Storm {
    /// Lets everybody come back and everything come to rest, and looks at it.
    pub fn settle(&mut self) {
        self.gather();
        // Once more if something happened by itself meanwhile: a link that was lost ends when it has
        // been silent long enough.
        for _ in 0..2 {
            for _ in 0..PATIENCE {
                self.step();
                if self.unsettled().is_empty() {
                    break;
                }
            }
            for _ in 0..STAYS {
                self.step();
            }
            if self.unsettled().is_empty() {
                break;
            }
        }
        let frame = self.cluster.frames();
        for what in self.unsettled() {
            self.oracle.violate(format!("{frame}: settled, but {what}"));
        }
        for who in 1..self.seats.len() {
            let world = self.world(who);
            let mut views = world.query::<&AuthorityView>();
            let open = views
                .iter(world)
                .filter(|view| matches!(view, AuthorityView::Requested { .. }))
                .count();
            self.oracle.unanswered += open as u64;
        }
        self.check_events();
        self.check_last_writes();
    }

    fn whole(&mut self, who: Who, name: GlobalEntity) -> Option<Whole> {
        let entity = self.entity(who, name)?;
        let world = self.world(who);
        let tenure = world
            .resource::<Slots>()
            .tenure(world.get::<NetSlot>(entity)?)?;
        Some(Whole {
            tenure,
            mark: world.get(entity).copied(),
            seal: world.get(entity).copied(),
            ballast: world.get(entity).cloned(),
        })
    }

    /// What an app hosts, or is told of.
    fn names<F: bevy::ecs::query::QueryFilter>(&mut self, who: Who) -> Vec<GlobalEntity> {
        let world = self.world(who);
        let mut query = world.query_filtered::<&NetSlot, F>();
        let mut names: Vec<_> = query.iter(world).filter_map(NetSlot::global).collect();
        names.sort_unstable();
        names
    }

    /// What is not as it should be.
    fn unsettled(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let hosted = self.names::<With<Hosted>>(SERVER);
        let told = self.names::<With<Remote>>(SERVER);
        let public = self.names::<With<Published>>(SERVER);
        let mut own = Vec::new();
        for who in 1..self.seats.len() {
            if !self.is_linked(who) {
                wrong.push(format!("{who} is not linked"));
                continue;
            }
            let from = own.len();
            self.compare_own(who, &mut own, &mut wrong);
            self.compare_published(who, &own[from..], &public, &mut wrong);
            let mut shown = hosted.clone();
            let others = public.iter().filter(|name| !own[from..].contains(name));
            shown.extend(others);
            shown.sort_unstable();
            self.compare(who, &shown, &mut wrong);
        }
        own.sort_unstable();
        if own != told {
            let extra: Vec<_> = told.iter().filter(|name| !own.contains(name)).collect();
            wrong.push(format!(
                "the server is told of {extra:?}, which nobody hosts"
            ));
        }
        for who in 0..self.seats.len() {
            let world = self.world(who);
            let mut both = world.query_filtered::<Entity, (With<Hosted>, With<Remote>)>();
            if both.iter(world).next().is_some() {
                wrong.push(format!("{who} hosts what it is told of"));
            }
        }
        wrong
    }

    /// What a client hosts is at the server as it is.
    fn compare_own(&mut self, who: Who, own: &mut Vec<GlobalEntity>, wrong: &mut Vec<String>) {
        for name in self.names::<With<Hosted>>(who) {
            own.push(name);
            let here = self.whole(who, name).map(|w| (w.mark, w.seal, w.ballast));
            let there = self
                .whole(SERVER, name)
                .map(|w| (w.mark, w.seal, w.ballast));
            if here != there {
                wrong.push(format!(
                    "{name} is {here:?} with its host {who}, {there:?} at the server"
                ));
            }
        }
    }

    /// A client knows which of its own others see.
    fn compare_published(
        &mut self,
        who: Who,
        own: &[GlobalEntity],
        public: &[GlobalEntity],
        wrong: &mut Vec<String>,
    ) {
        let known = self.names::<With<Published>>(who);
        for name in own {
            let (here, there) = (known.contains(name), public.contains(name));
            if here != there {
                wrong.push(format!(
                    "{who} has {name} as public: {here}, the server: {there}"
                ));
            }
        }
        if known.iter().any(|name| !own.contains(name)) {
            wrong.push(format!("{who} has as public what it does not host"));
        }
    }

    /// What a client is told of is as it is at the server, and so is its view.
    fn compare(&mut self, who: Who, hosted: &[GlobalEntity], wrong: &mut Vec<String>) {
        let peer = self.seats[who].peer;
        let told = self.names::<With<Remote>>(who);
        for name in told
            .iter()
            .filter(|name| hosted.binary_search(name).is_err())
        {
            wrong.push(format!("{who} is told of {name}, which is not there"));
        }
        for &name in hosted {
            let sees = self.sees(who, name);
            let there = self.whole(SERVER, name);
            let here = self.whole(who, name);
            match (sees, here) {
                (true, here) if here == there => {}
                (false, None) => continue,
                (_, here) => {
                    wrong.push(format!(
                        "{who} sees {name}: {sees}, as {here:?}, at the server it is {there:?}"
                    ));
                    continue;
                }
            }
            let Some(entity) = self.entity(who, name) else {
                continue;
            };
            let world = self.world(who);
            let tenure = there.map_or_else(Tenure::default, |there| there.tenure);
            let view = world.get::<AuthorityView>(entity).copied();
            let marked = world.get::<Granted>(entity).is_some();
            let fence = world.get::<Authority>(entity).map(Authority::tenure);
            let mine = peer.map(Holder::Peer) == Some(tenure.holder);
            let due = match tenure.holder {
                _ if !tenure.delegated => None,
                _ if mine => Some(AuthorityView::Granted),
                Holder::Nobody => Some(AuthorityView::Available),
                Holder::Host | Holder::Peer(_) => Some(AuthorityView::Denied),
            };
            if view != due || marked != (mine && tenure.delegated) {
                wrong.push(format!(
                    "{who} views {name} as {view:?} ({marked}), not {due:?}"
                ));
            }
            if tenure.delegated && fence != Some(tenure) {
                wrong.push(format!("{who} has {name} under {fence:?}, not {tenure:?}"));
            }
        }
    }

    /// Whether the storm lets a client see an entity.
    fn sees(&mut self, who: Who, name: GlobalEntity) -> bool {
        let Some(peer) = self.seats[who].peer else {
            return false;
        };
        let hidden = self.hidden.contains(&(peer, name));
        let world = self.world(SERVER);
        let linked = world.resource::<Peers>().by_id(peer).is_some();
        linked && !hidden
    }
}
