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
    directory::{Directory, DirectoryError, DirectoryOp},
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

fn serve(
    directory: &mut dyn Directory,
    questions: &Receiver<(OpToken, DirectoryOp)>,
    answers: &UnboundedSender<Wake>,
) {
    let mut watch = Instant::now();
    loop {
        let wait = watch.saturating_duration_since(Instant::now());
        match questions.recv_timeout(wait) {
            Ok((token, op)) => {
                let name = op.name();
                if matches!(
                    op,
                    DirectoryOp::Claim { .. }
                        | DirectoryOp::Abort { .. }
                        | DirectoryOp::Reclaim { .. }
                ) {
                    fail::point(&format!("before_{name}"));
                }
                let result = op.run(directory);
                if result.is_ok()
                    && matches!(
                        op,
                        DirectoryOp::Claim { .. }
                            | DirectoryOp::Abort { .. }
                            | DirectoryOp::Reclaim { .. }
                    )
                {
                    fail::point(&format!("after_{name}"));
                }
                if let Err(error @ (DirectoryError::Unavailable(_) | DirectoryError::InDoubt(_))) =
                    &result
                {
                    tracing::warn!(operation = name, %error, "directory");
                }
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
