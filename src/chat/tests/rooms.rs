//! Rooms: which one somebody is in, what was said there before, and what becomes of full ones.

use std::collections::VecDeque;

use super::*;

// ---- which room ---------------------------------------------------------------------------------

#[test]
fn the_request_names_the_room() {
    let house = House::default();
    let targets = [
        "/chat",
        "/chat?room=tea",
        "/chat?room=T%C3%A9",
        "/chat?room=te%CC%81",
        "/chat?x=1&room=TEA&room=no",
    ];
    let people = targets.map(|target| house.comes_to(target));
    assert_eq!(house.rooms(), ["lobby", "tea", "té"]);
    drop(people);

    let _person = house.comes_to("/chat/milk?room=tea");
    assert_eq!(house.rooms(), ["lobby", "milk"], "the path goes before the query");
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
        let answer = house.server.connect(target).unwrap_err();
        assert_eq!(answer.status, 400, "{target}");
        assert_eq!(answer.text(), format!("this is no name for a room: {why}\n"));
    }
}

#[test]
fn rooms_do_not_hear_each_other() {
    let house = House::default();
    let (mut anna, mut bert) =
        (house.comes_to("/chat?room=tea"), house.comes_to("/chat?room=milk"));
    forget([&mut anna, &mut bert]);
    anna.send("Hello");
    assert_eq!(heard(&mut anna), ["[user0]: Hello"]);
    assert_eq!(heard(&mut bert), [""; 0]);
}

#[test]
fn somebody_goes_to_another_room() {
    let house = House::default();
    let (mut anna, mut bert, mut carl) =
        (house.comes(), house.comes(), house.comes_to("/chat?room=tea"));
    carl.send("Tea is ready");
    forget([&mut anna, &mut bert, &mut carl]);

    anna.send("/join Tea");
    assert_eq!(heard(&mut anna), ["* You are now in tea", "(earlier) [user2]: Tea is ready"]);
    assert_eq!(heard(&mut bert), ["* user0 has left"]);
    assert_eq!(heard(&mut carl), ["* user0 has joined"]);

    bert.send("Anybody here?");
    anna.send("Thanks");
    assert_eq!(heard(&mut anna), ["[user0]: Thanks"]);
    assert_eq!(heard(&mut bert), ["[user1]: Anybody here?"]);
    assert_eq!(heard(&mut carl), ["[user0]: Thanks"]);

    for (line, answer) in [
        ("/join tea", "* You are in tea already"),
        ("/join", "* You are in tea; another room: /join ROOM"),
        ("/join two words", &format!("* You are still in tea: {NOT_ONE_WORD}")),
    ] {
        anna.send(line);
        assert_eq!(heard(&mut anna), [answer], "{line}");
    }
}

#[test]
fn empty_rooms_are_freed_and_the_lobby_stays() {
    let house = House::default();
    let mut anna = house.comes();
    anna.send("In the lobby");
    anna.send("/join tea");
    anna.send("In the tea room");
    assert_eq!(house.rooms(), ["lobby", "tea"]);
    anna.send("/join milk");
    assert_eq!(house.rooms(), ["lobby", "milk"], "left");
    drop(anna);
    assert_eq!(house.rooms(), ["lobby"], "lost");

    let mut bert = house.comes();
    assert_eq!(
        heard(&mut bert),
        ["You've logged in as [user1]", "(earlier) [user0]: In the lobby"]
    );
    bert.send("/join tea");
    assert_eq!(heard(&mut bert), ["* You are now in tea"], "what was said there is gone");
}

#[test]
fn rooms_are_bounded() {
    let house = House::new(ChatLimits { rooms: 2, ..ChatLimits::default() });
    let (mut anna, bert) = (house.comes(), house.comes_to("/chat?room=tea"));
    forget([&mut anna]);
    anna.send("/join milk");
    assert_eq!(
        heard(&mut anna),
        ["* You are still in lobby: there are too many rooms, please try again later"]
    );
    let mut carl = house.comes_to("/chat?room=milk");
    let full = "there are too many rooms, please try again later";
    assert_eq!(heard(&mut carl), ["You've logged in as [user2]"]);
    assert_eq!(close_of(&mut carl), (1013, full.into()));

    drop(bert);
    anna.send("/join milk");
    assert_eq!(heard(&mut anna), ["* You are now in milk"], "a room was freed");
}

