//! Components that only some clients are told: never on the wire to the others, and everybody ends
//! with what is theirs, whatever is lost.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bevy::prelude::*;
use common::{
    Health, Label, Place, authority::lending, command, find, get, me, name, on_a_wire, ready,
    register, settle, spawn_on, wait_for,
};
use seamless_authority::{AuthorityCommandsExt, Delegated};
use seamless_replication::{
    Audience, NetSlot, Peers, ReplicateAppExt, Replicated, Replicator, Slots,
    interest::{PeerInterest, ToolScopeId},
    wire::{
        BitReader, BitWriter, GlobalEntity, PeerId, WireError, codec,
        delta::{self, Baseline},
    },
};
use seamless_testkit::{AppId, Cluster, Fate, Rng, Way, Weather};

/// For its player only.
#[derive(Component, TypePath, Clone, PartialEq, Debug)]
struct Hand(u32);

/// For a team only.
#[derive(Component, TypePath, serde::Serialize, serde::Deserialize, Clone, PartialEq, Debug)]
struct Plan(String);

/// Whose hand it is. Not replicated.
#[derive(Component, Clone, Copy)]
struct Player(PeerId);

const TEAM: ToolScopeId = ToolScopeId(9);

/// How often hands were read from the wire, by app, and written to one.
#[derive(Clone, Default)]
struct Hands {
    apps: Arc<AtomicUsize>,
    read: Arc<[AtomicU64; 8]>,
    written: Arc<AtomicU64>,
}

struct Watching {
    hands: Hands,
    app: usize,
}

impl Replicator<Hand> for Watching {
    fn describe(&self) -> String {
        "a hand".into()
    }

    fn write(&self, component: &Hand, out: &mut Vec<u8>) -> Result<(), WireError> {
        codec::encode(&component.0, out)
    }

    fn read(&self, value: &[u8]) -> Result<Hand, WireError> {
        codec::decode(value).map(Hand)
    }

    fn encode(&self, base: Option<Baseline<'_>>, value: &[u8], w: &mut BitWriter) {
        self.hands.written.fetch_add(1, Ordering::Relaxed);
        delta::write_bytes(w, base, value);
    }

    fn decode(
        &self,
        base: Option<Baseline<'_>>,
        r: &mut BitReader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.hands.read[self.app].fetch_add(1, Ordering::Relaxed);
        delta::read_bytes(r, base, 100, out)
    }
}

/// Registers both, and what else tests use.
fn setup(hands: &Hands) -> impl Fn(&mut App) + 'static {
    let hands = hands.clone();
    move |app| {
        lending(app);
        let app_number = hands.apps.fetch_add(1, Ordering::Relaxed);
        let watching = Watching {
            hands: hands.clone(),
            app: app_number,
        };
        let _ = app
            .replicate_as(watching)
            .visible_to(Audience::peer_in(|player: &Player| player.0));
        let team = Audience::scope(TEAM).or(Audience::owner());
        let _ = app.replicate::<Plan>().visible_to(team);
    }
}

/// A server and two clients.
fn table(seed: u64, weather: Weather) -> (Cluster, [AppId; 3], Hands) {
    let hands = Hands::default();
    let mut cluster = Cluster::new(seed, setup(&hands));
    cluster.set_weather(weather);
    let server = cluster.server();
    let clients = [(); 2].map(|()| cluster.client(server));
    for client in clients {
        ready(&mut cluster, client);
    }
    (cluster, [server, clients[0], clients[1]], hands)
}

fn interest(
    cluster: &mut Cluster,
    [server, client]: [AppId; 2],
    change: impl FnOnce(&mut PeerInterest),
) {
    let id = me(cluster, client);
    let mut peers = cluster.world(server).resource_mut::<Peers>();
    change(peers.by_id_mut(id).expect("it is there").interest_mut());
}

/// What an app has of an entity.
fn of<C: Component + Clone>(cluster: &mut Cluster, app: AppId, name: GlobalEntity) -> Option<C> {
    let entity = find(cluster, app, name)?;
    get(cluster, app, entity)
}

fn until<C: Component + Clone + PartialEq>(
    cluster: &mut Cluster,
    app: AppId,
    name: GlobalEntity,
    want: &Option<C>,
) {
    cluster.run_until("it is told what is its own", 300, |cluster| {
        of::<C>(cluster, app, name) == *want
    });
}

