//! Who may open a link, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::{SocketAddr, UdpSocket};

use bevy::prelude::*;
use common::*;
use seamless_transport::*;

/// Steps until the link stands or is over; what the client was told.
fn outcome(server: &mut App, client: &mut App, up: LinkId) -> LinkState {
    for _ in 0..400 {
        server.update();
        client.update();
        if let Some((_, reason)) = told(client).closed.iter().find(|(id, _)| *id == up) {
            return LinkState::Closed(*reason);
        }
        if link(client, up).is_connected() {
            return LinkState::Connected;
        }
    }
    panic!("neither in 400 ticks");
}

fn refused(server: &App, kind: Refused) -> u64 {
    let endpoint = server.world().resource::<ServerEndpoint>();
    endpoint.stats().refused[kind]
}

#[test]
fn a_minted_token_opens_a_link_with_its_user_data() {
    let mut user_data = [0; 256];
    user_data[..5].copy_from_slice(b"alice");
    let server = secure_server();
    let token = token(&server, &user_data);
    let token = Token::from_bytes(&token.to_bytes()).unwrap();
    let id = token.client_id();
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(token));
    assert_eq!(pair.down().user_data(), Some(&user_data));
    assert_eq!(pair.down().netcode_id(), id);
    assert_eq!(pair.down().side(), LinkSide::ToClient);
    assert_eq!(pair.up().side(), LinkSide::ToServer);
    let address = pair
        .server
        .world()
        .resource::<ServerEndpoint>()
        .local_address();
    assert_eq!(pair.up().peer_address(), PeerAddress::Udp(address));
}

#[test]
fn an_unsecure_server_takes_anyone_and_passes_their_user_data_on() {
    let server = udp_server(&server_config(Authentication::Unsecure));
    let endpoint = server.world().resource::<ServerEndpoint>();
    assert!(endpoint.mint().is_none());
    let address = endpoint.local_address();
    let config = ClientConfig::unsecure(address, PROTOCOL).with_user_data([8; 256]);
    let mut pair = Pair::connect(server, app(), config);
    assert_eq!(pair.down().user_data(), Some(&[8; 256]));
}

#[test]
fn another_game_is_refused() {
    let mut server = udp_server(&server_config(Authentication::Unsecure));
    let address = server.world().resource::<ServerEndpoint>().local_address();
    let mut client = app();
    let up = connect(&mut client, ClientConfig::unsecure(address, PROTOCOL + 1));
    client.update();
    server.update();
    assert_eq!(refused(&server, Refused::BadRequest), 1);
    assert_eq!(link(&client, up).state(), LinkState::Connecting);
}

#[test]
fn a_token_sealed_with_another_key_is_refused() {
    let mut server = secure_server();
    let address = server.world().resource::<ServerEndpoint>().local_address();
    let forger =
        TokenMint::with_shared_key([9; 32], PROTOCOL, vec![address], TokenClock::system()).unwrap();
    let forged = forger
        .mint(TokenRequest {
            expire_seconds: 10,
            timeout_seconds: 1,
            user_data: &[0; 256],
        })
        .unwrap();
    let mut client = app();
    let up = connect(&mut client, ClientConfig::secure(forged));
    let state = outcome(&mut server, &mut client, up);
    assert_eq!(state, LinkState::Closed(CloseReason::Unreachable));
    assert!(refused(&server, Refused::Unopened) > 0);
    assert!(told(&server).opened.is_empty());
}

#[test]
fn a_token_of_the_right_key_that_was_not_minted_here_is_refused() {
    let mut server = secure_server();
    let address = server.world().resource::<ServerEndpoint>().local_address();
    let clock = TokenClock::system();
    let twin = TokenMint::with_shared_key(KEY, PROTOCOL, vec![address], clock).unwrap();
    let stray = twin
        .mint(TokenRequest {
            expire_seconds: 10,
            timeout_seconds: 1,
            user_data: &[0; 256],
        })
        .unwrap();
    let mut client = app();
    let up = connect(&mut client, ClientConfig::secure(stray));
    let state = outcome(&mut server, &mut client, up);
    assert_eq!(state, LinkState::Closed(CloseReason::Unreachable));
    assert!(refused(&server, Refused::TokenReused) > 0);
    assert!(told(&server).opened.is_empty());
}

#[test]
fn a_shared_key_lets_others_mint() {
    let server = udp_server(&server_config(Authentication::SharedKey {
        private_key: KEY,
    }));
    let address = server.world().resource::<ServerEndpoint>().local_address();
    let clock = TokenClock::system();
    let login = TokenMint::with_shared_key(KEY, PROTOCOL, vec![address], clock).unwrap();
    let token = login
        .mint(TokenRequest {
            expire_seconds: 30,
            timeout_seconds: 3,
            user_data: &[5; 256],
        })
        .unwrap();
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(token));
    assert_eq!(pair.down().user_data(), Some(&[5; 256]));
}

