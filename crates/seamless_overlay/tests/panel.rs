//! The panel says what the statistics of a real cluster say.

mod common;

use std::collections::BTreeSet;

use bevy::prelude::*;
use common::{Label, Place, assert_says, collected, draw, region, row, says};
use egui_kittest::kittest::Queryable;
use seamless_authority::{AuthorityCommandsExt, AuthorityView, Delegated};
use seamless_overlay::{OverlayModel, collect::read, model::FenceModel, units};
use seamless_replication::{
    NetClock, NetSlot, Peers, Replicated, ReplicationStats, Slots,
    migrate::redirects,
    stats::LinkStats,
    wire::{Holder, PeerId},
};
use seamless_testkit::{AppId, Cluster, Weather};

/// Entities on the server, and those of them that can be lent.
const ENTITIES: usize = 12;
const LENDABLE: usize = 5;

#[derive(Component)]
struct Number(usize);

struct Game {
    cluster: Cluster,
    server: AppId,
    clients: [AppId; 2],
}

/// The first half moves all the time, the second now and then, so that losses are noticed.
fn wander(mut places: Query<(&mut Place, &Number), With<Replicated>>, clock: Res<NetClock>) {
    for (mut place, number) in &mut places {
        if number.0 < ENTITIES / 2 || clock.tick().0.is_multiple_of(15) {
            place.0.x = (clock.tick().0 % 90) as f32;
        }
    }
}

/// A server with two clients on a bad network; the second client holds one entity, one is kept by
/// the host, and more than a second has passed.
fn game() -> Game {
    let mut cluster = Cluster::new(7, |app| {
        common::register(app);
        app.add_systems(FixedUpdate, wander);
    });
    cluster.set_weather(Weather::lossy(0.1));
    let server = cluster.server();
    let clients = [cluster.client(server), cluster.client(server)];
    let mut lendable = Vec::new();
    for number in 0..ENTITIES {
        let world = cluster.world(server);
        let label = Label(format!("entity {number}"));
        let mut entity = world.spawn((Replicated, Number(number), Place::default(), label));
        if number < LENDABLE {
            lendable.push(entity.insert(Delegated).id());
        }
    }
    cluster.step();
    let world = cluster.world(server);
    world.commands().entity(lendable[0]).take_authority();
    world.flush();
    let wanted = world
        .get::<NetSlot>(lendable[1])
        .and_then(NetSlot::global)
        .expect("named");
    let holder = clients[1];
    let found = |cluster: &mut Cluster| cluster.world(holder).resource::<Slots>().entity(wanted);
    cluster.run_until("the holder sees it", 300, |cluster| {
        found(cluster).is_some()
    });
    let held = found(&mut cluster).expect("seen");
    cluster
        .world(holder)
        .commands()
        .entity(held)
        .request_authority();
    cluster.world(holder).flush();
    cluster.run_until("granted", 300, |cluster| {
        cluster.world(holder).get::<AuthorityView>(held) == Some(&AuthorityView::Granted)
    });
    cluster.run(90);
    Game {
        cluster,
        server,
        clients,
    }
}

impl Game {
    /// The model of an app, and the statistics of the same moment.
    fn look(&mut self, app: AppId) -> (OverlayModel, ReplicationStats) {
        let model = collected(self.cluster.world(app));
        (
            model,
            self.cluster
                .world(app)
                .resource::<ReplicationStats>()
                .clone(),
        )
    }

    fn server(&mut self) -> (OverlayModel, ReplicationStats) {
        self.look(self.server)
    }

    fn client(&mut self, client: usize) -> OverlayModel {
        self.look(self.clients[client]).0
    }

    fn me(&mut self, client: usize) -> PeerId {
        let client = self.clients[client];
        self.cluster
            .world(client)
            .resource::<Peers>()
            .me()
            .expect("linked")
    }
}

fn link_of(stats: &ReplicationStats, peer: PeerId) -> LinkStats {
    stats
        .links
        .values()
        .find(|link| link.peer == Some(peer))
        .expect("linked")
        .clone()
}

