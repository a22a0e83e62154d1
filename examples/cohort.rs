//! Pages of real browsers in a topic that compresses: each checks everything it hears.
//!
//! ```text
//! cargo run --example cohort -- 12     waits for the reports of twelve pages
//! ```
//!
//! The first line printed is the address; a browser is sent to `/?page=N` for each page, or to
//! `/?pages=N,N` for several in frames. A page comes late, hears the topic for a while and says things to which it is answered alone, leaves, and comes
//! again, some times over. It knows what every message should say: their number, their order and
//! their text. In the end each page reports, and this program fails where one of them has found a fault,
//! where one does not report, and where hardly anything was sent as a cohort hears it.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::mpsc::{self, Sender},
    thread,
    time::{Duration, Instant},
};

use chinwag::{
    Answer, Deflate, Message, Peer, Request, Route, Router, Server, Service, Topic, TopicDeflate,
};

/// Time between two messages.
const PACE: Duration = Duration::from_millis(2);

/// Time for all the pages to come and to report.
const DEADLINE: Duration = Duration::from_secs(150);

fn main() -> ExitCode {
    let pages = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1);
    match run(pages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(pages: usize) -> Result<(), String> {
    // Short windows of time between starts, so that there are many.
    let topic = Topic::compressed(TopicDeflate { reset_after: 100, ..TopicDeflate::default() });
    let (report, reports) = mpsc::channel();
    let member = topic.clone();
    let feed = Route::new(move |_: &Request<'_>| Member(member.clone(), report.clone()))
        .deflate(Some(Deflate { min_len: 1, ..Deflate::for_topics() }));
    let router = Router::new()
        .get("/", |_: &Request<'_>| {
            Answer::page("text/html; charset=utf-8", include_bytes!("cohort.html"))
        })
        .route("/feed", feed);
    let server = Server::builder().router(router).workers(2).bind("127.0.0.1:0");
    let server = server.map_err(|error| error.to_string())?;
    println!("http://{}/", server.local_addr());
    io::stdout().flush().ok();

    let (stopper, counters) = (server.stopper(), server.counters());
    let running = thread::spawn(move || server.run());
    let begun = Instant::now();
    let mut faults = Vec::new();
    let mut heard = 0;
    let mut reported = 0;
    while reported < pages && begun.elapsed() < DEADLINE {
        let number = topic.last_offset() + 1;
        topic.publish(text(number)).ok();
        thread::sleep(PACE);
        for report in reports.try_iter() {
            println!("{report}");
            reported += 1;
            match report.split_once(" messages") {
                Some((count, _)) if report.contains(" no fault") => {
                    heard += count.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                }
                _ => faults.push(report),
            }
        }
    }
    stopper.stop();
    running.join().map_err(|_| "the server panicked")?.map_err(|error| error.to_string())?;

    let (cohort, shared) = (counters.cohort_frames.get(), counters.shared_frames.get());
    let made = topic.compressions();
    println!(
        "{reported} pages heard {heard} messages; {cohort} frames were a cohort's, {shared} shared; \
         {} messages were compressed {} times for the cohort, which started {} times",
        topic.last_offset(),
        made.cohort,
        made.starts,
    );
    if reported < pages {
        return Err(format!("{} of {pages} pages have not reported", pages - reported));
    }
    if !faults.is_empty() {
        return Err(format!("{} pages have found faults", faults.len()));
    }
    if cohort < heard / 4 || made.starts < 3 {
        return Err("hardly anything was sent as a cohort hears it: this shows nothing".into());
    }
    Ok(())
}

/// One page.
struct Member(Topic, Sender<String>);

impl Service for Member {
    fn opened(&mut self, peer: &mut Peer<'_>) {
        let after = peer.subscribe(&self.0);
        peer.send(format!("after {after}")).ok();
    }

    fn message(&mut self, peer: &mut Peer<'_>, message: Message<'_>) {
        let Message::Text(said) = message else { return };
        match said.strip_prefix("report ") {
            Some(report) => drop(self.1.send(report.to_owned())),
            // Long enough to be compressed, were this page in no cohort.
            None => drop(peer.send(format!("alone {}", said.repeat(20)))),
        }
    }
}

/// What message `number` says. The page knows it too.
fn text(number: u64) -> String {
    const WORDS: [&str; 16] = [
        "tea",
        "coffee",
        "grüße",
        "morning",
        "server",
        "message",
        "room",
        "window",
        "日本語",
        "please",
        "thanks",
        "later",
        "train",
        "🙂",
        "browser",
        "again",
    ];
    let mut dice = number as u32;
    let mut text = format!(r#"{{"type":"say","number":{number},"text":""#);
    for _ in 0..5 + number % 20 {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += WORDS[(dice >> 28) as usize];
        text.push(' ');
    }
    text + r#""}"#
}
