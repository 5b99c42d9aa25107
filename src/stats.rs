//! Counters of a run, written by its threads and read by the status line and the summary.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Counters that any thread may add to.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    frames: AtomicU64,
    passes: AtomicU64,
    network_ns: AtomicU64,
    last_pass_ns: AtomicU64,
    first_out_ns: AtomicU64,
    rests: AtomicBool,
}

impl Default for Stats {
    /// Of a run that begins now.
    fn default() -> Self {
        Stats::since(Instant::now())
    }
}

impl Stats {
    /// Of a run that began at `started`.
    pub fn since(started: Instant) -> Self {
        Stats {
            started,
            frames: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            network_ns: AtomicU64::new(0),
            last_pass_ns: AtomicU64::new(0),
            first_out_ns: AtomicU64::new(0),
            rests: AtomicBool::new(false),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Stats {
    /// The worker waits for frames, with a part of a batch in hand perhaps; or no longer.
    pub fn rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Release);
    }

    /// Whether it does.
    pub fn is_resting(&self) -> bool {
        self.rests.load(Ordering::Acquire)
    }

    /// A batch of `frames` went through the network in `took`.
    pub fn stylized(&self, frames: usize, took: Duration) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.network_ns.fetch_add(nanos(took), Ordering::Relaxed);
        let per_frame = took / u32::try_from(frames.max(1)).unwrap_or(1);
        self.last_pass_ns.store(nanos(per_frame), Ordering::Relaxed);
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
    }

    /// The first stylized frame was handed to the encoder.
    pub fn first_frame_out(&self) {
        let now = nanos(self.started.elapsed()).max(1);
        let _ = self.first_out_ns.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Frames stylized so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Network passes so far.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time spent in the network so far, colour conversion included.
    pub fn network(&self) -> Duration {
        Duration::from_nanos(self.network_ns.load(Ordering::Relaxed))
    }

    /// Network time of one frame in the newest batch.
    pub fn last_pass(&self) -> Duration {
        Duration::from_nanos(self.last_pass_ns.load(Ordering::Relaxed))
    }

    /// From the start of the run to the first stylized frame at the encoder, once there was one.
    pub fn first_out(&self) -> Option<Duration> {
        match self.first_out_ns.load(Ordering::Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }
}

/// How long after their capture the last frames left, over a sliding window.
#[derive(Debug, Default)]
pub struct Delays(Mutex<VecDeque<Duration>>);

impl Delays {
    /// Some ten seconds of video.
    const WINDOW: usize = 300;

    /// Notes the delay of one frame.
    pub fn add(&self, delay: Duration) {
        let mut delays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if delays.len() == Self::WINDOW {
            delays.pop_front();
        }
        delays.push_back(delay);
    }

    /// The delay that this share (0–1) of the frames did not exceed; none before the first frame.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let delays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = delays.iter().copied().collect();
        drop(delays);
        sorted.sort_unstable();
        let at = (share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64).round();
        sorted.get(at as usize).copied()
    }
}

/// What `--json` prints when a run is over. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// What was read.
    pub input: String,
    /// What was written.
    pub output: String,
    /// Frames written.
    pub frames: u64,
    /// Frames a second over the whole run.
    pub fps: f64,
    /// Seconds of video made in a second; 1.0 keeps up with playing. None for a picture.
    pub speed: Option<f64>,
    /// The whole run on the clock.
    pub wall_s: f64,
    /// The decoder at work (not waiting for the network).
    pub decode_s: f64,
    /// The network at work.
    pub network_s: f64,
    /// The encoder at work (not waiting for frames).
    pub encode_s: f64,
    /// From the start to the first stylized frame at the encoder.
    pub first_frame_s: Option<f64>,
    /// Frames dropped (always 0 for a file).
    pub dropped: u64,
    /// Live: frames that each output did not take in time, in their order.
    pub dropped_by_outputs: Vec<u64>,
    /// How often the decoder found the frame queue full.
    pub queue_full: u64,
    /// Interrupted by Ctrl-C before its end.
    pub interrupted: bool,
    /// Live: the scale at the end, which `--adapt` changes.
    pub scale: Option<f64>,
    /// Live: seconds from capture to encoder output that half of the last frames did not exceed.
    pub delay_p50_s: Option<f64>,
    /// Live: the same for 99 % of them.
    pub delay_p99_s: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_newest_frames() {
        let delays = Delays::default();
        assert_eq!(delays.percentile(0.5), None);
        (0..1000).for_each(|_| delays.add(Duration::from_secs(9)));
        (1..=300).for_each(|n| delays.add(Duration::from_millis(n)));
        let ms = |share| delays.percentile(share).unwrap().as_millis();
        assert_eq!((ms(0.0), ms(0.5), ms(0.99), ms(1.0)), (1, 151, 297, 300));
    }

    #[test]
    fn counts_add_up() {
        let stats = Stats::default();
        assert_eq!(stats.first_out(), None);
        stats.stylized(2, Duration::from_millis(10));
        stats.stylized(1, Duration::from_millis(7));
        stats.first_frame_out();
        let first = stats.first_out();
        stats.first_frame_out();
        assert_eq!(stats.first_out(), first, "only the first counts");
        assert_eq!((stats.frames(), stats.passes()), (3, 2));
        assert_eq!(stats.network(), Duration::from_millis(17));
        assert_eq!(stats.last_pass(), Duration::from_millis(7));
    }
}
