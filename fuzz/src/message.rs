//! Legal frames in any order, against the rules of §5.4 to §5.6 written down once more, plainly.

use std::{sync::Arc, time::Instant};

use chinwag::{
    CloseCause, CloseCode, CloseReason, Limits, Opcode, ProtocolError, Role,
    protocol::{
        buffer::Pool,
        close::decode_close,
        connection::{Mode, Settings, State},
        frame::{Frame, Header},
        mask::apply_mask,
        message::Message,
    },
};

use super::connection::{Outcome, Run, Seen, settings};

/// Byte 0: bit 0 the role, bit 1 raw mode, bits 2 and 3 the limits. Byte 1 is the size of the pieces,
/// in steps of 1 or, with bit 4 of byte 0, of 256. The rest is frames, as [`read_frame`] has them.
pub fn check(data: &[u8]) {
    let [choice, size, rest @ ..] = data else { return };
    let run = Run {
        role: if choice & 1 == 0 { Role::Server } else { Role::Client },
        settings: settings(
            if choice & 2 == 0 { Mode::Messages } else { Mode::Raw },
            [100, 1000, 40_000, 100_000][usize::from(choice >> 2 & 3)],
        ),
        close_first: false,
    };
    let size = usize::from(*size).max(1) << if choice & 16 == 0 { 0 } else { 8 };

    let (mut rest, mut position) = (rest, 0);
    let (mut frames, mut wire) = (Vec::new(), Vec::new());
    while wire.len() < ENOUGH
        && let Some(frame) = read_frame(&mut rest, &mut position, run.role)
    {
        write(&frame, &mut wire);
        frames.push(frame);
    }
    let size = size.max(wire.len() / 512);
    let whole = run.whole(&wire);
    Model::of(&frames, &run).compare(&whole);
    run.check_pieces(&wire, size, &whole);
    check_return(&run, &whole);
}

/// Bytes of frames after which no more are read, so that no input takes long.
const ENOUGH: usize = 150_000;

type OneFrame = (Header, Vec<u8>);

/// A frame that the fuzzer describes in two bytes: bits 0 to 2 the opcode, bit 3 FIN, bits 4 and 5
/// what the payload is made of, bits 6 and 7 the unit of the length; then the length.
fn read_frame(data: &mut &[u8], position: &mut usize, receiver: Role) -> Option<OneFrame> {
    let &[what, len, ref rest @ ..] = *data else { return None };
    *data = rest;
    let opcode = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Continuation,
        Opcode::Ping,
        Opcode::Pong,
        Opcode::Close,
        Opcode::Text,
    ][usize::from(what & 7)];
    let mut len = usize::from(len) * [1, 1, 64, 256][usize::from(what >> 6)];
    if opcode.is_control() {
        len = len.min(125);
    }
    let payload = match what >> 4 & 3 {
        // The fuzzer's own bytes.
        0 => {
            let (inline, rest) = data.split_at(len.min(data.len()));
            *data = rest;
            inline.to_vec()
        }
        1 => vec![b'a'; len],
        // Text that goes on where the last such frame stopped, also inside a character.
        2 => {
            let start = *position % 9;
            *position += len;
            "é€😀".bytes().cycle().skip(start).take(len).collect()
        }
        _ => vec![0xff; len],
    };
    let key = (receiver == Role::Server).then_some([what, 0x5a, len as u8, 0xc3]);
    let header = Header::new(opcode, payload.len() as u64)
        .with_fin(opcode.is_control() || what & 8 != 0)
        .with_masking_key(key);
    Some((header, payload))
}

fn write((header, payload): &OneFrame, wire: &mut Vec<u8>) {
    let (bytes, len) = header.encode();
    wire.extend_from_slice(&bytes[..len]);
    let start = wire.len();
    wire.extend_from_slice(payload);
    if let Some(key) = header.masking_key() {
        apply_mask(&mut wire[start..], key, 0);
    }
}

/// What should come of some frames.
struct Model {
    events: Vec<Seen>,
    sent: Vec<(Opcode, Vec<u8>)>,
    end: Option<(CloseReason, State)>,
    /// The unfinished message and the number of its frames.
    message: Option<(Opcode, Vec<u8>, u32)>,
}

impl Model {
    fn of(frames: &[OneFrame], run: &Run) -> Self {
        let mut model = Self { events: vec![], sent: vec![], end: None, message: None };
        for (header, payload) in frames {
            if let Err(error) = model.take(*header, payload, run) {
                let (code, text) = (error.close_code(), error.to_string());
                let payload = [&code.0.to_be_bytes(), text.as_bytes()].concat();
                model.sent.push((Opcode::Close, payload));
                model.finish(CloseCause::Protocol(error), code, &text, State::Closed);
            }
            if model.end.is_some() {
                break;
            }
        }
        model
    }

