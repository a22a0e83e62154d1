//! What a worker's own tables cost at a million connections: resident bytes each, and processor time
//! for a publication to all, for Pings that are due for all, for joining and for leaving at that size.
//!
//! ```text
//! cargo bench --bench million               10,000, 100,000 and 1,000,000
//! cargo bench --bench million -- COUNT      a hundredth, a tenth, and COUNT
//! ```
//!
//! There is no socket and no system call: the worker is the real one, and what it reads from and writes
//! to is a number of four bytes, as a socket's is. So these figures are the library's alone; what the
//! system keeps for a socket comes on top. Each size is a process of its own. Times are for one
//! connection, in the median round of five at least. Linux only, as it reads `/proc`.

use std::{
    cell::{Cell, RefCell},
    env, fs,
    io::{self, IoSlice, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use chinwag::{
    Message, Peer, PeerId, Request, Server, Service, Topic,
    server::{Readiness, Socket, Unbound},
};

/// Connections that have news in one turn, as many as a poll tells of at once.
const EVENTS: usize = 1_024;

/// What is done at one size is done again until it was done this often, as time has its grain.
const REPEATED: usize = 2_000_000;

/// Fewest rounds of which the median is taken.
const ROUNDS: usize = 5;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |word: &str| word.parse::<usize>().expect("how many connections");
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => table(1_000_000),
        ["--one", count] => println!("{}", Figures::of(number(count)).row(number(count))),
        [count] => table(number(count)),
        _ => panic!("COUNT, or nothing for 1,000,000"),
    }
}

