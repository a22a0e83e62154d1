//! The chat: people in rooms, in plain text.
//!
//! Texts and commands go in, lines come out. A line that starts with `[` is what somebody says, as
//! `[user0]: hello`; `(earlier) ` stands before what was said before one came; everything else is
//! the chat's own word, and starts with `* ` but for the greeting. What somebody says has no line
//! breaks in it and always stands behind their name, so nobody can send a line that starts as
//! another's does, or as the chat's; where a terminal or a page wraps a long line is not in the
//! chat's hands.
//!
//! No two people share a name, in whatever letter case or Unicode form it is written, and nobody
//! can choose `user` and a number. A [`Regular`] is one person in all their connections. A name is letters and digits with few signs between, and Latin
//! letters do not mix with others that look like them. What may look alike all the same and is not
//! told apart: `rn` and `m`, or `сор` in Cyrillic and `cop` in Latin letters.
//!
//! The chat knows connections as [`service`](crate::service) shows them, and neither sockets nor
//! clocks.
//!
//! Locks are taken in this order, and none is held while something is sent: the list of rooms, a
//! room, the list of [due](Chat::pulse) rooms, a topic. The list of names is taken by itself.

mod command;
mod log;
mod member;
mod name;
mod names;
mod rate;
#[cfg(feature = "cookies")]
mod regulars;
mod room;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

pub use member::Member;
pub use names::Regular;
#[cfg(feature = "cookies")]
pub use regulars::Regulars;

use self::{
    log::{Bounds, Ring},
    name::{BadName, Name},
    names::Names,
    rate::Rate,
    room::{Due, Room},
};
use crate::{
    protocol::limits::{SettingError, in_range},
    service::{Answer, Peer, Request},
};

/// How much people can make the chat hold, and how fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatLimits {
    /// Longest name of a member or a room, in bytes of its Unicode form NFKC. Default 64, at least 5, as
    /// there is a room called `lobby`; a longer one is refused with a line that says so, and in a request with status 400.
    pub name: usize,
    /// Longest text, in characters. Default 4,096; a longer one is not sent, and its sender told. That
    /// is 16 KiB at most, so a route to the chat may keep
    /// [`Limits::max_message`](crate::Limits::max_message) well below its default. 0 lets nobody say
    /// anything.
    pub text: usize,
    /// Messages a second that one connection may send for ever, at least 1. Default 100.
    pub rate: u32,
    /// Messages that it may send at once, at least 1. Default 500; a `/join` counts for twenty. What comes on top is dropped, and the sender
    /// told once; after as many dropped ones without a rest between, the connection is closed with
    /// 1008.
    pub burst: u32,
    /// Most rooms at a time, at least 1. Default 10,000; who wants one more stays where they are or, on coming,
    /// is closed with 1013. Empty rooms are freed, all but the lobby.
    pub rooms: usize,
    /// Messages that a room keeps for those who come later. Default 200; the oldest goes.
    pub history: usize,
    /// Bytes that a room keeps. Default 128 KiB; the oldest messages go.
    pub history_bytes: usize,
    /// Bytes that all rooms keep together. Default 64 MiB; the room in which something is said then
    /// gives up its own oldest messages, and one that has none keeps none.
    pub history_bytes_in_all: usize,
    /// Most people in a room who are told of each other by name when they come, go or take another
    /// name. Default 100; in a larger room only their number is told, once a second.
    pub crowd: usize,
    /// Most names that `/who` lists. Default 100; then their number follows.
    pub listed: usize,
    /// Most [regulars](Regular) whose names are remembered while they are away. Default 10,000; who took
    /// theirs longest ago is forgotten.
    pub regulars: usize,
}

impl Default for ChatLimits {
    fn default() -> Self {
        Self {
            name: 64,
            text: 4_096,
            rate: 100,
            burst: 500,
            rooms: 10_000,
            history: 200,
            history_bytes: 128 << 10,
            history_bytes_in_all: 64 << 20,
            crowd: 100,
            listed: 100,
            regulars: 10_000,
        }
    }
}

