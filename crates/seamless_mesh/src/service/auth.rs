//! Who is a node of the mesh: a keyed MAC over each request and each answer.
//!
//! BLAKE3 keyed with the mesh key over method, path, sender, nonce, expiry and the digest of the
//! body. All of that is in the header, so a stranger is turned away before a byte of its body is
//! read. The expiry is mesh time, which is not the wall clock; a nonce is accepted once until then.
//! The answer's MAC covers the request's nonce, so an answer cannot be moved to another request.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use seamless_wire::{Incarnation, NodeId, NodeRef};

use super::key::{hex, unhex};

/// Name of the header.
pub const HEADER: &str = "x-seamless-auth";

/// How long a request is good for.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Latest expiry that is accepted, from now: the window and what two clocks may differ by.
const FARTHEST: Duration = Duration::from_secs(30);

/// Most nonces that are remembered. More requests than that within the window are an attack or a
/// mistake, and are refused; nothing unexpired is forgotten.
pub const MAX_NONCES: usize = 1 << 16;

/// Why a request is not a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum AuthError {
    /// There is no MAC.
    #[error("not signed")]
    Missing,
    /// There is something else in its place.
    #[error("malformed signature")]
    Malformed,
    /// It is too old, or from too far ahead.
    #[error("expired")]
    Expired,
    /// It is wrong.
    #[error("wrong signature")]
    Wrong,
    /// It was here before.
    #[error("replayed")]
    Replayed,
    /// Too many requests at once.
    #[error("too many requests")]
    Full,
    /// This node has no key yet: it has not joined.
    #[error("not in the mesh yet")]
    NotReady,
}

/// What a request's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Who sends.
    pub from: NodeRef,
    /// Makes it good for once.
    pub nonce: [u8; 16],
    /// Until when it is good, mesh time in milliseconds.
    pub expiry: u64,
    /// BLAKE3 of the body.
    digest: [u8; 32],
    mac: [u8; 32],
}

impl Signature {
    /// Whether this is the body that was signed.
    ///
    /// # Errors
    /// [`AuthError::Wrong`].
    pub fn covers(&self, body: &[u8]) -> Result<(), AuthError> {
        if blake3::hash(body) == self.digest {
            Ok(())
        } else {
            Err(AuthError::Wrong)
        }
    }
}

fn request_mac(key: &[u8; 32], method: &str, path: &str, signature: &Signature) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    // Every part with its length, so that no two requests have one encoding.
    for part in [b"request".as_slice(), method.as_bytes(), path.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&signature.from.id.0.to_le_bytes());
    hasher.update(&signature.from.incarnation.0.to_le_bytes());
    hasher.update(&signature.nonce);
    hasher.update(&signature.expiry.to_le_bytes());
    hasher.update(&signature.digest);
    hasher.finalize()
}