#[test]
fn a_hand_is_told_to_its_player_and_to_nobody_else() {
    let (mut cluster, [server, one, two], hands) = table(1, Weather::lossy(0.3));
    let player = Player(me(&mut cluster, one));
    let bundle = (Replicated, Place::default(), Hand(1), player);
    let cards = cluster.world(server).spawn(bundle).id();
    let name = name(&mut cluster, server, cards);
    until(&mut cluster, one, name, &Some(Hand(1)));
    for n in 2..40 {
        let world = cluster.world(server);
        world.get_mut::<Hand>(cards).expect("it has one").0 = n;
        world.get_mut::<Place>(cards).expect("it has one").0 = n as f32;
        cluster.step();
    }
    until(&mut cluster, one, name, &Some(Hand(39)));
    until(&mut cluster, two, name, &Some(Place(39.0, 0.0, 0.0)));
    cluster.run(30);
    let read = |app: usize| hands.read[app].load(Ordering::Relaxed);
    assert!(read(1) > 10);
    assert_eq!(read(2), 0, "not once on that wire");
}

#[test]
fn a_hand_that_passes_to_another_player_is_taken_from_the_first() {
    let (mut cluster, [server, one, two], _) = table(2, Weather::lossy(0.3));
    let players = [one, two].map(|client| me(&mut cluster, client));
    let bundle = (Replicated, Place::default(), Hand(7), Player(players[0]));
    let cards = cluster.world(server).spawn(bundle).id();
    let name = name(&mut cluster, server, cards);
    for round in 0..8 {
        let (with, without) = if round % 2 == 0 {
            (one, two)
        } else {
            (two, one)
        };
        let world = cluster.world(server);
        world.entity_mut(cards).insert(Player(players[round % 2]));
        if round < 4 {
            // The row changes with it, or the game says so.
            world.get_mut::<Place>(cards).expect("it has one").0 += 1.0;
        } else {
            let slot = *world.get::<NetSlot>(cards).expect("on the network");
            world.resource_mut::<Slots>().ask_again(&slot);
        }
        until(&mut cluster, with, name, &Some(Hand(7)));
        until::<Hand>(&mut cluster, without, name, &None);
    }
}

#[test]
fn a_plan_is_told_to_who_is_in_the_team_while_it_is() {
    let (mut cluster, [server, one, two], _) = table(3, Weather::lossy(0.3));
    let plan = Plan("left".into());
    let camp = cluster
        .world(server)
        .spawn((Replicated, Place::default(), plan.clone()))
        .id();
    let name = name(&mut cluster, server, camp);
    wait_for(&mut cluster, one, name);
    for _ in 0..3 {
        interest(&mut cluster, [server, one], |i| i.subscribe(TEAM));
        until(&mut cluster, one, name, &Some(plan.clone()));
        assert_eq!(of::<Plan>(&mut cluster, two, name), None);
        interest(&mut cluster, [server, one], |i| i.unsubscribe(TEAM));
        until::<Plan>(&mut cluster, one, name, &None);
    }
    assert!(find(&mut cluster, one, name).is_some(), "the rest stays");
}

#[test]
fn single_clients_are_let_in_and_left_out() {
    let (mut cluster, [server, one, two], _) = table(4, Weather::lossy(0.3));
    interest(&mut cluster, [server, two], |i| i.subscribe(TEAM));
    let plan = Plan("right".into());
    let camp = cluster.world(server).spawn((Replicated, plan.clone())).id();
    let name = name(&mut cluster, server, camp);
    until(&mut cluster, two, name, &Some(plan.clone()));
    let slot = *cluster
        .world(server)
        .get::<NetSlot>(camp)
        .expect("on the network");
    for (client, shown) in [(one, true), (two, false)] {
        interest(&mut cluster, [server, client], |i| {
            i.except_component::<Plan>(&slot, Some(shown));
        });
    }
    until(&mut cluster, one, name, &Some(plan.clone()));
    until::<Plan>(&mut cluster, two, name, &None);
    for client in [one, two] {
        interest(&mut cluster, [server, client], |i| {
            i.except_component::<Plan>(&slot, None);
        });
    }
    until::<Plan>(&mut cluster, one, name, &None);
    until(&mut cluster, two, name, &Some(plan));
}

#[test]
fn an_exception_is_not_that_of_the_next_entity_in_the_slot() {
    let (mut cluster, [server, one, _], _) = table(5, Weather::clear());
    let spawn = |cluster: &mut Cluster| {
        let camp = cluster
            .world(server)
            .spawn((Replicated, Plan("a".into())))
            .id();
        (camp, name(cluster, server, camp))
    };
    let (camp, first) = spawn(&mut cluster);
    let slot = *cluster
        .world(server)
        .get::<NetSlot>(camp)
        .expect("on the network");
    interest(&mut cluster, [server, one], |i| {
        i.except_component::<Plan>(&slot, Some(true));
    });
    until(&mut cluster, one, first, &Some(Plan("a".into())));
    cluster.world(server).despawn(camp);
    cluster.run(10);
    let (_, next) = spawn(&mut cluster);
    wait_for(&mut cluster, one, next);
    cluster.run(20);
    assert_eq!(of::<Plan>(&mut cluster, one, next), None);
}

