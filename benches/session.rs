//! What a session costs beside the fast face: worker time per echoed message, and memory at rest.
//!
//! ```text
//! cargo bench --bench session
//! ```
//!
//! One server with one worker has both at paths of their own. They are driven in turns from this
//! process, and the worker's own time on a processor is what counts; medians of the turns are compared.
//! Memory is what the program has asked its allocator for. Linux only, as it reads `/proc`.

#![allow(unsafe_code, reason = "a global allocator is unsafe to write")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use chinwag::{Message, Peer, Request, Server, Service, Session};
use support::{Client, Running, masked};

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Whether it counts: not while time is measured.
static COUNTS: AtomicBool = AtomicBool::new(true);

fn count(add: usize, subtract: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        LIVE.fetch_add(add.wrapping_sub(subtract), Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Turns of each.
const TURNS: usize = 9;

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).ok();
    }
}

fn main() {
    let server = Running::start(
        Server::builder()
            .workers(1)
            .ping_period(None)
            .service("/fast", |_: &Request<'_>| Echo)
            .websocket("/session", |mut session: Session| async move {
                while let Some(message) = session.recv().await {
                    session.send(message).await?;
                }
                Ok(())
            }),
    );
    COUNTS.store(false, Ordering::Relaxed);
    for (connections, in_flight, size) in [(50, 1, 128), (50, 1, 1024), (4, 16, 20), (4, 16, 128)] {
        let [fast, session] = compare(&server, connections, in_flight, size);
        println!(
            "echo of {size} B, {connections} connections, {in_flight} in flight: fast face {:.3} µs, \
             session {:.3} µs of worker time a message; {:.1} % of the fast face's speed",
            micros(fast),
            micros(session),
            100.0 * fast.as_secs_f64() / session.as_secs_f64()
        );
    }
    COUNTS.store(true, Ordering::Relaxed);
    // The server's table doubles when it is full: the first ones see to it that it won't.
    at_rest(&server, "/fast", 2_100);
    let [fast, session] = ["/fast", "/session"].map(|path| at_rest(&server, path, 500));
    println!(
        "allocated at rest, 500 each, both ends in this process: fast face {fast} B, session \
         {session} B; {} B more a session",
        session.saturating_sub(fast)
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// The worker's time for one message at each path.
fn compare(server: &Running, connections: usize, in_flight: usize, size: usize) -> [Duration; 2] {
    let mut sides = ["/fast", "/session"].map(|path| {
        let clients = (0..connections).map(|_| server.connect(path)).collect::<Vec<_>>();
        (clients, Vec::new())
    });
    let text = "x".repeat(size);
    let wire = masked(0x81, text.as_bytes()).repeat(in_flight);
    for _ in 0..TURNS {
        for (clients, times) in &mut sides {
            times.push(turn(server, clients, in_flight, &wire, &text));
        }
    }
    sides.map(|(_, mut times)| {
        times.sort();
        times[TURNS / 2]
    })
}

fn turn(
    server: &Running,
    clients: &mut [Client],
    in_flight: usize,
    wire: &[u8],
    text: &str,
) -> Duration {
    let rounds = 20_000 / (clients.len() * in_flight);
    let before = server.cpu_time();
    for _ in 0..rounds {
        for client in &mut *clients {
            client.send_raw(wire);
        }
        for client in &mut *clients {
            for _ in 0..in_flight {
                assert_eq!(client.text(), text);
            }
        }
    }
    (server.cpu_time() - before) / (rounds * clients.len() * in_flight) as u32
}

/// Bytes allocated for a connection of `path`, at both ends.
fn at_rest(server: &Running, path: &str, count: usize) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    let mut clients: Vec<_> = (0..count).map(|_| server.connect(path)).collect();
    for client in &mut clients {
        client.send("there?");
        client.text();
    }
    let after = LIVE.load(Ordering::Relaxed);
    // They stay, so that the table of the next ones grows as it has for these.
    std::mem::forget(clients);
    after.wrapping_sub(before) / count
}
