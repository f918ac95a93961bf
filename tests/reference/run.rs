//! Operations on real apps over a bad network, and what must be so whenever it is quiet.

use std::collections::BTreeMap;

use bevy::prelude::*;
use seamless_authority::{
    AuthorityCommandsExt, AuthorityPolicy, AuthorityView, Delegated, Granted, Pending,
};
use seamless_replication::{
    Authority, NetSlot, Peers, Replicated, Slots,
    transport::{CloseReason, Links},
    wire::{Epoch, GlobalEntity, Holder, PeerId, Tenure},
};
use seamless_testkit::{AppId, Cluster, Weather};

use super::model::{CLIENTS, Op, Who};
use crate::storm::{
    Mark,
    ear::Ear,
    setup::{Notes, setup},
};

/// Frames within which everything must come to rest, and for which it must stay so.
const PATIENCE: usize = 600;
const STAYS: usize = 12;

pub struct Run {
    pub cluster: Cluster,
    server: AppId,
    clients: [AppId; CLIENTS],
    linked: [bool; CLIENTS],
    pub entity: Entity,
    pub name: GlobalEntity,
    /// Whom it is not shown to.
    hidden: [bool; CLIENTS],
    ears: BTreeMap<(usize, Entity), Ear>,
    /// The newest epoch that anybody showed of an entity: the server, or a client over this link.
    epochs: BTreeMap<(Option<(usize, PeerId)>, GlobalEntity), Epoch>,
    writes: u64,
    last: Option<(usize, Epoch, u64)>,
}

fn spawn(cluster: &mut Cluster, server: AppId) -> (Entity, GlobalEntity) {
    let bundle = (Replicated, Delegated, Mark(0));
    let entity = cluster.world(server).spawn(bundle).id();
    let slot = cluster.world(server).get::<NetSlot>(entity);
    let name = slot.and_then(NetSlot::global).expect("a server has names");
    (entity, name)
}

impl Run {
    pub fn new(seed: u64, loss: f32) -> Self {
        let mut cluster = Cluster::new(seed, setup);
        cluster.set_weather(Weather::lossy(loss));
        let server = cluster.server();
        cluster
            .world(server)
            .resource_mut::<AuthorityPolicy>()
            .requests_per_second = 10_000;
        let clients = [(); CLIENTS].map(|()| cluster.client(server));
        let (entity, name) = spawn(&mut cluster, server);
        Self {
            cluster,
            server,
            clients,
            linked: [true; CLIENTS],
            entity,
            name,
            hidden: [false; CLIENTS],
            ears: BTreeMap::new(),
            epochs: BTreeMap::new(),
            writes: 0,
            last: None,
        }
    }

    fn command(&mut self, app: AppId, entity: Entity, f: impl FnOnce(&mut EntityCommands)) {
        let world = self.cluster.world(app);
        f(&mut world.commands().entity(entity));
        world.flush();
    }

    /// A client's name, if it is linked and both know.
    fn peer(&mut self, client: usize) -> Option<PeerId> {
        let app = self.clients[client];
        if !self.linked[client] || !self.cluster.is_ready(app) {
            return None;
        }
        let me = self.cluster.world(app).resource::<Peers>().me()?;
        let peers = self.cluster.world(self.server).resource::<Peers>();
        peers.by_id(me).map(|_| me)
    }

    fn seen(&mut self, client: usize) -> Option<Entity> {
        let world = self.cluster.world(self.clients[client]);
        world.resource::<Slots>().entity(self.name)
    }

    fn tenure(&mut self, app: AppId, entity: Entity) -> Option<Tenure> {
        let world = self.cluster.world(app);
        let slot = world.get::<NetSlot>(entity)?;
        world.resource::<Slots>().tenure(slot)
    }