/// Measures three sizes, each in a process of its own.
fn table(most: usize) {
    assert!(most >= 1_000, "a hundredth of fewer says nothing");
    let figures = ["publication", "Ping due", "its Pong", "joining", "leaving"].join(" | ");
    println!("| connections | bytes idle | bytes in a topic | {figures} |");
    println!("|{}", "--:|".repeat(8));
    for count in [most / 100, most / 10, most] {
        let mut child = Command::new(env::current_exe().expect("this program"));
        child.args(["--one", &count.to_string()]).stderr(Stdio::inherit());
        let output = child.output().expect("it runs again");
        assert!(output.status.success(), "{count} connections: {}", output.status);
        print!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

// ---- what is measured ---------------------------------------------------------------------------

/// What one connection costs at some size.
struct Figures {
    /// Resident bytes: as it is opened, and when it is in a topic.
    bytes: [usize; 2],
    /// Nanoseconds, in the order of the table.
    times: [u128; 5],
}

impl Figures {
    fn of(count: usize) -> Self {
        let mut crowd = Crowd::new(count);
        crowd.warm_up();
        let before = resident();
        crowd.fill(count);
        let idle = resident() - before;
        crowd.subscribe();
        crowd.publish();
        let subscribed = resident() - before;

        let rounds = (REPEATED / count).max(ROUNDS);
        let publication = median((0..rounds).map(|_| timed(|| crowd.publish())));
        let [ping, pong] = crowd.time_pings(rounds);
        let all = [publication, ping, pong].map(|time| time / count as u128);
        let half = crowd.time_coming_and_going().map(|time| time / (count / 2) as u128);
        Self {
            bytes: [idle, subscribed].map(|bytes| bytes / count),
            times: [all[0], all[1], all[2], half[0], half[1]],
        }
    }

    fn row(&self, count: usize) -> String {
        let [idle, subscribed] = self.bytes;
        let times = self.times.map(|time| format!("{time} ns")).join(" | ");
        format!("| {count} | {idle} | {subscribed} | {times} |")
    }
}

/// A worker, and a topic that everybody hears.
struct Crowd {
    worker: Unbound<Wireless>,
    topic: Topic,
    ids: Vec<PeerId>,
    /// Connections that have had news since the last turn.
    news: usize,
}

/// Subscribes when it is told to.
struct Member(Topic);

impl Service for Member {
    fn message(&mut self, peer: &mut Peer<'_>, _: Message<'_>) {
        peer.subscribe(&self.0);
    }
}

impl Crowd {
    fn new(count: usize) -> Self {
        let topic = Topic::new();
        let theirs = topic.clone();
        let worker = Server::builder()
            .service("/", move |_: &Request<'_>| Member(theirs.clone()))
            .max_connections(count + 100)
            .unbound(Instant::now(), || ())
            .expect("the route is legal");
        // Their memory is there before the first connection is.
        let nobody = PeerId { worker: u32::MAX, slot: u32::MAX, generation: u32::MAX };
        let mut ids = vec![nobody; count + 100];
        ids.clear();
        Self { worker, topic, ids, news: 0 }
    }

    /// What a first few connections bring with them, such as buffers, is not theirs.
    fn warm_up(&mut self) {
        self.fill(100);
        self.subscribe();
        self.publish();
        for id in std::mem::take(&mut self.ids) {
            self.leave(id);
        }
        self.settle();
    }

    /// `count` connect and do no more.
    fn fill(&mut self, count: usize) {
        for _ in 0..count {
            let id = self.connect(UPGRADE);
            self.ids.push(id);
        }
        self.settle();
    }

    /// Everybody joins the topic.
    fn subscribe(&mut self) {
        for at in 0..self.ids.len() {
            self.tell(self.ids[at], SUBSCRIBE, false);
        }
        self.settle();
    }

    /// Somebody connects with these bytes.
    fn connect(&mut self, says: &[u8]) -> PeerId {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let id = self.worker.connect(Wireless(0), addr).expect("there is room");
        self.tell(id, says, false);
        id
    }

    /// Its peer closes its side.
    fn leave(&mut self, id: PeerId) {
        self.tell(id, b"", true);
    }

    /// `id` has this to read, and maybe nothing more ever.
    fn tell(&mut self, id: PeerId, says: &[u8], is_end: bool) {
        SAYS.with_borrow_mut(|air| air.extend_from_slice(says));
        HAS_ENDED.set(is_end);
        let news = Readiness { readable: true, read_closed: is_end, ..Readiness::default() };
        self.worker.wake(id, news);
        self.news += 1;
        if self.news == EVENTS {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.news = 0;
        while self.worker.has_work() {
            self.worker.turn();
        }
    }

    /// Everybody hears 128 bytes.
    fn publish(&mut self) {
        let before = WRITES.get();
        self.topic.publish("x".repeat(128)).expect("nothing waits");
        self.settle();
        assert_eq!(WRITES.get() - before, self.ids.len(), "all have heard it");
    }

    /// Lets Pings come due for all, again and again, and each be answered: the median rounds of both.
    fn time_pings(&mut self, rounds: usize) -> [u128; 2] {
        let count = self.ids.len();
        let (mut pings, mut pongs) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            let before = WRITES.get();
            let mut ping = 0;
            // Entries that activity has overtaken fire too, and cost what they cost.
            while WRITES.get() == before {
                let next = self.worker.next_deadline().expect("a Ping is due some time");
                self.worker.set_now(next);
                ping += timed(|| self.settle());
            }
            assert_eq!(WRITES.get() - before, count, "a Ping for each at once");
            pings.push(ping);
            let answer = pong_number(round as u32);
            pongs.push(timed(|| {
                for at in 0..count {
                    self.tell(self.ids[at], &answer, false);
                }
                self.settle();
            }));
        }
        assert_eq!(self.open(), count as u64, "every Pong has counted");
        [median(pings), median(pongs)]
    }

    /// Half of all leave and as many join, with their first word, again and again: the median rounds of
    /// joining and of leaving.
    fn time_coming_and_going(&mut self) -> [u128; 2] {
        let count = self.ids.len();
        let hello = [UPGRADE, SUBSCRIBE].concat();
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        for round in 0..(REPEATED / 5 / count).max(ROUNDS) {
            // Every other one, as those who go are no neighbours.
            let places: Vec<_> = (0..count).skip(round % 2).step_by(2).take(count / 2).collect();
            leaving.push(timed(|| {
                places.iter().for_each(|&at| self.leave(self.ids[at]));
                self.settle();
            }));
            joining.push(timed(|| {
                places.iter().for_each(|&at| self.ids[at] = self.connect(&hello));
                self.settle();
            }));
        }
        assert_eq!(self.open(), count as u64, "all have left who were to, and joined");
        self.publish();
        [median(joining), median(leaving)]
    }

    fn open(&self) -> u64 {
        let counters = self.worker.counters();
        counters.accepted.get() - counters.ended.get()
    }
}

// ---- the socket ---------------------------------------------------------------------------------

/// What stands for a socket: as large as one. What it has to read is in the air.
struct Wireless(#[expect(dead_code, reason = "it has the size of a descriptor")] u32);

thread_local! {
    /// What is read next, by whoever reads.
    static SAYS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static HAS_ENDED: Cell<bool> = const { Cell::new(false) };
    static WRITES: Cell<usize> = const { Cell::new(0) };
}

impl Read for Wireless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        SAYS.with_borrow_mut(|says| {
            if says.is_empty() && !HAS_ENDED.get() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = says.len();
            buffer[..len].copy_from_slice(says);
            says.clear();
            Ok(len)
        })
    }
}

impl Write for Wireless {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITES.set(WRITES.get() + 1);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        WRITES.set(WRITES.get() + 1);
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Wireless {
    fn shut_write(&self) -> io::Result<()> {
        Ok(())
    }
}

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A text of one letter, masked with zeros.
const SUBSCRIBE: &[u8] = b"\x81\x81\0\0\0\0s";

/// The answer to the `number`th Ping, masked with zeros.
fn pong_number(number: u32) -> [u8; 10] {
    let mut frame = [0x8a, 0x84, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[6..].copy_from_slice(&number.to_be_bytes());
    frame
}

// ---- the system's own accounting ----------------------------------------------------------------

/// Processor time that `work` takes: nanoseconds.
fn timed(work: impl FnOnce()) -> u128 {
    let before = processor_time();
    work();
    (processor_time() - before).as_nanos()
}

fn median(times: impl IntoIterator<Item = u128>) -> u128 {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Time that this thread has spent on a processor.
fn processor_time() -> Duration {
    // The system adds up at its ticks, which are far apart, and whenever it looks for another thread.
    thread::yield_now();
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("it begins with a number"))
}

/// Resident memory of this process: bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a size");
    let kib: usize = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB");
    kib * 1024
}
