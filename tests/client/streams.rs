//! Streams whose code dribbles, lies or panics.

use std::{
    fmt,
    io::{self, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use chinwag::{
    CloseCause, CloseCode, SendError,
    client::{Client, ConnectError, Stream, TimedOut},
};

use crate::{
    lies::{SHORT, agreeable, builder, timeouts},
    support::DEADLINE,
};

/// A call of a stream's code.
enum Call<'b> {
    Read(&'b mut [u8]),
    Write(&'b [u8]),
    Flush,
    ReadTimeout(Option<Duration>),
    WriteTimeout(Option<Duration>),
    Shutdown(Shutdown),
}

type Code = dyn Fn(&TcpStream, Call<'_>) -> io::Result<usize> + Send + Sync;

/// A socket whose calls do what `code` says.
struct Odd {
    socket: TcpStream,
    code: Arc<Code>,
}

/// What a socket does.
fn honest(mut socket: &TcpStream, call: Call<'_>) -> io::Result<usize> {
    match call {
        Call::Read(buffer) => return socket.read(buffer),
        Call::Write(bytes) => return socket.write(bytes),
        Call::Flush => socket.flush()?,
        Call::ReadTimeout(wait) => socket.set_read_timeout(wait)?,
        Call::WriteTimeout(wait) => socket.set_write_timeout(wait)?,
        Call::Shutdown(how) => socket.shutdown(how)?,
    }
    Ok(0)
}

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl Read for Odd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.code)(&self.socket, Call::Read(buffer))
    }
}

impl Write for Odd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.code)(&self.socket, Call::Write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.code)(&self.socket, Call::Flush).map(drop)
    }
}

impl Stream for Odd {
    fn set_read_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        (self.code)(&self.socket, Call::ReadTimeout(wait)).map(drop)
    }

    fn set_write_timeout(&self, wait: Option<Duration>) -> io::Result<()> {
        (self.code)(&self.socket, Call::WriteTimeout(wait)).map(drop)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        (self.code)(&self.socket, Call::Shutdown(how)).map(drop)
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, code: Arc::clone(&self.code) })
    }
}

/// Says from when on the code of a stream does what it should not.
#[derive(Clone, Default)]
struct Switch(Arc<AtomicBool>);

