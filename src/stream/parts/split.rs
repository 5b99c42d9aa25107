//! Where the parts of a video begin.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::plan::Part;
use crate::core::encoding::{Container, Encoding};
use crate::core::frame::{Frame, FramePool};
use crate::core::queue::{Consumer, bounded};
use crate::core::span::Span;
use crate::core::stop::StopSignal;
use crate::media::Event;
use crate::media::source::VideoSource;
use crate::steady::CutDetector;
use crate::stream::video::frame_format;

/// Frames that are decoded ahead.
const AHEAD: usize = 4;
/// Frames before a part that are painted too: deinterlacing looks at the fields before.
const LEAD: u64 = 2;

/// How long parts are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PartLength {
    /// So many parts.
    Count(usize),
    /// About so long.
    Duration(Duration),
}

/// A video that is to be split.
#[derive(Debug, Clone, Copy)]
pub struct SplitJob<'a> {
    /// The video.
    pub input: &'a Path,
    /// Which part of it is painted.
    pub span: Span,
    /// How the pictures will be encoded, and for what.
    pub encoding: &'a Encoding,
    /// Container that the pictures are encoded for.
    pub container: Container,
    /// Whether parts begin at cuts, where nothing is remembered of the frames before.
    pub at_cuts: bool,
}

/// Every frame of a video.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VideoFrames {
    /// When each begins, nanoseconds from the beginning of the run.
    pub times: Vec<u64>,
    /// Indices of the frames with which another scene begins, where that was asked for.
    pub scenes: Vec<usize>,
}

