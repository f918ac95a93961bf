//! The crates that are compared, each behind the same interface.

mod floor;
mod lightyear;
mod naia;
mod replicon;
mod seamless;
mod viewers;

use std::time::Duration;

use bevy::{prelude::*, time::TimeUpdateStrategy};

use crate::{body::Body, motion::TICK_RATE, network::Traffic, scenario::Scenario};

/// All subjects, in the order in which they are shown. The empty app is none of them.
pub(crate) const NAMES: [&str; 5] = [
    "bevy_seamless",
    "bevy_seamless_quantized",
    "bevy_replicon",
    "lightyear",
    "naia",
];

/// The app with nothing in it.
pub(crate) const FLOOR: &str = "empty";

/// Length of a tick. The same nanoseconds everywhere, so that nobody ever skips one.
pub(crate) const TICK: Duration = Duration::from_nanos(1_000_000_000 / TICK_RATE as u64);

/// How far a client's values may be from the server's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Precision {
    /// Metres, on each axis.
    pub(crate) position: f32,
    /// Radians.
    pub(crate) rotation: f32,
    /// Metres a second, on each axis.
    pub(crate) velocity: f32,
}

/// A server with a world and its clients, all in this process and in the same tick.
///
/// A tick of all is: [`client_tick`](Self::client_tick) of each client in order,
/// [`server_tick`](Self::server_tick), [`turn`](Self::turn). What is sent in one tick is taken in
/// the next.
pub(crate) trait Subject {
    /// Writes new values of these entities into the server's world.
    fn write(&mut self, changed: &[u32], bodies: &[Body]);

    /// Makes the clients and has them ask for a connection.
    fn connect(&mut self, clients: usize);

    /// From datagrams that have arrived to datagrams that stand on the links.
    fn server_tick(&mut self);

    /// The same of one client.
    fn client_tick(&mut self, client: usize);

    /// Ends the tick: what was sent arrives.
    fn turn(&mut self);

    /// Drops all clients and what lies on the network. Nothing is asked of the subject after that.
    fn drop_clients(&mut self);

    /// Loses datagrams in both directions from now on.
    fn set_loss(&mut self, loss: f32, seed: u64);

    /// Whether its sockets give the system several datagrams of a client at once.
    fn sends_together(&self) -> bool {
        false
    }

    /// What went from the server to the clients since the beginning.
    fn sent(&self) -> Traffic;

    /// Time spent in the subject's own systems since the last call, if it can be told apart.
    fn own_time(&mut self) -> Option<Duration> {
        None
    }

    /// Number of whole entities that a client has.
    fn count(&mut self, client: usize) -> usize;

    /// What the server's world has.
    fn server_bodies(&self) -> Vec<Body>;

    /// What a client has of these entities.
    fn client_bodies(&self, client: usize, entities: &[u32]) -> Vec<Option<Body>>;

    /// How exact clients are. `None`: to the bit.
    fn precision(&self) -> Option<Precision> {
        None
    }
}

/// Makes a subject with the scenario's world in it.
pub(crate) fn make(
    name: &str,
    scenario: &Scenario,
    bodies: &[Body],
) -> Result<Box<dyn Subject>, String> {
    match name {
        FLOOR => Ok(Box::new(floor::Floor::new())),
        "bevy_seamless" => Ok(Box::new(seamless::Seamless::new(scenario, bodies, false))),
        "bevy_seamless_quantized" => Ok(Box::new(seamless::Seamless::new(scenario, bodies, true))),
        "bevy_replicon" => Ok(Box::new(replicon::Replicon::new(scenario, bodies))),
        "lightyear" => Ok(Box::new(lightyear::Lightyear::new(scenario, bodies))),
        "naia" => Ok(Box::new(naia::Naia::new(scenario, bodies))),
        _ => Err(format!(
            "there is no subject \"{name}\"; there are {}",
            NAMES.join(", ")
        )),
    }
}

/// Why a subject cannot be measured in a scenario, if so.
pub(crate) fn unfit(name: &str, scenario: &Scenario) -> Option<String> {
    match name {
        "naia" => naia::unfit(scenario),
        _ => None,
    }
}

/// An app as all subjects have it: bare, on virtual time, one fixed tick an update.
fn bare_app() -> App {
    let mut app = App::new();
    app.add_plugins(MinimalPlugins)
        .insert_resource(Time::<Fixed>::from_duration(TICK))
        .insert_resource(TimeUpdateStrategy::ManualDuration(TICK));
    app
}

/// Ends the setting up of an app.
fn finished(mut app: App) -> App {
    app.finish();
    app.cleanup();
    app
}

/// Whole entities of a world.
fn count_bodies(world: &mut World) -> usize {
    use crate::body::{Position, Rotation, Velocity};
    world
        .query_filtered::<(), (With<Position>, With<Rotation>, With<Velocity>)>()
        .iter(world)
        .count()
}

/// The values of all of a server's entities.
fn read_all(world: &World, entities: &[Entity]) -> Vec<Body> {
    entities
        .iter()
        .map(|&entity| Body::read(world, entity).expect("the server keeps its entities"))
        .collect()
}

/// Writes new values of some of a server's entities.
fn write_some(world: &mut World, entities: &[Entity], changed: &[u32], bodies: &[Body]) {
    for &index in changed {
        bodies[index as usize].write(world, entities[index as usize]);
    }
}
