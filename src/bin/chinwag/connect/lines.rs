//! For scripts: a line of stdin is a message, a message is a line of stdout.

use std::{
    io::{self, BufRead},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use chinwag::{CloseCode, Message};

use super::{End, Receiver, Sender, hex, screen::Screen};

/// How lines are sent.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    /// They are hex digits, and go out as binary messages.
    pub binary: bool,
    /// How long to stay after the last one.
    pub wait: Duration,
}

/// Sends and prints until the connection ends.
pub fn run(sender: Sender, mut receiver: Receiver, lines: Lines, screen: &Arc<Screen>) -> End {
    let spoiled = Arc::new(AtomicBool::new(false));
    let sends = thread::Builder::new().name("stdin".into()).spawn({
        let (screen, spoiled) = (Arc::clone(screen), Arc::clone(&spoiled));
        // It may wait for stdin when the connection has ended: nobody waits for it.
        move || send_all(sender, lines, &screen, &spoiled)
    });
    if let Err(error) = sends {
        screen.notice(&format!("no thread for stdin: {error}"));
        return End::Failed;
    }
    while let Ok(Some(message)) = receiver.recv() {
        // As with any filter, it is no news that the reader has had enough.
        if screen.message(&message).is_err() {
            return End::Failed;
        }
    }
    match End::of(&receiver, screen) {
        End::Normal if spoiled.load(Ordering::Relaxed) => End::Failed,
        end => end,
    }
}

/// Sends every line and closes the connection; says in `spoiled` where a line could not be sent.
fn send_all(mut sender: Sender, lines: Lines, screen: &Screen, spoiled: &AtomicBool) {
    let all_sent = send_lines(&mut sender, lines, screen);
    spoiled.store(!all_sent, Ordering::Relaxed);
    thread::sleep(lines.wait);
    // Fails where the connection has ended, which the receiver tells.
    sender.close(CloseCode::NORMAL, "").ok();
}

/// Whether every line could be sent, or nobody was there any more to take it.
fn send_lines(sender: &mut Sender, lines: Lines, screen: &Screen) -> bool {
    let mut stdin = io::stdin().lock();
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        match stdin.read_until(b'\n', &mut line) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                screen.notice(&format!("stdin: {error}"));
                return false;
            }
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let message = match str::from_utf8(line) {
            Ok(text) if lines.binary => hex::decode(text).map(Message::from),
            Ok(text) => Ok(Message::from(text)),
            Err(_) => Err("it is not UTF-8".into()),
        };
        match message {
            Ok(message) => {
                // Fails where the connection has ended and stdin has not: what follows is nobody's.
                if sender.send(message).is_err() {
                    return true;
                }
            }
            Err(fault) => {
                let told = format!("line {number} of stdin is not sent, nor any after it: {fault}");
                screen.notice(&told);
                return false;
            }
        }
    }
    true
}
