//! What all answers are made from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::access::Access;
use super::pictures::Pictures;
use super::preview::Previews;
use super::state::{Known, Rates};
use crate::stream::{LiveControls, LiveStatus};

/// A frame must have gone out within this time for the run to be ready.
const FLOWS_WITHIN: Duration = Duration::from_secs(5);
/// Rates are those of so much time.
const RATE_OVER: Duration = Duration::from_secs(2);

/// The run, as its main thread last told, and who watches it.
pub(super) struct Shared {
    pub access: Access,
    pub controls: LiveControls,
    pub previews: Previews,
    pub pictures: Pictures,
    known: Mutex<Known>,
    /// Counts changes; who watches is woken by each.
    changes: watch::Sender<u64>,
    /// Requests that were answered, for the metrics.
    pub requests: AtomicU64,
    /// Snapshots saved.
    pub snapshots: AtomicU64,
}

impl Shared {
    pub fn new(access: Access, controls: LiveControls) -> Self {
        Shared {
            access,
            previews: Previews::new(controls.monitor.clone()),
            controls,
            pictures: Pictures::default(),
            known: Mutex::default(),
            changes: watch::Sender::new(0),
            requests: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
        }
    }

    /// What is known of the run.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all who watch.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Tells of each change from now on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes note of the status of the run.
    pub fn told(&self, status: &LiveStatus) {
        let now = Instant::now();
        let mut known = self.known();
        let newest = Rates {
            at: now,
            captured: status.captured,
            sent: status.sent,
            painted: self.controls.monitor.painted(),
        };
        if known.newest.is_none_or(|before| before.sent != newest.sent) {
            known.flowed = Some(now);
        }
        known.newest = Some(newest);
        known.rates.push_back(newest);
        while known.rates.len() > 2
            && known.rates.get(1).is_some_and(|second| now - second.at >= RATE_OVER)
        {
            known.rates.pop_front();
        }
        known.status = Some(status.clone());
        drop(known);
        self.changed();
    }

    /// Why the run is not ready, if it is not: frames do not flow.
    pub fn unready(&self) -> Option<String> {
        let known = self.known();
        let Some(status) = &known.status else { return Some("the source is not open yet".into()) };
        if let Some(lost) = status.losses.now {
            return Some(format!("the source has been lost for {:.0} s", lost.as_secs_f64()));
        }
        let flows = known.flowed.is_some_and(|at| at.elapsed() < FLOWS_WITHIN) && status.sent > 0;
        (!flows).then(|| "no frame goes out".to_owned())
    }

    /// Counts a request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}