#[test]
fn a_server_shows_a_row_for_each_client_with_the_numbers_of_its_link() {
    let mut game = game();
    let (model, stats) = game.server();
    let harness = draw(&model);
    let links = region(&harness, "Links");
    for client in 0..2 {
        let peer = game.me(client);
        let link = link_of(&stats, peer);
        assert!(
            link.bytes_per_second.1 > 0.0 && link.loss > 0.0,
            "a second of bad weather"
        );
        let cells = row(&links, &peer.to_string());
        let want = [
            format!("other end: {peer}"),
            "use: playing".to_owned(),
            format!("in: {}", units::rate(link.bytes_per_second.0)),
            format!("out: {}", units::rate(link.bytes_per_second.1)),
            format!(
                "packets/s: {:.0}/{:.0}",
                link.packets_per_second.0.round(),
                link.packets_per_second.1.round()
            ),
            format!("RTT: {}", units::milliseconds(link.rtt)),
            format!("loss: {}", units::percent(link.loss.into())),
            format!("sees: {ENTITIES}"),
            format!("unsettled: {}", link.unsettled),
            format!("records: {}", link.records.0),
            format!("absolute: {}", link.records.1),
            format!("resent: {}", link.records.2),
            format!("deferred: {}", link.deferred),
        ];
        for cell in want {
            assert!(cells.contains(&cell), "not {cell:?}, but {cells:#?}");
        }
    }
    assert_eq!(model.links.len(), 2);
}

#[test]
fn the_line_above_adds_the_links_up() {
    let mut game = game();
    let (model, stats) = game.server();
    let tick = game
        .cluster
        .world(game.server)
        .resource::<NetClock>()
        .tick()
        .0;
    let (received, sent) = stats.bytes_per_second();
    let packets = stats
        .links
        .values()
        .fold((0.0, 0.0), |(received, sent), link| {
            (
                received + link.packets_per_second.0,
                sent + link.packets_per_second.1,
            )
        });
    let harness = draw(&model);
    let summary = region(&harness, "Summary");
    for figure in [
        "this app: server".to_owned(),
        format!("in: {}", units::rate(received)),
        format!("out: {}", units::rate(sent)),
        format!(
            "packets/s: {}/{}",
            units::per_second(packets.0.round()),
            units::per_second(packets.1.round())
        ),
        format!("hosted: {ENTITIES}"),
        "remote: 0".to_owned(),
        format!("tick @ 30 Hz: {tick}"),
        format!("send: {}", units::milliseconds(stats.send_time)),
        format!("receive: {}", units::milliseconds(stats.receive_time)),
    ] {
        assert_says(&summary, &figure);
    }
}

#[test]
fn the_plot_has_a_point_for_each_second() {
    let mut game = game();
    let (model, stats) = game.server();
    let history: Vec<_> = model
        .traffic
        .history
        .iter()
        .map(|both| (both.received, both.sent))
        .collect();
    assert!(history.len() >= 3);
    assert_eq!(history, stats.history);
    let harness = draw(&model);
    let said = says(&region(&harness, "Throughput"));
    assert!(
        !said.iter().any(|text| text.contains("no second")),
        "{said:?}"
    );
}

#[test]
fn packets_are_remembered_by_the_second_from_one_look_to_the_next() {
    let mut game = game();
    for _ in 0..9 {
        game.cluster.run(10);
        game.server();
    }
    let (model, _) = game.server();
    let history = &model.traffic.packet_history;
    assert!((3..=5).contains(&history.len()), "{history:?}");
    for pair in history.windows(2) {
        assert_eq!(pair[0].second + 1, pair[1].second);
    }
    let last = history.last().expect("a second");
    assert_eq!(last.packets, model.traffic.packets_per_second);
    assert!(last.packets.sent > 0.0 && last.packets.received > 0.0);
}

#[test]
fn a_history_of_packets_has_an_end_and_goes_along_with_a_clock_set_back() {
    let at = |second: u32| {
        let mut model = OverlayModel::default();
        (model.clock.rate, model.clock.tick) = (30, second * 30);
        model
    };
    let mut before = at(0);
    for second in 1..500 {
        let mut model = at(second);
        model.follow(&before);
        before = model;
    }
    let seconds = |model: &OverlayModel| {
        let history = model.traffic.packet_history.iter();
        history.map(|at| at.second).collect::<Vec<_>>()
    };
    assert_eq!(seconds(&before), (380..500).collect::<Vec<_>>());
    let mut back = at(382);
    back.follow(&before);
    assert_eq!(seconds(&back), [380, 381, 382]);
    let mut stopped = OverlayModel::default();
    stopped.follow(&back);
    assert!(seconds(&stopped).is_empty(), "a clock without a rate");
}

