//! The chat over real workers: one order, whoever talks where.

use std::{collections::HashSet, sync::Barrier, thread};

use chinwag::{
    Request, Router, Server,
    chat::{Chat, ChatLimits},
};

use crate::support::{Client, Running};

/// The next thing that `person` hears somebody say, now or earlier.
fn said(person: &mut Client) -> String {
    loop {
        if let Some((_, text)) = person.text().split_once("]: ") {
            return text.to_owned();
        }
    }
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
    let router = Router::new().service("/chat", move |request: &Request<'_>| chat.service(request));
    // Without Pings, which would keep one waiting for ever who has missed something.
    let builder = Server::builder().router(router).ping_period(None);
    let server = &Running::start(builder.workers(WORKERS));
    let start = &Barrier::new(WORKERS);
    let talk = |number: usize| {
        let mut people = vec![server.connect("/chat")];
        start.wait();
        for text in 0..TEXTS {
            if text % 50 == 25 {
                people.push(server.connect("/chat"));
            }
            people[0].send(format!("{number}:{text}"));
        }
        people
    };
    let mut people: Vec<_> = thread::scope(|scope| {
        let talkers: Vec<_> =
            (0..WORKERS).map(|number| scope.spawn(move || talk(number))).collect();
        talkers.into_iter().flat_map(|talker| talker.join().unwrap()).collect()
    });
    assert_eq!(people.len(), WORKERS * (1 + TEXTS / 50));
    let heard: Vec<Vec<_>> = people
        .iter_mut()
        .map(|person| (0..WORKERS * TEXTS).map(|_| said(person)).collect())
        .collect();
    assert_eq!(heard[0].iter().collect::<HashSet<_>>().len(), WORKERS * TEXTS);
    assert!(heard.iter().all(|texts| *texts == heard[0]));
    // Nor does anything come once more.
    people[0].send("the end");
    assert!(people.iter_mut().all(|person| said(person) == "the end"));
}
