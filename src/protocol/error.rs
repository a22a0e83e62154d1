//! Errors of the engine, by who broke which rule.
//!
//! [`ProtocolError`]: the peer did, after the opening handshake; it knows its section and its close
//! code. [`HandshakeError`]: no connection yet, so it knows an HTTP status instead. [`SendError`]:
//! our caller did. A need for more bytes and a normal close are no errors.

use std::fmt;

use super::{close::CloseCode, extension::ExtensionError};

pub use super::handshake::HandshakeError;

/// The peer broke a rule of RFC 6455; the connection is failed (§7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// §5.2: a reserved bit is set that no agreed extension claims.
    ReservedBits {
        /// The three bits as they stand in the first byte, shifted down: RSV1 is 4, RSV3 is 1.
        bits: u8,
    },
    /// §5.2: opcodes 3 to 7 and 11 to 15 are reserved.
    ReservedOpcode {
        /// The opcode that came.
        opcode: u8,
    },
    /// §5.1: a client masks every frame.
    Unmasked,
    /// §5.1: a server masks no frame.
    Masked,
    /// §5.5: a control frame is never fragmented.
    FragmentedControl,
    /// §5.5: a control frame carries at most 125 bytes of payload.
    ControlTooLong {
        /// Bytes of payload announced, as far as the seven-bit length tells (126 and 127 stand for
        /// the longer forms).
        len: u64,
    },
    /// §5.2: a payload length is written in the fewest bytes that hold it.
    LengthNotMinimal {
        /// Bytes of payload announced.
        len: u64,
    },
    /// §5.2: the most significant bit of a 64-bit length is zero.
    LengthTopBit,
    /// §10.4: the frame is longer than [`Limits::max_frame`](super::limits::Limits::max_frame).
    FrameTooBig {
        /// Bytes of payload announced.
        len: u64,
        /// Bytes of payload accepted.
        max: usize,
    },
    /// §10.4: the message is longer than [`Limits::max_message`](super::limits::Limits::max_message).
    MessageTooBig {
        /// Bytes of payload announced by the fragments so far, or inflated from them.
        len: u64,
        /// Bytes of payload accepted.
        max: usize,
    },
    /// §10.4: the message has more frames than [`Limits::max_fragments`](super::limits::Limits::max_fragments).
    TooManyFragments {
        /// Frames accepted in one message.
        max: u32,
    },
    /// §5.4: a continuation frame needs an unfinished message to continue.
    NothingToContinue,
    /// §5.4: a new message may not start before the last fragment of this one.
    MessageUnfinished,
    /// §8.1: a text message is valid UTF-8; so is a close reason (§5.5.1).
    InvalidUtf8,
    /// RFC 7692 §7.2.2: a compressed message is a whole number of DEFLATE blocks.
    InvalidDeflate,
    /// §9: what an extension of one's own has found wrong.
    Extension(ExtensionError),
    /// §5.5.1: a Close payload is empty or at least two bytes long.
    ClosePayloadTooShort,
    /// §7.4: a close code that never travels in a Close frame.
    InvalidCloseCode {
        /// The code that came.
        code: u16,
    },
}

impl ProtocolError {
    /// The code that our Close frame gives for this fault (§7.4.1).
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments { .. } => CloseCode::POLICY_VIOLATION,
            Self::InvalidUtf8 | Self::InvalidDeflate => CloseCode::INVALID_PAYLOAD,
            Self::Extension(error) => error.code(),
            Self::ReservedBits { .. }
            | Self::ReservedOpcode { .. }
            | Self::Unmasked
            | Self::Masked
            | Self::FragmentedControl
            | Self::ControlTooLong { .. }
            | Self::LengthNotMinimal { .. }
            | Self::LengthTopBit
            | Self::NothingToContinue
            | Self::MessageUnfinished
            | Self::ClosePayloadTooShort
            | Self::InvalidCloseCode { .. } => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The section that has the rule: of RFC 6455, unless it begins with the name of another.
    pub fn section(self) -> &'static str {
        match self {
            Self::Unmasked | Self::Masked => "5.1",
            Self::ReservedBits { .. }
            | Self::ReservedOpcode { .. }
            | Self::LengthNotMinimal { .. }
            | Self::LengthTopBit => "5.2",
            Self::NothingToContinue | Self::MessageUnfinished => "5.4",
            Self::FragmentedControl | Self::ControlTooLong { .. } => "5.5",
            Self::ClosePayloadTooShort => "5.5.1",
            Self::InvalidCloseCode { .. } => "7.4",
            Self::InvalidUtf8 => "8.1",
            Self::InvalidDeflate => "RFC 7692 7.2.2",
            Self::Extension(_) => "9",
            Self::FrameTooBig { .. }
            | Self::MessageTooBig { .. }
            | Self::TooManyFragments { .. } => "10.4",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ReservedBits { bits } => write!(f, "reserved bits {bits:03b} are set"),
            Self::ReservedOpcode { opcode } => write!(f, "opcode {opcode} is reserved"),
            Self::Unmasked => f.write_str("a client must mask its frames"),
            Self::Masked => f.write_str("a server must not mask its frames"),
            Self::FragmentedControl => f.write_str("a control frame must not be fragmented"),
            Self::ControlTooLong { .. } => f.write_str("a control frame carries at most 125 bytes"),
            Self::LengthNotMinimal { len } => {
                write!(f, "length {len} is not in its shortest form")
            }
            Self::LengthTopBit => f.write_str("the top bit of a length must be zero"),
            Self::FrameTooBig { len, max } => {
                write!(f, "frame is too big: {len}, max size is {max}")
            }
            Self::MessageTooBig { len, max } => {
                write!(f, "message is too big: {len}, max size is {max}")
            }
            Self::TooManyFragments { max } => write!(f, "a message has at most {max} frames"),
            Self::NothingToContinue => f.write_str("there is no message to continue"),
            Self::MessageUnfinished => f.write_str("the message before is not finished"),
            Self::InvalidUtf8 => f.write_str("text is not valid UTF-8"),
            Self::InvalidDeflate => f.write_str("compressed data is not valid"),
            Self::Extension(error) => error.fmt(f),
            Self::ClosePayloadTooShort => f.write_str("a close payload of one byte has no code"),
            Self::InvalidCloseCode { code } => write!(f, "close code {code} must not be sent"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Our caller asked for something that the protocol, or the state of the connection, rules out.
/// Nothing was sent and the connection goes on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The opening handshake is not done, or a Close was already sent: nothing may follow it (§5.5.1).
    /// Also where an extension has just failed the connection over what was to be sent.
    NotOpen,
    /// §5.5: a control frame carries at most 125 bytes of payload.
    ControlTooLong {
        /// Bytes of payload given.
        len: usize,
    },
    /// §5.5: a close reason has at most 123 bytes.
    ReasonTooLong {
        /// Bytes given.
        len: usize,
    },
    /// §7.4: this close code never travels in a Close frame.
    InvalidCloseCode {
        /// The code given.
        code: u16,
    },
    /// Raw mode: the frame is illegal where it stands (§5.2, §5.4, §5.5).
    IllegalFrame,
    /// The queue to the worker that owns the connection is full.
    Busy,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotOpen => f.write_str("the connection is not open"),
            Self::ControlTooLong { len } => {
                write!(f, "a control frame carries at most 125 bytes, not {len}")
            }
            Self::ReasonTooLong { len } => {
                write!(f, "a close reason has at most 123 bytes, not {len}")
            }
            Self::InvalidCloseCode { code } => write!(f, "close code {code} must not be sent"),
            Self::IllegalFrame => f.write_str("the frame is illegal where it stands"),
            Self::Busy => f.write_str("the worker's queue is full"),
        }
    }
}

