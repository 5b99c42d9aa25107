//! The frame queue: ringbuf's lock-free SPSC ring, with blocking and waking.
//!
//! Frames move through the ring without a lock; the mutex is held only to sleep and to wake the other side. There
//! are two policies. For files, the producer waits while the ring is full ([`Producer::push`]), and no frame is
//! lost. For live sources, the producer never waits ([`Producer::offer`], a full ring is counted) and a thread drains
//! the ring into a slot for the newest frame ([`LatestConsumer`], every replaced frame is counted).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringbuf::traits::{Consumer as _, Observer as _, Producer as _, Split as _};
use ringbuf::{HeapCons, HeapProd, HeapRb};

/// Why an item could not be pushed; contains the item.
#[derive(Debug, PartialEq, Eq)]
pub enum PushError<T> {
    /// The consumer is gone, or the queue was closed.
    Closed(T),
    /// The ring is full ([`Producer::offer`] only).
    Full(T),
}

/// What a wait with a limit has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// The next item.
    Item(T),
    /// No item within the limit.
    Nothing,
    /// The queue is closed and empty.
    Closed,
}

/// Counters of a queue, readable from any thread.
#[derive(Debug, Default)]
pub struct QueueStats {
    /// Items pushed.
    pub pushed: AtomicU64,
    /// How often the producer found the ring full.
    pub full: AtomicU64,
    /// Items dropped: refused by a full ring, or replaced by a newer one.
    pub dropped: AtomicU64,
    /// Nanoseconds the producer waited for room.
    pub waited_for_room_ns: AtomicU64,
}

impl QueueStats {
    /// Total time the producer has waited for room.
    pub fn waited_for_room(&self) -> Duration {
        Duration::from_nanos(self.waited_for_room_ns.load(Ordering::Relaxed))
    }
}

struct Shared {
    /// Taken to sleep, and before notifying: so a sleeper that saw the old state is waiting when the notification
    /// comes.
    sleep: Mutex<()>,
    changed: Condvar,
    /// One of the ends is gone, or the queue was closed.
    closed: AtomicBool,
    stats: Arc<QueueStats>,
}

impl Shared {
    fn wake(&self) {
        drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Sleeps until `ready`.
    fn wait(&self, ready: impl Fn() -> bool) {
        let guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self.changed.wait_while(guard, |()| !ready());
        drop(slept.unwrap_or_else(PoisonError::into_inner));
    }
}

/// The sending end. Dropping it closes the queue; the consumer still gets the items in the ring.
pub struct Producer<T> {
    ring: HeapProd<T>,
    shared: Arc<Shared>,
}

/// The receiving end. Dropping it closes the queue; the producer's next push fails.
pub struct Consumer<T> {
    ring: HeapCons<T>,
    shared: Arc<Shared>,
}

/// Closes a queue from another thread, which unblocks both ends.
#[derive(Clone)]
pub struct QueueCloser(Arc<Shared>);

impl QueueCloser {
    /// Whether the queue is closed, by any of its ends or closers.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Closes the queue: every push fails from now on, a blocked one returns; items in the ring can still be taken.
    pub fn close(&self) {
        self.0.close();
    }
}

/// A queue for `capacity` items (at least one).
pub fn bounded<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = HeapRb::new(capacity.max(1)).split();
    let shared = Arc::new(Shared {
        sleep: Mutex::new(()),
        changed: Condvar::new(),
        closed: AtomicBool::new(false),
        stats: Arc::default(),
    });
    (Producer { ring: producer, shared: Arc::clone(&shared) }, Consumer { ring: consumer, shared })
}

impl<T> Producer<T> {
    /// Adds an item; waits while the ring is full.
    ///
    /// # Errors
    /// [`PushError::Closed`] when the queue is closed.
    pub fn push(&mut self, item: T) -> Result<(), PushError<T>> {
        if self.ring.is_full() && !self.shared.is_closed() {
            self.shared.stats.full.fetch_add(1, Ordering::Relaxed);
            let since = Instant::now();
            self.shared.wait(|| !self.ring.is_full() || self.shared.is_closed());
            let waited = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.shared.stats.waited_for_room_ns.fetch_add(waited, Ordering::Relaxed);
        }
        self.hand_over(item)
    }

