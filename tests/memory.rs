//! The server in memory, under a clock moved by hand: all that needs neither a socket nor a second
//! thread to be seen.

#[expect(dead_code, reason = "its main is for people")]
#[path = "../examples/custom_extension.rs"]
mod custom_extension;
mod support;

#[path = "memory/builder.rs"]
mod builder;
#[path = "memory/cohort.rs"]
mod cohort;
#[path = "memory/deadlines.rs"]
mod deadlines;
#[path = "memory/extension.rs"]
mod extension;
#[path = "memory/faults.rs"]
mod faults;
#[path = "memory/flow.rs"]
mod flow;
#[path = "memory/guard.rs"]
mod guard;
#[path = "memory/identity.rs"]
mod identity;
#[path = "memory/lag.rs"]
mod lag;
#[path = "memory/limits.rs"]
mod limits;
#[path = "memory/opening.rs"]
mod opening;
#[path = "memory/order.rs"]
mod order;
#[path = "support/services.rs"]
mod services;
#[path = "memory/sessions.rs"]
mod sessions;
#[path = "memory/settings.rs"]
mod settings;
#[path = "memory/topics.rs"]
mod topics;
#[path = "memory/work.rs"]
mod work;

use std::time::Duration;

use chinwag::testing::Client;
use services::{Does, Echo, echo};
use support::frames;

const SECOND: Duration = Duration::from_secs(1);

/// Deadlines are rounded up to this much.
const TICK: Duration = Duration::from_millis(50);

/// What comes when `wire` is sent in one piece, up to the end of TCP: first bytes of frames, and
/// payloads.
fn answers(client: Client, wire: impl AsRef<[u8]>) -> Vec<(u8, Vec<u8>)> {
    let mut stream = client.into_stream();
    stream.send_bytes(wire);
    let heard = stream.recv_bytes();
    assert!(stream.has_ended() && !stream.was_reset(), "an orderly end");
    frames(&heard)
}
