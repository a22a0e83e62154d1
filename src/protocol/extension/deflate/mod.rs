//! permessage-deflate: messages compressed one by one (RFC 7692).
//!
//! [`Deflate`] is what an endpoint wants. The client's [`offers`](Deflate::offers) go to the server,
//! the server's [`answer`](Deflate::answer) goes back, the client checks it
//! ([`accept`](Deflate::accept)), and both sides know what is [`Agreed`]. A [`Compressor`] and an
//! [`Inflater`] do the work then. Which frames are compressed is `connection`'s business.
//!
//! Without context takeover a connection owns neither of the two: it borrows them from its thread's
//! [`Codecs`] for the length of a message. With takeover it owns its [`Takeover`] from the first
//! compressed message on, and a server counts those by [`Grant`]s.

mod codec;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub(in crate::protocol) use codec::Inflating;
pub use codec::{Codecs, Compressor, Inflater, Takeover};

use super::{Offer, Param};
use crate::protocol::{
    frame::{Opcode, Rsv},
    limits::{SettingError, in_range},
};

/// The extension's name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

/// The bit that marks a compressed message (RFC 7692 §6).
pub const RSV: Rsv = Rsv::RSV1;

/// Window sizes that can be compressed with: the base-2 logarithm of bytes. RFC 7692 knows 8 too, which
/// the deflate library can inflate only.
const OWN_BITS: RangeInclusive<u8> = 9..=15;

/// How hard, and with how much memory, the deflate library can compress.
const LEVELS: RangeInclusive<u8> = 1..=9;

/// The largest window, which holds where nothing else is agreed (RFC 7692 §7.1.2).
const MAX_BITS: u8 = 15;