    /// Adds an item if there is room; never waits.
    ///
    /// # Errors
    /// [`PushError::Full`] (counted as a drop) or [`PushError::Closed`].
    pub fn offer(&mut self, item: T) -> Result<(), PushError<T>> {
        let result = self.hand_over(item);
        if matches!(result, Err(PushError::Full(_))) {
            self.shared.stats.full.fetch_add(1, Ordering::Relaxed);
            self.shared.stats.dropped.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn hand_over(&mut self, item: T) -> Result<(), PushError<T>> {
        if self.shared.is_closed() {
            return Err(PushError::Closed(item));
        }
        self.ring.try_push(item).map_err(PushError::Full)?;
        self.shared.stats.pushed.fetch_add(1, Ordering::Relaxed);
        self.shared.wake();
        Ok(())
    }

    /// The counters of the queue.
    pub fn stats(&self) -> Arc<QueueStats> {
        Arc::clone(&self.shared.stats)
    }

    /// A handle that closes the queue from another thread.
    pub fn closer(&self) -> QueueCloser {
        QueueCloser(Arc::clone(&self.shared))
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<T> Consumer<T> {
    /// The next item, waiting for one; `None` at the end of the queue.
    pub fn pop(&mut self) -> Option<T> {
        self.shared.wait(|| !self.ring.is_empty() || self.shared.is_closed());
        self.try_pop()
    }

    /// The next item, waiting for one for `limit` at most.
    pub fn pop_within(&mut self, limit: Duration) -> Popped<T> {
        let guard = self.shared.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |(): &mut ()| self.ring.is_empty() && !self.shared.is_closed();
        let slept = self.shared.changed.wait_timeout_while(guard, limit, waits);
        drop(slept.unwrap_or_else(PoisonError::into_inner));
        match self.try_pop() {
            Some(item) => Popped::Item(item),
            None if self.shared.is_closed() => Popped::Closed,
            None => Popped::Nothing,
        }
    }

    /// The next item if one is there.
    pub fn try_pop(&mut self) -> Option<T> {
        let item = self.ring.try_pop();
        if item.is_some() {
            self.shared.wake();
        }
        item
    }

    /// Whether at least `count` items are in the ring, or the queue is closed.
    pub fn has(&self, count: usize) -> bool {
        self.ring.occupied_len() >= count || self.shared.is_closed()
    }

    /// The counters of the queue.
    pub fn stats(&self) -> Arc<QueueStats> {
        Arc::clone(&self.shared.stats)
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The consumer of a live source: holds only the newest item.
///
/// A thread drains the ring all the time. Draining it only when an item is taken would not do: during a slow step
/// the ring would fill up and refuse later frames, and the newest frame in it would be an old one.
pub struct LatestConsumer<T> {
    slot: Arc<Slot<T>>,
    drain: Option<JoinHandle<()>>,
    stats: Arc<QueueStats>,
}

struct Slot<T> {
    /// The newest item, and whether more may come.
    state: Mutex<(Option<T>, bool)>,
    filled: Condvar,
    /// The consumer is gone.
    abandoned: AtomicBool,
}

/// Closes the slot when the thread that fills it ends, for whatever reason.
struct SlotCloser<T>(Arc<Slot<T>>);

impl<T> Drop for SlotCloser<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = false;
        self.0.filled.notify_one();
    }
}

impl<T: Send + 'static> LatestConsumer<T> {
    /// Starts a thread that drains `queue`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn of(mut queue: Consumer<T>) -> std::io::Result<Self> {
        let slot = Arc::new(Slot {
            state: Mutex::new((None, true)),
            filled: Condvar::new(),
            abandoned: AtomicBool::new(false),
        });
        let stats = queue.stats();
        let to = Arc::clone(&slot);
        let drain = std::thread::Builder::new().name("newest".into()).spawn(move || {
            let to = SlotCloser(to);
            let to = &to.0;
            while let Some(item) = queue.pop() {
                if to.abandoned.load(Ordering::Acquire) {
                    break;
                }
                let mut state = to.state.lock().unwrap_or_else(PoisonError::into_inner);
                let older = state.0.replace(item);
                drop(state);
                to.filled.notify_one();
                if older.is_some() {
                    queue.shared.stats.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        })?;
        Ok(LatestConsumer { slot, drain: Some(drain), stats })
    }
}

impl<T> LatestConsumer<T> {
    /// The newest item, waiting for one; `None` at the end of the queue.
    pub fn pop(&mut self) -> Option<T> {
        let state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut (Option<T>, bool)| state.0.is_none() && state.1;
        let state = self.slot.filled.wait_while(state, waiting);
        state.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

impl<T> LatestConsumer<T> {
    /// A newer item than one taken before, if there is one; the older one then counts as dropped.
    pub fn renew(&mut self, taken: &mut T) {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newer) = state.0.take() {
            *taken = newer;
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters of the queue.
    pub fn stats(&self) -> Arc<QueueStats> {
        Arc::clone(&self.stats)
    }
}

impl<T> Drop for LatestConsumer<T> {
    fn drop(&mut self) {
        // The thread ends with the next item, or with the queue; nobody needs to wait for that.
        self.slot.abandoned.store(true, Ordering::Release);
        drop(self.drain.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_wait_with_a_limit_tells_an_empty_queue_from_a_closed_one() {
        let (mut producer, mut consumer) = bounded(2);
        assert_eq!(consumer.pop_within(Duration::from_millis(1)), Popped::Nothing);
        producer.push(1).unwrap();
        assert_eq!(consumer.pop_within(Duration::ZERO), Popped::Item(1));
        producer.push(2).unwrap();
        drop(producer);
        assert_eq!(consumer.pop_within(Duration::from_secs(60)), Popped::Item(2));
        assert_eq!(consumer.pop_within(Duration::from_secs(60)), Popped::Closed);
    }

    #[test]
    fn every_item_arrives_in_order_through_a_ring_of_one() {
        let (mut producer, mut consumer) = bounded(1);
        let pushing = thread::spawn(move || {
            for i in 0..10_000 {
                producer.push(i).unwrap();
            }
        });
        for i in 0..10_000 {
            assert_eq!(consumer.pop(), Some(i));
        }
        assert_eq!(consumer.pop(), None, "the producer is gone");
        pushing.join().unwrap();
    }

    #[test]
    fn what_is_in_the_ring_outlives_its_producer() {
        let (mut producer, mut consumer) = bounded(4);
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        drop(producer);
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(1), Some(2), None));
    }

    #[test]
    fn a_waiting_push_ends_when_the_consumer_goes() {
        let (mut producer, consumer) = bounded(1);
        producer.push(1).unwrap();
        let pushing = thread::spawn(move || producer.push(2));
        thread::sleep(Duration::from_millis(20));
        drop(consumer);
        assert_eq!(pushing.join().unwrap(), Err(PushError::Closed(2)));
    }

    #[test]
    fn closing_from_outside_wakes_both_ends() {
        let (producer, mut consumer) = bounded::<u8>(1);
        let closer = producer.closer();
        let popping = thread::spawn(move || consumer.pop());
        thread::sleep(Duration::from_millis(20));
        closer.close();
        assert_eq!(popping.join().unwrap(), None);
        drop(producer);
    }

    #[test]
    fn live_takes_the_newest_and_counts_the_rest() {
        let (mut producer, consumer) = bounded(4);
        let stats = consumer.stats();
        let mut newest = LatestConsumer::of(consumer).unwrap();
        for i in 0..100 {
            // As slowly as a camera, against the thread that drains.
            while producer.offer(i).is_err() {}
            thread::sleep(Duration::from_micros(200));
        }
        thread::sleep(Duration::from_millis(50));
        assert_eq!(newest.pop(), Some(99), "whatever the ring's size");
        let dropped = || stats.dropped.load(Ordering::Relaxed);
        let refused = stats.full.load(Ordering::Relaxed);
        assert_eq!(dropped() - refused, 99, "every frame that was passed over is counted");
        producer.push(100).unwrap();
        assert_eq!(newest.pop(), Some(100));
        drop(producer);
        assert_eq!(newest.pop(), None);
    }

    #[test]
    fn a_full_ring_refuses_and_counts() {
        let (mut producer, _consumer) = bounded(1);
        producer.offer(1).unwrap();
        assert_eq!(producer.offer(2), Err(PushError::Full(2)));
        let stats = producer.stats();
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        assert_eq!((count(&stats.full), count(&stats.dropped), count(&stats.pushed)), (1, 1, 1));
    }
}
