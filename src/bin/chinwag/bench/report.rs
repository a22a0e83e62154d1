//! What a run has shown: one JSON object for machines, or a table for people.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use super::{
    latency::{Percentiles, time},
    run::{Findings, Name, Plan},
    tally::{Count, Reasons},
};

/// How busy the busiest thread may be before the generator counts as the bottleneck.
const BUSY: f64 = 0.95;

/// Everything that is told.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version that has measured.
    pub chinwag: &'static str,
    pub mode: &'static str,
    pub url: String,
    /// What was asked for, by the mode's own options.
    pub settings: serde_json::Value,
    pub threads: usize,
    pub sources: usize,
    /// Connections opened, that could not be opened, that ended too early, that compress.
    pub opened: u64,
    pub failed: u64,
    pub lost_connections: u64,
    pub compressed_connections: u64,
    pub failures: Vec<Reason>,
    pub losses: Vec<Reason>,
    /// Length of the timed window.
    pub seconds: f64,
    pub interrupted: bool,
    /// Replies in the window; of a broadcast, messages sent.
    pub messages: u64,
    pub messages_per_second: f64,
    /// Payload received, in millions of bytes, before compression.
    pub megabytes_per_second: f64,
    pub latency_us: Option<Percentiles>,
    pub server_cpu_us_per_message: Option<f64>,
    pub server_cpu_seconds: Option<f64>,
    pub server_memory_bytes: Option<u64>,
    pub generator_cpu_us_per_message: Option<f64>,
    /// How much of the window the busiest thread worked or waited for a processor: 0 to 1.
    pub generator_busy: f64,
    pub bottleneck: bool,
    /// Of the whole run: messages that were none of ours, replies compared with what was sent, and those
    /// that were not the same.
    pub unexpected: u64,
    pub checked: u64,
    pub wrong: u64,
    #[serde(flatten)]
    own: Own,
    #[serde(skip)]
    drawing: String,
}

/// What one mode alone tells.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Own {
    Echo {
        /// At a fixed rate: messages of the window that were not answered.
        unanswered: Option<u64>,
    },
    Broadcast {
        deliveries: u64,
        deliveries_per_second: f64,
        server_cpu_us_per_delivery: Option<f64>,
        generator_cpu_us_per_delivery: Option<f64>,
        /// Of the whole run: deliveries that should have come, that did not, that came twice, that came
        /// after a later one.
        expected: u64,
        lost: u64,
        repeated: u64,
        out_of_order: u64,
        /// At a fixed rate: messages that could not be sent by the end.
        unsent: Option<u64>,
    },
    Connect {
        handshakes: u64,
        handshakes_per_second: f64,
        server_cpu_us_per_handshake: Option<f64>,
    },
    Idle {
        held: u64,
        server_memory_before_bytes: Option<u64>,
        server_bytes_per_connection: Option<f64>,
    },
    Churn {
        rounds: u64,
        rounds_per_second: f64,
        server_cpu_us_per_round: Option<f64>,
    },
}

/// Why connections failed or ended, and how many of them.
#[derive(Debug, Serialize)]
pub struct Reason {
    pub reason: String,
    pub count: u64,
}

impl Reason {
    fn all(reasons: &Reasons) -> Vec<Self> {
        let sorted = reasons.sorted().into_iter();
        sorted.map(|(reason, count)| Self { reason: reason.into(), count }).collect()
    }
}

impl Report {
    /// The report on a run by `plan`, whose mode was given `settings`.
    pub fn new(plan: &Plan, settings: serde_json::Value, findings: &Findings) -> Self {
        let Findings { tally, counts, window, .. } = findings;
        let seconds = window.length.as_secs_f64();
        let own = Own::new(plan, findings);
        let messages = window.counts[match own {
            Own::Broadcast { .. } => Count::Sent,
            Own::Echo { .. } | Own::Connect { .. } | Own::Idle { .. } | Own::Churn { .. } => {
                Count::Received
            }
        }];
        Self {
            chinwag: env!("CARGO_PKG_VERSION"),
            mode: plan.mode.as_str(),
            url: plan.target.to_string(),
            settings,
            threads: plan.threads,
            sources: plan.sources,
            opened: counts[Count::Opened],
            failed: counts[Count::Failed],
            lost_connections: counts[Count::Lost],
            compressed_connections: counts[Count::Compressed],
            failures: Reason::all(&tally.failures),
            losses: Reason::all(&tally.losses),
            seconds,
            interrupted: findings.interrupted,
            messages,
            messages_per_second: messages as f64 / seconds,
            megabytes_per_second: window.counts[Count::Bytes] as f64 / 1e6 / seconds,
            latency_us: tally.latencies.percentiles(),
            server_cpu_us_per_message: each(window.server_cpu, messages),
            server_cpu_seconds: window.server_cpu.map(|cpu| cpu.as_secs_f64()),
            server_memory_bytes: window.server_memory,
            generator_cpu_us_per_message: each(window.own_cpu, messages),
            generator_busy: window.busiest,
            bottleneck: window.busiest >= BUSY,
            unexpected: counts[Count::Unexpected],
            checked: counts[Count::Checked],
            wrong: counts[Count::Wrong],
            own,
            drawing: tally.latencies.drawing(),
        }
    }