    /// Does it, as far as it can be done now.
    pub fn happen(&mut self, op: Op) {
        let (server, entity) = (self.server, self.entity);
        match op {
            Op::Request(c) => {
                if let Some(seen) = self.seen(c) {
                    self.command(self.clients[c], seen, |e| {
                        e.request_authority();
                    });
                }
            }
            Op::Release(c) => {
                if let Some(seen) = self.seen(c) {
                    self.command(self.clients[c], seen, |e| {
                        e.release_authority();
                    });
                }
            }
            Op::Write(c) => self.write(c),
            Op::Give(c) => {
                if let Some(peer) = self.peer(c) {
                    self.command(server, entity, |e| {
                        e.give_authority(peer);
                    });
                }
            }
            Op::Take => self.command(server, entity, |e| {
                e.take_authority();
            }),
            Op::Reset => self.command(server, entity, |e| {
                e.reset_authority();
            }),
            Op::Include(c) => self.show(c, true),
            Op::Exclude(c) => self.show(c, false),
            Op::Enable => self.command(server, entity, |e| {
                e.delegate();
            }),
            Op::Disable => self.command(server, entity, |e| {
                e.undelegate();
            }),
            Op::Despawn => {
                self.cluster.world(server).despawn(entity);
                (self.entity, self.name) = spawn(&mut self.cluster, server);
                self.hidden = [false; CLIENTS];
                self.last = None;
            }
            Op::Disconnect(c) => {
                if std::mem::take(&mut self.linked[c]) {
                    let world = self.cluster.world(self.clients[c]);
                    for link in world.resource_mut::<Links>().iter_mut() {
                        link.close(CloseReason::ByPeer);
                    }
                    self.hidden[c] = false;
                    if self.last.is_some_and(|(writer, ..)| writer == c) {
                        // What was under way is lost.
                        self.last = None;
                    }
                }
            }
            Op::Reconnect(c) => {
                // What it closed it has closed.
                let closed = self.cluster.world(self.clients[c]).resource::<Peers>();
                if !self.linked[c] && closed.iter().count() == 0 {
                    self.cluster.connect(self.clients[c], server);
                    self.linked[c] = true;
                }
            }
        }
    }

    fn write(&mut self, client: usize) {
        let Some(seen) = self.seen(client) else {
            return;
        };
        let app = self.clients[client];
        let world = self.cluster.world(app);
        if world.get::<Granted>(seen).is_none() {
            return;
        }
        self.writes += 1;
        let number = self.writes;
        world.entity_mut(seen).insert(Mark(number));
        let since = self.tenure(app, seen).map(|tenure| tenure.since);
        self.last = since.map(|since| (client, since, number));
    }

    fn show(&mut self, client: usize, shown: bool) {
        let Some(peer) = self.peer(client) else {
            return;
        };
        let world = self.cluster.world(self.server);
        let slot = *world.get::<NetSlot>(self.entity).expect("it is there");
        let mut peers = world.resource_mut::<Peers>();
        let peer = peers.by_id_mut(peer).expect("it is linked");
        peer.interest_mut().except(&slot, (!shown).then_some(false));
        self.hidden[client] = !shown;
    }

    /// A frame, and a look at every view and epoch after it.
    pub fn step(&mut self) -> Result<(), String> {
        self.cluster.step();
        self.look_at_epoch(None, self.server)?;
        for client in 0..CLIENTS {
            let app = self.clients[client];
            let me = self.cluster.world(app).resource::<Peers>().me();
            if let Some(me) = me {
                self.look_at_epoch(Some((client, me)), app)?;
            }
            self.listen(client);
        }
        Ok(())
    }

    fn look_at_epoch(&mut self, whose: Option<(usize, PeerId)>, app: AppId) -> Result<(), String> {
        let entity = self
            .cluster
            .world(app)
            .resource::<Slots>()
            .entity(self.name);
        let Some(tenure) = entity.and_then(|entity| self.tenure(app, entity)) else {
            return Ok(());
        };
        let known = self.epochs.entry((whose, self.name)).or_default();
        if tenure.epoch < *known || tenure.since > tenure.epoch {
            return Err(format!("{whose:?} shows {tenure:?} after {known:?}"));
        }
        *known = tenure.epoch;
        Ok(())
    }

    fn listen(&mut self, client: usize) {
        let world = self.cluster.world(self.clients[client]);
        let notes = std::mem::take(&mut world.resource_mut::<Notes>().0);
        for (entity, note) in notes {
            let ear = self.ears.entry((client, entity)).or_default();
            ear.hear(note);
        }
    }

