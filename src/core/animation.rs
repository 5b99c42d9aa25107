//! Animated pictures (GIF, WebP, APNG), read as videos: frames, each with its own duration.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Delay, Frames, ImageDecoder, ImageError, ImageFormat, Limits};

use crate::core::picture::{Picture, PictureError, rgb_frame};
use crate::core::rate::FrameRate;
use crate::core::span::Span;

/// Duration of a frame whose stated one is at most [`SHORTEST`], as browsers have it.
const USUAL: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(10);
/// Frames decoded ahead of the consumer.
const AHEAD: usize = 2;
/// Largest size of a decoded frame, in bytes.
const MOST: u64 = 4 << 30;

/// An animated picture file, played once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Animation {
    path: PathBuf,
    /// Width in pixels.
    pub width: usize,
    /// Height in lines.
    pub height: usize,
    /// End time of each frame, from the start of the animation.
    ends: Vec<Duration>,
}

/// A range of successive frames of an animation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRange {
    /// Index of the first frame, from 0.
    pub first: usize,
    /// End time of each frame, from the start of the first one.
    pub ends: Vec<Duration>,
}

impl FrameRange {
    /// The frame rate, if all frames last equally long.
    pub fn rate(&self) -> Option<FrameRate> {
        let one = *self.ends.first()?;
        let (mut before, mut constant) = (Duration::ZERO, true);
        for end in &self.ends {
            constant &= end.saturating_sub(before) == one;
            before = *end;
        }
        let nanos = u64::try_from(one.as_nanos()).ok().filter(|nanos| constant && *nanos > 0)?;
        let divisor = gcd(nanos, 1_000_000_000);
        let part = |n: u64| u32::try_from(n / divisor).ok();
        FrameRate::new(part(1_000_000_000)?, part(nanos)?)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Whether a file is an animated picture of at least two frames, judged by its contents. A named pipe, which
/// cannot be read twice, is not opened.
pub fn is_animated(path: &Path) -> bool {
    let two = |frames: Frames<'_>| frames.take(2).filter(Result::is_ok).count() == 2;
    path.is_file() && open(path).is_ok_and(|found| found.is_some_and(two))
}

/// The decoded frames of a file; none if it is not an animation. A GIF of one frame counts as an animation.
fn open(path: &Path) -> Result<Option<Frames<'static>>, PictureError> {
    let read = |error| PictureError::Read { path: path.to_owned(), error };
    let decode = |error| PictureError::Decode { path: path.to_owned(), error };
    let mut head = Vec::new();
    let mut file = File::open(path).map_err(read)?;
    file.by_ref().take(32).read_to_end(&mut head).map_err(read)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST);
    let again = || File::open(path).map(BufReader::new).map_err(read);
    frames_of(image::guess_format(&head).ok(), again, limits, decode)
}

fn frames_of(
    format: Option<ImageFormat>,
    file: impl Fn() -> Result<BufReader<File>, PictureError>,
    limits: Limits,
    decode: impl Fn(ImageError) -> PictureError,
) -> Result<Option<Frames<'static>>, PictureError> {
    match format {
        Some(ImageFormat::Gif) => {
            let mut decoder = GifDecoder::new(file()?).map_err(&decode)?;
            decoder.set_limits(limits).map_err(&decode)?;
            Ok(Some(decoder.into_frames()))
        }
        Some(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(file()?, limits).map_err(&decode)?;
            match decoder.is_apng().map_err(&decode)? {
                true => decoder.apng().map(|apng| Some(apng.into_frames())).map_err(&decode),
                false => Ok(None),
            }
        }
        Some(ImageFormat::WebP) => {
            let mut decoder = WebPDecoder::new(file()?).map_err(&decode)?;
            decoder.set_limits(limits).map_err(&decode)?;
            Ok(decoder.has_animation().then(|| decoder.into_frames()))
        }
        _ => Ok(None),
    }
}

/// How long frames last. Next to nothing means as long as in browsers; of the last frame (GIFs of FFmpeg
/// from version 7 on) as long as the one before.
fn lasts(delays: impl Iterator<Item = Delay>) -> Vec<Duration> {
    let said = |delay: Delay| {
        let (numerator, denominator) = delay.numer_denom_ms();
        let nanos = u64::from(numerator) * 1_000_000 / u64::from(denominator.max(1));
        Some(Duration::from_nanos(nanos)).filter(|said| *said > SHORTEST)
    };
    let said: Vec<_> = delays.map(said).collect();
    let mut lasts: Vec<_> = said.iter().map(|said| said.unwrap_or(USUAL)).collect();
    if let ([.., None], [.., before, last]) = (&said[..], &mut lasts[..]) {
        *last = *before;
    }
    lasts
}

