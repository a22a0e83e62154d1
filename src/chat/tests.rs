//! Conversations: people in one process, without a network, under a clock moved by hand.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    ops::{Index, IndexMut},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    protocol::{
        Role,
        close::{CloseCause, CloseCode, CloseReason},
        error::SendError,
        frame::{Frame, Header, HeaderRules, Rsv},
        handshake,
        message::Message,
    },
    service::{
        Full, Kind, Letter, Mailbox, Missed, Outgoing, PeerHandle, PeerId, Publication, Service,
        Subscriber, Tasks, Topic,
    },
};

#[cfg(feature = "cookies")]
mod regulars;

const SECOND: Duration = Duration::from_secs(1);

// ---- The house: one worker, in memory ---------------------------------------------------------

/// A worker with the people it serves. What one of them does runs to its end, publications
/// included, before the next thing happens.
struct House {
    chat: Chat,
    worker: u32,
    mail: Arc<Mail>,
    now: Instant,
    people: Vec<Person>,
}

/// One connection: what the server would keep of it, and what its peer has heard.
struct Person {
    member: Member,
    line: Line,
}

struct Line {
    id: PeerId,
    now: Instant,
    mail: Arc<dyn Mailbox>,
    places: Vec<Subscriber>,
    heard: Vec<String>,
    close: Option<(u16, String)>,
}

#[derive(Default)]
struct Mail {
    letters: Mutex<VecDeque<Letter>>,
    full: AtomicBool,
}

impl House {
    fn new(limits: ChatLimits) -> Self {
        Self::of(Chat::new(limits), 0)
    }

    fn of(chat: Chat, worker: u32) -> Self {
        Self { chat, worker, mail: Arc::default(), now: Instant::now(), people: Vec::new() }
    }

    /// Somebody connects to `target`, such as `/chat?room=tea`; gives their number in this house.
    fn comes_to(&mut self, target: &str) -> usize {
        let member = self.service(target, &[]).expect("the room has a name");
        self.seats(member)
    }

    fn seats(&mut self, mut member: Member) -> usize {
        let at = self.people.len();
        let mut line = Line {
            id: PeerId { worker: self.worker, slot: at as u32, generation: 0 },
            now: self.now,
            mail: Arc::clone(&self.mail) as Arc<dyn Mailbox>,
            places: Vec::new(),
            heard: Vec::new(),
            close: None,
        };
        member.opened(&mut Peer::new(&mut line));
        self.people.push(Person { member, line });
        self.turn();
        at
    }

    fn comes(&mut self) -> usize {
        self.comes_to("/chat")
    }

    /// Somebody comes whom the chat knows again.
    fn regular_comes(&mut self, id: u128, name: Option<&str>) -> usize {
        let regular = Regular { id, name: name.map(String::from) };
        let head = handshake::Request { method: "GET", path: "/", query: None, headers: vec![] };
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let member = self.chat.service_for(regular, &Request::new(&head, &[], addr, None));
        self.seats(member.expect("the lobby has a name"))
    }

    fn service(&self, target: &str, params: &[(&str, &str)]) -> Result<Member, Answer> {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let head = handshake::Request { method: "GET", path, query, headers: Vec::new() };
        let params: Vec<_> = params.iter().map(|&(name, value)| (name, value.into())).collect();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.chat.service(&Request::new(&head, &params, addr, None))
    }

