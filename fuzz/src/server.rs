//! A whole server in memory, and whatever its clients, its application and the clock may do to it.
//!
//! The bytes are a schedule: two choose limits and how connections are made, the rest are steps of a few
//! bytes each. A step connects clients, has them send, stall, break the rules or go, publishes, uses the
//! handles of connections, or moves the clock. What clients receive is checked after each step
//! ([`oracle::Expected`]). At the end everybody reads again, time passes, and nothing may be left over; then
//! the server stops, and all that it held is given back.

mod application;
mod oracle;
pub mod seeds;

use std::{sync::Arc, time::Duration};

use chinwag::{
    CloseCode, Deflate, Frame, Limits, Opcode,
    protocol::{frame::Header, mask::apply_mask},
    testing::{Client, Pending, Server, Stream},
};

use self::{
    application::{HARNESS, MAX_TEXT, Notes, SIZES, Scenario, builder},
    oracle::{Expected, Kind},
};
use super::memory;

/// Whether what one sender posts to the worker's mailbox, by handles and to several topics, has to arrive in
/// that order.
pub const CHECK_CROSS_ORDER: bool = true;

/// Whether publications of one turn have to keep to the bound of a backlog, as all else does. Off: the
/// server looks at the bound between turns.
pub const CHECK_BACKLOG_OF_A_TURN: bool = false;

/// Most steps of a case.
const MAX_STEPS: usize = 300;

/// Bytes that a case may have delivered, where each message counts 64 more.
const FUEL: usize = 400_000;

/// Most connections of a case. Where 32 are the limit, fewer than the 128 that the server refuses with a
/// response are over it.
const MAX_CLIENTS: u32 = 150;

/// How far a step moves the clock: milliseconds.
const TIMES: [u64; 16] = [
    0, 1, 10, 49, 50, 51, 250, 1_000, 4_300, 5_000, 10_000, 20_000, 41_000, 60_000, 600_000,
    10_800_000,
];

/// Plays a case; panics where a promise is broken.
pub fn check(data: &[u8]) {
    let before = memory::held();
    let fingerprint = Run::new(data).play();
    // A thread keeps a compressor from one server to the next. What stays behind each time is a leak.
    let between = memory::held();
    if between != before {
        let again = Run::new(data).play();
        assert_eq!(again, fingerprint, "the same case runs another way the second time");
        assert_eq!(memory::held(), between, "memory: something stays behind");
    }
}

/// A server and those who use it.
struct Run<'a> {
    script: &'a [u8],
    notes: Arc<Notes>,
    scenario: Scenario,
    capacity: usize,
    server: Server,
    connections: Vec<Connection>,
    streams: Vec<Stream>,
    pending: Vec<(u32, Pending)>,
    /// The number of the last client.
    last: u32,
    is_stopped: bool,
    /// Bytes sent by clients, and received by them.
    passed: usize,
    /// Turns and calls of services that what was sent may still take.
    turns_left: u64,
    calls_left: u64,
    /// Allocated before there was a server.
    before: isize,
}

/// A client and what it has yet to receive.
struct Connection {
    client: Client,
    expected: Expected,
    /// The number of the last message.
    sent: u32,
    /// What is left of a frame.
    rest: Vec<u8>,
    /// What is left of a message.
    last_fragment: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    fn new(data: &'a [u8]) -> Self {
        let before = memory::held();
        let mut script = data;
        let [choice, seed] = [next(&mut script), next(&mut script)];
        let small = Limits {
            max_frame: 100_000,
            max_message: 100_000,
            max_backlog: 32 << 10,
            max_backlog_messages: 100,
            pause_reading: 8 << 10,
            resume_reading: 2 << 10,
            ..Limits::default()
        };
        let (limits, max_connections) = match choice % 4 {
            0 => (small, 1_000),
            1 => (Limits { pause_reading: 200, resume_reading: 0, ..small }, 1_000),
            2 => (Limits::default(), 1_000),
            _ => (small, 32),
        };
        let scenario = Scenario {
            limits: limits.clone(),
            max_connections,
            ping_period: (choice & 16 == 0).then_some(Duration::from_secs(20)),
            for_topics: choice & 32 == 0,
        };
        let notes = Arc::new(Notes::new(limits, FUEL));
        let server = Server::with_seed(builder(&scenario, &notes), seed.into());
        Self {
            script,
            notes,
            scenario,
            capacity: [64 << 10, 2_000, 150, 4_000][usize::from(choice / 4 % 4)],
            server,
            connections: Vec::new(),
            streams: Vec::new(),
            pending: Vec::new(),
            last: 0,
            is_stopped: false,
            passed: 0,
            turns_left: 0,
            calls_left: 0,
            before,
        }
    }

