//! What is in the requests and answers between nodes.

use std::sync::Arc;

use seamless_wire::{
    GlobalEntity, HandoverId, Term, WireError, codec,
    mesh::{Commit, CommitReply, DeadNodeReply, HandoverStatus, PrepareReply, SessionReply},
};

use crate::protocol::{PeerMessage, PeerReply};

/// Largest frozen state in a COMMIT, in bytes.
pub const MAX_STATE: usize = 16 << 20;

/// Largest body of a request, in bytes: a COMMIT with the largest state.
pub const MAX_BODY: usize = MAX_STATE + codec::MAX_VALUE + 4;

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// `POST /handover/prepare`
    Prepare,
    /// `POST /handover/commit`
    Commit,
    /// `POST /handover/release`
    Release,
    /// `GET /handover/{id}`, the id as `root-term-attempt` in decimal
    Status(HandoverId),
    /// `POST /dead`
    Dead,
    /// `POST /enter`
    Session,
}

impl Route {
    /// Where this request goes.
    #[must_use]
    pub fn of(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::Prepare(_) => Self::Prepare,
            PeerMessage::Commit(_) => Self::Commit,
            PeerMessage::Release(_) => Self::Release,
            PeerMessage::Dead(_) => Self::Dead,
            PeerMessage::Session(_) => Self::Session,
            PeerMessage::Status(handover) => Self::Status(*handover),
        }
    }

    /// Its HTTP method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Status(_) => "GET",
            _ => "POST",
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(self) -> String {
        match self {
            Self::Prepare => "/handover/prepare".to_owned(),
            Self::Commit => "/handover/commit".to_owned(),
            Self::Release => "/handover/release".to_owned(),
            Self::Dead => "/dead".to_owned(),
            Self::Session => "/enter".to_owned(),
            Self::Status(id) => {
                format!(
                    "/handover/{}-{}-{}",
                    id.root.to_bits(),
                    id.term.0,
                    id.attempt
                )
            }
        }
    }
}

/// Reads the last part of the path of [`Route::Status`].
#[must_use]
pub fn parse_handover(text: &str) -> Option<HandoverId> {
    let mut parts = text.split('-');
    let root = GlobalEntity::from_bits(parts.next()?.parse().ok()?)?;
    let term = Term(parts.next()?.parse().ok()?);
    let attempt = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(HandoverId {
        root,
        term,
        attempt,
    })
}

/// The body of a request.
///
/// # Errors
/// [`WireError::OutOfBounds`] if it is too large.
pub fn encode(message: &PeerMessage) -> Result<Vec<u8>, WireError> {
    match message {
        PeerMessage::Prepare(prepare) => codec::to_vec(prepare),
        PeerMessage::Commit(commit) => encode_commit(commit),
        PeerMessage::Release(release) => codec::to_vec(release),
        PeerMessage::Dead(dead) => codec::to_vec(dead),
        PeerMessage::Session(request) => codec::to_vec(request),
        PeerMessage::Status(_) => Ok(Vec::new()),
    }
}

