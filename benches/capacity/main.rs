//! Real connections, as many as the machine gives: what each costs the server's process and the kernel,
//! and one broadcast to all of them.
//!
//! ```text
//! cargo bench --bench capacity                60,000 connections
//! cargo bench --bench capacity -- COUNT       so many, or as many as the machine has room for
//! cargo bench --bench capacity -- most        as many as it has room for
//! ```
//!
//! A process may hold only so many descriptors, so there are several servers, on one port of several
//! loopback addresses, and as many processes that hold the other ends. Each server has one worker and one
//! topic, which all its connections hear; the broadcast is one publication in each. Both ends are on this
//! machine: what the kernel keeps is counted for both of them, and told apart by its own table of
//! objects (`/proc/slabinfo`, which only root reads; it gives objects of one size one name). No Pings are
//! sent: what they cost is told by `cargo bench --bench million`. Linux only; all processes end with this
//! one, or by themselves after ten minutes.

mod child;
mod ends;
mod machine;

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::ExitCode,
    time::{Duration, Instant},
};

use child::Child;
use machine::{Accounts, Room};

/// Connections without a word on how many.
const COUNT: usize = 60_000;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--serve", addr] => ends::serve(addr),
        ["--hold", server, source] => ends::hold(server, source),
        [] => measure(COUNT),
        ["most"] => measure(usize::MAX),
        [count] => match count.parse() {
            Ok(count @ 100..) => measure(count),
            _ => Err("COUNT is a number from 100 on, or the word most".into()),
        },
        _ => Err("one word at most: COUNT, or most".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("capacity: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// The whole run, with `wanted` connections or as many as there is room for.
fn measure(wanted: usize) -> Result<(), String> {
    let room = Room::read()?;
    let count = wanted.min(room.connections());
    println!("{room}");
    if count < wanted && wanted != usize::MAX {
        println!("that is less than {wanted}");
    }
    // Two at least, so that the smallest run is of the same kind as the largest.
    let mut pairs = Pairs::start(count.div_ceil(room.connections_a_process()).max(2))?;
    let servers = pairs.servers.len();
    let port = pairs.port;
    println!("{count} connections to {servers} servers, at port {port} of 127.0.0.1 and on");

    // What the first connection brings with it, such as buffers, is not the others'.
    pairs.open(|_| 1)?;
    let before = pairs.accounts()?;
    let (start, more) = (Instant::now(), count - servers);
    pairs.open(|pair| more / servers + usize::from(pair < more % servers))?;
    let seconds = start.elapsed().as_secs_f64();
    let with = pairs.accounts()?;
    println!("opened in {seconds:.1} s, {:.0} a second\n", more as f64 / seconds);
    print!("{}", with.since(&before, more));

    let Broadcast { last, cpu } = pairs.broadcast(count)?;
    let each = cpu.as_secs_f64() * 1e6 / count as f64;
    println!("\none publication of {} bytes in each server:", ends::PUBLICATION);
    println!("{count} deliveries, none lost, the last after {last:.2?};");
    println!(
        "{each:.2} µs of the servers' processor time for each, which are the first of their sockets"
    );
    Ok(())
}

/// Servers, and for each the process that holds the other ends of its connections.
struct Pairs {
    servers: Vec<Child>,
    holders: Vec<Child>,
    port: u16,
}

/// What came of a broadcast to all.
struct Broadcast {
    /// When the last delivery was read.
    last: Duration,
    /// Processor time of all servers.
    cpu: Duration,
}

impl Pairs {
    fn start(count: usize) -> Result<Self, String> {
        let mut pairs = Self { servers: Vec::new(), holders: Vec::new(), port: 0 };
        for number in 0..count as u32 {
            let here = SocketAddrV4::new(nth(Ipv4Addr::LOCALHOST, number), pairs.port);
            let mut server = Child::start(&["--serve", &here.to_string()])?;
            let addr: SocketAddr = server.hear()?;
            pairs.port = addr.port();
            // Far from the servers' addresses, and with room for the ports of one process in between.
            let source = nth(Ipv4Addr::new(127, 1, 0, 1), number * ends::MAX_SOURCES);
            pairs.holders.push(Child::start(&["--hold", &addr.to_string(), &source.to_string()])?);
            pairs.servers.push(server);
        }
        Ok(pairs)
    }

    /// Opens `share` connections more to each server, all of them at a time.
    fn open(&mut self, share: impl Fn(usize) -> usize) -> Result<(), String> {
        for (pair, holder) in self.holders.iter_mut().enumerate() {
            holder.say(&share(pair).to_string())?;
        }
        self.holders.iter_mut().try_for_each(|holder| holder.hear::<usize>().map(drop))
    }

    /// Says something to all members of all servers; `count` hear it.
    fn broadcast(&mut self, count: usize) -> Result<Broadcast, String> {
        let pids = self.pids().0;
        let cpu = machine::processor_time(&pids)?;
        for holder in &mut self.holders {
            holder.say("listen")?;
        }
        let start = Instant::now();
        for server in &mut self.servers {
            server.say("publish")?;
        }
        let mut heard = 0;
        for holder in &mut self.holders {
            heard += holder.hear::<usize>()?;
        }
        let last = start.elapsed();
        if heard != count {
            return Err(format!("{heard} of {count} have heard the publication"));
        }
        Ok(Broadcast { last, cpu: machine::processor_time(&pids)? - cpu })
    }

    fn accounts(&self) -> Result<Accounts, String> {
        let (servers, holders) = self.pids();
        Accounts::read(&servers, &holders)
    }

    /// The processes: servers, and holders.
    fn pids(&self) -> (Vec<u32>, Vec<u32>) {
        let all = |children: &[Child]| children.iter().map(Child::pid).collect();
        (all(&self.servers), all(&self.holders))
    }
}

/// The address that is `number` behind `first`.
fn nth(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}
