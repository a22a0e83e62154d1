//! What is said and who hears it, and what becomes of those who say too much or nothing more.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Lag, Topic};

// ---- what is said -------------------------------------------------------------------------------

#[test]
fn two_people_talk() {
    let house = House::default();
    let mut anna = house.comes();
    assert_eq!(heard(&mut anna), ["You've logged in as [user0]"]);
    let mut bert = house.comes();
    assert_eq!(heard(&mut bert), ["You've logged in as [user1]"]);
    assert_eq!(heard(&mut anna), ["* user1 has joined"]);

    anna.send("Hello");
    bert.send("Hi!");
    for person in [&mut anna, &mut bert] {
        assert_eq!(heard(person), ["[user0]: Hello", "[user1]: Hi!"]);
    }
}

#[test]
fn numbers_never_come_back() {
    let house = House::default();
    for number in 0..3 {
        let mut person = house.comes();
        assert_eq!(heard(&mut person), [format!("You've logged in as [user{number}]")]);
    }
}

#[test]
fn whoever_goes_is_gone_whatever_way_they_went() {
    let house = House::default();
    let mut anna = house.comes();
    type Way = fn(&House, &mut Client);
    let ways: [(&str, Way); 5] = [
        ("a reset", |_, other| other.cut()),
        ("an end", |_, other| other.shut()),
        ("a Close", |_, other| other.close(CloseCode::NORMAL, "")),
        ("a fault", |_, other| other.send_bytes(b"\xff\xff")),
        ("silence", |house, other| {
            other.ignore_pings();
            house.server.advance(60 * SECOND);
        }),
    ];
    for (number, (way, go)) in (1..).zip(ways) {
        let mut other = house.comes();
        heard(&mut anna);
        go(&house, &mut other);
        assert_eq!(heard(&mut anna), [format!("* user{number} has left")], "{way}");
        anna.send("/who");
        assert_eq!(heard(&mut anna), ["* In lobby: user0"], "{way}");
    }
}

#[test]
fn a_text_cannot_be_taken_for_another_line() {
    let house = House::default();
    let mut anna = house.comes();
    heard(&mut anna);
    for (text, line) in [
        ("* user1 has left", "[user0]: * user1 has left"),
        ("hi\n[user1]: I pay", "[user0]: hi [user1]: I pay"),
        ("hi\r\n", "[user0]: hi"),
        ("\x1b[31mred\u{202e}", "[user0]: [31mred"),
        ("<b>bold</b>", "[user0]: <b>bold</b>"),
        ("//who", "[user0]: /who"),
    ] {
        anna.send(text);
        assert_eq!(heard(&mut anna), [line], "{text:?}");
    }
}

#[test]
fn an_empty_line_is_no_message() {
    let house = House::default();
    let mut anna = house.comes();
    heard(&mut anna);
    for text in ["", "\n", "  \t", "\0", "\u{200b}", "\u{2800}"] {
        anna.send(text);
        assert_eq!(heard(&mut anna), [""; 0], "{text:?}");
    }
}

#[test]
fn binary_is_answered_with_a_hint() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    anna.send(&b"bytes"[..]);
    assert_eq!(heard(&mut anna), ["* Only text can be said here; that message was binary"]);
    assert_eq!(heard(&mut bert), [""; 0]);
}

#[test]
fn a_text_is_bounded_in_characters() {
    let house = House::default();
    let mut anna = house.comes();
    heard(&mut anna);
    let longest = "é".repeat(4_096);
    anna.send(&longest);
    assert_eq!(heard(&mut anna), [format!("[user0]: {longest}")]);
    anna.send(longest + "x");
    assert_eq!(heard(&mut anna), ["* Not sent: a message has at most 4096 characters"]);
}

// ---- a full queue -------------------------------------------------------------------------------

/// Fills the queue of the worker, where somebody there hears it.
#[derive(Clone)]
struct Flood {
    topic: Topic,
    comes: Arc<AtomicBool>,
}

impl Flood {
    /// Whatever is published now finds the queue full, until the worker looks into it.
    fn rise(&self) {
        while self.comes.load(Ordering::Relaxed) && self.topic.publish("").is_ok() {}
    }
}

