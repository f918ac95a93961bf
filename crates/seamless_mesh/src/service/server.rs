//! What other nodes may ask, over HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::Response,
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
};

use super::{
    auth::{self, AuthError, Signature},
    body::{MAX_BODY, Route, decode, encode_reply, parse_handover},
    metrics,
    runtime::Ask,
    shared::Shared,
};
use crate::protocol::PeerReply;

/// How long a node may take to send a body.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for our own answer; the asker gives up long before.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Most header fields of a request, and most bytes of them.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// How long a connection may be idle, or take to send its head.
pub(super) const IDLE_NODE: Duration = Duration::from_secs(30);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

#[derive(Clone)]
struct Server {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
}

/// The routes for nodes.
pub(super) fn router(shared: Arc<Shared>, asks: mpsc::Sender<Ask>) -> Router {
    let fixed = |route: Route| {
        post(
            move |State(server): State<Server>, request: Request| async move {
                server.answer(route, request).await
            },
        )
    };
    Router::new()
        .route("/handover/prepare", fixed(Route::Prepare))
        .route("/handover/commit", fixed(Route::Commit))
        .route("/handover/release", fixed(Route::Release))
        .route("/dead", fixed(Route::Dead))
        .route("/enter", fixed(Route::Session))
        .route("/handover/{id}", get(status))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_page))
        .with_state(Server { shared, asks })
}

/// Serves connections until the runtime ends, at most so many at one time.
pub(super) async fn serve(listener: TcpListener, router: Router, most: usize, idle: Duration) {
    let permits = Arc::new(Semaphore::new(most));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors, most likely; the next may be luckier.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone().layer(Extension(Peer(peer)));
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                .max_headers(MAX_HEADERS)
                .max_buf_size(MAX_HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            // A broken connection is the other end's loss.
            let _ = connection.await;
            drop(permit);
        });
    }
}

pub(super) fn plain(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

async fn status(
    State(server): State<Server>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match parse_handover(&id) {
        Some(handover) => server.answer(Route::Status(handover), request).await,
        None => {
            server.shared.http.malformed.add();
            plain(StatusCode::BAD_REQUEST, "no such name of a handover")
        }
    }
}

async fn healthz(State(server): State<Server>) -> Response {
    if server.shared.may_simulate() {
        plain(StatusCode::OK, "ok\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "fenced\n")
    }
}

async fn metrics_page(State(server): State<Server>) -> Response {
    let mut response = plain(StatusCode::OK, metrics::render(&server.shared));
    let kind = axum::http::HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

impl Server {
    async fn answer(&self, route: Route, request: Request) -> Response {
        let http = &self.shared.http;
        let header = request.headers().get(auth::HEADER);
        let header = header.and_then(|header| header.to_str().ok());
        // Before a byte of the body is read.
        let signature = match self.admit(route, header) {
            Ok(signature) => signature,
            Err(error) => return self.refused(error),
        };
        let body = tokio::time::timeout(BODY_WITHIN, to_bytes(request.into_body(), MAX_BODY)).await;
        let body = match body {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                http.oversized.add();
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "too large or broken off");
            }
            Err(_) => {
                http.slow.add();
                return plain(StatusCode::REQUEST_TIMEOUT, "too slow");
            }
        };
        if let Err(error) = signature.covers(&body) {
            return self.refused(error);
        }
        let message = match decode(route, &body) {
            Ok(message) => message,
            Err(error) => {
                http.malformed.add();
                return self.signed(
                    &signature,
                    StatusCode::BAD_REQUEST,
                    error.to_string().into_bytes(),
                );
            }
        };
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Node {
            from: signature.from,
            message,
            answer,
        };
        if self.asks.try_send(ask).is_err() {
            http.busy.add();
            return self.signed(
                &signature,
                StatusCode::SERVICE_UNAVAILABLE,
                b"busy".to_vec(),
            );
        }
        let reply = tokio::time::timeout(ANSWER_WITHIN, answered).await;
        match reply {
            Ok(Ok(reply)) => self.reply(&signature, &reply),
            // Nobody answers a request that does not make sense, such as one in another's name.
            _ => {
                http.unanswered.add();
                self.signed(&signature, StatusCode::FORBIDDEN, b"no answer".to_vec())
            }
        }
    }

    fn refused(&self, error: AuthError) -> Response {
        self.shared.count_refusal(error);
        let status = match error {
            AuthError::Missing | AuthError::Wrong | AuthError::Expired => StatusCode::UNAUTHORIZED,
            AuthError::Malformed => StatusCode::BAD_REQUEST,
            AuthError::Replayed => StatusCode::CONFLICT,
            AuthError::Full => StatusCode::TOO_MANY_REQUESTS,
            AuthError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        };
        plain(status, error.to_string())
    }

    fn admit(&self, route: Route, header: Option<&str>) -> Result<Signature, AuthError> {
        let signature = auth::parse(header.ok_or(AuthError::Missing)?)?;
        let key = self.shared.key().ok_or(AuthError::NotReady)?;
        let now = self.shared.mesh_now();
        let (method, path) = (route.method(), route.path());
        self.shared
            .gate()
            .admit(&key, method, &path, &signature, now)?;
        Ok(signature)
    }

    fn reply(&self, signature: &Signature, reply: &PeerReply) -> Response {
        match encode_reply(reply) {
            Ok(body) => {
                self.shared.http.answered.add();
                self.signed(signature, StatusCode::OK, body)
            }
            Err(error) => self.signed(
                signature,
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string().into_bytes(),
            ),
        }
    }

    fn signed(&self, signature: &Signature, status: StatusCode, body: Vec<u8>) -> Response {
        let key = self.shared.key().unwrap_or_default();
        let mac = auth::sign_reply(&key, &signature.nonce, status.as_u16(), &body);
        let mut response = plain(status, body);
        if let Ok(mac) = mac.parse() {
            response.headers_mut().insert(auth::HEADER, mac);
        }
        response
    }
}
