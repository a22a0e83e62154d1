//! Several servers of one process: who is who, and what they share.

use std::{
    cell::RefCell,
    collections::{HashSet, VecDeque},
    io::{self, Read, Write},
    rc::Rc,
    sync::{Arc, Mutex},
    time::Instant,
};

use chinwag::{
    CloseCode, Message, Peer, PeerHandle, Request, SendError, Server, ServerBuilder, Service,
    Topic,
    chat::{Chat, ChatLimits},
    server::{Readiness, Socket},
    testing::{self, Client},
};

use crate::{echo, support::upgrade};

type Handles = Arc<Mutex<Vec<PeerHandle>>>;

/// Is a member of a topic, gives its handle away, and publishes what it receives.
struct Member(Topic, Handles);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.0);
        self.1.lock().unwrap().push(peer.handle());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.publish(&self.0, message).unwrap();
    }
}

fn members(topic: &Topic, handles: &Handles) -> ServerBuilder {
    let (topic, handles) = (topic.clone(), Arc::clone(handles));
    let make = move |_: &Request<'_>| Member(topic.clone(), Arc::clone(&handles));
    echo().service("/", make)
}

#[test]
fn two_servers_over_one_topic_give_everybody_everything_once_in_one_order() {
    const ROUNDS: usize = 50;
    let topic = Topic::new();
    let servers = [(); 2].map(|()| testing::Server::new(members(&topic, &Handles::default())));
    let mut clients: Vec<Client> =
        (0..6).map(|number| servers[number % 2].connect("/").unwrap()).collect();
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        for (number, client) in clients.iter_mut().enumerate() {
            let text = format!("{number} in round {round}");
            client.send(&text);
            expected.push(text);
        }
        topic.publish("from elsewhere").unwrap();
        expected.push("from elsewhere".to_owned());
    }
    for client in &mut clients {
        let heard: Vec<_> = expected.iter().map(|_| client.recv_text()).collect();
        assert_eq!(heard, expected);
        assert_eq!(client.try_recv(), None, "and nothing twice");
    }
    // What one server drops of its members is not the other's.
    clients.retain(|client| client.id().worker == clients_worker(&servers[0]));
    assert_eq!((topic.subscribers(), servers[1].connections()), (3, 0));
    topic.publish("to who is left").unwrap();
    assert!(clients.iter_mut().all(|client| client.recv_text() == "to who is left"));
}

/// The number of the worker of a server.
fn clients_worker(server: &testing::Server) -> u32 {
    server.connect("/echo").unwrap().id().worker
}

#[test]
fn two_servers_over_one_chat_hold_one_conversation() {
    const ROUNDS: usize = 20;
    let chat = Chat::new(ChatLimits::default());
    let servers = [(); 2].map(|()| {
        let chat = chat.clone();
        let make = move |request: &Request<'_>| chat.service(request);
        testing::Server::new(Server::builder().service("/chat", make))
    });
    let mut people: Vec<Client> =
        (0..4).map(|number| servers[number % 2].connect("/chat").unwrap()).collect();
    let said = |person: &mut Client| loop {
        if let Some((_, text)) = person.recv_text().split_once("]: ") {
            return text.to_owned();
        }
    };
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let speaker = round % people.len();
        let text = format!("{round} by {speaker}");
        people[speaker].send(&text);
        expected.push(text);
        servers.iter().for_each(|server| server.advance(crate::SECOND));
    }
    for person in &mut people {
        let heard: Vec<_> = expected.iter().map(|_| said(person)).collect();
        assert_eq!(heard, expected);
        assert!(person.try_recv().is_none(), "and nothing twice");
    }
    // A late one finds the history of both.
    let mut late = servers[1].connect("/chat").unwrap();
    let heard: Vec<_> = expected.iter().map(|_| said(&mut late)).collect();
    assert_eq!(heard, expected);
}

