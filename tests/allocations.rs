//! An echoed message allocates nothing in the steady state.
#![allow(unsafe_code, reason = "a global allocator is unsafe to write")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Read, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

use chinwag::{Message, Peer, Request, Router, Server, Service};
use support::{Running, masked};

/// Counts what the threads that ask for it allocate.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Echo;

impl Service for Echo {
    fn opened(&mut self, _: &mut Peer<'_>) {
        // This is the worker's thread.
        COUNTED.set(true);
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).unwrap();
    }
}

#[test]
fn an_echoed_message_allocates_nothing() {
    let router = Router::new().service("/echo", |_: &Request<'_>| Echo);
    let server = Running::start(Server::builder().router(router).workers(1));
    let mut socket = server.connect("/echo").socket;
    for (name, first, len, pipelined) in [
        ("128 B of text", 0x81, 128, 1),
        ("1 KiB of binary", 0x82, 1024, 1),
        ("16 pipelined texts", 0x81, 128, 16),
    ] {
        let wire = masked(first, &vec![b'a'; len]).repeat(pipelined);
        // The header of a server's frame is 4 bytes from 126 bytes of payload on, which is not masked.
        let mut echo = vec![0; (len + 4) * pipelined];
        let mut round = || {
            socket.write_all(&wire).unwrap();
            socket.read_exact(&mut echo).unwrap();
            assert!(
                echo.chunks(len + 4)
                    .all(|frame| frame[0] == first && frame[4..] == vec![b'a'; len])
            );
        };
        (0..1_000).for_each(|_| round());
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        (0..10_000).for_each(|_| round());
        let after = ALLOCATIONS.load(Ordering::Relaxed);
        assert_eq!(after - before, 0, "{name}: allocations over 10,000 rounds");
    }
    // The counter counts: a new connection allocates.
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    server.connect("/echo");
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before);
}
