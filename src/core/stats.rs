//! Counters of a run, written by its threads and read by the status line and the summary.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::watchdog::Heartbeat;

/// Counters that any thread may add to.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    frames: AtomicU64,
    passes: AtomicU64,
    begun: AtomicU64,
    returned: AtomicU64,
    network_ns: AtomicU64,
    last_pass_ns: AtomicU64,
    first_out_ns: AtomicU64,
    idle: AtomicBool,
}

impl Default for Stats {
    /// Counters of a run that begins now.
    fn default() -> Self {
        Stats::since(Instant::now())
    }
}

impl Stats {
    /// Counters of a run that began at `started`.
    pub fn since(started: Instant) -> Self {
        Stats {
            started,
            frames: AtomicU64::new(0),
            passes: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            network_ns: AtomicU64::new(0),
            last_pass_ns: AtomicU64::new(0),
            first_out_ns: AtomicU64::new(0),
            idle: AtomicBool::new(false),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Stats {
    /// Notes whether the worker is idle: waiting for frames, possibly with an incomplete batch.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Release);
    }

    /// Whether the worker is idle.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Acquire)
    }

    /// Notes that the worker waits for the network, in the call `compute`.
    pub fn in_network<T>(&self, compute: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::AcqRel);
        let computed = compute();
        self.returned.fetch_add(1, Ordering::AcqRel);
        computed
    }

    /// Whether the worker waits for the network, and how often it has begun to or has stopped waiting.
    pub fn network_heartbeat(&self) -> Heartbeat {
        let returned = self.returned.load(Ordering::Acquire);
        let begun = self.begun.load(Ordering::Acquire);
        Heartbeat { works: begun > returned, steps: begun + returned }
    }

    /// Counts a batch of `frames` that went through the network in `took`.
    pub fn stylized(&self, frames: usize, took: Duration) {
        self.passes.fetch_add(1, Ordering::Relaxed);
        self.network_ns.fetch_add(nanos(took), Ordering::Relaxed);
        let per_frame = took / u32::try_from(frames.max(1)).unwrap_or(1);
        self.last_pass_ns.store(nanos(per_frame), Ordering::Relaxed);
        self.frames.fetch_add(frames as u64, Ordering::Relaxed);
    }

    /// Notes that the first stylized frame was given to the encoder.
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

    /// Network time per frame in the last batch.
    pub fn last_pass(&self) -> Duration {
        Duration::from_nanos(self.last_pass_ns.load(Ordering::Relaxed))
    }

    /// Time from the start of the run to the first stylized frame at the encoder; none before.
    pub fn first_out(&self) -> Option<Duration> {
        match self.first_out_ns.load(Ordering::Relaxed) {
            0 => None,
            ns => Some(Duration::from_nanos(ns)),
        }
    }
}

/// Delays of the last frames, from capture to output, over a sliding window.
#[derive(Debug, Default)]
pub struct Delays(Mutex<VecDeque<Duration>>);

impl Delays {
    /// A window of about ten seconds of video.
    const WINDOW: usize = 300;

    /// Adds the delay of a frame.
    pub fn add(&self, delay: Duration) {
        let mut delays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if delays.len() == Self::WINDOW {
            delays.pop_front();
        }
        delays.push_back(delay);
    }

    /// The quantile of the delays, from 0 to 1; none before the first frame.
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
    /// Frames per second over the whole run.
    pub fps: f64,
    /// Seconds of video per second of the run; 1.0 is real time. None for a picture.
    pub speed: Option<f64>,
    /// Wall-clock time of the run.
    pub wall_s: f64,
    /// Time in the decoder, without waiting for the network.
    pub decode_s: f64,
    /// Time in the network.
    pub network_s: f64,
    /// Time in the encoder, without waiting for frames.
    pub encode_s: f64,
    /// From the start to the first stylized frame at the encoder.
    pub first_frame_s: Option<f64>,
    /// Frames dropped (always 0 for a file).
    pub dropped: u64,
    /// Live: frames dropped by each output, in the order of the outputs.
    pub dropped_by_outputs: Vec<u64>,
    /// Live: outputs that failed for good while others went on, each with the reason.
    pub failed_outputs: Vec<String>,
    /// Live: how often the source was lost.
    pub losses: u64,
    /// Live: how long it was lost, in all.
    pub lost_s: f64,
    /// How often the decoder found the frame queue full.
    pub queue_full: u64,
    /// Interrupted by Ctrl-C before its end.
    pub interrupted: bool,
    /// Live: the scale at the end, which `--adapt` changes.
    pub scale: Option<f64>,
    /// How steady video was held, 0–1; none for pictures.
    pub steady: Option<f32>,
    /// Live: median delay of the last frames from capture to encoder output.
    pub delay_p50_s: Option<f64>,
    /// Live: 99th percentile of that delay.
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