impl Switch {
    fn turn_on(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

type OddClient = Client<chinwag::Message<'static>, Odd>;

fn connect(
    builder: &chinwag::client::ClientBuilder,
    url: &str,
    code: impl Fn(&TcpStream, Call<'_>) -> io::Result<usize> + Send + Sync + 'static,
) -> Result<OddClient, ConnectError> {
    builder.connect_through(url, |socket| Odd { socket, code: Arc::new(code) })
}

// ---- who is slow ------------------------------------------------------------------------------

#[test]
fn who_takes_a_byte_at_a_time_prolongs_no_wait_of_a_receiver_nor_that_of_a_close() {
    const PONG: usize = 2 + 4 + 125;
    let (url, server) = agreeable(|mut socket| {
        socket.write_all(&[b"\x89\x7d", &[b'x'; 125][..]].concat()).unwrap();
        socket.read_to_end(&mut Vec::new()).ok();
    });
    let (slow, taken) = (Switch::default(), Arc::new(AtomicUsize::new(0)));
    let brief = builder()
        .timeouts(timeouts(|timeouts| timeouts.close = SHORT))
        .read_timeout(Some(Duration::from_millis(1)));
    let code = {
        let (slow, taken) = (slow.clone(), Arc::clone(&taken));
        move |socket: &TcpStream, call: Call<'_>| match call {
            Call::Write(bytes) if slow.is_on() => {
                taken.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
                honest(socket, Call::Write(&bytes[..1]))
            }
            call => honest(socket, call),
        }
    };
    let mut client = connect(&brief, &url, code).unwrap();
    slow.turn_on();
    while taken.load(Ordering::SeqCst) == 0 {
        assert_eq!(client.recv(), Err(TimedOut));
    }
    assert!(taken.load(Ordering::SeqCst) < PONG, "recv waited for its Pong to leave");
    let reason = client.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(reason.cause, CloseCause::Local);
    assert!(taken.load(Ordering::SeqCst) < PONG, "close waited for what came before it");
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_message_is_sent_while_pings_flood_and_the_last_of_them_is_answered() {
    let done = Switch::default();
    let stop = done.clone();
    let (url, server) = agreeable(move |socket| {
        let mut pings = socket.try_clone().unwrap();
        let floods = thread::spawn(move || {
            while !stop.is_on() {
                pings.write_all(&[b"\x89\x7d", &[b'x'; 125][..]].concat().repeat(100)).unwrap();
            }
            pings.write_all(b"\x89\x04last").unwrap();
        });
        let mut heard = BufReader::new(socket);
        let mut messages = 0;
        loop {
            let mut head = [0; 6];
            heard.read_exact(&mut head).unwrap();
            let mut payload = vec![0; usize::from(head[1] & 0x7f)];
            heard.read_exact(&mut payload).unwrap();
            match (head[0], payload.len()) {
                (0x8a, 4) => break,
                (0x8a, _) => {}
                _ => messages += 1,
            }
        }
        floods.join().unwrap();
        messages
    });
    // Each write of the sender's lasts until the receiver has heard more Pings.
    let (reads, writes) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let sends = thread::current().id();
    let slow = Switch::default();
    let code = {
        let slow = slow.clone();
        move |socket: &TcpStream, call: Call<'_>| {
            match &call {
                Call::Read(_) => drop(reads.fetch_add(1, Ordering::SeqCst)),
                Call::Write(_) if slow.is_on() && thread::current().id() == sends => {
                    if writes.fetch_add(1, Ordering::SeqCst) == 100 {
                        return Err(io::Error::other("the sender writes without end"));
                    }
                    let before = reads.load(Ordering::SeqCst);
                    let begun = Instant::now();
                    while reads.load(Ordering::SeqCst) < before + 2 && begun.elapsed() < DEADLINE {
                        thread::yield_now();
                    }
                }
                _ => {}
            }
            honest(socket, call)
        }
    };
    let client = connect(&builder(), &url, code).unwrap();
    let (mut sender, mut receiver) = client.split().unwrap();
    let receives = thread::spawn(move || receiver.recv());
    slow.turn_on();
    for _ in 0..3 {
        sender.send("Hello").unwrap();
    }
    done.turn_on();
    assert_eq!(server.join().unwrap(), 3);
    assert_eq!(receives.join().unwrap(), Ok(None));
}

#[test]
fn what_is_taken_a_byte_at_a_time_leaves_in_one_go() {
    let (url, server) = agreeable(|mut socket| {
        socket.write_all(&[b"\x89\x7d", &[b'x'; 125][..]].concat()).unwrap();
        socket.read_exact(&mut [0; 2 + 4 + 125]).unwrap();
        socket.write_all(b"\x81\x05Hello").unwrap();
        socket
    });
    let code = |socket: &TcpStream, call: Call<'_>| match call {
        Call::Write(bytes) => honest(socket, Call::Write(&bytes[..1])),
        call => honest(socket, call),
    };
    let mut client = connect(&builder(), &url, code).unwrap();
    let begun = Instant::now();
    assert_eq!(client.recv(), Ok(Some("Hello".into())));
    // It would take 131 tries that are 50 ms apart.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(server.join().unwrap());
}

#[test]
fn a_stream_that_is_interrupted_or_wakes_early_is_asked_again() {
    for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
        let (url, server) = agreeable(|mut socket| {
            let mut head = [0; 6 + 5];
            socket.read_exact(&mut head).unwrap();
            socket.write_all(b"\x81\x05Hello\x88\x02\x03\xe8").unwrap();
            // The Close that answers it.
            socket.read_exact(&mut [0; 6 + 2]).unwrap();
        });
        let calls = AtomicUsize::new(0);
        let code = move |socket: &TcpStream, call: Call<'_>| {
            let asked = matches!(call, Call::Read(_) | Call::Write(_));
            if asked && calls.fetch_add(1, Ordering::SeqCst) % 3 != 2 {
                return Err(kind.into());
            }
            honest(socket, call)
        };
        let mut client = connect(&builder(), &url, code).unwrap();
        client.send("Hello").unwrap();
        assert_eq!(client.recv(), Ok(Some("Hello".into())), "{kind}");
        assert_eq!(client.recv(), Ok(None), "{kind}");
        assert_eq!(client.close_reason().unwrap().cause, CloseCause::Peer, "{kind}");
        server.join().unwrap();
    }
}