/// Hears the flood.
impl Service for Flood {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.topic);
    }
}

/// Somebody whom the flood comes before.
struct Flooded(Flood, Member);

impl Service for Flooded {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.0.rise();
        self.1.opened(peer);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.0.rise();
        self.1.message(peer, message);
    }
}

#[test]
fn what_a_full_queue_refuses_nobody_gets_and_its_sender_knows() {
    let (chat, comes) = (Chat::default(), Arc::<AtomicBool>::default());
    let flood = Flood { topic: Topic::new().with_lag(Lag::Skip), comes: Arc::clone(&comes) };
    let (theirs, before, door) = (flood.clone(), flood.clone(), chat.clone());
    let builder = Server::builder()
        .service("/flood", move |_: &Request<'_>| theirs.clone())
        .service("/chat", move |request: &Request<'_>| -> Result<_, Answer> {
            Ok(Flooded(before.clone(), door.service(request)?))
        });
    let house = House::of(chat, builder);
    let _listener = house.comes_to("/flood");
    let (mut anna, mut bert) = (house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    comes.store(true, Ordering::Relaxed);
    anna.send("Hello");
    assert_eq!(heard(&mut anna), ["* Not sent: the server is busy, please try again"]);
    assert_eq!(heard(&mut bert), [""; 0]);

    // Nor does anybody find it in the history; and who came meanwhile is told of as a number.
    let mut carl = house.comes();
    assert_eq!(heard(&mut carl), ["You've logged in as [user2]"]);
    flood.rise();
    house.pulse();
    assert_eq!(heard(&mut anna), [""; 0], "still busy");
    house.pulse();
    assert_eq!(heard(&mut anna), ["* 3 people are here"]);
}

// ---- helping, leaving, flooding -----------------------------------------------------------------

#[test]
fn a_wrong_command_is_helped_and_not_closed() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    for line in ["/me waves", "/", "/quitter"] {
        anna.send(line);
        assert_eq!(
            heard(&mut anna),
            ["* There is no such command: /help lists them, //text says /text"]
        );
    }
    anna.send("/Help");
    let help = heard(&mut anna).remove(0);
    for command in ["/nick", "/join", "/who", "/help", "/quit"] {
        assert!(help.contains(command), "{command}");
    }
    assert!(help.lines().all(|line| line.starts_with("* ")));
    assert_eq!(heard(&mut bert), [""; 0]);
}

#[test]
fn quit_closes_with_1000_and_the_room_hears_of_it_at_once() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    // The closing handshake is yet to end, and the room knows all the same.
    anna.ignore_close();
    anna.send("/quit");
    assert_eq!(close_of(&mut anna), (1000, "you said /quit".into()));
    assert_eq!(heard(&mut bert), ["* user0 has left"]);
    drop(anna);
    assert_eq!(heard(&mut bert), [""; 0], "once only");
}

#[test]
fn a_flood_is_dropped_told_and_at_last_closed_with_1008() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    for _ in 0..500 {
        anna.send("spam");
    }
    assert_eq!(heard(&mut bert).len(), 500);
    heard(&mut anna);
    anna.send("spam");
    assert_eq!(heard(&mut anna), ["* Not so fast: what comes too fast is not passed on"]);
    for _ in 0..498 {
        anna.send("spam");
    }
    assert_eq!(heard(&mut anna), [""; 0], "told once");
    assert!(anna.is_open());
    anna.send("spam");
    assert_eq!(close_of(&mut anna), (1008, "too many messages".into()));
    assert_eq!(heard(&mut bert), ["* user0 has left"]);

    // Going from room to room counts for more.
    let mut dora = house.comes();
    for n in 0..25 {
        dora.send(format!("/join room{n}"));
    }
    heard(&mut dora);
    dora.send("/join tea");
    assert_eq!(heard(&mut dora), ["* Not so fast: what comes too fast is not passed on"]);

    // Who rests may go on.
    let mut carl = house.comes();
    for _ in 0..600 {
        carl.send("spam");
    }
    house.server.advance(5 * SECOND);
    forget([&mut bert]);
    carl.send("Sorry");
    assert_eq!(heard(&mut bert), ["[user3]: Sorry"]);
}