    /// Runs until it is quiet, and fails if it does not become so or is not as it must be.
    pub fn settle(&mut self) -> Result<(), String> {
        let mut wrong = None;
        for _ in 0..PATIENCE {
            self.step()?;
            wrong = self.unsettled();
            if wrong.is_none() {
                break;
            }
        }
        for _ in 0..STAYS {
            self.step()?;
            wrong = wrong.or_else(|| self.unsettled());
        }
        if let Some(wrong) = wrong {
            return Err(format!("settled, but {wrong}"));
        }
        for ((client, entity), ear) in &self.ears {
            if !ear.is_right() {
                let (heard, due) = (ear.heard, ear.called_for);
                return Err(format!(
                    "{client} heard {heard:?} of {entity}, its view calls for {due:?}"
                ));
            }
        }
        let tenure = self.tenure(self.server, self.entity);
        let mark = self.cluster.world(self.server).get::<Mark>(self.entity);
        if let (Some((client, since, number)), Some(tenure)) = (self.last, tenure)
            && tenure.since == since
            && mark != Some(&Mark(number))
        {
            return Err(format!("{client} wrote {number} last, and it is {mark:?}"));
        }
        Ok(())
    }

    /// What is not as it should be.
    fn unsettled(&mut self) -> Option<String> {
        let server = self.server;
        let tenure = self.tenure(server, self.entity)?;
        let mark = self.cluster.world(server).get::<Mark>(self.entity).copied();
        let links = self
            .cluster
            .world(server)
            .resource::<Peers>()
            .iter()
            .count();
        if links != self.linked.iter().filter(|linked| **linked).count() {
            return Some(format!("there are {links} links"));
        }
        if self.cluster.world(server).resource::<Pending>().waiting() > 0 {
            return Some("something waits".into());
        }
        if let Holder::Peer(peer) = tenure.holder
            && !(0..CLIENTS).any(|c| self.peer(c) == Some(peer) && !self.hidden[c])
        {
            return Some(format!("{peer} holds it, which does not see it"));
        }
        (0..CLIENTS).find_map(|c| self.unsettled_at(c, tenure, mark))
    }

    fn unsettled_at(
        &mut self,
        client: usize,
        tenure: Tenure,
        mark: Option<Mark>,
    ) -> Option<String> {
        if !self.linked[client] {
            return None;
        }
        let Some(peer) = self.peer(client) else {
            return Some(format!("{client} is not linked"));
        };
        let seen = self.seen(client);
        let Some(seen) = seen else {
            return (!self.hidden[client]).then(|| format!("{client} does not see it"));
        };
        if self.hidden[client] {
            return Some(format!("{client} sees it"));
        }
        let app = self.clients[client];
        let here = self.tenure(app, seen);
        let world = self.cluster.world(app);
        let mine = tenure.holder == Holder::Peer(peer);
        let due = match tenure.holder {
            _ if !tenure.delegated => None,
            _ if mine => Some(AuthorityView::Granted),
            Holder::Nobody => Some(AuthorityView::Available),
            Holder::Host | Holder::Peer(_) => Some(AuthorityView::Denied),
        };
        let view = world.get::<AuthorityView>(seen).copied();
        let granted = world.get::<Granted>(seen).is_some();
        let value = world.get::<Mark>(seen).copied();
        let others = world.resource::<Slots>().census().1;
        if here != Some(tenure) || view != due || granted != (mine && tenure.delegated) {
            return Some(format!(
                "{client} has {view:?} under {here:?}, the server {tenure:?}"
            ));
        }
        if value != mark {
            return Some(format!("{client} has {value:?}, the server {mark:?}"));
        }
        (others != 1).then(|| format!("{client} is told of {others} entities"))
    }

    /// Who has it, by the server, and how often it changed hands.
    pub fn holder(&mut self) -> (Who, bool, u32) {
        let authority = self
            .cluster
            .world(self.server)
            .get::<Authority>(self.entity);
        let tenure = authority.expect("it could be lent").tenure();
        let who = match tenure.holder {
            Holder::Nobody => Who::Nobody,
            Holder::Host => Who::Host,
            Holder::Peer(peer) => {
                let client = (0..CLIENTS).find(|&c| self.peer(c) == Some(peer));
                Who::Client(client.expect("it is one of them"))
            }
        };
        (who, tenure.delegated, tenure.epoch.seq)
    }
}
