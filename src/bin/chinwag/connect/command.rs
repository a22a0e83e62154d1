//! What a typed line asks for.

use chinwag::CloseCode;

use super::hex;

/// A line that was typed on a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Sends this text.
    Text(String),
    /// Sends these bytes as a binary message.
    Binary(Vec<u8>),
    /// Sends a text message in so many frames.
    Fragments(Vec<String>),
    /// Sends a Ping with this payload.
    Ping(String),
    /// Closes the connection.
    Close(CloseCode, String),
    /// Sends these bytes as they are.
    Wire(Vec<u8>),
    /// Switches the indenting of JSON on or off.
    Json,
    /// Tells the commands.
    Help,
}

pub const HELP: &str = "\
/ping [TEXT]           a Ping; says how long its Pong took
/close [CODE] [REASON] closes; 1000 unless another code is given
/binary HEX            a binary message: /binary 48 65 6c 6c 6f
/fragments A | B | …   a text message in so many frames
/wire HEX              bytes as they are, masked or not, legal or not: /wire 89 80 00000000
/json                  indents messages that are JSON, or stops it
/help                  this
//…                    a text message that starts with a slash
Ctrl-D or Ctrl-C       closes with 1000";

impl Command {
    /// What `line` asks for.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let Some(command) = line.strip_prefix('/') else { return Ok(Self::Text(line.to_owned())) };
        if command.starts_with('/') {
            return Ok(Self::Text(command.to_owned()));
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match name {
            "ping" => Ok(Self::Ping(rest.to_owned())),
            "close" => parse_close(rest),
            "binary" => hex::decode(rest).map(Self::Binary),
            "wire" => hex::decode(rest).map(Self::Wire),
            "fragments" => Ok(Self::Fragments(rest.split(" | ").map(str::to_owned).collect())),
            "json" => Ok(Self::Json),
            "help" => Ok(Self::Help),
            _ => Err(format!(
                "there is no /{name}; /help tells the commands, //{name} sends /{name}"
            )),
        }
    }
}

fn parse_close(rest: &str) -> Result<Command, String> {
    let (first, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if !first.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Command::Close(CloseCode::NORMAL, rest.to_owned()));
    }
    let code = first.parse().map_err(|_| "a close code is a number such as 1000".to_owned())?;
    Ok(Command::Close(CloseCode(code), reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_unless_it_starts_with_a_slash() {
        for (line, command) in [
            ("", Command::Text("".into())),
            ("hello /ping", Command::Text("hello /ping".into())),
            (" /ping", Command::Text(" /ping".into())),
            ("//nick Ann", Command::Text("/nick Ann".into())),
            ("/ping", Command::Ping("".into())),
            ("/ping are you there", Command::Ping("are you there".into())),
            ("/close", Command::Close(CloseCode::NORMAL, "".into())),
            ("/close see you", Command::Close(CloseCode::NORMAL, "see you".into())),
            ("/close 4001", Command::Close(CloseCode(4001), "".into())),
            ("/close 4001 see you", Command::Close(CloseCode(4001), "see you".into())),
            ("/binary 00ff 07", Command::Binary(vec![0, 0xff, 7])),
            ("/binary", Command::Binary(vec![])),
            ("/wire 89 00", Command::Wire(vec![0x89, 0])),
            ("/fragments Hel | lo", Command::Fragments(vec!["Hel".into(), "lo".into()])),
            ("/fragments one", Command::Fragments(vec!["one".into()])),
            ("/json", Command::Json),
            ("/help", Command::Help),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn what_is_no_command_says_how_to_send_it() {
        let error = Command::parse("/nick Ann").unwrap_err();
        assert!(error.contains("//nick sends /nick"), "{error}");
        assert!(Command::parse("/close 99999").is_err());
        assert!(Command::parse("/binary xy").is_err());
        assert!(Command::parse("/wire 8").is_err());
    }
}
