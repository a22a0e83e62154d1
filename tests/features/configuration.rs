//! What can be set, installed and chosen.

use std::{io, thread};

use chinwag::{
    Frame, Opcode, RawSession, Request, Server,
    protocol::{extension::Extensions, frame::Rsv},
    testing,
};

#[expect(dead_code, reason = "its main is for people")]
#[path = "../../examples/custom_extension.rs"]
pub mod custom_extension;

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
