//! A process of the run, which is told what to do and answers line by line.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{self, ChildStdin, ChildStdout, Command, Stdio},
    str::FromStr,
};

/// This program in another role; killed when dropped.
pub struct Child {
    process: process::Child,
    told: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Child {
    /// Starts it with these arguments.
    pub fn start(args: &[&str]) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| format!("no process: {error}"))?;
        let told = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        Ok(Self { process, told, answers })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Tells it something.
    pub fn say(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.told, "{line}").map_err(|error| format!("a process has gone: {error}"))
    }

    /// Its next line. What went wrong it has said on stderr.
    pub fn hear<T: FromStr>(&mut self) -> Result<T, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        line.trim().parse().map_err(|_| "a process has failed".into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
