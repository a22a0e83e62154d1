//! What the server of the target serves: services that carry out the commands in a message, and record
//! what the oracle cannot see from outside.
//!
//! Every text starts with its kind and the fields of that, parted by dots, then a space and padding that
//! follows from them:
//!
//! | kind | fields | what it is |
//! |---|---|---|
//! | `T` | topic, offset, source, sequence | a publication |
//! | `R` | message, sequence | the answer to a message, the last of what it causes |
//! | `X` | sequence | something sent beside that |
//! | `H` | source, sequence | sent by a handle |
//! | `S` | topic, offset | the sender is subscribed from behind this offset |
//! | `U` | topic, offset | it is subscribed up to this offset, and no more |
//! | `M` | topic, count | so many publications were missed |
//!
//! A source is the number of a client, whose service did it, or 0 for the harness. Its sequence grows with
//! everything that it sends or publishes.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chinwag::{
    Answer, CloseCode, CloseReason, Deflate, Frame, Lag, Limits, Message, Opcode, OwnedRequest,
    Peer, PeerHandle, Request, Route, Server, ServerBuilder, Service, Session, Timeouts, Topic,
    TopicDeflate,
    session::{self, sleep},
};

/// How many topics there are. Those with odd numbers skip members that do not keep up; those from 2 on
/// compress.
pub const TOPICS: usize = 4;

/// Sizes of what is sent and published: around each length's encoding, and around what is copied.
pub const SIZES: [usize; 8] = [0, 60, 125, 126, 700, 3_000, 16_400, 66_000];

/// The largest text that anybody sends or publishes, with its head.
pub const MAX_TEXT: usize = 66_000;

/// The harness as a source.
pub const HARNESS: u32 = 0;

/// What services and the harness share.
pub struct Notes {
    pub topics: [Topic; TOPICS],
    pub limits: Limits,
    state: Mutex<State>,
}

/// What they note.
#[derive(Default)]
pub struct State {
    pub handles: HashMap<u32, PeerHandle>,
    /// By receiver: what handles were asked to do and accepted, in this order.
    pub posted: HashMap<u32, VecDeque<Posted>>,
    /// The last offset of each topic when somebody closed with this reason.
    pub closes: HashMap<String, [u64; TOPICS]>,
    sequences: HashMap<u32, u64>,
    /// Panics that were asked for.
    pub panics: u64,
    /// Calls of services.
    pub calls: u64,
    /// What services found to be wrong.
    pub faults: Vec<String>,
    /// Work left to this case: about the bytes to deliver.
    pub fuel: usize,
    /// Bytes made so far, of all texts.
    pub bytes: usize,
}

/// What a handle was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    Send(u32, u64),
    Close(u32, u64),
}

