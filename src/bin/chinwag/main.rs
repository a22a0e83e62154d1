//! The `chinwag` command.
#![forbid(unsafe_code)]

mod args;
mod endpoints;
mod logger;
mod quantity;
mod serve;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use args::{Cli, Command, Serve};
use clap::Parser;

/// The status that says that the command was misused, as everywhere.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let status = match Cli::try_parse().map(Cli::into_command) {
        Ok(Command::Serve(options)) => serve(&options),
        Err(error) => explain(&error),
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

/// Says what was wrong with the command line, or gives what it asked for: help or the version.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.print().ok();
        return ExitCode::SUCCESS;
    }
    // The first paragraph has the fault; usage and hints follow it.
    let text = error.to_string();
    let fault = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let words: Vec<&str> = fault.split_whitespace().collect();
    fail(MISUSE, &format!("{} (see --help)", words.join(" ")))
}

/// One line on stderr.
fn fail(status: u8, fault: &str) -> ExitCode {
    // Unlike `eprintln!` it does not panic where nobody listens.
    writeln!(io::stderr(), "chinwag: {fault}").ok();
    ExitCode::from(status)
}
