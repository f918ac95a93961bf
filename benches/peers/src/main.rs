//! bevy_seamless beside other crates for networked Bevy games, on the same work.
//!
//! How it is measured, and what each crate is set to, is in the README beside this crate.
//!
//! # Layout
//!
//! * [`scenario`], [`motion`], [`body`], [`interest`]: the work.
//! * [`subject`]: the crates that are compared; [`network`]: what they send over.
//! * [`run`], [`tick`], [`sealing`], [`memory`], [`check`]: one measurement, in a process of its own.
//! * [`report`], [`chart`]: what comes out.

mod body;
mod chart;
mod check;
mod interest;
mod memory;
mod motion;
mod network;
mod report;
mod rng;
mod run;
mod scenario;
mod sealing;
mod subject;
mod tick;

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use clap::Parser;

use crate::{
    report::Figures,
    scenario::{Custom, Scenario},
};

/// The scenario in which an empty app is measured, by the name it has in reports.
const FLOOR: &str = "floor";

/// Measures bevy_seamless beside other crates, each scenario and subject in a process of its own.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// What to run; all by default. May be given several times; `custom` takes the options below.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Whom to run; all by default. May be given several times.
    #[arg(long, value_name = "NAME")]
    subject: Vec<String>,
    #[command(flatten)]
    custom: Custom,
    /// Ticks to measure, instead of each scenario's own number.
    #[arg(long)]
    ticks: Option<usize>,
    /// Where all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON array instead of a table.
    #[arg(long)]
    json: bool,
    /// Draw the results as bars into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Measure one subject in one scenario here, and print its figures.
    #[arg(long, hide = true)]
    here: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match work(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
fn work(options: &Options) -> Result<bool, String> {
    let mut names: Vec<&str> = options.scenario.iter().map(String::as_str).collect();
    if names.is_empty() {
        names = scenario::NAMES.to_vec();
    }
    names.retain(|name| *name != FLOOR);
    if options.custom.is_given() && !names.contains(&scenario::CUSTOM) {
        return Err(format!(
            "--entities, --clients and --changed are for --scenario {}",
            scenario::CUSTOM
        ));
    }
    let scenarios = names
        .iter()
        .map(|name| Scenario::find(name, &options.custom, options.ticks))
        .collect::<Result<Vec<_>, _>>()?;
    let mut subjects: Vec<&str> = options.subject.iter().map(String::as_str).collect();
    if let Some(unknown) = subjects
        .iter()
        .find(|name| !subject::NAMES.contains(name) && **name != subject::FLOOR)
    {
        return Err(format!(
            "there is no subject \"{unknown}\"; there are {}",
            subject::NAMES.join(", ")
        ));
    }
    if subjects.is_empty() {
        subjects = subject::NAMES.to_vec();
    }
    subjects.retain(|name| *name != subject::FLOOR);
    if options.here {
        return measure_here(&scenarios, &subjects, options.seed);
    }

    let mut all = vec![in_a_child(options, FLOOR, subject::FLOOR)?];
    let floor = all[0].server_tick_us;
    for scenario in &scenarios {
        for subject in &subjects {
            if let Some(reason) = subject::unfit(subject, scenario) {
                all.push(Figures {
                    skipped: Some(reason),
                    ..Figures::new(&scenario.name, subject)
                });
                continue;
            }
            let _ = writeln!(io::stderr(), "{} {subject}", scenario.name);
            let mut figures = in_a_child(options, &scenario.name, subject)?;
            if figures.own_us.is_none() {
                let above = figures.server_tick_us.zip(floor);
                figures.own_us = above.map(|(tick, floor)| tick - floor);
            }
            all.push(figures.rounded());
        }
    }
    all[0] = all[0].clone().rounded();
    if let Some(path) = &options.svg {
        fs::write(path, chart::draw(&all)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let text = match options.json {
        true => serde_json::to_string_pretty(&all).map_err(|e| e.to_string())? + "\n",
        false => report::table(&all),
    };
    print(&text)?;
    Ok(all.iter().all(|figures| figures.error.is_none()))
}

/// The child's part: one measurement, printed as JSON.
fn measure_here(scenarios: &[Scenario], subjects: &[&str], seed: u64) -> Result<bool, String> {
    let figures = match (scenarios, subjects) {
        ([], _) => run::floor()?,
        ([scenario], [subject]) => run::run(scenario, subject, seed)
            .unwrap_or_else(|error| Figures::failed(&scenario.name, subject, error)),
        _ => return Err("one scenario and one subject at a time".into()),
    };
    print(&serde_json::to_string(&figures).map_err(|e| e.to_string())?)?;
    Ok(true)
}

/// The parent's part: runs this program once more, so that no subject inherits another's heap.
fn in_a_child(options: &Options, scenario: &str, subject: &str) -> Result<Figures, String> {
    let program = env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
    let mut command = Command::new(program);
    command
        .args(["--here", "--scenario", scenario, "--subject", subject])
        .args(["--seed", &options.seed.to_string()])
        .stderr(Stdio::inherit());
    if let Some(ticks) = options.ticks {
        command.args(["--ticks", &ticks.to_string()]);
    }
    if scenario == scenario::CUSTOM {
        let numbers = [
            ("--entities", options.custom.entities.map(|n| n.to_string())),
            ("--clients", options.custom.clients.map(|n| n.to_string())),
            ("--changed", options.custom.changed.map(|n| n.to_string())),
        ];
        for (option, number) in numbers {
            command.args(number.map(|number| format!("{option}={number}")));
        }
    }
    let output = command
        .output()
        .map_err(|e| format!("no child process: {e}"))?;
    let figures = serde_json::from_slice(&output.stdout);
    Ok(figures.unwrap_or_else(|_| {
        let error = format!("the process ended early: {}", output.status);
        Figures::failed(scenario, subject, error)
    }))
}

fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|e| format!("standard output: {e}"))
}