#[test]
fn a_pong_that_was_not_taken_leaves_when_there_is_room() {
    const LONGEST: Duration = Duration::from_secs(1);
    let (url, server) = agreeable(|mut socket| {
        for _ in 0..2 {
            socket.write_all(b"\x89\0").unwrap();
            socket.read_exact(&mut [0; 6]).unwrap();
            // What was taken ends the first stall: a later one has all the time again.
            thread::sleep(LONGEST);
        }
        socket.write_all(b"\x81\x05Hello").unwrap();
        socket
    });
    // Two tries of three come too early.
    let (full, tries) = (Switch::default(), AtomicUsize::new(0));
    let code = {
        let full = full.clone();
        move |socket: &TcpStream, call: Call<'_>| match call {
            Call::Write(_) if full.is_on() && tries.fetch_add(1, Ordering::SeqCst) % 3 != 2 => {
                thread::sleep(SHORT);
                Err(io::ErrorKind::WouldBlock.into())
            }
            call => honest(socket, call),
        }
    };
    let brief = builder().timeouts(timeouts(|timeouts| timeouts.write = LONGEST));
    let mut client = connect(&brief, &url, code).unwrap();
    full.turn_on();
    assert_eq!(client.recv(), Ok(Some("Hello".into())));
    drop(server.join().unwrap());
}

#[test]
fn who_waits_reads_no_more_often_than_it_has_to() {
    // A split receiver looks twice a second whether the other half has closed.
    for (split, most) in [(false, 2), (true, 4)] {
        let (url, server) = agreeable(|mut socket| socket.read_to_end(&mut Vec::new()));
        let reads = Arc::new(AtomicUsize::new(0));
        let code = {
            let reads = Arc::clone(&reads);
            move |socket: &TcpStream, call: Call<'_>| {
                if let Call::Read(_) = call {
                    reads.fetch_add(1, Ordering::SeqCst);
                }
                honest(socket, call)
            }
        };
        let brief = builder().read_timeout(Some(Duration::from_millis(1_200)));
        let client = connect(&brief, &url, code).unwrap();
        let before = reads.load(Ordering::SeqCst);
        let received = match split {
            false => { client }.recv(),
            true => {
                let (_sender, mut receiver) = client.split().unwrap();
                receiver.recv()
            }
        };
        assert_eq!(received, Err(TimedOut));
        let reads = reads.load(Ordering::SeqCst) - before;
        assert!((1..=most).contains(&reads), "{reads}, split: {split}");
        server.join().unwrap().unwrap();
    }
}

// ---- who lies ---------------------------------------------------------------------------------

#[test]
fn a_stream_that_claims_more_than_there_is_harms_its_connection_alone() {
    for (name, lies_early) in [("from the start", true), ("later", false)] {
        for lie in [1, usize::MAX] {
            let (url, server) = agreeable(|mut socket| {
                socket.read_to_end(&mut Vec::new()).ok();
            });
            let lies = Switch::default();
            let code = {
                let lies = lies.clone();
                move |socket: &TcpStream, call: Call<'_>| {
                    let lies = lies.is_on();
                    match call {
                        Call::Read(buffer) if lies => Ok(buffer.len().saturating_add(lie)),
                        Call::Write(bytes) if lies => Ok(bytes.len().saturating_add(lie)),
                        call => honest(socket, call),
                    }
                }
            };
            let brief = builder().timeouts(timeouts(|timeouts| timeouts.close = SHORT));
            if lies_early {
                lies.turn_on();
                let error = connect(&brief, &url, code).expect_err(name);
                assert!(matches!(error, ConnectError::Head(_)), "{name}: {error}");
            } else {
                let mut client = connect(&brief, &url, code).unwrap();
                lies.turn_on();
                client.send("Hello").unwrap();
                // The buffer holds what it held: it is not known what that means as frames.
                while let Ok(Some(_)) = client.recv() {}
            }
            // Nothing of the request came where the stream kept it.
            server.join().ok();
        }
    }
}

