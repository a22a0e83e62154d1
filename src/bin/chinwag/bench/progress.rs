//! A line with live figures, where stderr is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::tally::{Count, Counts};

/// The line. It shows nothing where nobody watches.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {msg}");
        bar.set_style(style.expect("the template is legal"));
        Self { bar }
    }

    /// Connections are opened, `total` of them.
    pub fn opening(&mut self, total: usize, counts: &Counts) {
        let (opened, failed) = (counts[Count::Opened], counts[Count::Failed]);
        self.bar.set_prefix("connecting");
        self.bar.set_length(total as u64);
        self.bar.set_message(format!("{opened} of {total} connections, {failed} failed"));
        self.bar.set_position(opened + failed);
    }

    /// A phase that takes `length` has lasted `passed`; `counts` are those since it began.
    pub fn running(
        &mut self,
        what: &str,
        passed: Duration,
        length: Duration,
        counts: &Counts,
        (count, name): (Count, &str),
    ) {
        let seconds = passed.as_secs_f64();
        let rate = if seconds > 0.0 { counts[count] as f64 / seconds } else { 0.0 };
        let lost = match counts[Count::Lost] {
            0 => String::new(),
            lost => format!(", {lost} connections lost"),
        };
        self.bar.set_prefix(what.to_owned());
        self.bar.set_length(length.as_millis() as u64);
        self.bar.set_message(format!("{rate:.0} {name}/s{lost}"));
        self.bar.set_position(passed.as_millis() as u64);
    }

    /// Nothing of it stays.
    pub fn clear(&mut self) {
        self.bar.finish_and_clear();
    }
}
