//! What can be set, installed and chosen.

use std::{io, thread};

#[cfg(feature = "deflate")]
use chinwag::Deflate;
use chinwag::{
    Frame, Message, Opcode, Peer, RawSession, Request, Route, Server, Service, Session,
    protocol::{extension::Extensions, frame::Rsv},
    testing,
};

#[expect(dead_code, reason = "its main is for people")]
#[path = "../../examples/custom_extension.rs"]
mod custom_extension;

use custom_extension::Numbered;

use crate::{Echo, close_of, echo};

#[test]
fn row_01_works_with_no_options() {
    let builder = Server::builder().service("/", |_: &Request<'_>| Echo);
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello");
}

#[test]
fn row_05_clients_mask_and_servers_never_do() {
    // §5.1: a server must not mask, so there is nothing to set; a client must, with a key that cannot be
    // foreseen (§5.3).
    let builder = Server::builder().websocket_raw("/", |mut session: RawSession| async move {
        while let Some(mut frame) = session.recv().await {
            let key = frame.header.masking_key.take().expect("a client masks");
            let told = Frame::new(Opcode::Binary, &key);
            let payload = told.payload.into_owned();
            session.send(Frame { header: told.header, payload }).await?;
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    let keys = [(); 8].map(|()| {
        client.send("masked");
        let frame = client.recv_frame().unwrap();
        assert_eq!(frame.header.masking_key, None);
        frame.payload.to_vec()
    });
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "a key comes again");
    }
    client.send_bytes(b"\x81\x05Hello");
    assert_eq!(close_of(&mut client), (1002, "a client must mask its frames".into()));
}

#[cfg(feature = "json")]
#[test]
fn row_06_content_converters() {
    use chinwag::convert::{ConvertError, Decode, Encode, SendValueError};

    type Pair = (u8, String);

    /// A number and a text with an equals sign between them, in binary messages.
    struct Equals;

    impl Encode<Pair> for Equals {
        fn encode(&self, (number, text): &Pair) -> Result<Message<'static>, ConvertError> {
            Ok(format!("{number}={text}").into_bytes().into())
        }
    }

    impl Decode<Pair> for Equals {
        fn decode(&self, message: &Message<'_>) -> Result<Pair, ConvertError> {
            let Message::Binary(bytes) = message else {
                return Err(ConvertError::WrongKind { opcode: message.opcode() });
            };
            let text = str::from_utf8(bytes).map_err(ConvertError::bad_value)?;
            let parts = text.split_once('=').ok_or_else(|| ConvertError::bad_value("no '='"))?;
            Ok((parts.0.parse().map_err(ConvertError::bad_value)?, parts.1.into()))
        }
    }

    async fn tell(session: &Session, pair: Option<Result<Pair, ConvertError>>) -> &'static str {
        match pair {
            Some(Ok(_)) => "a value",
            Some(Err(ConvertError::WrongKind { .. })) => "of the wrong kind",
            Some(Err(ConvertError::BadValue(_))) => "not such a value",
            None => {
                assert!(session.close_reason().is_some());
                "the end"
            }
        }
    }

    let builder = Server::builder()
        .websocket("/json", |mut session: Session| async move {
            loop {
                let pair = session.recv_as::<Pair>().await;
                let told = tell(&session, pair).await;
                session.send_as(told).await?;
            }
        })
        .websocket("/equals", |mut session: Session| async move {
            loop {
                let pair = session.recv_with(&Equals).await;
                let told = tell(&session, pair).await;
                session.send_with(&Equals, &(7, told.into())).await?;
            }
        })
        .websocket("/unspeakable", |session: Session| async move {
            // JSON has no such map, so nothing is sent, and the session goes on.
            let map = std::collections::BTreeMap::from([(vec![1], 2)]);
            let error = session.send_as(&map).await.unwrap_err();
            assert!(matches!(error, SendValueError::Convert(ConvertError::BadValue(_))));
            session.send("still here").await?;
            Ok(())
        });
    let server = testing::Server::new(builder);

    let mut client = server.connect("/json").unwrap();
    for (message, told) in [
        (Message::from(r#"[7, "seven"]"#), "a value"),
        (Message::from(r#"[256, "too many"]"#), "not such a value"),
        (Message::from("7=seven"), "not such a value"),
        (Message::from(&br#"[7, "seven"]"#[..]), "of the wrong kind"),
        (Message::from(r#"[7, "seven"]"#), "a value"),
    ] {
        client.send(message);
        assert_eq!(client.recv().unwrap().to_value::<String>().unwrap(), told);
    }
    // The answer to the end is not sent, and that is no error of the session's.
    client.close(chinwag::CloseCode::NORMAL, "bye");
    assert_eq!(close_of(&mut client), (1000, "bye".into()));

    let mut client = server.connect("/equals").unwrap();
    for (message, told) in [
        (Message::from("7=seven"), "of the wrong kind"),
        (Message::from(&b"7=seven"[..]), "a value"),
        (Message::from(&b"\xff"[..]), "not such a value"),
    ] {
        client.send(message);
        assert_eq!(client.recv_binary(), format!("7={told}").as_bytes());
    }

    let mut client = server.connect("/unspeakable").unwrap();
    assert_eq!(client.recv_text(), "still here");
    assert_eq!(close_of(&mut client), (1000, "".into()));
    assert_eq!(server.counters().panics.get(), 0);
}

#[cfg(feature = "deflate")]
mod deflate {
    use chinwag::{
        Limits,
        protocol::extension::deflate::{Compressor, Condition},
        testing::Client,
    };

    use super::*;

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
        (frame.payload.len(), frame.header.rsv == Rsv::RSV1)
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
            let client =
                connect(&everything(), Deflate { server_window_bits: bits, ..everything() });
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
        frame.header.rsv = Rsv::RSV1;
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
        assert_eq!(frame.header.rsv, Rsv::RSV1.with(Rsv::RSV2));
        assert!(frame.payload.len() < words().len());

        // Who offers neither has neither.
        let mut client = server.connect("/").unwrap();
        assert_eq!(client.recv_text(), "");
        client.send("Hello");
        assert_eq!(client.recv_text(), "Hello");
    }
}

#[test]
fn row_08_extensions_of_ones_own() {
    let builder = Server::builder()
        .extensions(Extensions::new().with(Numbered))
        .service("/", |_: &Request<'_>| Echo);
    let server = testing::Server::new(builder);
    let connect = || server.client().extensions(Extensions::new().with(Numbered));
    let mut client = connect().connect("/").unwrap();
    for number in 0..3u8 {
        client.send("Hello");
        let frame = client.recv_frame().unwrap();
        assert_eq!(frame.header.rsv, Rsv::RSV2);
        assert_eq!(*frame.payload, *[&[number], &b"Hello"[..]].concat());
    }
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello", "it has passed the client's side");
    client.send_frame(&Frame::new(Opcode::Text, b"without a number"));
    assert_eq!(close_of(&mut client), (1002, "a frame has no number".into()));

    // Two that claim one bit are found out before anybody connects.
    let twice = Extensions::new().with(Numbered).with(Numbered);
    let error = echo().extensions(twice).bind("127.0.0.1:0").err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn row_10_a_server_started_from_a_main_of_ones_own() {
    let server = echo().bind("127.0.0.1:0").unwrap();
    let (url, stopper) = (format!("ws://{}/echo", server.local_addr()), server.stopper());
    let running = thread::spawn(move || server.run());
    let mut client = chinwag::client::connect(&url).unwrap();
    client.send("Hello").unwrap();
    assert_eq!(client.recv().unwrap(), Some("Hello".into()));
    assert!(!running.is_finished(), "it blocks until it is stopped");
    stopper.stop();
    assert_eq!(client.recv().unwrap(), None);
    running.join().unwrap().unwrap();
}

#[cfg(feature = "command")]
#[test]
fn row_11_runs_by_itself() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chinwag"));
    let output = command.env_clear().arg("--version").output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("chinwag "));
}

#[test]
fn row_14_many_connections_at_once() {
    const MANY: usize = 1_000;
    let server = testing::Server::new(echo().max_connections(MANY));
    let mut clients: Vec<_> = (0..MANY).map(|_| server.connect("/echo").unwrap()).collect();
    assert_eq!(server.connections(), MANY as u64);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(number.to_string());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.recv_text(), number.to_string());
    }
    assert_eq!(server.connect("/echo").unwrap_err().status, 503, "one more is told so");
}

#[cfg(feature = "json")]
#[test]
fn row_44_objects_both_ways() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Said {
        by: String,
        words: Vec<String>,
    }

    /// Turns words round.
    struct Turns;

    impl Service for Turns {
        fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
            match message.to_value::<Said>() {
                Ok(mut said) => {
                    said.words.reverse();
                    peer.send_as(&said).unwrap();
                }
                Err(error) => peer.send(format!("{error}")).unwrap(),
            }
        }
    }

    let builder = Server::builder().service("/", |_: &Request<'_>| Turns);
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    let said = |words: [&str; 2]| Said { by: "Anna".into(), words: words.map(Into::into).into() };
    client.send(Message::from_value(&said(["one", "two"])).unwrap());
    assert_eq!(client.recv().unwrap().to_value::<Said>().unwrap(), said(["two", "one"]));
    client.send("[]");
    assert!(client.recv_text().starts_with("a value that does not fit"));
    client.send(Message::from_value(&said(["still", "here"])).unwrap());
    assert_eq!(client.recv().unwrap().to_value::<Said>().unwrap(), said(["here", "still"]));
}