    fn byte(&mut self) -> u8 {
        next(&mut self.script)
    }

    /// One of those who are connected.
    fn connection(&mut self) -> Option<&mut Connection> {
        let choice = usize::from(self.byte());
        let count = self.connections.len();
        (count > 0).then(|| &mut self.connections[choice % count])
    }

    fn play(mut self) -> u64 {
        memory::take_peak();
        for _ in 0..MAX_STEPS {
            if self.script.is_empty() {
                break;
            }
            let before = self.work();
            let time = self.step();
            self.look();
            self.check_work(&before, time);
        }
        self.finish()
    }

    // ---- steps ---------------------------------------------------------------------------------

    /// Does the next thing; gives how long that took by the server's clock.
    fn step(&mut self) -> Duration {
        let step = self.byte();
        match step % 32 {
            0..=2 => {
                let route = self.byte();
                self.connect(route);
            }
            3 => {
                let count = self.byte() % 40;
                (0..=count).for_each(|_| self.connect(1));
            }
            4..=8 => self.send(),
            9 => {
                let (choice, count) = (self.byte(), self.byte() % 60);
                self.flood(choice, count);
            }
            10 => {
                // Each sends something before the server has a turn.
                let (command, argument) = (self.byte(), self.byte());
                for connection in &mut self.connections {
                    connection.queue(&[command, argument]);
                }
                self.passed += 40 * self.connections.len();
            }
            11 => self.stall(),
            12 => {
                let bytes = usize::from(self.byte()) * 10;
                if let Some(connection) = self.connection() {
                    connection.expected.is_well_behaved = false;
                    connection.client.read_some(bytes);
                }
            }
            13 => {
                let choice = usize::from(self.byte());
                if let Some(at) = choice.checked_rem(self.connections.len()) {
                    self.read_on(at);
                }
            }
            14 => self.leave(),
            15 => self.break_rules(),
            16 => {
                let text = self.byte();
                if let Some(connection) =
                    self.connection().filter(|connection| connection.client.is_open())
                {
                    connection.complete();
                    if connection.client.is_open() {
                        connection.client.ping(&[text; 5]);
                    }
                }
            }
            17..=19 => {
                let choice = self.byte();
                let size = SIZES[usize::from(choice / 4) % SIZES.len()];
                self.notes.publish(HARNESS, usize::from(choice) % 4, size);
                if choice & 128 != 0 {
                    self.notes.publish(HARNESS, self.script.len() % 4, size);
                }
            }
            20 => {
                let (choice, count) = (self.byte(), self.byte() % 64);
                (0..count).for_each(|_| self.notes.publish(HARNESS, usize::from(choice) % 4, 30));
            }
            21..=23 => self.use_handles(),
            24 | 25 => {
                let choice = self.byte();
                return self.advance(Duration::from_millis(TIMES[usize::from(choice % 8)]));
            }
            26 => {
                let choice = self.byte();
                return self.advance(Duration::from_millis(TIMES[usize::from(choice % 16)]));
            }
            27 => self.decide(),
            28 => {
                let choice = self.byte();
                if let Some(connection) = self.connection() {
                    connection.expected.is_well_behaved = false;
                    match choice % 2 {
                        0 => connection.client.ignore_pings(),
                        _ => connection.client.ignore_close(),
                    }
                }
            }
            29 => self.send_garbage(),
            // What was queued and posted has its turn.
            30 => return self.advance(Duration::ZERO),
            _ => {
                // A stop ends most of what is interesting.
                if self.byte() < 16 {
                    self.pending.clear();
                    self.is_stopped = true;
                    self.server.stop();
                }
            }
        }
        Duration::ZERO
    }