impl Notes {
    pub fn new(limits: Limits, fuel: usize) -> Self {
        let settings = || TopicDeflate {
            level: 1,
            mem_level: 1,
            window_bits: 9,
            min_len: 16,
            reset_after: 8,
            min_members: 2,
        };
        let topics = [
            Topic::new(),
            Topic::new().with_lag(Lag::Skip),
            Topic::compressed(settings()),
            Topic::compressed(settings()).with_lag(Lag::Skip),
        ];
        Self { topics, limits, state: Mutex::new(State { fuel, ..State::default() }) }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn last_offsets(&self) -> [u64; TOPICS] {
        [0, 1, 2, 3].map(|topic| self.topics[topic].last_offset())
    }

    /// Takes `work` from what is left, where that much is.
    pub fn afford(&self, work: usize) -> bool {
        let mut state = self.lock();
        let left = state.fuel.checked_sub(work);
        state.fuel = left.unwrap_or(state.fuel);
        left.is_some()
    }

    fn next(&self, source: u32) -> u64 {
        let mut state = self.lock();
        let sequence = state.sequences.entry(source).or_default();
        *sequence += 1;
        *sequence
    }

    fn fault(&self, what: String) {
        self.lock().faults.push(what);
    }

    /// A text of `size` bytes, or as many as its head takes.
    fn text(&self, head: String, size: usize) -> String {
        let text = pad(head, size);
        self.lock().bytes += text.len();
        text
    }

    /// Publishes to a topic.
    pub fn publish(&self, source: u32, topic: usize, size: usize) {
        let members = self.topics[topic].subscribers();
        if !self.afford((members + 1) * (64 + size)) {
            return;
        }
        let (offset, sequence) = (self.topics[topic].last_offset() + 1, self.next(source));
        let text = self.text(format!("T.{topic}.{offset}.{source}.{sequence}"), size);
        match self.topics[topic].publish(text) {
            Ok(got) if got == offset => {}
            result => {
                self.fault(format!("the publication {offset} of topic {topic} gave {result:?}"))
            }
        }
    }

    /// Sends by the handle of the client `to`, where that has had one.
    pub fn send_by_handle(&self, source: u32, to: u32, size: usize) {
        let Some(handle) = self.lock().handles.get(&to).cloned() else { return };
        if !self.afford(64 + size) {
            return;
        }
        let sequence = self.next(source);
        if handle.send(self.text(format!("H.{source}.{sequence}"), size)).is_ok() {
            self.lock().posted.entry(to).or_default().push_back(Posted::Send(source, sequence));
        }
    }

    pub fn ping_by_handle(&self, to: u32) {
        if let Some(handle) = self.lock().handles.get(&to).cloned() {
            handle.ping(b"of a handle").ok();
        }
    }

    pub fn close_by_handle(&self, source: u32, to: u32) {
        let Some(handle) = self.lock().handles.get(&to).cloned() else { return };
        let (sequence, offsets) = (self.next(source), self.last_offsets());
        let reason = format!("C.{source}.{sequence}");
        if handle.close(CloseCode(4_000), &reason).is_ok() {
            let mut state = self.lock();
            state.closes.insert(reason, offsets);
            state.posted.entry(to).or_default().push_back(Posted::Close(source, sequence));
        }
    }

    /// Panics as asked, without a word on standard error.
    fn panic(&self) -> ! {
        self.lock().panics += 1;
        resume_unwind(Box::new("as asked"))
    }
}

/// `head`, a space, and padding up to `size` bytes.
pub fn pad(mut head: String, size: usize) -> String {
    let seed = head.len();
    head.push(' ');
    let padding =
        (head.len()..size).map(|at| char::from(b'a' + (at * at / 7 + at + seed) as u8 % 26));
    head.extend(padding);
    head
}

/// The settings of a server.
pub struct Scenario {
    pub limits: Limits,
    pub max_connections: usize,
    pub ping_period: Option<Duration>,
    /// Whether windows are left to topics.
    pub for_topics: bool,
}

/// The server's routes. The parameter `n` is the number of the client.
pub fn builder(scenario: &Scenario, notes: &Arc<Notes>) -> ServerBuilder {
    let deflate = Deflate {
        level: 1,
        mem_level: 1,
        min_len: 16,
        raw: true,
        server_takeover: true,
        server_window_bits: if scenario.for_topics { 15 } else { 9 },
        client_window_bits: 9,
        for_topics: scenario.for_topics,
        max_takeovers: 4,
        ..Deflate::default()
    };
    let actor = |notes: &Arc<Notes>, is_raw| {
        let notes = Arc::clone(notes);
        move |request: &Request<'_>| Actor::new(&notes, request, is_raw)
    };
    let [deciding, panicking, serving, split, silent] = [(); 5].map(|()| Arc::clone(notes));
    Server::builder()
        .limits(scenario.limits.clone())
        .max_connections(scenario.max_connections)
        // The clock goes on for hours while a frame waits for its rest.
        .timeouts(Timeouts { message: Duration::MAX, ..Timeouts::default() })
        .ping_period(scenario.ping_period)
        .deflate(deflate)
        .service("/echo/{n}", {
            let notes = Arc::clone(notes);
            move |request: &Request<'_>| Echo(Actor::new(&notes, request, false))
        })
        .service("/topic/{n}", actor(notes, false))
        .service_raw("/raw/{n}", actor(notes, true))
        .service("/panicking/{place}/{n}", move |request: &Request<'_>| {
            let place = request.param("place").and_then(|place| place.parse().ok()).unwrap_or(0);
            if place == 0 {
                panicking.panic();
            }
            Panicking { actor: Actor::new(&panicking, request, false), place }
        })
        .route(
            "/decide/{how}/{n}",
            Route::deciding(move |request: OwnedRequest| decide(Arc::clone(&deciding), request)),
        )
        .websocket("/session/{n}", move |session: Session| serve(Arc::clone(&serving), session))
        .websocket("/split/{n}", move |session: Session| part(Arc::clone(&split), session))
        .websocket("/silent/{n}", move |session: Session| {
            receive_nothing(Arc::clone(&silent), session)
        })
}

