//! Gathers frames into batches that one network pass can take.

use std::time::{Duration, Instant};

use crate::frame::Frame;
use crate::queue::Consumer;

/// How frames are taken from the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A file: every frame, in order; waits until a batch is full or the queue ends.
    EveryFrame {
        /// Most frames in a batch.
        batch: usize,
    },
    /// A live source: the newest frame first, then what comes within `wait`, up to `batch`.
    Newest {
        /// Most frames in a batch.
        batch: usize,
        /// How long a started batch waits for more frames.
        wait: Duration,
    },
}

/// Takes batches from a queue.
pub struct Batcher {
    queue: Consumer<Frame>,
    policy: Policy,
    /// The first frame of the next batch, when it did not fit the one before.
    held: Option<Frame>,
}

impl Batcher {
    /// Batches from `queue` by `policy`.
    pub fn new(queue: Consumer<Frame>, policy: Policy) -> Self {
        Batcher { queue, policy, held: None }
    }

    /// Fills `batch` (which is emptied first) with frames of one size and format; false at the end
    /// of the queue.
    pub fn next(&mut self, batch: &mut Vec<Frame>) -> bool {
        batch.clear();
        let first = match (self.held.take(), self.policy) {
            (Some(frame), _) => Some(frame),
            (None, Policy::EveryFrame { .. }) => self.queue.pop(),
            (None, Policy::Newest { .. }) => self.queue.newest(),
        };
        let Some(first) = first else { return false };
        batch.push(first);
        let started = Instant::now();
        let size = match self.policy {
            Policy::EveryFrame { batch } | Policy::Newest { batch, .. } => batch,
        };
        while batch.len() < size {
            let next = match self.policy {
                Policy::EveryFrame { .. } => self.queue.pop(),
                Policy::Newest { wait, .. } => self.queue.pop_before(started + wait),
            };
            match next {
                Some(frame) if frame.batches_with(&batch[0]) => batch.push(frame),
                other => {
                    self.held = other;
                    break;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Colorimetry, FrameInfo, Matrix, Planes, Range};
    use crate::queue::bounded;

    fn frame(n: u64, width: usize) -> Frame {
        let colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };
        Frame {
            info: FrameInfo { width, height: 2, colorimetry },
            planes: Planes::I420(vec![0; width * 3].into()),
            pts: Some(Duration::from_millis(n)),
            duration: None,
        }
    }

    fn times(batch: &[Frame]) -> Vec<u64> {
        batch.iter().map(|f| f.pts.unwrap().as_millis() as u64).collect()
    }

    #[test]
    fn every_frame_comes_once_and_the_last_batch_may_be_short() {
        let (mut producer, consumer) = bounded(8);
        for n in 0..5 {
            producer.push(frame(n, 4)).unwrap();
        }
        drop(producer);
        let mut batcher = Batcher::new(consumer, Policy::EveryFrame { batch: 2 });
        let mut batch = Vec::new();
        let mut seen = Vec::new();
        while batcher.next(&mut batch) {
            seen.push(times(&batch));
        }
        assert_eq!(seen, vec![vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn a_change_of_size_starts_a_new_batch() {
        let (mut producer, consumer) = bounded(8);
        for (n, width) in [(0, 4), (1, 4), (2, 6), (3, 6)] {
            producer.push(frame(n, width)).unwrap();
        }
        drop(producer);
        let mut batcher = Batcher::new(consumer, Policy::EveryFrame { batch: 3 });
        let mut batch = Vec::new();
        assert!(batcher.next(&mut batch));
        assert_eq!(times(&batch), vec![0, 1]);
        assert!(batcher.next(&mut batch));
        assert_eq!(times(&batch), vec![2, 3]);
        assert!(!batcher.next(&mut batch));
    }

    #[test]
    fn live_skips_to_the_newest_frame() {
        let (mut producer, consumer) = bounded(8);
        for n in 0..5 {
            producer.push(frame(n, 4)).unwrap();
        }
        let policy = Policy::Newest { batch: 1, wait: Duration::ZERO };
        let mut batcher = Batcher::new(consumer, policy);
        let mut batch = Vec::new();
        assert!(batcher.next(&mut batch));
        assert_eq!(times(&batch), vec![4]);
    }
}
