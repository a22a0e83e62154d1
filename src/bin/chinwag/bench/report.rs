//! What a run has shown: one JSON object for machines, or a table for people.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use super::{
    latency::{Percentiles, time},
    run::{Findings, Plan},
    tally::Count,
};

/// How busy the busiest thread may be before the generator counts as the bottleneck.
const BUSY: f64 = 0.95;

/// Everything that is told. What does not apply to a mode is left out.
#[derive(Debug, Serialize)]
pub struct Report {
    pub chinwag: &'static str,
    pub mode: &'static str,
    pub url: String,
    /// What was asked for, by the mode's own options.
    pub settings: serde_json::Value,
    pub threads: usize,
    pub sources: usize,
    /// Connections that were asked for, were opened, could not be opened, and ended too early.
    pub connections: usize,
    pub opened: u64,
    pub failed: u64,
    pub lost_connections: u64,
    pub compressed_connections: u64,
    pub failures: Vec<Reason>,
    pub losses: Vec<Reason>,
    /// Length of the timed window.
    pub seconds: f64,
    pub interrupted: bool,
    /// What the mode counts: replies, messages sent, handshakes, rounds.
    pub messages: u64,
    pub messages_per_second: f64,
    /// Payload, in millions of bytes, before compression.
    pub megabytes_per_second: f64,
    pub latency_us: Option<Percentiles>,
    pub server_cpu_us_per_message: Option<f64>,
    pub server_cpu_seconds: Option<f64>,
    pub server_memory_bytes: Option<u64>,
    pub generator_cpu_us_per_message: Option<f64>,
    /// How much of the window the busiest thread worked or waited for a processor: 0 to 1.
    pub generator_busy: f64,
    pub bottleneck: bool,
    pub unexpected: u64,
    pub checked: u64,
    pub wrong: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswered: Option<u64>,
    #[serde(skip)]
    drawing: String,
}

/// Why connections failed or ended, and how many of them.
#[derive(Debug, Serialize)]
pub struct Reason {
    pub reason: String,
    pub count: u64,
}

impl Report {
    /// The report on a run of `mode`, whose messages are counted as `count`.
    pub fn new(
        mode: &'static str,
        settings: serde_json::Value,
        plan: &Plan,
        findings: &Findings,
        count: Count,
    ) -> Self {
        let Findings { tally, counts, window, .. } = findings;
        let reasons = |reasons: &super::tally::Reasons| {
            let sorted = reasons.sorted().into_iter();
            sorted.map(|(reason, count)| Reason { reason: reason.into(), count }).collect()
        };
        let seconds = window.length.as_secs_f64();
        let messages = window.counts[count];
        let each =
            |cpu: Duration| (messages > 0).then(|| cpu.as_secs_f64() * 1e6 / messages as f64);
        Self {
            chinwag: env!("CARGO_PKG_VERSION"),
            mode,
            url: plan.target.to_string(),
            settings,
            threads: plan.threads,
            sources: plan.sources,
            connections: plan.connections,
            opened: counts[Count::Opened],
            failed: counts[Count::Failed],
            lost_connections: counts[Count::Lost],
            compressed_connections: counts[Count::Compressed],
            failures: reasons(&tally.failures),
            losses: reasons(&tally.losses),
            seconds,
            interrupted: findings.interrupted,
            messages,
            messages_per_second: messages as f64 / seconds,
            megabytes_per_second: window.counts[Count::Bytes] as f64 / 1e6 / seconds,
            latency_us: tally.latencies.percentiles(),
            server_cpu_us_per_message: window.server_cpu.and_then(each),
            server_cpu_seconds: window.server_cpu.map(|cpu| cpu.as_secs_f64()),
            server_memory_bytes: window.server_memory,
            generator_cpu_us_per_message: window.own_cpu.and_then(each),
            generator_busy: window.busiest,
            bottleneck: window.busiest >= BUSY,
            unexpected: counts[Count::Unexpected],
            checked: counts[Count::Checked],
            wrong: counts[Count::Wrong],
            unanswered: None,
            drawing: tally.latencies.drawing(),
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings can be written")
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = vec![
            ("connections", format!("{} of {}", self.opened, self.connections)),
            ("measured for", format!("{:.2} s", self.seconds)),
            ("messages", format!("{} ({:.0}/s)", self.messages, self.messages_per_second)),
            ("payload", format!("{:.1} MB/s", self.megabytes_per_second)),
        ];
        if let Some(l) = &self.latency_us {
            for (name, micros) in [
                ("latency p50", l.p50),
                ("latency p90", l.p90),
                ("latency p99", l.p99),
                ("latency p99.9", l.p99_9),
                ("latency max", l.max),
            ] {
                rows.push((name, time(micros * 1e3)));
            }
        }
        if let Some(micros) = self.server_cpu_us_per_message {
            rows.push(("server CPU", format!("{micros:.2} µs a message")));
        }
        if let Some(micros) = self.generator_cpu_us_per_message {
            let busy = self.generator_busy * 100.0;
            rows.push(("generator CPU", format!("{micros:.2} µs a message, {busy:.0} % busy")));
        }
        let mut text = format!("{} {}\n\n", self.mode, self.url);
        for (name, value) in rows {
            writeln!(text, "  {name:<16} {value}").expect("a string takes it");
        }
        if !self.drawing.is_empty() {
            write!(text, "\n{}", self.drawing).expect("a string takes it");
        }
        text
    }

    /// What should be known about the figures: a line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.bottleneck {
            remarks.push(format!(
                "the generator was the bottleneck ({:.0} % busy): give it --threads or a core of its own",
                self.generator_busy * 100.0
            ));
        }
        remarks
    }
}
