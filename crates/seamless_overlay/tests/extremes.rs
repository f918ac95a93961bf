//! Whatever the numbers are, the panel is drawn, at once, and says what it leaves out.

mod common;

use std::time::{Duration, Instant};

use common::{WIDTH, assert_says, draw, region, row, says};
use egui_kittest::{Harness, kittest::Queryable};
use seamless_overlay::{
    OverlayModel, OverlayState,
    model::{
        Both, CellModel, ComponentModel, CrossingModel, GridModel, LinkModel, MeshCountersModel,
        MeshModel, NodeModel, PacketsAt, RecentHandover, RefusedModel, RootModel,
    },
    ui,
};
use seamless_wire::{CellId, GlobalEntity, HandoverId, Incarnation, NodeId, NodeRef, PeerId, Term};

/// What drawing twice may take, in an unoptimised build on a busy machine. A layout of all of
/// 10,000 rows takes many times as long.
const AT_ONCE: Duration = Duration::from_millis(1500);

fn node(id: u32) -> NodeRef {
    NodeRef {
        id: NodeId(id),
        incarnation: Incarnation(u64::from(id) + 1),
    }
}

fn name(counter: u64) -> GlobalEntity {
    GlobalEntity::new(9, counter + 1).expect("legal")
}

fn handover(counter: u64) -> HandoverId {
    HandoverId {
        root: name(counter),
        term: Term(counter),
        attempt: 1,
    }
}

/// A square grid whose four quarters belong to four nodes.
fn square(side: u32) -> MeshModel {
    let half = side.div_ceil(2);
    let owner = |cell: u32| node((cell % side) / half + 2 * ((cell / side) / half));
    MeshModel {
        node: Some(node(0)),
        healthy: true,
        nodes: (0..4)
            .map(|id| NodeModel {
                node: node(id),
                players: id,
                cells: 1,
                tick: Duration::from_micros(400),
                draining: false,
            })
            .collect(),
        grid: GridModel {
            origin: [-50.0; 2],
            cell: [50.0; 2],
            columns: side,
            rows: side,
        },
        cells: (0..side * side)
            .map(|cell| CellModel {
                cell: CellId(cell),
                owner: owner(cell),
                term: Term(3),
            })
            .collect(),
        ..MeshModel::default()
    }
}

fn with_mesh(mesh: MeshModel) -> OverlayModel {
    OverlayModel {
        mesh: Some(mesh),
        ..OverlayModel::default()
    }
}

#[track_caller]
fn draw_at_once(model: &OverlayModel) -> Harness<'static> {
    // Fonts are rasterised once; that is not the panel's time.
    drop(draw(&OverlayModel::default()));
    let begin = Instant::now();
    let mut harness = draw(model);
    harness.step();
    let took = begin.elapsed();
    assert!(took < AT_ONCE, "took {took:?}");
    harness
}

#[test]
fn what_is_no_number_is_drawn() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -1.0] {
        let both = Both {
            received: value,
            sent: value,
        };
        let mut model = OverlayModel::default();
        model.traffic.bytes_per_second = both;
        model.traffic.packets_per_second = both;
        model.traffic.history = vec![both, Both::default(), both];
        model.traffic.packet_history = [0, u32::MAX, 7]
            .map(|second| PacketsAt {
                second,
                packets: both,
            })
            .to_vec();
        model.links.push(LinkModel {
            bytes_per_second: both,
            packets_per_second: both,
            loss: value,
            ..LinkModel::default()
        });
        model.components.push(ComponentModel {
            share: value,
            ..ComponentModel::default()
        });
        let mut mesh = square(2);
        let at = [value as f32; 2];
        mesh.roots.push(RootModel {
            name: name(1),
            player: None,
            host: None,
            at,
            crossing: CrossingModel::Asked {
                to: CellId(u32::MAX),
            },
        });
        mesh.grid.cell = at;
        model.mesh = Some(mesh.clone());
        draw(&model);
        mesh.grid = square(2).grid;
        model.mesh = Some(mesh);
        draw(&model);
    }
}