    fn sends<'m>(&mut self, at: usize, message: impl Into<Message<'m>>) {
        let Person { member, line } = &mut self.people[at];
        assert_eq!(line.close, None, "nothing is received after a Close was sent");
        line.now = self.now;
        member.message(&mut Peer::new(line), message.into());
        self.turn();
    }

    fn says(&mut self, at: usize, text: &str) {
        self.sends(at, text);
    }

    /// The connection ends without a goodbye.
    fn loses(&mut self, at: usize) {
        self.ends(at, CloseCause::Lost, CloseCode::ABNORMAL);
    }

    fn ends(&mut self, at: usize, cause: CloseCause, code: CloseCode) {
        self.people[at].line.places.clear();
        self.people[at].member.closed(&CloseReason { cause, code, text: "".into() });
        self.turn();
    }

    fn pulse(&mut self) {
        self.chat.pulse(self.now);
        self.turn();
    }

    /// Brings what was published to those who hear it.
    fn turn(&mut self) {
        while let Some(letter) = { lock(&self.mail.letters).pop_front() } {
            let Letter::Publication(publication) = letter else { panic!("an errand") };
            let text = text_of(&publication);
            for Person { line, .. } in &mut self.people {
                let hears = |place: &Subscriber| {
                    place.topic().id() == publication.topic && place.after() < publication.offset
                };
                if line.close.is_none() && line.places.iter().any(hears) {
                    line.heard.push(text.clone());
                }
            }
        }
    }

    /// What somebody has heard since they were last asked.
    fn heard(&mut self, at: usize) -> Vec<String> {
        std::mem::take(&mut self[at].heard)
    }

    /// Nobody remembers what they have heard.
    fn forget(&mut self) {
        for person in &mut self.people {
            person.line.heard.clear();
        }
    }

    fn rooms(&self) -> Vec<String> {
        let mut rooms: Vec<_> = lock(&self.chat.0.rooms).keys().map(Name::to_string).collect();
        rooms.sort();
        rooms
    }
}

impl Index<usize> for House {
    type Output = Line;

    fn index(&self, at: usize) -> &Line {
        &self.people[at].line
    }
}

impl IndexMut<usize> for House {
    fn index_mut(&mut self, at: usize) -> &mut Line {
        &mut self.people[at].line
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new(ChatLimits::default())
    }
}

fn text_of(publication: &Publication) -> String {
    let rules = HeaderRules { role: Role::Client, max_payload: usize::MAX, rsv: Rsv::NONE };
    let (_, len) = Header::decode(&publication.plain, &rules).unwrap().unwrap();
    String::from_utf8(publication.plain[len..].to_vec()).unwrap()
}

impl Outgoing for Line {
    fn id(&self) -> PeerId {
        self.id
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn send(&mut self, message: Message<'_>) -> Result<(), SendError> {
        if self.close.is_some() {
            return Err(SendError::NotOpen);
        }
        self.heard.push(String::from_utf8(message.as_bytes().to_vec()).unwrap());
        Ok(())
    }

    fn send_frame(&mut self, _: Frame<'_>) -> Result<(), SendError> {
        unreachable!("the chat does not speak in frames")
    }

    fn ping(&mut self, _: &[u8]) -> Result<(), SendError> {
        unreachable!("the server pings")
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        crate::protocol::close::encode_close(code, reason)?;
        self.close = Some((code.0, reason.to_owned()));
        Ok(())
    }

    fn subscribe(&mut self, topic: &Topic) -> u64 {
        let place =
            topic.join(self.id.worker, &self.mail, None, Kind::Plain).expect("any offset will do");
        let after = place.after();
        self.places.push(place);
        after
    }

    fn subscribe_after(&mut self, _: &Topic, _: u64) -> Result<(), Missed> {
        unreachable!("the room is locked while the chat subscribes")
    }

    fn unsubscribe(&mut self, topic: &Topic) {
        self.places.retain(|place| place.topic() != topic);
    }

    fn pause_reading(&mut self) {
        unreachable!("the chat listens always")
    }

    fn resume_reading(&mut self) {
        unreachable!("the chat listens always")
    }

    fn tasks(&self) -> Tasks {
        unreachable!("the chat has no tasks")
    }

    fn is_full(&self) -> bool {
        false
    }

    fn buffered(&self) -> usize {
        0
    }

    fn handle(&self) -> PeerHandle {
        PeerHandle::new(self.id, Arc::clone(&self.mail))
    }
}

impl Mailbox for Mail {
    fn post(&self, letter: Letter) -> Result<(), Full> {
        lock(&self.letters).push_back(letter);
        Ok(())
    }

