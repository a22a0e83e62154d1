//! The processes of the run: the server, which has a core of its own, and the others.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Where a process runs and with which priority.
#[derive(Clone, Copy)]
pub enum Place {
    /// On the first core. Its priority is above that of processes that aren't part of the run.
    Server,
    /// On the other cores, before every other process, so that it measures the server and not the attackers.
    Healthy,
    /// On the other cores, behind every other process.
    Attackers,
}

/// Runs `program` at its place; `taskset`, `nice` and `chrt` become the program, so its process id is
/// theirs.
fn placed(place: Place, program: &Path, args: &[&str]) -> Command {
    let others = format!("1-{}", cores() - 1);
    let mut words = vec!["-c", "0"];
    if !matches!(place, Place::Server) {
        words[1] = &others;
    }
    match place {
        Place::Healthy if may_be_real_time() => words.extend(["chrt", "-r", "1"]),
        // Without the permission `nice` prints a warning on stderr and runs the program all the same.
        Place::Server | Place::Healthy => words.extend(["nice", "-n", "-10"]),
        Place::Attackers => words.extend(["nice", "-n", "10"]),
    }
    let mut command = Command::new("taskset");
    command.args(words).arg(program).args(args).stdout(Stdio::piped());
    command
}

/// Cores of this machine.
pub fn cores() -> usize {
    let online = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    online.lines().filter(|line| line.starts_with("processor")).count()
}

/// Why the cases can't be run: on one core the attackers would take the server's time.
pub fn obstacle() -> Option<String> {
    if cores() < 2 {
        return Some("there is one core, and the server needs one of its own".into());
    }
    let pinned =
        succeeds("taskset", &["-c", "0", "true"]) && succeeds("taskset", &["-c", "1", "true"]);
    (!pinned).then(|| "taskset is missing, or may not use cores 0 and 1".into())
}

/// Whether a process may be scheduled before all ordinary ones.
pub fn may_be_real_time() -> bool {
    succeeds("chrt", &["-r", "1", "true"])
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Keeps this process off the server's core.
pub fn leave_first_core() {
    succeeds(
        "taskset",
        &["-a", "-c", "-p", &format!("1-{}", cores() - 1), &std::process::id().to_string()],
    );
}

/// This program in another role, which reads commands and writes results line by line; killed when dropped.
pub struct Helper {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub fn start(place: Place, args: &[&str]) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = placed(place, &program, args);
        let mut process =
            command.stdin(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Ok(Self { process, input, output })
    }

    pub fn write_line(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.input, "{line}").map_err(|error| format!("a process has exited: {error}"))
    }

    /// The words of its next line. It prints its errors on stderr.
    pub fn read_words(&mut self) -> Result<Vec<String>, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim() {
            "" => Err("a process has failed".into()),
            line => Ok(line.split(' ').map(str::to_owned).collect()),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// `chinwag serve` with one worker; killed when dropped.
pub struct Server {
    process: Child,
    pub addr: String,
}

impl Server {
    /// Starts it on a free port.
    pub fn start(program: &Path, options: &[&str]) -> Result<Self, String> {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--workers", "1"];
        args.extend(options);
        let mut command = placed(Place::Server, program, &args);
        let mut process =
            command.stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        output.read_line(&mut line).map_err(|error| error.to_string())?;
        let mut server = Self { process, addr: String::new() };
        let addr = line.trim().strip_prefix("http://").and_then(|addr| addr.strip_suffix('/'));
        server.addr = addr.ok_or(format!("{} does not serve", program.display()))?.to_owned();
        // The other lines fit into the pipe.
        thread::spawn(move || output.lines().for_each(drop));
        Ok(server)
    }

    /// Bytes that are resident.
    pub fn resident(&self) -> Result<u64, String> {
        self.status("VmRSS:")
    }

    /// Most bytes that were ever resident.
    pub fn peak(&self) -> Result<u64, String> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<u64, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.map_err(|error| format!("the server has exited: {error}"))?;
        let value =
            status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        let kib = value.and_then(|value| value.parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or("the server has exited".into())
    }

    /// How long its threads have run, and how long they waited for the core while other processes used it.
    pub fn times(&self) -> Result<(Duration, Duration), String> {
        let mut sum = [0; 2];
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        for task in tasks.map_err(|error| format!("the server has exited: {error}"))?.flatten() {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanos = stat.split(' ').flat_map(str::parse::<u64>);
            sum.iter_mut().zip(nanos).for_each(|(sum, nanos)| *sum += nanos);
        }
        Ok((Duration::from_nanos(sum[0]), Duration::from_nanos(sum[1])))
    }

    /// Sends SIGTERM; how long it takes to end, or `None` where it is still there after `patience`.
    pub fn stop(mut self, patience: Duration) -> Result<Option<Duration>, String> {
        let begin = Instant::now();
        let pid = self.process.id().to_string();
        if !succeeds("sh", &["-c", "kill -TERM \"$0\"", &pid]) {
            return Err("the server exited before SIGTERM".into());
        }
        while begin.elapsed() < patience {
            if self.process.try_wait().map_err(|error| error.to_string())?.is_some() {
                return Ok(Some(begin.elapsed()));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
