//! The client against the real server, and against servers that lie.

mod support;

#[path = "client/foreign.rs"]
mod foreign;
#[path = "client/lies.rs"]
mod lies;
#[path = "client/settings.rs"]
mod settings;
#[path = "client/streams.rs"]
mod streams;
#[path = "client/talk.rs"]
mod talk;