// The state stands behind the rest, so that it may be larger than one value of the codec.
fn encode_commit(commit: &Commit) -> Result<Vec<u8>, WireError> {
    if commit.state.len() > MAX_STATE {
        return Err(WireError::OutOfBounds {
            what: "frozen state",
            value: commit.state.len() as u64,
            max: MAX_STATE as u64,
        });
    }
    let head = Commit {
        handover: commit.handover,
        from: commit.from,
        to: commit.to,
        cell: commit.cell,
        manifest: commit.manifest.clone(),
        tick: commit.tick,
        last_input: commit.last_input,
        queue: commit.queue.clone(),
        state: Vec::new(),
        digest: commit.digest,
    };
    let head = codec::to_vec(&head)?;
    let mut body = Vec::with_capacity(4 + head.len() + commit.state.len());
    body.extend_from_slice(&(head.len() as u32).to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(&commit.state);
    Ok(body)
}

/// Reads the body of a request to this route.
///
/// # Errors
/// [`WireError`] for anything that [`encode`] cannot have made.
pub fn decode(route: Route, body: &[u8]) -> Result<PeerMessage, WireError> {
    Ok(match route {
        Route::Prepare => PeerMessage::Prepare(Box::new(codec::decode(body)?)),
        Route::Commit => PeerMessage::Commit(Arc::new(decode_commit(body)?)),
        Route::Release => PeerMessage::Release(codec::decode(body)?),
        Route::Dead => PeerMessage::Dead(codec::decode(body)?),
        Route::Session => PeerMessage::Session(codec::decode(body)?),
        Route::Status(handover) if body.is_empty() => PeerMessage::Status(handover),
        Route::Status(_) => return Err(WireError::Trailing(body.len())),
    })
}

fn decode_commit(body: &[u8]) -> Result<Commit, WireError> {
    let truncated = |wanted: usize, left: usize| WireError::Truncated {
        wanted: (wanted.min(1 << 28) * 8) as u32,
        left: (left.min(1 << 28) * 8) as u32,
    };
    let (len, rest) = body
        .split_first_chunk::<4>()
        .ok_or_else(|| truncated(4, body.len()))?;
    let len = u32::from_le_bytes(*len) as usize;
    let (head, state) = rest
        .split_at_checked(len)
        .ok_or_else(|| truncated(len, rest.len()))?;
    let mut commit: Commit = codec::decode(head)?;
    if !commit.state.is_empty() || state.len() > MAX_STATE {
        return Err(WireError::OutOfBounds {
            what: "frozen state",
            value: (commit.state.len() + state.len()) as u64,
            max: MAX_STATE as u64,
        });
    }
    state.clone_into(&mut commit.state);
    Ok(commit)
}

/// The body of an answer.
///
/// # Errors
/// [`WireError::OutOfBounds`] if it is too large; none of ours is near.
pub fn encode_reply(reply: &PeerReply) -> Result<Vec<u8>, WireError> {
    match reply {
        PeerReply::Prepare(reply) => codec::to_vec(reply),
        PeerReply::Commit(reply) => codec::to_vec(reply),
        PeerReply::Released => Ok(Vec::new()),
        PeerReply::Dead(reply) => codec::to_vec(reply),
        PeerReply::Session(reply) => codec::to_vec(reply),
        PeerReply::Status(status) => codec::to_vec(status),
    }
}

/// Reads the body of an answer to a request to this route.
///
/// # Errors
/// [`WireError`] for anything that [`encode_reply`] cannot have made.
pub fn decode_reply(route: Route, body: &[u8]) -> Result<PeerReply, WireError> {
    Ok(match route {
        Route::Prepare => PeerReply::Prepare(codec::decode::<PrepareReply>(body)?),
        Route::Commit => PeerReply::Commit(codec::decode::<CommitReply>(body)?),
        Route::Release if body.is_empty() => PeerReply::Released,
        Route::Release => return Err(WireError::Trailing(body.len())),
        Route::Dead => PeerReply::Dead(codec::decode::<DeadNodeReply>(body)?),
        Route::Session => PeerReply::Session(codec::decode::<SessionReply>(body)?),
        Route::Status(_) => PeerReply::Status(codec::decode::<HandoverStatus>(body)?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seamless_wire::{
        CellId, Incarnation, InputSeq, NodeId, NodeRef, PeerId, Tick,
        control::Control,
        mesh::{DeadNode, Manifest, Prepare, Release, SessionRequest},
    };

    use super::*;

    fn messages() -> Vec<PeerMessage> {
        let node = NodeRef {
            id: NodeId(3),
            incarnation: Incarnation(9),
        };
        let root = GlobalEntity::new(4, 5).unwrap();
        let handover = HandoverId {
            root,
            term: Term(12),
            attempt: 2,
        };
        let manifest = Manifest {
            version: 3,
            members: vec![root],
            player: Some(PeerId(7)),
        };
        vec![
            PeerMessage::Prepare(Box::new(Prepare {
                handover,
                from: node,
                to: node,
                cell: CellId(3),
                manifest: manifest.clone(),
                schema: 99,
                viewpoint: [1.0, 2.0, 3.0],
                token: true,
            })),
            PeerMessage::Commit(Arc::new(Commit {
                handover,
                from: node,
                to: node,
                cell: CellId(3),
                manifest,
                tick: Tick(5),
                last_input: InputSeq(6),
                queue: vec![(PeerId(7), Control::MoreNames)],
                state: vec![5; 2 << 20],
                digest: [4; 32],
            })),
            PeerMessage::Release(Release {
                handover,
                from: node,
            }),
            PeerMessage::Dead(DeadNode { node }),
            PeerMessage::Session(SessionRequest {
                player: PeerId(7),
                from: node,
            }),
            PeerMessage::Status(handover),
        ]
    }

    #[test]
    fn every_request_is_read_back() {
        for message in messages() {
            let route = Route::of(&message);
            let body = encode(&message).unwrap();
            assert_eq!(decode(route, &body).unwrap(), message);
            if let Route::Status(handover) = route {
                let path = route.path();
                assert_eq!(
                    parse_handover(path.rsplit('/').next().unwrap()),
                    Some(handover)
                );
            }
        }
    }

    #[test]
    fn a_truncated_request_is_an_error() {
        for message in messages() {
            let route = Route::of(&message);
            let body = encode(&message).unwrap();
            for len in (0..body.len().min(200)).filter(|len| *len < body.len()) {
                // A COMMIT whose state is cut off is noticed by its digest.
                if !matches!(
                    decode(route, &body[..len]),
                    Err(_) | Ok(PeerMessage::Commit(_))
                ) {
                    panic!("{route:?} of {len} bytes was read");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn junk_is_an_error_or_a_message_and_never_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for message in messages() {
                let _ = decode(Route::of(&message), &body);
                let _ = decode_reply(Route::of(&message), &body);
            }
        }
    }
}
