//! The oracle: it looks at all worlds before and after every tick, and knows who wrote what.
//!
//! It stands outside the protocol. What it takes from it are the fences and values that each world
//! shows, and the operations that the storm itself ordered.

use std::collections::{BTreeMap, BTreeSet};

use bevy::prelude::*;
use seamless_authority::AuthorityView;
use seamless_replication::{
    Authority, NetSlot, Peers, Remote, Slots,
    wire::{Epoch, GlobalEntity, Holder, PeerId, Tenure, TenureEnd},
};

use super::{
    Mark, Storm,
    ear::Ear,
    setup::{Note, Notes},
    trace::{Right, SERVER, Trace, Who, Write},
};

/// What the server showed of an entity when it was looked at last.
struct Known {
    tenure: Tenure,
    owner: Option<PeerId>,
    mark: Option<u64>,
    /// All values it had, in order, and where each stands.
    history: BTreeMap<u64, usize>,
}

/// What a client showed of an entity.
struct Shown {
    epoch: Epoch,
    position: usize,
}

/// What was found.
#[derive(Default)]
pub struct Oracle {
    pub trace: Trace,
    pub violations: Vec<String>,
    pub unanswered: u64,
    pub lost_writes: u64,
    pub stale_writes: u64,
    /// Ticks from a request to its grant.
    pub latencies: Vec<u64>,
    pub(super) who: BTreeMap<PeerId, Who>,
    known: BTreeMap<GlobalEntity, Known>,
    /// The histories of those that are not there any more.
    gone: BTreeMap<GlobalEntity, BTreeMap<u64, usize>>,
    shown: BTreeMap<(Who, GlobalEntity), Shown>,
    ears: BTreeMap<(Who, Entity), Ear>,
    /// The frame in which a client asked for what was not answered yet.
    asked: BTreeMap<(Who, Entity), u64>,
    released: BTreeSet<(Who, GlobalEntity, Epoch)>,
    /// Entities that their writer despawned, and the last write before that: what was under way
    /// of it may be lost.
    pub(super) forsaken: BTreeMap<(Who, GlobalEntity), u64>,
}

impl Oracle {
    pub fn violate(&mut self, what: String) {
        if std::env::var_os("STORM_LOG").is_some() {
            eprintln!("{what}");
        }
        self.violations.push(what);
    }

    fn is(&self, holder: Holder, who: Who) -> bool {
        matches!(holder, Holder::Peer(peer) if self.who.get(&peer) == Some(&who))
    }

    /// Whether a write may take effect on what is known.
    fn may(&self, write: &Write, known: &Known) -> bool {
        let holds = self.is(known.tenure.holder, write.who);
        match write.right {
            Right::Host if write.who == SERVER => false,
            Right::Host => {
                known.owner.and_then(|owner| self.who.get(&owner)) == Some(&write.who)
                    // Written before the client knew of its migration.
                    || holds && known.tenure.since == Epoch::default()
            }
            Right::Holder(since) => holds && known.tenure.since == since,
            Right::None => false,
        }
    }

    /// What somebody wrote last in a tenure.
    fn last_in(&self, entity: GlobalEntity, who: Who, since: Epoch) -> Option<u64> {
        let forsaken = self.forsaken.get(&(who, entity)).copied().unwrap_or(0);
        let last = self.trace.last(entity, |write| {
            let right = match write.right {
                Right::Holder(of) => of == since,
                Right::Host => since == Epoch::default(),
                Right::None => false,
            };
            write.who == who && right
        });
        last.filter(|last| *last > forsaken)
    }
}

/// What one app shows of one entity.
struct Look {
    name: GlobalEntity,
    entity: Entity,
    tenure: Tenure,
    owner: Option<PeerId>,
    mark: Option<u64>,
}

impl Storm {
    fn look(&mut self, who: Who, remote_only: bool) -> Vec<Look> {
        let world = self.world(who);
        let mut query = world.query::<(Entity, &NetSlot, Option<&Mark>, Has<Remote>)>();
        let slots = world.resource::<Slots>();
        let mut all: Vec<Look> = query
            .iter(world)
            .filter(|(.., remote)| *remote || !remote_only)
            .filter_map(|(entity, slot, mark, _)| {
                Some(Look {
                    name: slot.global()?,
                    entity,
                    tenure: slots.tenure(slot)?,
                    owner: slots.owner(slot),
                    mark: mark.map(|mark| mark.0),
                })
            })
            .collect();
        all.sort_unstable_by_key(|look| look.name);
        all
    }

