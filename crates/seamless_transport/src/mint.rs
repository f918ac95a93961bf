//! Who may make connect tokens, and the memory of those that were made.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use renetcode::{ConnectToken, generate_random_bytes};
use seamless_wire::ticket::TICKET_BYTES;

use crate::{Token, TokenClock, TokenError, token::MAX_TOKEN_ADDRESSES};

/// Unused tokens that a mint remembers at most, 5 MB. All are gone after their expiry.
pub const MAX_UNUSED_TOKENS: usize = 16 * 1024;

/// How long a token may still be used after its expiry, in seconds: a handshake that began in time
/// may end.
const GRACE_SECONDS: u64 = 5;

/// Makes connect tokens for one server. A cheap clone, for any thread.
///
/// [`ServerEndpoint::mint`](crate::ServerEndpoint::mint) gives the one that belongs to an
/// endpoint. It remembers what it minted until the token is used or expires, and the endpoint
/// accepts nothing else: a token opens one link, once, with the user data it was minted with.
/// netcode by itself forgets tokens when it has seen many, admits one again from the address that
/// used it, and lets a client present the user data of one token under the id of another.
#[derive(Debug, Clone)]
pub struct TokenMint {
    secret: Arc<Secret>,
    clock: TokenClock,
    ledger: Option<Arc<Mutex<Ledger>>>,
}

struct Secret {
    key: [u8; 32],
    protocol_id: u64,
    addresses: Vec<SocketAddr>,
}

/// Without the key.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("protocol_id", &self.protocol_id)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What a token is for and how long it lives.
#[derive(Debug, Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Seconds until a connection can no longer be asked for, 1 to 3600.
    pub expire_seconds: u32,
    /// Seconds of silence after which the link ends, on both sides, 1 to 300. Also the time that a
    /// client spends on each server address.
    pub timeout_seconds: u32,
    /// Sealed for the server; see `seamless_wire::ticket`.
    pub user_data: &'a [u8; TICKET_BYTES],
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Too many tokens are out.
    #[error("{0} unused tokens are out")]
    TooManyUnused(usize),
    /// A token holds 1 to 32 addresses.
    #[error("a token for {0} addresses, allowed are 1 to 32")]
    Addresses(usize),
    /// The lifetime or the timeout is out of range.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// renetcode could not seal it.
    #[error("the token could not be sealed: {0}")]
    Seal(String),
}

impl TokenMint {
    /// A mint for endpoints with [`Authentication::SharedKey`](crate::Authentication::SharedKey),
    /// anywhere the key is known.
    ///
    /// # Errors
    /// [`MintError::Addresses`] unless there are 1 to 32.
    pub fn with_shared_key(
        key: [u8; 32],
        protocol_id: u64,
        addresses: Vec<SocketAddr>,
        clock: TokenClock,
    ) -> Result<Self, MintError> {
        if !(1..=MAX_TOKEN_ADDRESSES).contains(&addresses.len()) {
            return Err(MintError::Addresses(addresses.len()));
        }
        Ok(Self {
            secret: Arc::new(Secret {
                key,
                protocol_id,
                addresses,
            }),
            clock,
            ledger: None,
        })
    }

    /// The same, remembering what it makes.
    pub(crate) fn with_ledger(mut self) -> Self {
        self.ledger = Some(Arc::default());
        self
    }

    /// The clock that its tokens expire by.
    #[must_use]
    pub const fn clock(&self) -> &TokenClock {
        &self.clock
    }

    /// Makes a token with a random client id. About 20 µs.
    ///
    /// # Errors
    /// [`MintError`]; the ledger is then as it was.
    pub fn mint(&self, request: TokenRequest<'_>) -> Result<Token, MintError> {
        let now = self.clock.now();
        let mut ledger = self.ledger();
        if let Some(ledger) = &mut ledger {
            ledger.expire(now.as_secs());
            if ledger.unused.len() >= MAX_UNUSED_TOKENS {
                return Err(MintError::TooManyUnused(ledger.unused.len()));
            }
        }
        let mut client_id = random_id();
        while ledger
            .as_ref()
            .is_some_and(|ledger| ledger.unused.contains_key(&client_id))
        {
            client_id = random_id();
        }
        let token = ConnectToken::generate(
            now,
            self.secret.protocol_id,
            request.expire_seconds.into(),
            client_id,
            i32::try_from(request.timeout_seconds).unwrap_or(i32::MAX),
            self.secret.addresses.clone(),
            Some(request.user_data),
            &self.secret.key,
        )
        .map_err(|error| MintError::Seal(error.to_string()))?;
        let token = Token::new(token)?;
        if let Some(ledger) = &mut ledger {
            let unused = Unused {
                expires: token.expires(),
                user_data: Box::new(*request.user_data),
            };
            ledger.unused.insert(client_id, unused);
        }
        Ok(token)
    }

