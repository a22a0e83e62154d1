//! Bytes that wait for a slow socket: owned pieces and shared ones.
//!
//! A connection has an outbox only while something waits. How much may wait is judged by the worker.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write},
    sync::Arc,
    time::Instant,
};

use crate::protocol::buffer::{Pool, WireBytes};

/// Most pieces given to one system call.
const MAX_SLICES: usize = 64;

/// Pieces of a connection's own are joined up to about this size: bytes. A larger one is not copied to
/// make room behind it.
const MAX_JOINED: usize = 16 << 10;

/// What waits for one socket, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// When the socket last took something, or when waiting began.
    pub(super) progress: Instant,
}

#[derive(Debug)]
enum Piece {
    /// Bytes for this connection alone.
    Owned(WireBytes),
    /// A publication, from byte `at` on.
    Shared { bytes: Arc<[u8]>, at: usize },
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes.as_slice(),
            Self::Shared { bytes, at } => &bytes[*at..],
        }
    }
}

impl Outbox {
    pub(super) fn new(now: Instant) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, progress: now }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// Messages that wait; those sent together to this connection alone count as one.
    pub(super) fn messages(&self) -> usize {
        self.pieces.len()
    }

    /// Whether its memory is worth keeping for the next connection that needs one.
    pub(super) fn is_small(&self) -> bool {
        self.pieces.capacity() <= MAX_SLICES
    }

    /// Adds a copy of `bytes`.
    pub(super) fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        if let Some(Piece::Owned(last)) = self.pieces.back_mut()
            && last.as_slice().len() < MAX_JOINED
        {
            last.append(bytes, pool);
        } else {
            let mut piece = WireBytes::default();
            piece.append(bytes, pool);
            self.pieces.push_back(Piece::Owned(piece));
        }
    }

    /// Adds bytes of their own, without a copy.
    pub(super) fn push_owned(&mut self, bytes: WireBytes) {
        self.bytes += bytes.as_slice().len();
        self.pieces.push_back(Piece::Owned(bytes));
    }

    /// Adds shared bytes from byte `at` on.
    pub(super) fn push_shared(&mut self, bytes: Arc<[u8]>, at: usize) {
        self.bytes += bytes.len() - at;
        self.pieces.push_back(Piece::Shared { bytes, at });
    }

    /// Drops what has not begun to leave, so that the peer still sees whole frames.
    pub(super) fn drop_unsent(&mut self) {
        let begun = match self.pieces.front() {
            // Where an owned piece's frames begin is not known any more, and the header of one may stand
            // in the piece before it: they stay whole.
            Some(Piece::Owned(_)) => {
                self.pieces.iter().take_while(|piece| matches!(piece, Piece::Owned(_))).count()
            }
            Some(Piece::Shared { at: 1.., .. }) => 1,
            Some(Piece::Shared { at: 0, .. }) | None => 0,
        };
        self.pieces.truncate(begun);
        self.bytes = self.pieces.iter().map(|piece| piece.as_slice().len()).sum();
    }

    /// Writes until nothing is left or the socket takes no more; gives how much it took.
    ///
    /// # Errors
    /// Those of the socket, other than that it takes no more.
    pub(super) fn write_to(
        &mut self,
        socket: &mut impl Write,
        now: Instant,
        pool: &mut Pool,
    ) -> io::Result<usize> {
        let mut total = 0;
        while self.bytes > 0 {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            let mut offered = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece.as_slice());
                offered += slice.len();
                count += 1;
            }
            let written = match socket.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.advance(written, pool);
            self.progress = now;
            total += written;
            // A socket that took less than it was given is full: its edge will come.
            if written < offered {
                break;
            }
        }
        Ok(total)
    }

    fn advance(&mut self, mut written: usize, pool: &mut Pool) {
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
            let len = piece.as_slice().len();
            if written < len {
                match piece {
                    Piece::Owned(bytes) => bytes.advance(written),
                    Piece::Shared { at, .. } => *at += written,
                }
                return;
            }
            written -= len;
            if let Some(Piece::Owned(bytes)) = self.pieces.pop_front() {
                pool.put(bytes.into_buffer());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::buffer::Buffer;

    /// Takes `room` bytes, then blocks.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room);
            if len == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_leave_in_order_however_little_the_socket_takes() {
        let now = Instant::now();
        let mut pool = Pool::new(1 << 16);
        for room in 1..=20 {
            let mut outbox = Outbox::new(now);
            outbox.push(b"one ", &mut pool);
            outbox.push_shared(b"__two ".as_slice().into(), 2);
            outbox.push(b"three ", &mut pool);
            outbox.push(b"four", &mut pool);
            assert_eq!((outbox.len(), outbox.messages()), (18, 3));
            let mut socket = Narrow { room: 0, taken: Vec::new() };
            while outbox.len() > 0 {
                socket.room = room;
                outbox.write_to(&mut socket, now, &mut pool).unwrap();
            }
            assert_eq!(socket.taken, b"one two three four", "{room} bytes at a time");
        }
    }

    #[test]
    fn what_has_begun_to_leave_is_kept_whole() {
        let now = Instant::now();
        let mut pool = Pool::new(1 << 16);
        let mut outbox = Outbox::new(now);
        outbox.push_shared(b"begun".as_slice().into(), 0);
        outbox.push_shared(b"waiting".as_slice().into(), 0);
        let mut socket = Narrow { room: 2, taken: Vec::new() };
        outbox.write_to(&mut socket, now, &mut pool).unwrap();
        outbox.drop_unsent();
        assert_eq!(outbox.len(), 3);
        socket.room = 10;
        outbox.write_to(&mut socket, now, &mut pool).unwrap();
        assert_eq!(socket.taken, b"begun");

        outbox.push_shared(b"not begun".as_slice().into(), 0);
        outbox.drop_unsent();
        assert_eq!(outbox.len(), 0);

        // A payload without room in front of it has its header in the piece before.
        outbox.push(b"header", &mut pool);
        outbox.push_owned(Buffer::from(b" and payload".to_vec()).into_wire());
        outbox.push_shared(b"waiting".as_slice().into(), 0);
        outbox.drop_unsent();
        while outbox.len() > 0 {
            socket.room = 100;
            outbox.write_to(&mut socket, now, &mut pool).unwrap();
        }
        assert_eq!(socket.taken, b"begunheader and payload");
    }
}
