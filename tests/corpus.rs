//! Replays the fuzzers' seeds and past findings with no fuzzer at hand; see `fuzz/`.

use std::{fs, path::Path};

#[path = "../fuzz/src/lib.rs"]
mod chinwag_fuzz;

/// Runs `check` over every file that `fuzz/corpus` and `fuzz/findings` have for `target`. The last name
/// printed is the one that failed.
fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let seeds = fuzz.join("corpus").join(target);
    let findings = fuzz.join("findings").join(target);
    let findings = findings.is_dir().then_some(findings);
    for folder in [seeds].into_iter().chain(findings) {
        let mut paths: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a listed file").path())
            .collect();
        assert!(!paths.is_empty(), "{} is empty", folder.display());
        paths.sort();
        for path in paths {
            println!("{}", path.display());
            check(&fs::read(&path).expect("a readable file"));
        }
    }
}

#[test]
fn headers_and_masks_keep_their_promises() {
    replay("frame", chinwag_fuzz::frame::check);
}

#[test]
fn text_is_judged_as_std_does() {
    replay("utf8", chinwag_fuzz::utf8::check);
}

#[test]
fn messages_follow_the_plain_rules() {
    replay("message", chinwag_fuzz::message::check);
}

#[test]
fn connections_are_the_same_however_they_are_cut() {
    replay("connection", chinwag_fuzz::connection::check);
}

#[test]
fn handshakes_are_the_same_however_they_are_cut() {
    replay("handshake", chinwag_fuzz::handshake::check);
}

#[test]
fn compressed_messages_are_the_same_however_they_are_cut() {
    replay("inflate", chinwag_fuzz::inflate::check);
}

#[test]
fn offers_of_extensions_are_answered_by_the_plain_rules() {
    replay("extensions", chinwag_fuzz::extensions::check);
}