#[test]
fn the_largest_numbers_are_drawn_and_short() {
    let most = u64::MAX;
    let mut model = OverlayModel::default();
    model.clock.tick = u32::MAX;
    model.clock.lateness = Duration::MAX;
    model.clock.send = Duration::MAX;
    model.traffic.bytes = Both {
        received: most,
        sent: most,
    };
    model.entities.hosted = most;
    let refused = RefusedModel {
        late: most,
        stale: most,
        ..RefusedModel::default()
    };
    for link in 0..3 {
        model.links.push(LinkModel {
            peer: Some(PeerId(most - link)),
            rtt: Duration::MAX,
            visible: most,
            records: most,
            refused,
            ..LinkModel::default()
        });
    }
    model.components.push(ComponentModel {
        absolute_bits: most,
        delta_bits: most,
        share: 1.0,
        ..ComponentModel::default()
    });
    model.authority.available = most;
    model.authority.hosted = most;
    model.authority.lent = vec![(PeerId(most), most), (PeerId(0), most)];
    let mut mesh = square(2);
    mesh.grid = GridModel {
        columns: u32::MAX,
        rows: u32::MAX,
        ..mesh.grid
    };
    mesh.cells.push(CellModel {
        cell: CellId(u32::MAX),
        owner: node(u32::MAX),
        term: Term(most),
    });
    mesh.counters = MeshCountersModel {
        handed_over: most,
        rejected: vec![("full".to_owned(), most), ("draining".to_owned(), most)],
        ..MeshCountersModel::default()
    };
    model.mesh = Some(mesh);
    let harness = draw_at_once(&model);
    assert_says(&region(&harness, "Summary"), "hosted: 18.4E");
    assert_says(&region(&harness, "Counters"), "stale: 18.4E");
    let cells = row(&region(&harness, "Links"), &PeerId(most).to_string());
    assert!(cells.contains(&"records: 18.4E".to_owned()), "{cells:?}");
}

#[test]
fn ten_thousand_links_are_drawn_at_once_and_those_below_are_scrolled_to() {
    let model = OverlayModel {
        links: (0..10_000)
            .map(|link| LinkModel {
                peer: Some(PeerId(link)),
                records: link,
                ..LinkModel::default()
            })
            .collect(),
        components: (0..10_000)
            .map(|number| ComponentModel {
                path: format!("game::Component{number}"),
                absolute_bits: number,
                ..ComponentModel::default()
            })
            .collect(),
        ..OverlayModel::default()
    };
    let mut harness = draw_at_once(&model);
    let links = region(&harness, "Links");
    row(&links, "p0");
    let rows = links.query_all_by_role(egui::accesskit::Role::Row).count();
    assert!(rows < 20, "{rows} rows are laid out");
    assert_says(&harness.root(), "10000");
    // Sorted by records, the last is the first.
    harness.get_by_label("sort links by records").click();
    let begin = Instant::now();
    harness.run();
    assert!(begin.elapsed() < 4 * AT_ONCE, "took {:?}", begin.elapsed());
    row(&region(&harness, "Links"), "p9999");
}

#[test]
fn a_window_keeps_the_size_that_it_was_given() {
    let mut model = with_mesh(square(2));
    model.traffic.history = vec![Both::default(); 90];
    model.links.push(LinkModel::default());
    model.components.push(ComponentModel::default());
    model.authority.available = 3;
    model.authority.hosted = 3;
    for width in [500.0, 760.0, 1000.0] {
        let (model, mut state) = (model.clone(), OverlayState::default());
        let mut harness = Harness::builder()
            .with_size([1600.0, 1000.0])
            .with_step_dt(0.02)
            .build_ui(move |app| {
                let window = egui::Window::new("panel").default_size([width, 700.0]);
                window
                    .vscroll(true)
                    .show(app.ctx(), |screen| ui(screen, &model, &mut state));
            });
        harness.run_steps(60);
        let wide = region(&harness, "Mesh").rect().width();
        assert!(wide <= width + 1.0, "{width} became {wide}");
    }
}

