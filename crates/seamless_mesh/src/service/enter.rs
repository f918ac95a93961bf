//! How a client knocks at a door. Blocking; for a thread or a task that may wait.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use seamless_wire::{GlobalEntity, PeerId};
use serde_json::Value;

use super::key::unhex;

/// Largest answer we read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// A door was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where to connect over UDP.
    pub address: SocketAddr,
    /// The player's root.
    pub root: GlobalEntity,
    /// The connect token.
    pub token: Vec<u8>,
    /// Other doors, for later.
    pub doors: Vec<SocketAddr>,
}

/// Why it was not.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Nobody is at home, or no answer in time.
    #[error("door {address}: {error}")]
    Unreachable {
        /// Which door.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Come again, here or at another door.
    #[error("come again in {after:?}")]
    Retry {
        /// When.
        after: Duration,
        /// Where.
        doors: Vec<SocketAddr>,
    },
    /// Not you.
    #[error("refused: {0}")]
    Refused(String),
    /// It does not speak our language.
    #[error("door {0}: not understood")]
    Nonsense(SocketAddr),
}

/// Knocks once.
///
/// # Errors
/// [`EnterError`]. Waits at most `within`.
pub fn enter(
    door: SocketAddr,
    player: PeerId,
    credential: Option<&str>,
    within: Duration,
) -> Result<Offer, EnterError> {
    let unreachable = |error| EnterError::Unreachable {
        address: door,
        error,
    };
    let body = serde_json::json!({ "player": player.0, "credential": credential }).to_string();
    let answer = exchange(door, &body, within).map_err(unreachable)?;
    let answer: Value = answer
        .and_then(|answer| serde_json::from_slice(&answer).ok())
        .ok_or(EnterError::Nonsense(door))?;
    understand(&answer).unwrap_or(Err(EnterError::Nonsense(door)))
}

fn understand(answer: &Value) -> Option<Result<Offer, EnterError>> {
    let doors = || -> Option<Vec<SocketAddr>> {
        let doors = answer.get("doors")?.as_array()?;
        doors
            .iter()
            .map(|door| door.as_str()?.parse().ok())
            .collect()
    };
    let text = |name| answer.get(name).and_then(Value::as_str);
    Some(match text("result")? {
        "welcome" => Ok(Offer {
            address: text("address")?.parse().ok()?,
            root: GlobalEntity::from_bits(text("root")?.parse().ok()?)?,
            token: unhex(text("token")?)?,
            doors: doors()?,
        }),
        "retry" => Err(EnterError::Retry {
            after: Duration::from_millis(answer.get("after_ms")?.as_u64()?.min(60_000)),
            doors: doors()?,
        }),
        "refused" => Err(EnterError::Refused(text("reason")?.to_owned())),
        _ => return None,
    })
}

/// One request, one connection. `None` if the answer is no HTTP.
fn exchange(door: SocketAddr, body: &str, within: Duration) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + within;
    let left = || {
        until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    };
    let mut stream = TcpStream::connect_timeout(&door, left())?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(left()))?;
    let head = format!(
        "POST /session HTTP/1.1\r\nhost: {door}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
    // A door that drips its answer is given no longer than one that is silent.
    while answer.len() < MAX_ANSWER && Instant::now() < until {
        stream.set_read_timeout(Some(left()))?;
        match stream.read(&mut piece)? {
            0 => break,
            length => answer.extend_from_slice(&piece[..length]),
        }
    }
    // The server sends a length, not chunks, and closes: what is behind the head is the body.
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    Ok(end.map(|end| answer.split_off(end + 4)))
}