/// Decodes a video, and notes when its frames begin; `progress` hears how many there are yet. None if it was stopped.
///
/// # Errors
/// When it cannot be decoded, to its end.
pub fn read_times(
    job: &SplitJob,
    stop: &StopSignal,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Option<VideoFrames>> {
    let named = || format!("cannot decode '{}'", job.input.display());
    let codec = job.encoding.codec_in(job.container).map_err(anyhow::Error::msg)?;
    let wanted = frame_format(job.encoding, Some(codec));
    let source = VideoSource::open(job.input, job.span, wanted, stop).with_context(named)?;
    let total = source.stream().frames();
    let (producer, queue) = bounded::<Frame>(AHEAD);
    let (events, heard) = channel();
    source.start(producer, FramePool::new(AHEAD + 3), events).with_context(named)?;
    let mut open = Open { queue, _source: source, heard };
    let mut frames = VideoFrames::default();
    let mut cuts = CutDetector::default();
    while let Some(frame) = open.queue.pop() {
        if stop.is_set() {
            return Ok(None);
        }
        if job.at_cuts && cuts.begins_scene(&frame) {
            frames.scenes.push(frames.times.len());
        }
        let time = frame.pts.unwrap_or_default();
        frames.times.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        progress(frames.times.len() as u64, total);
    }
    open.finish().with_context(named)?;
    ensure!(!frames.times.is_empty(), "cannot decode '{}': it gave no frames", job.input.display());
    Ok(Some(frames))
}

/// A source that is being read.
struct Open {
    // Closed before the source, which may wait for room in it.
    queue: Consumer<Frame>,
    _source: VideoSource,
    heard: Receiver<Event>,
}

impl Open {
    /// The error that ended it, if there was one.
    fn finish(&mut self) -> Result<()> {
        for event in self.heard.try_iter() {
            if let Event::Failed(_, error) = event {
                bail!(error);
            }
        }
        Ok(())
    }
}

/// Divides frames into parts. Where scenes are known, a part begins with one; a scene is never divided. `overlap` is
/// what of the frames before a part is painted too.
pub fn plan_parts(frames: &VideoFrames, length: PartLength, overlap: Duration) -> Vec<Part> {
    let times = &frames.times;
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
    let step = match length {
        PartLength::Duration(length) => length.as_secs_f64() * 1e9,
        PartLength::Count(count) => (last - first) as f64 / count.max(1) as f64,
    };
    let mut begins = vec![0];
    match frames.scenes.as_slice() {
        [] => {
            let parts = match length {
                PartLength::Count(count) => count.clamp(1, times.len()),
                PartLength::Duration(_) => ((last - first) as f64 / step.max(1.0)) as usize + 1,
            };
            for part in 1..parts {
                let begin = match length {
                    PartLength::Count(_) => part * times.len() / parts,
                    PartLength::Duration(_) => {
                        let wanted = first + (part as f64 * step) as u64;
                        times.partition_point(|time| *time < wanted)
                    }
                };
                if begin > begins[begins.len() - 1] && begin < times.len() {
                    begins.push(begin);
                }
            }
        }
        scenes => {
            // The scene that begins nearest to where a part should.
            let mut wanted = *first as f64 + step;
            let mut left = match length {
                PartLength::Count(count) => count - 1,
                PartLength::Duration(_) => times.len(),
            };
            while left > 0 && wanted < *last as f64 {
                let after = begins[begins.len() - 1];
                let distance = |scene: &&usize| (times[**scene] as f64 - wanted).abs() as u64;
                let later = scenes.iter().filter(|scene| **scene > after);
                let Some(near) = later.min_by_key(distance) else { break };
                begins.push(*near);
                left -= 1;
                wanted = match length {
                    PartLength::Count(_) => wanted + step,
                    PartLength::Duration(_) => times[*near] as f64 + step,
                };
            }
        }
    }
    let overlap = u64::try_from(overlap.as_nanos()).unwrap_or(u64::MAX);
    let ends = begins.iter().skip(1).copied().chain([times.len()]);
    begins.iter().zip(ends).map(|(&begin, end)| part(times, begin, end, overlap)).collect()
}

/// The part of these frames.
fn part(times: &[u64], begin: usize, end: usize, overlap: u64) -> Part {
    let earliest = times[begin].saturating_sub(overlap);
    let lead = times.partition_point(|time| *time < earliest);
    let lead = lead.min(begin.saturating_sub(LEAD as usize));
    let lead_start = times[lead];
    let mut hash = crc32fast::Hasher::new();
    times[begin..end].iter().for_each(|time| hash.update(&(time - lead_start).to_le_bytes()));
    Part {
        start: times[begin],
        end: times.get(end).copied(),
        frames: (end - begin) as u64,
        lead_frames: (begin - lead) as u64,
        lead_start,
        times: hash.finalize(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A frame each second.
    fn seconds(count: u64, scenes: &[usize]) -> VideoFrames {
        VideoFrames { times: (0..count).map(|n| n * SECOND).collect(), scenes: scenes.to_vec() }
    }

    fn begins(parts: &[Part]) -> Vec<u64> {
        parts.iter().map(|part| part.start / SECOND).collect()
    }

    #[test]
    fn parts_cover_every_frame_once_and_know_where_the_next_begins() {
        let frames = seconds(10, &[]);
        for length in [
            PartLength::Count(1),
            PartLength::Count(3),
            PartLength::Count(99),
            PartLength::Duration(Duration::from_secs(4)),
            PartLength::Duration(Duration::from_millis(1)),
        ] {
            let parts = plan_parts(&frames, length, Duration::ZERO);
            assert_eq!(parts.iter().map(|part| part.frames).sum::<u64>(), 10, "{length:?}");
            for pair in parts.windows(2) {
                assert_eq!(pair[0].end, Some(pair[1].start), "{length:?}");
                assert_eq!(pair[1].lead_frames, pair[1].start.min(2 * SECOND) / SECOND);
                assert_eq!(pair[1].lead_start, pair[1].start.saturating_sub(2 * SECOND));
            }
            assert_eq!(parts.last().unwrap().end, None);
        }
        let length = PartLength::Duration(Duration::from_secs(4));
        assert_eq!(begins(&plan_parts(&frames, length, Duration::ZERO)), [0, 4, 8]);
        assert_eq!(begins(&plan_parts(&frames, PartLength::Count(3), Duration::ZERO)), [0, 3, 6]);
        let early = plan_parts(&frames, length, Duration::from_secs(3));
        assert_eq!((early[1].lead_frames, early[2].lead_start), (3, 5 * SECOND));
        assert!(plan_parts(&VideoFrames::default(), length, Duration::ZERO).is_empty());
    }

    #[test]
    fn a_scene_is_not_divided() {
        let frames = seconds(100, &[0, 7, 19, 42, 90]);
        let length = PartLength::Duration(Duration::from_secs(20));
        assert_eq!(begins(&plan_parts(&frames, length, Duration::ZERO)), [0, 19, 42, 90]);
        assert_eq!(begins(&plan_parts(&frames, PartLength::Count(2), Duration::ZERO)), [0, 42]);
        // No more than asked for, though fewer where there are no scenes.
        assert_eq!(begins(&plan_parts(&frames, PartLength::Count(3), Duration::ZERO)), [0, 42, 90]);
        assert_eq!(
            begins(&plan_parts(&frames, PartLength::Count(9), Duration::ZERO)),
            [0, 7, 19, 42, 90]
        );
        let one = seconds(100, &[0]);
        assert_eq!(begins(&plan_parts(&one, PartLength::Count(4), Duration::ZERO)), [0]);
    }
}
