//! Stamps: who sent a message of a broadcast, which one it is, and when it went.
//!
//! A stamp is letters and digits only, so that it comes through whatever a chat makes of the text around
//! it: names in front, JSON, markup. It is found anywhere in what is delivered.

/// What a stamp says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The sender's number among all.
    pub sender: u16,
    /// The number of the message among the sender's.
    pub number: u32,
    /// When it was sent or, at a fixed rate, was meant to be: nanoseconds of the run.
    pub at: u64,
}

/// Bytes of a stamp: a marker, and 128 bits in hexadecimal digits.
pub const STAMP: usize = MARKER.len() + 32;

const MARKER: &[u8; 4] = b"chwg";

/// Bits of the time: enough for three days.
const AT: u32 = 48;

/// Stamps of one run. Those of other runs, which a chat's history may show, are not taken for ours.
#[derive(Debug, Clone)]
pub struct Stamps {
    run: u32,
    /// Where the last one was found.
    place: usize,
    /// Stamps read lately: each comes once for every member.
    known: Box<[([u8; STAMP], Stamp); KNOWN]>,
}

/// Stamps that are remembered: those of 16 senders, 16 of each.
const KNOWN: usize = 256;

impl Stamps {
    /// Those of the run with number `run`.
    pub fn new(run: u32) -> Self {
        let first = Stamp { sender: 0, number: 0, at: 0 };
        Self { run, place: 0, known: Box::new([(write(run, &first), first); KNOWN]) }
    }

    /// The stamp as text.
    pub fn write(&self, stamp: &Stamp) -> [u8; STAMP] {
        write(self.run, stamp)
    }

    /// The first stamp of this run in `text`.
    pub fn find(&mut self, text: &[u8]) -> Option<Stamp> {
        // Messages of a chat mostly look alike.
        if let Some(stamp) = text.get(self.place..).and_then(|text| self.recall(text)) {
            return Some(stamp);
        }
        let last = text.len().checked_sub(STAMP)?;
        let mut place = 0;
        while place <= last {
            place += text[place..=last].iter().position(|byte| *byte == MARKER[0])?;
            if let Some(stamp) = self.recall(&text[place..]) {
                self.place = place;
                return Some(stamp);
            }
            place += 1;
        }
        None
    }

    /// The stamp that `text` begins with, read once.
    fn recall(&mut self, text: &[u8]) -> Option<Stamp> {
        let text = text.first_chunk::<STAMP>()?;
        // The last digits of the sender and of the number.
        let at = usize::from(text[15] & 15) << 4 | usize::from(text[23] & 15);
        if self.known[at].0 != *text {
            self.known[at] = (*text, self.read(text)?);
        }
        Some(self.known[at].1)
    }

    fn read(&self, text: &[u8; STAMP]) -> Option<Stamp> {
        let digits = text.strip_prefix(MARKER)?.first_chunk::<32>()?;
        let (high, low) = digits.split_at(16);
        let (high, low) = (hex(high)?, hex(low)?);
        let stamp = Stamp {
            sender: (high >> 16) as u16,
            number: ((high as u16 as u32) << 16) | (low >> AT) as u32,
            at: low & ((1 << AT) - 1),
        };
        ((high >> 32) as u32 == self.run).then_some(stamp)
    }
}

fn write(run: u32, stamp: &Stamp) -> [u8; STAMP] {
    let bits = u128::from(run) << 96
        | u128::from(stamp.sender) << 80
        | u128::from(stamp.number) << AT
        | u128::from(stamp.at & ((1 << AT) - 1));
    let mut text = [0; STAMP];
    text[..MARKER.len()].copy_from_slice(MARKER);
    for (at, digit) in text[MARKER.len()..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(bits >> (124 - 4 * at)) as usize & 15];
    }
    text
}

/// The number that hexadecimal `digits` are, at most 16 of them.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// What came of one sender's messages at one member.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The number behind the highest one that came.
    next: u32,
    /// Which of the last 32 up to that one came: the lowest bit is the highest number.
    recent: u32,
}

/// How a delivery stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Later than all before; some between may be missing yet.
    New,
    /// It came after a later one.
    Late,
    /// It had come before, or is so late that nobody can tell.
    Repeated,
}

impl Seen {
    /// Takes down that `number` came.
    pub fn take(&mut self, number: u32) -> Arrival {
        if number >= self.next {
            let step = number - self.next + 1;
            self.recent = self.recent.checked_shl(step).unwrap_or(0) | 1;
            self.next = number.saturating_add(1);
            return Arrival::New;
        }
        let bit = 1_u32.checked_shl(self.next - 1 - number).unwrap_or(0);
        if bit == 0 || self.recent & bit != 0 {
            return Arrival::Repeated;
        }
        self.recent |= bit;
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_wherever_it_stands() {
        let mut stamps = Stamps::new(0xdead_beef);
        for stamp in [
            Stamp { sender: 0, number: 0, at: 0 },
            Stamp { sender: 9, number: 4_711, at: 123_456_789_012 },
            Stamp { sender: u16::MAX, number: u32::MAX, at: (1 << AT) - 1 },
        ] {
            let text = String::from_utf8(stamps.write(&stamp).into()).unwrap();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            for around in [
                text.clone(),
                format!("[user12]: {text} and more"),
                format!(r#"{{"type":"say","who":"c","text":"{text}é","n":1}}"#),
                format!("chwchwgchwg00{text}"),
                format!("c{text}"),
            ] {
                assert_eq!(stamps.find(around.as_bytes()), Some(stamp), "{around}");
                assert_eq!(stamps.find(around.as_bytes()), Some(stamp), "again: {around}");
            }
        }
    }

    #[test]
    fn what_is_no_stamp_of_this_run_is_none() {
        let mut stamps = Stamps::new(7);
        let stamp = Stamp { sender: 1, number: 2, at: 3 };
        let other = String::from_utf8(Stamps::new(8).write(&stamp).into()).unwrap();
        let own = String::from_utf8(stamps.write(&stamp).into()).unwrap();
        for text in [
            "",
            "chwg",
            "hello",
            &"\0".repeat(STAMP),
            &own[1..],
            &own[..STAMP - 1],
            &own.replace('0', "g"),
            &other,
        ] {
            assert_eq!(stamps.find(text.as_bytes()), None, "{text}");
        }
        assert_eq!(stamps.find(format!("{other} {own}").as_bytes()), Some(stamp), "behind another");
    }

    #[test]
    fn deliveries_are_told_apart() {
        use Arrival::{Late, New, Repeated};
        for (name, numbers, arrivals) in [
            ("in order", vec![0, 1, 2], vec![New, New, New]),
            ("one is missing", vec![0, 2, 3], vec![New, New, New]),
            ("two change places", vec![1, 0, 2], vec![New, Late, New]),
            ("one comes twice", vec![0, 1, 1, 0, 2], vec![New, New, Repeated, Repeated, New]),
            ("a late one comes twice", vec![2, 0, 0], vec![New, Late, Repeated]),
            ("as late as can be told", vec![31, 0, 0], vec![New, Late, Repeated]),
            ("later than that", vec![32, 0], vec![New, Repeated]),
            ("a great leap", vec![0, 1_000_000, 999_999], vec![New, New, Late]),
            ("the last number", vec![u32::MAX - 1, u32::MAX - 1], vec![New, Repeated]),
        ] {
            let mut seen = Seen::default();
            let taken: Vec<_> = numbers.iter().map(|number| seen.take(*number)).collect();
            assert_eq!(taken, arrivals, "{name}");
        }
    }
}
