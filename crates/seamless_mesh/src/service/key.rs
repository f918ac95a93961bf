//! The key that makes a process a node of the mesh.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
};

/// Environment variable with the key, as 64 hexadecimal digits.
pub const KEY_VARIABLE: &str = "SEAMLESS_MESH_KEY";

/// Environment variable with the path of a file that holds the key.
pub const KEY_FILE_VARIABLE: &str = "SEAMLESS_MESH_KEY_FILE";

/// 32 secret bytes. Never printed, never on a command line.
#[derive(Clone, PartialEq, Eq)]
pub struct MeshKey([u8; 32]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("mesh key file {}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others than its owner can read the file.
    #[error("mesh key file {}: readable for others, mode {mode:o}; use 600", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not 64 hexadecimal digits, or 32 bytes in a file.
    #[error("mesh key from {0}: not 64 hexadecimal digits")]
    Malformed(String),
}

impl MeshKey {
    /// A key.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From the environment: [`KEY_VARIABLE`], or the file that [`KEY_FILE_VARIABLE`] names. `None`
    /// if neither is set.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_env() -> Result<Option<Self>, KeyError> {
        if let Ok(text) = env::var(KEY_VARIABLE) {
            return Self::parse(&text)
                .ok_or_else(|| KeyError::Malformed(KEY_VARIABLE.to_owned()))
                .map(Some);
        }
        match env::var_os(KEY_FILE_VARIABLE) {
            Some(path) => Self::from_file(path).map(Some),
            None => Ok(None),
        }
    }

    /// From a file of 64 hexadecimal digits, or of 32 bytes, that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let unreadable = |error| KeyError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let mode = mode(&fs::metadata(path).map_err(unreadable)?);
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        if let Ok(bytes) = <[u8; 32]>::try_from(&bytes[..]) {
            return Ok(Self(bytes));
        }
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text).ok_or_else(|| KeyError::Malformed(path.display().to_string()))
    }

    fn parse(text: &str) -> Option<Self> {
        unhex(text.trim())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
    }

    pub(super) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshKey")
    }
}

#[cfg(unix)]
fn mode(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
}

#[cfg(not(unix))]
const fn mode(_: &fs::Metadata) -> u32 {
    0
}

/// Hexadecimal digits of these bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The bytes of hexadecimal digits; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = env::temp_dir().join(format!("seamless-key-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_comes_from_a_private_file() {
        let path = file("good", format!("{}\n", hex(&[7; 32])).as_bytes(), 0o600);
        assert_eq!(MeshKey::from_file(&path).unwrap(), MeshKey::new([7; 32]));
        fs::write(&path, [9; 32]).unwrap();
        assert_eq!(MeshKey::from_file(&path).unwrap(), MeshKey::new([9; 32]));
        fs::write(&path, b"too short").unwrap();
        assert!(matches!(
            MeshKey::from_file(&path),
            Err(KeyError::Malformed(_))
        ));
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            MeshKey::from_file(&path),
            Err(KeyError::Unreadable { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let path = file("open", &[7; 32], 0o644);
        let error = MeshKey::from_file(&path).unwrap_err();
        assert!(
            matches!(error, KeyError::Exposed { mode: 0o644, .. }),
            "{error}"
        );
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", MeshKey::new([7; 32])), "MeshKey");
    }

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(unhex(&hex(&[0, 15, 16, 255])), Some(vec![0, 15, 16, 255]));
        assert_eq!(unhex("abc"), None);
        assert_eq!(unhex("zz"), None);
        assert_eq!(unhex("ä1"), None);
    }
}
