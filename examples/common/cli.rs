//! Arguments: what is wrong is said in one line.

use std::{fmt::Display, io::IsTerminal, process::exit};

use clap::{Parser, error::ErrorKind};

/// Reads the arguments of this program, or ends it: with 0 after `--help`, with 2 and one line
/// after a mistake.
pub fn parse<T: Parser>() -> T {
    T::try_parse().unwrap_or_else(|error| {
        if matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        ) {
            error.exit();
        }
        let text = error.render().to_string();
        let said: Vec<&str> = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.starts_with("Usage") && !line.starts_with("For more"))
            .filter(|line| !line.is_empty())
            .collect();
        fail(&said.join(" ").trim_start_matches("error: "))
    })
}

/// Says what is wrong and ends the program with code 2.
pub fn fail(what: &dyn Display) -> ! {
    eprintln!("error: {what}");
    exit(2);
}

/// `2x2`: columns and rows, 1 to 8 each.
///
/// # Errors
/// What is allowed.
pub fn cells(text: &str) -> Result<(u32, u32), String> {
    let parse = || {
        let (columns, rows) = text.split_once('x')?;
        let cells: (u32, u32) = (columns.parse().ok()?, rows.parse().ok()?);
        ((1..=8).contains(&cells.0) && (1..=8).contains(&cells.1)).then_some(cells)
    };
    parse().ok_or_else(|| "allowed is COLUMNSxROWS, 1 to 8 each, as in 2x2".to_owned())
}

/// A percentage from 0 to 50.
///
/// # Errors
/// What is allowed.
pub fn percent(text: &str) -> Result<f64, String> {
    let value = text
        .parse()
        .ok()
        .filter(|value| (0.0..=50.0).contains(value));
    value.ok_or_else(|| "allowed is 0 to 50 percent".to_owned())
}

/// Logs to the standard error: this level, or what `RUST_LOG` says, as in `info,seamless_mesh=debug`.
pub fn log_to_stderr(default: &str) {
    use tracing_subscriber::{filter::Targets, prelude::*};
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    // netcode's own log repeats what ours says, without the limits.
    let usual = format!("{default},renetcode=off,renet=off");
    let filter: Targets = match asked.as_str() {
        "" => usual.parse(),
        asked => asked.parse(),
    }
    .unwrap_or_else(|error| fail(&format_args!("RUST_LOG: {asked:?}: {error}")));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter);
    tracing_subscriber::registry().with(lines).init();
}
