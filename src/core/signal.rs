//! Whether a live source delivers, and how often and how long it did not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What outputs show while a source is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// The last picture for a second, then a card.
    #[default]
    Card,
    /// The last picture.
    Hold,
    /// Nothing: the run ends.
    End,
}

/// What happens when a live source is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossOptions {
    /// What outputs show.
    pub on_loss: OnLoss,
    /// Silence after which a source counts as lost; none: silence is not a loss.
    pub stall: Option<Duration>,
    /// How many attempts in a row may fail; none: any number, but the first opening is not repeated.
    pub retries: Option<u32>,
    /// A file begins again at its end.
    pub looped: bool,
}

impl Default for LossOptions {
    fn default() -> Self {
        let stall = Some(Duration::from_secs(5));
        LossOptions { on_loss: OnLoss::default(), stall, retries: None, looped: false }
    }
}

/// The state of a live source's signal, shared by the threads of a run. Clones share it.
#[derive(Clone, Debug)]
pub struct SourceSignal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// When the newest frame came, in nanoseconds after `started`.
    newest: AtomicU64,
    frames: AtomicU64,
    losses: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// Of losses that are over.
    total: Duration,
    /// When the present loss began.
    since: Option<Instant>,
}

/// How often and how long a source was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How often.
    pub count: u64,
    /// How long in all, the present loss included.
    pub total: Duration,
    /// How long the present loss has lasted, if there is one.
    pub now: Option<Duration>,
}

impl Default for SourceSignal {
    fn default() -> Self {
        SourceSignal(Arc::new(Shared {
            started: Instant::now(),
            newest: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            losses: Mutex::default(),
        }))
    }
}

impl SourceSignal {
    /// Counts a frame that has come.
    pub fn frame(&self) {
        let now = u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.newest.store(now, Ordering::Relaxed);
        self.0.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of frames that have come.
    pub fn frames(&self) -> u64 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// For how long no frame has come.
    pub fn silent_for(&self) -> Duration {
        let newest = Duration::from_nanos(self.0.newest.load(Ordering::Relaxed));
        self.0.started.elapsed().saturating_sub(newest)
    }

    /// Notes that the source is lost.
    pub fn lose(&self) {
        let mut state = self.state();
        if state.since.is_none() {
            state.since = Some(Instant::now());
            state.count += 1;
        }
    }

    /// Notes that the source delivers again; how long it was lost.
    pub fn restore(&self) -> Duration {
        let mut state = self.state();
        let lasted = state.since.take().map(|since| since.elapsed()).unwrap_or_default();
        state.total += lasted;
        lasted
    }

    /// Whether the source is lost now.
    pub fn is_lost(&self) -> bool {
        self.state().since.is_some()
    }

    /// How often and how long it was lost.
    pub fn losses(&self) -> Losses {
        let state = self.state();
        let now = state.since.map(|since| since.elapsed());
        Losses { count: state.count, total: state.total + now.unwrap_or_default(), now }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_and_their_lengths_add_up() {
        let signal = SourceSignal::default();
        assert_eq!(signal.losses(), Losses::default());
        signal.lose();
        signal.lose();
        assert!(signal.is_lost());
        let losses = signal.losses();
        assert_eq!(losses.count, 1, "one loss, noted twice");
        assert_eq!(losses.now, Some(losses.total));
        let first = signal.restore();
        signal.lose();
        let second = signal.restore();
        let losses = signal.losses();
        assert_eq!((losses.count, losses.now), (2, None));
        assert_eq!(losses.total, first + second);
    }
}
