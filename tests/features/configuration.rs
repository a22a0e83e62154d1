//! What can be set, installed and chosen.

use std::{io, thread};

use chinwag::{
    CloseCode, Frame, Opcode, RawSession, Request, Server,
    protocol::{extension::Extensions, frame::Rsv},
    testing,
};

#[expect(dead_code, reason = "its main is for people")]
#[path = "../../examples/custom_extension.rs"]
pub mod custom_extension;

use custom_extension::Numbered;

use crate::{Echo, SECOND, close_of, echo, opcodes};

#[test]
fn row_01_works_with_no_options() {
    let builder = Server::builder().service("/", |_: &Request<'_>| Echo);
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello");
}

#[test]
fn row_02_ping_period() {
    let server = testing::Server::new(echo().ping_period(15 * SECOND));
    let mut client = server.connect("/echo").unwrap();
    server.advance(14 * SECOND);
    client.send("who talks is not pinged");
    assert_eq!(opcodes(&mut client, 1), [Opcode::Text]);
    server.advance(14 * SECOND);
    client.send("and now it is quiet");
    assert_eq!(opcodes(&mut client, 1), [Opcode::Text]);
    server.advance(16 * SECOND);
    assert_eq!(opcodes(&mut client, 1), [Opcode::Ping]);
    // Each has a payload of its own, and the client's Pong has brought the next.
    server.advance(16 * SECOND);
    assert_eq!(opcodes(&mut client, 1), [Opcode::Ping]);

    let server = testing::Server::new(echo().ping_period(None));
    let mut client = server.connect("/echo").unwrap();
    server.advance(24 * 3_600 * SECOND);
    client.send("there?");
    assert_eq!(opcodes(&mut client, 1), [Opcode::Text], "no Ping has come before");
}

#[test]
fn row_03_timeout() {
    let builder = echo().ping_period(15 * SECOND).timeout(15 * SECOND);
    let server = testing::Server::new(builder);
    let mut asleep = server.connect("/echo").unwrap();
    let awake = server.connect("/echo").unwrap();
    asleep.ignore_pings();
    server.advance(29 * SECOND);
    assert!(asleep.is_open());
    server.advance(2 * SECOND);
    assert_eq!(close_of(&mut asleep), (1011, "Ping timeout".into()));
    assert!(awake.is_open());

    // A Pong with another payload does not count, nor does anything else that is said.
    let mut client = server.connect("/echo").unwrap();
    client.ignore_pings();
    for _ in 0..31 {
        server.advance(SECOND);
        if client.is_open() && server.elapsed() > 48 * SECOND {
            client.send_frame(&Frame::new(Opcode::Pong, b"not yours"));
            client.send("I am here");
        }
    }
    assert_eq!(client.close_reason().unwrap().code, CloseCode::INTERNAL_ERROR);

    let server = testing::Server::new(echo().ping_period(None).timeout(SECOND));
    let client = server.connect("/echo").unwrap();
    server.advance(3_600 * SECOND);
    assert!(client.is_open(), "of no effect where no pings are sent");
}

#[test]
fn row_04_max_frame_size() {
    let server = testing::Server::new(echo().max_frame_size(1_000));
    let mut client = server.connect("/echo").unwrap();
    client.send(vec![7; 1_000]);
    assert_eq!(client.recv_binary(), [7; 1_000]);
    client.send(vec![7; 1_001]);
    assert_eq!(client.recv_close().code, CloseCode::MESSAGE_TOO_BIG);

    // Of fragments the sum counts.
    let mut client = server.connect("/echo").unwrap();
    for opcode in [Opcode::Binary, Opcode::Continuation, Opcode::Continuation] {
        let mut frame = Frame::new(opcode, &[7; 400]);
        frame.fin = false;
        client.send_frame(&frame);
    }
    assert_eq!(client.recv_close().code, CloseCode::MESSAGE_TOO_BIG);
}

#[test]
fn row_05_clients_mask_and_servers_never_do() {
    // §5.1: a server must not mask, so there is nothing to set; a client must, with a key that cannot be
    // foreseen (§5.3).
    let builder = Server::builder().websocket_raw("/", |mut session: RawSession| async move {
        while let Some(mut frame) = session.recv().await {
            let key = frame.masking_key.take().expect("a client masks");
            session.send(Frame::new(Opcode::Binary, &key).into_owned()).await?;
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/").unwrap();
    let keys = [(); 8].map(|()| {
        client.send("masked");
        let frame = client.recv_frame().unwrap();
        assert_eq!(frame.masking_key, None);
        frame.payload.to_vec()
    });
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "a key comes again");
    }
    client.send_bytes(b"\x81\x05Hello");
    assert_eq!(close_of(&mut client), (1002, "a client must mask its frames".into()));
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
        assert_eq!(frame.rsv, Rsv::RSV2);
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
fn row_09_served_with_default_configuration() {
    // The address is for sockets; that a builder needs nothing but a route is shown here.
    let server = testing::Server::new(echo());
    let mut client = server.connect("/echo").unwrap();
    client.send("Hello");
    assert_eq!(client.recv_text(), "Hello");
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
