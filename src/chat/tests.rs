//! Conversations: people in the chat, in memory and under a clock moved by hand.

use std::{iter, time::Duration};

use super::*;
use crate::{
    CloseCode, Message, Server, ServerBuilder, Service,
    testing::{self, Client},
};

mod names;
#[cfg(feature = "cookies")]
mod regulars;
mod rooms;
mod talking;

const SECOND: Duration = Duration::from_secs(1);

/// Why most names that are none are none.
const NOT_ONE_WORD: &str = "a name is one word of letters and digits, with single - _ . ' between \
                            them; emoji and other signs cannot stand in it";

/// A chat, and the server at which people come to it.
struct House {
    chat: Chat,
    server: testing::Server,
}

impl House {
    fn new(limits: ChatLimits) -> Self {
        let chat = Chat::new(limits);
        let [by_query, by_path, known] = [(); 3].map(|()| chat.clone());
        let builder = Server::builder()
            .service("/chat", move |request: &Request<'_>| by_query.service(request))
            .service("/chat/{room}", move |request: &Request<'_>| by_path.service(request))
            .service("/regular/{id}", move |request: &Request<'_>| {
                let id = request.param("id").unwrap().parse().unwrap();
                let name = request.query("name").map(Into::into);
                known.service_for(Regular { id, name }, request)
            });
        Self::of(chat, builder)
    }

    fn of(chat: Chat, builder: ServerBuilder) -> Self {
        Self { chat, server: testing::Server::new(builder) }
    }

    /// Somebody connects to `target`, such as `/chat?room=tea`.
    fn comes_to(&self, target: &str) -> Client {
        self.server.connect(target).unwrap()
    }

    fn comes(&self) -> Client {
        self.comes_to("/chat")
    }

    /// Somebody comes whom the chat knows again.
    fn regular_comes(&self, id: u128, name: &str) -> Client {
        self.comes_to(&format!("/regular/{id}?name={name}"))
    }

    /// What the chat is to be told once a second.
    fn pulse(&self) {
        self.chat.pulse(self.server.now());
        self.server.advance(Duration::ZERO);
    }

    fn rooms(&self) -> Vec<String> {
        let mut rooms: Vec<_> = lock(&self.chat.0.rooms).keys().map(Name::to_string).collect();
        rooms.sort();
        rooms
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new(ChatLimits::default())
    }
}

/// The lines that somebody has heard since they were last asked.
fn heard(person: &mut Client) -> Vec<String> {
    let messages = iter::from_fn(|| person.try_recv());
    let lines = messages.map(|message| match message {
        Message::Text(line) => line.as_str().to_owned(),
        Message::Binary(_) => panic!("the chat speaks in text"),
    });
    lines.collect()
}

/// These people remember nothing of what they have heard.
fn forget<const N: usize>(people: [&mut Client; N]) {
    people.into_iter().for_each(|person| drop(heard(person)));
}

/// The code and the reason with which the chat has closed, where nothing is left to be heard.
fn close_of(person: &mut Client) -> (u16, String) {
    let close = person.recv_close();
    (close.code.0, close.text.to_string())
}