    /// Uses a token up. `false` if it was not minted here, was used, or belongs to other user
    /// data. Without a ledger everything netcode accepted is good.
    pub(crate) fn redeem(&self, client_id: u64, user_data: &[u8; TICKET_BYTES]) -> bool {
        let Some(mut ledger) = self.ledger() else {
            return true;
        };
        ledger.expire(self.clock.now().as_secs());
        ledger
            .unused
            .remove(&client_id)
            .is_some_and(|unused| *unused.user_data == *user_data)
    }

    fn ledger(&self) -> Option<MutexGuard<'_, Ledger>> {
        let ledger = self.ledger.as_ref()?;
        // Every change is one map operation: a thread that panicked left it whole.
        Some(ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn random_id() -> u64 {
    u64::from_le_bytes(generate_random_bytes())
}

/// Tokens that were minted and not used, by client id.
#[derive(Debug, Default)]
struct Ledger {
    unused: BTreeMap<u64, Unused>,
    /// The last second in which old ones were looked for: a walk over all.
    swept: u64,
}

#[derive(Debug)]
struct Unused {
    expires: u64,
    user_data: Box<[u8; TICKET_BYTES]>,
}

impl Ledger {
    fn expire(&mut self, now: u64) {
        if self.swept != now {
            self.swept = now;
            self.unused
                .retain(|_, unused| now <= unused.expires.saturating_add(GRACE_SECONDS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mint() -> TokenMint {
        let clock = TokenClock::start();
        clock.publish(Duration::from_secs(1000));
        let address = "127.0.0.1:4000".parse().unwrap();
        TokenMint::with_shared_key([1; 32], 1, vec![address], clock)
            .unwrap()
            .with_ledger()
    }

    const REQUEST: TokenRequest<'_> = TokenRequest {
        expire_seconds: 10,
        timeout_seconds: 5,
        user_data: &[3; TICKET_BYTES],
    };

    #[test]
    fn a_token_is_good_once_and_with_its_own_user_data() {
        let mint = mint();
        let token = mint.mint(REQUEST).unwrap();
        assert_eq!(token.expires(), 1010);
        assert!(mint.clone().redeem(token.client_id(), &[3; TICKET_BYTES]));
        assert!(!mint.redeem(token.client_id(), &[3; TICKET_BYTES]));
        let token = mint.mint(REQUEST).unwrap();
        assert!(!mint.redeem(token.client_id(), &[4; TICKET_BYTES]));
    }

    #[test]
    fn an_expired_token_is_forgotten() {
        let mint = mint();
        let token = mint.mint(REQUEST).unwrap();
        mint.clock.publish(Duration::from_secs(1016));
        assert!(!mint.redeem(token.client_id(), &[3; TICKET_BYTES]));
    }

    #[test]
    fn lifetimes_out_of_range_are_errors() {
        for (expire_seconds, timeout_seconds) in [(0, 5), (3601, 5), (10, 0), (10, 301)] {
            let request = TokenRequest {
                expire_seconds,
                timeout_seconds,
                ..REQUEST
            };
            assert!(matches!(mint().mint(request), Err(MintError::Token(_))));
        }
    }

    #[test]
    fn the_number_of_unused_tokens_is_bounded() {
        let mint = mint();
        for _ in 0..MAX_UNUSED_TOKENS {
            let mut ledger = mint.ledger().unwrap();
            let unused = Unused {
                expires: 1010,
                user_data: Box::new([0; TICKET_BYTES]),
            };
            ledger.unused.insert(random_id(), unused);
        }
        let full = MintError::TooManyUnused(MAX_UNUSED_TOKENS);
        assert_eq!(mint.mint(REQUEST), Err(full));
        mint.clock.publish(Duration::from_secs(1016));
        assert!(mint.mint(REQUEST).is_ok());
    }

    #[test]
    fn a_mint_works_from_another_thread() {
        let mint = mint();
        let there = mint.clone();
        let token = std::thread::spawn(move || there.mint(REQUEST).unwrap());
        let token = token.join().unwrap();
        assert!(mint.redeem(token.client_id(), &[3; TICKET_BYTES]));
    }

    #[test]
    fn a_mint_does_not_print_its_key() {
        assert!(!format!("{:?}", mint()).contains("key"));
    }
}
