//! Attackers: connections on raw sockets, each of which follows a script.
//!
//! One thread drives all of them. A connection that the server closes is opened again, as an attacker would
//! do. Time, connections and bytes are bounded, so that an attack ends by itself.

use std::{
    io::{self, Read, Write},
    mem,
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::SockRef;

use super::{cases, wire};

/// What connections of one kind do.
pub struct Group {
    /// How many there are.
    pub count: usize,
    pub request: Vec<u8>,
    /// Whether the server answers the request with a 101. Such connections are opened before the attack
    /// begins; the others connect only then.
    pub upgrades: bool,
    pub reads: Reads,
    /// What each does, in this order. After the last act the connection is reset and opened anew.
    pub acts: Vec<Act>,
    /// The act that follows the last one, where the connection is not to be reset.
    pub again: Option<usize>,
}

/// What a connection does with what the server sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    Never,
    /// Reads, and drops what it reads.
    All,
    /// Reads, and answers Pings.
    AndPongs,
}

#[derive(Clone)]
pub enum Act {
    /// Sends all of it.
    Send(Arc<[u8]>),
    Wait(Duration),
    /// Ends the writing side (FIN).
    Finish,
}

/// Most connections of one attack.
const MAX_CONNECTIONS: u64 = 300_000;

/// Most bytes that one attack sends.
const MAX_SENT: u64 = 8 << 30;

/// How long the connections may take to open.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long an answer to the first messages may take.
const CHECK: Duration = Duration::from_millis(300);

/// Most bytes written or read by one system call, so that all connections take part.
const STEP: usize = 256 << 10;

/// Opens the connections of the case `name` to the server at `addr` and prints `ready`; attacks for as many
/// milliseconds as the line that it reads gives, and prints how many bytes it sent, how many connections it
/// opened, and how many of them the server closed.
pub fn run(name: &str, addr: &str) -> Result<(), String> {
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| error.to_string())?;
    let addr = addr.parse().map_err(|_| "no address")?;
    let case = cases::all().into_iter().find(|case| case.name == name).ok_or("no such case")?;
    let groups = (case.groups)();
    groups.iter().try_for_each(|group| check(group, addr))?;
    let mut attack = Attack::new(addr, groups).map_err(|error| error.to_string())?;
    attack.drive(Instant::now() + PATIENCE).map_err(|error| error.to_string())?;
    let (ready, wanted) = (attack.ready, attack.wanted);
    if ready < wanted {
        return Err(format!("{name}: {ready} of {wanted} connections were opened"));
    }
    super::print_line("ready");
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| error.to_string())?;
    let millis = line.trim().parse().map_err(|_| "no length of time")?;
    attack.begun = true;
    let end = Instant::now() + Duration::from_millis(millis);
    attack.drive(end).map_err(|error| error.to_string())?;
    let Attack { sent, opened, ended, .. } = attack;
    drop(attack);
    super::print_line(format!("{sent} {opened} {ended}"));
    Ok(())
}

/// Sends the first messages of a group once. The server must not answer with a Close: an attack that ends
/// with its first frame would prove nothing.
fn check(group: &Group, addr: SocketAddr) -> Result<(), String> {
    let (true, Some(Act::Send(bytes))) = (group.upgrades, group.acts.first()) else {
        return Ok(());
    };
    let answer = || -> io::Result<Vec<u8>> {
        let mut stream = std::net::TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(CHECK))?;
        stream.set_write_timeout(Some(CHECK))?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        stream.write_all(&group.request)?;
        // The server may stop reading until its answers are read, and some messages have no answer, so
        // timeouts are no errors.
        stream.write_all(bytes).ok();
        let (mut answer, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..len]);
            if answer.len() > 4_096 {
                break;
            }
        }
        Ok(answer)
    };
    let answer = answer().map_err(|error| error.to_string())?;
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").ok_or("there is no response")?;
    let mut frames = &answer[end + 4..];
    while let Some(frame) = wire::received(frames) {
        if frame.first == wire::CLOSE {
            return Err(format!("the server closes at once: {:?}", frame.payload.escape_ascii()));
        }
        frames = &frames[frame.len..];
    }
    Ok(())
}

