//! Connect tokens: the right to open one link to one server.

use std::net::SocketAddr;

use renetcode::ConnectToken;

/// Longest time between a token's minting and its expiry, in seconds.
pub const MAX_TOKEN_SECONDS: u64 = 3600;

/// Longest silence that a token may ask for, in seconds.
pub const MAX_TIMEOUT_SECONDS: u32 = 300;

/// Server addresses in a token at most.
pub const MAX_TOKEN_ADDRESSES: usize = 32;

/// A connect token as the client gets it. Secret: it holds the session's keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<ConnectToken>);

/// Why bytes are no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// They end too early, or hold what no token holds.
    #[error("not a connect token")]
    Malformed,
    /// Bytes follow the token.
    #[error("{0} bytes after a connect token")]
    Trailing(usize),
    /// The token names no server. renetcode would panic on it.
    #[error("the connect token names no server")]
    NoServer,
    /// The expiry is before the minting, or too far after it. renetcode subtracts the two.
    #[error("a connect token for {0} seconds, allowed are 1 to 3600")]
    Lifetime(i64),
    /// The timeout is none, or too long.
    #[error("a connect token with a timeout of {0} s, allowed are 1 to 300")]
    Timeout(i32),
}

impl Token {
    pub(crate) fn new(token: ConnectToken) -> Result<Self, TokenError> {
        if token.server_addresses[0].is_none() {
            return Err(TokenError::NoServer);
        }
        let lifetime = token.expire_timestamp.checked_sub(token.create_timestamp);
        if !lifetime.is_some_and(|seconds| (1..=MAX_TOKEN_SECONDS).contains(&seconds)) {
            let seconds = token.expire_timestamp.wrapping_sub(token.create_timestamp);
            return Err(TokenError::Lifetime(seconds as i64));
        }
        let timeout = token.timeout_seconds;
        if !u32::try_from(timeout).is_ok_and(|t| (1..=MAX_TIMEOUT_SECONDS).contains(&t)) {
            return Err(TokenError::Timeout(timeout));
        }
        Ok(Self(Box::new(token)))
    }

    /// The bytes for the client, 1172 with one IPv4 address: one reliable message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1200);
        self.0
            .write(&mut bytes)
            .expect("a vector takes all that is written to it");
        bytes
    }

    /// Reads them back. Whoever sends a token decides whom the client talks to: take it over an
    /// authentic link only.
    ///
    /// # Errors
    /// [`TokenError`] for bytes that [`to_bytes`](Self::to_bytes) cannot have made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let mut rest = bytes;
        let token = ConnectToken::read(&mut rest).map_err(|_| TokenError::Malformed)?;
        if !rest.is_empty() {
            return Err(TokenError::Trailing(rest.len()));
        }
        Self::new(token)
    }

    /// The client's id, random for each token.
    #[must_use]
    pub const fn client_id(&self) -> u64 {
        self.0.client_id
    }

    /// When it expires, in seconds since the UNIX epoch on the server's
    /// [`TokenClock`](crate::TokenClock).
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.0.expire_timestamp
    }

    /// The servers it is good for, in the order in which the client tries them.
    pub fn server_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.server_addresses.iter().flatten().copied()
    }

    pub(crate) fn first_server(&self) -> SocketAddr {
        self.0.server_addresses[0].expect("checked when the token was made")
    }

    pub(crate) fn into_inner(self) -> ConnectToken {
        *self.0
    }
}

/// Without its keys.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("client_id", &self.client_id())
            .field("expires", &self.expires())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn raw(addresses: Vec<SocketAddr>) -> ConnectToken {
        let now = Duration::from_secs(1000);
        ConnectToken::generate(now, 1, 30, 9, 5, addresses, None, &[7; 32]).unwrap()
    }

    fn some() -> ConnectToken {
        raw(vec!["127.0.0.1:4000".parse().unwrap()])
    }

    #[test]
    fn a_token_survives_its_bytes() {
        let token = Token::new(some()).unwrap();
        let bytes = token.to_bytes();
        assert_eq!(bytes.len(), 1172);
        assert_eq!(Token::from_bytes(&bytes), Ok(token));
    }

    #[test]
    fn every_cut_and_tail_is_an_error() {
        let bytes = Token::new(some()).unwrap().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Token::from_bytes(&bytes[..len]), Err(TokenError::Malformed));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Token::from_bytes(&longer), Err(TokenError::Trailing(1)));
    }

    #[test]
    fn a_token_without_a_server_is_an_error() {
        let mut token = some();
        token.server_addresses = [None; 32];
        assert_eq!(Token::new(token), Err(TokenError::NoServer));
    }

    #[test]
    fn a_token_that_expires_before_it_was_made_is_an_error() {
        let mut token = some();
        token.expire_timestamp = token.create_timestamp - 1;
        assert_eq!(Token::new(token), Err(TokenError::Lifetime(-1)));
        let mut token = some();
        token.expire_timestamp = u64::MAX;
        assert!(matches!(Token::new(token), Err(TokenError::Lifetime(_))));
    }

    #[test]
    fn a_token_without_a_timeout_is_an_error() {
        for timeout in [-1, 0, i32::MAX] {
            let mut token = some();
            token.timeout_seconds = timeout;
            assert_eq!(Token::new(token), Err(TokenError::Timeout(timeout)));
        }
    }

    #[test]
    fn a_token_does_not_print_its_keys() {
        let token = Token::new(some()).unwrap();
        assert_eq!(
            format!("{token:?}"),
            "Token { client_id: 9, expires: 1030, .. }"
        );
    }
}
