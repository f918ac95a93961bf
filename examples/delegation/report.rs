//! What came of it: said by those who watched, not by who decided.
#![allow(clippy::print_stdout, reason = "an example speaks to its user")]

use std::process::ExitCode;

use bevy_seamless::wire::Holder;
use serde_json::json;

use crate::party::Seen;

/// Prints it. Fails if nobody was granted anything, if a crate is still held, or if somebody sees
/// it elsewhere than the server.
pub(crate) fn report(server: Option<Seen>, bots: &[Seen], as_json: bool) -> ExitCode {
    let sum = |read: fn(&Seen) -> u64| bots.iter().map(read).sum::<u64>();
    let granted = sum(|bot| bot.done.granted);
    let mut held = 0;
    let mut elsewhere = 0;
    let mut crates = 0;
    if let Some(server) = &server {
        let free = |(_, holder): &&([u32; 3], Holder)| *holder == Holder::Nobody;
        crates = server.crates.len();
        held = crates - server.crates.values().filter(free).count();
        elsewhere = bots
            .iter()
            .filter(|bot| bot.crates != server.crates)
            .count();
    }
    let line = json!({
        "players": bots.len(),
        "crates": crates,
        "granted": granted,
        "denied": sum(|bot| bot.done.denied),
        "taken": sum(|bot| bot.done.lost),
        "thrown": sum(|bot| bot.done.thrown),
        "built": sum(|bot| bot.done.built),
        "still_held": held,
        "players_that_see_something_else": elsewhere,
    });
    if as_json {
        println!("{line}");
    } else {
        for (name, value) in line.as_object().into_iter().flatten() {
            println!("{:<34}{value}", name.replace('_', " "));
        }
    }
    let played = bots.is_empty() || granted > 0;
    match played && held == 0 && elsewhere == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