    /// Whether anything of what the mode is for was measured.
    pub fn has_something(&self) -> bool {
        match self.own {
            Own::Echo { .. } => self.messages > 0,
            Own::Broadcast { deliveries, .. } => deliveries > 0,
            Own::Connect { handshakes, .. } => handshakes > 0,
            Own::Idle { held, .. } => held > 0,
            Own::Churn { rounds, .. } => rounds > 0,
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings can be written") + "\n"
    }

    /// As a table, and a drawing of the latencies.
    pub fn table(&self) -> String {
        let mut text = format!("{} {}\n\n", self.mode, self.url);
        let mut row = |name: &str, value: String| {
            writeln!(text, "  {name:<18}{value}").expect("a string takes it");
        };
        row("connections", self.connections());
        row("measured", format!("{:.2} s", self.seconds));
        self.own.rows(self, &mut row);
        if self.megabytes_per_second > 0.0 {
            row("payload received", format!("{:.1} MB/s", self.megabytes_per_second));
        }
        if let Some(cpu) = self.server_cpu_seconds {
            row("server", format!("{:.0} % of a core", cpu / self.seconds * 100.0));
        }
        if let Some(bytes) = self.server_memory_bytes {
            row("server memory", format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
        }
        row("generator", format!("busiest thread {:.0} % busy", self.generator_busy * 100.0));
        if let Some(latency) = &self.latency_us {
            for (name, micros) in latency.named() {
                row(&format!("latency {name}"), time(micros * 1e3));
            }
            write!(text, "\n{}", self.drawing).expect("a string takes it");
        }
        text
    }

    fn connections(&self) -> String {
        let mut text = format!("{} opened", self.opened);
        for (count, what) in [
            (self.compressed_connections, "compressed"),
            (self.failed, "failed"),
            (self.lost_connections, "lost"),
        ] {
            if count > 0 {
                write!(text, ", {count} {what}").expect("a string takes it");
            }
        }
        text
    }

    /// What has to be known about the figures: a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.interrupted {
            remarks.push("interrupted: these are the figures so far".into());
        }
        for Reason { reason, count } in &self.failures {
            remarks.push(format!("{count} connections failed: {reason}"));
        }
        for Reason { reason, count } in &self.losses {
            remarks.push(format!("{count} connections ended early: {reason}"));
        }
        if self.wrong > 0 {
            let (wrong, checked) = (self.wrong, self.checked);
            remarks.push(format!("{wrong} of {checked} replies checked were not what was sent"));
        }
        if self.settings["compress"] == true && self.compressed_connections < self.opened {
            let plain = self.opened - self.compressed_connections;
            remarks.push(format!("the server declined compression on {plain} connections"));
        }
        if self.bottleneck {
            let busy = self.generator_busy * 100.0;
            remarks.push(format!(
                "the generator was the bottleneck ({busy:.0} % busy): give it a core of its own, or more --threads"
            ));
        }
        self.own.remarks(&mut remarks);
        remarks
    }
}

impl Own {
    fn new(plan: &Plan, findings: &Findings) -> Self {
        let Findings { counts, window, .. } = findings;
        let per_second = |count: u64| count as f64 / window.length.as_secs_f64();
        let unanswered = plan.is_paced.then_some(counts[Count::Unanswered]);
        match plan.mode {
            Name::Echo => Self::Echo { unanswered },
            Name::Broadcast => {
                let deliveries = window.counts[Count::Received];
                let expected = plan.awaits.expected(counts);
                Self::Broadcast {
                    deliveries,
                    deliveries_per_second: per_second(deliveries),
                    server_cpu_us_per_delivery: each(window.server_cpu, deliveries),
                    generator_cpu_us_per_delivery: each(window.own_cpu, deliveries),
                    expected,
                    lost: expected.saturating_sub(counts[Count::Received]),
                    repeated: counts[Count::Repeated],
                    out_of_order: counts[Count::Reordered],
                    unsent: unanswered,
                }
            }
            Name::Connect => {
                let handshakes = window.counts[Count::Opened];
                Self::Connect {
                    handshakes,
                    handshakes_per_second: per_second(handshakes),
                    server_cpu_us_per_handshake: each(window.server_cpu, handshakes),
                }
            }
            Name::Idle => {
                let held = counts[Count::Opened] - counts[Count::Lost];
                let grown = window.server_memory.zip(findings.memory_before);
                let grown = grown.map(|(after, before)| after as f64 - before as f64);
                Self::Idle {
                    held,
                    server_memory_before_bytes: findings.memory_before,
                    server_bytes_per_connection: grown.map(|bytes| bytes / held.max(1) as f64),
                }
            }
            Name::Churn => {
                let rounds = window.counts[Count::Rounds];
                Self::Churn {
                    rounds,
                    rounds_per_second: per_second(rounds),
                    server_cpu_us_per_round: each(window.server_cpu, rounds),
                }
            }
        }
    }

