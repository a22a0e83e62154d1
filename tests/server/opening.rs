//! Upgrades that the application decides on in a future.

use chinwag::{Accept, Answer, OwnedRequest, Route, Router, Server};

use crate::{
    Echo,
    support::{Client, Running, Said, http, upgrade},
};

fn server() -> Running {
    let decide = |request: OwnedRequest| async move {
        match request.as_request().param("word").unwrap() {
            "yes" => Ok(Accept::new(Echo).with_header("Set-Cookie", "a=1")),
            "panic" => panic!("as asked, in a decision"),
            _ => Err(Answer::text(403, "not you")),
        }
    };
    let router = Router::new().route("/{word}", Route::deciding(decide));
    Running::start(Server::builder().router(router).workers(1))
}

#[test]
fn a_future_accepts_and_refuses() {
    let server = server();
    let (mut client, head) = Client::ask(server.addr, &upgrade("/yes")).unwrap();
    assert!(head.contains("\r\nSet-Cookie: a=1\r\n"), "{head}");
    client.send("hello");
    assert_eq!(client.recv(), Some(Said::Text("hello".into())));

    let answer = http(server.addr, &upgrade("/no"));
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("\r\n\r\nnot you\n"),
        "{answer}"
    );
}

#[test]
fn a_panic_in_a_future_is_answered_with_500() {
    let server = server();
    assert!(http(server.addr, &upgrade("/panic")).starts_with("HTTP/1.1 500 "));
    assert_eq!(server.counters.panics.get(), 1);
    server.connect("/yes");
}
