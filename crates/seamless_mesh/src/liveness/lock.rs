//! A proof of death that takes milliseconds, for processes on one machine.
//!
//! Each process holds an exclusive lock on a file of its own from before it joins until it ends,
//! however it ends. A peer that gains the lock knows that the process is gone. The file is named
//! by node and life, so the lock of one life says nothing about another.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use seamless_wire::NodeId;

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The folder or file cannot be used.
    #[error("lock file {}: {error}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has it.
    #[error("lock file {}: held by another process", .0.display())]
    Held(PathBuf),
}

fn path_of(folder: &Path, node: NodeId, life: u64) -> PathBuf {
    folder.join(format!("node-{}-{life:016x}.lock", node.0))
}

/// A process's proof of life. Dropping it is the proof of its death; the file stays, so that a
/// peer that asks later gets the proof too, and goes with the first peer that gains the lock.
///
/// A child process that is forked without an exec would hold it too; `std::process` closes it.
#[derive(Debug)]
pub struct LifeLock {
    path: PathBuf,
    // Holds the lock as long as it is open.
    _file: File,
}

impl LifeLock {
    /// Takes the lock of this life in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// [`LockError`]; [`LockError::Held`] if two processes drew the same life.
    pub fn take(folder: &Path, node: NodeId, life: u64) -> Result<Self, LockError> {
        let path = path_of(folder, node, life);
        let unusable = |error| LockError::Unusable {
            path: path.clone(),
            error,
        };
        fs::create_dir_all(folder).map_err(unusable)?;
        let file = File::create(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(LockError::Held(path)),
            Err(fs::TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

impl LifeLock {
    /// Ends this life in good order: nobody needs a proof of its death any more.
    pub fn retire(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Waits in a thread of its own until that life has ended, then calls `ended` once.
///
/// Says nothing, ever, if there is no such file: a life without a lock (on another machine, say)
/// is watched by its beats alone. The thread ends with the life that it waits for.
///
/// # Errors
/// [`LockError::Unusable`] if the file is there and cannot be opened, or there is no thread.
pub fn await_death(
    folder: &Path,
    node: NodeId,
    life: u64,
    ended: impl FnOnce() + Send + 'static,
) -> Result<(), LockError> {
    let path = path_of(folder, node, life);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LockError::Unusable { path, error }),
    };
    let waiter = {
        let path = path.clone();
        move || {
            if file.lock().is_ok() {
                let _ = fs::remove_file(&path);
                ended();
            }
        }
    };
    let spawned = thread::Builder::new()
        .name(format!("seamless-lock-{}", node.0))
        .spawn(waiter);
    spawned
        .map(drop)
        .map_err(|error| LockError::Unusable { path, error })
}

#[cfg(test)]
mod tests {
    use std::{env, sync::mpsc, time::Duration};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        env::temp_dir().join(format!("seamless-lock-{}-{name}", std::process::id()))
    }

    #[test]
    fn gaining_the_lock_proves_the_end_of_that_life() {
        let folder = folder("a");
        let lock = LifeLock::take(&folder, NodeId(1), 5).unwrap();
        let (tell, told) = mpsc::channel();
        await_death(&folder, NodeId(1), 5, move || tell.send(()).unwrap()).unwrap();
        assert!(
            told.recv_timeout(Duration::from_millis(50)).is_err(),
            "alive"
        );
        drop(lock);
        told.recv_timeout(Duration::from_secs(5)).unwrap();
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn one_life_is_one_process() {
        let folder = folder("b");
        let _lock = LifeLock::take(&folder, NodeId(1), 5).unwrap();
        let again = LifeLock::take(&folder, NodeId(1), 5);
        assert!(matches!(again, Err(LockError::Held(_))));
        let _other = LifeLock::take(&folder, NodeId(1), 6).unwrap();
        let _ = fs::remove_dir_all(&folder);
    }

    #[test]
    fn without_a_lock_file_nothing_is_proved() {
        let folder = folder("c");
        await_death(&folder, NodeId(1), 5, || panic!("nobody died")).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
}
