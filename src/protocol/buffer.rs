//! Buffers: payloads that do not fit into one read, and where they come from.
//!
//! A [`Buffer`] holds a payload with room for a frame header in front of it, so that a message can
//! be sent on without a copy. A [`Pool`] keeps a bounded number of spare ones for its thread, and what
//! else its connections borrow for a message. A [`Payload`] is a slice of what was read, with the like
//! room in front of it, or such a buffer.

use std::{fmt, mem, ops::Deref, panic::UnwindSafe};

use super::{extension::deflate::Codecs, frame::MAX_HEADER};

/// Payload bytes in memory of their own.
#[derive(Clone, Default)]
pub struct Buffer {
    /// Initialised through to its end; the payload is `start..end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The least payload a buffer has room for: bytes. Every room is a power of two of them.
const MIN_ROOM: usize = 512;

/// The least room to read into, where as much is wanted: bytes.
const LEAST_SPACE: usize = 4 << 10;

/// How many times as large as what has arrived a spare buffer may be that is taken for it. Who announces
/// much and sends little has to have filled that buffer before.
const MAX_LEAP: usize = 16;

impl Buffer {
    /// No payload yet, and room for a header in front of it.
    fn empty(bytes: Vec<u8>) -> Self {
        Self { bytes, start: MAX_HEADER, end: MAX_HEADER }
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory, used or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The payload from byte `at` on, to be changed in place.
    pub fn payload_from(&mut self, at: usize) -> &mut [u8] {
        &mut self.bytes[self.start + at..self.end]
    }

    /// Adds `piece` to the end, growing by doubling.
    pub fn append(&mut self, piece: &[u8], pool: &mut Pool) {
        self.append_towards(piece, piece.len(), pool);
    }

    /// Adds `piece` to the end, of `whole` bytes that were announced from here on; grows as
    /// [`space`](Self::space) does.
    pub fn append_towards(&mut self, piece: &[u8], whole: usize, pool: &mut Pool) {
        self.reserve(piece.len(), whole, pool);
        self.bytes[self.end..self.end + piece.len()].copy_from_slice(piece);
        self.end += piece.len();
    }

    /// Room behind the payload to read into, at most `want` bytes. The buffer grows by doubling what
    /// has arrived, so that nothing is reserved for a length that was only announced; but a spare buffer
    /// that the pool has for all of it is taken once a good part has arrived.
    pub fn space(&mut self, want: usize, pool: &mut Pool) -> &mut [u8] {
        self.reserve(want.min(LEAST_SPACE), want, pool);
        let len = want.min(self.bytes.len() - self.end);
        &mut self.bytes[self.end..self.end + len]
    }

    /// Makes room for `least` more bytes, or for `want` where that costs nothing.
    fn reserve(&mut self, least: usize, want: usize, pool: &mut Pool) {
        if self.bytes.len() - self.end >= least {
            return;
        }
        let needed = self.len() + least;
        let all = (self.len() + want).min(needed.saturating_mul(MAX_LEAP));
        let mut larger = pool.take_spare(all).unwrap_or_else(|| pool.take(needed));
        larger.bytes[larger.end..larger.end + self.len()].copy_from_slice(self.payload());
        larger.end += self.len();
        pool.put(mem::replace(self, larger));
    }

    /// Counts the first `len` bytes of [`space`](Self::space) as payload.
    pub fn filled(&mut self, len: usize) {
        debug_assert!(self.end + len <= self.bytes.len());
        self.end += len;
    }

    /// Puts `header` right in front of the payload and gives the whole as [`WireBytes`]; gives the
    /// buffer back where it has no room there.
    pub fn with_header(mut self, header: &[u8]) -> Result<WireBytes, Self> {
        if prepend(header, &mut self.bytes, &mut self.start) {
            Ok(WireBytes(self))
        } else {
            Err(self)
        }
    }

    /// The same bytes, to be sent as they are.
    pub fn into_wire(self) -> WireBytes {
        WireBytes(self)
    }
}

/// Puts `header` in front of `bytes[*start..]`, where there is room for it; says whether there was.
fn prepend(header: &[u8], bytes: &mut [u8], start: &mut usize) -> bool {
    let Some(at) = start.checked_sub(header.len()) else { return false };
    bytes[at..*start].copy_from_slice(header);
    *start = at;
    true
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { start: 0, end: bytes.len(), bytes }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.payload(), f)
    }
}

