//! The features of chinwag one by one, in memory: each test is named after its row of the list.
//!
//! What needs sockets, such as binding a port or a browser, is tested elsewhere. Where both faces of a
//! connection behave alike, one conversation is held with each.

#[path = "features/closing.rs"]
mod closing;
#[path = "features/compression.rs"]
mod compression;
#[path = "features/configuration.rs"]
mod configuration;
#[path = "features/demos.rs"]
mod demos;
#[path = "features/messages.rs"]
mod messages;
#[cfg(feature = "cookies")]
#[path = "features/pages.rs"]
mod pages;
#[path = "features/routing.rs"]
mod routing;
#[path = "support/services.rs"]
mod services;
#[cfg(feature = "json")]
#[path = "features/values.rs"]
mod values;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Message, Opcode, Peer, Request, Server, ServerBuilder,
    Service, Session, session,
    testing::{self, Client},
};
use services::{Does, Echo, echo};

const SECOND: Duration = Duration::from_secs(1);

/// Where a server has a service, and where a session that does the same.
const FACES: [&str; 2] = ["/service", "/session"];

/// A server with a service at `/service` that answers messages by calling `does`.
fn does<F>(does: F) -> ServerBuilder
where
    F: Fn(&mut Peer<'_>, Message<'_>) + Clone + Send + Sync + 'static,
{
    Server::builder().service(FACES[0], move |_: &Request<'_>| Does(does.clone()))
}

/// A server whose only route is a session of `handler`.
fn serve<F, R>(handler: F) -> testing::Server
where
    F: Fn(Session) -> R + Send + Sync + 'static,
    R: Future<Output = session::Result> + 'static,
{
    testing::Server::new(Server::builder().websocket("/", handler))
}

/// Writes down what it is told of, in the words of the browsers' events.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn note_message(&self, message: &Message<'_>) {
        match message {
            Message::Text(text) => self.note(format!("onMessage {text}")),
            Message::Binary(bytes) => self.note(format!("onMessage {} bytes", bytes.len())),
        }
    }

    fn note_end(&self, reason: &CloseReason) {
        let event = match reason.cause {
            CloseCause::Peer | CloseCause::Local | CloseCause::Answered(_) => "onClose",
            CloseCause::Protocol(_) | CloseCause::Timeout(_) | CloseCause::Lost => "onError",
        };
        self.note(format!("{event} {} {:?}", reason.code, reason.text));
    }

    /// Writes down what a session sees.
    async fn keep(self, mut session: Session) -> session::Result {
        self.note("onConnect");
        while let Some(message) = session.recv().await {
            self.note_message(&message);
        }
        self.note_end(session.close_reason().expect("it has ended"));
        Ok(())
    }

    /// What was written since this was last asked.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Service for Diary {
    fn opened(&mut self, _: &mut Peer<'_>) {
        self.note("onConnect");
    }

    fn message(&mut self, _: &mut Peer<'_>, message: Message<'_>) {
        self.note_message(&message);
    }

    fn closed(&mut self, reason: &CloseReason) {
        self.note_end(reason);
    }
}

/// A server that keeps a diary by each face, and pings once a second.
fn diary() -> (testing::Server, Diary) {
    let diary = Diary::default();
    let [by_service, by_session] = [diary.clone(), diary.clone()];
    let builder = Server::builder()
        .ping_period(SECOND)
        .timeout(SECOND)
        .service(FACES[0], move |_: &Request<'_>| by_service.clone())
        .websocket(FACES[1], move |session| by_session.clone().keep(session));
    (testing::Server::new(builder), diary)
}

fn close_of(client: &mut Client) -> (u16, String) {
    let CloseReason { code, text, .. } = client.recv_close();
    (code.0, text.into())
}

/// The opcodes of the next frames that a client has heard.
fn opcodes(client: &mut Client, count: usize) -> Vec<Opcode> {
    (0..count).map(|_| client.recv_frame().expect("a frame").opcode).collect()
}

// ---- tests without a network --------------------------------------------------------------------

#[test]
fn row_46_a_conversation_in_process() {
    let builder = Server::builder().websocket("/echo", |mut session: Session| async move {
        session.send("Please enter your name").await?;
        while let Some(message) = session.recv().await {
            let Message::Text(name) = message else { continue };
            if name.eq_ignore_ascii_case("bye") {
                return session.close(CloseCode::NORMAL, "Client said BYE").await;
            }
            session.send(format!("Hi, {name}!")).await?;
        }
        Ok(())
    });
    let server = testing::Server::new(builder);
    let mut client = server.connect("/echo").unwrap();
    assert_eq!(client.recv_text(), "Please enter your name");
    client.send("JetBrains");
    assert_eq!(client.recv_text(), "Hi, JetBrains!");
    client.send("bye");
    let frame = client.recv_frame().expect("the Close frame is there to be seen");
    assert_eq!(frame.opcode, Opcode::Close);
    assert_eq!(&*frame.payload, b"\x03\xe8Client said BYE");
    assert_eq!(close_of(&mut client), (1000, "Client said BYE".into()));
    assert_eq!(client.recv(), None);
}
