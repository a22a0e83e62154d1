//! Log lines to stderr, from a thread of their own.
//!
//! A worker that logs must not wait for whoever reads stderr, nor end when nobody does any more:
//! simple_logger writes with `eprintln!`, which blocks on a full pipe and panics on a closed one.
//! So records cross a bounded queue; what does not fit into it is dropped and counted.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

/// Lines that may wait.
const QUEUE: usize = 4_096;

/// How long the last lines may take when the process ends: with the 4.5 seconds that a stop may take,
/// less than 5.
const FLUSH: Duration = Duration::from_millis(300);

/// Makes records up to `level` lines on stderr from here on.
pub fn init(level: LevelFilter) {
    let (entries, waiting) = sync_channel(QUEUE);
    let dropped = Arc::<AtomicUsize>::default();
    let writer = Writer { logger: SimpleLogger::new(), dropped: Arc::clone(&dropped) };
    // Without the thread there are no lines, which is no reason not to serve.
    thread::Builder::new().name("log".into()).spawn(move || writer.run(&waiting)).ok();
    let queue = Box::new(Queue { entries, dropped });
    log::set_boxed_logger(queue).expect("this is the only logger of the process");
    log::set_max_level(level);
}

enum Entry {
    Line(Line),
    /// Tells once everything before it is written.
    Flush(SyncSender<()>),
}

struct Line {
    level: Level,
    target: String,
    text: String,
}

/// What workers see of the log.
struct Queue {
    entries: SyncSender<Entry>,
    dropped: Arc<AtomicUsize>,
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = Line {
            level: record.level(),
            target: record.target().to_owned(),
            text: record.args().to_string(),
        };
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (written, done) = sync_channel(1);
        if self.entries.try_send(Entry::Flush(written)).is_ok() {
            done.recv_timeout(FLUSH).ok();
        }
    }
}

/// The end of the queue that may wait.
struct Writer {
    logger: SimpleLogger,
    dropped: Arc<AtomicUsize>,
}

impl Writer {
    fn run(&self, waiting: &Receiver<Entry>) {
        for entry in waiting {
            match entry {
                Entry::Line(line) => self.write(&line),
                Entry::Flush(written) => drop(written.send(())),
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let text = format!("{dropped} lines were dropped, as stderr did not take them");
                self.write(&Line { level: Level::Warn, target: module_path!().into(), text });
            }
        }
    }

    fn write(&self, Line { level, target, text }: &Line) {
        // A line that stderr refuses is lost; the next one may fare better.
        let _ = panic::catch_unwind(|| {
            let metadata = Metadata::builder().level(*level).target(target).build();
            let mut record = Record::builder();
            self.logger.log(&record.metadata(metadata).args(format_args!("{text}")).build());
        });
    }
}
