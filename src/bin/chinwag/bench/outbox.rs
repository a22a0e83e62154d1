//! What is on its way to a server: prepared frames sent again and again, and a few other bytes.
//!
//! The prepared frames are never copied: what a socket did not take is a place in them and a count.

use std::io::{self, Write};

/// Frames prepared once: a run of copies of one masked frame, so that several leave in one `send`.
#[derive(Debug)]
pub struct Cycle {
    bytes: Box<[u8]>,
    frame_len: usize,
}

impl Cycle {
    /// As many copies of `frame` as are sent at once, though no more than fit into 256 KiB.
    pub fn new(frame: &[u8], at_once: usize) -> Self {
        let copies = at_once.min(MAX_CYCLE / frame.len()).max(1);
        Self { bytes: frame.repeat(copies).into(), frame_len: frame.len() }
    }
}

/// Bytes of prepared frames, where one frame alone is not longer.
const MAX_CYCLE: usize = 256 << 10;

/// Bytes that a socket is yet to take.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Bytes of the cycle still to be sent, and where in its frame the first of them is.
    owed: usize,
    at: usize,
    /// Handshakes, control frames, frames that are sent once.
    other: Vec<u8>,
    /// The socket is full until it says otherwise.
    full: bool,
}

impl Outbox {
    /// Sends `count` more frames of `cycle` when it is flushed; it is the same cycle each time.
    pub fn repeat(&mut self, cycle: &Cycle, count: usize) {
        self.owed += count * cycle.frame_len;
    }

    /// Sends `bytes`, which are whole frames, before frames of the cycle that have not begun.
    pub fn push(&mut self, bytes: &[u8]) {
        self.other.extend_from_slice(bytes);
    }

    /// The socket has room again.
    pub fn unblock(&mut self) {
        self.full = false;
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.owed + self.other.len()
    }

    /// Writes what `socket` takes. What it does not take waits until it says that it has room.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn flush(&mut self, socket: &mut impl Write, cycle: &Cycle) -> io::Result<()> {
        while self.len() > 0 && !self.full {
            let wanted = if !self.other.is_empty() && self.at == 0 {
                let wanted = self.other.len();
                let written = write(socket, &self.other)?;
                self.other.drain(..written);
                self.full = written < wanted;
                continue;
            } else if self.other.is_empty() {
                self.owed.min(cycle.bytes.len() - self.at)
            } else {
                cycle.frame_len - self.at
            };
            let written = write(socket, &cycle.bytes[self.at..self.at + wanted])?;
            self.owed -= written;
            self.at = (self.at + written) % cycle.frame_len;
            self.full = written < wanted;
        }
        if self.other.is_empty() && self.other.capacity() > 0 {
            self.other = Vec::new();
        }
        Ok(())
    }
}

/// How much of `bytes` was written: nothing where the socket is full.
fn write(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match socket.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            written => return written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most `room` bytes a write, and every third write nothing.
    struct Narrow {
        room: usize,
        writes: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            if self.writes.is_multiple_of(3) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let len = bytes.len().min(self.room);
            self.taken.extend(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn frames_leave_whole_and_in_order_however_little_is_taken() {
        for copies in [1, 3] {
            let cycle = Cycle::new(b"[frame]", copies);
            for room in 1..40 {
                let mut outbox = Outbox::default();
                let mut socket = Narrow { room, writes: 0, taken: Vec::new() };
                outbox.repeat(&cycle, 2);
                outbox.flush(&mut socket, &cycle).unwrap();
                outbox.push(b"(pong)");
                outbox.repeat(&cycle, 5);
                while outbox.len() > 0 {
                    outbox.unblock();
                    outbox.flush(&mut socket, &cycle).unwrap();
                }
                let mut taken = String::from_utf8(socket.taken).unwrap();
                let pong = taken.find("(pong)").expect("it was sent");
                taken.replace_range(pong..pong + 6, "");
                assert_eq!(pong % 7, 0, "between two frames");
                assert_eq!(taken, "[frame]".repeat(7), "{copies} copies, {room} a write");
            }
        }
    }

    #[test]
    fn a_full_socket_is_left_alone_until_it_has_room() {
        let cycle = Cycle::new(b"[frame]", 1);
        let mut outbox = Outbox::default();
        let mut socket = Narrow { room: 3, writes: 0, taken: Vec::new() };
        outbox.repeat(&cycle, 1);
        outbox.flush(&mut socket, &cycle).unwrap();
        outbox.flush(&mut socket, &cycle).unwrap();
        assert_eq!(socket.writes, 1);
        outbox.unblock();
        outbox.flush(&mut socket, &cycle).unwrap();
        assert_eq!(socket.writes, 2);
    }

    #[test]
    fn a_cycle_is_bounded_and_has_one_frame_at_least() {
        assert_eq!(Cycle::new(&[0; 26], 16).bytes.len(), 16 * 26);
        assert!(Cycle::new(&[0; 26], 1 << 20).bytes.len() <= MAX_CYCLE);
        assert_eq!(Cycle::new(&vec![0; 1 << 20], 4).bytes.len(), 1 << 20);
    }
}