#[test]
fn no_two_connections_of_a_process_have_one_name() {
    let mut ids = HashSet::new();
    let servers = [(); 2].map(|()| testing::Server::new(echo()));
    for round in 0..10 {
        let clients: Vec<_> = (0..10)
            .flat_map(|_| servers.each_ref().map(|server| server.connect("/echo").unwrap()))
            .collect();
        for client in &clients {
            assert!(ids.insert(client.id()), "{} in round {round}", client.id());
        }
    }
    drop(servers);
    let later = testing::Server::new(echo());
    assert!(ids.insert(later.connect("/echo").unwrap().id()), "nor with one that has ended");
}

/// Nothing that is sent by it is taken.
#[track_caller]
fn is_closed(handle: &PeerHandle, name: &str) {
    // A queue takes 65,536 items.
    for _ in 0..70_000 {
        assert_eq!(handle.send("too late"), Err(SendError::NotOpen), "{name}");
    }
    assert_eq!(handle.ping(b"?"), Err(SendError::NotOpen), "{name}");
    assert_eq!(handle.close(CloseCode::NORMAL, ""), Err(SendError::NotOpen), "{name}");
}

#[test]
fn a_handle_says_that_its_connection_has_ended() {
    let (topic, handles) = (Topic::new(), Handles::default());
    let server = testing::Server::new(members(&topic, &handles));
    type End = fn(&mut Client);
    let ways: [(&str, End); 4] = [
        ("a Close", |client| client.close(CloseCode::NORMAL, "")),
        ("a reset", |client| client.cut()),
        ("the end of TCP", |client| client.shut()),
        ("a fault", |client| client.send_bytes(b"\xff\xff")),
    ];
    for (name, end) in ways {
        let mut client = server.connect("/").unwrap();
        let handle = handles.lock().unwrap().pop().unwrap();
        handle.send("in time").unwrap();
        assert_eq!(client.recv_text(), "in time", "{name}");
        end(&mut client);
        server.advance(6 * crate::SECOND);
        is_closed(&handle, name);
        // Nor does it reach who has the place now.
        let mut next = server.connect("/").unwrap();
        assert_eq!((next.id().slot, next.id() != handle.id()), (handle.id().slot, true), "{name}");
        is_closed(&handle, name);
        assert_eq!(next.try_recv(), None, "{name}");
    }
    assert_eq!(server.counters().undelivered.get(), 0);
    let last = server.connect("/").unwrap();
    let handle = handles.lock().unwrap().pop().unwrap();
    server.stop();
    assert!(server.has_stopped());
    is_closed(&handle, "the server has stopped");
    drop((last, server));
    is_closed(&handle, "the server has ended");
}

/// A socket that says what stands in it, and takes everything.
#[derive(Clone, Default)]
struct Says(Rc<RefCell<VecDeque<u8>>>);

impl Read for Says {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.borrow_mut().read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }
}

impl Write for Says {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Says {
    fn shut_write(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The worker is dropped with its connections: nothing has told these of their end.
#[test]
fn handles_and_topics_let_go_of_a_server_that_is_dropped() {
    let (topic, handles) = (Topic::new(), Handles::default());
    let mut server = members(&topic, &handles).unbound(Instant::now(), || ()).unwrap();
    let socket = Says::default();
    let id = server.connect(socket.clone(), ([127, 0, 0, 1], 1).into()).unwrap();
    socket.0.borrow_mut().extend(upgrade("/").bytes());
    server.wake(id, Readiness { readable: true, ..Readiness::default() });
    server.turn();
    let handle = handles.lock().unwrap().pop().unwrap();
    assert_eq!((handle.id(), topic.subscribers()), (id, 1));
    handle.send("in time").unwrap();
    topic.publish("in time").unwrap();
    drop(server);
    is_closed(&handle, "the server was dropped");
    assert_eq!(topic.subscribers(), 0);
    (0..70_000).for_each(|_| _ = topic.publish("to nobody").unwrap());
}