    pub(super) fn oracle_asked(&mut self, who: Who, entity: Entity) {
        let view = self.world(who).get::<AuthorityView>(entity).copied();
        if let Some(AuthorityView::Requested { granted: None, .. }) = view {
            let now = self.cluster.frames();
            self.oracle.asked.entry((who, entity)).or_insert(now);
        }
    }

    pub(super) fn oracle_released(&mut self, who: Who, entity: Entity) {
        let name = self.name(who, entity);
        let authority = self.world(who).get::<Authority>(entity).copied();
        if let (Some(name), Some(authority)) = (name, authority) {
            self.oracle.released.insert((who, name, authority.since));
        }
    }

    /// After operations, before the tick: what the server itself did took effect at once.
    pub(super) fn before(&mut self) {
        for who in 1..self.seats.len() {
            let me = self.world(who).resource::<Peers>().me();
            let app = self.seats[who].app;
            let linked = self.seats[who].away_until.is_none() && self.cluster.is_ready(app);
            self.seats[who].peer = me.filter(|_| linked);
            if let Some(peer) = self.seats[who].peer {
                self.oracle.who.insert(peer, who);
            }
        }
        self.look_at_server(true);
    }

    /// After the tick.
    pub(super) fn after(&mut self) {
        self.look_at_server(false);
        for who in 1..self.seats.len() {
            self.look_at_client(who);
            self.listen(who);
        }
    }

    fn look_at_server(&mut self, ordered: bool) {
        let looks = self.look(SERVER, false);
        let frame = self.cluster.frames();
        let present: Vec<PeerId> = self.seats.iter().filter_map(|seat| seat.peer).collect();
        let oracle = &mut self.oracle;
        let mut before = std::mem::take(&mut oracle.known);
        for look in looks {
            let Look {
                name,
                tenure,
                owner,
                mark,
                ..
            } = look;
            let Some(mut known) = before.remove(&name) else {
                let mut history = oracle.gone.remove(&name).unwrap_or_default();
                let next = history.len();
                history.extend(mark.map(|mark| (mark, next)));
                oracle.known.insert(
                    name,
                    Known {
                        tenure,
                        owner,
                        mark,
                        history,
                    },
                );
                continue;
            };
            if tenure.epoch < known.tenure.epoch || tenure.since < known.tenure.since {
                oracle.violate(format!("{frame}: {name} epoch fell at the server"));
            }
            if mark != known.mark {
                let write = mark.and_then(|mark| oracle.trace.get(mark)).copied();
                match write {
                    Some(write) if write.entity == name => {
                        let own = ordered && write.who == SERVER;
                        if !own && !oracle.may(&write, &known) {
                            oracle.stale_writes += 1;
                            oracle.violate(format!(
                                "{frame}: {name} took {mark:?} of {write:?} under {:?}",
                                known.tenure
                            ));
                        }
                    }
                    _ => oracle.violate(format!("{frame}: {name} is {mark:?}, of nobody")),
                }
                if mark < known.mark {
                    oracle.violate(format!("{frame}: {name} went back"));
                }
                let next = known.history.len();
                known.history.extend(mark.map(|mark| (mark, next)));
            }
            let ended = tenure.since != known.tenure.since;
            if ended && tenure.ended == TenureEnd::Released {
                let since = known.tenure.since;
                let Holder::Peer(peer) = known.tenure.holder else {
                    continue;
                };
                let who = oracle.who.get(&peer).copied().unwrap_or(SERVER);
                if !oracle.released.remove(&(who, name, since)) {
                    oracle.violate(format!("{frame}: {name} was never released"));
                }
                // Of one whose link broke, what was under way is lost.
                let last = oracle.last_in(name, who, since);
                if last.is_some() && last != mark && present.contains(&peer) {
                    oracle.lost_writes += 1;
                    oracle.violate(format!(
                        "{frame}: {name} lost {last:?} at a release by {who}, is {mark:?}"
                    ));
                }
            }
            known.tenure = tenure;
            known.owner = owner;
            known.mark = mark;
            oracle.known.insert(name, known);
        }
        // What is gone takes with it what was said of it.
        self.hidden.retain(|(_, name)| !before.contains_key(name));
        // It may come again, with a client that comes again, before all others know that it was gone.
        let gone = before
            .into_iter()
            .map(|(name, known)| (name, known.history));
        self.oracle.gone.extend(gone);
    }

