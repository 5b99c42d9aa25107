//! Histograms of times, written by the threads of a run and read while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds: from a lite network on a GPU to a picture that is seconds late.
pub const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Counts times by their length; any thread may add to it.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of [`BOUNDS`], and a last one for what is longer.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

/// What a [`Histogram`] has counted so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramCounts {
    /// For each of [`BOUNDS`]: how many times were not longer.
    pub within: [u64; BOUNDS.len()],
    /// How many in all.
    pub count: u64,
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts a time.
    pub fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What has been counted.
    pub fn counts(&self) -> HistogramCounts {
        let mut counts = HistogramCounts::default();
        for (n, bucket) in self.counts.iter().enumerate() {
            counts.count += bucket.load(Ordering::Relaxed);
            if let Some(within) = counts.within.get_mut(n) {
                *within = counts.count;
            }
        }
        counts.sum = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_counts_in_all_buckets_that_are_not_shorter() {
        let histogram = Histogram::default();
        for ms in [1, 3, 30, 30, 9000] {
            histogram.add(Duration::from_millis(ms));
        }
        let counts = histogram.counts();
        assert_eq!(counts.count, 5);
        assert!((counts.sum - 9.064).abs() < 1e-9);
        let within = |bound: f64| counts.within[BOUNDS.iter().position(|b| *b == bound).unwrap()];
        assert_eq!((within(0.001), within(0.005), within(0.025), within(0.05)), (1, 2, 2, 4));
        assert_eq!(within(5.0), 4, "what is longer than all bounds counts in all alone");
    }
}
