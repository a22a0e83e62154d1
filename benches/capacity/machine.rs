//! The machine: what it has room for, and what it says of its memory, all from `/proc`.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    fs,
    time::Duration,
};

/// Bytes that a connection is taken to need, both ends and all that is on its way, before it is measured.
const EXPECTED: u64 = 16 << 10;

/// Descriptors of a process that are no connections.
const OTHER_FILES: usize = 100;

/// Descriptors that two processes need of the one that leads them: a pipe to each, and one back.
const PIPES: usize = 4;

/// What there is room for.
pub struct Room {
    /// Descriptors that one process may have.
    files_a_process: usize,
    /// Descriptors that all processes may still open.
    files: u64,
    /// Bytes of memory that nobody needs.
    memory: u64,
}

impl Room {
    /// As it is now.
    pub fn read() -> Result<Self, String> {
        let files_a_process = rlimit::increase_nofile_limit(u64::MAX);
        let files_a_process = files_a_process.map_err(|error| error.to_string())?;
        let files = read("/proc/sys/fs/file-nr")?;
        let mut files = files.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(used)), Some(Ok(most))) = (files.next(), files.nth(1)) else {
            return Err("file-nr is unreadable".into());
        };
        Ok(Self {
            files_a_process: files_a_process.try_into().unwrap_or(usize::MAX),
            files: most.saturating_sub(used),
            memory: meminfo("MemAvailable:")?,
        })
    }

    /// Connections that one process holds.
    pub fn connections_a_process(&self) -> usize {
        self.files_a_process.saturating_sub(OTHER_FILES).max(1)
    }

    /// Connections whose two ends fit.
    pub fn connections(&self) -> usize {
        self.bounds().into_iter().min().unwrap_or_default()
    }

    /// So many by each of what bounds them: the descriptors of a process, nine tenths of those of the
    /// system, and half of the memory, as others want some too.
    fn bounds(&self) -> [usize; 3] {
        let processes = self.files_a_process.saturating_sub(OTHER_FILES) / PIPES;
        let by_process = self.connections_a_process().saturating_mul(processes);
        [by_process, (self.files / 2 * 9 / 10) as usize, (self.memory / 2 / EXPECTED) as usize]
    }
}

impl Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [by_process, by_system, by_memory] = self.bounds();
        let gib = self.memory as f64 / f64::from(1 << 30);
        writeln!(f, "| room for connections | by |\n|--:|---|")?;
        let each = self.files_a_process;
        writeln!(f, "| {by_process} | {each} descriptors a process (ulimit -n), many processes |")?;
        writeln!(f, "| {by_system} | {} descriptors left to the system (file-max) |", self.files)?;
        writeln!(f, "| {by_memory} | half of {gib:.1} GiB of memory, 16 KiB for both ends |")
    }
}

/// Memory at one moment, or what it has grown by: bytes.
pub struct Accounts {
    servers: i64,
    holders: i64,
    /// Of the kernel's objects, all of them.
    slab: i64,
    /// In the buffers of TCP.
    buffers: i64,
    /// The kernel's objects, kind by kind, where we may know.
    kinds: Option<BTreeMap<String, Objects>>,
}

/// The kernel's objects of one kind.
#[derive(Clone, Copy)]
struct Objects {
    count: i64,
    /// What each takes, with its share of the room between them.
    size: f64,
}

impl Accounts {
    /// As they are now, for these processes.
    pub fn read(servers: &[u32], holders: &[u32]) -> Result<Self, String> {
        let sockstat = read("/proc/net/sockstat")?;
        let pages = sockstat.lines().find_map(|line| {
            let mut words = line.strip_prefix("TCP:")?.split_whitespace();
            words.find(|word| *word == "mem")?;
            words.next()?.parse::<i64>().ok()
        });
        Ok(Self {
            servers: resident(servers)?,
            holders: resident(holders)?,
            slab: meminfo("Slab:")? as i64,
            buffers: pages.ok_or("sockstat is unreadable")? * PAGE,
            kinds: fs::read_to_string("/proc/slabinfo").ok().map(|text| slabs(&text)),
        })
    }

