//! The loop of the network thread: takes batches, stylizes them, passes the frames on in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::batch::Batcher;
use crate::core::frame::Frame;
use crate::core::queue::Producer;
use crate::core::stats::Stats;
use crate::core::stop::StopSignal;
use crate::core::stylizer::{PendingBatch, StylizeError, Stylizer};

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// Every frame of the queue was passed on.
    EndOfQueue,
    /// The stop signal was set: frames still in the queue were not stylized.
    Stopped,
    /// The output queue was closed.
    OutputClosed,
}

/// Runs until the input queue ends, `stop` is set, or the output queue is closed.
///
/// `stop` is checked between batches; batches in flight are finished and passed on. The output queue stays open, so
/// that the caller can record how the run ended before its reader sees the end.
///
/// # Errors
/// Those of the stylizer; frames passed on before stay valid.
pub fn run(
    mut input: Batcher,
    stylizer: &mut dyn Stylizer,
    output: &mut Producer<Frame>,
    stop: &StopSignal,
    stats: &Arc<Stats>,
) -> Result<WorkerEnd, StylizeError> {
    let mut in_flight = InFlight { output, stats, begun: None };
    let mut batch = Vec::new();
    let mut cold = input.is_live();
    let ended = loop {
        if stop.is_set() {
            break WorkerEnd::Stopped;
        }
        // If there is no batch to begin yet, the one in flight is finished first.
        if !input.is_ready() && !in_flight.finish()? {
            return Ok(WorkerEnd::OutputClosed);
        }
        stats.set_idle(true);
        let more = input.next(&mut batch);
        stats.set_idle(false);
        if !more {
            // A queue that was closed because of a stop is not the end of the stream.
            let stopped = stop.is_set();
            break if stopped { WorkerEnd::Stopped } else { WorkerEnd::EndOfQueue };
        }
        if std::mem::take(&mut cold) {
            // Live: the one-time work of the first batch must not delay a frame.
            stats.in_network(|| stylizer.warm_up(&batch))?;
            input.renew(&mut batch);
        }
        let since = Instant::now();
        let begun = stats.in_network(|| stylizer.begin(std::mem::take(&mut batch)));
        let took = since.elapsed();
        // The batch before is valid even if this one fails.
        if !in_flight.finish()? {
            return Ok(WorkerEnd::OutputClosed);
        }
        let begun = begun?;
        let done = matches!(begun, PendingBatch::Done(_));
        in_flight.begun = Some((begun, took));
        if done && !in_flight.finish()? {
            return Ok(WorkerEnd::OutputClosed);
        }
    };
    Ok(if in_flight.finish()? { ended } else { WorkerEnd::OutputClosed })
}

/// Passes frames on, one batch behind the one that was begun.
struct InFlight<'a> {
    output: &'a mut Producer<Frame>,
    stats: &'a Stats,
    /// The batch in flight, and how long it took to begin it.
    begun: Option<(PendingBatch, Duration)>,
}

