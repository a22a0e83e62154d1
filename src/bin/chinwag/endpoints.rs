//! The endpoints for tests: what comes in goes out again.

use chinwag::{Frame, Message, Opcode, Peer, Service};

/// Sends every message back, text as text and binary as binary.
pub struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        // Fails only where the connection is closing already.
        peer.send(message).ok();
    }
}

/// Sends every frame back, fragment by fragment. In raw mode the frames were checked, and nothing
/// else was done: a Ping waits for its Pong (§5.5.3) and a Close for its answer (§5.5.1).
pub struct RawEcho;

impl Service for RawEcho {
    fn frame(&mut self, peer: &mut Peer<'_>, mut frame: Frame<'_>) {
        match frame.opcode {
            Opcode::Ping => frame.opcode = Opcode::Pong,
            // §5.5.3: a Pong that nobody asked for is not answered.
            Opcode::Pong => return,
            // §5.5.1: the answer to a Close typically echoes its code.
            Opcode::Close | Opcode::Text | Opcode::Binary | Opcode::Continuation => {}
        }
        peer.send_frame(frame).ok();
    }
}
