//! The server's side of the opening handshake: a request in memory, read, checked and answered.

use std::hint::black_box;

use chinwag::{
    Limits,
    protocol::handshake::{HeadReader, Request, ServerResponse},
};
use tungstenite::handshake::{
    machine::TryParse,
    server::{self, create_response, write_response},
};

use crate::measure::Table;

/// What a browser asks.
const REQUEST: &[u8] = b"GET /chat?room=tea HTTP/1.1\r\n\
    Host: localhost:8080\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: http://localhost:8080\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// What a program asks that says no more than it must.
const SHORT_REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\
    Host: localhost:8080\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Tungstenite reads no extensions and checks less; both make the same answer.
pub fn server(table: &mut Table) {
    for (name, request) in [("a browser's", REQUEST), ("a short one", SHORT_REQUEST)] {
        let limits = Limits::default();
        let mut buffer = vec![0; request.len()];
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        for answer in [ours(request, &mut buffer, &limits), theirs(request)] {
            assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
            assert!(str::from_utf8(&answer).unwrap().contains(accept));
        }
        table.compare(
            format!("opening handshake, {name}"),
            1,
            || ours(black_box(request), &mut buffer, &limits),
            || theirs(black_box(request)),
        );
    }
}

fn ours(request: &[u8], buffer: &mut [u8], limits: &Limits) -> Vec<u8> {
    buffer.copy_from_slice(request);
    let mut input = buffer;
    let head = HeadReader::default().read(&mut input, limits).unwrap().unwrap();
    let request = Request::parse(&head, limits).unwrap();
    let upgrade = request.upgrade().unwrap().unwrap();
    let answer = ServerResponse { key: upgrade.key, protocol: None, extensions: &[], headers: &[] };
    answer.encode().unwrap()
}

fn theirs(request: &[u8]) -> Vec<u8> {
    let (_, request) = server::Request::try_parse(request).unwrap().unwrap();
    let mut answer = Vec::new();
    write_response(&mut answer, &create_response(&request).unwrap()).unwrap();
    answer
}