/// What an endpoint wants of compression. `server` and `client` say whose messages are meant, so the
/// same value serves both roles.
///
/// # What the settings cost and save
///
/// Messages of a chat as JSON: the size of the plain one, the time to compress and the time to inflate a
/// message; and what a compressor holds. An inflater holds 46 KiB. Without takeover a worker keeps at most
/// 14 compressors and 8 inflaters for all its connections. With takeover each connection has a compressor
/// of its own, and the window of what it received: 179 KiB by default, 207 KiB for a client that does not
/// offer `client_max_window_bits`.
///
/// At the level that the row says, also below [`quick_below`](Self::quick_below):
///
/// | level | memory level | window | takeover | 128 B | 1 KiB | 16 KiB | memory |
/// |---|---|---|---|---|---|---|---|
/// | 1 | 6 | 12 | no | 89 %, 1.5 µs, 0.4 µs | 48 %, 3.6 µs, 1.9 µs | 38 %, 35.7 µs, 14.7 µs | 175 KiB |
/// | 2 | 6 | 12 | no | 81 %, 5.1 µs, 1.4 µs | 37 %, 10.6 µs, 2.9 µs | 27 %, 67.9 µs, 14.6 µs | 175 KiB |
/// | **3** | **6** | **12** | **no** | 81 %, 5.1 µs, 1.4 µs | 36 %, 12.1 µs, 2.8 µs | 24 %, 91.6 µs, 13.7 µs | 175 KiB |
/// | 6 | 6 | 12 | no | 81 %, 5.3 µs, 1.4 µs | 36 %, 13.1 µs, 2.9 µs | 22 %, 156.0 µs, 12.7 µs | 175 KiB |
/// | 9 | 6 | 12 | no | 80 %, 5.6 µs, 1.5 µs | 36 %, 16.6 µs, 2.8 µs | 22 %, 258.1 µs, 13.8 µs | 175 KiB |
/// | 3 | 1 | 9 | no | 81 %, 5.0 µs, 1.4 µs | 41 %, 19.6 µs, 5.0 µs | 34 %, 255.8 µs, 55.5 µs | 134 KiB |
/// | 3 | 5 | 12 | no | 81 %, 5.1 µs, 1.5 µs | 36 %, 12.2 µs, 2.9 µs | 25 %, 95.1 µs, 14.9 µs | 161 KiB |
/// | 3 | 8 | 15 | no | 81 %, 5.6 µs, 1.5 µs | 36 %, 12.7 µs, 2.9 µs | 24 %, 88.7 µs, 13.5 µs | 371 KiB |
/// | 1 | 6 | 12 | yes | 32 %, 0.3 µs, 0.4 µs | 37 %, 2.3 µs, 1.8 µs | 38 %, 35.3 µs, 15.3 µs | 175 KiB |
/// | 3 | 6 | 12 | yes | 28 %, 2.4 µs, 0.4 µs | 26 %, 8.8 µs, 2.6 µs | 24 %, 88.9 µs, 13.9 µs | 175 KiB |
/// | 6 | 6 | 12 | yes | 26 %, 2.5 µs, 0.4 µs | 24 %, 12.7 µs, 2.5 µs | 21 %, 161.1 µs, 13.3 µs | 175 KiB |
/// | 3 | 1 | 9 | yes | 39 %, 3.3 µs, 0.4 µs | 39 %, 19.4 µs, 5.0 µs | 34 %, 256.5 µs, 55.9 µs | 134 KiB |
/// | 3 | 3 | 10 | yes | 31 %, 2.8 µs, 0.4 µs | 31 %, 11.4 µs, 2.8 µs | 25 %, 130.7 µs, 22.6 µs | 138 KiB |
/// | 3 | 6 | 13 | yes | 27 %, 2.4 µs, 0.4 µs | 26 %, 8.7 µs, 2.6 µs | 24 %, 87.3 µs, 13.8 µs | 191 KiB |
/// | 6 | 8 | 15 | yes | 22 %, 4.0 µs, 0.7 µs | 22 %, 27.1 µs, 2.7 µs | 19 %, 386.9 µs, 14.5 µs | 371 KiB |
///
/// By the length of a message, with the other settings as they are by default; in bold what is chosen then
/// for messages that refer to no other:
///
/// | length | once, level 1 | once | with takeover |
/// |---|---|---|---|
/// | 32 B | 97 %, 1.0 µs, 0.1 µs | 97 %, 2.6 µs, 0.1 µs | 18 %, 1.0 µs, 0.2 µs |
/// | 64 B | 98 %, 1.2 µs, 0.2 µs | 98 %, 3.6 µs, 0.2 µs | 23 %, 1.4 µs, 0.2 µs |
/// | 128 B | **89 %, 1.5 µs, 0.4 µs** | 81 %, 5.3 µs, 1.5 µs | 28 %, 2.4 µs, 0.4 µs |
/// | 192 B | **80 %, 1.8 µs, 0.7 µs** | 68 %, 6.3 µs, 1.8 µs | 29 %, 3.1 µs, 0.6 µs |
/// | 256 B | 72 %, 2.0 µs, 0.9 µs | **60 %, 6.9 µs, 2.0 µs** | 29 %, 3.6 µs, 0.7 µs |
/// | 512 B | 57 %, 2.5 µs, 1.3 µs | **45 %, 9.0 µs, 2.3 µs** | 28 %, 6.0 µs, 2.0 µs |
///
/// Measured on two cores of a shared virtual machine by `cargo bench --bench deflate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deflate {
    /// How hard to look for repetitions: 1 (fast) to 9 (small). Default 3: it takes three fifths of
    /// the time of 6 to compress 16 KiB, to a tenth or a fifth more bytes.
    pub level: u8,
    /// Bytes of payload below which what is sent to one connection, and refers to no message before it,
    /// is compressed at level 1, whatever [`level`](Self::level) says. A table of codes made for so short
    /// a message takes twice as long as all the rest. It saves ten to thirty bytes of chat, but nearly
    /// half of what is all numbers: 0, for none, is better there. Default 256.
    pub quick_below: usize,
    /// Memory for the compressor beside its window: 1 (least) to 9 (most). Default 6.
    pub mem_level: u8,
    /// The window that the server's messages are compressed with: 9 (512 bytes) to 15 (32 KiB).
    /// Default 12. A server takes less where the client asks for less (RFC 7692 §7.1.2.1).
    pub server_window_bits: u8,
    /// The window that the client's messages are compressed with: 9 to 15. Default 12. A server can
    /// ask only clients for it that offer the parameter; from others it takes 15 (RFC 7692 §7.1.2.2).
    pub client_window_bits: u8,
    /// Whether the server may go on with the window of its last message. Default no.
    pub server_takeover: bool,
    /// Whether the client may go on with the window of its last message. Default no.
    pub client_takeover: bool,
    /// Whether a server that may go on with its window leaves that to topics
    /// ([`Topic::compressed`](crate::Topic::compressed)). Then no connection has a compressor, so
    /// none of them counts for [`max_takeovers`](Self::max_takeovers): what is sent to one alone is
    /// compressed by itself or, in a topic's cohort, not at all. Default no.
    pub for_topics: bool,
    /// Bytes of payload from which on a message is compressed; a shorter one goes out plain, and the
    /// compressor never sees it. Default 128. With takeover 32 is worth while.
    pub min_len: usize,
    /// Which messages of at least `min_len` bytes are compressed, by their opcode and payload: those for
    /// which this says yes. Default all.
    ///
    /// ```
    /// use chinwag::{Deflate, Opcode, protocol::extension::deflate::Condition};
    ///
    /// // What is binary here are pictures, which do not get any smaller.
    /// let only_text = Condition::new(|opcode, _| opcode == Opcode::Text);
    /// let deflate = Deflate { compress_if: Some(only_text), ..Deflate::default() };
    /// ```
    pub compress_if: Option<Condition>,
    /// Whether connections in raw mode take part. Default no. In one that does, frames come up with
    /// their payload inflated; a message sent in one frame is compressed, fragments go out plain.
    pub raw: bool,
    /// Most connections of a server that are granted takeover at once, on all of its routes. Default
    /// 1,000. Later ones are compressed without.
    pub max_takeovers: usize,
}