    fn with_connection(&mut self, then: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connection() {
            then(connection);
        }
    }

    fn connect(&mut self, route: u8) {
        if self.is_stopped || self.last >= MAX_CLIENTS {
            return;
        }
        self.last += 1;
        let number = self.last;
        let (path, kind) = match route % 16 {
            0 => ("echo".to_owned(), Kind::Echo),
            1..=4 => ("topic".to_owned(), Kind::Service),
            5 | 6 => ("session".to_owned(), Kind::Session),
            7 => ("split".to_owned(), Kind::Session),
            8 => ("silent".to_owned(), Kind::Silent),
            9 | 10 => ("raw".to_owned(), Kind::Raw),
            11 => (format!("panicking/{}", route / 16 % 6), Kind::Service),
            _ => ("topic".to_owned(), Kind::Service),
        };
        let mut connect = self.server.client().capacity(self.capacity);
        let deflate = Deflate { level: 1, mem_level: 1, min_len: 16, ..Deflate::default() };
        connect = match route / 16 % 4 {
            0 | 1 => connect,
            2 => connect.deflate(deflate),
            _ => connect.deflate(Deflate {
                server_takeover: true,
                server_window_bits: 15,
                client_takeover: true,
                client_window_bits: 9,
                ..deflate
            }),
        };
        let pending = connect.start(&format!("/{path}/{number}"));
        assert!(pending.is_answered(), "the request of client {number} is not answered");
        if let Ok(client) = pending.finish() {
            self.welcome(number, kind, client);
        }
    }

    fn welcome(&mut self, number: u32, kind: Kind, client: Client) {
        let expected = Expected::new(number, kind);
        let (rest, last_fragment) = Default::default();
        self.connections.push(Connection { client, expected, sent: 0, rest, last_fragment });
    }

    /// A client sends a message in one of several ways.
    fn send(&mut self) {
        let [choice, way, size] = [(); 3].map(|()| self.byte());
        let commands: Vec<_> = (0..way / 8 % 4 * 2).map(|_| self.byte()).collect();
        let size = match size % 8 {
            0..=4 => usize::from(size),
            at => SIZES[usize::from(at)],
        };
        let (notes, count) = (Arc::clone(&self.notes), self.connections.len());
        if count == 0 || !notes.afford(size + 64) {
            return;
        }
        self.passed += size + 64;
        let connection = &mut self.connections[usize::from(choice) % count];
        if way % 8 < 7 {
            connection.complete();
        }
        let Some(message) = connection.message(&commands, size) else { return };
        match way % 8 {
            0..=2 => connection.client.send(message),
            3 | 4 => connection.client.queue_bytes(masked(0x82, &message)),
            5 => {
                // Its Pongs would stand within the frame.
                connection.client.ignore_pings();
                connection.expected.is_well_behaved = false;
                let mut wire = masked(0x82, &message);
                connection.rest = wire.split_off(1 + usize::from(size as u8) % (wire.len() - 1));
                connection.client.send_bytes(wire);
            }
            _ if connection.last_fragment.is_some() || !connection.rest.is_empty() => {
                connection.complete();
                connection.client.queue_bytes(masked(0x82, &message));
            }
            _ => {
                let (first, second) = message.split_at(message.len() / 2);
                connection.last_fragment = Some(second.to_vec());
                let mut frame = Frame::new(Opcode::Binary, first);
                frame.fin = false;
                connection.client.send_frame(&frame);
                if connection.client.is_open() {
                    connection.client.ping(b"between");
                }
            }
        }
    }