/// Bytes on their way to the wire: a frame, or what is left of one.
#[derive(Debug, Clone, Default)]
pub struct WireBytes(Buffer);

impl WireBytes {
    /// Adds `bytes` behind those that are left.
    pub fn append(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.0.append(bytes, pool);
    }

    /// What is left to send.
    pub fn as_slice(&self) -> &[u8] {
        self.0.payload()
    }

    /// Drops the first `len` bytes, as they are sent.
    pub fn advance(&mut self, len: usize) {
        debug_assert!(len <= self.0.len());
        self.0.start += len;
    }

    /// The buffer, for the pool.
    pub fn into_buffer(self) -> Buffer {
        self.0
    }
}

/// What one thread lends to the calls of its connections: spare buffers, in rooms that are powers of two,
/// its [`Codecs`], and a count of the [work](Self::take_work) done.
#[derive(Debug)]
pub struct Pool {
    spare: [Vec<Vec<u8>>; CLASSES],
    held: usize,
    max_held: usize,
    /// Units of work since it was last taken.
    pub(super) work: u64,
    inflate_allowance: usize,
    /// What compressed messages need.
    pub(super) codecs: Codecs,
    /// Memory for the frame that extensions of one's own have in hand; empty between two.
    pub(super) scratch: Vec<u8>,
}

/// Rooms kept: 512 bytes to 2 MiB.
const CLASSES: usize = 13;

impl Pool {
    /// Keeps at most `max_held` bytes of buffers; what comes on top goes back to the allocator.
    pub fn new(max_held: usize) -> Self {
        Self {
            spare: Default::default(),
            held: 0,
            max_held,
            work: 0,
            inflate_allowance: usize::MAX,
            codecs: Codecs::default(),
            scratch: Vec::new(),
        }
    }

    /// An empty buffer with room for at least `len` bytes of payload.
    pub fn take(&mut self, len: usize) -> Buffer {
        self.take_spare(len)
            .unwrap_or_else(|| Buffer::empty(vec![0; MAX_HEADER + room_of(class_of(len))]))
    }

    /// An empty buffer with room for at least `len` bytes of payload, where there is a spare one.
    fn take_spare(&mut self, len: usize) -> Option<Buffer> {
        let bytes = self.spare.get_mut(class_of(len))?.pop()?;
        self.held -= bytes.len();
        Some(Buffer::empty(bytes))
    }

    /// A buffer with a copy of `payload`.
    fn copy(&mut self, payload: &[u8]) -> Buffer {
        let mut buffer = self.take(payload.len());
        buffer.end += payload.len();
        buffer.bytes[buffer.start..buffer.end].copy_from_slice(payload);
        buffer
    }

    /// Takes a buffer back.
    pub fn put(&mut self, Buffer { bytes, .. }: Buffer) {
        let size = bytes.len();
        let class = class_of(size.saturating_sub(MAX_HEADER));
        // One that came from elsewhere has another size.
        if size != MAX_HEADER + room_of(class) || self.held + size > self.max_held {
            return;
        }
        if let Some(spare) = self.spare.get_mut(class) {
            spare.push(bytes);
            self.held += size;
        }
    }

    /// Bytes kept now.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The work that calls with this pool have done since this was last asked, in units that each take
    /// about as long as reading and unmasking one byte (0.1 ns): what was inflated and compressed, what
    /// extensions of one's own were given, and a fixed amount for each frame received. The bytes read
    /// and sent are not in it, as the caller knows them.
    pub fn take_work(&mut self) -> u64 {
        mem::take(&mut self.work)
    }

    /// What [`take_work`](Self::take_work) would give.
    #[inline]
    pub(crate) fn work(&self) -> u64 {
        self.work
    }