    fn has_room(&self, _: usize) -> bool {
        !self.full.load(Ordering::Relaxed)
    }
}

// ---- Talking ----------------------------------------------------------------------------------

#[test]
fn two_people_talk() {
    let mut house = House::default();
    let anna = house.comes();
    assert_eq!(house.heard(anna), ["You've logged in as [user0]"]);
    let bert = house.comes();
    assert_eq!(house.heard(bert), ["You've logged in as [user1]"]);
    assert_eq!(house.heard(anna), ["* user1 has joined"]);

    house.says(anna, "Hello");
    house.says(bert, "Hi!");
    for person in [anna, bert] {
        assert_eq!(house.heard(person), ["[user0]: Hello", "[user1]: Hi!"]);
    }
}

#[test]
fn numbers_never_come_back() {
    let mut house = House::default();
    for number in 0..3 {
        let person = house.comes();
        assert_eq!(house.heard(person), [format!("You've logged in as [user{number}]")]);
        house.loses(person);
    }
}

#[test]
fn whoever_goes_is_gone_whatever_way_they_went() {
    let mut house = House::default();
    let anna = house.comes();
    for (number, cause) in [
        (1, CloseCause::Lost),
        (2, CloseCause::Peer),
        (3, CloseCause::Local),
        (4, CloseCause::Timeout(crate::protocol::close::Timeout::Pong)),
    ] {
        let other = house.comes();
        house.heard(anna);
        house.ends(other, cause, CloseCode::NORMAL);
        assert_eq!(house.heard(anna), [format!("* user{number} has left")], "{cause:?}");
        house.says(anna, "/who");
        assert_eq!(house.heard(anna), ["* In lobby: user0"]);
    }
}

#[test]
fn a_text_cannot_be_taken_for_another_line() {
    let mut house = House::default();
    let anna = house.comes();
    house.heard(anna);
    for (text, line) in [
        ("* user1 has left", "[user0]: * user1 has left"),
        ("hi\n[user1]: I pay", "[user0]: hi [user1]: I pay"),
        ("hi\r\n", "[user0]: hi"),
        ("\x1b[31mred\u{202e}", "[user0]: [31mred"),
        ("<b>bold</b>", "[user0]: <b>bold</b>"),
        ("//who", "[user0]: /who"),
    ] {
        house.says(anna, text);
        assert_eq!(house.heard(anna), [line], "{text:?}");
    }
}

#[test]
fn an_empty_line_is_no_message() {
    let mut house = House::default();
    let anna = house.comes();
    house.heard(anna);
    for text in ["", "\n", "  \t", "\0", "\u{200b}", "\u{2800}"] {
        house.says(anna, text);
        assert_eq!(house.heard(anna), [""; 0], "{text:?}");
    }
}

#[test]
fn binary_is_answered_with_a_hint() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.forget();
    house.sends(anna, &b"bytes"[..]);
    assert_eq!(house.heard(anna), ["* Only text can be said here; that message was binary"]);
    assert_eq!(house.heard(bert), [""; 0]);
}

#[test]
fn a_text_is_bounded_in_characters() {
    let mut house = House::default();
    let anna = house.comes();
    house.heard(anna);
    let longest = "é".repeat(4_096);
    house.says(anna, &longest);
    assert_eq!(house.heard(anna), [format!("[user0]: {longest}")]);
    house.says(anna, &(longest + "x"));
    assert_eq!(house.heard(anna), ["* Not sent: a message has at most 4096 characters"]);
}

#[test]
fn what_a_full_queue_refuses_nobody_gets_and_its_sender_knows() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.forget();
    house.mail.full.store(true, Ordering::Relaxed);
    house.says(anna, "Hello");
    assert_eq!(house.heard(anna), ["* Not sent: the server is busy, please try again"]);
    assert_eq!(house.heard(bert), [""; 0]);

    // Nor does anybody find it in the history; and who came meanwhile is told of as a number.
    let carl = house.comes();
    assert_eq!(house.heard(carl), ["You've logged in as [user2]"]);
    house.pulse();
    assert_eq!(house.heard(anna), [""; 0], "still busy");
    house.mail.full.store(false, Ordering::Relaxed);
    house.pulse();
    assert_eq!(house.heard(anna), ["* 3 people are here"]);
}

// ---- Names ------------------------------------------------------------------------------------

const NOT_ONE_WORD: &str = "a name is one word of letters and digits, with single - _ . ' between \
                            them; emoji and other signs cannot stand in it";

#[test]
fn somebody_takes_a_name() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.forget();
    house.says(anna, "/nick Anna");
    house.says(anna, "It's me");
    for person in [anna, bert] {
        assert_eq!(house.heard(person), ["* user0 is now Anna", "[Anna]: It's me"]);
    }
}