#[test]
fn an_expired_token_is_refused() {
    let mut server = secure_server();
    let late = token(&server, &[0; 256]);
    // Ten seconds of the server's clock, and nothing of ours.
    for _ in 0..340 {
        server.update();
    }
    let mut client = app();
    let up = connect(&mut client, ClientConfig::secure(late));
    let state = outcome(&mut server, &mut client, up);
    assert_eq!(state, LinkState::Closed(CloseReason::Unreachable));
    assert!(refused(&server, Refused::BadRequest) > 0);
}

#[test]
fn a_client_gives_up_when_its_token_expires() {
    let server = secure_server();
    let mint = server.world().resource::<ServerEndpoint>().mint().unwrap();
    let token = mint
        .mint(TokenRequest {
            expire_seconds: 1,
            timeout_seconds: 30,
            user_data: &[0; 256],
        })
        .unwrap();
    // The server is never updated.
    let mut client = app();
    let up = connect(&mut client, ClientConfig::secure(token));
    for _ in 0..40 {
        client.update();
    }
    assert_eq!(told(&client).closed, [(up, CloseReason::TokenExpired)]);
}

#[test]
fn a_token_opens_one_link_only_while_that_stands() {
    let server = secure_server();
    let token = token(&server, &[0; 256]);
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(token.clone()));
    let mut thief = app();
    let stolen = connect(&mut thief, ClientConfig::secure(token));
    let state = outcome(&mut pair.server, &mut thief, stolen);
    assert_eq!(state, LinkState::Closed(CloseReason::Unreachable));
    assert!(refused(&pair.server, Refused::TokenReused) > 0);
    assert_eq!(told(&pair.server).opened.len(), 1);
}

#[test]
fn a_token_opens_no_second_link_from_the_address_of_the_first() {
    let server = secure_server();
    let token = token(&server, &[0; 256]);
    let bind = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = ClientConfig {
        bind: Some(bind),
        ..ClientConfig::secure(token)
    };
    let mut pair = Pair::connect(server, app(), config.clone());
    pair.up().close(CloseReason::Requested);
    pair.steps(5);
    let again = connect(&mut pair.client, config);
    let state = outcome(&mut pair.server, &mut pair.client, again);
    assert_eq!(state, LinkState::Closed(CloseReason::Unreachable));
    assert_eq!(told(&pair.server).opened.len(), 1);
    assert!(refused(&pair.server, Refused::TokenReused) > 0);
}

#[test]
fn a_full_server_says_so() {
    let config = ServerConfig {
        max_clients: 1,
        ..server_config(Authentication::Secure { private_key: KEY })
    };
    let server = udp_server(&config);
    let first = token(&server, &[0; 256]);
    let second = token(&server, &[0; 256]);
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(first));
    let mut other = app();
    let up = connect(&mut other, ClientConfig::secure(second));
    let state = outcome(&mut pair.server, &mut other, up);
    assert_eq!(state, LinkState::Closed(CloseReason::Denied));
}

#[test]
fn a_full_server_in_memory_says_so() {
    let hub = MemoryHub::new();
    let mut server = app();
    let config = MemoryConfig {
        max_clients: 0,
        ..Default::default()
    };
    server.insert_resource(MemoryServer::listen(&hub, 3, config).unwrap());
    let mut client = app();
    let up = connect(&mut client, ClientConfig::memory(&hub, 3));
    let state = outcome(&mut server, &mut client, up);
    assert_eq!(state, LinkState::Closed(CloseReason::Denied));
    let again = MemoryServer::listen(&hub, 3, config);
    assert_eq!(again.unwrap_err(), ListenError::Taken(3));
}

#[test]
fn a_client_tries_the_next_server_of_its_token() {
    // A socket that no one reads stands first.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    let deaf: SocketAddr = deaf.local_addr().unwrap();
    let config = ServerConfig {
        public_addresses: vec![deaf, ([127, 0, 0, 1], 0).into()],
        ..server_config(Authentication::Secure { private_key: KEY })
    };
    let server = udp_server(&config);
    let here = server.world().resource::<ServerEndpoint>().local_address();
    let token = token(&server, &[0; 256]);
    assert_eq!(token.server_addresses().collect::<Vec<_>>(), [deaf, here]);
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(token));
    assert_eq!(pair.up().peer_address(), PeerAddress::Udp(here));
}

#[test]
fn a_server_that_drains_lets_no_one_in_and_keeps_its_links() {
    let server = secure_server();
    let first = token(&server, &[0; 256]);
    let second = token(&server, &[0; 256]);
    let mut pair = Pair::connect(server, app(), ClientConfig::secure(first));
    let mut endpoint = pair.server.world_mut().resource_mut::<ServerEndpoint>();
    endpoint.set_max_clients(0);
    let mut other = app();
    let up = connect(&mut other, ClientConfig::secure(second));
    let state = outcome(&mut pair.server, &mut other, up);
    assert_eq!(state, LinkState::Closed(CloseReason::Denied));
    assert!(pair.down().is_connected());
}
