//! Ping and Pong by hand: in raw mode a session sees every frame, and nothing is answered for it.
//!
//! ```sh
//! cargo run --example raw [ADDR]
//! ```

use std::{env, io, time::Duration};

use chinwag::{
    Frame, Opcode, RawSession, Server, ServerBuilder,
    session::{self, Error, timeout},
};

/// How long a client may be silent before it is asked, and then before it is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What it is asked.
const QUESTION: &[u8] = b"are you there?";

/// The echo of frames at `/raw`.
pub fn server() -> ServerBuilder {
    Server::builder().websocket_raw("/raw", echo_frames)
}

async fn echo_frames(mut session: RawSession) -> session::Result {
    let mut is_asked = false;
    loop {
        let mut frame = match timeout(PATIENCE, session.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(_) if is_asked => return Err(Error::new("no Pong came")),
            Err(_) => {
                is_asked = true;
                session.send(Frame::new(Opcode::Ping, QUESTION)).await?;
                continue;
            }
        };
        match frame.opcode {
            // §5.5.3: a Pong has the payload of its Ping.
            Opcode::Ping => frame.opcode = Opcode::Pong,
            Opcode::Pong => {
                is_asked &= *frame.payload != *QUESTION;
                continue;
            }
            // §5.5.1: a Close is answered by one, and that is the end.
            Opcode::Close => return Ok(session.send(frame).await?),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {}
        }
        session.send(frame).await?;
    }
}

fn main() -> io::Result<()> {
    let server = server().bind(env::args().nth(1).as_deref().unwrap_or("127.0.0.1:8080"))?;
    println!("ws://{}/raw", server.local_addr());
    server.run()
}