// ---- who panics -------------------------------------------------------------------------------

/// Whether a call is the one that panics.
type Panics = fn(&Call<'_>) -> bool;

const PANICS: [(&str, Panics); 5] = [
    ("read", |call| matches!(call, Call::Read(_))),
    ("write", |call| matches!(call, Call::Write(_))),
    ("flush", |call| matches!(call, Call::Flush)),
    ("set_read_timeout", |call| matches!(call, Call::ReadTimeout(_))),
    ("set_write_timeout", |call| matches!(call, Call::WriteTimeout(_))),
];

fn panicking(
    switch: &Switch,
    panics: Panics,
) -> impl Fn(&TcpStream, Call<'_>) -> io::Result<usize> + Send + Sync + 'static {
    let switch = switch.clone();
    move |socket, call| {
        assert!(!switch.is_on() || !panics(&call), "a panic of the stream's");
        honest(socket, call)
    }
}

#[test]
fn a_stream_that_panics_in_the_opening_handshake_is_lost() {
    for (name, panics) in PANICS {
        let (url, server) = agreeable(|_| {});
        let switch = Switch::default();
        switch.turn_on();
        let error = connect(&builder(), &url, panicking(&switch, panics)).expect_err(name);
        assert!(matches!(error, ConnectError::Lost(_)), "{name}: {error}");
        server.join().ok();
    }
}

#[test]
fn a_stream_that_panics_ends_both_halves() {
    for (name, panics) in PANICS {
        let (url, server) = agreeable(|mut socket| {
            socket.read_to_end(&mut Vec::new()).ok();
        });
        let switch = Switch::default();
        let client = connect(&builder(), &url, panicking(&switch, panics)).unwrap();
        let (mut sender, mut receiver) = client.split().unwrap();
        let (tell, told) = mpsc::channel();
        switch.turn_on();
        thread::spawn({
            let tell = tell.clone();
            move || tell.send(receiver.recv() == Ok(None))
        });
        thread::spawn(move || {
            while sender.send("Hello").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
            let cause = sender.close_reason().map(|reason| reason.cause);
            tell.send(sender.send("more") == Err(SendError::NotOpen))?;
            assert_eq!(cause, Some(CloseCause::Lost));
            Ok::<(), mpsc::SendError<bool>>(())
        });
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(DEADLINE), Ok(true), "{name}");
        }
        server.join().unwrap();
    }
}

#[test]
fn a_stream_that_panics_where_it_is_to_end_ends_all_the_same() {
    let (url, server) = agreeable(|mut socket| socket.read_to_end(&mut Vec::new()).ok());
    let switch = Switch::default();
    let code = {
        let switch = switch.clone();
        move |socket: &TcpStream, call: Call<'_>| match call {
            Call::Shutdown(_) => panic!("a panic of the stream's"),
            Call::Write(_) if switch.is_on() => Err(io::ErrorKind::BrokenPipe.into()),
            call => honest(socket, call),
        }
    };
    let brief = builder().timeouts(timeouts(|timeouts| timeouts.close = SHORT));
    let client = connect(&brief, &url, code).unwrap();
    let (mut sender, mut receiver) = client.split().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(receiver.recv()));
    switch.turn_on();
    assert_eq!(sender.send("Hello"), Err(SendError::NotOpen));
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Ok(None)));
    drop(sender);
    server.join().unwrap();
}

#[test]
fn who_panics_in_making_a_stream_of_the_socket_has_no_connection() {
    // It is gone before the client asks for anything.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let error = builder()
        .connect_through(&url, |_| -> TcpStream { panic!("a panic of the application's") })
        .unwrap_err();
    assert!(matches!(error, ConnectError::Panicked), "{error}");
    assert!(!error.may_pass() && error.to_string().contains("panicked"), "{error}");
    let (mut socket, _) = listener.accept().unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}
