//! For people: a line that is edited, with what comes printed above it.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool, mpsc},
    thread,
    time::Duration,
};

use chinwag::{
    CloseCode, Opcode, SendError,
    protocol::{
        frame::Header,
        mask::{MaskingKeys, apply_mask},
    },
};
use rustyline::{Config, DefaultEditor, error::ReadlineError};
use signal_hook::{consts::SIGINT, flag, low_level::raise};

use super::{
    End, Receiver, Sender,
    command::{Command, HELP},
    screen::Screen,
    tap::Watch,
};

/// Lines remembered.
const HISTORY: usize = 1_000;

/// A line editor, where stdin and stdout are a terminal that can have one. `screen` prints above it.
pub fn editor(screen: &Screen, history: Option<&Path>) -> Option<DefaultEditor> {
    let config = Config::builder().max_history_size(HISTORY).ok()?.build();
    let mut editor = DefaultEditor::with_config(config).ok()?;
    screen.edit(Box::new(editor.create_external_printer().ok()?));
    if let Some(path) = history
        && let Err(error) = editor.load_history(path)
        && !matches!(&error, ReadlineError::Io(error) if error.kind() == io::ErrorKind::NotFound)
    {
        screen.notice(&format!("the history cannot be read: {error}"));
    }
    Some(editor)
}

/// Sends and prints until the connection ends, or whoever types wants to.
pub fn run(
    mut talk: Talk,
    receiver: Receiver,
    mut editor: DefaultEditor,
    history: Option<&Path>,
) -> io::Result<End> {
    // Ctrl-C while no line is edited does nothing; the connection is ending then.
    flag::register(SIGINT, Arc::new(AtomicBool::new(false)))?;
    let (leave, left) = mpsc::channel::<()>();
    let hears = thread::Builder::new().name("receiver".into()).spawn({
        let screen = Arc::clone(&talk.screen);
        move || {
            let end = hear(receiver, &screen);
            screen.settle();
            // The editor waits for a key, and takes this for one; again, where it was about to begin.
            while left.recv_timeout(WAKE) == Err(mpsc::RecvTimeoutError::Timeout) {
                raise(SIGINT).ok();
            }
            end
        }
    })?;
    while !hears.is_finished() && talk.sender.close_reason().is_none() {
        match editor.readline("> ") {
            Ok(line) => {
                if !line.is_empty() {
                    editor.add_history_entry(&line).ok();
                }
                talk.obey(&line);
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => {
                talk.screen.notice(&format!("the terminal: {error}"));
                break;
            }
        }
    }
    drop(leave);
    if let Some(Err(error)) = history.map(|path| editor.append_history(path)) {
        talk.screen.notice(&format!("the history cannot be kept: {error}"));
    }
    // Who prints must not wait for an editor that takes nothing any more.
    drop(editor);
    talk.sender.close(CloseCode::NORMAL, "").ok();
    Ok(hears.join().unwrap_or(End::Failed))
}

/// How long the editor may take to hear that it is over before it is told again.
const WAKE: Duration = Duration::from_millis(20);

fn hear(mut receiver: Receiver, screen: &Screen) -> End {
    while let Ok(Some(message)) = receiver.recv() {
        if screen.message(&message).is_err() {
            return End::Failed;
        }
    }
    End::of(&receiver, screen)
}

/// What commands act on.
pub struct Talk {
    pub sender: Sender,
    pub screen: Arc<Screen>,
    pub watch: Arc<Watch>,
    keys: MaskingKeys,
    /// Pings without a payload of their own get a number.
    pings: u32,
}

impl Talk {
    pub fn new(sender: Sender, screen: Arc<Screen>, watch: Arc<Watch>) -> Self {
        Self { sender, screen, watch, keys: MaskingKeys::new(rand::random()), pings: 0 }
    }

    fn obey(&mut self, line: &str) {
        let done = match Command::parse(line) {
            Ok(Command::Text(text)) => self.sender.send(text),
            Ok(Command::Binary(bytes)) => self.sender.send(bytes),
            Ok(Command::Fragments(fragments)) => {
                let wire = self.frames(&fragments);
                self.sender.send_wire(&wire)
            }
            Ok(Command::Wire(bytes)) => self.sender.send_wire(&bytes),
            Ok(Command::Ping(payload)) => self.ping(payload),
            Ok(Command::Close(code, reason)) => self.sender.close(code, &reason),
            Ok(Command::Json) => {
                let on = if self.screen.toggle_json() { "on" } else { "off" };
                self.screen.notice(&format!("indenting JSON is {on}"));
                Ok(())
            }
            Ok(Command::Help) => {
                self.screen.help(HELP);
                Ok(())
            }
            Err(fault) => {
                self.screen.notice(&fault);
                Ok(())
            }
        };
        if let Err(error) = done {
            self.screen.notice(&format!("not sent: {error}"));
        }
    }

    fn ping(&mut self, payload: String) -> Result<(), SendError> {
        let payload = if payload.is_empty() {
            self.pings += 1;
            format!("ping {}", self.pings)
        } else {
            payload
        };
        self.watch.expect_pong(payload.as_bytes());
        self.sender.ping(payload.as_bytes())
    }

    /// A text message in so many frames (§5.4).
    fn frames(&mut self, fragments: &[String]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (at, fragment) in fragments.iter().enumerate() {
            let opcode = if at == 0 { Opcode::Text } else { Opcode::Continuation };
            let key = self.keys.next_key();
            Header::new(opcode, fragment.len() as u64)
                .with_fin(at + 1 == fragments.len())
                .with_masking_key(Some(key))
                .append_to(&mut wire);
            let start = wire.len();
            wire.extend_from_slice(fragment.as_bytes());
            apply_mask(&mut wire[start..], key, 0);
        }
        wire
    }
}