impl Animation {
    /// Reads the durations of all frames up to the first damaged one.
    ///
    /// # Errors
    /// When the file cannot be read, or has no frame.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        let nothing = || PictureError::Read {
            path: path.to_owned(),
            error: std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not an animation"),
        };
        let decode = |error| PictureError::Decode { path: path.to_owned(), error };
        let mut frames = open(path)?.ok_or_else(nothing)?;
        let first = frames.next().ok_or_else(nothing)?.map_err(decode)?;
        let (width, height) = first.buffer().dimensions();
        let others = frames.map_while(Result::ok).map(|frame| frame.delay());
        let lengths = lasts(std::iter::once(first.delay()).chain(others));
        let mut end = Duration::ZERO;
        let ends = lengths.into_iter().map(|lasts| {
            end += lasts;
            end
        });
        let ends = ends.collect();
        Ok(Animation {
            path: path.to_owned(),
            width: width as usize,
            height: height as usize,
            ends,
        })
    }

    /// Duration of the whole animation.
    pub fn duration(&self) -> Duration {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The frames shown within `span`; none if it lies beyond the end.
    pub fn part(&self, span: Span) -> Option<FrameRange> {
        let start = span.start.unwrap_or_default();
        let stop = span.duration.map_or(Duration::MAX, |length| start.saturating_add(length));
        let first = self.ends.iter().position(|end| *end > start)?;
        let begins = |n: usize| n.checked_sub(1).map_or(Duration::ZERO, |n| self.ends[n]);
        let count = (first..self.ends.len()).take_while(|n| begins(*n) < stop).count();
        let ends = self.ends[first..first + count].iter();
        let ends: Vec<_> = ends.map(|end| (*end).min(stop).saturating_sub(start)).collect();
        (!ends.is_empty()).then_some(FrameRange { first, ends })
    }

    /// Decodes the frames from number `first` on, on a thread of its own, which ends when the receiver is
    /// dropped. Transparent pixels become white.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn frames(&self, first: usize) -> std::io::Result<Receiver<Result<Picture, PictureError>>> {
        let (send, frames) = sync_channel(AHEAD);
        let path = self.path.clone();
        thread::Builder::new().name("animation".into()).spawn(move || {
            let opened = match open(&path) {
                Ok(frames) => frames.into_iter().flatten(),
                Err(error) => {
                    let _ = send.send(Err(error));
                    return;
                }
            };
            for frame in opened.skip(first) {
                let decode = |error| PictureError::Decode { path: path.clone(), error };
                let frame = frame.map(|frame| picture(frame.into_buffer())).map_err(decode);
                let failed = frame.is_err();
                // Nobody wants any more, or there is no more to be had.
                if send.send(frame).is_err() || failed {
                    break;
                }
            }
        })?;
        Ok(frames)
    }

    /// The frame shown at a time.
    ///
    /// # Errors
    /// When there is none, or it cannot be decoded.
    pub fn frame_at(&self, time: Duration) -> Result<Picture, PictureError> {
        let nothing = || PictureError::Read {
            path: self.path.clone(),
            error: std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                format!(
                    "there is nothing at {:.3} s: it ends at {:.3} s",
                    time.as_secs_f64(),
                    self.duration().as_secs_f64()
                ),
            ),
        };
        let part = self.part(Span { start: Some(time), duration: None }).ok_or_else(nothing)?;
        let read = |error| PictureError::Read { path: self.path.clone(), error };
        let frames = self.frames(part.first).map_err(read)?;
        frames.recv().map_err(|_| nothing())?
    }
}

fn picture(rgba: image::RgbaImage) -> Picture {
    let (width, height) = (rgba.width() as usize, rgba.height() as usize);
    let rgb = rgba.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect();
    let mut picture = Picture::from_frame(rgb_frame(width, height, rgb));
    picture.alpha = Some(rgba.pixels().map(|p| p.0[3]).collect());
    picture.on_white()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn animation(ends: &[u64]) -> Animation {
        let ends = ends.iter().map(|end| Duration::from_millis(*end)).collect();
        Animation { path: "a.gif".into(), width: 2, height: 2, ends }
    }

    fn part(of: &Animation, start: u64, length: Option<u64>) -> Option<(usize, Vec<u128>)> {
        let ms = Duration::from_millis;
        let part = of.part(Span { start: Some(ms(start)), duration: length.map(ms) })?;
        Some((part.first, part.ends.iter().map(Duration::as_millis).collect()))
    }

    #[test]
    fn a_part_holds_the_frames_that_are_shown_in_it_for_as_long_as_they_are() {
        let all = animation(&[100, 300, 350]);
        assert_eq!(part(&all, 0, None), Some((0, vec![100, 300, 350])));
        assert_eq!(part(&all, 50, None), Some((0, vec![50, 250, 300])));
        assert_eq!(part(&all, 100, Some(50)), Some((1, vec![50])));
        assert_eq!(part(&all, 50, Some(100)), Some((0, vec![50, 100])));
        assert_eq!(part(&all, 350, None), None);
        assert_eq!(part(&all, 0, Some(0)), None);
    }

    #[test]
    fn frames_that_last_equally_long_have_a_rate() {
        let rate = |ends: &[u64]| animation(ends).part(Span::default()).unwrap().rate();
        assert_eq!(rate(&[40, 80, 120]), FrameRate::new(25, 1));
        assert_eq!(rate(&[1500]), FrameRate::new(2, 3));
        assert_eq!(rate(&[40, 80, 130]), None);
    }

    #[test]
    fn frames_that_last_next_to_nothing_last_as_long_as_in_browsers() {
        let said = |ms: &[u32]| {
            let delays = ms.iter().map(|ms| Delay::from_numer_denom_ms(*ms, 1));
            lasts(delays).iter().map(Duration::as_millis).collect::<Vec<_>>()
        };
        assert_eq!(said(&[0, 10, 20, 1000]), [100, 100, 20, 1000]);
        assert_eq!(said(&[40, 40, 10]), [40, 40, 40], "the last lasts as long as the one before");
        assert_eq!(said(&[10]), [100]);
    }
}
