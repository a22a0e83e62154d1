//! The floor: what the system calls cost, and nothing else.
//!
//! It upgrades, and then answers every read with frames prepared beforehand. It learns from the first
//! message of a connection how long its messages are and what to answer; from then on it only counts
//! bytes. So it echoes right where a connection sends the same message again and again, as the load
//! does, and nowhere else. In broadcast it copies what is said, as the load looks for stamps in it;
//! that is once a message, not once a delivery.

mod wire;

use std::{
    io::{self, Read, Write},
    net::Ipv4Addr,
    rc::Rc,
};

use mio::{
    Events, Interest, Poll, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};
use wire::Prepared;

use crate::{Work, announce};

/// Bytes read at once.
const BUFFER: usize = 512 << 10;

/// Events of a turn.
const EVENTS: usize = 1024;

const LISTENER: Token = Token(usize::MAX);

pub fn serve(work: Work) -> io::Result<()> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    announce(listener.local_addr()?)?;
    let floor = Floor {
        poll,
        listener,
        work,
        members: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; BUFFER],
        said: Vec::new(),
        prepared: None,
    };
    floor.run()
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    work: Work,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    /// What was said in this turn, as frames.
    said: Vec<u8>,
    /// The answer that was prepared last, shared by all connections that say the same.
    prepared: Option<Rc<Prepared>>,
}

struct Member {
    stream: TcpStream,
    upgraded: bool,
    /// The request, or messages as far as they have to be looked at.
    gathered: Vec<u8>,
    prepared: Option<Rc<Prepared>>,
    /// Bytes of the message that has not come whole.
    received: usize,
    /// Bytes of prepared frames that are still to go out, and where in a frame they begin.
    owed: usize,
    at: usize,
    /// What others said and the socket has not taken.
    rest: Vec<u8>,
}

impl Floor {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(slot) => self.serve(slot, event),
                }
            }
            if !self.said.is_empty() {
                self.hand_out();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.members.push(None);
                self.members.len() - 1
            });
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(slot), both)?;
            self.members[slot] = Some(Member::new(stream));
        }
    }

    fn serve(&mut self, slot: usize, event: &Event) {
        // An event may be left over from who had this slot before in the same turn.
        let Some(member) = &mut self.members[slot] else { return };
        let mut done = Ok(());
        if event.is_readable() {
            done = member.read(self.work, &mut self.buffer, &mut self.said, &mut self.prepared);
        }
        if done.is_err() || member.write().is_err() {
            self.members[slot] = None;
            self.free.push(slot);
        }
    }

    /// One write a member for all that was said in this turn.
    fn hand_out(&mut self) {
        for slot in 0..self.members.len() {
            let Some(member) = self.members[slot].as_mut().filter(|member| member.upgraded) else {
                continue;
            };
            if member.hear(&self.said).is_err() {
                self.members[slot] = None;
                self.free.push(slot);
            }
        }
        self.said.clear();
    }
}

impl Member {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            upgraded: false,
            gathered: Vec::new(),
            prepared: None,
            received: 0,
            owed: 0,
            at: 0,
            rest: Vec::new(),
        }
    }

    fn read(
        &mut self,
        work: Work,
        buffer: &mut [u8],
        said: &mut Vec<u8>,
        prepared: &mut Option<Rc<Prepared>>,
    ) -> io::Result<()> {
        loop {
            let len = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            match &self.prepared {
                Some(prepared) => {
                    if self.received == 0 && buffer[0] == wire::CLOSE {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    let received = self.received + len;
                    self.received = received % prepared.message_len;
                    self.owed += received / prepared.message_len * prepared.frame_len;
                }
                None => {
                    self.gathered.extend_from_slice(&buffer[..len]);
                    self.look(work, said, prepared)?;
                }
            }
            // Fewer bytes than there was room for: there are no more.
            if len < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Looks at what has been gathered: a request, or messages.
    fn look(
        &mut self,
        work: Work,
        said: &mut Vec<u8>,
        prepared: &mut Option<Rc<Prepared>>,
    ) -> io::Result<()> {
        if !self.upgraded {
            let Some((response, len)) = wire::upgrade(&self.gathered) else { return Ok(()) };
            self.stream.write_all(&response)?;
            self.upgraded = true;
            self.gathered.drain(..len);
        }
        if self.gathered.first() == Some(&wire::CLOSE) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let mut looked = 0;
        while let Some(message) = wire::Message::first(&self.gathered[looked..]) {
            looked += message.len;
            match work {
                Work::Broadcast => message.answer(said),
                Work::Echo => {
                    let answer = Prepared::of(&message, prepared);
                    let all = self.gathered.len();
                    self.owed = all / answer.message_len * answer.frame_len;
                    self.received = all % answer.message_len;
                    self.prepared = Some(answer);
                    looked = all;
                }
            }
        }
        self.gathered.drain(..looked);
        if self.gathered.is_empty() {
            self.gathered = Vec::new();
        }
        Ok(())
    }

    /// Writes what is owed, as far as the socket takes it.
    fn write(&mut self) -> io::Result<()> {
        if let Some(prepared) = &self.prepared {
            while self.owed > 0 {
                let bytes = prepared.from(self.at, self.owed);
                let len = match self.stream.write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    len => len?,
                };
                self.owed -= len;
                self.at = (self.at + len) % prepared.frame_len;
            }
        }
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            self.hear(&rest)?;
        }
        Ok(())
    }

    /// Writes what was said, and keeps what the socket does not take.
    fn hear(&mut self, said: &[u8]) -> io::Result<()> {
        let mut taken = 0;
        if self.rest.is_empty() {
            taken = match self.stream.write(said) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                len => len?,
            };
        }
        self.rest.extend_from_slice(&said[taken..]);
        Ok(())
    }
}