    /// The rows of the table that are this mode's own.
    fn rows(&self, report: &Report, row: &mut impl FnMut(&str, String)) {
        let mut rate = |name: &str, count: u64, per_second: f64| {
            row(name, format!("{count} ({per_second:.0}/s)"));
        };
        let (costs, noun) = match *self {
            Self::Echo { .. } => {
                rate("messages", report.messages, report.messages_per_second);
                (report.server_cpu_us_per_message, "message")
            }
            Self::Broadcast {
                deliveries,
                deliveries_per_second,
                server_cpu_us_per_delivery,
                ..
            } => {
                rate("messages sent", report.messages, report.messages_per_second);
                rate("deliveries", deliveries, deliveries_per_second);
                (server_cpu_us_per_delivery, "delivery")
            }
            Self::Connect { handshakes, handshakes_per_second, server_cpu_us_per_handshake } => {
                rate("handshakes", handshakes, handshakes_per_second);
                (server_cpu_us_per_handshake, "handshake")
            }
            Self::Churn { rounds, rounds_per_second, server_cpu_us_per_round } => {
                rate("rounds", rounds, rounds_per_second);
                (server_cpu_us_per_round, "round")
            }
            Self::Idle { held, server_bytes_per_connection, .. } => {
                row("held", held.to_string());
                if let Some(bytes) = server_bytes_per_connection {
                    row("server memory", format!("{bytes:.0} bytes a connection"));
                }
                (None, "")
            }
        };
        if let Some(micros) = costs {
            row("server CPU", format!("{micros:.2} µs a {noun}"));
        }
        if let Self::Broadcast { expected, lost, repeated, out_of_order, .. } = *self {
            let faults = format!("{lost} lost, {repeated} repeated, {out_of_order} out of order");
            row("of the whole run", format!("{expected} deliveries, {faults}"));
        }
    }

    fn remarks(&self, remarks: &mut Vec<String>) {
        match *self {
            Self::Echo { unanswered: Some(late @ 1..) } => {
                remarks.push(format!(
                    "{late} messages were not answered by the end, and count with the time they had waited"
                ));
            }
            Self::Broadcast { unsent: Some(late @ 1..), .. } => {
                remarks.push(format!(
                    "{late} messages could not be sent at the moment meant for them"
                ));
            }
            _ => {}
        }
    }
}

/// Microseconds of `cpu` for each of `count`.
fn each(cpu: Option<Duration>, count: u64) -> Option<f64> {
    cpu.filter(|_| count > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{
        run::{Awaits, Window},
        tally::{Counts, Tally},
    };

    /// The report on nothing, by a generator that was so busy.
    fn report(mode: Name, busiest: f64) -> Report {
        let plan = Plan {
            mode,
            target: "ws://127.0.0.1:9/".parse().unwrap(),
            addr: "127.0.0.1:9".parse().unwrap(),
            connections: 1,
            threads: 1,
            sources: 1,
            compress: false,
            timeout: Duration::from_secs(1),
            is_paced: false,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
            pids: Vec::new(),
            holds: true,
            awaits: Awaits::Nothing,
        };
        let window = Window {
            length: Duration::from_secs(1),
            counts: Counts::default(),
            server_cpu: Some(Duration::from_secs(1)),
            server_memory: None,
            own_cpu: None,
            busiest,
        };
        let findings = Findings {
            tally: Tally::default(),
            counts: Counts::default(),
            memory_before: None,
            window,
            interrupted: false,
        };
        Report::new(&plan, serde_json::json!({}), &findings)
    }

    #[test]
    fn a_generator_that_was_the_bottleneck_says_so() {
        for (busiest, is_bottleneck) in [(0.0, false), (0.94, false), (0.95, true), (1.2, true)] {
            let report = report(Name::Echo, busiest);
            assert_eq!(report.bottleneck, is_bottleneck, "{busiest}");
            let says_so = report.remarks().iter().any(|remark| remark.contains("bottleneck"));
            assert_eq!(says_so, is_bottleneck, "{busiest}");
        }
    }

    #[test]
    fn nothing_measured_is_a_report_all_the_same() {
        for mode in [Name::Echo, Name::Broadcast, Name::Connect, Name::Idle, Name::Churn] {
            let report = report(mode, 0.5);
            assert!(!report.has_something(), "{mode:?}");
            let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
            assert_eq!(json["mode"], mode.as_str());
            assert_eq!(json["server_cpu_us_per_message"], serde_json::Value::Null, "{mode:?}");
            assert!(report.table().contains("generator"), "{mode:?}");
        }
    }
}