#[test]
fn a_name_belongs_to_one_person_of_the_whole_chat() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes_to("/chat?room=tea"));
    house.says(anna, "/nick Anna");
    house.forget();
    for (wanted, answer) in [
        ("Anna", "* You are still user1: somebody is called Anna already"),
        ("ANNA", "* You are still user1: somebody is called ANNA already"),
        ("Ａｎｎａ", "* You are still user1: somebody is called Anna already"),
        ("user7", "* You are still user1: user and a number is a name that only the server gives"),
        (
            "ＵＳＥＲ٠",
            "* You are still user1: user and a number is a name that only the server gives",
        ),
        ("🚀", &format!("* You are still user1: {NOT_ONE_WORD}")),
        (
            "\u{301}",
            "* You are still user1: in a name, marks stand on letters: 4 at most, none twice",
        ),
        (
            "\u{410}nna",
            "* You are still user1: a name does not mix Latin letters with others that look like them",
        ),
        ("", "* You are user1; another name: /nick NAME"),
    ] {
        house.says(bert, &format!("/nick {wanted}"));
        assert_eq!(house.heard(bert), [answer], "{wanted:?}");
    }
    house.says(anna, "/nick ANNA");
    assert_eq!(house.heard(anna), ["* Anna is now ANNA"], "one's own name in other letters");
}

#[test]
fn a_name_is_one_name_in_all_its_forms() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.says(anna, "/nick Zoe\u{308}");
    house.forget();
    for wanted in ["Zoë", "zoe\u{308}", "ＺＯＥ\u{308}"] {
        house.says(bert, &format!("/nick {wanted}"));
        let [answer] = &*house.heard(bert) else { panic!("{wanted}: no answer") };
        assert!(answer.starts_with("* You are still user1: somebody is called"), "{answer}");
    }
    house.says(anna, "/nick Anna");
    house.forget();
    house.says(bert, "/nick Zoë");
    assert_eq!(house.heard(bert), ["* user1 is now Zoë"], "given back in all its forms");
}

#[test]
fn a_regular_is_called_what_they_chose_last() {
    let mut house = House::default();
    assert_eq!(house.chat.name_of(1), None);
    let first = house.regular_comes(1, Some("Anna"));
    assert_eq!(house.heard(first), ["You've logged in as [Anna]"]);
    house.says(first, "/nick Berta");
    assert_eq!(house.chat.name_of(1).as_deref(), Some("Berta"));
    let again = house.regular_comes(1, Some("Anna"));
    assert_eq!(house.heard(again), ["You've logged in as [Berta]"]);
    let other = house.regular_comes(2, Some("Berta"));
    let why = "* You are user0 for now: somebody is called Berta already";
    assert_eq!(house.heard(other), ["You've logged in as [user0]", why]);
    let nobody = house.regular_comes(3, Some("user0"));
    let why = "* You are user1 for now: user and a number is a name that only the server gives";
    assert_eq!(house.heard(nobody), ["You've logged in as [user1]", why]);
    for at in [first, again, other, nobody] {
        house.loses(at);
    }
    assert!(lock(&house.chat.0.names).is_empty());
}

#[test]
fn a_name_given_back_is_free() {
    let mut house = House::default();
    let (anna, bert, carl) = (house.comes(), house.comes(), house.comes());
    house.says(anna, "/nick Anna");
    house.says(anna, "/nick Änne");
    house.forget();
    house.says(bert, "/nick anna");
    assert_eq!(house.heard(bert), ["* user1 is now anna"], "given back for another");
    house.loses(anna);
    house.forget();
    house.says(carl, "/nick änne");
    assert_eq!(house.heard(carl), ["* user2 is now änne"], "given back by who was lost");
    house.loses(bert);
    house.loses(carl);
    assert!(lock(&house.chat.0.names).is_empty());
}

// ---- Rooms ------------------------------------------------------------------------------------

#[test]
fn the_request_names_the_room() {
    let mut house = House::default();
    for target in [
        "/chat",
        "/chat?room=tea",
        "/chat?room=T%C3%A9",
        "/chat?room=te%CC%81",
        "/chat?x=1&room=TEA&room=no",
    ] {
        house.comes_to(target);
    }
    assert_eq!(house.rooms(), ["lobby", "tea", "té"]);

    let by_path = house.service("/chat/milk?room=tea", &[("room", "milk")]).ok().unwrap();
    assert_eq!(by_path.wanted.as_str(), "milk", "the path goes before the query");
}

