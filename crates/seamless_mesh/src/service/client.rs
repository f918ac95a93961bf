//! Requests to other nodes: connections are kept, answers are checked, silence is reported once.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rand_core::{OsRng, TryRngCore};
use seamless_wire::NodeRef;

use super::{
    auth,
    body::{Route, decode_reply, encode},
    shared::Shared,
};
use crate::protocol::{PeerError, PeerMessage, PeerReply};

/// Largest answer we read, in bytes. A token is about 2 KiB.
const MAX_REPLY: usize = 64 << 10;

/// How long a connection takes to be made.
const CONNECT_WITHIN: Duration = Duration::from_millis(250);

/// How long a connection is kept that nobody uses.
const KEEP_IDLE: Duration = Duration::from_secs(20);

/// After how many failures in a row the next one is worth a line again; doubles.
const REPORT_AGAIN: u32 = 64;

#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    report_at: u32,
}

/// Speaks to other nodes. Clones share the connections.
#[derive(Clone)]
pub(super) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    shared: Arc<Shared>,
    troubles: Arc<Mutex<BTreeMap<NodeRef, Trouble>>>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(8)
            .build(connector);
        Self {
            pool,
            shared,
            troubles: Arc::default(),
        }
    }

    /// Asks a node and waits for its answer, at most `within`.
    pub(super) async fn ask(
        &self,
        to: NodeRef,
        address: SocketAddr,
        message: PeerMessage,
        within: Duration,
    ) -> Result<PeerReply, PeerError> {
        let result = match tokio::time::timeout(within, self.exchange(address, &message)).await {
            Ok(result) => result,
            Err(_) => Err(PeerError::Timeout),
        };
        self.report(to, address, &result);
        result
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        message: &PeerMessage,
    ) -> Result<PeerReply, PeerError> {
        let refused = |reason: &dyn ToString| PeerError::Refused(reason.to_string());
        let unreachable = |reason: &dyn ToString| PeerError::Unreachable(reason.to_string());
        let (Some(key), Some(me)) = (self.shared.key(), self.shared.me()) else {
            return Err(refused(&"not in the mesh"));
        };
        let route = Route::of(message);
        let (method, path) = (route.method(), route.path());
        let body = encode(message).map_err(|error| refused(&error))?;
        let mut nonce = [0; 16];
        OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|error| refused(&error))?;
        let signature = auth::sign(
            &key,
            me,
            method,
            &path,
            &body,
            self.shared.mesh_now(),
            nonce,
        );
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(auth::HEADER, signature)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| refused(&error))?;
        let response = self
            .pool
            .request(request)
            .await
            .map_err(|error| unreachable(&error))?;
        let status = response.status().as_u16();
        let header = response.headers().get(auth::HEADER).cloned();
        let body = Limited::new(response.into_body(), MAX_REPLY)
            .collect()
            .await
            .map_err(|error| unreachable(&error))?
            .to_bytes();
        let header = header.and_then(|header| header.to_str().map(str::to_owned).ok());
        let signed =
            header.is_some_and(|header| auth::check_reply(&key, &nonce, status, &body, &header));
        if !signed {
            return Err(refused(&format!("status {status}, answer not signed")));
        }
        if status != 200 {
            return Err(refused(&format!(
                "status {status}: {}",
                String::from_utf8_lossy(&body)
            )));
        }
        decode_reply(route, &body).map_err(|error| refused(&error))
    }

    /// One line when it begins, one now and then, one when it ends.
    fn report(&self, to: NodeRef, address: SocketAddr, result: &Result<PeerReply, PeerError>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(_) => {
                if let Some(trouble) = troubles.remove(&to) {
                    tracing::info!(node = %to, %address, failures = trouble.failures, "node answers again");
                }
            }
            Err(error) => {
                let trouble = troubles.entry(to).or_default();
                if trouble.failures >= trouble.report_at {
                    tracing::warn!(node = %to, %address, %error, failures = trouble.failures, "node does not answer");
                    trouble.report_at = (trouble.report_at * 2).max(REPORT_AGAIN);
                }
                trouble.failures += 1;
                // Nodes come and go; their troubles need not stay.
                if troubles.len() > 256 {
                    troubles.pop_first();
                }
            }
        }
    }
}