impl InFlight<'_> {
    /// Finishes the batch in flight, if there is one; false if the output queue is closed.
    fn finish(&mut self) -> Result<bool, StylizeError> {
        let Some((begun, took)) = self.begun.take() else { return Ok(true) };
        let since = Instant::now();
        let batch = self.stats.in_network(|| begun.finish())?;
        self.stats.stylized(batch.len(), took + since.elapsed());
        Ok(batch.into_iter().all(|frame| self.output.push(frame).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::core::frame::{Colorimetry, FrameInfo, Matrix, Planes, Range};
    use crate::core::queue::{Consumer, bounded};

    fn queue_of(count: u64) -> Consumer<Frame> {
        let (mut producer, consumer) = bounded(8);
        let colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };
        let info = FrameInfo { width: 2, height: 2, colorimetry };
        for n in 0..count {
            let pts = Some(Duration::from_millis(n));
            let planes = Planes::I420(vec![0; 6].into());
            producer.push(Frame { info, planes, pts, duration: None }).unwrap();
        }
        consumer
    }

    fn times(mut from: Consumer<Frame>) -> Vec<u128> {
        std::iter::from_fn(|| from.try_pop()).map(|f| f.pts.unwrap().as_millis()).collect()
    }

    /// Notes what is begun and what is finished; fails at the n-th, beginning or finishing.
    struct Device {
        seen: Arc<Mutex<Vec<String>>>,
        begun: usize,
        fails: Option<(usize, bool)>,
    }

    impl Stylizer for Device {
        fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
            self.seen.lock().unwrap().push(format!("warm up with {}", like.len()));
            Ok(())
        }

        fn stylize(&mut self, _: &mut [Frame]) -> Result<(), StylizeError> {
            unreachable!("everything is begun")
        }

        fn begin(&mut self, batch: Vec<Frame>) -> Result<PendingBatch, StylizeError> {
            let (n, seen, fails) = (self.begun, self.seen.clone(), self.fails);
            self.begun += 1;
            seen.lock().unwrap().push(format!("begin {n}"));
            let fail = move |finishing| match fails == Some((n, finishing)) {
                true => Err(StylizeError::Failed("no luck".to_owned())),
                false => Ok(()),
            };
            fail(false)?;
            Ok(PendingBatch::InFlight(Box::new(move || {
                seen.lock().unwrap().push(format!("finish {n}"));
                fail(true).map(|()| batch)
            })))
        }
    }

    /// What happened, how it ended, the frames that came out.
    fn course(fails: Option<(usize, bool)>) -> (Vec<String>, Result<WorkerEnd, String>, Vec<u128>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut device = Device { seen: seen.clone(), begun: 0, fails };
        let (mut output, consumer) = bounded(8);
        let input = Batcher::every_frame(queue_of(3), 1);
        let (stop, stats) = (StopSignal::default(), Arc::new(Stats::default()));
        let ended = run(input, &mut device, &mut output, &stop, &stats);
        drop(output);
        let seen = seen.lock().unwrap().clone();
        (seen, ended.map_err(|error| error.to_string()), times(consumer))
    }

    #[test]
    fn a_batch_is_begun_before_the_one_before_it_is_finished() {
        let (seen, ended, frames) = course(None);
        let expected = ["begin 0", "begin 1", "finish 0", "begin 2", "finish 1", "finish 2"];
        assert_eq!(seen, expected);
        assert_eq!((ended, frames), (Ok(WorkerEnd::EndOfQueue), vec![0, 1, 2]));
    }

    #[test]
    fn what_was_begun_before_a_failure_is_handed_on() {
        let (_, ended, frames) = course(Some((1, false)));
        assert!(ended.unwrap_err().contains("no luck"));
        assert_eq!(frames, [0]);
        let (_, ended, frames) = course(Some((1, true)));
        assert!(ended.unwrap_err().contains("no luck"));
        assert_eq!(frames, [0]);
    }

    #[test]
    fn a_source_that_pauses_within_a_batch_holds_up_none_before_it() {
        let (mut producer, consumer) = bounded(8);
        let (mut output, mut styled) = bounded(8);
        let (seen, stop) = (Arc::default(), StopSignal::default());
        let stats = Arc::new(Stats::default());
        std::thread::scope(|scope| {
            let (stop, stats) = (&stop, &stats);
            let worker = scope.spawn(move || {
                let mut device = Device { seen, begun: 0, fails: None };
                run(Batcher::every_frame(consumer, 2), &mut device, &mut output, stop, stats)
            });
            let mut frames = queue_of(3);
            while let Some(frame) = frames.try_pop() {
                producer.push(frame).unwrap();
            }
            // The first two come, though the third has not enough beside it, and the worker says so.
            for n in 0..2 {
                assert_eq!(styled.pop().unwrap().pts, Some(Duration::from_millis(n)));
            }
            while !stats.is_idle() {
                std::thread::yield_now();
            }
            assert_eq!(stats.frames(), 2);
            drop(producer);
            assert_eq!(styled.pop().unwrap().pts, Some(Duration::from_millis(2)));
            assert_eq!(worker.join().unwrap().unwrap(), WorkerEnd::EndOfQueue);
        });
    }

    #[test]
    fn a_live_source_is_not_run_ahead_of() {
        let (mut producer, consumer) = bounded(8);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, mut styled) = bounded(8);
        let stop = StopSignal::default();
        std::thread::scope(|scope| {
            let (seen, stop) = (seen.clone(), &stop);
            let worker = scope.spawn(move || {
                let mut device = Device { seen, begun: 0, fails: None };
                let newest = crate::core::queue::LatestConsumer::of(consumer).unwrap();
                let stats = Arc::new(Stats::default());
                run(Batcher::newest(newest), &mut device, &mut output, stop, &stats).unwrap()
            });
            for n in 0..2 {
                let mut one = queue_of(n + 1);
                let frame = std::iter::from_fn(|| one.try_pop()).last().unwrap();
                producer.push(frame).unwrap();
                // It comes although nothing follows.
                assert_eq!(styled.pop().unwrap().pts, Some(Duration::from_millis(n)));
            }
            drop(producer);
            assert_eq!(worker.join().unwrap(), WorkerEnd::EndOfQueue);
        });
        let expected = ["warm up with 1", "begin 0", "finish 0", "begin 1", "finish 1"];
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}