#[test]
fn a_request_for_a_room_without_a_name_is_refused() {
    let house = House::default();
    for (target, why) in [
        ("/chat?room=", "a name needs a letter or a digit"),
        ("/chat?room=%00%1b", NOT_ONE_WORD),
        ("/chat?room=%E2%A0%80", NOT_ONE_WORD),
        ("/chat?room=two+words", NOT_ONE_WORD),
        (&format!("/chat?room={}", "x".repeat(65)), "a name has at most 64 bytes"),
        // In lower case this letter takes three bytes instead of two.
        (&format!("/chat?room={}", "%C8%BA".repeat(32)), "a name has at most 64 bytes"),
    ] {
        let answer = house.service(target, &[]).err().unwrap();
        assert_eq!(answer, Answer::text(400, format!("this is no name for a room: {why}")));
    }
}

#[test]
fn rooms_do_not_hear_each_other() {
    let mut house = House::default();
    let (anna, bert) = (house.comes_to("/chat?room=tea"), house.comes_to("/chat?room=milk"));
    house.forget();
    house.says(anna, "Hello");
    assert_eq!(house.heard(anna), ["[user0]: Hello"]);
    assert_eq!(house.heard(bert), [""; 0]);
}

#[test]
fn somebody_goes_to_another_room() {
    let mut house = House::default();
    let (anna, bert, carl) = (house.comes(), house.comes(), house.comes_to("/chat?room=tea"));
    house.says(carl, "Tea is ready");
    house.forget();

    house.says(anna, "/join Tea");
    assert_eq!(house.heard(anna), ["* You are now in tea", "(earlier) [user2]: Tea is ready"]);
    assert_eq!(house.heard(bert), ["* user0 has left"]);
    assert_eq!(house.heard(carl), ["* user0 has joined"]);

    house.says(bert, "Anybody here?");
    house.says(anna, "Thanks");
    assert_eq!(house.heard(anna), ["[user0]: Thanks"]);
    assert_eq!(house.heard(bert), ["[user1]: Anybody here?"]);
    assert_eq!(house.heard(carl), ["[user0]: Thanks"]);

    for (line, answer) in [
        ("/join tea", "* You are in tea already"),
        ("/join", "* You are in tea; another room: /join ROOM"),
        ("/join two words", &format!("* You are still in tea: {NOT_ONE_WORD}")),
    ] {
        house.says(anna, line);
        assert_eq!(house.heard(anna), [answer], "{line}");
    }
}

#[test]
fn empty_rooms_are_freed_and_the_lobby_stays() {
    let mut house = House::default();
    let anna = house.comes();
    house.says(anna, "In the lobby");
    house.says(anna, "/join tea");
    house.says(anna, "In the tea room");
    assert_eq!(house.rooms(), ["lobby", "tea"]);
    house.says(anna, "/join milk");
    assert_eq!(house.rooms(), ["lobby", "milk"], "left");
    house.loses(anna);
    assert_eq!(house.rooms(), ["lobby"], "lost");

    let bert = house.comes();
    assert_eq!(
        house.heard(bert),
        ["You've logged in as [user1]", "(earlier) [user0]: In the lobby"]
    );
    house.says(bert, "/join tea");
    assert_eq!(house.heard(bert), ["* You are now in tea"], "what was said there is gone");
}

#[test]
fn rooms_are_bounded() {
    let mut house = House::new(ChatLimits { rooms: 2, ..ChatLimits::default() });
    let (anna, bert) = (house.comes(), house.comes_to("/chat?room=tea"));
    house.forget();
    house.says(anna, "/join milk");
    assert_eq!(
        house.heard(anna),
        ["* You are still in lobby: there are too many rooms, please try again later"]
    );
    let carl = house.comes_to("/chat?room=milk");
    let full = "there are too many rooms, please try again later";
    assert_eq!(house[carl].close, Some((1013, full.to_owned())));
    house.ends(carl, CloseCause::Local, CloseCode::TRY_AGAIN_LATER);

    house.loses(bert);
    house.says(anna, "/join milk");
    assert_eq!(house.heard(anna), ["* You are now in milk"], "a room was freed");
}

