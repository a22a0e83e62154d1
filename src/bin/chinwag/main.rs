//! The `chinwag` command.
#![forbid(unsafe_code)]

fn main() {}