    /// Many messages in one piece.
    fn flood(&mut self, choice: u8, count: u8) {
        let commands = [self.byte(), self.byte()];
        let members = self.connections.len();
        if members == 0 || !self.notes.afford(usize::from(count) * 128) {
            return;
        }
        self.passed += usize::from(count) * 128;
        let connection = &mut self.connections[usize::from(choice) % members];
        connection.complete();
        let messages: Vec<_> =
            (0..count).map_while(|_| connection.message(&commands, 20)).collect();
        let wire: Vec<_> = messages.iter().flat_map(|message| masked(0x82, message)).collect();
        connection.client.send_bytes(wire);
    }

    fn stall(&mut self) {
        let choice = self.byte();
        let count = if choice >= 240 { self.connections.len() } else { 1 };
        for _ in 0..count {
            self.with_connection(|connection| {
                connection.expected.is_well_behaved = false;
                connection.client.stop_reading();
            });
        }
    }

    /// A client closes, shuts its side, resets TCP, or closes its socket without a Close.
    fn leave(&mut self) {
        let (way, choice) = (self.byte(), usize::from(self.byte()));
        if self.connections.is_empty() {
            return;
        }
        let at = choice % self.connections.len();
        let connection = &mut self.connections[at];
        if way % 4 != 0 {
            connection.expected.is_well_behaved = false;
        }
        match way % 4 {
            0 => connection.close(),
            1 => connection.client.shut(),
            2 => connection.client.cut(),
            _ => drop(self.connections.swap_remove(at)),
        }
    }