impl std::error::Error for SendError {}

#[cfg(test)]
mod tests {
    use super::{ProtocolError as E, *};
    use crate::protocol::close::MAX_REASON;

    #[test]
    fn each_fault_knows_its_section_its_code_and_its_words() {
        for (error, section, code, words) in [
            (E::Unmasked, "5.1", 1002, "a client must mask its frames"),
            (E::Masked, "5.1", 1002, "a server must not mask its frames"),
            (E::ReservedBits { bits: 4 }, "5.2", 1002, "reserved bits 100 are set"),
            (E::ReservedOpcode { opcode: 11 }, "5.2", 1002, "opcode 11 is reserved"),
            (E::LengthNotMinimal { len: 7 }, "5.2", 1002, "length 7 is not in its shortest form"),
            (E::LengthTopBit, "5.2", 1002, "the top bit of a length must be zero"),
            (E::NothingToContinue, "5.4", 1002, "there is no message to continue"),
            (E::MessageUnfinished, "5.4", 1002, "the message before is not finished"),
            (E::FragmentedControl, "5.5", 1002, "a control frame must not be fragmented"),
            (
                E::ControlTooLong { len: 126 },
                "5.5",
                1002,
                "a control frame carries at most 125 bytes",
            ),
            (E::ClosePayloadTooShort, "5.5.1", 1002, "a close payload of one byte has no code"),
            (E::InvalidCloseCode { code: 1005 }, "7.4", 1002, "close code 1005 must not be sent"),
            (E::InvalidUtf8, "8.1", 1007, "text is not valid UTF-8"),
            (E::InvalidDeflate, "RFC 7692 7.2.2", 1007, "compressed data is not valid"),
            (
                E::Extension(ExtensionError::new(CloseCode(4000), "out of step")),
                "9",
                4000,
                "out of step",
            ),
            (E::FrameTooBig { len: 9, max: 8 }, "10.4", 1009, "frame is too big: 9, max size is 8"),
            (
                E::MessageTooBig { len: 9, max: 8 },
                "10.4",
                1009,
                "message is too big: 9, max size is 8",
            ),
            (E::TooManyFragments { max: 8 }, "10.4", 1008, "a message has at most 8 frames"),
        ] {
            assert_eq!(error.section(), section, "{error:?}");
            assert_eq!(error.close_code(), CloseCode(code), "{error:?}");
            assert_eq!(error.to_string(), words);
            // The words become the reason of our Close.
            assert!(words.len() <= MAX_REASON, "{error:?}");
        }
    }

    #[test]
    fn the_longest_words_fit_into_a_close_reason() {
        for error in [
            E::FrameTooBig { len: u64::MAX, max: usize::MAX },
            E::MessageTooBig { len: u64::MAX, max: usize::MAX },
            E::LengthNotMinimal { len: u64::MAX },
            E::TooManyFragments { max: u32::MAX },
        ] {
            assert!(error.to_string().len() <= MAX_REASON, "{error}");
        }
    }

    #[test]
    fn a_mistake_of_ours_says_what_it_was() {
        for (error, words) in [
            (SendError::NotOpen, "the connection is not open"),
            (
                SendError::ControlTooLong { len: 126 },
                "a control frame carries at most 125 bytes, not 126",
            ),
            (
                SendError::ReasonTooLong { len: 124 },
                "a close reason has at most 123 bytes, not 124",
            ),
            (SendError::InvalidCloseCode { code: 1006 }, "close code 1006 must not be sent"),
            (SendError::IllegalFrame, "the frame is illegal where it stands"),
            (SendError::Busy, "the worker's queue is full"),
        ] {
            assert_eq!(error.to_string(), words);
        }
    }
}