impl ChatLimits {
    /// Whether a chat can work within these limits.
    ///
    /// # Errors
    /// [`SettingError`] for the first limit that is out of its range.
    pub fn check(&self) -> Result<(), SettingError> {
        in_range("ChatLimits::name", self.name, LOBBY.len()..)?;
        in_range("ChatLimits::rate", self.rate, 1..)?;
        in_range("ChatLimits::burst", self.burst, 1..)?;
        in_range("ChatLimits::rooms", self.rooms, 1..)
    }
}

/// A chat: rooms that people meet in. Clones are the same chat.
///
/// ```
/// use chinwag::{Request, Router, chat::Chat};
///
/// let chat = Chat::default();
/// let by_path = chat.clone();
/// let router = Router::new()
///     .service("/chat", move |request: &Request<'_>| chat.service(request))
///     .service("/chat/{room}", move |request: &Request<'_>| by_path.service(request));
/// ```
///
/// Something has to call [`Chat::pulse`] about once a second.
#[derive(Clone)]
pub struct Chat(Arc<Shared>);

struct Shared {
    limits: ChatLimits,
    /// The number of the next newcomer; never goes back.
    next: AtomicU64,
    names: Mutex<Names>,
    rooms: Mutex<HashMap<Name, Arc<Room>>>,
    due: Due,
    history_bytes: Arc<AtomicUsize>,
}

/// The room of everyone who asks for no other.
const LOBBY: &str = "lobby";

impl Chat {
    /// A chat that nobody is in.
    ///
    /// # Panics
    /// Where a limit is out of its range, which [`ChatLimits::check`] names.
    pub fn new(limits: ChatLimits) -> Self {
        if let Err(error) = limits.check() {
            panic!("{error}");
        }
        Self(Arc::new(Shared {
            next: AtomicU64::new(0),
            names: Mutex::new(Names::new(limits.regulars)),
            limits,
            rooms: Mutex::default(),
            due: Due::default(),
            history_bytes: Arc::default(),
        }))
    }

    /// The service for one connection. The room is the path's parameter `room`, else the query's
    /// first `room`, else `lobby`; letter case and Unicode form make no difference.
    ///
    /// # Errors
    /// Status 400 where that is no name for a room; the text says why.
    pub fn service(&self, request: &Request<'_>) -> Result<Member, Answer> {
        self.member(request, None)
    }

    /// As [`service`](Self::service), for somebody whom the chat knows again: they are called what they
    /// last chose, where nobody else is called so by now.
    ///
    /// # Errors
    /// As [`service`](Self::service).
    pub fn service_for(&self, regular: Regular, request: &Request<'_>) -> Result<Member, Answer> {
        self.member(request, Some(Box::new(regular)))
    }

    /// What the [`Regular`] with this number chose to be called last, as far as the chat remembers.
    pub fn name_of(&self, id: u128) -> Option<String> {
        lock(&self.0.names).recall(id).map(Name::to_string)
    }

    fn member(
        &self,
        request: &Request<'_>,
        regular: Option<Box<Regular>>,
    ) -> Result<Member, Answer> {
        let query = request.query("room");
        let room = request.param("room").or(query.as_deref()).unwrap_or(LOBBY);
        match self.room_name(room) {
            Ok(room) => Ok(Member::new(self.clone(), room, regular)),
            Err(why) => Err(Answer::text(400, format!("this is no name for a room: {why}"))),
        }
    }

    /// Tells large rooms how many people they hold, where that has changed: at most once a second a
    /// room by `now`, and always the last change too. To be called about once a second; where nothing
    /// is due it costs one lock that hardly anybody takes.
    pub fn pulse(&self, now: Instant) {
        let mut due = std::mem::take(&mut *lock(&self.0.due));
        due.retain(|room| room.upgrade().is_some_and(|room| !room.tell_count(now)));
        lock(&self.0.due).append(&mut due);
    }

    fn limits(&self) -> &ChatLimits {
        &self.0.limits
    }

    fn rate(&self, now: Instant) -> Rate {
        Rate::new(now, self.0.limits.rate, self.0.limits.burst)
    }

