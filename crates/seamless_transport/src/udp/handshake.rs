//! What a server must remember about handshakes because renetcode does not.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use crate::Refused;

/// Handshakes in progress at most; renetcode's own bound.
const MAX_HANDSHAKES: usize = 4096;

/// A handshake from which nothing was heard for this long is over.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Challenges to one address at most. A client that hears one asks for no other.
const MAX_CHALLENGES: usize = 64;

/// Tokens remembered by which address used them, until they expire.
const MAX_TOKENS: usize = 8192;

const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Nonces of packets that were sealed with a link's key before the link stood.
///
/// renetcode numbers challenges with one counter for all and a link's packets with the link's own,
/// both from 0 and with the same key. Two packets with one key and one nonce give the key stream
/// away, so the link's packets must step over these.
#[derive(Debug, Default)]
pub(crate) struct SpentNonces(Vec<u64>);

impl SpentNonces {
    pub(crate) fn contains(&self, nonce: u64) -> bool {
        self.0.contains(&nonce)
    }
}

/// Addresses that have shown a valid token and not yet proved that they are there.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    pending: HashMap<SocketAddr, Pending>,
    swept_at: Duration,
}

#[derive(Debug, Default)]
struct Pending {
    spent: SpentNonces,
    heard_at: Duration,
}

impl Handshakes {
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        self.pending.contains_key(&address)
    }

    /// Whether one more challenge may go to the address.
    pub(crate) fn check_room(&self, address: SocketAddr) -> Result<(), Refused> {
        let room = match self.pending.get(&address) {
            Some(pending) => pending.spent.0.len() < MAX_CHALLENGES,
            None => self.pending.len() < MAX_HANDSHAKES,
        };
        room.then_some(()).ok_or(Refused::HandshakesFull)
    }

    /// Notes a challenge with this nonce.
    pub(crate) fn challenged(&mut self, address: SocketAddr, nonce: u64, now: Duration) {
        let pending = self.pending.entry(address).or_default();
        pending.spent.0.push(nonce);
        pending.heard_at = now;
    }

    /// The handshake is over: the link must not use these nonces.
    pub(crate) fn finish(&mut self, address: SocketAddr) -> SpentNonces {
        let pending = self.pending.remove(&address).unwrap_or_default();
        pending.spent
    }

    pub(crate) fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept_at) >= SWEEP_EVERY {
            self.swept_at = now;
            self.pending
                .retain(|_, pending| now.saturating_sub(pending.heard_at) < HANDSHAKE_TIMEOUT);
        }
    }
}

/// Which address used which token. renetcode keeps 2048 and forgets the oldest, expired or not.
#[derive(Debug, Default)]
pub(crate) struct SeenTokens {
    /// By the end of the sealed token.
    seen: BTreeMap<[u8; 16], Seen>,
    swept: u64,
}

#[derive(Debug)]
struct Seen {
    address: SocketAddr,
    expires: u64,
}

impl SeenTokens {
    /// Whether the address may come with this token. `now` is the token clock in seconds.
    pub(crate) fn check(
        &mut self,
        mac: &[u8; 16],
        address: SocketAddr,
        now: u64,
    ) -> Result<(), Refused> {
        if self.swept != now {
            self.swept = now;
            self.seen.retain(|_, seen| seen.expires >= now);
        }
        match self.seen.get(mac) {
            Some(seen) if seen.address == address => Ok(()),
            Some(_) => Err(Refused::TokenReused),
            None if self.seen.len() < MAX_TOKENS => Ok(()),
            None => Err(Refused::HandshakesFull),
        }
    }

    /// Notes a token that netcode found genuine.
    pub(crate) fn note(&mut self, mac: [u8; 16], address: SocketAddr, expires: u64) {
        self.seen.entry(mac).or_insert(Seen { address, expires });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn the_nonces_of_challenges_go_to_the_link() {
        let mut handshakes = Handshakes::default();
        for nonce in [4, 9] {
            handshakes.challenged(address(1), nonce, Duration::ZERO);
        }
        let spent = handshakes.finish(address(1));
        assert!(spent.contains(4) && spent.contains(9) && !spent.contains(5));
        assert!(!handshakes.contains(address(1)));
    }

    #[test]
    fn handshakes_are_bounded_and_end() {
        let mut handshakes = Handshakes::default();
        for port in 0..MAX_HANDSHAKES as u16 {
            assert!(handshakes.check_room(address(port)).is_ok());
            handshakes.challenged(address(port), 1, Duration::ZERO);
        }
        assert_eq!(
            handshakes.check_room(address(9999)),
            Err(Refused::HandshakesFull)
        );
        assert!(handshakes.check_room(address(7)).is_ok());
        for nonce in 0..MAX_CHALLENGES as u64 {
            handshakes.challenged(address(7), nonce, Duration::ZERO);
        }
        assert_eq!(
            handshakes.check_room(address(7)),
            Err(Refused::HandshakesFull)
        );
        handshakes.sweep(HANDSHAKE_TIMEOUT);
        assert!(handshakes.check_room(address(9999)).is_ok());
    }

    #[test]
    fn a_token_belongs_to_the_address_that_used_it_until_it_expires() {
        let mut tokens = SeenTokens::default();
        tokens.note([1; 16], address(1), 10);
        assert_eq!(tokens.check(&[1; 16], address(1), 5), Ok(()));
        assert_eq!(
            tokens.check(&[1; 16], address(2), 5),
            Err(Refused::TokenReused)
        );
        assert_eq!(tokens.check(&[1; 16], address(2), 11), Ok(()));
    }
}