/// Carries out the commands of messages.
struct Actor {
    notes: Arc<Notes>,
    number: u32,
    is_subscribed: [bool; TOPICS],
    /// How often it may still read nothing for a while.
    pauses: u32,
    is_raw: bool,
    /// Raw mode: what came of a message that is not whole yet.
    partial: Vec<u8>,
    /// Raw mode: the last fragment of its own message is yet to come.
    is_between_fragments: bool,
}

/// What a message comes to.
#[derive(Default)]
struct Outcome {
    answer: Option<String>,
    /// How long its sender waits.
    pause: Option<Duration>,
    /// Raw mode: the answer is to be left without its last fragment.
    is_left_open: bool,
}

impl Actor {
    fn new(notes: &Arc<Notes>, request: &Request<'_>, is_raw: bool) -> Self {
        let number = request.param("n").and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
        Self {
            notes: Arc::clone(notes),
            number,
            is_subscribed: [false; TOPICS],
            pauses: 2,
            is_raw,
            partial: Vec::new(),
            is_between_fragments: false,
        }
    }

    /// What holds whenever a service is called.
    fn enter(&mut self, peer: &Peer<'_>) {
        self.notes.lock().calls += 1;
        let (waits, most) = (peer.buffered(), self.notes.limits.max_backlog + MAX_TEXT + 20);
        if waits > most {
            self.notes.fault(format!(
                "memory: {waits} bytes wait for client {}, and {most} may",
                self.number
            ));
        }
    }

    fn say(&mut self, peer: &mut Peer<'_>, text: &str) {
        if self.is_raw {
            self.end_fragments(peer);
            peer.send_frame(Frame::new(Opcode::Text, text.as_bytes())).ok();
        } else {
            peer.send(text).ok();
        }
    }

    /// Raw mode: ends a message that it has left open.
    fn end_fragments(&mut self, peer: &mut Peer<'_>) {
        if std::mem::take(&mut self.is_between_fragments) {
            peer.send_frame(Frame::new(Opcode::Continuation, b"")).ok();
        }
    }

    fn report_missed(&mut self, peer: &mut Peer<'_>) {
        for topic in 0..TOPICS {
            if self.is_subscribed[topic] {
                let count = peer.missed(&self.notes.topics[topic]);
                if count > 0 {
                    self.say(peer, &pad(format!("M.{topic}.{count}"), 0));
                }
            }
        }
    }

    fn subscribe(&mut self, peer: &mut Peer<'_>, topic: usize, is_after: bool) {
        let Notes { topics, .. } = &*self.notes;
        let last = topics[topic].last_offset();
        let was_subscribed = self.is_subscribed[topic];
        if is_after && !was_subscribed && last > 0 {
            let missed =
                peer.subscribe_after(&topics[topic], last - 1).map_err(|missed| missed.last);
            if missed != Err(last) {
                self.notes
                    .fault(format!("to subscribe after {} of {last} gave {missed:?}", last - 1));
            }
        }
        let after = match is_after {
            true => peer.subscribe_after(&topics[topic], last).map(|()| last),
            false => Ok(peer.subscribe(&topics[topic])),
        };
        if !was_subscribed && after != Ok(last) {
            self.notes.fault(format!("to subscribe at offset {last} gave {after:?}"));
        }
        if !was_subscribed {
            self.is_subscribed[topic] = true;
            self.say(peer, &pad(format!("S.{topic}.{last}"), 0));
        }
    }

    fn unsubscribe(&mut self, peer: &mut Peer<'_>, topic: usize) {
        if self.is_subscribed[topic] {
            self.report_missed(peer);
        }
        let last = self.notes.topics[topic].last_offset();
        peer.unsubscribe(&self.notes.topics[topic]);
        if std::mem::take(&mut self.is_subscribed[topic]) {
            self.say(peer, &pad(format!("U.{topic}.{last}"), 0));
        }
    }

