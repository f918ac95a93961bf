//! Parts of the run, as child processes of it. They end with it, however it ends: a child reads its
//! standard input and goes when that closes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child as Process, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

/// One part.
pub struct Child {
    /// What it is called in messages.
    pub name: String,
    process: Process,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Child {
    /// Starts this program again as one of its parts.
    ///
    /// # Errors
    /// One line that says what could not be started.
    pub fn start(name: &str, args: &[String]) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // Ctrl-C is for us alone; we end our parts in order.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().map_err(failed)?;
        let input = process.stdin.take();
        let output = process
            .stdout
            .take()
            .ok_or_else(|| format!("{name}: no output"))?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            name: name.to_owned(),
            process,
            input,
            lines,
        })
    }

    /// The next line it said, waiting at most so long.
    pub fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    /// Lines it said since the last call.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.try_iter()
    }

    /// Says something to it.
    pub fn say(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            // If it is gone, it is noticed elsewhere.
            let _ = writeln!(input, "{line}").and_then(|()| input.flush());
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does, without waiting for its end.
    pub fn strike(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In a child: calls `on_line` for everything the parent says, and ends the process when the
/// parent is gone.
pub fn listen_to_parent(mut on_line: impl FnMut(&str) + Send + 'static) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            on_line(&line);
        }
        on_line("end");
        // A part that does not end by itself within this time is not wanted any more.
        std::thread::sleep(Duration::from_secs(3));
        std::process::exit(0);
    });
}

/// In a child: says something to the parent, as one line of JSON.
pub fn tell_parent<T: serde::Serialize>(what: &T) {
    let mut out = std::io::stdout().lock();
    if let Ok(line) = serde_json::to_string(what) {
        // A parent that is gone is noticed on the other pipe.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
