//! A client: prints what it hears, and says a line for each.
//!
//! ```sh
//! cargo run --example client [URL]
//! ```

use std::{
    env,
    error::Error,
    io::{self, BufRead, Write},
    time::Duration,
};

use chinwag::{
    CloseCode, CloseReason, Message,
    client::{self, Client},
};

/// For how long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Talks with `url`: hears a message, says a line of `input`, and so on until either ends. Gives why it
/// ended.
pub fn talk(
    url: &str,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<CloseReason, Box<dyn Error>> {
    let mut client = Client::builder().read_timeout(Some(PATIENCE)).connect(url)?;
    let mut lines = input.lines();
    while let Some(message) = client.recv()? {
        match message {
            // What comes from elsewhere may hold what a terminal obeys.
            Message::Text(text) => writeln!(output, "{}", client::escape(&text))?,
            Message::Binary(bytes) => writeln!(output, "{} bytes", bytes.len())?,
        }
        match lines.next() {
            Some(line) => client.send(line?)?,
            None => return Ok(client.close(CloseCode::NORMAL, "that was all")?),
        }
    }
    client.close_reason().ok_or_else(|| "the connection has not ended".into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8080/echo".into());
    let reason = talk(&url, io::stdin().lock(), io::stdout())?;
    eprintln!("{reason}");
    Ok(())
}