    /// What `count` connections have added since `before`, for each of them.
    pub fn since(&self, before: &Self, count: usize) -> impl Display {
        let kinds = self.kinds.as_ref().zip(before.kinds.as_ref()).map(|(now, then)| {
            let grown = |(name, now): (&String, &Objects)| {
                let then = then.get(name).map_or(0, |then| then.count);
                (name.clone(), Objects { count: now.count - then, ..*now })
            };
            now.iter().map(grown).collect()
        });
        Growth {
            count: count as f64,
            all: Self {
                servers: self.servers - before.servers,
                holders: self.holders - before.holders,
                slab: self.slab - before.slab,
                buffers: self.buffers - before.buffers,
                kinds,
            },
        }
    }
}

/// What connections have added.
struct Growth {
    count: f64,
    all: Accounts,
}

impl Growth {
    fn each(&self, bytes: i64) -> f64 {
        bytes as f64 / self.count
    }
}

impl Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Accounts { servers, holders, slab, buffers, kinds } = &self.all;
        writeln!(f, "| bytes that a connection adds | |\n|---|--:|")?;
        for (name, bytes) in [
            ("to the servers' processes (smaps_rollup)", *servers),
            ("to those that hold the other ends", *holders),
            ("to the kernel's objects, both ends (meminfo: Slab)", *slab),
            ("to the buffers of TCP, both ends (sockstat: mem)", *buffers),
        ] {
            writeln!(f, "| {name} | {:.0} |", self.each(bytes))?;
        }
        let Some(kinds) = kinds else {
            return writeln!(f, "\nwhich of the kernel's objects these are only root is told");
        };
        self.write_kinds(kinds, f)
    }
}

impl Growth {
    /// The kernel's objects that there are more of. What there is one of for a connection counts as the
    /// server's, which is in a poll, and of two each end has one.
    fn write_kinds(
        &self,
        kinds: &BTreeMap<String, Objects>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        writeln!(f, "\n| object of the kernel | a connection | bytes | of the server's end |")?;
        writeln!(f, "|---|--:|--:|--:|")?;
        let (mut all, mut servers) = (0.0, 0.0);
        for (name, Objects { count, size }) in kinds {
            // Whoever looks at descriptors under /proc leaves an inode and its name for each.
            let seen = if OF_ANY_INODE.contains(&&**name) { kinds.get(OF_PROC) } else { None };
            let each = self.each(count - seen.map_or(0, |seen| seen.count));
            // The rest is what else goes on.
            if each < 0.9 || name == OF_PROC {
                continue;
            }
            let bytes = each * size;
            let server = if each < 1.5 { bytes } else { bytes / 2.0 };
            all += bytes;
            servers += server;
            writeln!(f, "| {name} | {each:.2} | {bytes:.0} | {server:.0} |")?;
        }
        writeln!(f, "| in all | | {all:.0} | {servers:.0} |")
    }
}

/// The inodes of `/proc`, and what comes with an inode of whatever kind.
const OF_PROC: &str = "proc_inode_cache";
const OF_ANY_INODE: [&str; 2] = ["dentry", "lsm_inode_cache"];

/// Linux counts memory in pages of this many bytes here.
const PAGE: i64 = 4_096;

/// Reads the table of the kernel's objects.
fn slabs(text: &str) -> BTreeMap<String, Objects> {
    let lines = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // Name, objects in use, all, bytes of one, objects of a slab, pages of a slab.
        let number = |at: usize| words.get(at)?.parse::<i64>().ok();
        let (count, objects, pages) = (number(1)?, number(4)?, number(5)?);
        Some((words[0].to_owned(), Objects { count, size: (pages * PAGE) as f64 / objects as f64 }))
    });
    lines.collect()
}

/// Bytes that are resident of some processes.
fn resident(pids: &[u32]) -> Result<i64, String> {
    let one = |pid: &u32| Ok(field(&read(&format!("/proc/{pid}/smaps_rollup"))?, "Rss:")? as i64);
    pids.iter().map(one).sum()
}

fn meminfo(name: &str) -> Result<u64, String> {
    field(&read("/proc/meminfo")?, name)
}

/// The bytes in the line of `text` that begins with `name`.
fn field(text: &str, name: &str) -> Result<u64, String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
    let kib = value.and_then(|value| value.parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or(format!("there is no {name}"))
}

/// Processor time that some processes have used, with all their threads.
pub fn processor_time(pids: &[u32]) -> Result<Duration, String> {
    let mut nanos = 0;
    for pid in pids {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
        for task in tasks.flatten() {
            let stat = read(&task.path().join("schedstat").to_string_lossy())?;
            let ran = stat.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok());
            nanos += ran.ok_or("schedstat is unreadable")?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