/// Says of a message whether it is worth compressing: [`Deflate::compress_if`].
#[derive(Clone)]
pub struct Condition(Arc<Holds>);

type Holds = dyn Fn(Opcode, &[u8]) -> bool + Send + Sync;

impl Condition {
    /// Holds where `holds` says so. It is asked once a message, so it is to be quick.
    pub fn new(holds: impl Fn(Opcode, &[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition")
    }
}

/// Clones are equal.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Condition {}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            level: 3,
            quick_below: 256,
            mem_level: 6,
            server_window_bits: 12,
            client_window_bits: 12,
            server_takeover: false,
            client_takeover: false,
            for_topics: false,
            min_len: 128,
            compress_if: None,
            raw: false,
            max_takeovers: 1_000,
        }
    }
}

impl Deflate {
    /// Whether every setting is within its range. A server checks this when it is built.
    ///
    /// # Errors
    /// [`SettingError`] for the first that is not.
    pub fn check(&self) -> Result<(), SettingError> {
        in_range("Deflate::level", self.level, LEVELS)?;
        in_range("Deflate::mem_level", self.mem_level, LEVELS)?;
        in_range("Deflate::server_window_bits", self.server_window_bits, OWN_BITS)?;
        in_range("Deflate::client_window_bits", self.client_window_bits, OWN_BITS)
    }

    /// Whether every setting is within its range: [`check`](Self::check).
    pub fn is_legal(&self) -> bool {
        self.check().is_ok()
    }

    /// Settings for routes whose services subscribe to topics that compress: takeover on the server's
    /// side with the largest window, [left to topics](Self::for_topics).
    pub fn for_topics() -> Self {
        let server_window_bits = MAX_BITS;
        Self { server_window_bits, server_takeover: true, for_topics: true, ..Self::default() }
    }

    /// Whether windows are left to topics: [`for_topics`](Self::for_topics).
    pub fn leaves_window(&self) -> bool {
        self.for_topics
    }

    /// Whether connections in raw mode take part: [`raw`](Self::raw).
    pub fn covers_raw(&self) -> bool {
        self.raw
    }

    /// Whether a message is to be compressed; all conditions must hold.
    fn is_worth_while(&self, opcode: Opcode, payload: &[u8]) -> bool {
        payload.len() >= self.min_len
            && self.compress_if.as_ref().is_none_or(|Condition(holds)| holds(opcode, payload))
    }

    /// The name and the reserved bits that are this extension's.
    pub(in crate::protocol) fn claims(&self) -> (&'static str, Rsv) {
        (NAME, RSV)
    }