#[test]
fn who_is_lent_an_entity_is_told_what_is_its_owners() {
    let (mut cluster, [server, one, two], _) = table(6, Weather::lossy(0.1));
    let bundle = (Delegated, Place::default(), Plan("mine".into()));
    let [camp, _] = spawn_on(&mut cluster, [server, two], bundle);
    let name = name(&mut cluster, server, camp);
    assert_eq!(of::<Plan>(&mut cluster, one, name), None);
    let id = me(&mut cluster, one);
    command(&mut cluster, server, camp, |e| {
        e.give_authority(id);
    });
    until(&mut cluster, one, name, &Some(Plan("mine".into())));
    assert_eq!(of::<Plan>(&mut cluster, two, name), None);
    // It writes it, and the server has it.
    let there = find(&mut cluster, one, name).expect("it is there");
    cluster
        .world(one)
        .entity_mut(there)
        .insert(Plan("ours".into()));
    until(&mut cluster, server, name, &Some(Plan("ours".into())));
    command(&mut cluster, server, camp, |e| {
        e.take_authority();
    });
    until::<Plan>(&mut cluster, one, name, &None);
    assert_eq!(
        of::<Plan>(&mut cluster, server, name),
        Some(Plan("ours".into()))
    );
}

#[test]
fn a_datagram_from_before_a_component_was_hidden_does_not_bring_it_back() {
    for acks in [Fate::Pass, Fate::Lose] {
        let (mut cluster, apps, wire) = on_a_wire(setup(&Hands::default()));
        let [server, client] = apps;
        interest(&mut cluster, apps, |i| i.subscribe(TEAM));
        let [camp, _] = spawn_on(&mut cluster, apps, (Place::default(), Label("x".into())));
        let name = name(&mut cluster, server, camp);
        cluster.run(20);
        wire.all(Way::ToServer, acks);
        wire.next(Way::ToClient, Fate::Hold);
        cluster
            .world(server)
            .entity_mut(camp)
            .insert(Plan("old".into()));
        cluster.step();
        let held = wire.kept();
        assert_eq!(held.len(), 1);
        interest(&mut cluster, apps, |i| i.unsubscribe(TEAM));
        cluster.run(3);
        held.into_iter().for_each(|parcel| wire.put(parcel));
        cluster.run(3);
        assert_eq!(of::<Plan>(&mut cluster, client, name), None);
        wire.pass();
        // Changes against whatever was acknowledged meanwhile.
        for n in 0..60 {
            cluster
                .world(server)
                .get_mut::<Place>(camp)
                .expect("it has one")
                .1 = n as f32;
            cluster.step();
        }
        until(&mut cluster, client, name, &Some(Place(0.0, 59.0, 0.0)));
        assert_eq!(of::<Plan>(&mut cluster, client, name), None);
        interest(&mut cluster, apps, |i| i.subscribe(TEAM));
        until(&mut cluster, client, name, &Some(Plan("old".into())));
    }
}

#[test]
fn clients_from_whom_the_same_is_hidden_share_what_is_encoded() {
    let hands = Hands::default();
    let mut cluster = Cluster::new(9, setup(&hands));
    cluster.set_weather(Weather::clear());
    let server = cluster.server();
    let clients = [(); 5].map(|()| cluster.client(server));
    for client in clients {
        ready(&mut cluster, client);
    }
    let nobody = Player(PeerId(77));
    let spawn = |cluster: &mut Cluster, player: Player| {
        let bundle = (Replicated, Hand(1), Health(1), player);
        let cards = cluster.world(server).spawn(bundle).id();
        name(cluster, server, cards)
    };
    let hidden = spawn(&mut cluster, nobody);
    for client in clients {
        until(&mut cluster, client, hidden, &Some(Health(1)));
    }
    assert_eq!(hands.written.load(Ordering::Relaxed), 0);
    let player = Player(me(&mut cluster, clients[3]));
    let shown = spawn(&mut cluster, player);
    until(&mut cluster, clients[3], shown, &Some(Hand(1)));
    assert_eq!(hands.written.load(Ordering::Relaxed), 1);
}

/// What a client should have of each entity: all but what its audience excludes.
type View = Vec<(GlobalEntity, Option<Place>, Option<Hand>, Option<Plan>)>;

