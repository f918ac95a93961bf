//! HTTP by hand, for requests that no client of ours would make.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::ms;

/// A request with a body, after which the server hangs up.
pub fn post(path: &str, header: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The same without a body.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").into_bytes()
}

/// Sends bytes and reads what comes back.
pub fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ms(5000))).unwrap();
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.take(100_000).read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
