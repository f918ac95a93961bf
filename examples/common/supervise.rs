//! Starts the parts of a run, watches them, and sums up.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bevy_seamless::mesh::service::boot_clock;

use super::{
    bots::Said,
    children::Child,
    measure::BotReport,
    parts::{Part, Scene},
    report::{NodeReport, Summary},
    summary::{self, Facts},
    table::Table,
};

/// What is asked for.
#[derive(Clone)]
pub struct Run {
    /// The world, the weather, the seed.
    pub scene: Scene,
    /// Headless players.
    pub bots: u32,
    /// Seconds of play.
    pub seconds: u32,
    /// Whether one node is killed half way.
    pub kill_node: bool,
    /// Whether no table is drawn.
    pub quiet: bool,
}

/// How long parts may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long before the end bots stop sending inputs, so that the last can arrive.
const REST: Duration = Duration::from_secs(2);

struct Node {
    part: Child,
    log: PathBuf,
    alive: bool,
    report: NodeReport,
    /// Reports of the time of play, for means.
    kbps: Vec<f64>,
}

/// Runs it.
///
/// # Errors
/// One line that says which part failed and how.
pub fn run(run: &Run, stop: &AtomicBool) -> Result<Summary, String> {
    run.scene.load()?;
    let folder = std::env::temp_dir().join(format!("seamless-world-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let result = run_in(&folder, run, stop);
    // Logs of a failed run are worth a look.
    let clean = result.as_ref().is_ok_and(Summary::is_clean);
    if clean && std::env::var_os("SEAMLESS_KEEP_LOGS").is_none() {
        // What stays in the temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        eprintln!("logs: {}", folder.display());
    }
    result
}

fn start_nodes(folder: &Path, scene: &Scene, count: u32) -> Result<Vec<Node>, String> {
    let mut nodes = Vec::new();
    for number in 0..count {
        let log = folder.join(format!("node{number}.log"));
        let directory = folder.join("directory.sqlite");
        let part = Part::Node {
            scene: scene.clone(),
            number,
            directory,
            log: log.clone(),
        };
        let part = Child::start(&format!("node {number}"), &part.args())?;
        nodes.push(Node {
            part,
            log,
            alive: true,
            report: NodeReport::default(),
            kbps: vec![],
        });
    }
    Ok(nodes)
}

fn start_players(scene: &Scene, bots: u32, doors: &[SocketAddr]) -> Result<Vec<Child>, String> {
    let half = bots.div_ceil(2);
    let shares = [(1, half), (half + 1, bots)]
        .into_iter()
        .filter(|(first, last)| first <= last);
    let start = |(first, last)| {
        let (scene, doors) = (scene.clone(), doors.to_vec());
        let part = Part::Players {
            scene,
            first,
            last,
            doors,
        };
        Child::start(&format!("bots {first} to {last}"), &part.args())
    };
    shares.map(start).collect()
}

fn run_in(folder: &Path, run: &Run, stop: &AtomicBool) -> Result<Summary, String> {
    let (world, _, grid) = run.scene.load()?;
    let mut nodes = start_nodes(folder, &run.scene, grid.columns * grid.rows)?;
    let mut doors = Vec::new();
    for node in &nodes {
        let said = node.part.line(PATIENCE).unwrap_or_default();
        let door = serde_json::from_str(&said);
        doors.push(door.map_err(|_| format!("{} did not start {said}", node.part.name))?);
    }
    let mut players = start_players(&run.scene, run.bots, &doors)?;

    let busy = Busy::now();
    let begun = Instant::now();
    let length = Duration::from_secs(u64::from(run.seconds));
    let victim = run
        .kill_node
        .then(|| (run.scene.seed % nodes.len() as u64) as usize);
    let mut killed_at = None;
    let mut resting = false;
    let mut table = Table::new(run.quiet);
    let mut second = 0;
    let mut gaps: Vec<f64> = Vec::new();
    while begun.elapsed() < length && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(victim) = victim
            && killed_at.is_none()
            && begun.elapsed() >= length / 2
        {
            killed_at = Some(boot_clock());
            nodes[victim].part.kill();
            nodes[victim].alive = false;
        }
        if !resting && begun.elapsed() + REST >= length {
            resting = true;
            players.iter_mut().for_each(|part| part.say("rest"));
        }
        for node in &mut nodes {
            node.listen();
            if node.alive && !node.part.is_running() {
                return Err(format!("{} ended by itself", node.part.name));
            }
        }
        for line in players.iter().flat_map(Child::lines) {
            if let Ok(Said::Gaps(fresh)) = serde_json::from_str(&line) {
                gaps.extend(fresh.into_iter().map(f64::ceil));
            }
        }
        let elapsed = begun.elapsed().as_secs() as u32;
        if elapsed > second {
            second = elapsed;
            let rows: Vec<(bool, NodeReport)> = nodes
                .iter()
                .map(|node| (node.alive, node.report.clone()))
                .collect();
            table.draw((second, run.seconds), &rows, &mut gaps);
        }
    }
    if !resting {
        // Stopped by hand: the last inputs still have to arrive.
        players.iter_mut().for_each(|part| part.say("rest"));
        std::thread::sleep(REST);
    }
    let cpu_busy = busy.share_since();
    let played = begun.elapsed().as_secs() as u32;

    let mut reports: Vec<BotReport> = Vec::new();
    for part in &mut players {
        part.say("end");
        reports.extend(last_word(part)?);
    }
    // The oracle's logs end here, before anybody drains or disconnects.
    nodes.iter_mut().for_each(|node| node.part.strike());
    for node in &mut nodes {
        node.part.kill();
        node.listen();
    }
    drop(players);
    let expected = grid
        .cells()
        .flat_map(|cell| world.crates_of(&grid, cell).map(|(name, _)| name.to_bits()))
        .collect();
    summary::sum_up(&Facts {
        nodes: nodes.iter().map(|node| node.report.clone()).collect(),
        kbps: nodes
            .iter()
            .flat_map(|node| node.kbps.iter().copied())
            .collect(),
        logs: nodes.iter().map(|node| node.log.clone()).collect(),
        bots: reports,
        expected,
        killed: victim.zip(killed_at),
        cpu_busy,
        seconds: played,
    })
}

/// What a process of bots measured, after what else it says.
fn last_word(part: &Child) -> Result<Vec<BotReport>, String> {
    loop {
        let line = part
            .line(PATIENCE)
            .ok_or_else(|| format!("{}: no report", part.name))?;
        match serde_json::from_str(&line) {
            Ok(Said::Gaps(_)) => {}
            Ok(Said::Reports(reports)) => return Ok(reports),
            Err(error) => return Err(format!("{}: {error}: {line}", part.name)),
        }
    }
}

impl Node {
    fn listen(&mut self) {
        for line in self.part.lines() {
            if let Ok(report) = serde_json::from_str::<NodeReport>(&line) {
                if report.kbps_per_client > 0.0 {
                    self.kbps.push(report.kbps_per_client);
                }
                self.report = report;
            }
        }
    }
}

/// What the machine's cores have done since it started.
struct Busy {
    busy: u64,
    all: u64,
}

impl Busy {
    /// Zeros where there is no `/proc`.
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let numbers: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; the rest is counted in user.
        let all: u64 = numbers.iter().take(8).sum();
        let idle: u64 = numbers.iter().skip(3).take(2).sum();
        Self {
            busy: all - idle,
            all,
        }
    }

    fn share_since(&self) -> f64 {
        let now = Self::now();
        let all = now.all.saturating_sub(self.all);
        if all == 0 {
            0.0
        } else {
            (now.busy - self.busy) as f64 / all as f64
        }
    }
}
