//! TCP in memory: two bounded streams of bytes, and the ways in which they end.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    rc::Rc,
};

use super::world::Stirred;
use crate::server::Socket;

/// One connection. Its client's side is called by name, its server's side is a [`ServerEnd`].
#[derive(Debug)]
pub(super) struct Pipe {
    to_server: Stream,
    to_client: Stream,
    /// TCP is gone, and whoever has read what there was hears so.
    reset: bool,
}

/// One direction.
#[derive(Debug)]
struct Stream {
    bytes: VecDeque<u8>,
    /// Most bytes that are on their way.
    capacity: usize,
    /// Nothing comes behind them.
    ended: bool,
    /// Its writer was told that it is full.
    full: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// So many bytes; none where there are none for now.
    Bytes(usize),
    /// The end.
    End,
    /// TCP is gone.
    Reset,
}

impl Pipe {
    /// An open one that holds `capacity` bytes each way.
    pub(super) fn new(capacity: usize) -> Self {
        let stream = || Stream { bytes: VecDeque::new(), capacity, ended: false, full: false };
        Self { to_server: stream(), to_client: stream(), reset: false }
    }

    /// Moves at most `most` bytes from the server to the end of `bytes`.
    pub(super) fn read(&mut self, most: usize, bytes: &mut Vec<u8>) -> Found {
        let count = most.min(self.to_client.bytes.len());
        bytes.extend(self.to_client.bytes.drain(..count));
        match self {
            _ if count > 0 => Found::Bytes(count),
            Self { reset: true, .. } => Found::Reset,
            Self { to_client: Stream { ended: true, .. }, .. }
                if self.to_client.bytes.is_empty() =>
            {
                Found::End
            }
            _ => Found::Bytes(0),
        }
    }

    /// Whether the server waits for room that there is again; asked once.
    pub(super) fn has_room_again(&mut self) -> bool {
        self.to_client.room() > 0 && std::mem::take(&mut self.to_client.full)
    }

    /// Moves what there is room for from the front of `bytes` to the server; gives what was moved.
    pub(super) fn write(&mut self, bytes: &mut VecDeque<u8>) -> Vec<u8> {
        let is_open = !self.reset && !self.to_server.ended;
        let count = if is_open { bytes.len().min(self.to_server.room()) } else { 0 };
        let moved: Vec<_> = bytes.drain(..count).collect();
        self.to_server.bytes.extend(&moved);
        moved
    }

    /// Ends the client's side; gives whether it was open.
    pub(super) fn shut(&mut self) -> bool {
        !std::mem::replace(&mut self.to_server.ended, true)
    }

    /// The client closes its socket. As TCP has it, bytes that it has not read make that a reset;
    /// gives whether it is one.
    pub(super) fn close(&mut self) -> bool {
        self.reset |= !self.to_client.bytes.is_empty();
        self.to_server.ended = true;
        self.to_client.ended = true;
        self.to_client.bytes.clear();
        self.reset
    }

    /// The client is gone without an end, and reads nothing more.
    pub(super) fn reset(&mut self) {
        self.reset = true;
        self.to_client.bytes.clear();
    }
}

impl Stream {
    fn room(&self) -> usize {
        self.capacity - self.bytes.len()
    }
}

/// The server's side of a [`Pipe`].
#[derive(Debug)]
pub(super) struct ServerEnd {
    pipe: Rc<RefCell<Pipe>>,
    /// Whose connection it is.
    number: u32,
    stirred: Stirred,
}

impl ServerEnd {
    /// That of the connection with this number, which is `stirred` whenever the server does something.
    pub(super) fn new(pipe: &Rc<RefCell<Pipe>>, number: u32, stirred: &Stirred) -> Self {
        Self { pipe: Rc::clone(pipe), number, stirred: Rc::clone(stirred) }
    }

    /// Lends the pipe, to do something with it.
    fn pipe(&self) -> RefMut<'_, Pipe> {
        self.stirred.borrow_mut().insert(self.number);
        self.pipe.borrow_mut()
    }
}

impl Read for ServerEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(buffer)])
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let Pipe { to_server: Stream { bytes, ended, .. }, reset, .. } = &mut *self.pipe();
        if bytes.is_empty() {
            return match (*reset, *ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (false, true) => Ok(0),
                (false, false) => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let mut total = 0;
        for buffer in buffers {
            let count = buffer.len().min(bytes.len());
            bytes.read_exact(&mut buffer[..count])?;
            total += count;
        }
        Ok(total)
    }
}

impl Write for ServerEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Pipe { to_client, reset, .. } = &mut *self.pipe();
        if *reset || to_client.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut total = 0;
        for slice in slices {
            let count = slice.len().min(to_client.room());
            to_client.bytes.extend(&slice[..count]);
            to_client.full |= count < slice.len();
            total += count;
        }
        if total == 0 && to_client.full { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(total) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for ServerEnd {
    fn shut_write(&self) -> io::Result<()> {
        self.pipe().to_client.ended = true;
        Ok(())
    }
}

/// The server closes its socket. As TCP has it, bytes that it has not read make that a reset.
impl Drop for ServerEnd {
    fn drop(&mut self) {
        let mut pipe = self.pipe();
        pipe.reset |= !pipe.to_server.bytes.is_empty();
        pipe.to_client.ended = true;
        pipe.to_server.ended = true;
        pipe.to_server.bytes.clear();
    }
}
