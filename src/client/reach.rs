//! Reaching a host: its addresses are tried one after the other, and the first that connects wins
//! (RFC 8305).
//!
//! Addresses and a deadline go in, a socket comes out. An attempt that loses is closed before the call
//! returns. Looking up a name is the system's work.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    mem,
    net::{self, SocketAddr},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Registry, Token, net::TcpStream};

/// How long an attempt goes on alone before the next one joins it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Most attempts at once; the oldest one ends for one more, which is eight seconds after it began.
const MAX_ATTEMPTS: usize = 32;

/// Connects to whichever of `addrs` answers first, by `until`.
///
/// # Errors
/// The error of the attempt that failed last, or [`ErrorKind::TimedOut`].
pub(super) fn reach(
    addrs: impl Iterator<Item = SocketAddr>,
    until: Instant,
) -> io::Result<net::TcpStream> {
    race(addrs, until, ATTEMPT_DELAY)
}

fn race(
    addrs: impl Iterator<Item = SocketAddr>,
    until: Instant,
    attempt_delay: Duration,
) -> io::Result<net::TcpStream> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(MAX_ATTEMPTS);
    let mut untried = interleave(addrs.collect()).into_iter().peekable();
    let mut attempts: VecDeque<TcpStream> = VecDeque::new();
    let mut last_error = ErrorKind::AddrNotAvailable.into();
    let mut next_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= until {
            return Err(ErrorKind::TimedOut.into());
        }
        if now >= next_at
            && let Some(addr) = untried.next()
        {
            if attempts.len() == MAX_ATTEMPTS {
                attempts.pop_front();
            }
            match begin(addr, poll.registry()) {
                Ok(attempt) => {
                    attempts.push_back(attempt);
                    next_at = now + attempt_delay;
                }
                Err(error) => {
                    last_error = error;
                    continue;
                }
            }
        }
        if attempts.is_empty() && untried.peek().is_none() {
            return Err(last_error);
        }
        let wake = if untried.peek().is_some() { until.min(next_at) } else { until };
        match poll.poll(&mut events, Some(wake.saturating_duration_since(now))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Few are open, and an event may be about nothing: all of them are asked.
        for attempt in mem::take(&mut attempts) {
            match attempt.take_error() {
                Ok(None) if attempt.peer_addr().is_ok() => return finish(attempt),
                Ok(None) => attempts.push_back(attempt),
                Ok(Some(error)) | Err(error) => {
                    last_error = error;
                    next_at = now;
                }
            }
        }
    }
}

/// Begins to connect; an event tells when it is done.
fn begin(addr: SocketAddr, registry: &Registry) -> io::Result<TcpStream> {
    let mut attempt = TcpStream::connect(addr)?;
    registry.register(&mut attempt, Token(0), Interest::WRITABLE)?;
    Ok(attempt)
}