// ---- History ----------------------------------------------------------------------------------

#[test]
fn who_comes_later_sees_what_was_said_and_nothing_else() {
    let mut house = House::default();
    let anna = house.comes();
    house.says(anna, "One");
    house.says(anna, "/nick Anna");
    house.says(anna, "Two");
    let bert = house.comes();
    house.says(anna, "Three");
    assert_eq!(
        house.heard(bert),
        [
            "You've logged in as [user1]",
            "(earlier) [user0]: One",
            "(earlier) [Anna]: Two",
            "[Anna]: Three",
        ]
    );
}

#[test]
fn the_history_is_bounded() {
    let mut house = House::default();
    let anna = house.comes();
    for n in 0..201 {
        house.says(anna, &n.to_string());
    }
    let bert = house.comes();
    let heard = house.heard(bert);
    assert_eq!(heard.len(), 201, "the greeting and two hundred");
    assert_eq!(heard[1], "(earlier) [user0]: 1");
    assert_eq!(heard[200], "(earlier) [user0]: 200");
}

/// On each of four workers somebody talks, and others come in the middle of it: all hear the same in
/// the same order, and what the late ones find in the history and hear live is all of it, once.
#[test]
fn everyone_hears_one_order_and_misses_nothing() {
    const WORKERS: usize = 4;
    const TEXTS: usize = 400;
    let chat = Chat::new(ChatLimits {
        history: WORKERS * TEXTS,
        history_bytes: usize::MAX,
        ..ChatLimits::default()
    });
    let start = Arc::new(Barrier::new(WORKERS));
    let threads: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (chat, start) = (chat.clone(), Arc::clone(&start));
            thread::spawn(move || {
                let mut house = House::of(chat, worker as u32);
                let talker = house.comes();
                start.wait();
                for n in 0..TEXTS {
                    if n % 50 == 25 {
                        house.comes();
                    }
                    house.says(talker, &format!("{worker}:{n}"));
                }
                house
            })
        })
        .collect();
    let mut houses: Vec<House> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    let mut all = Vec::new();
    for house in &mut houses {
        house.turn();
        for person in 0..house.people.len() {
            let said = house.heard(person).into_iter().filter_map(|line| {
                let (_, text) = line.split_once("]: ")?;
                Some(text.to_owned())
            });
            all.push(said.collect::<Vec<_>>());
        }
    }
    assert_eq!(all.len(), WORKERS * (1 + TEXTS / 50));
    assert_eq!(all[0].len(), WORKERS * TEXTS);
    assert!(all.iter().all(|heard| *heard == all[0]));
}

// ---- Crowds -----------------------------------------------------------------------------------

#[test]
fn a_crowd_is_told_its_number_once_a_second() {
    let mut house = House::default();
    let anna = house.comes();
    for number in 1..100 {
        house.comes();
        assert_eq!(house.heard(anna).last(), Some(&format!("* user{number} has joined")));
    }
    house.forget();
    house.pulse();
    assert_eq!(house.heard(anna), [""; 0], "a hundred people know each other by name");

    for _ in 100..137 {
        house.comes();
    }
    assert_eq!(house.heard(anna), [""; 0]);
    house.pulse();
    assert_eq!(house.heard(anna), ["* 137 people are here"]);

    house.loses(1);
    house.now += SECOND / 2;
    house.pulse();
    assert_eq!(house.heard(anna), [""; 0], "not twice a second");
    house.now += SECOND / 2;
    house.pulse();
    assert_eq!(house.heard(anna), ["* 136 people are here"], "the last change comes too");
    house.now += SECOND;
    house.pulse();
    assert_eq!(house.heard(anna), [""; 0], "nothing has changed");

    for person in 2..38 {
        house.loses(person);
    }
    house.now += SECOND;
    house.pulse();
    assert_eq!(house.heard(anna), ["* 100 people are here"]);
    house.loses(38);
    assert_eq!(house.heard(anna), ["* user38 has left"], "no crowd any more");
}

#[test]
fn ten_thousand_who_join_are_not_fifty_million_notices() {
    let mut house = House::default();
    for _ in 0..10_000 {
        house.comes();
    }
    house.pulse();
    let lines: usize = (0..10_000).map(|person| house.heard(person).len()).sum();
    let (greetings, names, counts) = (10_000, 100 * 99 / 2, 10_000);
    assert_eq!(lines, greetings + names + counts);
}

