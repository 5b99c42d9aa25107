//! Pairs of neighbouring frames of real videos, for the [temporal loss](super::temporal).
//!
//! Which pairs are taken depends on the files, the crop's size and the seed alone: a resumed run reads the same ones.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use image::RgbImage;

use super::crop::CropOptions;
use super::dataset::files_of;
use super::dataset_error::DatasetError;
use super::random::generator;
use crate::engine::threads;
use crate::flow::{FlowField, FlowOptions, Pyramid, flow_both, occluded};

/// Endings of files that are taken for videos.
const ENDINGS: [&str; 13] =
    ["mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "m2ts", "mts", "mpg", "mpeg", "ogv", "flv"];
/// Pairs that are held in memory take no more than this, bytes; there are some from every video all the same.
const MOST_BYTES: usize = 64 << 20;
/// Places of a video from which pairs are taken, at most.
const MOST_PLACES: usize = 16;
/// Pairs of a place.
const PAIRS: usize = 4;
/// Frames from one pair of a place to the next.
const APART: usize = 4;
/// A pair whose flow agrees in both directions on a smaller share of the frame is left out: a cut between scenes.
const LEAST_AGREED: f64 = 0.5;

/// Two neighbouring frames, the same crop of both: interleaved RGB.
pub(super) type Pair = [Vec<u8>; 2];

/// Where a pair's second frame lies in the first one.
#[derive(Debug)]
pub(super) struct PairFlow {
    /// From the second frame to the first.
    pub(super) flow: FlowField,
    /// Pixels of the second frame that the first does not show.
    pub(super) occluded: Vec<bool>,
}

impl PairFlow {
    /// Whether both frames show the same, but for motion.
    pub(super) fn is_of_one_scene(&self) -> bool {
        let hidden = self.occluded.iter().filter(|hidden| **hidden).count() as f64;
        1.0 - hidden / self.occluded.len().max(1) as f64 >= LEAST_AGREED
    }
}

/// Pairs of neighbouring frames.
#[derive(Debug)]
pub struct VideoPairs {
    size: usize,
    pairs: Vec<Pair>,
}

impl VideoPairs {
    /// Reads pairs from the videos in a folder and all folders in it. `cut`: the size of the crops, and how they
    /// are taken. `note` is told what could not be read.
    ///
    /// # Errors
    /// [`DatasetError::Read`], [`DatasetError::NoVideos`], [`DatasetError::NoVideoReadable`].
    pub fn open(
        folder: &Path,
        cut: CropOptions,
        stop: &AtomicBool,
        note: &mut dyn FnMut(&str),
    ) -> Result<Self, DatasetError> {
        let files = files_of(folder, "videos", &ENDINGS)?;
        if files.is_empty() {
            return Err(DatasetError::NoVideos(folder.to_owned()));
        }
        let size = cut.size as usize;
        let places = MOST_BYTES / (6 * size * size * PAIRS * files.len());
        let places = places.clamp(1, MOST_PLACES);
        let mut all = VideoPairs { size, pairs: Vec::new() };
        let mut unreadable = Vec::new();
        for (n, file) in files.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let before = all.pairs.len();
            let read = all.add(file, n as u64, places, cut);
            let reason = match read {
                Err(reason) => reason,
                Ok(()) if all.pairs.len() == before => {
                    "it has no two frames that show the same".to_owned()
                }
                Ok(()) => continue,
            };
            unreadable.push(format!("'{}': {reason}", file.display()));
        }
        match unreadable.first() {
            Some(first) if all.pairs.is_empty() => {
                Err(DatasetError::NoVideoReadable { found: files.len(), first: first.clone() })
            }
            Some(first) => {
                let count = unreadable.len();
                note(&format!("{count} videos could not be used and were skipped: {first}"));
                Ok(all)
            }
            None => Ok(all),
        }
    }

    /// Adds pairs of some places of a video.
    fn add(
        &mut self,
        file: &Path,
        number: u64,
        places: usize,
        cut: CropOptions,
    ) -> Result<(), String> {
        // Opened once to learn how long it is.
        let (mut frames, length) = frames_from(file, None)?;
        for place in 0..places {
            let key = number << 16 | (place * PAIRS) as u64;
            if let Some(length) = length {
                let part = generator(cut.seed, "place", key).f64();
                let start = length.mul_f64((place as f64 + part) / places as f64 * 0.95);
                frames = match frames_from(file, Some(start)) {
                    Ok((frames, _)) => frames,
                    // How long a video is may be an estimate.
                    Err(_) => continue,
                };
            } else if place > 0 {
                break;
            }
            for (n, pair) in frames.chunks(APART).enumerate() {
                let [first, second, ..] = pair else { continue };
                if first.dimensions() != second.dimensions() {
                    continue;
                }
                let cropped = [first, second].map(|frame| cut.plain(frame.clone(), key + n as u64));
                let flow = pair_flow(&cropped, (self.size, self.size), &FlowOptions::LIVE)?;
                if flow.is_of_one_scene() {
                    self.pairs.push(cropped);
                }
            }
        }
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pair for a number, at random, with its flow.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn pair(&self, seed: u64, number: u64) -> Result<(&Pair, PairFlow), String> {
        let pick = generator(seed, "pair", number).usize(..self.pairs.len().max(1));
        let pair = self.pairs.get(pick).ok_or("there are no pairs of frames")?;
        Ok((pair, pair_flow(pair, (self.size, self.size), &FlowOptions::ACCURATE)?))
    }
}

/// The flow of two frames of this width and height.
pub(super) fn pair_flow(
    pair: &Pair,
    (width, height): (usize, usize),
    options: &FlowOptions,
) -> Result<PairFlow, String> {
    let pool = threads::pool(threads::count()).map_err(|error| error.to_string())?;
    Ok(pool.install(|| {
        let [first, second] = pair
            .each_ref()
            .map(|rgb| Pyramid::new(&super::flicker::luma(rgb), width, height, width, options));
        let (forward, backward) = flow_both(&first, &second, options);
        PairFlow { occluded: occluded(&backward, &forward), flow: backward }
    }))
}

/// The first frames of a video from a time on, and how long the video is, where that is known.
#[cfg(feature = "media")]
fn frames_from(
    file: &Path,
    start: Option<Duration>,
) -> Result<(Vec<RgbImage>, Option<Duration>), String> {
    use std::sync::mpsc::channel;

    use crate::core::frame::FramePool;
    use crate::core::queue::bounded;
    use crate::core::span::Span;
    use crate::core::stop::StopSignal;
    use crate::media::Event;
    use crate::media::source::{FrameFormat, VideoSource};

    let span = Span { start, duration: None };
    let source = VideoSource::open(file, span, FrameFormat::Rgb, &StopSignal::default());
    let source = source.map_err(|error| error.to_string())?;
    let length = source.stream().duration;
    let (producer, mut queue) = bounded(2);
    let (events, heard) = channel();
    source.start(producer, FramePool::new(4), events).map_err(|error| error.to_string())?;
    let mut frames = Vec::new();
    while frames.len() < (PAIRS - 1) * APART + 2 {
        let Some(frame) = queue.pop() else { break };
        let (width, height) = (frame.info.width as u32, frame.info.height as u32);
        let pixels = frame.planes.bytes().to_vec();
        frames.extend(RgbImage::from_raw(width, height, pixels));
    }
    drop(queue);
    drop(source);
    for event in heard.try_iter() {
        if let (Event::Failed(_, error), true) = (event, frames.is_empty()) {
            return Err(error.to_string());
        }
    }
    Ok((frames, length))
}

#[cfg(not(feature = "media"))]
fn frames_from(_: &Path, _: Option<Duration>) -> Result<(Vec<RgbImage>, Option<Duration>), String> {
    Err("this nst-stream was built without video".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_of_a_pair_says_where_its_second_frame_lies_in_the_first() {
        let at = |x: f32, y: f32| (128.0 + 60.0 * (x / 5.0).sin() + 50.0 * (y / 4.0).cos()) as u8;
        let frame = |by: f32| -> Vec<u8> {
            let pixels = (0..64 * 64).map(|n| ((n % 64) as f32 + by, (n / 64) as f32));
            pixels.flat_map(|(x, y)| [at(x, y); 3]).collect()
        };
        let videos = VideoPairs { size: 64, pairs: vec![[frame(0.0), frame(2.0)]] };
        let (_, PairFlow { flow, occluded }) = videos.pair(1, 5).unwrap();
        let middle = 32 * 64 + 32;
        assert!((flow.u[middle] - 2.0).abs() < 0.3, "{}", flow.u[middle]);
        assert!(flow.v[middle].abs() < 0.3 && !occluded[middle], "{}", flow.v[middle]);
        // The second frame shows at its right what the first has not yet.
        assert!(occluded[32 * 64 + 63]);
    }
}