    /// Sets how many bytes [`Connection::receive`](super::connection::Connection::receive) may still
    /// inflate, by all calls together, before it returns early. `usize::MAX`, the default, is no bound.
    ///
    /// Compressed blocks and windows that are set up count as the bytes that would take as long. What is
    /// left inside the inflater when its input is used up comes out in any case: it is a few kilobytes
    /// at most. A frame that passes extensions of one's own is inflated as a whole once the last of it is
    /// taken.
    pub fn set_inflate_allowance(&mut self, bytes: usize) {
        self.inflate_allowance = bytes;
    }

    /// Bytes that may still be inflated.
    pub(super) fn inflate_allowance(&self) -> usize {
        self.inflate_allowance
    }

    /// Counts `bytes` that were inflated, or what takes as long.
    pub(super) fn count_inflated(&mut self, bytes: usize) {
        self.work += work::INFLATED_BYTE * bytes as u64;
        if self.inflate_allowance != usize::MAX {
            self.inflate_allowance = self.inflate_allowance.saturating_sub(bytes);
        }
    }

    /// Inflates what cannot stop in the middle: it is counted, and the allowance does not end it.
    pub(super) fn without_stop<T>(&mut self, inflate: impl FnOnce(&mut Self) -> T) -> T {
        let allowance = mem::replace(&mut self.inflate_allowance, usize::MAX);
        let before = self.work;
        let result = inflate(self);
        if allowance != usize::MAX {
            let bytes = (self.work - before) / work::INFLATED_BYTE;
            self.inflate_allowance = allowance.saturating_sub(bytes as usize);
        }
        result
    }
}

/// What things cost in units of [`Pool::take_work`], roughly, as measured with messages of a chat: a
/// unit is 0.1 ns on the machine of `benches/deflate.rs`.
pub(super) mod work {
    /// A frame received: its header is decoded and what it means is decided.
    pub const FRAME: u64 = 64;
    /// A byte inflated: 0.6 to 0.9 ns.
    pub const INFLATED_BYTE: u64 = 8;
    /// A compressed block, in bytes inflated: the tables of its codes take 1.1 µs, however few bytes
    /// follow.
    pub const BLOCK_AS_INFLATED: usize = 1 << 10;
    /// A byte given to a compressor: 1.5 to 9 ns, by its level.
    pub const COMPRESSED_BYTE: u64 = 32;
    /// A message given to a compressor: resetting that takes 1.7 µs, and a table of codes 3 µs.
    pub const COMPRESSED_MESSAGE: u64 = 32 << 10;
    /// A frame that passes extensions of one's own: it is copied and each extension is called.
    pub const PASSED_FRAME: u64 = 1 << 10;
    /// A byte of such a frame.
    pub const PASSED_BYTE: u64 = 2;

    /// A frame of `len` bytes that passes extensions of one's own.
    pub fn passing(len: usize) -> u64 {
        PASSED_FRAME + PASSED_BYTE * len as u64
    }

    /// A message of `len` bytes given to a compressor.
    pub fn compressing(len: usize) -> u64 {
        COMPRESSED_MESSAGE + COMPRESSED_BYTE * len as u64
    }
}

/// The number of the least room that `len` bytes fit into.
fn class_of(len: usize) -> usize {
    ((len.max(MIN_ROOM) - 1).ilog2() + 1 - MIN_ROOM.ilog2()) as usize
}

/// Bytes of a room by its number.
fn room_of(class: usize) -> usize {
    MIN_ROOM << class
}

/// Payload bytes: a slice of what was read, or a buffer where they came in pieces.
#[derive(Debug)]
pub enum Payload<'a> {
    /// A slice of whatever the caller sends, or of the owner's read buffer.
    Borrowed(&'a [u8]),
    /// A slice of the owner's read buffer, and the room in front of it.
    Lent(Lent<'a>),
    /// Bytes of its own.
    Owned(Buffer),
}

/// A payload where it was read, behind the header that it came with: room for another, so that it can be
/// sent on without a copy.
pub struct Lent<'a> {
    bytes: &'a mut [u8],
    start: usize,
}

impl<'a> Lent<'a> {
    /// The payload of `frame`, whose header is its first `header_len` bytes.
    pub(crate) fn new(frame: &'a mut [u8], header_len: usize) -> Self {
        debug_assert!(header_len <= frame.len());
        Self { bytes: frame, start: header_len }
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// As a slice is: whatever a panic leaves in these bytes, they are bytes.
impl UnwindSafe for Lent<'_> {}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.payload(), f)
    }
}