/// The attempt that won as a socket that waits.
fn finish(attempt: TcpStream) -> io::Result<net::TcpStream> {
    let socket = net::TcpStream::from(attempt);
    socket.set_nonblocking(false)?;
    // Messages are written whole: none has to wait for the next.
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The addresses of both families by turns, each family in its order, beginning with that of the first
/// (RFC 8305 §4).
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addrs.first().map(SocketAddr::is_ipv6) else { return addrs };
    let len = addrs.len();
    let (preferred, others): (Vec<_>, Vec<_>) =
        addrs.into_iter().partition(|addr| addr.is_ipv6() == first);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut by_turns = Vec::with_capacity(len);
    while by_turns.len() < len {
        by_turns.extend(preferred.next());
        by_turns.extend(others.next());
    }
    by_turns
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Nothing here takes longer than this.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A socket of 127.0.0.1 with a port of its own.
    fn bound() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&addr("127.0.0.1:0").into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, addr)
    }

    fn live() -> (Socket, SocketAddr) {
        let (socket, addr) = bound();
        socket.listen(16).unwrap();
        (socket, addr)
    }

    /// One that refuses at once, as nobody listens there.
    fn refusing() -> (Socket, SocketAddr) {
        bound()
    }

    /// One that never answers: its backlog is full, so the system drops what asks for more. What fills it
    /// comes along.
    fn silent() -> (Socket, SocketAddr, Vec<net::TcpStream>) {
        let (socket, addr) = bound();
        socket.listen(0).unwrap();
        let mut fill = Vec::new();
        while let Ok(more) = net::TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
            fill.push(more);
        }
        (socket, addr, fill)
    }

    /// Reaches one of `addrs`; where, and how long it took.
    fn run(addrs: &[SocketAddr], delay: Duration) -> (io::Result<SocketAddr>, Duration) {
        let begun = Instant::now();
        let socket = race(addrs.iter().copied(), begun + DEADLINE, delay);
        (socket.and_then(|socket| socket.peer_addr()), begun.elapsed())
    }

    #[test]
    fn an_address_that_never_answers_holds_up_the_next_one_for_a_moment_only() {
        let (_silent, dead, _fill) = silent();
        let (_live, live) = live();
        let begun = Instant::now();
        let socket = reach([dead, live].into_iter(), begun + DEADLINE).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), live);
        let took = begun.elapsed();
        assert!((ATTEMPT_DELAY..DEADLINE / 2).contains(&took), "{took:?}");
    }

    #[test]
    fn an_address_that_refuses_holds_up_nobody() {
        let (_refusing, refusing) = refusing();
        let (_silent, dead, _fill) = silent();
        let (_live, live) = live();
        let (reached, took) = run(&[refusing, live], DEADLINE);
        assert_eq!(reached.unwrap(), live);
        assert!(took < DEADLINE / 2, "{took:?}");
        // Nor do those that refuse while another goes on.
        let delay = DEADLINE / 100;
        let addrs = [vec![dead], vec![refusing; 100], vec![live]].concat();
        let (reached, took) = run(&addrs, delay);
        assert_eq!(reached.unwrap(), live);
        assert!((delay..DEADLINE / 2).contains(&took), "{took:?}");
    }

    #[test]
    fn the_first_that_answers_wins() {
        let (_first, first) = live();
        let (second, other) = live();
        let (reached, _) = run(&[first, other], ATTEMPT_DELAY);
        assert_eq!(reached.unwrap(), first);
        second.set_nonblocking(true).unwrap();
        assert!(second.accept().is_err(), "it was not tried");
    }

    /// Attempts that wait for `addr` to answer.
    #[cfg(target_os = "linux")]
    fn waiting(addr: SocketAddr) -> usize {
        const SYN_SENT: &str = "02";
        let peer = format!("0100007F:{:04X}", addr.port());
        let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        let is_one = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&peer) && fields.next() == Some(SYN_SENT)
        };
        table.lines().filter(is_one).count()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn attempts_at_once_are_bounded_and_none_outlives_the_call() {
        let (_silent, dead, _fill) = silent();
        let addrs = [dead; 2 * MAX_ATTEMPTS];
        let calls = std::thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(1);
            race(addrs.into_iter(), until, Duration::from_millis(1))
        });
        let mut most = 0;
        while !calls.is_finished() {
            most = most.max(waiting(dead));
        }
        // The table is not read in one moment: one that begins may be counted beside the one that ended
        // for it.
        assert!((MAX_ATTEMPTS / 2..MAX_ATTEMPTS * 3 / 2).contains(&most), "{most}");
        assert_eq!(calls.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(waiting(dead), 0);

        let (_live, live) = live();
        reach([dead, live].into_iter(), Instant::now() + DEADLINE).unwrap();
        assert_eq!(waiting(dead), 0);
    }

    #[test]
    fn the_time_is_one_for_all() {
        let (_silent, dead, _fill) = silent();
        let wait = Duration::from_millis(50);
        for count in [1, 100] {
            let begun = Instant::now();
            let error = reach([dead; 100].into_iter().take(count), begun + wait).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            let took = begun.elapsed();
            assert!((wait..DEADLINE / 2).contains(&took), "{took:?}");
        }
        let (_live, live) = live();
        let error = reach([live].into_iter(), Instant::now()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn where_all_fail_the_last_ones_error_is_given() {
        let (_refusing, refusing) = refusing();
        // No socket of this system can have it: the attempt fails before it begins.
        let nowhere = addr("[ff02::1]:9");
        for (addrs, kind) in [
            (vec![], ErrorKind::AddrNotAvailable),
            (vec![refusing], ErrorKind::ConnectionRefused),
            (vec![nowhere, refusing], ErrorKind::ConnectionRefused),
            (vec![refusing; 100], ErrorKind::ConnectionRefused),
        ] {
            let (reached, took) = run(&addrs, DEADLINE);
            assert_eq!(reached.unwrap_err().kind(), kind, "{addrs:?}");
            assert!(took < DEADLINE / 2, "{took:?}");
        }
    }

    #[test]
    fn what_was_reached_is_a_socket_that_waits() {
        let (_live, live) = live();
        let socket = reach([live].into_iter(), Instant::now() + DEADLINE).unwrap();
        assert!(socket.nodelay().unwrap());
        let wait = Duration::from_millis(20);
        socket.set_read_timeout(Some(wait)).unwrap();
        let begun = Instant::now();
        io::Read::read(&mut &socket, &mut [0]).unwrap_err();
        assert!(begun.elapsed() >= wait);
    }

    #[test]
    fn families_take_turns() {
        let (a, b, c) = (addr("[::1]:1"), addr("[::1]:2"), addr("[::1]:3"));
        let (x, y) = (addr("127.0.0.1:1"), addr("127.0.0.1:2"));
        for (addrs, by_turns) in [
            (vec![], vec![]),
            (vec![a, b, c], vec![a, b, c]),
            (vec![a, b, c, x, y], vec![a, x, b, y, c]),
            (vec![x, y, a], vec![x, a, y]),
            (vec![a, x, y], vec![a, x, y]),
        ] {
            assert_eq!(interleave(addrs), by_turns);
        }
    }
}