    /// As [`answer`](Self::answer), with takeover only as long as fewer than
    /// [`max_takeovers`](Self::max_takeovers) connections have a [`Grant`] of `takeovers`. One that may
    /// take over gets its own.
    pub fn answer_counted(
        &self,
        offers: &[Offer<'_>],
        takeovers: &Takeovers,
    ) -> Option<(Agreed, Offer<'static>, Option<Grant>)> {
        let (agreed, response) = self.answer(offers)?;
        let owns_compressor = agreed.server_takeover && !self.for_topics;
        if !owns_compressor && !agreed.client_takeover {
            return Some((agreed, response, None));
        }
        let grant = takeovers.grant(self.max_takeovers);
        if grant.is_some() {
            return Some((agreed, response, grant));
        }
        let server_takeover = self.server_takeover && self.for_topics;
        let without = Self { server_takeover, client_takeover: false, ..self.clone() };
        let (agreed, response) = without.answer(offers)?;
        Some((agreed, response, None))
    }

    /// A server's answer to a client's `offers`: what the first acceptable of them comes to, and the
    /// response that says so; `None` where the extension is declined (RFC 7692 §5.1, §7.1).
    pub fn answer(&self, offers: &[Offer<'_>]) -> Option<(Agreed, Offer<'static>)> {
        offers
            .iter()
            .filter(|offer| offer.name == NAME)
            .find_map(|offer| self.agree(&Params::read(offer, Said::Offer).ok()?))
    }

    fn agree(&self, offer: &Params) -> Option<(Agreed, Offer<'static>)> {
        // RFC 7692 §7.1.2.1: what is offered here is a demand. Eight bits cannot be compressed with.
        let server_bits = match offer.server_bits {
            Some(Bits::Exactly(bits)) if !OWN_BITS.contains(&bits) => return None,
            Some(Bits::Exactly(bits)) => bits.min(self.server_window_bits),
            Some(Bits::Any) | None => self.server_window_bits,
        };
        // RFC 7692 §7.1.2.2: a client that does not offer the parameter cannot be asked for it.
        let client_bits = match offer.client_bits {
            Some(Bits::Exactly(bits)) => bits.min(self.client_window_bits),
            Some(Bits::Any) => self.client_window_bits,
            None => MAX_BITS,
        };
        let agreed = Agreed {
            server_window_bits: server_bits,
            client_window_bits: client_bits,
            server_takeover: self.server_takeover && !offer.server_no_takeover,
            client_takeover: self.client_takeover && !offer.client_no_takeover,
        };
        let response = Params {
            server_no_takeover: !agreed.server_takeover,
            client_no_takeover: !agreed.client_takeover,
            // A window that the client has not asked about may stay our own affair.
            server_bits: offer.server_bits.map(|_| Bits::Exactly(server_bits)),
            client_bits: (client_bits < MAX_BITS).then_some(Bits::Exactly(client_bits)),
        };
        Some((agreed, response.write()))
    }

    /// A client's offers, the preferred one first: with the windows of the settings, then without a
    /// demand for the server's, which not every server can keep.
    pub fn offers(&self) -> Vec<Offer<'static>> {
        let preferred = Params {
            server_no_takeover: !self.server_takeover,
            client_no_takeover: !self.client_takeover,
            server_bits: (self.server_window_bits < MAX_BITS)
                .then_some(Bits::Exactly(self.server_window_bits)),
            client_bits: Some(match self.client_window_bits {
                MAX_BITS => Bits::Any,
                bits => Bits::Exactly(bits),
            }),
        };
        let fallback = preferred.server_bits.map(|_| Params { server_bits: None, ..preferred });
        [Some(preferred), fallback].iter().flatten().map(Params::write).collect()
    }

    /// A client's verdict on the server's `response` to its [`offers`](Self::offers).
    ///
    /// # Errors
    /// [`Unacceptable`]: the connection is given up (RFC 7692 §5.1).
    pub fn accept(&self, response: &Offer<'_>) -> Result<Agreed, Unacceptable> {
        let params = Params::read(response, Said::Response)?;
        // RFC 7692 §7.1.1.1: what was asked for is granted, or the offer is declined.
        if !self.server_takeover && !params.server_no_takeover {
            return Err(Unacceptable::ServerTakeover);
        }
        let server_window_bits = match params.server_bits {
            Some(Bits::Exactly(bits)) if bits > self.server_window_bits => {
                return Err(Unacceptable::ServerWindow);
            }
            Some(Bits::Exactly(bits)) => bits,
            Some(Bits::Any) | None => MAX_BITS,
        };
        let client_window_bits = match params.client_bits {
            Some(Bits::Exactly(bits)) if !OWN_BITS.contains(&bits) => {
                return Err(Unacceptable::ClientWindow);
            }
            Some(Bits::Exactly(bits)) => bits.min(self.client_window_bits),
            Some(Bits::Any) | None => self.client_window_bits,
        };
        Ok(Agreed {
            server_window_bits,
            client_window_bits,
            server_takeover: !params.server_no_takeover,
            client_takeover: self.client_takeover && !params.client_no_takeover,
        })
    }
}

/// What both sides keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Agreed {
    /// The window of the server's messages: 8 to 15.
    pub server_window_bits: u8,
    /// The window of the client's messages: 8 to 15.
    pub client_window_bits: u8,
    /// Whether the server's messages may refer back to earlier ones.
    pub server_takeover: bool,
    /// Whether the client's messages may refer back to earlier ones.
    pub client_takeover: bool,
}