fn reply_mac(key: &[u8; 32], nonce: &[u8; 16], status: u16, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&5u64.to_le_bytes());
    hasher.update(b"reply");
    hasher.update(nonce);
    hasher.update(&status.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// Signs a request. `now` is mesh time; the nonce must be fresh random bytes.
#[must_use]
pub fn sign(
    key: &[u8; 32],
    from: NodeRef,
    method: &str,
    path: &str,
    body: &[u8],
    now: Duration,
    nonce: [u8; 16],
) -> String {
    let mut signature = Signature {
        from,
        nonce,
        expiry: (now + WINDOW).as_millis() as u64,
        digest: *blake3::hash(body).as_bytes(),
        mac: [0; 32],
    };
    signature.mac = *request_mac(key, method, path, &signature).as_bytes();
    format!(
        "{}.{}.{}.{}.{}.{}",
        from.id.0,
        from.incarnation.0,
        hex(&nonce),
        signature.expiry,
        hex(&signature.digest),
        hex(&signature.mac)
    )
}

/// Reads the header.
///
/// # Errors
/// [`AuthError::Malformed`].
pub fn parse(header: &str) -> Result<Signature, AuthError> {
    let mut parts = header.split('.');
    let mut part = || parts.next().ok_or(AuthError::Malformed);
    let id = part()?.parse().map_err(|_| AuthError::Malformed)?;
    let incarnation = part()?.parse().map_err(|_| AuthError::Malformed)?;
    let nonce = unhex(part()?).and_then(|bytes| bytes.try_into().ok());
    let expiry = part()?.parse().map_err(|_| AuthError::Malformed)?;
    let digest = unhex(part()?).and_then(|bytes| bytes.try_into().ok());
    let mac = unhex(part()?).and_then(|bytes| bytes.try_into().ok());
    let (Some(nonce), Some(digest), Some(mac), None) = (nonce, digest, mac, parts.next()) else {
        return Err(AuthError::Malformed);
    };
    Ok(Signature {
        from: NodeRef {
            id: NodeId(id),
            incarnation: Incarnation(incarnation),
        },
        nonce,
        expiry,
        digest,
        mac,
    })
}

/// The header of an answer to the request with this nonce.
#[must_use]
pub fn sign_reply(key: &[u8; 32], nonce: &[u8; 16], status: u16, body: &[u8]) -> String {
    hex(reply_mac(key, nonce, status, body).as_bytes())
}

/// Whether an answer is a node's, to this very request. Takes the same time whatever is wrong.
#[must_use]
pub fn check_reply(
    key: &[u8; 32],
    nonce: &[u8; 16],
    status: u16,
    body: &[u8],
    header: &str,
) -> bool {
    let mac: Option<[u8; 32]> = unhex(header).and_then(|bytes| bytes.try_into().ok());
    mac.is_some_and(|mac| reply_mac(key, nonce, status, body) == mac)
}

/// Remembers nonces until they expire.
#[derive(Debug, Default)]
pub struct Gate {
    seen: HashSet<[u8; 16]>,
    expiries: BTreeMap<u64, Vec<[u8; 16]>>,
}

impl Gate {
    /// Whether a request is a node's and was not here before, by its header alone; its body is
    /// compared by [`Signature::covers`]. `now` is mesh time.
    ///
    /// The MAC is compared in constant time and before anything is remembered, so a stranger
    /// cannot fill the memory.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn admit(
        &mut self,
        key: &[u8; 32],
        method: &str,
        path: &str,
        signature: &Signature,
        now: Duration,
    ) -> Result<NodeRef, AuthError> {
        // blake3::Hash compares in constant time.
        if request_mac(key, method, path, signature) != signature.mac {
            return Err(AuthError::Wrong);
        }
        let now = now.as_millis() as u64;
        if signature.expiry <= now || signature.expiry > now + FARTHEST.as_millis() as u64 {
            return Err(AuthError::Expired);
        }
        if self.seen.contains(&signature.nonce) {
            return Err(AuthError::Replayed);
        }
        while let Some(entry) = self.expiries.first_entry()
            && *entry.key() <= now
        {
            for nonce in entry.remove() {
                self.seen.remove(&nonce);
            }
        }
        if self.seen.len() >= MAX_NONCES {
            return Err(AuthError::Full);
        }
        self.seen.insert(signature.nonce);
        self.expiries
            .entry(signature.expiry)
            .or_default()
            .push(signature.nonce);
        Ok(signature.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [3; 32];
    const FROM: NodeRef = NodeRef {
        id: NodeId(4),
        incarnation: Incarnation(77),
    };

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    fn header(nonce: u8) -> String {
        sign(&KEY, FROM, "POST", "/a", b"body", s(100), [nonce; 16])
    }

    fn admit(
        gate: &mut Gate,
        header: &str,
        path: &str,
        body: &[u8],
        now: Duration,
    ) -> Result<NodeRef, AuthError> {
        let signature = parse(header)?;
        let from = gate.admit(&KEY, "POST", path, &signature, now)?;
        signature.covers(body).map(|()| from)
    }

    #[test]
    fn a_request_is_admitted_once() {
        let mut gate = Gate::default();
        assert_eq!(
            admit(&mut gate, &header(1), "/a", b"body", s(101)),
            Ok(FROM)
        );
        assert_eq!(
            admit(&mut gate, &header(1), "/a", b"body", s(101)),
            Err(AuthError::Replayed)
        );
        assert_eq!(
            admit(&mut gate, &header(2), "/a", b"body", s(101)),
            Ok(FROM)
        );
    }

    #[test]
    fn nothing_in_it_can_be_changed() {
        let mut gate = Gate::default();
        let good = header(1);
        assert_eq!(
            admit(&mut gate, &good, "/b", b"body", s(101)),
            Err(AuthError::Wrong)
        );
        assert_eq!(
            admit(&mut gate, &header(2), "/a", b"bodY", s(101)),
            Err(AuthError::Wrong)
        );
        let other_key = sign(&[4; 32], FROM, "POST", "/a", b"body", s(100), [1; 16]);
        assert_eq!(
            admit(&mut gate, &other_key, "/a", b"body", s(101)),
            Err(AuthError::Wrong)
        );
        let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
        for (at, forged) in [
            (0, "5"),
            (1, "78"),
            (2, &*hex(&[9; 16])),
            (3, "999999"),
            (4, &*hex(&[9; 32])),
        ] {
            let before = std::mem::replace(&mut parts[at], forged.to_owned());
            assert_eq!(
                admit(&mut gate, &parts.join("."), "/a", b"body", s(101)),
                Err(AuthError::Wrong)
            );
            parts[at] = before;
        }
        assert_eq!(admit(&mut gate, &good, "/a", b"body", s(101)), Ok(FROM));
    }

    #[test]
    fn an_old_request_is_refused_and_so_is_one_from_the_future() {
        let mut gate = Gate::default();
        assert_eq!(
            admit(&mut gate, &header(1), "/a", b"body", s(110)),
            Err(AuthError::Expired)
        );
        assert_eq!(
            admit(&mut gate, &header(1), "/a", b"body", s(70)),
            Err(AuthError::Expired)
        );
    }

    #[test]
    fn junk_is_malformed() {
        for junk in [
            "",
            ".",
            "....",
            "1.2.3.4.5",
            "1.2.zz.4.zz",
            &format!("{}.", header(1)),
            &"9".repeat(5000),
        ] {
            assert_eq!(parse(junk).err(), Some(AuthError::Malformed), "{junk}");
        }
    }

    #[test]
    fn an_answer_belongs_to_its_request() {
        let header = sign_reply(&KEY, &[1; 16], 200, b"yes");
        assert!(check_reply(&KEY, &[1; 16], 200, b"yes", &header));
        assert!(!check_reply(&KEY, &[2; 16], 200, b"yes", &header));
        assert!(!check_reply(&KEY, &[1; 16], 201, b"yes", &header));
        assert!(!check_reply(&KEY, &[1; 16], 200, b"no", &header));
        assert!(!check_reply(&KEY, &[1; 16], 200, b"yes", "junk"));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_only_what_has_expired() {
        let mut gate = Gate::default();
        for number in 0..MAX_NONCES as u128 {
            let nonce = number.to_le_bytes();
            let header = sign(&KEY, FROM, "POST", "/a", b"", s(100), nonce);
            assert!(admit(&mut gate, &header, "/a", b"", s(100)).is_ok());
        }
        let one_more = sign(&KEY, FROM, "POST", "/a", b"", s(105), [255; 16]);
        assert_eq!(
            admit(&mut gate, &one_more, "/a", b"", s(105)),
            Err(AuthError::Full)
        );
        assert!(
            admit(&mut gate, &one_more, "/a", b"", s(110)).is_ok(),
            "the others have expired"
        );
    }
}