fn view(cluster: &mut Cluster, app: AppId) -> View {
    let world = cluster.world(app);
    let mut query = world.query::<(&NetSlot, Option<&Place>, Option<&Hand>, Option<&Plan>)>();
    let mut all: View = query
        .iter(world)
        .filter_map(|(slot, place, hand, plan)| {
            Some((slot.global()?, place.cloned(), hand.cloned(), plan.cloned()))
        })
        .collect();
    all.sort_by_key(|entity| entity.0);
    all
}

/// A plan that fits a datagram, or one in five that does not.
fn long(n: u32) -> String {
    "p".repeat(n as usize % 40 * if n % 5 == 0 { 90 } else { 1 })
}

#[test]
fn everybody_ends_with_what_is_theirs_in_random_games() {
    for seed in 0..24u64 {
        let loss = [0.0, 0.05, 0.3][seed as usize % 3];
        let (mut cluster, [server, one, two], _) = table(seed, Weather::lossy(loss));
        let clients = [one, two];
        let players = clients.map(|client| me(&mut cluster, client));
        let mut rng = Rng::new(seed);
        let mut all: Vec<Entity> = Vec::new();
        let mut team = [false; 2];
        for _ in 0..150 {
            for _ in 0..=rng.below(2) {
                let world = cluster.world(server);
                let player = Player(players[rng.below(2)]);
                let any = (!all.is_empty()).then(|| all[rng.below(all.len().max(1))]);
                let n = rng.next() as u32 % 1000;
                match (rng.below(9), any) {
                    (0, _) | (_, None) => {
                        let bundle = (Replicated, Place::default(), player);
                        all.push(world.spawn(bundle).id());
                    }
                    (1, Some(entity)) => {
                        world.despawn(entity);
                        all.retain(|other| *other != entity);
                    }
                    (2 | 3, Some(entity)) => {
                        world.entity_mut(entity).insert(Hand(n));
                    }
                    (4, Some(entity)) => {
                        world.entity_mut(entity).insert(Plan(long(n)));
                    }
                    (5, Some(entity)) => {
                        world.entity_mut(entity).remove::<Hand>();
                    }
                    (6, Some(entity)) => {
                        let slot = *world.get::<NetSlot>(entity).expect("on the network");
                        world.entity_mut(entity).insert(player);
                        world.resource_mut::<Slots>().ask_again(&slot);
                    }
                    (7, Some(entity)) => {
                        world.entity_mut(entity).insert(Place(n as f32, 0.0, 0.0));
                    }
                    (_, Some(_)) => {
                        let which = rng.below(2);
                        team[which] = !team[which];
                        let enter = team[which];
                        interest(&mut cluster, [server, clients[which]], |i| {
                            if enter {
                                i.subscribe(TEAM);
                            } else {
                                i.unsubscribe(TEAM);
                            }
                        });
                    }
                }
            }
            cluster.step();
        }
        let full = view(&mut cluster, server);
        for (which, client) in clients.into_iter().enumerate() {
            let want: View = full
                .iter()
                .map(|(global, place, hand, plan)| {
                    let entity = find(&mut cluster, server, *global).expect("it is there");
                    let player = get::<Player>(&mut cluster, server, entity);
                    let mine = player.is_some_and(|player| player.0 == players[which]);
                    (
                        *global,
                        place.clone(),
                        hand.clone().filter(|_| mine),
                        plan.clone().filter(|_| team[which]),
                    )
                })
                .collect();
            let mut last = None;
            for _ in 0..300 {
                last = Some(view(&mut cluster, client)).filter(|have| *have != want);
                if last.is_none() {
                    break;
                }
                cluster.step();
            }
            assert!(last.is_none(), "seed {seed}: {last:?}, want {want:?}");
            let stats = common::counted(&mut cluster, client);
            assert_eq!(stats.refused.malformed, 0, "seed {seed}");
            assert_eq!(
                (stats.audit.differing, stats.audit.healed),
                (0, 0),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn worlds_without_audiences_are_as_before() {
    let (mut cluster, apps, _wire) = on_a_wire(register);
    let [server, client] = apps;
    let [there, _] = spawn_on(&mut cluster, apps, (Place::default(), Health(3)));
    let slot = *cluster
        .world(server)
        .get::<NetSlot>(there)
        .expect("on the network");
    // It has no audience, so nothing is hidden.
    interest(&mut cluster, apps, |i| {
        i.except_component::<Health>(&slot, Some(false));
    });
    cluster.run(30);
    settle(&mut cluster, server, &[client]);
}