#[test]
fn in_a_crowd_only_the_member_hears_of_a_new_name() {
    let mut house = House::new(ChatLimits { crowd: 2, ..ChatLimits::default() });
    let (anna, bert, _) = (house.comes(), house.comes(), house.comes());
    house.forget();
    house.says(anna, "/nick Anna");
    assert_eq!(house.heard(anna), ["* You are now Anna"]);
    assert_eq!(house.heard(bert), [""; 0]);
    house.says(anna, "Hi");
    assert_eq!(house.heard(bert), ["[Anna]: Hi"]);
}

#[test]
fn a_freed_crowd_owes_nobody_its_number() {
    let mut house = House::new(ChatLimits { crowd: 0, ..ChatLimits::default() });
    let anna = house.comes_to("/chat?room=tea");
    house.loses(anna);
    house.pulse();
    assert!(lock(&house.chat.0.due).is_empty());
}

#[test]
fn who_lists_a_hundred_and_counts_the_rest() {
    let mut house = House::new(ChatLimits { listed: 3, ..ChatLimits::default() });
    let anna = house.comes();
    house.comes();
    house.comes();
    house.forget();
    house.says(anna, "/WHO");
    assert_eq!(house.heard(anna), ["* In lobby: user0, user1, user2"]);
    house.comes();
    house.forget();
    house.says(anna, "/who");
    let line = house.heard(anna).remove(0);
    assert!(line.starts_with("* In lobby: user") && line.ends_with(" and 1 more"), "{line}");
    assert_eq!(line.matches("user").count(), 3);
}

// ---- Helping, leaving, flooding ---------------------------------------------------------------

#[test]
fn a_wrong_command_is_helped_and_not_closed() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.forget();
    for line in ["/me waves", "/", "/quitter"] {
        house.says(anna, line);
        assert_eq!(
            house.heard(anna),
            ["* There is no such command: /help lists them, //text says /text"]
        );
    }
    house.says(anna, "/Help");
    let help = house.heard(anna).remove(0);
    for command in ["/nick", "/join", "/who", "/help", "/quit"] {
        assert!(help.contains(command), "{command}");
    }
    assert!(help.lines().all(|line| line.starts_with("* ")));
    assert_eq!(house.heard(bert), [""; 0]);
}

#[test]
fn quit_closes_with_1000_and_the_room_hears_of_it_at_once() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.forget();
    house.says(anna, "/quit");
    assert_eq!(house[anna].close, Some((1000, "you said /quit".to_owned())));
    assert_eq!(house.heard(bert), ["* user0 has left"]);
    house.ends(anna, CloseCause::Local, CloseCode::NORMAL);
    assert_eq!(house.heard(bert), [""; 0], "once only");
}

#[test]
fn a_flood_is_dropped_told_and_at_last_closed_with_1008() {
    let mut house = House::default();
    let (anna, bert) = (house.comes(), house.comes());
    house.forget();
    for _ in 0..500 {
        house.says(anna, "spam");
    }
    assert_eq!(house.heard(bert).len(), 500);
    house.heard(anna);
    house.says(anna, "spam");
    assert_eq!(house.heard(anna), ["* Not so fast: what comes too fast is not passed on"]);
    for _ in 0..498 {
        house.says(anna, "spam");
    }
    assert_eq!(house.heard(anna), [""; 0], "told once");
    assert_eq!(house[anna].close, None);
    house.says(anna, "spam");
    assert_eq!(house[anna].close, Some((1008, "too many messages".to_owned())));
    assert_eq!(house.heard(bert), ["* user0 has left"]);

    // Going from room to room counts for more.
    let dora = house.comes();
    for n in 0..25 {
        house.says(dora, &format!("/join room{n}"));
    }
    house.heard(dora);
    house.says(dora, "/join tea");
    assert_eq!(house.heard(dora), ["* Not so fast: what comes too fast is not passed on"]);

    // Who rests may go on.
    let carl = house.comes();
    for _ in 0..600 {
        house.says(carl, "spam");
    }
    house.now += 5 * SECOND;
    house.forget();
    house.says(carl, "Sorry");
    assert_eq!(house.heard(bert), ["[user3]: Sorry"]);
}
