//! The directory's thread: operations in order, and a look for changes between them.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{fail, runtime::Wake};
use crate::{
    directory::{Directory, DirectoryAnswer, DirectoryError, DirectoryOp, Refusal, Result},
    protocol::OpToken,
};

/// How often it looks whether others changed anything.
const WATCH_EVERY: Duration = Duration::from_millis(10);

/// Asks the thread. It ends when this is dropped.
pub(super) struct Asker(Sender<(OpToken, DirectoryOp)>);

impl Asker {
    /// Asks; the answer comes as a [`Wake::Directory`].
    pub(super) fn ask(&self, token: OpToken, op: DirectoryOp) {
        // The thread lives as long as we do.
        let _ = self.0.send((token, op));
    }
}

/// Starts the thread.
pub(super) fn start(
    mut directory: Box<dyn Directory>,
    answers: UnboundedSender<Wake>,
) -> io::Result<Asker> {
    let (asker, questions) = channel();
    thread::Builder::new()
        .name("seamless-directory".to_owned())
        .spawn(move || serve(&mut *directory, &questions, &answers))?;
    Ok(Asker(asker))
}

/// Says that something is wrong once, then ever more rarely, then that it is over.
#[derive(Default)]
struct Complaints {
    failures: u32,
    taken: bool,
}

impl Complaints {
    fn hear(&mut self, operation: &str, result: &Result<DirectoryAnswer>) {
        match result {
            Err(error @ (DirectoryError::Unavailable(_) | DirectoryError::InDoubt(_))) => {
                self.failures += 1;
                if self.failures.is_power_of_two() {
                    let failures = self.failures;
                    tracing::warn!(operation, %error, failures, "the directory fails");
                }
            }
            Err(DirectoryError::Refused(taken @ Refusal::NodeTaken(_))) if !self.taken => {
                self.taken = true;
                tracing::warn!(%taken, "waiting for it to end");
            }
            Ok(_) if self.failures > 0 => {
                tracing::info!(failures = self.failures, "the directory works again");
                self.failures = 0;
            }
            _ => {}
        }
    }
}

/// Operations that decide a handover.
const fn decides(op: &DirectoryOp) -> bool {
    matches!(
        op,
        DirectoryOp::Claim { .. } | DirectoryOp::Abort { .. } | DirectoryOp::Reclaim { .. }
    )
}

fn serve(
    directory: &mut dyn Directory,
    questions: &Receiver<(OpToken, DirectoryOp)>,
    answers: &UnboundedSender<Wake>,
) {
    let mut watch = Instant::now();
    let mut complaints = Complaints::default();
    loop {
        let wait = watch.saturating_duration_since(Instant::now());
        match questions.recv_timeout(wait) {
            Ok((token, op)) => {
                let name = op.name();
                if decides(&op) {
                    fail::point(&format!("before_{name}"));
                }
                let result = op.run(directory);
                if result.is_ok() && decides(&op) {
                    fail::point(&format!("after_{name}"));
                }
                complaints.hear(name, &result);
                if answers.send(Wake::Directory(token, result)).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= watch {
            watch = Instant::now() + WATCH_EVERY;
            // What cannot be read now is read when somebody asks.
            if directory.changed().unwrap_or(false) && answers.send(Wake::Changed).is_err() {
                return;
            }
        }
    }
}