impl Payload<'_> {
    /// Bytes of payload.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Borrowed(bytes) => bytes.len(),
            Self::Lent(lent) => lent.bytes.len() - lent.start,
            Self::Owned(buffer) => buffer.len(),
        }
    }

    /// Whether there is no payload.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same bytes, owned. Always inlined: most often nothing is to be done, and then a call costs more
    /// than all else.
    #[inline(always)]
    pub fn into_owned(self) -> Payload<'static> {
        Payload::Owned(match self {
            Self::Owned(buffer) => buffer,
            Self::Borrowed(_) | Self::Lent(_) => Buffer::from(self.to_vec()),
        })
    }

    /// Puts `header` right in front of the payload, whose part it is from then on, where there is room for
    /// it without a copy; says whether there was.
    pub(crate) fn prepend(&mut self, header: &[u8]) -> bool {
        match self {
            Self::Borrowed(_) => false,
            Self::Lent(lent) => prepend(header, lent.bytes, &mut lent.start),
            Self::Owned(buffer) => prepend(header, &mut buffer.bytes, &mut buffer.start),
        }
    }

    /// As [`into_owned`](Self::into_owned), in a buffer of the `pool`'s.
    pub fn into_owned_in(self, pool: &mut Pool) -> Payload<'static> {
        Payload::Owned(match self {
            Self::Borrowed(bytes) => pool.copy(bytes),
            Self::Lent(lent) => pool.copy(lent.payload()),
            Self::Owned(buffer) => buffer,
        })
    }
}

