//! permessage-deflate, alone and beside extensions of one's own.

use chinwag::{
    Deflate, Frame, Limits, Message, Opcode, Request, Route, Server, Session,
    protocol::{
        extension::{
            Extensions,
            deflate::{Compressor, Condition},
        },
        frame::Rsv,
    },
    testing::{self, Client},
};

use crate::{Echo, close_of, configuration::custom_extension::Numbered, echo};

/// Text that can be compressed, and better by looking harder.
fn words() -> String {
    (0..2_000u64).map(|n| format!("{} ", n * n * 7_919 % 613)).collect()
}

fn connect(settings: &Deflate, offered: Deflate) -> Client {
    let server = testing::Server::new(echo().deflate(settings.clone()));
    server.client().deflate(offered).connect("/echo").unwrap()
}

/// Bytes of an echo on the wire, and whether it was compressed.
fn echoed<'m>(client: &mut Client, message: impl Into<Message<'m>>) -> (usize, bool) {
    client.send(message);
    let frame = client.recv_frame().unwrap();
    (frame.payload.len(), frame.rsv == Rsv::RSV1)
}

fn agreed(client: &Client) -> Vec<String> {
    let response = client.response();
    let header = response.header("Sec-WebSocket-Extensions").unwrap();
    header.split(';').map(|part| part.trim().to_owned()).collect()
}

/// All that both sides can do.
fn everything() -> Deflate {
    Deflate {
        server_window_bits: 15,
        client_window_bits: 15,
        server_takeover: true,
        client_takeover: true,
        ..Deflate::default()
    }
}

#[test]
fn row_07_deflate_level_and_what_is_compressed() {
    let len = |level| {
        let settings = Deflate { level, ..Deflate::default() };
        let (len, is_compressed) = echoed(&mut connect(&settings, everything()), words());
        assert!(is_compressed);
        len
    };
    assert!(len(9) < len(1) && len(1) < words().len());

    // All conditions must hold.
    let only_text = Condition::new(|opcode, _| opcode == Opcode::Text);
    let settings = Deflate { min_len: 100, compress_if: Some(only_text), ..Deflate::default() };
    let mut client = connect(&settings, everything());
    let text = "word ".repeat(20);
    for (message, is_compressed) in [
        (Message::from(&text), true),
        (Message::from(&text[..99]), false),
        (Message::from(text.as_bytes()), false),
    ] {
        assert_eq!(echoed(&mut client, message.clone()).1, is_compressed, "{message:?}");
    }
}

#[test]
fn row_07_deflate_takeover_and_windows() {
    const NO_SERVER: &str = "server_no_context_takeover";
    const NO_CLIENT: &str = "client_no_context_takeover";
    for (server_takeover, client_takeover) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        // What this side does not want holds, though the client did not ask for it.
        let settings = Deflate { server_takeover, client_takeover, ..everything() };
        let mut client = connect(&settings, everything());
        let agreed = agreed(&client);
        assert_eq!(agreed.contains(&NO_SERVER.to_owned()), !server_takeover);
        assert_eq!(agreed.contains(&NO_CLIENT.to_owned()), !client_takeover);
        let [first, again] = [(); 2].map(|()| echoed(&mut client, words()).0);
        assert_eq!(again < first / 2, server_takeover, "{first}, then {again}");
    }
    // A smaller window is taken, and not a reason to fail; one that cannot be is declined.
    for bits in 9..=15 {
        let client = connect(&everything(), Deflate { server_window_bits: bits, ..everything() });
        let said = agreed(&client).contains(&format!("server_max_window_bits={bits}"));
        assert_eq!(said, bits < 15);
    }
    let server = testing::Server::new(echo().deflate(everything()));
    let reply = server.request(
        "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8\r\n\r\n",
    );
    assert_eq!((reply.status, reply.header("Sec-WebSocket-Extensions")), (101, None));
}

#[test]
fn row_07_deflate_for_a_route_what_is_offered_and_bombs() {
    // A route has its own, or none.
    let route = |deflate| Route::new(|_: &Request<'_>| Echo).deflate(deflate);
    let builder = echo().deflate(everything()).route("/plain", route(None));
    let limits = Limits { max_message: 10_000, ..Limits::default() };
    let builder = builder.route("/small", route(Some(everything())).limits(limits));
    let server = testing::Server::new(builder);
    let client = server.client().deflate(everything()).connect("/plain").unwrap();
    assert_eq!(client.response().header("Sec-WebSocket-Extensions"), None);

    // What is offered follows the settings.
    let offers = Deflate { client_takeover: true, ..Deflate::default() }.offers();
    let offers: Vec<_> = offers.iter().map(ToString::to_string).collect();
    assert!(offers[0].contains("server_no_context_takeover") && offers[0].contains("=12"));
    assert!(!offers[0].contains("client_no_context_takeover"));

    // What inflates to more than a message may have fails while it does.
    let mut client = server.client().deflate(everything()).connect("/small").unwrap();
    let mut bomb = Vec::new();
    Compressor::new(15, &Deflate::default()).compress(&vec![0; 100_000], &mut bomb);
    assert!(bomb.len() < 200);
    let mut frame = Frame::new(Opcode::Binary, &bomb);
    frame.rsv = Rsv::RSV1;
    client.send_frame(&frame);
    assert_eq!(close_of(&mut client).0, 1009);
}

#[test]
fn row_08_extensions_together_and_the_list_of_a_session() {
    let builder = Server::builder()
        .deflate(Deflate::default())
        .extensions(Extensions::new().with(Numbered))
        .websocket("/", |mut session: Session| async move {
            session.send(session.extensions().await?.join(", ")).await?;
            while let Some(message) = session.recv().await {
                session.send(message).await?;
            }
            Ok(())
        });
    let server = testing::Server::new(builder);
    let connect = server.client().deflate(Deflate::default());
    let mut client = connect.extensions(Extensions::new().with(Numbered)).connect("/").unwrap();
    let list = client.recv_text();
    assert!(list.starts_with("permessage-deflate") && list.ends_with(", x-numbered"), "{list}");
    assert_eq!(client.response().header("Sec-WebSocket-Extensions"), Some(&*list));
    client.send(words());
    let frame = client.recv_frame().unwrap();
    assert_eq!(frame.rsv, Rsv::RSV1.with(Rsv::RSV2));
    assert!(frame.payload.len() < words().len());

    // Who offers neither has neither.
    let mut client = server.connect("/").unwrap();
    assert_eq!(client.recv_text(), "");
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello");
}