impl Agreed {
    /// What is agreed on, in the words of a response that says all of it.
    pub fn terms(self) -> Offer<'static> {
        let window = |bits: u8| (bits < MAX_BITS).then_some(Bits::Exactly(bits));
        Params {
            server_no_takeover: !self.server_takeover,
            client_no_takeover: !self.client_takeover,
            server_bits: window(self.server_window_bits),
            client_bits: window(self.client_window_bits),
        }
        .write()
    }

    /// The window of the server's messages, and whether they may refer back.
    pub fn servers(self) -> (u8, bool) {
        (self.server_window_bits, self.server_takeover)
    }
}

/// Counts the connections of a server that are granted takeover.
#[derive(Debug, Clone, Default)]
pub struct Takeovers(Arc<AtomicUsize>);

impl Takeovers {
    fn grant(&self, max: usize) -> Option<Grant> {
        let one_more = |count| (count < max).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Grant(self.clone()))
    }
}

/// A connection may take over: counted until it is dropped.
#[derive(Debug)]
pub struct Grant(Takeovers);

impl Drop for Grant {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The server's response is not one to our offers (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unacceptable {
    /// A parameter is unknown, stands there twice, or has a value that it may not have.
    Parameter,
    /// The server keeps its context, which it was asked not to do.
    ServerTakeover,
    /// The server's window is larger than was asked for.
    ServerWindow,
    /// The client is to use a window of 8 bits, which it cannot.
    ClientWindow,
}

impl fmt::Display for Unacceptable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parameter => {
                "permessage-deflate is answered with a parameter that may not be there"
            }
            Self::ServerTakeover => "the server does not agree to server_no_context_takeover",
            Self::ServerWindow => "the server's window is larger than was offered",
            Self::ClientWindow => "a client window of 8 bits is not supported",
        })
    }
}

impl std::error::Error for Unacceptable {}

/// The four parameters (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, Default)]
struct Params {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<Bits>,
    client_bits: Option<Bits>,
}

#[derive(Debug, Clone, Copy)]
enum Bits {
    /// The parameter without a value: only a client says so, of its own window.
    Any,
    Exactly(u8),
}

/// Who says it: a client that offers or a server that responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Offer,
    Response,
}

const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

impl Params {
    /// RFC 7692 §7.1: whoever reads a parameter that is unknown, doubled or ill-valued declines.
    fn read(offer: &Offer<'_>, said: Said) -> Result<Self, Unacceptable> {
        let mut params = Self::default();
        for Param { name, value } in &offer.params {
            let is_doubled = match (*name, value.as_deref()) {
                (SERVER_NO_TAKEOVER, None) => {
                    std::mem::replace(&mut params.server_no_takeover, true)
                }
                (CLIENT_NO_TAKEOVER, None) => {
                    std::mem::replace(&mut params.client_no_takeover, true)
                }
                (SERVER_BITS, Some(value)) => params.server_bits.replace(bits(value)?).is_some(),
                (CLIENT_BITS, Some(value)) => params.client_bits.replace(bits(value)?).is_some(),
                (CLIENT_BITS, None) if said == Said::Offer => {
                    params.client_bits.replace(Bits::Any).is_some()
                }
                _ => return Err(Unacceptable::Parameter),
            };
            if is_doubled {
                return Err(Unacceptable::Parameter);
            }
        }
        Ok(params)
    }

    fn write(&self) -> Offer<'static> {
        let flag = |name, is_set: bool| is_set.then_some(Param { name, value: None });
        let window = |name, bits: Option<Bits>| {
            bits.map(|bits| match bits {
                Bits::Any => Param { name, value: None },
                Bits::Exactly(bits) => Param { name, value: Some(Cow::Owned(bits.to_string())) },
            })
        };
        let params = [
            flag(SERVER_NO_TAKEOVER, self.server_no_takeover),
            flag(CLIENT_NO_TAKEOVER, self.client_no_takeover),
            window(SERVER_BITS, self.server_bits),
            window(CLIENT_BITS, self.client_bits),
        ];
        Offer { name: NAME, params: params.into_iter().flatten().collect() }
    }
}

/// RFC 7692 §7.1.2: a decimal integer from 8 to 15 without leading zeroes.
fn bits(value: &str) -> Result<Bits, Unacceptable> {
    match value {
        "8" => Ok(8),
        "9" => Ok(9),
        "10" => Ok(10),
        "11" => Ok(11),
        "12" => Ok(12),
        "13" => Ok(13),
        "14" => Ok(14),
        "15" => Ok(15),
        _ => Err(Unacceptable::Parameter),
    }
    .map(Bits::Exactly)
}
