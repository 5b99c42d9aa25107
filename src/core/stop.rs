//! The stop signal of a run, with two levels: in order, and at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Signal that ends a run. Clones share its state.
///
/// Level one: what has been painted so far is finished. Level two: clean-ups run (they may rename or remove files), then
/// the process exits. Every wait of a run either polls the signal a few times per second or is woken by it
/// ([`StopSignal::on_change`]).
#[derive(Clone, Default)]
pub struct StopSignal(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ending: AtomicBool,
    interrupted: AtomicBool,
    immediate: AtomicBool,
    last_id: AtomicU64,
    listeners: Mutex<Vec<(u64, Listener)>>,
    cleanups: Mutex<Vec<(u64, Cleanup)>>,
}

type Listener = Box<dyn Fn() + Send>;
type Cleanup = Box<dyn FnOnce() -> Option<String> + Send>;

/// The effect of an interruption.
pub enum Interruption<'a> {
    /// The first one: the run ends in order.
    InOrder,
    /// A further one: the run ends at once.
    AtOnce(ForcedExit<'a>),
}

/// A run that ends at once, after its clean-ups. While this exists, no clean-up can be taken back, so that the
/// process can be ended.
pub struct ForcedExit<'a> {
    _cleanups: MutexGuard<'a, Vec<(u64, Cleanup)>>,
    /// What the clean-ups report.
    pub notes: Vec<String>,
}

impl StopSignal {
    /// Requests an orderly end that does not count as an interruption.
    pub fn end(&self) {
        self.0.ending.store(true, Ordering::Release);
        self.wake();
    }

    /// Raises the level: the first interruption ends the run in order, the second at once.
    pub fn interrupt(&self) -> Interruption<'_> {
        if !self.0.interrupted.swap(true, Ordering::AcqRel) {
            self.end();
            return Interruption::InOrder;
        }
        let mut cleanups = self.0.cleanups.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest first: it knows best how far the run has come.
        let notes = cleanups.drain(..).rev().filter_map(|(_, clean_up)| clean_up()).collect();
        self.0.immediate.store(true, Ordering::Release);
        self.wake();
        Interruption::AtOnce(ForcedExit { _cleanups: cleanups, notes })
    }

    /// Whether the run is to end, at either level.
    pub fn is_set(&self) -> bool {
        self.0.ending.load(Ordering::Acquire)
    }

    /// Whether the run was interrupted.
    pub fn is_interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::Acquire)
    }

    /// Whether the run is to end at once.
    pub fn is_at_once(&self) -> bool {
        self.0.immediate.load(Ordering::Acquire)
    }

    /// [`StopSignal::is_set`] as a flag, for loops that need nothing else.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.ending
    }

    /// Calls `listener` whenever the level rises, until the subscription is dropped.
    pub fn on_change(&self, listener: impl Fn() + Send + 'static) -> Subscription {
        let id = self.next_id();
        self.listeners().push((id, Box::new(listener)));
        Subscription { signal: self.clone(), id }
    }

    /// Calls `clean_up` when the run is ended at once, unless the guard is dropped before. It may return a note about
    /// what it leaves. It runs on the interrupting thread, so it must be quick.
    pub fn clean_up(
        &self,
        clean_up: impl FnOnce() -> Option<String> + Send + 'static,
    ) -> CleanUpGuard {
        let id = self.next_id();
        let mut cleanups = self.0.cleanups.lock().unwrap_or_else(PoisonError::into_inner);
        cleanups.push((id, Box::new(clean_up)));
        drop(cleanups);
        CleanUpGuard { signal: self.clone(), id }
    }

    fn next_id(&self) -> u64 {
        self.0.last_id.fetch_add(1, Ordering::Relaxed)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<(u64, Listener)>> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.listeners().iter().for_each(|(_, listener)| listener());
    }
}

/// Guard of a listener: removes it when dropped.
pub struct Subscription {
    signal: StopSignal,
    id: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.signal.listeners().retain(|(id, _)| *id != self.id);
    }
}

/// Guard of a clean-up: removes it when dropped.
pub struct CleanUpGuard {
    signal: StopSignal,
    id: u64,
}

impl CleanUpGuard {
    /// Removes the clean-up; false if it has been called already.
    pub fn cancel(self) -> bool {
        self.take()
    }

    fn take(&self) -> bool {
        let cleanups = &self.signal.0.cleanups;
        let mut cleanups = cleanups.lock().unwrap_or_else(PoisonError::into_inner);
        let before = cleanups.len();
        cleanups.retain(|(id, _)| *id != self.id);
        cleanups.len() < before
    }
}

impl Drop for CleanUpGuard {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_first_interruption_ends_in_order_and_the_second_at_once() {
        let stop = StopSignal::default();
        let (send, heard) = channel();
        let subscription = stop.on_change(move || send.send(()).unwrap());
        assert!(!stop.is_set() && !stop.is_interrupted());
        assert!(matches!(stop.interrupt(), Interruption::InOrder));
        assert!(stop.is_set() && stop.is_interrupted() && !stop.is_at_once());
        assert!(matches!(stop.clone().interrupt(), Interruption::AtOnce(_)));
        assert!(stop.is_at_once());
        drop(subscription);
        stop.end();
        assert_eq!(heard.iter().count(), 2, "nobody is told after the subscription");
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_interruption() {
        let stop = StopSignal::default();
        stop.end();
        assert!(stop.is_set() && !stop.is_interrupted());
        assert!(matches!(stop.interrupt(), Interruption::InOrder), "it can still be interrupted");
    }

    #[test]
    fn clean_ups_are_done_at_the_second_interruption_but_for_those_taken_back() {
        let stop = StopSignal::default();
        let first = stop.clean_up(|| Some("first".to_owned()));
        let second = stop.clean_up(|| Some("second".to_owned()));
        let taken = stop.clean_up(|| Some("taken back".to_owned()));
        assert!(taken.cancel());
        assert!(matches!(stop.interrupt(), Interruption::InOrder));
        let Interruption::AtOnce(abandoned) = stop.interrupt() else { panic!("not at once") };
        assert_eq!(abandoned.notes, ["second", "first"]);
        drop(abandoned);
        assert!(!first.cancel(), "it is done");
        drop(second);
    }
}