struct Attack {
    addr: SocketAddr,
    poll: Poll,
    groups: Vec<Group>,
    connections: Vec<Connection>,
    begun: bool,
    /// Connections that are to be open before it begins, and those that are.
    wanted: usize,
    ready: usize,
    sent: u64,
    opened: u64,
    ended: u64,
    buffer: Vec<u8>,
}

/// One attacker.
struct Connection {
    group: usize,
    /// `None` before its time, and once all connections are used up.
    stream: Option<TcpStream>,
    stage: Stage,
    /// The act it is at, and how many of its bytes are sent.
    act: usize,
    at: usize,
    /// When a wait is over.
    wakes: Option<Instant>,
    may_write: bool,
    may_read: bool,
    has_ended: bool,
    /// What was received and isn't a whole head or frame yet.
    received: Vec<u8>,
    /// Pongs that aren't sent yet.
    pongs: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Requesting,
    Answered,
    Acting,
}

/// What came of a step.
enum Step {
    /// There may be more to do at once.
    More,
    /// Nothing to do before the next event or the end of a wait.
    Idle,
    /// The server has ended the connection.
    Ended,
    /// The last act is done.
    Done,
}

impl Attack {
    fn new(addr: SocketAddr, groups: Vec<Group>) -> io::Result<Self> {
        let mut attack = Self {
            addr,
            poll: Poll::new()?,
            connections: Vec::new(),
            begun: false,
            wanted: groups.iter().filter(|group| group.upgrades).map(|group| group.count).sum(),
            groups,
            ready: 0,
            sent: 0,
            opened: 0,
            ended: 0,
            buffer: vec![0; STEP],
        };
        for group in 0..attack.groups.len() {
            for _ in 0..attack.groups[group].count {
                let at = attack.connections.len();
                let stream = match attack.groups[group].upgrades {
                    true => Some(attack.connect(at)?),
                    false => None,
                };
                attack.connections.push(Connection::new(group, stream));
            }
        }
        Ok(attack)
    }

    fn connect(&mut self, at: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.addr)?;
        // Dropping it resets it, and its port is free at once.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        stream.set_nodelay(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(at), interest)?;
        self.opened += 1;
        Ok(stream)
    }

    /// Follows the scripts until `end`, or until all connections are ready where it has not begun.
    fn drive(&mut self, end: Instant) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut timeout = Duration::ZERO;
        loop {
            self.poll.poll(&mut events, Some(timeout))?;
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                connection.may_write |= event.is_writable();
                connection.may_read |= event.is_readable();
                connection.has_ended |= event.is_error() || event.is_read_closed();
            }
            let now = Instant::now();
            let over = now >= end || self.sent > MAX_SENT;
            if over || !self.begun && self.ready == self.wanted {
                return Ok(());
            }
            timeout = Duration::from_millis(1);
            for at in 0..self.connections.len() {
                if self.step(at, now)? {
                    timeout = Duration::ZERO;
                }
            }
        }
    }

    /// One step of one connection; gives whether it may take another one at once.
    fn step(&mut self, at: usize, now: Instant) -> io::Result<bool> {
        let Self { groups, connections, begun, sent, buffer, ready, .. } = self;
        let connection = &mut connections[at];
        let group = &groups[connection.group];
        let was = connection.stage;
        let step = connection.step(group, *begun, now, buffer, sent);
        *ready += usize::from(
            group.upgrades && was != Stage::Acting && connection.stage == Stage::Acting,
        );
        match step {
            Ok(Step::More) => return Ok(true),
            Ok(Step::Idle) => return Ok(false),
            Ok(Step::Done) => {}
            Ok(Step::Ended) | Err(_) => self.ended += u64::from(connection.stream.is_some()),
        }
        let group = connection.group;
        if !self.begun && self.connections[at].stream.is_some() {
            return Err(io::Error::other("the server ends connections before the attack"));
        }
        // Drop the old socket before the next one takes its token, or events would be taken for the new one's.
        self.connections[at] = Connection::new(group, None);
        if self.begun && self.opened < MAX_CONNECTIONS {
            self.connections[at].stream = Some(self.connect(at)?);
        }
        Ok(false)
    }
}

impl Connection {
    fn new(group: usize, stream: Option<TcpStream>) -> Self {
        Self {
            group,
            stream,
            stage: Stage::Requesting,
            act: 0,
            at: 0,
            wakes: None,
            may_write: false,
            may_read: false,
            has_ended: false,
            received: Vec::new(),
            pongs: Vec::new(),
        }
    }