    /// Carries out the commands of a message: behind its number come a count of commands, the commands, and padding.
    fn obey(&mut self, peer: &mut Peer<'_>, message: &[u8]) -> Outcome {
        let mut outcome = Outcome::default();
        let Some((number, [count, rest @ ..])) = message.split_first_chunk() else {
            return outcome;
        };
        let number = u32::from_le_bytes(*number);
        let mut size = 0;
        if self.is_raw {
            self.end_fragments(peer);
        }
        for &[command, argument] in rest.as_chunks().0.iter().take((*count).into()) {
            let topic = usize::from(argument) % TOPICS;
            let len = SIZES[usize::from(argument) / TOPICS % 5];
            let notes = Arc::clone(&self.notes);
            let other = u32::from(argument);
            match command {
                255 => notes.panic(),
                254 => {
                    let reason = format!("D.{number}.{}", self.number);
                    let offsets = notes.last_offsets();
                    if peer.close(CloseCode(4_001), &reason).is_ok() {
                        notes.lock().closes.insert(reason, offsets);
                    }
                    return outcome;
                }
                253 => notes.close_by_handle(self.number, self.number),
                252 => notes.close_by_handle(self.number, other),
                _ => match command % 16 {
                    0..=2 => self.subscribe(peer, topic, command % 16 == 2),
                    3 => self.unsubscribe(peer, topic),
                    4 | 5 => notes.publish(self.number, topic, len),
                    6 => {
                        let len = SIZES[usize::from(argument) / 16 % 6];
                        (0..=argument % 16).for_each(|_| notes.publish(self.number, topic, len));
                    }
                    7 => self.report_missed(peer),
                    8 => notes.send_by_handle(self.number, self.number, len),
                    9 => {
                        notes.send_by_handle(self.number, self.number, len);
                        notes.publish(self.number, topic, 20);
                    }
                    10 => notes.send_by_handle(self.number, other, len),
                    11 => {
                        peer.ping(&[argument]).ok();
                    }
                    12 if self.pauses > 0 => {
                        self.pauses -= 1;
                        outcome.pause = Some(Duration::from_millis(u64::from(argument) * 10));
                    }
                    12 => {}
                    13 => {
                        for _ in 0..=argument % 4 {
                            if notes.afford(64 + len) {
                                let sequence = notes.next(self.number);
                                let text = notes.text(format!("X.{sequence}"), len);
                                self.say(peer, &text);
                            }
                        }
                    }
                    14 => size = SIZES[usize::from(argument) % SIZES.len()],
                    _ if self.is_raw => outcome.is_left_open = true,
                    _ => {
                        let (source, wait) = (self.number, u64::from(argument));
                        let publishing = async move {
                            sleep(Duration::from_millis(wait)).await;
                            notes.publish(source, topic, 20);
                        };
                        peer.tasks().spawn(publishing).detach();
                    }
                },
            }
        }
        if !self.notes.afford(64 + size) {
            size = 0;
        }
        let sequence = self.notes.next(self.number);
        outcome.answer = Some(self.notes.text(format!("R.{number}.{sequence}"), size));
        outcome
    }

    /// Answers a message, where that is not left to a session.
    fn answer(&mut self, peer: &mut Peer<'_>, message: &[u8]) {
        let Outcome { answer, pause, is_left_open } = self.obey(peer, message);
        match answer {
            Some(answer) if is_left_open => {
                let mut start = Frame::new(Opcode::Text, answer.as_bytes());
                start.fin = false;
                self.is_between_fragments = peer.send_frame(start).is_ok();
            }
            Some(answer) => self.say(peer, &answer),
            None => {}
        }
        if let Some(pause) = pause {
            peer.pause_reading();
            let (id, tasks) = (peer.id(), peer.tasks());
            let waking = {
                let tasks = peer.tasks();
                async move {
                    sleep(pause).await;
                    tasks.call(id);
                }
            };
            tasks.spawn(waking).detach();
        }
    }
}

impl Service for Actor {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.enter(peer);
        self.notes.lock().handles.insert(self.number, peer.handle());
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.enter(peer);
        self.answer(peer, message.as_bytes());
    }

    fn frame(&mut self, peer: &mut Peer<'_>, frame: Frame<'_>) {
        self.enter(peer);
        match frame.opcode {
            Opcode::Ping => {
                peer.send_frame(Frame::new(Opcode::Pong, &frame.payload)).ok();
            }
            Opcode::Pong => {}
            Opcode::Close => {
                self.end_fragments(peer);
                peer.close(CloseCode::NORMAL, "").ok();
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                self.partial.extend_from_slice(&frame.payload);
                if frame.fin {
                    let message = std::mem::take(&mut self.partial);
                    self.answer(peer, &message);
                }
            }
        }
    }

    fn drained(&mut self, peer: &mut Peer<'_>) {
        self.enter(peer);
        // What it sends would end the message that it has left open.
        if !self.is_between_fragments {
            self.report_missed(peer);
        }
    }

    fn woken(&mut self, peer: &mut Peer<'_>) {
        self.enter(peer);
        peer.resume_reading();
    }
}

