//! How long things took: a histogram over the timed window, its percentiles, and a drawing of it.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies in nanoseconds, with three significant digits from a nanosecond to a minute; what is
/// longer counts as a minute.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

const LONGEST: u64 = 60_000_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are legal"))
    }
}

impl Latencies {
    /// `count` things took `nanos` each.
    #[inline]
    pub fn record(&mut self, nanos: u64, count: u64) {
        self.0.saturating_record_n(nanos, count);
    }

    /// Adds what another thread has measured.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The percentiles; `None` where nothing was measured.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Percentiles {
            min: micros(self.0.min()),
            mean: self.0.mean() / 1_000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(self.0.max()),
        })
    }

    /// The distribution as lines of text: two rows for each doubling.
    pub fn drawing(&self) -> String {
        let mut rows: Vec<(u64, u64)> = Vec::new();
        for value in self.0.iter_recorded() {
            let upper = row_of(value.value_iterated_to());
            match rows.last_mut() {
                Some((last, count)) if *last == upper => {
                    *count += value.count_since_last_iteration();
                }
                _ => rows.push((upper, value.count_since_last_iteration())),
            }
        }
        let total = self.0.len().max(1) as f64;
        let most = rows.iter().map(|row| row.1).max().unwrap_or(0).max(1) as f64;
        let mut lines = String::new();
        for (upper, count) in rows {
            let share = count as f64 / total;
            let bar = "█".repeat((count as f64 / most * 40.0).round() as usize);
            let line = format!("  ≤ {:>9}  {:>7.3} %  {bar}", time(upper as f64), share * 100.0);
            lines += line.trim_end();
            lines.push('\n');
        }
        lines
    }
}

/// The end of the row that `nanos` belongs to: two rows a doubling.
fn row_of(nanos: u64) -> u64 {
    let nanos = nanos.max(2);
    let base = 1 << nanos.ilog2();
    base + (nanos - base).div_ceil(base / 2) * (base / 2)
}

/// Nanoseconds as people read them.
pub fn time(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e6 => format!("{:.1} µs", nanos / 1e3),
        ..1e9 => format!("{:.2} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

/// Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    pub max: f64,
}

impl Percentiles {
    /// Those that a table shows, with their names.
    pub fn named(&self) -> [(&'static str, f64); 5] {
        let Self { p50, p90, p99, p99_9, max, .. } = *self;
        [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p99_9), ("max", max)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        let mut other = Latencies::default();
        for micros in 1..=1_000 {
            let half = if micros % 2 == 0 { &mut latencies } else { &mut other };
            half.record(micros * 1_000, 3);
        }
        latencies.add(&other);
        let seen = latencies.percentiles().unwrap();
        for (name, seen, expected) in [
            ("min", seen.min, 1.0),
            ("mean", seen.mean, 500.5),
            ("p50", seen.p50, 500.0),
            ("p90", seen.p90, 900.0),
            ("p99", seen.p99, 990.0),
            ("p99.9", seen.p99_9, 999.0),
            ("max", seen.max, 1_000.0),
        ] {
            assert!((seen / expected - 1.0).abs() < 0.002, "{name}: {seen}");
        }
    }

    #[test]
    fn what_takes_longer_than_a_minute_counts_as_one() {
        let mut latencies = Latencies::default();
        latencies.record(u64::MAX, 1);
        let max = latencies.percentiles().unwrap().max;
        assert!((max / 6e7 - 1.0).abs() < 0.002, "{max}");
    }

    #[test]
    fn the_drawing_has_two_rows_for_each_doubling() {
        let mut latencies = Latencies::default();
        latencies.record(1_100, 30);
        latencies.record(1_200, 10);
        latencies.record(2_000_000, 1);
        let drawing = latencies.drawing();
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(lines.len(), 2, "{drawing}");
        assert!(lines[0].contains("1.5 µs") && lines[0].contains("97.561 %"), "{drawing}");
        assert_eq!(lines[0].matches('█').count(), 40);
        assert!(lines[1].contains("ms") && lines[1].contains("2.439 %"), "{drawing}");
    }
}
