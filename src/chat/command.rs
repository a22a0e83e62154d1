//! What a line that somebody wrote asks for.

/// A line of a person, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Say this to everyone in the room.
    Say(&'a str),
    /// Be called this.
    Nick(&'a str),
    /// Go to this room.
    Join(&'a str),
    /// Who is here?
    Who,
    /// What can I do?
    Help,
    /// Goodbye.
    Quit,
    /// A slash and a word that means nothing.
    Unknown,
}

/// What `/help` says.
pub(super) const HELP: &str = "\
* What you write goes to everyone in the room. What begins with a slash is a command:
*   /nick NAME   take another name
*   /join ROOM   go to another room
*   /who         see who is here
*   /help        see this
*   /quit        leave
* To say something that begins with a slash, write two: //like this.";

impl<'a> Command<'a> {
    /// Reads a clean line. The command word is known in any letter case.
    pub(super) fn parse(line: &'a str) -> Self {
        let Some(command) = line.strip_prefix('/') else { return Self::Say(line) };
        if command.starts_with('/') {
            return Self::Say(command);
        }
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match word.to_ascii_lowercase().as_str() {
            "nick" => Self::Nick(rest.trim()),
            "join" => Self::Join(rest.trim()),
            "who" => Self::Who,
            "help" => Self::Help,
            "quit" => Self::Quit,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_unless_it_is_a_command() {
        for (line, command) in [
            ("Hello", Command::Say("Hello")),
            ("", Command::Say("")),
            (" /who", Command::Say(" /who")),
            ("1/2", Command::Say("1/2")),
            ("//who", Command::Say("/who")),
            ("//", Command::Say("/")),
            ("/nick alice", Command::Nick("alice")),
            ("/NICK  alice ", Command::Nick("alice")),
            ("/Nick Mary Ann", Command::Nick("Mary Ann")),
            ("/nick", Command::Nick("")),
            ("/join tea", Command::Join("tea")),
            ("/who", Command::Who),
            ("/WHO now", Command::Who),
            ("/help", Command::Help),
            ("/quit", Command::Quit),
            ("/quitter", Command::Unknown),
            ("/me waves", Command::Unknown),
            ("/", Command::Unknown),
            ("/ who", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), command, "{line:?}");
        }
    }
}