    fn look_at_client(&mut self, who: Who) {
        let linked = self.is_linked(who);
        let looks = if linked {
            self.look(who, true)
        } else {
            Vec::new()
        };
        let frame = self.cluster.frames();
        let mut seen = BTreeMap::new();
        for look in looks {
            let view = self.world(who).get::<AuthorityView>(look.entity).copied();
            let oracle = &mut self.oracle;
            let name = look.name;
            let before = oracle.shown.remove(&(who, name));
            let mut position = before.as_ref().map_or(0, |before| before.position);
            if before.is_some_and(|before| look.tenure.epoch < before.epoch) {
                oracle.violate(format!("{frame}: {name} epoch fell at {who}"));
            }
            let own = matches!(
                view,
                Some(
                    AuthorityView::Granted
                        | AuthorityView::Releasing(_)
                        | AuthorityView::Requested { .. }
                )
            );
            if let Some(mark) = look.mark
                && let Some(known) = oracle.known.get(&name)
                && !own
            {
                match known.history.get(&mark) {
                    Some(&at) if at >= position => position = at,
                    found => oracle.violate(format!(
                        "{frame}: {who} shows {name} at {mark} ({:?}), {found:?} after {position}, {view:?}",
                        oracle.trace.get(mark)
                    )),
                }
            }
            let epoch = look.tenure.epoch;
            seen.insert((who, name), Shown { epoch, position });
        }
        self.oracle.shown.retain(|(of, _), _| *of != who);
        self.oracle.shown.append(&mut seen);
    }

    /// Events against changes of the view.
    fn listen(&mut self, who: Who) {
        let notes = std::mem::take(&mut self.world(who).resource_mut::<Notes>().0);
        let now = self.cluster.frames();
        for (entity, note) in notes {
            let ear = self.oracle.ears.entry((who, entity)).or_default();
            ear.hear(note);
            let asked = match note {
                Note::Granted | Note::Denied => self.oracle.asked.remove(&(who, entity)),
                _ => None,
            };
            if let Some(asked) = asked.filter(|_| note == Note::Granted) {
                self.oracle.latencies.push(now - asked - 1);
            }
        }
    }

    /// Whether everybody heard what the changes of its views call for.
    pub(super) fn check_events(&mut self) {
        let frame = self.cluster.frames();
        let mut wrong = Vec::new();
        for ((who, entity), ear) in &mut self.oracle.ears {
            if !ear.is_right() {
                wrong.push(format!(
                    "{frame}: {who} heard {:?} of {entity}, its view calls for {:?} (granted, denied, lost)",
                    ear.heard, ear.called_for
                ));
                ear.called_for = ear.heard;
            }
        }
        self.oracle.asked.clear();
        wrong.into_iter().for_each(|w| self.oracle.violate(w));
    }

    /// What a holder wrote last in its present tenure is what the server has.
    pub(super) fn check_last_writes(&mut self) {
        let present: Vec<PeerId> = self.seats.iter().filter_map(|seat| seat.peer).collect();
        let oracle = &mut self.oracle;
        let mut lost = Vec::new();
        for (name, known) in &oracle.known {
            // Of one whose link broke, what was under way is lost.
            let holder = match known.tenure.holder {
                Holder::Peer(peer) if present.contains(&peer) => oracle.who.get(&peer),
                _ => None,
            };
            let Some(&who) = holder else { continue };
            let last = oracle.last_in(*name, who, known.tenure.since);
            if last.is_some() && last != known.mark {
                lost.push(format!(
                    "{name}: {who} wrote {last:?}, the server has {:?}",
                    known.mark
                ));
            }
        }
        oracle.lost_writes += lost.len() as u64;
        lost.into_iter().for_each(|w| oracle.violate(w));
    }
}
