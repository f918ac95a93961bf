//! The game that all examples play: players walk, crates are carried, banners are planted.

use bevy::prelude::*;
use bevy_seamless::prelude::*;
use bevy_seamless::wire::{CellId, Holder, InputSeq};
use serde::{Deserialize, Serialize};

// `#[type_path]`: each example compiles this file as its own module, and the full path of a type is
// its name on the wire.

/// Metres a player walks in a second.
pub const SPEED: f32 = 6.0;

/// Ticks in a second.
pub const TICK_RATE: u16 = 30;

/// Names one game apart from others on the wire.
pub const PROTOCOL: u64 = 0x7365_616d_776f_726c;

/// Where something is, in metres.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[type_path = "game"]
pub struct Position(pub Vec3);

/// A player's body.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[type_path = "game"]
pub struct Body {
    /// Whose.
    pub player: u64,
}

/// The newest input that is in a player's state. In the same row as its position, so that a client
/// can compare that with what it predicted.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[type_path = "game"]
pub struct LastInput(pub u32);

/// Something to carry.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[type_path = "game"]
pub struct Crate;

/// Something a client planted and the server took over.
#[derive(Component, TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[type_path = "game"]
pub struct Banner(pub u64);

/// What a player wants in one tick: a direction on the ground, -100 to 100 each.
#[derive(TypePath, Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[type_path = "game"]
pub struct Walk {
    /// Along x.
    pub x: i8,
    /// Along z.
    pub z: i8,
}

impl Walk {
    /// Towards a place.
    pub fn towards(from: Vec3, to: Vec3) -> Self {
        let way = Vec2::new(to.x - from.x, to.z - from.z).clamp_length_max(1.0) * 100.0;
        Self {
            x: way.x as i8,
            z: way.y as i8,
        }
    }

    /// One tick of it. The same on client and server, bit for bit.
    pub fn step(self, from: Vec3) -> Vec3 {
        let metres = SPEED / f32::from(TICK_RATE) / 100.0;
        from + Vec3::new(f32::from(self.x) * metres, 0.0, f32::from(self.z) * metres)
    }
}

/// Registers what both sides must register alike.
pub fn register(app: &mut App) {
    app.replicate::<Position>()
        .priority(2.0)
        .app()
        .replicate::<Body>();
    app.replicate::<LastInput>();
    app.replicate::<Crate>();
    app.replicate::<Banner>();
    app.interest_position::<Position>(|position| position.0)
        .player_input::<Walk>();
}

/// The game without a window; whoever adds it drives it.
pub fn headless(seamless: SeamlessPlugins, mesh: impl Plugin) -> App {
    let mut app = App::new();
    app.add_plugins((
        MinimalPlugins
            .build()
            .disable::<bevy::app::ScheduleRunnerPlugin>(),
        seamless.with_tick_rate(TICK_RATE),
        mesh,
    ));
    register(&mut app);
    app
}

/// An input that a node applied.
#[derive(Clone, Copy, Debug)]
pub struct AppliedInput {
    /// Whose.
    pub player: PeerId,
    /// Its number.
    pub seq: InputSeq,
}

/// Inputs that were applied in this tick, for the log.
#[derive(Resource, Default)]
pub struct AppliedInputs(pub Vec<AppliedInput>);

/// Node: applies the players' inputs. A player who may not go further meets a soft wall.
pub fn walk(
    mut players: Query<(&HandoverRoot, &mut Position, &mut LastInput), With<Hosted>>,
    mut inputs: PlayerInputs<Walk>,
    mut applied: ResMut<AppliedInputs>,
    (view, grid, rules): (Res<MeshView>, Res<CellGrid>, Res<BorderRules>),
) {
    applied.0.clear();
    for (root, mut position, mut last) in &mut players {
        let Some(player) = root.player else { continue };
        for (seq, walk) in inputs.due(player) {
            let next = walk.step(position.0);
            let next = grid.hold_back(next, rules.overrun, |cell: CellId| view.owns(cell));
            position.set_if_neq(Position(next));
            last.0 = seq.0;
            applied.0.push(AppliedInput { player, seq });
        }
    }
}

/// Node: what a player holds rides on it, so that it crosses borders with it.
pub fn carry(
    changed: On<Insert, Authority>,
    crates: Query<&Authority, With<Crate>>,
    view: Res<MeshView>,
    mut commands: Commands,
) {
    let Ok(authority) = crates.get(changed.entity) else {
        return;
    };
    if !authority.hosted {
        return;
    }
    let carrier = match authority.holder {
        Holder::Peer(player) => view.players.get(&player).copied(),
        Holder::Nobody | Holder::Host => None,
    };
    match carrier {
        Some(carrier) => commands.entity(changed.entity).try_insert(RidesOn(carrier)),
        None => commands.entity(changed.entity).try_remove::<RidesOn>(),
    };
}