#[test]
fn each_component_has_a_row_with_its_bytes_and_its_share() {
    let mut game = game();
    let (model, stats) = game.server();
    let all: u64 = stats
        .components
        .iter()
        .map(|c| c.absolute_bits + c.delta_bits)
        .sum();
    let harness = draw(&model);
    let components = region(&harness, "Components");
    for short in ["Place", "Label"] {
        let component = stats
            .components
            .iter()
            .find(|component| component.path.ends_with(&format!("::{short}")))
            .expect("registered");
        let both = component.absolute_bits + component.delta_bits;
        let cells = row(&components, short);
        for cell in [
            format!(
                "absolute: {}",
                units::bytes((component.absolute_bits / 8) as f64)
            ),
            format!("delta: {}", units::bytes((component.delta_bits / 8) as f64)),
            format!("share: {}", units::percent(both as f64 / all as f64)),
        ] {
            assert!(cells.contains(&cell), "not {cell:?}, but {cells:#?}");
        }
    }
}

#[test]
fn a_click_on_a_title_sorts_the_components() {
    let mut game = game();
    let (model, _) = game.server();
    let mut harness = draw(&model);
    let order = |harness: &egui_kittest::Harness<'static>| {
        let components = region(harness, "Components");
        let said = says(&components);
        let at = |name: &str| said.iter().position(|text| text == name).expect("a row");
        at("Label") < at("Place")
    };
    assert!(!order(&harness), "the costlier one is above at first");
    harness.get_by_label("sort components by component").click();
    harness.run();
    assert!(order(&harness), "by name");
    harness.get_by_label("sort components by component").click();
    harness.run();
    assert!(!order(&harness), "the other way round");
}

#[test]
fn a_server_says_who_holds_what() {
    let mut game = game();
    let (model, _) = game.server();
    let holder = game.me(1);
    let harness = draw(&model);
    let authority = region(&harness, "Authority");
    assert_says(&authority, &format!("available: {}", LENDABLE - 2));
    assert_says(&authority, "kept by the host: 1");
    assert_says(&authority, &format!("held by {holder}: 1"));
    assert_says(&authority, "granted to us: 0");
    let said = says(&harness.root());
    let gist = format!("{LENDABLE} can be lent: {LENDABLE} hosted here, 0 elsewhere");
    assert!(said.contains(&gist), "{said:#?}");
}

#[test]
fn a_client_says_what_was_granted_to_it_and_what_was_not() {
    let mut game = game();
    for (client, granted) in [(0, 0), (1, 1)] {
        let model = game.client(client);
        assert_eq!(model.name, format!("client {}", game.me(client)));
        let harness = draw(&model);
        assert_says(
            &region(&harness, "Authority"),
            &format!("granted to us: {granted}"),
        );
        assert_says(&region(&harness, "Summary"), &format!("remote: {ENTITIES}"));
        let cells = row(&region(&harness, "Links"), "server");
        assert!(cells.contains(&"use: playing".to_owned()), "{cells:?}");
    }
}

#[test]
fn a_server_and_its_clients_show_the_same_fences() {
    let mut game = game();
    let holder = game.me(1);
    let server = game.server();
    let (of_server, of_client) = (server.0.authority.fences, game.client(1).authority.fences);
    assert_eq!((of_server.len(), of_client.len()), (LENDABLE, LENDABLE));
    assert_eq!(
        of_server[0].holder,
        Holder::Peer(holder),
        "what is lent first"
    );
    for fence in &of_server {
        let same = |other: &&FenceModel| other.entity == fence.entity;
        let there = of_client.iter().find(same).expect("it is told of all");
        assert_eq!(
            (there.holder, there.epoch, there.since),
            (fence.holder, fence.epoch, fence.since)
        );
        assert!(fence.hosted && !there.hosted);
    }
    let fence = &of_server[0];
    let name = fence.entity.expect("named").to_string();
    for (model, here) in [(game.server().0, "hosted"), (game.client(1), "granted")] {
        let harness = draw(&model);
        let cells = row(&region(&harness, "Authority"), &name);
        for cell in [
            format!("holder: {holder}"),
            format!("epoch: {}", fence.epoch),
            format!("since: {}", fence.since),
            format!("here: {here}"),
        ] {
            assert!(cells.contains(&cell), "not {cell:?}, but {cells:#?}");
        }
    }
}

