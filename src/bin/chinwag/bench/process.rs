//! What processes and threads cost, from the system's own accounting under `/proc`.
//!
//! Processor time is that of the scheduler, in nanoseconds, thread by thread. Where a system does not
//! keep it, a process's own clock ticks serve: of 10 ms mostly.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Time that a thread has had a processor, and time that it has waited for one: nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduled {
    pub ran: u64,
    pub waited: u64,
}

/// Reads a `schedstat` file.
fn parse_schedstat(text: &str) -> Option<Scheduled> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(Scheduled { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
}

/// What the thread with directory `task` has had.
pub fn scheduled(task: &Path) -> Option<Scheduled> {
    parse_schedstat(&fs::read_to_string(task.join("schedstat")).ok()?)
}

/// The directory of the thread that asks.
pub fn this_thread() -> Option<PathBuf> {
    Some(Path::new("/proc").join(fs::read_link("/proc/thread-self").ok()?))
}

/// The processor time of some processes at one moment: nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Each thread's, by its number.
    threads: BTreeMap<u32, u64>,
    /// That of processes whose threads are not accounted for.
    processes: BTreeMap<u32, u64>,
}

impl CpuTime {
    /// What the processes `pids` have used so far, with all their threads.
    pub fn of(pids: &[u32]) -> Self {
        let mut times = Self::default();
        for &pid in pids {
            match threads_of(pid) {
                Some(threads) => times.threads.extend(threads),
                None => times.processes.extend(ticks_of(pid).map(|nanos| (pid, nanos))),
            }
        }
        times
    }

    /// What was used since `earlier`. A thread that has ended since is not counted.
    pub fn since(&self, earlier: &Self) -> u64 {
        let grown = |now: &BTreeMap<u32, u64>, then: &BTreeMap<u32, u64>| -> u64 {
            now.iter().map(|(id, nanos)| nanos - then.get(id).unwrap_or(&0).min(nanos)).sum()
        };
        grown(&self.threads, &earlier.threads) + grown(&self.processes, &earlier.processes)
    }
}

fn threads_of(pid: u32) -> Option<Vec<(u32, u64)>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let threads: Vec<_> = tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let id = task.file_name().to_str()?.parse().ok()?;
            Some((id, scheduled(&task.path())?.ran))
        })
        .collect();
    (!threads.is_empty()).then_some(threads)
}

fn ticks_of(pid: u32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// User and system time of a `stat` file: fields 14 and 15, counted behind the name in brackets, which
/// may hold anything.
fn parse_stat(text: &str) -> Option<u64> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some((next()? + next()?) * TICK)
}

/// Linux shows processor time to programs in hundredths of a second.
const TICK: u64 = 10_000_000;

/// Bytes of memory that the processes `pids` have resident, together; `None` where one does not tell, or there is none.
pub fn resident(pids: &[u32]) -> Option<u64> {
    if pids.is_empty() {
        return None;
    }
    pids.iter()
        .map(|pid| {
            let file = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
            let exact = file("smaps_rollup").and_then(|text| parse_kib(&text, "Rss:"));
            exact.or_else(|| parse_kib(&file("status")?, "VmRSS:"))
        })
        .sum()
}

/// The bytes in the line of `text` that begins with `name`.
fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Whether there is such a process, and it can be looked at.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        let schedstat = Some(Scheduled { ran: 2_487_069, waited: 15 });
        assert_eq!(parse_schedstat("2487069 15 3\n"), schedstat);
        assert_eq!(parse_schedstat(""), None);
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 97 0 0 0 150 25 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse_stat(stat), Some(1_750_000_000));
        assert_eq!(parse_stat("42 (a) S 1"), None);
        let rollup = "55-7f [rollup]\nRss:                1644 kB\nPss:   284 kB\n";
        assert_eq!(parse_kib(rollup, "Rss:"), Some(1_644 << 10));
        assert_eq!(parse_kib(rollup, "VmRSS:"), None);
    }

    #[test]
    fn threads_are_counted_from_when_they_are_seen() {
        let at = |threads: &[(u32, u64)]| CpuTime {
            threads: threads.iter().copied().collect(),
            ..CpuTime::default()
        };
        let before = at(&[(1, 100), (2, 50)]);
        for (name, after, used) in [
            ("nothing was done", at(&[(1, 100), (2, 50)]), 0),
            ("both worked", at(&[(1, 130), (2, 51)]), 31),
            ("one has come", at(&[(1, 100), (2, 50), (3, 7)]), 7),
            ("one has gone", at(&[(1, 105)]), 5),
        ] {
            assert_eq!(after.since(&before), used, "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_seen_to_work() {
        let own = [std::process::id()];
        assert!(exists(own[0]) && !exists(u32::MAX));
        let before = CpuTime::of(&own);
        let start = std::time::Instant::now();
        let mut sum = 0_u64;
        while CpuTime::of(&own).since(&before) < 5_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
            assert!(start.elapsed().as_secs() < 20, "no work is seen");
        }
        assert!(resident(&own).unwrap() > 1 << 20);
        assert_eq!(resident(&[u32::MAX]), None);
        assert!(scheduled(&this_thread().unwrap()).unwrap().ran > 0);
    }
}
