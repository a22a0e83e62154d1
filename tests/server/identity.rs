//! Two servers of one process over one topic and one chat, such as one for the public and one for those who
//! run it.

use std::{
    collections::HashSet,
    sync::{Arc, Barrier, Mutex},
    thread,
};

use chinwag::{
    Message, Peer, PeerHandle, Request, Router, SendError, Server, Service, Topic,
    chat::{Chat, ChatLimits},
};

use crate::support::{Client, Running, eventually};

const SERVERS: usize = 2;
const WORKERS: usize = 2;
const CLIENTS: usize = 8;
const TEXTS: usize = 50;

type Handles = Arc<Mutex<Vec<PeerHandle>>>;

struct Member(Topic, Handles);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        self.1.lock().unwrap().push(peer.handle());
        peer.send("in").unwrap();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.publish(&self.0, message).unwrap();
    }
}

/// Everybody says [`TEXTS`] texts at the same time; gives what each has received.
fn talk(clients: &mut [Client], next: impl Fn(&mut Client) -> String + Sync) -> Vec<Vec<String>> {
    let (start, next) = (&Barrier::new(clients.len()), &next);
    thread::scope(|scope| {
        let talkers: Vec<_> = (0..)
            .zip(clients)
            .map(|(number, client)| {
                scope.spawn(move || {
                    start.wait();
                    let mut heard = Vec::new();
                    for text in 0..TEXTS {
                        client.send(format!("{number}:{text}"));
                        heard.push(next(client));
                    }
                    heard.extend((TEXTS..CLIENTS * TEXTS).map(|_| next(client)));
                    heard
                })
            })
            .collect();
        talkers.into_iter().map(|talker| talker.join().unwrap()).collect()
    })
}

#[track_caller]
fn is_one_order(heard: &[Vec<String>]) {
    assert_eq!(heard[0].iter().collect::<HashSet<_>>().len(), CLIENTS * TEXTS, "all, and once");
    assert!(heard.iter().all(|texts| *texts == heard[0]), "one order");
    for number in 0..CLIENTS {
        let own = heard[0].iter().filter_map(|text| text.strip_prefix(&format!("{number}:")));
        assert!(own.map(|text| text.parse::<usize>().unwrap()).eq(0..TEXTS), "{number}");
    }
}

fn clients(servers: &[Running; SERVERS]) -> Vec<Client> {
    (0..CLIENTS).map(|number| servers[number % SERVERS].connect("/")).collect()
}

#[test]
fn two_servers_over_one_topic_have_one_order_and_names_of_their_own() {
    let (topic, handles) = (Topic::new(), Handles::default());
    let servers = [(); SERVERS].map(|()| {
        let (topic, handles) = (topic.clone(), Arc::clone(&handles));
        let make = move |_: &Request<'_>| Member(topic.clone(), Arc::clone(&handles));
        Running::start(Server::builder().service("/", make).workers(WORKERS))
    });
    let [first, _second] = &servers;
    let mut clients = clients(&servers);
    clients.iter_mut().for_each(|client| assert_eq!(client.text(), "in"));
    is_one_order(&talk(&mut clients, Client::text));

    let handles = std::mem::take(&mut *handles.lock().unwrap());
    assert_eq!(handles.iter().map(PeerHandle::id).collect::<HashSet<_>>().len(), CLIENTS);
    let workers: HashSet<_> = handles.iter().map(|handle| handle.id().worker).collect();
    assert_eq!(workers.len(), SERVERS * WORKERS);
    // The first server ends, and its handles say so; the second goes on.
    first.stopper.stop();
    let mut clients = clients.into_iter();
    let mut left = Vec::new();
    while let (Some(mut of_first), Some(of_second)) = (clients.next(), clients.next()) {
        of_first.end();
        left.push(of_second);
    }
    eventually("all of the first server end", || first.open() == 0);
    let is_open = |handle: &&PeerHandle| handle.send("still") != Err(SendError::NotOpen);
    assert_eq!(handles.iter().filter(is_open).count(), CLIENTS / SERVERS);
    assert_eq!(topic.subscribers(), CLIENTS / SERVERS);
    assert!(left.iter_mut().all(|client| client.text() == "still"));
}

#[test]
fn two_servers_over_one_chat_hold_one_conversation() {
    let limits = ChatLimits { history: 0, ..ChatLimits::default() };
    let chat = Chat::new(limits);
    let servers = [(); SERVERS].map(|()| {
        let chat = chat.clone();
        let make = move |request: &Request<'_>| chat.service(request);
        let router = Router::new().service("/", make);
        Running::start(Server::builder().router(router).workers(WORKERS).ping_period(None))
    });
    let mut people = clients(&servers);
    is_one_order(&talk(&mut people, |person| {
        loop {
            if let Some((_, text)) = person.text().split_once("]: ") {
                return text.to_owned();
            }
        }
    }));
}