// ---- what was said before -----------------------------------------------------------------------

#[test]
fn who_comes_later_sees_what_was_said_and_nothing_else() {
    let house = House::default();
    let mut anna = house.comes();
    anna.send("One");
    anna.send("/nick Anna");
    anna.send("Two");
    let mut bert = house.comes();
    anna.send("Three");
    assert_eq!(
        heard(&mut bert),
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
    let house = House::default();
    let mut anna = house.comes();
    for n in 0..201 {
        anna.send(n.to_string());
    }
    let mut bert = house.comes();
    let heard = heard(&mut bert);
    assert_eq!(heard.len(), 201, "the greeting and two hundred");
    assert_eq!(heard[1], "(earlier) [user0]: 1");
    assert_eq!(heard[200], "(earlier) [user0]: 200");
}

// ---- crowds -------------------------------------------------------------------------------------

#[test]
fn a_crowd_is_told_its_number_once_a_second() {
    let house = House::default();
    let mut anna = house.comes();
    let mut others = VecDeque::new();
    for number in 1..100 {
        others.push_back(house.comes());
        assert_eq!(heard(&mut anna).last(), Some(&format!("* user{number} has joined")));
    }
    house.pulse();
    assert_eq!(heard(&mut anna), [""; 0], "a hundred people know each other by name");

    others.extend((100..137).map(|_| house.comes()));
    assert_eq!(heard(&mut anna), [""; 0]);
    house.pulse();
    assert_eq!(heard(&mut anna), ["* 137 people are here"]);

    others.pop_front();
    house.server.advance(SECOND / 2);
    house.pulse();
    assert_eq!(heard(&mut anna), [""; 0], "not twice a second");
    house.server.advance(SECOND / 2);
    house.pulse();
    assert_eq!(heard(&mut anna), ["* 136 people are here"], "the last change comes too");
    house.server.advance(SECOND);
    house.pulse();
    assert_eq!(heard(&mut anna), [""; 0], "nothing has changed");

    others.drain(..36);
    house.server.advance(SECOND);
    house.pulse();
    assert_eq!(heard(&mut anna), ["* 100 people are here"]);
    others.pop_front();
    assert_eq!(heard(&mut anna), ["* user38 has left"], "no crowd any more");
}

#[test]
fn ten_thousand_who_join_are_not_fifty_million_notices() {
    let house = House::default();
    let mut people: Vec<_> = (0..10_000).map(|_| house.comes()).collect();
    house.pulse();
    let lines: usize = people.iter_mut().map(|person| heard(person).len()).sum();
    let (greetings, names, counts) = (10_000, 100 * 99 / 2, 10_000);
    assert_eq!(lines, greetings + names + counts);
}

#[test]
fn in_a_crowd_only_the_member_hears_of_a_new_name() {
    let house = House::new(ChatLimits { crowd: 2, ..ChatLimits::default() });
    let (mut anna, mut bert, _carl) = (house.comes(), house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    anna.send("/nick Anna");
    assert_eq!(heard(&mut anna), ["* You are now Anna"]);
    assert_eq!(heard(&mut bert), [""; 0]);
    anna.send("Hi");
    assert_eq!(heard(&mut bert), ["[Anna]: Hi"]);
}

#[test]
fn a_freed_crowd_owes_nobody_its_number() {
    let house = House::new(ChatLimits { crowd: 0, ..ChatLimits::default() });
    drop(house.comes_to("/chat?room=tea"));
    house.pulse();
    assert!(lock(&house.chat.0.due).is_empty());
}

#[test]
fn who_lists_a_hundred_and_counts_the_rest() {
    let house = House::new(ChatLimits { listed: 3, ..ChatLimits::default() });
    let mut anna = house.comes();
    let _others = [house.comes(), house.comes()];
    forget([&mut anna]);
    anna.send("/WHO");
    assert_eq!(heard(&mut anna), ["* In lobby: user0, user1, user2"]);
    let _one_more = house.comes();
    forget([&mut anna]);
    anna.send("/who");
    let line = heard(&mut anna).remove(0);
    assert!(line.starts_with("* In lobby: user") && line.ends_with(" and 1 more"), "{line}");
    assert_eq!(line.matches("user").count(), 3);
}