#[test]
fn long_names_are_cut_rather_than_make_the_panel_wider() {
    let long = "Extraordinarily".repeat(40);
    let mut model = OverlayModel {
        name: long.clone(),
        ..OverlayModel::default()
    };
    model.components.push(ComponentModel {
        path: format!("game::{long}<{long}>"),
        ..ComponentModel::default()
    });
    let mut mesh = square(2);
    mesh.counters.rejected = vec![(long.clone(), 1)];
    mesh.recent.push(RecentHandover {
        handover: handover(1),
        source: true,
        with: node(1),
        outcome: long,
        handed_over: false,
        frozen: None,
    });
    model.mesh = Some(mesh);
    let harness = draw_at_once(&model);
    for name in ["Summary", "Components", "Mesh", "Cell map", "Counters"] {
        let right = region(&harness, name).rect().right();
        assert!(right <= WIDTH, "{name} goes to {right}");
    }
}

#[test]
fn many_holders_and_many_roots_are_summed_up() {
    let mut model = OverlayModel::default();
    model.authority.hosted = 3000;
    model.authority.lent = (0..3000).map(|peer| (PeerId(peer), 1)).collect();
    let mut mesh = square(2);
    mesh.roots = (0..5000)
        .map(|root| RootModel {
            name: name(root),
            player: Some(PeerId(root)),
            host: Some(node(0)),
            at: [root as f32 / 100.0 - 50.0, 0.0],
            crossing: CrossingModel::Frozen {
                handover: handover(root),
                to: Some(CellId(1)),
            },
        })
        .collect();
    mesh.recent = (0..5000)
        .map(|number| RecentHandover {
            handover: handover(number),
            source: true,
            with: node(1),
            outcome: "handed over".to_owned(),
            handed_over: true,
            frozen: Some(Duration::from_millis(3)),
        })
        .collect();
    model.mesh = Some(mesh);
    let harness = draw_at_once(&model);
    assert_says(&region(&harness, "Authority"), "held by 2976 more: 2976");
    assert_says(&region(&harness, "Cell map"), "and 3000 more roots");
    assert_says(&region(&harness, "Mesh"), "and 4995 more");
}

#[test]
fn a_map_of_one_cell_names_it() {
    let harness = draw_at_once(&with_mesh(square(1)));
    assert_says(&region(&harness, "Cell map"), "c0: n0#1 since e3");
}

#[test]
fn a_map_of_four_cells_names_them_and_who_is_on_the_way() {
    let mut mesh = square(2);
    let root = |counter, host, crossing| RootModel {
        name: name(counter),
        player: Some(PeerId(100 + counter)),
        host: Some(node(host)),
        at: [-1.0, -10.0],
        crossing,
    };
    let reserved = CrossingModel::Reserved {
        handover: handover(1),
        to: CellId(1),
        attached: true,
    };
    mesh.roots.push(root(1, 0, reserved));
    mesh.roots.push(root(2, 3, CrossingModel::Inside));
    let harness = draw_at_once(&with_mesh(mesh));
    let map = region(&harness, "Cell map");
    for cell in 0..4 {
        assert_says(&map, &format!("c{cell}: n{cell}#{} since e3", cell + 1));
    }
    assert_says(&map, "p101 at n0, attached \u{2192} c1");
    assert_says(&map, "p102 at n3");
    assert_says(&region(&harness, "Mesh"), "p101: attached \u{2192} c1");
}

#[test]
fn a_map_of_4096_cells_is_drawn_at_once_without_labels() {
    let harness = draw_at_once(&with_mesh(square(64)));
    let said = says(&region(&harness, "Cell map"));
    assert!(said.len() < 20, "{} labels", said.len());
    assert_says(&harness.root(), "4 nodes, 4096 cells, 0 roots");
}

#[test]
fn a_grid_without_a_size_is_said_to_have_none() {
    for grid in [
        GridModel::default(),
        GridModel {
            columns: 0,
            ..square(2).grid
        },
        GridModel {
            cell: [0.0, 5.0],
            ..square(2).grid
        },
        GridModel {
            cell: [-5.0, 5.0],
            ..square(2).grid
        },
    ] {
        let harness = draw(&with_mesh(MeshModel { grid, ..square(2) }));
        assert_says(
            &region(&harness, "Cell map"),
            "the grid of cells has no size",
        );
    }
}
