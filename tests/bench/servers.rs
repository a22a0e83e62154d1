//! What `chinwag bench` is tested against.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use chinwag::{CloseCode, Deflate, Message, Peer, Request, Router, Server, Service, Topic};

/// A server whose paths do what their names say.
pub fn echoing() -> chinwag::ServerBuilder {
    let router = Router::new()
        .service("/echo", |_: &Request<'_>| Echo)
        .service("/closing", |_: &Request<'_>| Closing { after: 0 })
        .service("/upper", |_: &Request<'_>| Altering(|text| text.to_uppercase()))
        .service("/longer", |_: &Request<'_>| Altering(|text| format!("{text}!")));
    let count = AtomicU32::new(0);
    let router = router.service("/mostly", move |_: &Request<'_>| {
        let is_tenth = count.fetch_add(1, Ordering::Relaxed) % 10 == 9;
        Closing { after: if is_tenth { 20 } else { u32::MAX } }
    });
    let router = room(router, "/plain", |_, text| vec![text]);
    let router = room(router, "/json", |_, text| {
        vec![format!(r#"{{"type":"message","from":"caff\u00e9","text":"{text}","id":7}}"#)]
    });
    let router = room(router, "/losing", |n, text| if n % 10 == 3 { vec![] } else { vec![text] });
    let router =
        room(
            router,
            "/repeating",
            |n, text| {
                if n % 10 == 3 { vec![text.clone(), text] } else { vec![text] }
            },
        );
    let held = Mutex::new(None);
    let router = room(router, "/swapping", move |n, text| {
        if n % 10 == 3 {
            *held.lock().unwrap() = Some(text);
            return vec![];
        }
        [text].into_iter().chain(held.lock().unwrap().take()).collect()
    });
    let others = Arc::new(Mutex::new(Vec::new()));
    let router = router.service("/others", move |_: &Request<'_>| Others(Arc::clone(&others)));
    // A thread of members that gets no processor for a while is not what these tests are about.
    let limits = chinwag::Limits {
        max_backlog_messages: usize::MAX,
        max_frame: 2 << 20,
        max_message: 2 << 20,
        max_backlog: 32 << 20,
        ..Default::default()
    };
    Server::builder().router(router).limits(limits).deflate(Deflate::default()).workers(1)
}

/// A room at `path`; `make` gets the number of each text and the text, and gives what is published.
pub fn room(
    router: Router,
    path: &str,
    make: impl Fn(u32, String) -> Vec<String> + Send + Sync + 'static,
) -> Router {
    let (topic, make, count) = (Topic::new(), Arc::new(make), Arc::new(AtomicU32::new(0)));
    router.service(path, move |_: &Request<'_>| Room {
        topic: topic.clone(),
        make: Arc::clone(&make),
        count: Arc::clone(&count),
    })
}

struct Room<F> {
    topic: Topic,
    make: Arc<F>,
    count: Arc<AtomicU32>,
}

impl<F: Fn(u32, String) -> Vec<String> + Send + Sync + 'static> Service for Room<F> {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        peer.subscribe(&self.topic);
    }

    fn message(&mut self, _peer: &mut Peer<'_>, message: Message<'_>) {
        let Message::Text(text) = message else { return };
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        for text in (self.make)(number, text.to_string()) {
            self.topic.publish(&*text).unwrap();
        }
    }
}

/// Sends every message to everyone but its sender.
struct Others(Arc<Mutex<Vec<chinwag::PeerHandle>>>);

impl Service for Others {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.0.lock().unwrap().push(peer.handle());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Message::Text(text) = message else { return };
        for other in &*self.0.lock().unwrap() {
            if other.id() != peer.id() {
                other.send(&*text).ok();
            }
        }
    }
}

pub struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

/// An echo that counts who comes and what comes.
pub struct Counting(pub Arc<AtomicU32>);

impl Service for Counting {
    fn opened(&mut self, _peer: &mut Peer<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        peer.send(message).ok();
    }
}

/// An echo that stands still for 300 ms, with all its worker has, at the hundredth message.
pub struct Pausing(pub Arc<AtomicU32>);

impl Service for Pausing {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        if self.0.fetch_add(1, Ordering::Relaxed) == 100 {
            thread::sleep(Duration::from_millis(300));
        }
        peer.send(message).ok();
    }
}

/// Answers with another text.
struct Altering(fn(&str) -> String);

impl Service for Altering {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Message::Text(text) = message else { return };
        peer.send(&*(self.0)(&text)).ok();
    }
}

/// An echo that closes after some messages.
struct Closing {
    after: u32,
}

impl Service for Closing {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        if self.after == 0 {
            peer.close(CloseCode(4001), "not today").ok();
            return;
        }
        self.after -= 1;
        peer.send(message).ok();
    }
}