/// Answers with the same.
struct Echo(Actor);

impl Service for Echo {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.0.opened(peer);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.0.enter(peer);
        peer.send(message).ok();
    }
}

/// Panics in one place.
struct Panicking {
    actor: Actor,
    place: u8,
}

impl Panicking {
    fn at(&self, place: u8) {
        if place == self.place {
            self.actor.notes.panic();
        }
    }
}

impl Service for Panicking {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        self.actor.opened(peer);
        self.actor.subscribe(peer, 0, false);
        self.at(1);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        self.actor.message(peer, message);
        self.at(2);
    }

    fn drained(&mut self, peer: &mut Peer<'_>) {
        self.actor.drained(peer);
        self.at(3);
    }

    fn woken(&mut self, peer: &mut Peer<'_>) {
        self.actor.woken(peer);
    }

    fn closed(&mut self, _: &CloseReason) {
        self.at(4);
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        self.at(5);
    }
}

/// Decides on a request after a while.
async fn decide(notes: Arc<Notes>, request: OwnedRequest) -> Result<Echo, Answer> {
    let how = request.as_request().param("how").and_then(|how| how.parse().ok()).unwrap_or(0u64);
    sleep(Duration::from_millis(how / 4 * 80)).await;
    match how % 4 {
        0 => Err(Answer::text(403, "no")),
        1 if how > 200 => notes.panic(),
        _ => Ok(Echo(Actor::new(&notes, &request.as_request(), false))),
    }
}

/// A session that carries out the commands of messages.
async fn serve(notes: Arc<Notes>, mut session: Session) -> session::Result {
    let mut actor = Actor::new(&notes, &session.request(), false);
    notes.lock().handles.insert(actor.number, session.handle());
    while let Some(message) = session.recv().await {
        let asked = obey_by(&session, actor, message);
        let (back, Outcome { answer, pause, .. }) = asked.await?;
        actor = back;
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        if let Some(answer) = answer {
            session.send(answer).await?;
        }
    }
    Ok(())
}

/// Lends `actor` to a call of its connection.
fn obey_by(
    sender: &session::Sender,
    mut actor: Actor,
    message: Message<'static>,
) -> impl Future<Output = Result<(Actor, Outcome), chinwag::SendError>> {
    sender.ask(move |peer| {
        actor.enter(peer);
        let outcome = actor.obey(peer, message.as_bytes());
        (actor, outcome)
    })
}

/// As [`serve`], while a second task sends something now and then.
async fn part(notes: Arc<Notes>, session: Session) -> session::Result {
    let mut actor = Actor::new(&notes, &session.request(), false);
    notes.lock().handles.insert(actor.number, session.handle());
    let (sender, mut receiver) = session.split();
    let (writer, number) = (sender.clone(), actor.number);
    let _writing = sender.spawn(async move {
        for wait in [0, 1, 10, 100, 1_000] {
            sleep(Duration::from_millis(wait)).await;
            if !notes.afford(1_064) {
                return;
            }
            let sequence = notes.next(number);
            if writer.send(notes.text(format!("X.{sequence}"), 1_000)).await.is_err() {
                return;
            }
        }
    });
    while let Some(message) = receiver.recv().await {
        let (back, Outcome { answer, pause, .. }) = obey_by(&sender, actor, message).await?;
        actor = back;
        if let Some(pause) = pause {
            sleep(pause).await;
        }
        if let Some(answer) = answer {
            sender.send(answer).await?;
        }
    }
    Ok(())
}

/// A session that receives nothing for a second, and then never.
async fn receive_nothing(notes: Arc<Notes>, session: Session) -> session::Result {
    let actor = Actor::new(&notes, &session.request(), false);
    notes.lock().handles.insert(actor.number, session.handle());
    sleep(Duration::from_secs(1)).await;
    let (sender, receiver) = session.split();
    drop(receiver);
    sender.ended().await;
    Ok(())
}