    fn step(
        &mut self,
        group: &Group,
        begun: bool,
        now: Instant,
        buffer: &mut [u8],
        sent: &mut u64,
    ) -> io::Result<Step> {
        if self.stream.is_none() {
            return Ok(if begun { Step::Done } else { Step::Idle });
        }
        match self.stage {
            Stage::Requesting => {
                if !self.may_write {
                    return Ok(if self.has_ended { Step::Ended } else { Step::Idle });
                }
                if self.write(&group.request, sent)? {
                    self.stage = if group.upgrades { Stage::Answered } else { Stage::Acting };
                }
                Ok(Step::More)
            }
            Stage::Answered => {
                if !self.may_read {
                    return Ok(if self.has_ended { Step::Ended } else { Step::Idle });
                }
                match self.read(&mut buffer[..1024])? {
                    Some(0) => return Ok(Step::Ended),
                    Some(len) => self.received.extend_from_slice(&buffer[..len]),
                    None => return Ok(Step::Idle),
                }
                if let Some(end) = self.received.windows(4).position(|end| end == b"\r\n\r\n") {
                    if !self.received.starts_with(b"HTTP/1.1 101 ") {
                        return Ok(Step::Ended);
                    }
                    self.received.drain(..end + 4);
                    self.stage = Stage::Acting;
                }
                Ok(Step::More)
            }
            Stage::Acting => self.act(group, begun, now, buffer, sent),
        }
    }

    fn act(
        &mut self,
        group: &Group,
        begun: bool,
        now: Instant,
        buffer: &mut [u8],
        sent: &mut u64,
    ) -> io::Result<Step> {
        let mut more = false;
        if group.reads == Reads::Never {
            if self.has_ended {
                return Ok(Step::Ended);
            }
        } else if self.may_read {
            match self.read(buffer)? {
                Some(0) => return Ok(Step::Ended),
                Some(len) => {
                    more = true;
                    if group.reads == Reads::AndPongs {
                        self.received.extend_from_slice(&buffer[..len]);
                        self.answer_pings();
                    }
                }
                None => {}
            }
        }
        if !self.pongs.is_empty() && self.may_write {
            let pongs = mem::take(&mut self.pongs);
            // They are few and small, so the socket takes them as a whole.
            self.stream.as_mut().expect("it is open").write_all(&pongs)?;
        }
        if !begun {
            return Ok(if more { Step::More } else { Step::Idle });
        }
        match group.acts.get(self.act) {
            None => match group.again {
                Some(act) => self.act = act,
                None => return Ok(Step::Done),
            },
            Some(Act::Send(bytes)) => {
                if !self.may_write {
                    return Ok(if more { Step::More } else { Step::Idle });
                }
                if self.write(bytes, sent)? {
                    self.act += 1;
                }
            }
            Some(Act::Wait(time)) => match self.wakes {
                None => self.wakes = Some(now + *time),
                Some(wakes) if now < wakes => {
                    return Ok(if more { Step::More } else { Step::Idle });
                }
                Some(_) => {
                    self.wakes = None;
                    self.act += 1;
                }
            },
            Some(Act::Finish) => {
                self.stream.as_ref().expect("it is open").shutdown(Shutdown::Write)?;
                self.act += 1;
            }
        }
        Ok(Step::More)
    }

    /// Writes more of `bytes`; gives whether they are all written.
    fn write(&mut self, bytes: &[u8], sent: &mut u64) -> io::Result<bool> {
        let stream = self.stream.as_mut().expect("it is open");
        let rest = &bytes[self.at..];
        match stream.write(&rest[..rest.len().min(STEP)]) {
            Ok(len) => {
                self.at += len;
                *sent += len as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_write = false,
            Err(error) => return Err(error),
        }
        let is_done = self.at == bytes.len();
        if is_done {
            self.at = 0;
        }
        Ok(is_done)
    }

    /// Reads once: how many bytes, or `None` where there are none yet.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.as_mut().expect("it is open").read(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.may_read = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn answer_pings(&mut self) {
        while let Some(frame) = wire::received(&self.received) {
            if frame.first == wire::PING {
                self.pongs.extend(wire::frame(wire::PONG, frame.payload));
            }
            let len = frame.len;
            self.received.drain(..len);
        }
    }
}