    /// The name of a newcomer, and why it is not the one that they are known by.
    fn first_name(&self, regular: Option<&Regular>) -> (Name, Option<NoNick>) {
        let known = regular.and_then(|regular| {
            let name = self.name_of(regular.id).or_else(|| regular.name.clone())?;
            Some(self.take_name(&name, None, Some(regular.id)))
        });
        let why = match known {
            Some(Ok(name)) => return (name, None),
            Some(Err(why)) => Some(why),
            None => None,
        };
        (Name::numbered(self.0.next.fetch_add(1, Ordering::Relaxed)), why)
    }

    /// Takes the name `wanted` for somebody who is called `current`, which is given back, and is the
    /// regular `id`.
    ///
    /// Choice: no two people of the chat share a name, whichever rooms they are in: so one who goes
    /// to another room never has to be called otherwise there.
    fn take_name(
        &self,
        wanted: &str,
        current: Option<&Name>,
        id: Option<u128>,
    ) -> Result<Name, NoNick> {
        let wanted = Name::parse(wanted, self.0.limits.name).map_err(NoNick::Bad)?;
        if wanted.is_numbered() {
            return Err(NoNick::Reserved);
        }
        let mut names = lock(&self.0.names);
        if current.is_none_or(|current| current.folded() != wanted.folded()) {
            if !names.take(&wanted, id) {
                return Err(NoNick::Taken(wanted));
            }
            if let Some(current) = current {
                names.give_back(current);
            }
        }
        if let Some(id) = id {
            names.remember(id, wanted.clone());
        }
        Ok(wanted)
    }

    /// Gives a name back, for others to take.
    fn give_back(&self, name: &Name) {
        if !name.is_numbered() {
            lock(&self.0.names).give_back(name);
        }
    }

    /// A room's name: people who write it in other letter cases or Unicode forms meet.
    fn room_name(&self, raw: &str) -> Result<Name, BadName> {
        Ok(Name::parse(raw, self.0.limits.name)?.folded())
    }

    /// Lets a member into a room, which is made where there is none; gives what was said before.
    ///
    /// The list of rooms stays locked until the member is in, so that nobody frees the room between.
    fn enter(
        &self,
        room: &Name,
        peer: &mut Peer<'_>,
        member: &Name,
    ) -> Result<(Arc<Room>, Vec<Arc<str>>), TooManyRooms> {
        let mut rooms = lock(&self.0.rooms);
        if !rooms.contains_key(room) && rooms.len() >= self.0.limits.rooms {
            return Err(TooManyRooms);
        }
        let room = rooms.entry(room.clone()).or_insert_with(|| Arc::new(self.new_room(room)));
        let earlier = room.join(peer, member);
        Ok((Arc::clone(room), earlier))
    }

    fn new_room(&self, name: &Name) -> Room {
        let limits = &self.0.limits;
        let bounds = Bounds {
            lines: limits.history,
            bytes: limits.history_bytes,
            all: limits.history_bytes_in_all,
        };
        let log = Box::new(Ring::new(bounds, Arc::clone(&self.0.history_bytes)));
        Room::new(name.clone(), limits.crowd, log, Arc::clone(&self.0.due))
    }

    /// Forgets a room that nobody is in. Choice: the lobby stays, so that whoever is alone there may
    /// load the page anew and still find what was said.
    fn free_if_empty(&self, room: &Arc<Room>) {
        let mut rooms = lock(&self.0.rooms);
        // The name may be another room's by now.
        if rooms.get(room.name()).is_some_and(|known| Arc::ptr_eq(known, room))
            && room.name().as_str() != LOBBY
            && room.is_empty()
        {
            rooms.remove(room.name());
        }
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self::new(ChatLimits::default())
    }
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

/// Why somebody keeps the name they have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NoNick {
    Bad(BadName),
    Reserved,
    Taken(Name),
}

impl fmt::Display for NoNick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(why) => why.fmt(f),
            Self::Reserved => f.write_str("user and a number is a name that only the server gives"),
            Self::Taken(name) => write!(f, "somebody is called {name} already"),
        }
    }
}

/// The chat has as many rooms as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TooManyRooms;

impl fmt::Display for TooManyRooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there are too many rooms, please try again later")
    }
}

/// Locks, also after a panic under the lock: nothing half-made can be seen there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
