//! A socket that is listened in on: what passes is shown, and Pongs are timed.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chinwag::client::Stream;

use super::{
    inspect::{Inspector, Seen},
    screen::Screen,
};

/// A socket, and who listens in.
#[derive(Debug)]
pub struct Tap {
    pub socket: TcpStream,
    pub watch: Arc<Watch>,
}

/// What has passed by.
#[derive(Debug)]
pub struct Watch {
    screen: Arc<Screen>,
    /// Frames are shown, and not just the Pongs that were asked for.
    shows_frames: bool,
    sent: Mutex<Sent>,
    heard: Mutex<Inspector>,
    pings: Mutex<VecDeque<Ping>>,
}

/// What goes out is looked at before it leaves, or its answer could be told first.
#[derive(Debug, Default)]
struct Sent {
    inspector: Inspector,
    /// Bytes that were looked at and did not leave: they will be offered again.
    ahead: usize,
}

/// A Ping that was sent.
#[derive(Debug)]
struct Ping {
    payload: Vec<u8>,
    /// When it was about to leave; `None` where somebody asked for it and it is on its way.
    sent: Option<Instant>,
    asked_for: bool,
}

/// Pings that are remembered; a Pong to an older one has no time.
const MAX_PINGS: usize = 16;

const PING: u8 = 9;
const PONG: u8 = 10;

impl Watch {
    pub fn new(screen: Arc<Screen>, shows_frames: bool) -> Self {
        let (sent, heard, pings) = Default::default();
        Self { screen, shows_frames, sent, heard, pings }
    }

    /// Somebody is about to send a Ping with this payload, and wants to know about its Pong.
    pub fn expect_pong(&self, payload: &[u8]) {
        self.remember(Ping { payload: payload.to_vec(), sent: None, asked_for: true });
    }

    /// `bytes` are about to be written.
    fn offered(&self, bytes: &[u8]) {
        let Sent { inspector, ahead } = &mut *lock(&self.sent);
        let Some(news) = bytes.get(*ahead..) else { return };
        *ahead = bytes.len();
        inspector.take(news, |seen| {
            if seen.opcode() == PING {
                self.ping_leaves(&seen.payload);
            }
            if self.shows_frames {
                self.screen.notice(&format!("-> {seen}"));
            }
        });
    }

    /// As many bytes of those that were offered have left.
    fn left(&self, written: usize) {
        lock(&self.sent).ahead -= written;
    }

    fn heard(&self, bytes: &[u8]) {
        lock(&self.heard).take(bytes, |seen| self.tell_heard(seen));
    }

    fn tell_heard(&self, seen: &Seen) {
        let pong = (seen.opcode() == PONG).then(|| self.pong_came(&seen.payload)).flatten();
        match pong {
            Some((time, _)) if self.shows_frames => {
                self.screen.notice(&format!("<- {seen}, after {time:.1?}"));
            }
            _ if self.shows_frames => self.screen.notice(&format!("<- {seen}")),
            Some((time, true)) => self.screen.notice(&format!("pong after {time:.1?}")),
            Some((_, false)) | None => {}
        }
    }

    fn ping_leaves(&self, payload: &[u8]) {
        let now = Some(Instant::now());
        let mut pings = lock(&self.pings);
        let expected = pings.iter_mut().find(|ping| ping.sent.is_none() && ping.payload == payload);
        if let Some(ping) = expected {
            ping.sent = now;
            return;
        }
        drop(pings);
        self.remember(Ping { payload: payload.to_vec(), sent: now, asked_for: false });
    }

    fn remember(&self, ping: Ping) {
        let mut pings = lock(&self.pings);
        if pings.len() == MAX_PINGS {
            pings.pop_front();
        }
        pings.push_back(ping);
    }

    /// How long a Pong took, and whether somebody waits for it; `None` where no such Ping is known.
    /// Those before it will not be answered any more (§5.5.3).
    fn pong_came(&self, payload: &[u8]) -> Option<(Duration, bool)> {
        let mut pings = lock(&self.pings);
        let at = pings.iter().position(|ping| ping.sent.is_some() && ping.payload == payload)?;
        let ping = pings.drain(..=at).next_back()?;
        Some((ping.sent?.elapsed(), ping.asked_for))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(buffer)?;
        self.watch.heard(&buffer[..read]);
        Ok(read)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.watch.offered(bytes);
        let written = self.socket.write(bytes)?;
        self.watch.left(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Stream for Tap {
    fn set_read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(wait)
    }

    fn set_write_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(wait)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, watch: Arc::clone(&self.watch) })
    }
}
