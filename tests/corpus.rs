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

#[test]
fn servers_keep_their_promises_whatever_is_done_to_them() {
    replay("server", chinwag_fuzz::server::check);
}

/// Cases that nobody chose, the same each time.
#[test]
fn servers_keep_their_promises_in_random_cases() {
    for case in 0..100 {
        println!("case {case}");
        chinwag_fuzz::server::check(&random_bytes(case));
    }
}

/// Up to a thousand bytes that follow from `seed`.
fn random_bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    // SplitMix64.
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 31) as u8
    };
    let len = 2 + usize::from(next()) * 4;
    (0..len).map(|_| next()).collect()
}

/// The committed seeds are those that `fuzz/src/server/seeds.rs` writes. With `WRITE_SEEDS` set they
/// are written first.
#[test]
fn seeds_of_the_server_are_those_of_their_generator() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/server");
    for (name, bytes) in chinwag_fuzz::server::seeds::seeds() {
        let path = folder.join(name);
        if std::env::var_os("WRITE_SEEDS").is_some() {
            fs::create_dir_all(&folder).expect("a folder for seeds");
            fs::write(&path, &bytes).expect("a writable file");
        }
        assert!(fs::read(&path).is_ok_and(|file| file == bytes), "{} is another", path.display());
    }
}