    fn break_rules(&mut self) {
        let (choice, own) = (self.byte(), [self.byte(), self.byte(), self.byte()]);
        let wire = match choice % 12 {
            0 => vec![0x81, 0x01, b'a'],
            1 => masked(0x83, b"reserved"),
            2 => masked(0xc1, b"\x07"),
            3 => masked(0x81, b"\xff"),
            4 => vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0],
            5 => masked(0x88, b"\x03\xed"),
            6 => masked(0x88, b"\x01"),
            7 => masked(0x89, &[0; 126]),
            8 => masked(0x80, b"no start"),
            9 => [masked(0x01, b"no end"), masked(0x81, b"")].concat(),
            10 => {
                // It is refused as soon as it is announced.
                let len = self.scenario.limits.max_message as u64 + 1;
                [&[0x82, 0xff][..], &len.to_be_bytes(), &[0; 100]].concat()
            }
            _ => own.to_vec(),
        };
        self.passed += wire.len();
        self.with_connection(|connection| {
            // Within a frame it would be a part of that.
            connection.complete();
            connection.expected.is_spoiled = true;
            connection.client.send_bytes(wire);
        });
    }

    fn use_handles(&mut self) {
        let [choice, to, more] = [(); 3].map(|()| self.byte());
        let to = 1 + u32::from(to) % self.last.max(1);
        let size = SIZES[usize::from(more / 4) % SIZES.len()];
        match choice % 16 {
            0..=5 => self.notes.send_by_handle(HARNESS, to, size),
            6 | 7 => {
                (0..more % 32).for_each(|_| self.notes.send_by_handle(HARNESS, to, 10));
            }
            8 | 9 => {
                self.notes.send_by_handle(HARNESS, to, size);
                self.notes.publish(HARNESS, usize::from(more) % 4, 20);
            }
            10 => {
                self.notes.publish(HARNESS, usize::from(more) % 4, 20);
                self.notes.send_by_handle(HARNESS, to, size);
            }
            11 | 12 => (0..=more % 8).for_each(|_| self.notes.ping_by_handle(to)),
            13 => {
                self.notes.send_by_handle(HARNESS, to, size);
                self.notes.close_by_handle(HARNESS, to);
                self.notes.send_by_handle(HARNESS, to, 10);
            }
            14 => {
                self.notes.publish(HARNESS, usize::from(more) % 4, size);
                self.notes.close_by_handle(HARNESS, to);
                self.notes.publish(HARNESS, usize::from(more) % 4, 20);
            }
            _ => (1..=self.last).for_each(|to| self.notes.send_by_handle(HARNESS, to, 10)),
        }
    }

    /// Moves the clock, less far where many are connected, so that a case costs little.
    fn advance(&mut self, time: Duration) -> Duration {
        let clients = self.connections.len() + self.streams.len() + self.pending.len();
        let most = Duration::from_secs(20 * (400 / (clients as u64 + 1)).max(3));
        let time = if self.scenario.ping_period.is_some() { time.min(most) } else { time };
        self.server.advance(time);
        time
    }

    /// Requests that the application takes its time over.
    fn decide(&mut self) {
        let how = self.byte();
        if how % 4 == 3 && !self.pending.is_empty() {
            self.pending.remove(usize::from(how) % self.pending.len());
        } else if !self.is_stopped && self.last < MAX_CLIENTS {
            self.last += 1;
            let connect = self.server.client().capacity(self.capacity);
            self.pending.push((self.last, connect.start(&format!("/decide/{how}/{}", self.last))));
        }
    }

    /// Somebody connects and sends what is no WebSocket.
    fn send_garbage(&mut self) {
        let (choice, own) = (self.byte(), [self.byte(), self.byte()]);
        if self.is_stopped || self.last >= MAX_CLIENTS {
            return;
        }
        self.last += 1;
        let mut stream = self.server.open();
        match choice % 4 {
            0 => stream.send_bytes(own),
            1 => stream.send_bytes("GET /topic/7 HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso"),
            2 => stream.send_bytes("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            _ => {}
        }
        self.streams.push(stream);
    }

    // ---- what holds ----------------------------------------------------------------------------

    /// Receives what there is, and checks what holds after each step.
    fn look(&mut self) {
        let answered = self.pending.extract_if(.., |(_, pending)| pending.is_answered());
        for (number, pending) in answered.collect::<Vec<_>>() {
            if let Ok(client) = pending.finish() {
                self.welcome(number, Kind::Echo, client);
            }
        }
        for Connection { client, expected, .. } in &mut self.connections {
            while let Some(message) = client.try_recv() {
                self.passed += expected.receive(&message, &self.notes);
            }
            if let Some(reason) = client.close_reason() {
                expected.end(&reason, self.is_stopped, &self.notes);
            }
        }
        let state = self.notes.lock();
        assert!(state.faults.is_empty(), "{}", state.faults.join("\n"));
        let panics = self.server.counters().panics.get();
        assert_eq!(panics, state.panics, "panics that are counted, and that were asked for");
        drop(state);
        self.check_memory();
    }

    /// §10.4: what is held is bounded by the connections and by what was sent.
    fn check_memory(&self) {
        let connections = self.connections.len() + self.streams.len() + self.pending.len();
        let sent = self.notes.lock().bytes + self.passed;
        let most = MEMORY + MEMORY_EACH * connections + 4 * sent;
        let held = memory::take_peak() - self.before;
        assert!(held <= most as isize, "memory: {held} bytes were held, and {most} may be");
    }

    /// What was done so far.
    fn work(&self) -> Work {
        let state = self.notes.lock();
        Work {
            turns: self.server.turns(),
            calls: state.calls,
            bytes: state.bytes + self.passed,
            connections: self.last,
        }
    }

    /// What a step costs is proportional to what was sent and received in it, and to time and connections.
    fn check_work(&mut self, before: &Work, time: Duration) {
        let after = self.work();
        let (turns, calls) = (after.turns - before.turns, after.calls - before.calls);
        let bytes = (after.bytes - before.bytes) as u64;
        let new = u64::from(after.connections - before.connections);
        // Deadlines of connections are ten seconds at the least.
        let deadlines = match time {
            Duration::ZERO => 0,
            _ => u64::from(after.connections + 1) * (time.as_secs() / 10 + 4),
        };
        // What is only queued in one step is served in a later one.
        self.turns_left += 16 * new + 4 * bytes / self.capacity as u64;
        self.calls_left += bytes / 16;
        // A turn that has much to deliver serves one connection, and so perhaps one call.
        let more_turns = turns.saturating_sub(64 + deadlines + calls);
        let more_calls = calls.saturating_sub(64 + deadlines + 4 * u64::from(after.connections));
        assert!(
            more_turns <= self.turns_left && more_calls <= self.calls_left,
            "work: {turns} turns and {calls} calls in a step, {more_turns} and {more_calls} of them for \
             what was sent, which may take {} and {}",
            self.turns_left,
            self.calls_left
        );
        self.turns_left -= more_turns;
        self.calls_left -= more_calls;
    }

    /// A client reads again: no more may have waited for it than a backlog, and one text on top.
    fn read_on(&mut self, at: usize) {
        self.server.advance(Duration::ZERO);
        self.look();
        let Connection { client, expected, .. } = &mut self.connections[at];
        let is_idle =
            expected.unanswered.is_empty() && matches!(expected.kind, Kind::Echo | Kind::Service);
        expected.published = self.notes.last_offsets();
        expected.waited = 0;
        client.read_on();
        let mut received = 0;
        while let Some(message) = client.try_recv() {
            received += expected.receive(&message, &self.notes);
        }
        self.passed += received;
        let most = self.capacity + self.scenario.limits.max_backlog + MAX_TEXT;
        let waited = match (is_idle, CHECK_BACKLOG_OF_A_TURN) {
            (true, _) => received,
            (false, true) => expected.waited,
            (false, false) => 0,
        };
        assert!(
            waited <= most,
            "memory: {waited} bytes waited for client {}, and {most} may",
            expected.number
        );
    }

    // ---- the end -------------------------------------------------------------------------------

    /// Everybody reads, time passes, and nobody is left over; then the server stops.
    fn finish(mut self) -> u64 {
        for at in 0..self.connections.len() {
            self.read_on(at);
            self.connections[at].complete();
        }
        self.streams.iter_mut().for_each(Stream::read_on);
        self.look();
        for _ in 0..3 {
            self.server.advance(Duration::from_secs(5));
            self.look();
        }
        assert!(self.pending.is_empty(), "a request is not answered within 15 s");
        if !self.is_stopped {
            self.check_quiet();
        }

        self.server.stop();
        self.is_stopped = true;
        self.look();
        self.server.advance(Duration::from_secs(5));
        self.look();
        assert!(self.server.has_stopped(), "the server has not stopped within 5 s");
        assert_eq!(self.server.connections(), 0, "connections of a server that has stopped");
        for (number, topic) in self.notes.topics.iter().enumerate() {
            assert_eq!(
                topic.subscribers(),
                0,
                "subscribers of topic {number}, whose server has stopped"
            );
        }
        for connection in &self.connections {
            assert!(
                connection.client.has_ended(),
                "client {} reads, and its server has stopped without an end",
                connection.expected.number
            );
        }
        // Nothing comes of a handle whose server is gone, nor of publications.
        for to in 1..=self.last {
            self.notes.send_by_handle(HARNESS, to, 10);
            self.notes.ping_by_handle(to);
            self.notes.close_by_handle(HARNESS, to);
        }
        (0..4).for_each(|topic| self.notes.publish(HARNESS, topic, 10));
        self.server.advance(Duration::from_secs(1));
        self.look();
        self.server.fingerprint()
    }

    /// Nobody who is open and reads is left without what they have yet to receive, and nobody else is left.
    fn check_quiet(&mut self) {
        for connection in &mut self.connections {
            if connection.client.is_open() && !connection.expected.is_spoiled {
                // The service reports what was missed.
                if let Some(message) = connection.message(&[7, 0], 0) {
                    connection.client.send(message);
                }
            }
        }
        self.server.advance(Duration::from_millis(100));
        self.look();
        let mut open = 0..0;
        for Connection { client, expected, .. } in &mut self.connections {
            let number = expected.number;
            match (client.is_open(), expected.is_spoiled) {
                (true, false) if !client.has_ended() => {
                    assert_eq!(client.unsent(), 0, "client {number} is open, and is not read");
                    expected.check_complete(&self.notes);
                    let rest = client.recv_bytes();
                    assert!(
                        rest.is_empty(),
                        "client {number} receives no more than a part: {rest:?}"
                    );
                    open = open.start + 1..open.end + 1;
                }
                // It may wait for the rest of what it takes for a frame.
                (true, true) if !client.has_ended() => open.end += 1,
                _ => assert!(
                    client.has_ended(),
                    "client {number} has closed, and its connection has not ended: {:?}",
                    client.close_reason()
                ),
            }
        }
        for stream in &self.streams {
            assert!(stream.has_ended(), "a request that is none is not ended in time");
        }
        let connections = self.server.connections() as usize;
        assert!(
            (open.start..=open.end).contains(&connections),
            "the server has {connections} connections, and {open:?} are open"
        );
    }
}

