//! The server's side of the opening handshake: from the bytes of a request to those of its answer.
//!
//! The request is a browser's, by itself and with cookies that double in size. `routed` adds the
//! route, the origin and the service.

use std::{hint::black_box, net::SocketAddr};

use chinwag::{
    Limits, Request, Router, Service,
    protocol::{
        connection::Settings,
        handshake::{self, Head, HeadReader, ServerResponse, accept_key},
    },
    router::Routed,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BROWSER: &str = "GET /chat?room=tea HTTP/1.1\r\n\
    Host: chat.example:8080\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: */*\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Origin: http://chat.example:8080\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    DNT: 1\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Sec-Fetch-Mode: websocket\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    Upgrade: websocket\r\n";

const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Quiet;

impl Service for Quiet {}

fn answer(wire: &mut [u8], limits: &Limits) -> Vec<u8> {
    let mut input = wire;
    let head = HeadReader::default().read(&mut input, limits).unwrap().expect("the head is whole");
    let request = handshake::Request::parse(&head, limits).unwrap();
    let upgrade = request.upgrade().unwrap().expect("the request is an upgrade");
    let response =
        ServerResponse { key: upgrade.key, protocol: None, extensions: &[], headers: &[] };
    response.encode().unwrap()
}

fn handshake(criterion: &mut Criterion) {
    let limits = Limits::default();
    let routes = Router::new()
        .service("/chat", |_: &Request<'_>| Quiet)
        .build(Settings::default())
        .expect("the route can be");
    let addr = SocketAddr::from(([127, 0, 0, 1], 4242));

    let mut group = criterion.benchmark_group("handshake");
    for cookies in [0, 512, 1024, 2048, 4096] {
        let cookie = match cookies {
            0 => String::new(),
            len => format!("Cookie: a={}\r\n", "x".repeat(len)),
        };
        let mut wire = format!("{BROWSER}{cookie}\r\n").into_bytes();
        group.throughput(Throughput::Bytes(wire.len() as u64));

        assert_eq!(answer(&mut wire, &limits), ANSWER.as_bytes());
        group.bench_function(BenchmarkId::new("answered", wire.len()), |bencher| {
            bencher.iter(|| answer(black_box(&mut wire), &limits));
        });

        let head = Head::read(&wire, &limits).unwrap();
        let routed = routes.route(&head, addr);
        assert!(
            matches!(routed, Routed::Upgrade { response, .. } if response == ANSWER.as_bytes())
        );
        group.bench_function(BenchmarkId::new("routed", wire.len()), |bencher| {
            bencher.iter(|| routes.route(black_box(&head), addr));
        });
    }
    group.finish();

    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(&accept_key(key), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    criterion.bench_function("handshake/accept_key", |bencher| {
        bencher.iter(|| accept_key(black_box(key)));
    });
}

criterion_group!(benches, handshake);
criterion_main!(benches);
