//! One connection's place in the chat.

use std::sync::Arc;

use super::{
    Chat, TooManyRooms,
    command::{Command, HELP},
    name::Name,
    names::Regular,
    rate::{Rate, Verdict},
    room::Room,
    text,
};
use crate::{
    protocol::{
        close::{CloseCode, CloseReason},
        message::Message,
    },
    service::{Peer, PeerId, Service},
};

/// The chat as one connection meets it; made by [`Chat::service`](super::Chat::service).
pub struct Member {
    chat: Chat,
    /// The room that the request asked for.
    wanted: Name,
    /// Who it is, until the connection is open.
    regular: Option<Box<Regular>>,
    /// `None` before the connection is open and from the goodbye on.
    seat: Option<Seat>,
}

/// Somebody who is in a room.
struct Seat {
    id: PeerId,
    /// The number of a [`Regular`].
    regular: Option<u128>,
    name: Name,
    room: Arc<Room>,
    rate: Rate,
}

impl Member {
    /// Somebody on the way to the room `wanted`.
    pub(super) fn new(chat: Chat, wanted: Name, regular: Option<Box<Regular>>) -> Self {
        Self { chat, wanted, regular, seat: None }
    }

    /// Leaves the room and gives the name back; nothing happens the second time.
    fn leave(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.room.leave(seat.id);
            self.chat.free_if_empty(&seat.room);
            self.chat.give_back(&seat.name);
        }
    }

    /// Leaves and closes: the room hears of it now, not when the closing handshake is done.
    fn part(&mut self, peer: &mut Peer<'_>, code: CloseCode, reason: &str) {
        if let Some(seat) = &self.seat {
            seat.room.part(peer);
        }
        self.leave();
        peer.close(code, reason).ok();
    }
}

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        let regular = self.regular.take();
        let (name, why) = self.chat.first_name(regular.as_deref());
        tell(peer, &format!("You've logged in as [{name}]"));
        if let Some(why) = why {
            tell(peer, &format!("* You are {name} for now: {why}"));
        }
        match self.chat.enter(&self.wanted, peer, &name) {
            Ok((room, earlier)) => {
                let (id, rate) = (peer.id(), self.chat.rate(peer.now()));
                let regular = regular.map(|regular| regular.id);
                self.seat = Some(Seat { id, regular, name, room, rate });
                tell_earlier(peer, &earlier);
            }
            Err(full) => {
                self.chat.give_back(&name);
                peer.close(CloseCode::TRY_AGAIN_LATER, &full.to_string()).ok();
            }
        }
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Some(seat) = &mut self.seat else { return };
        match seat.rate.take(peer.now()) {
            Verdict::Take => {}
            Verdict::Warn => {
                return tell(peer, "* Not so fast: what comes too fast is not passed on");
            }
            Verdict::Drop => return,
            Verdict::Close => {
                return self.part(peer, CloseCode::POLICY_VIOLATION, "too many messages");
            }
        }
        let Message::Text(text) = message else {
            return tell(peer, "* Only text can be said here; that message was binary");
        };
        let line = text::clean(&text);
        match Command::parse(&line) {
            Command::Say(text) => seat.say(peer, text, self.chat.limits().text),
            Command::Nick(name) => seat.rename(peer, &self.chat, name),
            Command::Join(room) => seat.move_to(peer, &self.chat, room),
            Command::Who => seat.who(peer, self.chat.limits().listed),
            Command::Help => tell(peer, HELP),
            Command::Quit => self.part(peer, CloseCode::NORMAL, "you said /quit"),
            Command::Unknown => {
                tell(peer, "* There is no such command: /help lists them, //text says /text");
            }
        }
    }

    fn closed(&mut self, _reason: &CloseReason) {
        self.leave();
    }
}

impl Seat {
    /// Says a text to the room, the one who says it included.
    fn say(&self, peer: &mut Peer<'_>, text: &str, max: usize) {
        if text::is_blank(text) {
            return; // An empty line on a terminal is no message.
        }
        if text.chars().nth(max).is_some() {
            return tell(peer, &format!("* Not sent: a message has at most {max} characters"));
        }
        if self.room.say(format!("[{}]: {text}", self.name).into()).is_err() {
            tell(peer, "* Not sent: the server is busy, please try again");
        }
    }

    fn rename(&mut self, peer: &mut Peer<'_>, chat: &Chat, wanted: &str) {
        if wanted.is_empty() {
            return tell(peer, &format!("* You are {}; another name: /nick NAME", self.name));
        }
        match chat.take_name(wanted, Some(&self.name), self.regular) {
            Ok(name) if name == self.name => tell(peer, &format!("* You are {name} already")),
            Ok(name) => {
                if !self.room.rename(self.id, &name) {
                    tell(peer, &format!("* You are now {name}"));
                }
                self.name = name;
            }
            Err(why) => tell(peer, &format!("* You are still {}: {why}", self.name)),
        }
    }

    fn move_to(&mut self, peer: &mut Peer<'_>, chat: &Chat, wanted: &str) {
        let room = self.room.name();
        if wanted.is_empty() {
            return tell(peer, &format!("* You are in {room}; another room: /join ROOM"));
        }
        let wanted = match chat.room_name(wanted) {
            Ok(wanted) => wanted,
            Err(why) => return tell(peer, &format!("* You are still in {room}: {why}")),
        };
        if wanted == *room {
            return tell(peer, &format!("* You are in {room} already"));
        }
        match chat.enter(&wanted, peer, &self.name) {
            Ok((room, earlier)) => {
                self.rate.charge(JOIN_COST);
                let left = std::mem::replace(&mut self.room, room);
                left.part(peer);
                chat.free_if_empty(&left);
                tell(peer, &format!("* You are now in {wanted}"));
                tell_earlier(peer, &earlier);
            }
            Err(TooManyRooms) => {
                tell(peer, &format!("* You are still in {room}: {TooManyRooms}"));
            }
        }
    }

    fn who(&self, peer: &mut Peer<'_>, max: usize) {
        let (names, people) = self.room.who(max);
        let listed: Vec<&str> = names.iter().map(Name::as_str).collect();
        let mut line = format!("* In {}: {}", self.room.name(), listed.join(", "));
        if people > listed.len() {
            line += &format!(" and {} more", people - listed.len());
        }
        tell(peer, &line);
    }
}

/// What going to another room costs beyond any other message: it is answered with that room's whole
/// history, and whoever does it for fun would have far more sent than they send.
const JOIN_COST: u32 = 19;

/// Tells one person something. Where the connection is closing already, nobody is left to be told.
fn tell(peer: &mut Peer<'_>, line: &str) {
    peer.send(line).ok();
}

/// Shows what was said before; marked, as it is no news.
fn tell_earlier(peer: &mut Peer<'_>, lines: &[Arc<str>]) {
    for line in lines {
        tell(peer, &format!("(earlier) {line}"));
    }
}
