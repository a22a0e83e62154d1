//! Connections by the byte, as a TCP client has them.

use std::{
    cell::{RefCell, RefMut},
    fmt,
    rc::Rc,
    time::Instant,
};

use super::world::{Caller, End, World};

/// A TCP connection to the server: bytes, and nothing that knows what they mean. It reads whatever comes
/// as soon as it comes, unless told otherwise. Dropped, it closes its socket.
pub struct Stream {
    world: Rc<RefCell<World>>,
    number: u32,
}

impl Stream {
    pub(super) fn new(world: &Rc<RefCell<World>>, number: u32) -> Self {
        Self { world: Rc::clone(world), number }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.act(|caller| caller.unsent.extend(bytes.as_ref()));
    }

    /// Sends bytes as they are, but lets nothing happen yet: they reach the server in the same turn as what
    /// others send before the next call that does.
    pub fn queue_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.caller().unsent.extend(bytes.as_ref());
    }

    /// All bytes that have come since this was last asked; none where there are none for now. Of a
    /// [`Client`](super::Client) those that are no whole frame yet.
    #[track_caller]
    pub fn recv_bytes(&mut self) -> Vec<u8> {
        self.settle();
        std::mem::take(&mut self.caller().received)
    }

    /// Bytes sent that the connection has not taken yet, as it is full.
    pub fn unsent(&self) -> usize {
        self.caller().unsent.len()
    }

    /// Whether the server has ended its side, in order or not, and all before that was read.
    pub fn has_ended(&self) -> bool {
        self.caller().end.is_some()
    }

    /// Whether that was by a reset.
    pub fn was_reset(&self) -> bool {
        self.caller().end == Some(End::Reset)
    }

    /// Reads nothing from now on: what the server sends fills the connection, and then waits with it.
    pub fn stop_reading(&mut self) {
        self.caller().appetite = 0;
    }

    /// Reads `bytes` more, where they come, and nothing further.
    #[track_caller]
    pub fn read_some(&mut self, bytes: usize) {
        self.act(|caller| caller.appetite = bytes);
    }

    /// Reads all again.
    #[track_caller]
    pub fn read_on(&mut self) {
        self.act(|caller| caller.appetite = usize::MAX);
    }

    /// Ends this side, behind what was sent; the other may go on.
    #[track_caller]
    pub fn shut(&mut self) {
        self.act(|caller| caller.shut = true);
    }

    /// Cuts TCP: the server hears of a reset.
    #[track_caller]
    pub fn cut(&mut self) {
        self.act(Caller::cut);
    }

    // ---- for those who have one ----------------------------------------------------------------

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn now(&self) -> Instant {
        self.world.borrow().worker.now()
    }

    pub(super) fn caller(&self) -> RefMut<'_, Caller> {
        RefMut::map(self.world.borrow_mut(), |world| world.caller(self.number))
    }

    /// Has the caller do something, and everything happen that comes of it.
    #[track_caller]
    pub(super) fn act<T>(&self, then: impl FnOnce(&mut Caller) -> T) -> T {
        let done = then(&mut self.caller());
        self.settle();
        done
    }

    #[track_caller]
    pub(super) fn settle(&self) {
        self.world.borrow_mut().settle();
    }

    /// Something was expected, and cannot come.
    #[track_caller]
    pub(super) fn panic(&self, expected: &str) -> ! {
        let Caller { end, appetite, .. } = *self.caller();
        let why = match (end, appetite) {
            (Some(End::Reset), _) => "its connection was reset".to_owned(),
            (Some(End::Fin), _) => "the server has ended TCP".to_owned(),
            (None, 0) => "it has stopped reading: `read_on` has it go on".to_owned(),
            (None, _) => self.world.borrow().quiet(),
        };
        panic!("{self} expected {expected}, and none comes: {why}")
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} at {:?}", self.number, self.caller().path)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A test that has failed inside may hold the world, and has no need of it any more.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.hang_up(self.number);
            if !std::thread::panicking() {
                world.settle();
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stream").field(&format_args!("{self}")).finish()
    }
}