    fn finish(&mut self, cause: CloseCause, code: CloseCode, text: &str, state: State) {
        self.end = Some((CloseReason { cause, code, text: text.into() }, state));
    }

    fn take(&mut self, header: Header, payload: &[u8], run: &Run) -> Result<(), ProtocolError> {
        let raw = run.settings.mode == Mode::Raw;
        match header.opcode() {
            Opcode::Pong => {}
            Opcode::Ping if raw => {}
            Opcode::Ping => self.sent.push((Opcode::Pong, payload.to_vec())),
            Opcode::Close => {
                let close = decode_close(payload)?;
                let (code, text) = close.unwrap_or((CloseCode::NO_STATUS, ""));
                let state = if raw { State::CloseReceived } else { State::CloseExchanged };
                self.finish(CloseCause::Peer, code, text, state);
                if !raw {
                    let answer = if close.is_some() { payload } else { b"\x03\xe8OK" };
                    self.sent.push((Opcode::Close, answer.to_vec()));
                }
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => {
                let message = self.join(header, payload, &run.settings.limits)?;
                if let Some((opcode, bytes)) = message
                    && !raw
                {
                    self.events.push(Seen::Message(opcode, bytes));
                }
            }
        }
        if raw {
            let frame = Frame::new(header.opcode(), payload).into_owned();
            let (fin, masking_key) = (header.fin(), header.masking_key());
            self.events.push(Seen::Frame(Frame { fin, masking_key, ..frame }));
        }
        Ok(())
    }

    /// The message that this frame finishes.
    fn join(
        &mut self,
        header: Header,
        payload: &[u8],
        limits: &Limits,
    ) -> Result<Option<(Opcode, Vec<u8>)>, ProtocolError> {
        let (opcode, mut bytes, frames) = match (self.message.take(), header.opcode()) {
            (None, Opcode::Continuation) => return Err(ProtocolError::NothingToContinue),
            (None, opcode) => (opcode, Vec::new(), 0),
            (Some(message), Opcode::Continuation) => message,
            (Some(_), _) => return Err(ProtocolError::MessageUnfinished),
        };
        // The opcode comes before the length.
        if payload.len() > limits.max_frame {
            let len = payload.len() as u64;
            return Err(ProtocolError::FrameTooBig { len, max: limits.max_frame });
        }
        if frames == limits.max_fragments {
            return Err(ProtocolError::TooManyFragments { max: limits.max_fragments });
        }
        bytes.extend_from_slice(payload);
        if bytes.len() > limits.max_message {
            let len = bytes.len() as u64;
            return Err(ProtocolError::MessageTooBig { len, max: limits.max_message });
        }
        let wrong =
            str::from_utf8(&bytes).is_err_and(|error| header.fin() || error.error_len().is_some());
        if opcode == Opcode::Text && wrong {
            return Err(ProtocolError::InvalidUtf8);
        }
        if header.fin() {
            return Ok(Some((opcode, bytes)));
        }
        self.message = Some((opcode, bytes, frames + 1));
        Ok(None)
    }

    fn compare(self, outcome: &Outcome) {
        assert_eq!(outcome.events, self.events);
        assert_eq!(outcome.sent, self.sent);
        let (reason, state) =
            self.end.map_or((None, State::Open), |(reason, state)| (Some(reason), state));
        assert_eq!(outcome.reason, reason);
        assert_eq!(outcome.state, state);
    }
}

/// What was received can be sent by a peer, each message in one frame, and arrives again as it was.
fn check_return(run: &Run, whole: &Outcome) {
    let max_message = run.settings.limits.max_message;
    let limits = Limits { max_frame: max_message, ..run.settings.limits.clone() };
    let settings = Arc::new(Settings { limits, ..(*run.settings).clone() });
    let sender = match run.role {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    let [sender, receiver] =
        [sender, run.role].map(|role| Run { role, settings: settings.clone(), close_first: false });

    let (mut wire, mut pool) = (Vec::new(), Pool::new(0));
    let mut connection = sender.connection(&mut wire);
    for event in &whole.events {
        match event {
            Seen::Message(Opcode::Text, bytes) => {
                let text = str::from_utf8(bytes).expect("it was checked");
                connection.send(&Message::from(text), &mut pool, &mut wire)
            }
            Seen::Message(_, bytes) => {
                connection.send(&Message::from(&bytes[..]), &mut pool, &mut wire)
            }
            Seen::Frame(frame) => {
                connection.send_frame(frame, Instant::now(), &mut pool, &mut wire)
            }
        }
        .expect("it is legal");
    }
    let again = receiver.whole(&wire);
    assert!(again.events.iter().map(Seen::plain).eq(whole.events.iter().map(Seen::plain)));
}
