//! naia's sockets on a [`Post`].

use std::{collections::VecDeque, net::SocketAddr};

use naia_client::transport as client;
use naia_server::transport as server;

use crate::post::{Post, address, client_at, server_address};

/// The server's socket.
pub(crate) struct ServerSocket(pub(crate) Post);

impl server::Socket for ServerSocket {
    fn listen(self: Box<Self>) -> server::ListenResult {
        (
            Box::new(Door::new(self.0.clone())),
            Box::new(Door::new(self.0.clone())),
            Box::new(ServerOut(self.0.clone())),
            Box::new(ServerIn::new(self.0)),
        )
    }
}

impl From<ServerSocket> for Box<dyn server::Socket> {
    fn from(socket: ServerSocket) -> Self {
        Box::new(socket)
    }
}

/// Lets everybody in.
#[derive(Clone)]
struct Door(Post);

impl Door {
    const fn new(post: Post) -> Self {
        Self(post)
    }
}

impl server::AuthReceiver for Door {
    fn receive(&mut self) -> Result<Option<(SocketAddr, &[u8])>, server::RecvError> {
        let knock = self.0.boxes().knocks.pop_front();
        Ok(knock.map(|client| (address(client), [].as_slice())))
    }
}

impl server::AuthSender for Door {
    fn accept(&self, address: &SocketAddr, token: &String) -> Result<(), server::SendError> {
        let client = client_at(address);
        self.0.boxes().answers.insert(client, token.clone());
        Ok(())
    }

    fn reject(&self, _: &SocketAddr) -> Result<(), server::SendError> {
        Ok(())
    }
}

#[derive(Clone)]
struct ServerOut(Post);

impl server::PacketSender for ServerOut {
    fn send(&self, address: &SocketAddr, payload: &[u8]) -> Result<(), server::SendError> {
        let datagram = (client_at(address), payload.to_vec());
        self.0.boxes().from_server.push(datagram);
        Ok(())
    }
}

#[derive(Clone)]
struct ServerIn {
    post: Post,
    taken: VecDeque<(usize, Vec<u8>)>,
    last: Vec<u8>,
}

impl ServerIn {
    const fn new(post: Post) -> Self {
        Self {
            post,
            taken: VecDeque::new(),
            last: Vec::new(),
        }
    }
}

impl server::PacketReceiver for ServerIn {
    fn receive(&mut self) -> Result<Option<(SocketAddr, &[u8])>, server::RecvError> {
        if self.taken.is_empty() {
            self.taken = std::mem::take(&mut self.post.boxes().to_server);
        }
        let Some((client, datagram)) = self.taken.pop_front() else {
            return Ok(None);
        };
        self.last = datagram;
        Ok(Some((address(client), &self.last)))
    }
}

/// A client's socket.
pub(crate) struct ClientSocket {
    pub(crate) post: Post,
    pub(crate) client: usize,
}

type ClientParts = (
    Box<dyn client::IdentityReceiver>,
    Box<dyn client::PacketSender>,
    Box<dyn client::PacketReceiver>,
);

impl client::Socket for ClientSocket {
    fn connect(self: Box<Self>) -> ClientParts {
        let Self { post, client } = *self;
        post.boxes().knocks.push_back(client);
        let end = ClientEnd {
            post,
            client,
            taken: VecDeque::new(),
            last: Vec::new(),
        };
        (Box::new(end.clone()), Box::new(end.clone()), Box::new(end))
    }

    fn connect_with_auth(self: Box<Self>, _: Vec<u8>) -> ClientParts {
        self.connect()
    }

    fn connect_with_auth_headers(self: Box<Self>, _: Vec<(String, String)>) -> ClientParts {
        self.connect()
    }

    fn connect_with_auth_and_headers(
        self: Box<Self>,
        _: Vec<u8>,
        _: Vec<(String, String)>,
    ) -> ClientParts {
        self.connect()
    }
}

impl From<ClientSocket> for Box<dyn client::Socket> {
    fn from(socket: ClientSocket) -> Self {
        Box::new(socket)
    }
}

#[derive(Clone)]
struct ClientEnd {
    post: Post,
    client: usize,
    taken: VecDeque<Vec<u8>>,
    last: Vec<u8>,
}

impl client::IdentityReceiver for ClientEnd {
    fn receive(&mut self) -> client::IdentityReceiverResult {
        match self.post.boxes().answers.remove(&self.client) {
            Some(token) => client::IdentityReceiverResult::Success(token),
            None => client::IdentityReceiverResult::Waiting,
        }
    }
}

impl client::PacketSender for ClientEnd {
    fn send(&self, payload: &[u8]) -> Result<(), client::SendError> {
        let mut boxes = self.post.boxes();
        let sent = boxes.from_client.entry(self.client).or_default();
        sent.push(payload.to_vec());
        Ok(())
    }

    fn server_addr(&self) -> client::ServerAddr {
        client::ServerAddr::Found(server_address())
    }
}

impl client::PacketReceiver for ClientEnd {
    fn receive(&mut self) -> Result<Option<&[u8]>, client::RecvError> {
        if self.taken.is_empty()
            && let Some(arrived) = self.post.boxes().to_client.get_mut(&self.client)
        {
            self.taken = std::mem::take(arrived);
        }
        let Some(datagram) = self.taken.pop_front() else {
            return Ok(None);
        };
        self.last = datagram;
        Ok(Some(&self.last))
    }

    fn server_addr(&self) -> client::ServerAddr {
        client::ServerAddr::Found(server_address())
    }
}
