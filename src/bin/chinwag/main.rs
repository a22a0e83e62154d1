//! The `chinwag` command.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod connect;
mod endpoints;
mod logger;
mod quantity;
mod serve;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use args::{Cli, Command, Serve};
use clap::{Parser, error::ContextValue};

/// The status that says that the command was misused, as everywhere.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let status = match Cli::try_parse().map(Cli::into_command) {
        Ok(Command::Serve(options)) => serve(&options),
        Ok(Command::Connect(options)) => connect(&options),
        Ok(Command::Bench(options)) => bench(&options),
        Err(error) => explain(error),
    };
    log::logger().flush();
    status
}

fn serve(options: &Serve) -> ExitCode {
    logger::init(options.log);
    let server = match serve::bind(options) {
        Ok(server) => server,
        Err(error) => {
            return fail(MISUSE, &format!("cannot listen on {}: {error}", options.listen));
        }
    };
    match serve::run(server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

fn connect(options: &connect::Connect) -> ExitCode {
    match connect::connect(options) {
        Ok(connect::End::Normal) => ExitCode::SUCCESS,
        Ok(connect::End::Failed) => ExitCode::FAILURE,
        Err(error @ connect::Failure::Misuse(_)) => fail(MISUSE, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn bench(options: &bench::Bench) -> ExitCode {
    match bench::bench(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ bench::Failure::Misuse(_)) => fail(MISUSE, &error.to_string()),
        Err(error @ bench::Failure::Failed(_)) => fail(1, &error.to_string()),
    }
}

/// Says what was wrong with the command line, or gives what it asked for: help or the version.
fn explain(mut error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.print().ok();
        return ExitCode::SUCCESS;
    }
    // What was given is escaped first, as an empty line in it would end the paragraph.
    let given: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(escape(text)))),
            _ => None,
        })
        .collect();
    for (kind, value) in given {
        error.insert(kind, value);
    }
    // The first paragraph has the fault; usage and hints follow it.
    let text = error.to_string();
    let fault = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let words: Vec<&str> = fault.split_whitespace().collect();
    fail(MISUSE, &format!("{} (see --help)", words.join(" ")))
}

/// One line on stderr, whatever `fault` repeats of what was given.
fn fail(status: u8, fault: &str) -> ExitCode {
    // Unlike `eprintln!` it does not panic where nobody listens.
    writeln!(io::stderr(), "chinwag: {}", escape(fault)).ok();
    ExitCode::from(status)
}

/// `text` without line ends and other control characters: `\n` stands for a line end.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}
