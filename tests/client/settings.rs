//! Every setting of a client at its ends.

use std::{io::ErrorKind, time::Duration};

use chinwag::{
    CloseCause, CloseCode, Limits, Message, Peer, Request, Router, Service, Timeouts,
    client::{Client, ClientBuilder, ConnectError},
};

use crate::support::{DEADLINE, Running};

struct Echo;

impl Service for Echo {
    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        peer.send(message).unwrap();
    }
}

/// Durations at the ends of what is legal, and around each power of two that is some type's.
fn durations() -> Vec<Duration> {
    let mut durations = vec![
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_micros(1),
        Duration::from_micros(999),
        Duration::from_millis(1),
        Duration::MAX - Duration::from_nanos(1),
        Duration::MAX,
    ];
    for power in [1 << 31, 1 << 32, 1 << 63] {
        for number in [power - 1, power, power + 1] {
            durations.push(Duration::from_nanos(number));
            durations.push(Duration::from_millis(number));
            durations.push(Duration::from_secs(number));
        }
    }
    durations.push(Duration::from_millis(u64::MAX));
    durations.push(Duration::from_secs(u64::MAX));
    durations
}

/// Longer than any step of these tests takes.
const AMPLE: Duration = DEADLINE;

type Set = fn(ClientBuilder, Duration) -> ClientBuilder;

fn timeouts(builder: ClientBuilder, change: impl FnOnce(&mut Timeouts)) -> ClientBuilder {
    let mut timeouts = Timeouts::default();
    change(&mut timeouts);
    builder.timeouts(timeouts)
}

#[test]
fn every_duration_works_or_is_refused_by_its_name() {
    let server = Running::router(Router::new().service("/", |_: &Request<'_>| Echo));
    let url = format!("ws://localhost:{}/", server.addr.port());
    let settings: [(&str, bool, Set); 8] = [
        ("ClientBuilder::connect_timeout", false, ClientBuilder::connect_timeout),
        ("read_timeout", true, |builder, wait| builder.read_timeout(Some(wait))),
        ("Timeouts::ping_period", false, |builder, wait| builder.ping_period(wait)),
        ("Timeouts::write", false, ClientBuilder::write_timeout),
        ("Timeouts::handshake", false, |builder, wait| {
            timeouts(builder, |all| all.handshake = wait)
        }),
        ("Timeouts::pong", false, |builder, wait| timeouts(builder, |all| all.pong = wait)),
        ("Timeouts::pong, used", false, |builder, wait| {
            timeouts(builder, |all| {
                all.pong = wait;
                all.ping_period = Some(Duration::from_nanos(1));
            })
        }),
        ("Timeouts::close", true, |builder, wait| timeouts(builder, |all| all.close = wait)),
    ];
    for (name, may_be_zero, set) in settings {
        for wait in durations() {
            let builder = set(Client::builder().read_timeout(Some(DEADLINE)), wait);
            let client = builder.connect(&url);
            let setting = name.split(',').next().unwrap();
            if wait.is_zero() && !may_be_zero {
                let error = client.expect_err(name);
                assert!(matches!(error, ConnectError::Setting(_)), "{name}: {error}");
                assert!(error.to_string().contains(setting) && !error.may_pass(), "{error}");
                continue;
            }
            let mut client = match client {
                Ok(client) => client,
                Err(ConnectError::Timeout) if name == "Timeouts::handshake" && wait < AMPLE => {
                    continue;
                }
                Err(ConnectError::Connect(error)) if wait < AMPLE => {
                    assert_eq!(
                        (error.kind(), setting),
                        (ErrorKind::TimedOut, "ClientBuilder::connect_timeout")
                    );
                    continue;
                }
                Err(error) => panic!("{name} = {wait:?}: {error}"),
            };
            client.send("Hello").unwrap();
            let heard = loop {
                match client.recv() {
                    Ok(heard) => break heard,
                    Err(_) => assert!(name == "read_timeout" && wait < AMPLE, "{name} = {wait:?}"),
                }
            };
            if heard.is_none() {
                let reason = client.close_reason().unwrap();
                assert!(setting == "Timeouts::pong" && wait < AMPLE, "{name} = {wait:?}: {reason}");
                assert!(matches!(reason.cause, CloseCause::Timeout(_)), "{reason}");
                continue;
            }
            assert_eq!(heard, Some("Hello".into()), "{name} = {wait:?}");
            let reason = client.close(CloseCode::NORMAL, "").unwrap();
            assert_eq!(reason.cause, CloseCause::Local, "{name} = {wait:?}");
        }
    }
}

#[test]
fn every_bound_of_an_answers_head_works_or_is_refused_by_its_name() {
    let server = Running::router(Router::new().service("/", |_: &Request<'_>| Echo));
    let url = format!("ws://{}/", server.addr);
    type Set = fn(&mut Limits, usize);
    let settings: [(&str, Set); 3] = [
        ("Limits::max_head", |limits, max| limits.max_head = max),
        ("Limits::max_head_line", |limits, max| limits.max_head_line = max),
        ("Limits::max_headers", |limits, max| limits.max_headers = max),
    ];
    for (name, set) in settings {
        for max in [0, 1, 100, 101, 1 << 10, 1 << 31, 1 << 32, usize::MAX / 2, usize::MAX] {
            let mut limits = Limits::default();
            set(&mut limits, max);
            match Client::builder().limits(limits).connect(&url) {
                Ok(_) => assert!(max >= 100, "{name} = {max}"),
                Err(ConnectError::Setting(error)) => {
                    assert!(error.to_string().contains(name), "{error}");
                }
                // The head is longer than that.
                Err(ConnectError::Head(_)) => assert!(max < 1 << 10, "{name} = {max}"),
                Err(error) => panic!("{name} = {max}: {error}"),
            }
        }
    }
}
