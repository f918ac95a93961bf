//! A file that is there as a whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Writes the parts, one after the other, into a new file in the same folder, waits until it is on
/// the disk, and puts it in the place of `path`. Gives the length.
pub(super) fn write<'a>(path: &Path, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<u64> {
    let beside = beside(path)?;
    let written = fill(&beside, parts).and_then(|length| {
        fs::rename(&beside, path)?;
        Ok(length)
    });
    match written {
        Ok(length) => {
            sync_folder(path)?;
            Ok(length)
        }
        Err(error) => {
            // What is left of it is of no use; the error that counts is the first.
            let _ = fs::remove_file(&beside);
            Err(error)
        }
    }
}

fn fill<'a>(path: &Path, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<u64> {
    let mut file = File::create_new(path)?;
    let mut length = 0;
    for part in parts {
        file.write_all(part)?;
        length += part.len() as u64;
    }
    file.sync_all()?;
    Ok(length)
}

/// A name of its own in the same folder: two writers at once do not share a file.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| {
        let reason = format!("{} names no file", path.display());
        io::Error::new(io::ErrorKind::InvalidInput, reason)
    })?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}-{number}.new", std::process::id()));
    Ok(path.with_file_name(beside))
}

/// So that the new name is on the disk too. Only Unix can do this, and only there is it needed.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