/// What is borrowed stays so; all else becomes a copy of its own.
impl Clone for Payload<'_> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(bytes) => Self::Borrowed(bytes),
            Self::Lent(lent) => Self::Owned(Buffer::from(lent.payload().to_vec())),
            Self::Owned(buffer) => Self::Owned(buffer.clone()),
        }
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Lent(lent) => lent.payload(),
            Self::Owned(buffer) => buffer.payload(),
        }
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::guard;

    #[test]
    fn a_buffer_grows_by_doubling_and_keeps_its_bytes() {
        let mut pool = Pool::new(1 << 20);
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        for round in 0..200u32 {
            let piece = vec![round as u8; 97];
            buffer.append(&piece, &mut pool);
            expected.extend(piece);
            let room = buffer.bytes.len() - MAX_HEADER;
            assert!(room <= (2 * buffer.len()).max(MIN_ROOM));
        }
        assert_eq!(buffer.payload(), expected);
    }

    #[test]
    fn space_doubles_what_has_arrived_and_reserves_nothing_else() {
        let mut pool = Pool::new(0);
        let mut buffer = Buffer::default();
        for step in (1..3_000).cycle().step_by(97).take(200) {
            let len = buffer.space(1 << 30, &mut pool).len();
            assert!(len >= LEAST_SPACE);
            assert!(buffer.bytes.len() <= 2 * (buffer.len() + LEAST_SPACE) + MAX_HEADER);
            buffer.filled(step.min(len));
        }
        assert_eq!(buffer.space(10, &mut pool).len(), 10);
    }

    #[test]
    fn a_spare_buffer_for_all_that_was_announced_is_taken_once_a_good_part_has_arrived() {
        const WHOLE: usize = 1 << 20;
        for (arrived, is_taken) in [(1, false), (WHOLE / MAX_LEAP - LEAST_SPACE, true)] {
            let mut pool = Pool::new(2 * WHOLE);
            let spare = pool.take(WHOLE);
            pool.put(spare);
            let (piece, mut buffer) = (vec![7; arrived], Buffer::default());
            buffer.append_towards(&piece, WHOLE, &mut pool);
            let room = buffer.space(WHOLE - arrived, &mut pool).len();
            assert_eq!(room == WHOLE - arrived, is_taken, "{arrived} bytes have arrived");
            assert_eq!(pool.take_spare(WHOLE).is_none(), is_taken, "{arrived} bytes have arrived");
            assert_eq!(buffer.payload(), piece);
        }
    }

    #[test]
    fn a_header_goes_in_front_without_a_copy() {
        let mut pool = Pool::new(0);
        let mut buffer = pool.take(100);
        buffer.append(b"Hello", &mut pool);
        let mut wire = buffer.with_header(&[0x81, 5]).unwrap();
        assert_eq!(wire.as_slice(), b"\x81\x05Hello");
        wire.advance(3);
        assert_eq!(wire.as_slice(), b"ello");
        assert!(Buffer::from(b"no room".to_vec()).with_header(&[0x81, 7]).is_err());
    }

    #[test]
    fn a_payload_takes_a_header_where_there_is_room_in_front_of_it() {
        let mut frame = *b"\x81\x85keyyHello";
        let mut pool = Pool::new(0);
        let mut buffer = pool.take(5);
        buffer.append(b"Hello", &mut pool);
        for (name, mut payload, has_room) in [
            ("borrowed", Payload::Borrowed(b"Hello"), false),
            ("lent", Payload::Lent(Lent::new(&mut frame, 6)), true),
            ("owned", Payload::Owned(buffer), true),
            ("owned, from elsewhere", Payload::Owned(b"Hello".to_vec().into()), false),
        ] {
            assert_eq!(payload.clone(), payload, "{name}");
            assert_eq!(payload.prepend(b"\x81\x05"), has_room, "{name}");
            let wire: &[u8] = if has_room { b"\x81\x05Hello" } else { b"Hello" };
            assert_eq!((&*payload, &*payload.clone()), (wire, wire), "{name}");
            assert!(!payload.prepend(&[0; MAX_HEADER]), "{name}: so much room there is not");
            assert_eq!(&*payload.into_owned_in(&mut pool), wire, "{name}");
        }
    }

    #[test]
    fn a_payload_may_be_taken_to_where_a_panic_is_caught() {
        let mut frame = *b"\x81\x85keyyHello";
        let payload = Payload::Lent(Lent::new(&mut frame, 6));
        assert_eq!(guard(|| payload.into_owned()).unwrap(), Payload::Borrowed(b"Hello"));
    }

    #[test]
    fn a_pool_keeps_at_most_its_bound() {
        let size = 512 + MAX_HEADER;
        let mut pool = Pool::new(2 * size);
        let buffers: Vec<_> = (0..3).map(|_| pool.take(512)).collect();
        buffers.into_iter().for_each(|buffer| pool.put(buffer));
        assert_eq!(pool.held(), 2 * size);
        assert!(pool.take(512).is_empty());
        assert_eq!(pool.held(), size);
    }

    #[test]
    fn a_buffer_that_was_sent_comes_back_as_good_as_new() {
        let mut pool = Pool::new(1 << 20);
        let mut buffer = pool.take(0);
        buffer.append(b"Hello", &mut pool);
        let mut wire = buffer.with_header(&[0x81, 5]).unwrap();
        wire.advance(7);
        assert!(wire.as_slice().is_empty());
        pool.put(wire.into_buffer());
        assert_eq!(pool.held(), MAX_HEADER + MIN_ROOM);

        let again = pool.take(0);
        assert!(again.is_empty());
        assert_eq!(pool.held(), 0, "the very same one");
        assert!(again.with_header(&[0; MAX_HEADER]).is_ok(), "there is room for any header");
    }

    #[test]
    fn a_pool_leaves_to_the_allocator_what_it_has_no_place_for() {
        let mut pool = Pool::new(usize::MAX);
        for (name, buffer) in [
            ("between two classes", Buffer::from(vec![0; MAX_HEADER + 1000])),
            ("smaller than all", Buffer::from(vec![0; MAX_HEADER + MIN_ROOM / 2])),
            ("larger than all", Buffer::from(vec![0; MAX_HEADER + (MIN_ROOM << CLASSES)])),
            ("nothing", Buffer::default()),
        ] {
            pool.put(buffer);
            assert_eq!(pool.held(), 0, "{name}");
        }
        let largest = MIN_ROOM << (CLASSES - 1);
        let buffer = pool.take(largest);
        pool.put(buffer);
        assert_eq!(pool.held(), MAX_HEADER + largest);
        assert!(pool.take(largest + 1).is_empty());
        assert_eq!(pool.held(), MAX_HEADER + largest, "it had to be made anew");
    }
}
