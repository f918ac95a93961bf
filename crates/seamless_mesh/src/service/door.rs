//! Where clients ask to enter: `POST /session`, JSON, on a port of its own.
//!
//! ```text
//! {"player": 7, "credential": "optional"}
//!   -> 200 {"result": "welcome", "node": 1, "address": "127.0.0.1:5000", "root": "123",
//!           "token": "hex", "doors": ["127.0.0.1:8000", ..]}
//!   -> 429, 503 {"result": "retry", "after_ms": 500, "doors": [..]}
//!   -> 400, 401, 413 {"result": "refused", "reason": ".."}
//! ```
//!
//! "Refused" is for good: the same knock will be refused again. A client keeps the list of doors and knocks at another one if its own is silent.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
    routing::post,
};
use seamless_wire::{PeerId, mesh::SessionReply};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    Authenticate, Limits,
    key::hex,
    runtime::Ask,
    server::{Peer, plain},
    shared::Shared,
};

/// Largest body, in bytes.
const MAX_BODY: usize = 4 << 10;

/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(2);

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// How long a connection may be idle.
pub(super) const IDLE_CLIENT: Duration = Duration::from_secs(5);

/// Most addresses whose knocks are counted. When more come at once, new ones wait.
const MAX_ADDRESSES: usize = 4096;

#[derive(Debug, Deserialize)]
struct Knock {
    player: u64,
    credential: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Answer {
    Welcome {
        node: u32,
        address: SocketAddr,
        // As text: JSON's numbers are not wide enough for every reader.
        root: String,
        token: String,
        doors: Vec<SocketAddr>,
    },
    Retry {
        after_ms: u32,
        doors: Vec<SocketAddr>,
    },
    Refused {
        reason: String,
    },
}

/// Counts knocks by address.
struct Knocks {
    limits: Limits,
    counted: HashMap<IpAddr, (f64, Instant)>,
}

impl Knocks {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            counted: HashMap::new(),
        }
    }

    /// Whether one more may be heard now.
    fn admit(&mut self, address: IpAddr, now: Instant) -> bool {
        let (rate, most) = (
            f64::from(self.limits.knocks_per_second),
            f64::from(self.limits.knocks_at_once),
        );
        let refilled = |(left, at): (f64, Instant)| {
            (left + now.duration_since(at).as_secs_f64() * rate).min(most)
        };
        if !self.counted.contains_key(&address) && self.counted.len() >= MAX_ADDRESSES {
            self.counted.retain(|_, count| refilled(*count) < most);
            if self.counted.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let left = self
            .counted
            .get(&address)
            .map_or(most, |count| refilled(*count));
        let admitted = left >= 1.0;
        let left = if admitted { left - 1.0 } else { left };
        self.counted.insert(address, (left, now));
        admitted
    }
}

#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    authenticate: Option<Authenticate>,
    knocks: Arc<Mutex<Knocks>>,
}

/// The route for clients.
pub(super) fn router(
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    authenticate: Option<Authenticate>,
    limits: Limits,
) -> Router {
    let door = Door {
        shared,
        asks,
        authenticate,
        knocks: Arc::new(Mutex::new(Knocks::new(limits))),
    };
    Router::new()
        .route("/session", post(knock))
        .with_state(door)
}

async fn knock(
    State(door): State<Door>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let http = &door.shared.http;
    let admitted = {
        let mut knocks = door.knocks.lock().unwrap_or_else(PoisonError::into_inner);
        knocks.admit(peer.ip(), Instant::now())
    };
    if !admitted {
        http.limited.add();
        return door.retry(StatusCode::TOO_MANY_REQUESTS, 1000);
    }
    let body = tokio::time::timeout(BODY_WITHIN, to_bytes(request.into_body(), MAX_BODY)).await;
    let Ok(Ok(body)) = body else {
        http.oversized.add();
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "too large or too slow");
    };
    let Ok(knock) = serde_json::from_slice::<Knock>(&body) else {
        http.malformed.add();
        return refused(StatusCode::BAD_REQUEST, "not a knock");
    };
    let player = PeerId(knock.player);
    if let Some(authenticate) = &door.authenticate
        && let Err(reason) = authenticate(player, knock.credential.as_deref(), peer.ip())
    {
        http.unauthenticated.add();
        return refused(StatusCode::UNAUTHORIZED, &reason);
    }
    let (answer, answered) = oneshot::channel();
    if door.asks.try_send(Ask::Client { player, answer }).is_err() {
        http.busy.add();
        return door.retry(StatusCode::SERVICE_UNAVAILABLE, 500);
    }
    let reply = tokio::time::timeout(ANSWER_WITHIN, answered).await;
    match reply {
        Ok(Ok(SessionReply::Welcome {
            node,
            address,
            root,
            token,
        })) => json(
            StatusCode::OK,
            &Answer::Welcome {
                node: node.id.0,
                address,
                root: root.to_bits().to_string(),
                token: hex(&token),
                doors: door.shared.doors(),
            },
        ),
        Ok(Ok(SessionReply::Retry { after_ms })) => {
            door.retry(StatusCode::SERVICE_UNAVAILABLE, after_ms)
        }
        _ => door.retry(StatusCode::SERVICE_UNAVAILABLE, 500),
    }
}

impl Door {
    fn retry(&self, status: StatusCode, after_ms: u32) -> Response {
        let doors = self.shared.doors();
        json(status, &Answer::Retry { after_ms, doors })
    }
}

fn refused(status: StatusCode, reason: &str) -> Response {
    let reason = reason.to_owned();
    json(status, &Answer::Refused { reason })
}

fn json(status: StatusCode, answer: &Answer) -> Response {
    let body = serde_json::to_vec(answer).unwrap_or_default();
    let mut response = plain(status, body);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_knocks_so_often_and_no_oftener() {
        let limits = Limits {
            knocks_per_second: 2,
            knocks_at_once: 3,
            ..Limits::default()
        };
        let mut knocks = Knocks::new(limits);
        let start = Instant::now();
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let heard =
            |knocks: &mut Knocks, ip, ms| knocks.admit(ip, start + Duration::from_millis(ms));
        assert_eq!(
            [0, 0, 0, 0].map(|ms| heard(&mut knocks, a, ms)),
            [true, true, true, false]
        );
        assert!(heard(&mut knocks, b, 0), "another address");
        assert!(!heard(&mut knocks, a, 400));
        assert!(heard(&mut knocks, a, 600));
    }

    #[test]
    fn the_count_of_addresses_is_bounded() {
        let mut knocks = Knocks::new(Limits::default());
        let start = Instant::now();
        for n in 0..MAX_ADDRESSES as u32 {
            assert!(knocks.admit(std::net::Ipv4Addr::from(n).into(), start));
        }
        let one_more = std::net::Ipv4Addr::from(u32::MAX).into();
        assert!(!knocks.admit(one_more, start));
        assert!(knocks.admit(one_more, start + Duration::from_secs(60)));
        assert!(knocks.counted.len() < 10);
    }
}