#[test]
fn the_old_name_of_what_migrated_is_shown_while_it_counts() {
    let mut game = game();
    let (owner, me) = (game.clients[0], game.me(0));
    let own = game
        .cluster
        .world(owner)
        .spawn((Replicated, Place::default()))
        .id();
    game.cluster.run(30);
    let world = game.cluster.world(owner);
    world.commands().entity(own).delegate();
    world.flush();
    let server = game.server;
    game.cluster.run_until("it migrated", 300, |cluster| {
        redirects(cluster.world(server).resource::<Peers>()).count() == 1
    });
    let (model, _) = game.server();
    let world = game.cluster.world(server);
    let redirect = redirects(world.resource::<Peers>()).next().expect("one");
    let harness = draw(&model);
    let authority = region(&harness, "Authority");
    assert_says(&authority, "redirects: 1");
    let cells = row(&authority, &me.to_string());
    let (old, new) = (redirect.old.0, redirect.new.0);
    for cell in [
        format!("its name: {}v{}", old.index, old.generation),
        format!("our name: {}v{}", new.index, new.generation),
    ] {
        assert!(cells.contains(&cell), "not {cell:?}, but {cells:#?}");
    }
}

#[test]
fn counters_add_up_what_came_and_was_not_used() {
    let mut game = game();
    // What changes and rests is lost again and again.
    game.cluster.change_weather(Weather::lossy(0.6));
    let world = game.cluster.world(game.server);
    let mut labels = world.query::<&mut Label>();
    labels
        .iter_mut(world)
        .for_each(|mut label| label.0.push('!'));
    game.cluster.run(40);
    let (model, stats) = game.server();
    let sum = |read: fn(&LinkStats) -> u64| stats.links.values().map(read).sum::<u64>();
    let [resent, insured] = [sum(|link| link.records.2), sum(|link| link.insured)];
    assert!(resent > 0 && insured > 0, "bad weather loses records");
    let harness = draw(&model);
    let counters = region(&harness, "Counters");
    assert_says(&counters, &format!("resent: {resent}"));
    assert_says(&counters, &format!("insured: {insured}"));
    assert_says(
        &counters,
        &format!("absolute: {}", sum(|link| link.records.1)),
    );
    assert_says(
        &counters,
        &format!("stale: {}", sum(|link| link.refused.stale)),
    );
    assert_says(
        &counters,
        &format!("duplicates: {}", sum(|link| link.refused.duplicates)),
    );
    assert_says(&counters, "malformed: 0");
}

#[test]
fn an_app_without_replication_has_no_model() {
    assert!(read(&World::new()).is_none());
}

#[test]
fn an_app_that_has_just_begun_says_what_is_missing() {
    let harness = draw(&OverlayModel::default());
    let regions: BTreeSet<(&str, &str)> = [
        ("Throughput", "no second has passed yet"),
        ("Links", "no link yet"),
        (
            "Components",
            "no component is registered, or no tick has run yet",
        ),
        (
            "Authority",
            "nothing here can be lent: no entity is delegated",
        ),
        ("Mesh", "this app is not a node of a mesh"),
    ]
    .into();
    for (name, missing) in regions {
        let region = region(&harness, name);
        assert_says(&region, missing);
        let height = region.rect().height();
        assert!(height < 60.0, "{name} is {height} high and says one line");
    }
}

#[test]
fn sections_and_rows_stand_below_each_other() {
    let mut game = game();
    let (model, _) = game.server();
    let harness = draw(&model);
    let mut below = 0.0;
    let sections = [
        "Throughput",
        "Links",
        "Components",
        "Authority",
        "Mesh",
        "Counters",
    ];
    for section in sections {
        let title = harness
            .get_by_role_and_label(egui::accesskit::Role::Button, section)
            .rect();
        assert!(
            title.top() >= below,
            "{section} begins above the end of what is before it"
        );
        let body = region(&harness, section).rect();
        assert!(
            body.top() >= title.bottom() && body.height() > 10.0,
            "{section}: {body:?}"
        );
        below = body.bottom();
    }
    let links = region(&harness, "Links");
    let rows: Vec<_> = links
        .query_all_by_role(egui::accesskit::Role::Row)
        .map(|row| row.rect())
        .collect();
    assert!(rows[1].top() >= rows[0].bottom(), "{rows:?}");
}
