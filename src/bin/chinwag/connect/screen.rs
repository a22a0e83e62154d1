//! Where things are told: above the line being edited, or on stdout and stderr.
//!
//! Everything that a server says passes here, and leaves escaped.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use chinwag::{Message, client::escape};
use rustyline::ExternalPrinter;

use super::{hex, json};

/// Prints above the line being edited.
pub type Printer = Box<dyn ExternalPrinter + Send>;

/// Where things are told.
pub struct Screen {
    /// There is one on a terminal.
    printer: OnceLock<Mutex<Printer>>,
    indents: AtomicBool,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    /// Stdout and stderr. `indents` is for messages that are JSON.
    pub fn new(indents: bool) -> Self {
        Self { printer: OnceLock::new(), indents: AtomicBool::new(indents) }
    }

    /// From here on things are told above the line being edited.
    pub fn edit(&self, printer: Printer) {
        self.printer.set(Mutex::new(printer)).ok();
    }

    /// Indents messages that are JSON, or stops it; gives which.
    pub fn toggle_json(&self) -> bool {
        !self.indents.fetch_not(Ordering::Relaxed)
    }

    /// A message of the server's: on a terminal behind a sign, else a line of stdout.
    ///
    /// # Errors
    /// Nobody reads stdout any more.
    pub fn message(&self, message: &Message<'_>) -> io::Result<()> {
        let mut text = match message {
            Message::Text(text) => self.text(text),
            Message::Binary(bytes) => hex::encode(bytes),
        };
        text.push('\n');
        if self.printer.get().is_none() {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            return stdout.flush();
        }
        self.print(format!(
            "{} {text}",
            if matches!(message, Message::Text(_)) { "<" } else { "<0x" }
        ))
    }

    /// Something that is no message, on a line of its own; on a terminal of such a colour that no
    /// message can look like it.
    pub fn notice(&self, text: &str) {
        let text = escape(text);
        // Nobody listens: then nobody misses it.
        match self.printer.get() {
            Some(_) => self.print(format!("{DIM}{text}{PLAIN}\n")).ok(),
            None => writeln!(io::stderr(), "chinwag: {text}").ok(),
        };
    }

    /// Lines of ours.
    pub fn help(&self, text: &str) {
        self.print(format!("{DIM}{text}{PLAIN}\n")).ok();
    }

    /// Waits until what was printed is on the terminal: the printer takes nothing before it is done
    /// with what it took, and this changes nothing, seen or not.
    pub fn settle(&self) {
        self.print("\x1b[A\n".into()).ok();
    }

    fn text(&self, text: &str) -> String {
        let pretty = self.indents.load(Ordering::Relaxed).then(|| json::pretty(text)).flatten();
        match pretty {
            Some(pretty) => {
                let lines: Vec<_> = pretty.lines().map(|line| escape(line).to_string()).collect();
                lines.join("\n")
            }
            None => escape(text).to_string(),
        }
    }

    fn print(&self, text: String) -> io::Result<()> {
        let printed = self.printer.get().map(|printer| {
            let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
            printer.print(text.clone())
        });
        match printed {
            Some(Ok(())) => Ok(()),
            // There is no line being edited any more.
            Some(Err(_)) | None => io::stdout().write_all(text.as_bytes()),
        }
    }
}

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