/// Bytes that a server holds whatever happens: its read buffer, and spare memory.
const MEMORY: usize = 2 << 20;

/// Bytes that a connection holds, with its client: its windows for the most part.
const MEMORY_EACH: usize = 32 << 10;

/// What a server has done.
struct Work {
    turns: u64,
    /// Of services.
    calls: u64,
    /// Sent by its clients and its application, and received.
    bytes: usize,
    /// Connections made.
    connections: u32,
}

impl Connection {
    /// The next message, where one may be sent: its number, the count of its commands, the commands, and
    /// padding to `size` bytes.
    fn message(&mut self, commands: &[u8], size: usize) -> Option<Vec<u8>> {
        if !self.client.is_open() || self.expected.is_spoiled {
            return None;
        }
        self.sent += 1;
        let mut message = self.sent.to_le_bytes().to_vec();
        message.push((commands.len() / 2) as u8);
        message.extend_from_slice(commands);
        message.resize(message.len().max(size), self.sent as u8);
        let kept = if self.expected.kind == Kind::Echo { message.clone() } else { Vec::new() };
        if self.expected.kind != Kind::Silent {
            self.expected.unanswered.push_back((self.sent, kept));
        }
        Some(message)
    }

    /// Sends a short message with the next turn.
    fn queue(&mut self, commands: &[u8]) {
        if self.rest.is_empty()
            && self.last_fragment.is_none()
            && let Some(message) = self.message(commands, 0)
        {
            self.client.queue_bytes(masked(0x82, &message));
        }
    }

    /// Sends what is left of the last frame or message.
    fn complete(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        let last_fragment = self.last_fragment.take();
        if self.expected.is_spoiled {
            return;
        }
        if !rest.is_empty() {
            self.client.send_bytes(rest);
        }
        if let Some(last_fragment) = last_fragment {
            self.client.send_bytes(masked(0x80, &last_fragment));
        }
    }

    fn close(&mut self) {
        self.complete();
        if self.client.is_open() {
            self.client.close(CloseCode::NORMAL, "enough");
        }
    }
}

/// The next byte of a script; 0 behind its end.
fn next(script: &mut &[u8]) -> u8 {
    script.split_off_first().copied().unwrap_or_default()
}

/// A frame with this first byte, masked with a key of its own.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, payload.len() as u8];
    let header = Header::new(Opcode::Binary, payload.len() as u64).with_masking_key(Some(key));
    let mut wire = Vec::with_capacity(payload.len() + 14);
    header.append_to(&mut wire);
    wire[0] = first;
    let start = wire.len();
    wire.extend_from_slice(payload);
    apply_mask(&mut wire[start..], key, 0);
    wire
}
