//! Bevy's change ticks are 32 bits that go on with every system that runs: some days of a server.
//! Here a server goes through all of them, and what changes is told.

mod common;

use bevy::{
    ecs::change_detection::{CHECK_TICK_THRESHOLD, CheckChangeTicks},
    prelude::*,
};
use common::{Health, Place, Stunned, command, counted, get, pair, register, settle, spawn_on};
use seamless_testkit::{AppId, Cluster, Weather};

/// How often Bevy looked after its ticks.
#[derive(Resource, Default)]
struct Checks(u32);

/// Lets so many change ticks go by, as systems that run do.
fn pass_ticks(cluster: &mut Cluster, app: AppId, ticks: u32) {
    let world = cluster.world(app);
    // Four thousand million of them: written so that it is fast without optimisation, too.
    let mut left = ticks;
    while left > 0 {
        world.increment_change_tick();
        left -= 1;
    }
}

#[test]
fn a_server_goes_through_all_change_ticks() {
    let (mut cluster, apps) = pair(5, Weather::lossy(0.05), register);
    let [server, client] = apps;
    let world = cluster.world(server);
    world.init_resource::<Checks>();
    world.add_observer(|_: On<CheckChangeTicks>, mut checks: ResMut<Checks>| checks.0 += 1);
    let [moves, moves_there] = spawn_on(&mut cluster, apps, (Place::default(), Health(7)));
    let [rests, rests_there] = spawn_on(&mut cluster, apps, (Place(1.0, 2.0, 3.0), Health(3)));
    let [sparse, sparse_there] = spawn_on(&mut cluster, apps, (Place::default(), Stunned(0)));
    let begun = cluster.world(server).change_tick().get();
    let stride = CHECK_TICK_THRESHOLD / 2;
    let (mut passed, mut n) = (0u64, 0u8);
    while passed <= u64::from(u32::MAX) + u64::from(stride) {
        pass_ticks(&mut cluster, server, stride);
        passed += u64::from(stride);
        n += 1;
        // What changes now is newer than the last run, also where the ticks in between began anew.
        let before = counted(&mut cluster, server).records;
        let world = cluster.world(server);
        world.get_mut::<Place>(moves).expect("it is there").0 = f32::from(n);
        world.get_mut::<Stunned>(sparse).expect("it is there").0 = n;
        if n == 9 {
            command(&mut cluster, server, moves, |moves| {
                moves.remove::<Health>();
            });
        }
        cluster.run(40);
        settle(&mut cluster, server, &[client]);
        let after = counted(&mut cluster, server).records;
        let (sent, again) = (after.0 - before.0, after.2 - before.2);
        assert_eq!(sent - again, 2, "what moves, and nothing else; stride {n}");
    }
    let world = cluster.world(server);
    assert!(world.change_tick().get().wrapping_sub(begun) < 3 * stride);
    assert!(world.resource::<Checks>().0 >= 7);
    assert_eq!(
        get(&mut cluster, client, moves_there),
        Some(Place(f32::from(n), 0.0, 0.0))
    );
    assert_eq!(get::<Health>(&mut cluster, client, moves_there), None);
    assert_eq!(get(&mut cluster, client, sparse_there), Some(Stunned(n)));
    assert_eq!(
        get(&mut cluster, client, rests_there),
        Some(Place(1.0, 2.0, 3.0))
    );
    // What rested for so long is still seen when it changes.
    cluster
        .world(server)
        .get_mut::<Health>(rests)
        .expect("it is there")
        .0 = 4;
    settle(&mut cluster, server, &[client]);
    assert_eq!(get(&mut cluster, client, rests_there), Some(Health(4)));
}
