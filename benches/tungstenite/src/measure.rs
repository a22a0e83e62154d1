//! Two closures timed in turns.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Samples of each side.
const SAMPLES: usize = 501;

/// How long a sample takes at least.
const SAMPLE: Duration = Duration::from_micros(200);

/// Rows measured so far.
#[derive(Default)]
pub struct Table(Vec<(String, f64, f64)>);

impl Table {
    /// Times both; each call does `per_call` of what the row counts.
    pub fn compare<A, B>(
        &mut self,
        name: impl Into<String>,
        per_call: usize,
        mut chinwag: impl FnMut() -> A,
        mut tungstenite: impl FnMut() -> B,
    ) {
        let (ours, theirs) = (calls_in_a_sample(&mut chinwag), calls_in_a_sample(&mut tungstenite));
        let mut samples = [vec![], vec![]];
        for _ in 0..SAMPLES {
            samples[0].push(sample(&mut chinwag, ours));
            samples[1].push(sample(&mut tungstenite, theirs));
        }
        let [chinwag, tungstenite] = samples.map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            samples[SAMPLES / 2] / per_call as f64
        });
        self.0.push((name.into(), chinwag, tungstenite));
    }

    /// Nanoseconds, and how many times as fast chinwag is.
    pub fn print(&self) {
        println!("{:<34} {:>12} {:>12} {:>8}", "median ns", "chinwag", "tungstenite", "ratio");
        for (name, chinwag, tungstenite) in &self.0 {
            let ratio = tungstenite / chinwag;
            println!("{name:<34} {chinwag:>12.1} {tungstenite:>12.1} {ratio:>7.2}x");
        }
    }
}

fn calls_in_a_sample<A>(work: &mut impl FnMut() -> A) -> u32 {
    let mut calls = 1;
    while sample(work, calls) * f64::from(calls) < SAMPLE.as_nanos() as f64 {
        calls *= 2;
    }
    calls
}

/// Nanoseconds per call.
fn sample<A>(work: &mut impl FnMut() -> A, calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(work());
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
