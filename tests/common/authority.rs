//! What tests of lending do again and again.

use bevy::prelude::*;
use seamless_authority::{
    AuthorityCommandsExt, AuthorityDenied, AuthorityGranted, AuthorityLost, AuthorityView,
    Delegated, LossReason,
};
use seamless_replication::{
    NetSlot, Replicated, Slots,
    wire::{Holder, control::DenyReason},
};
use seamless_testkit::{AppId, Cluster, Weather, Wire};

use super::{Health, Label, Place, command, get, name, on_a_wire, ready, settle, wait_for};

/// An event of the client's view.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event {
    Granted(Entity),
    Denied(Entity, DenyReason),
    Lost(Entity, Option<LossReason>),
}

#[derive(Resource, Default)]
struct Heard(Vec<Event>);

/// Registers the components, and writes down what a client hears.
pub fn lending(app: &mut App) {
    super::register(app);
    app.init_resource::<Heard>()
        .add_observer(|event: On<AuthorityGranted>, mut heard: ResMut<Heard>| {
            heard.0.push(Event::Granted(event.entity));
        })
        .add_observer(|event: On<AuthorityDenied>, mut heard: ResMut<Heard>| {
            heard.0.push(Event::Denied(event.entity, event.reason));
        })
        .add_observer(|event: On<AuthorityLost>, mut heard: ResMut<Heard>| {
            heard.0.push(Event::Lost(event.entity, event.reason));
        });
}

/// A client with an entity of its own, over a wire; the entity at the client and at the server.
pub fn own_on_a_wire() -> (Cluster, [AppId; 2], Wire, [Entity; 2]) {
    let (mut cluster, apps, wire) = on_a_wire(lending);
    let [server, client] = apps;
    let bundle = (Replicated, Place(1.0, 0.0, 0.0), Label("mine".into()));
    let own = cluster.world(client).spawn(bundle).id();
    let name = name(&mut cluster, client, own);
    let there = wait_for(&mut cluster, server, name);
    cluster.run(20);
    (cluster, apps, wire, [own, there])
}

/// What a client heard since the last call.
pub fn heard(cluster: &mut Cluster, client: AppId) -> Vec<Event> {
    std::mem::take(&mut cluster.world(client).resource_mut::<Heard>().0)
}

/// How a client sees authority over an entity.
pub fn view(cluster: &mut Cluster, client: AppId, entity: Entity) -> Option<AuthorityView> {
    get(cluster, client, entity)
}

/// Who holds an entity, by what an app knows.
pub fn holder(cluster: &mut Cluster, app: AppId, entity: Entity) -> Option<Holder> {
    let world = cluster.world(app);
    let slot = world.get::<NetSlot>(entity)?;
    Some(world.resource::<Slots>().tenure(slot)?.holder)
}

/// A client asks and gets it.
pub fn grab(cluster: &mut Cluster, client: AppId, entity: Entity) {
    command(cluster, client, entity, |e| {
        e.request_authority();
    });
    cluster.run_until("granted", 300, |cluster| {
        view(cluster, client, entity) == Some(AuthorityView::Granted)
    });
}

/// Writes a place.
pub fn move_to(cluster: &mut Cluster, app: AppId, entity: Entity, x: f32) {
    let world = cluster.world(app);
    world.get_mut::<Place>(entity).expect("it has a place").0 = x;
}

/// Reads a place.
pub fn at(cluster: &mut Cluster, app: AppId, entity: Entity) -> Option<f32> {
    get::<Place>(cluster, app, entity).map(|place| place.0)
}

/// Waits until an app sees an entity at a place.
pub fn wait_at(cluster: &mut Cluster, app: AppId, entity: Entity, x: f32) {
    cluster.run_until(&format!("it is seen at {x}"), 300, |cluster| {
        at(cluster, app, entity) == Some(x)
    });
}

/// Seeds and weathers: 0, 5 and 30 % loss, with duplicates and disorder.
pub fn weathers() -> impl Iterator<Item = (u64, Weather)> {
    let losses = [0.0, 0.05, 0.3];
    (0..9).map(move |n| (n as u64, Weather::lossy(losses[n % 3])))
}

/// A server, two clients, and a crate that can be lent, with its places in their worlds.
pub struct Three {
    pub cluster: Cluster,
    pub server: AppId,
    pub clients: [AppId; 2],
    pub crate_: Entity,
    pub seen: [Entity; 2],
}

pub fn three((seed, weather): (u64, Weather)) -> Three {
    let mut cluster = Cluster::new(seed, lending);
    cluster.set_weather(weather);
    let server = cluster.server();
    let clients = [cluster.client(server), cluster.client(server)];
    let crate_ = cluster
        .world(server)
        .spawn((Replicated, Delegated, Place::default(), Health(9)))
        .id();
    for client in clients {
        ready(&mut cluster, client);
    }
    settle(&mut cluster, server, &clients);
    let name = name(&mut cluster, server, crate_);
    let seen = clients.map(|client| wait_for(&mut cluster, client, name));
    Three {
        cluster,
        server,
        clients,
        crate_,
        seen,
    }
}

impl Three {
    pub fn on_server(&mut self, f: impl FnOnce(&mut EntityCommands)) {
        command(&mut self.cluster, self.server, self.crate_, f);
    }

    pub fn request(&mut self, client: usize) {
        let (client, entity) = (self.clients[client], self.seen[client]);
        command(&mut self.cluster, client, entity, |e| {
            e.request_authority();
        });
    }

    /// Runs until a client's view is this, and gives what it heard meanwhile.
    pub fn until(&mut self, client: usize, wanted: AuthorityView) -> Vec<Event> {
        let (client, entity) = (self.clients[client], self.seen[client]);
        self.cluster
            .run_until(&format!("{wanted:?}"), 300, |cluster| {
                view(cluster, client, entity) == Some(wanted)
            });
        heard(&mut self.cluster, client)
    }

    pub fn holder(&mut self) -> Option<Holder> {
        holder(&mut self.cluster, self.server, self.crate_)
    }
}
