//! What a trained dictionary gains: the figures of `docs/decisions/0027-no-trained-dictionary.md`.
//!
//! `cargo test --release -p seamless_wire --features zstd --test dictionary -- --ignored --nocapture`
#![cfg(feature = "zstd")]

use std::time::{Duration, Instant};

use seamless_wire::{
    Epoch, GlobalEntity, Holder, PeerId, Tenure, Term, Tick, codec,
    hash::{Namespace, type_id},
    snapshot::{Compressor, SnapshotRow, WorldSnapshot, Zstd},
};
use serde::Serialize;

/// xorshift*.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 20) % n
    }

    fn real(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

const ITEMS: [&str; 24] = [
    "iron_ingot",
    "copper_ingot",
    "oak_plank",
    "birch_plank",
    "rope",
    "torch",
    "bread",
    "apple",
    "healing_potion",
    "mana_potion",
    "short_sword",
    "long_sword",
    "buckler",
    "leather_boots",
    "chain_mail",
    "arrow",
    "hunting_bow",
    "flint",
    "coal",
    "glass_bottle",
    "map_of_the_north",
    "silver_key",
    "lantern",
    "wool",
];
const QUESTS: [&str; 6] = [
    "the_missing_miller",
    "wolves_at_the_ford",
    "a_debt_in_silver",
    "the_lighthouse_keeper",
    "bread_for_the_garrison",
    "the_old_road",
];
const NAMES: [&str; 12] = [
    "Ada", "Bjorn", "Chioma", "Dmitri", "Elena", "Farid", "Greta", "Hiro", "Imani", "Jonas",
    "Katya", "Luca",
];

/// One entity's components.
#[derive(Default)]
struct Row(Vec<(u64, Vec<u8>)>);

impl Row {
    fn with<C: Serialize>(mut self, path: &str, component: C) -> Self {
        let value = codec::to_vec(&component).expect("it encodes");
        self.0.push((type_id(Namespace::Component, path), value));
        self
    }

    fn transform(self, at: [f32; 3], turn: [f32; 4]) -> Self {
        let path = "bevy_transform::components::transform::Transform";
        self.with(path, (at, turn, [1.0f32; 3]))
    }

    fn name(self, name: String) -> Self {
        self.with("bevy_ecs::name::Name", name)
    }

    fn health(self, rng: &mut Rng) -> Self {
        let full = 50 + 25 * rng.below(5) as u32;
        let now = if rng.below(3) > 0 {
            full
        } else {
            rng.below(full.into()) as u32
        };
        self.with("game::health::Health", (now, full))
    }

    fn inventory(self, rng: &mut Rng, most: u64) -> Self {
        let items: Vec<(&str, u16)> = (0..rng.below(most + 1))
            .map(|_| (ITEMS[rng.below(24) as usize], 1 + rng.below(64) as u16))
            .collect();
        self.with("game::inventory::Inventory", items)
    }
}

fn place(rng: &mut Rng) -> [f32; 3] {
    [
        rng.real(-500.0, 500.0),
        rng.real(0.0, 12.0),
        rng.real(-500.0, 500.0),
    ]
}

fn yaw(rng: &mut Rng) -> [f32; 4] {
    let half = rng.real(-1.6, 1.6);
    [0.0, half.sin(), 0.0, half.cos()]
}

fn walker(rng: &mut Rng, number: u64) -> Row {
    let goal = place(rng);
    Row::default()
        .transform(place(rng), yaw(rng))
        .with(
            "game::walk::Walker",
            (rng.real(0.8, 2.2), goal, rng.below(4) as u8),
        )
        .name(format!("Villager {number}"))
        .health(rng)
}

fn tumbler(rng: &mut Rng) -> Row {
    let mut turn = [(); 4].map(|()| rng.real(-1.0, 1.0));
    let length = turn.iter().map(|x| x * x).sum::<f32>().sqrt();
    turn.iter_mut().for_each(|x| *x /= length);
    let [v, w] = [(); 2].map(|()| [(); 3].map(|()| rng.real(-4.0, 4.0)));
    Row::default()
        .transform(place(rng), turn)
        .with("avian3d::LinearVelocity", v)
        .with("avian3d::AngularVelocity", w)
}

fn chest(rng: &mut Rng) -> Row {
    Row::default()
        .transform(place(rng), [0.0, 0.0, 0.0, 1.0])
        .inventory(rng, 8)
        .with("game::carry::Carriable", (rng.real(1.0, 30.0), true))
}

fn player(rng: &mut Rng) -> Row {
    let quests: Vec<(&str, u8, Option<u32>)> = (0..rng.below(4))
        .map(|n| {
            (
                QUESTS[(n + rng.below(3)) as usize],
                rng.below(7) as u8,
                None,
            )
        })
        .collect();
    let name = NAMES[rng.below(12) as usize];
    Row::default()
        .transform(place(rng), yaw(rng))
        .name(format!("{name}{}", rng.below(1000)))
        .health(rng)
        .inventory(rng, 20)
        .with(
            "game::walk::Velocity",
            [rng.real(-5.0, 5.0), 0.0, rng.real(-5.0, 5.0)],
        )
        .with("game::quests::Quests", quests)
        .with("game::team::Team", rng.below(3) as u8)
        .with("game::input::Applied", rng.below(100_000) as u32)
}

fn row(rng: &mut Rng, counter: u64, held: bool, Row(mut components): Row) -> SnapshotRow {
    components.sort_by_key(|(id, _)| *id);
    let epoch = Epoch {
        term: Term(200 + rng.below(40)),
        seq: rng.below(6) as u32,
    };
    SnapshotRow {
        entity: GlobalEntity::new(77, counter).expect("legal"),
        tenure: Tenure {
            epoch,
            since: epoch,
            holder: if held {
                Holder::Peer(PeerId(rng.next()))
            } else {
                Holder::Nobody
            },
            delegated: held,
            ..Tenure::default()
        },
        components,
    }
}

fn snapshot(tick: u64, rows: Vec<SnapshotRow>) -> WorldSnapshot {
    WorldSnapshot {
        tick: Tick(tick as u32),
        schema: 0x1d3e_55aa_9c01_7788,
        rows,
    }
}

/// 2,000 entities of four shapes.
fn world(rng: &mut Rng) -> Vec<u8> {
    let rows = (1..=2000).map(|n| {
        let components = match n % 20 {
            0 => player(rng),
            1..=7 => walker(rng, n),
            8..=14 => tumbler(rng),
            _ => chest(rng),
        };
        row(rng, n, n % 20 == 0, components)
    });
    let rows = rows.collect();
    snapshot(70_000 + rng.below(1000), rows)
        .to_bytes()
        .expect("it encodes")
}

/// What a player takes over a border: itself, and up to four things.
fn handover(rng: &mut Rng) -> Vec<u8> {
    let first = 1 + rng.below(100_000);
    let player = player(rng);
    let mut rows = vec![row(rng, first, true, player)];
    for n in 0..rng.below(5) {
        let carried = if rng.below(2) == 0 {
            chest(rng)
        } else {
            tumbler(rng)
        };
        rows.push(row(rng, first + n + 1, true, carried));
    }
    snapshot(70_000 + rng.below(1000), rows)
        .to_bytes()
        .expect("it encodes")
}

/// A checkpoint of one entity, as the directory stores them.
fn checkpoint(rng: &mut Rng) -> Vec<u8> {
    let first = 1 + rng.below(100_000);
    let components = if rng.below(2) == 0 {
        player(rng)
    } else {
        chest(rng)
    };
    let row = row(rng, first, true, components);
    snapshot(70_000 + rng.below(1000), vec![row])
        .to_bytes()
        .expect("it encodes")
}

fn sizes(list: &[Vec<u8>], compressor: Option<&Zstd>) -> (usize, Duration) {
    let started = Instant::now();
    let bytes = list.iter().map(|bytes| {
        let Some(compressor) = compressor else {
            return bytes.len();
        };
        let pieces = bytes.chunks(256 << 10).map(|piece| {
            let mut out = Vec::new();
            compressor.compress(piece, &mut out);
            out.len()
        });
        pieces.sum()
    });
    let bytes: usize = bytes.sum();
    (bytes / list.len(), started.elapsed() / list.len() as u32)
}

#[test]
#[ignore = "prints figures, proves nothing"]
fn what_a_dictionary_gains() {
    let [mut train, mut test] = [Rng(0x1234_5678_9abc_def1), Rng(0xfeed_beef_1357_2469)];
    type Make = fn(&mut Rng) -> Vec<u8>;
    let kinds: [(&str, Make, usize); 3] = [
        ("whole world", world, 5),
        ("handover", handover, 2000),
        ("checkpoint", checkpoint, 2000),
    ];
    for (kind, make, count) in kinds {
        let samples: Vec<Vec<u8>> = match kind {
            // The same rows, or the trainer has too few samples.
            "whole world" => (0..5)
                .flat_map(|_| {
                    world(&mut train)
                        .chunks(8 << 10)
                        .map(<[u8]>::to_vec)
                        .collect::<Vec<_>>()
                })
                .collect(),
            _ => (0..count).map(|_| make(&mut train)).collect(),
        };
        let list: Vec<Vec<u8>> = (0..count).map(|_| make(&mut test)).collect();
        println!("{kind}: {} B plain", sizes(&list, None).0);
        for level in [1, 3, 9, 19] {
            let none = Zstd::new(level);
            let (bytes, time) = sizes(&list, Some(&none));
            print!("  level {level:2}: {bytes} B in {time:?}");
            for size in [4 << 10, 16 << 10, 64 << 10] {
                let trained = zstd::dict::from_samples(&samples, size).expect("enough samples");
                let primed = none.clone().with_dictionary(&trained).expect("trained");
                let (bytes, time) = sizes(&list, Some(&primed));
                print!("; {} KiB: {bytes} B in {time:?}", size >> 10);
            }
            println!();
        }
    }
}
