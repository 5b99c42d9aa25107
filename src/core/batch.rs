//! Groups frames of a queue into batches for one pass of the network.

use crate::core::frame::Frame;
use crate::core::queue::{Consumer, LatestConsumer};

/// Takes batches from a queue.
pub struct Batcher {
    feed: FrameQueue,
    /// First frame of the next batch, if it did not match the previous batch.
    held: Option<Frame>,
}

enum FrameQueue {
    EveryFrame { queue: Consumer<Frame>, batch: usize },
    Newest(LatestConsumer<Frame>),
}

impl Batcher {
    /// For a file: every frame, in order, up to `batch` at a time; waits until a batch is full or
    /// the queue ends.
    pub fn every_frame(queue: Consumer<Frame>, batch: usize) -> Self {
        Batcher { feed: FrameQueue::EveryFrame { queue, batch: batch.max(1) }, held: None }
    }

    /// For a live source: the newest frame, in batches of one.
    pub fn newest(queue: LatestConsumer<Frame>) -> Self {
        Batcher { feed: FrameQueue::Newest(queue), held: None }
    }

    /// Whether [`next`](Self::next) would return without waiting. Never for a live source, whose newest frame is
    /// only known when it is taken.
    pub fn is_ready(&self) -> bool {
        match &self.feed {
            FrameQueue::EveryFrame { queue, batch } => {
                queue.has(batch - usize::from(self.held.is_some()))
            }
            FrameQueue::Newest(_) => false,
        }
    }

    /// Whether the frames come from a live source.
    pub fn is_live(&self) -> bool {
        matches!(self.feed, FrameQueue::Newest(_))
    }

    /// For a live source: replaces the frame of `batch` by a newer one, if there is one.
    pub fn renew(&mut self, batch: &mut [Frame]) {
        if let (FrameQueue::Newest(queue), [frame]) = (&mut self.feed, batch) {
            queue.renew(frame);
        }
    }

    /// Fills `batch` (which is emptied first) with frames of one size and format; false at the end
    /// of the queue.
    pub fn next(&mut self, batch: &mut Vec<Frame>) -> bool {
        batch.clear();
        match &mut self.feed {
            FrameQueue::Newest(queue) => batch.extend(queue.pop()),
            FrameQueue::EveryFrame { queue, batch: size } => {
                batch.extend(self.held.take().or_else(|| queue.pop()));
                while !batch.is_empty() && batch.len() < *size {
                    match queue.pop() {
                        Some(frame) if frame.batches_with(&batch[0]) => batch.push(frame),
                        other => {
                            self.held = other;
                            break;
                        }
                    }
                }
            }
        }
        !batch.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::{Colorimetry, FrameInfo, Matrix, Planes, Range};
    use crate::core::queue::bounded;
    use std::time::Duration;

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
        let mut batcher = Batcher::every_frame(consumer, 2);
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
        let mut batcher = Batcher::every_frame(consumer, 3);
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
        let mut batcher = Batcher::newest(LatestConsumer::of(consumer).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        let mut batch = Vec::new();
        assert!(batcher.next(&mut batch));
        assert_eq!(times(&batch), vec![4]);
    }

    #[test]
    fn live_what_was_taken_is_renewed_without_waiting() {
        let (mut producer, consumer) = bounded(8);
        let stats = consumer.stats();
        let mut batcher = Batcher::newest(LatestConsumer::of(consumer).unwrap());
        let mut batch = Vec::new();
        producer.push(frame(0, 4)).unwrap();
        assert!(batcher.next(&mut batch));
        batcher.renew(&mut batch);
        assert_eq!(times(&batch), vec![0], "there is no newer one");
        producer.push(frame(1, 4)).unwrap();
        while times(&batch) == [0] {
            batcher.renew(&mut batch);
            std::thread::yield_now();
        }
        assert_eq!(times(&batch), vec![1]);
        assert_eq!(stats.dropped.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
