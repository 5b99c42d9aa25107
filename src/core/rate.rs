//! Constant frame rates: conversion between frame numbers and times.

use std::time::Duration;

use crate::core::span::Span;

/// Frames per second, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    /// Numerator: frames …
    pub frames: u32,
    /// Denominator: … per this many seconds.
    pub seconds: u32,
}

const NANOS: u128 = 1_000_000_000;

impl FrameRate {
    /// Default rate of pictures and of streams that state none: 25, as in ffmpeg.
    pub const USUAL: FrameRate = FrameRate { frames: 25, seconds: 1 };

    /// A rate above zero; none otherwise.
    pub fn new(frames: u32, seconds: u32) -> Option<Self> {
        (frames > 0 && seconds > 0).then_some(FrameRate { frames, seconds })
    }

    /// Parses `25` or `30000/1001`.
    ///
    /// # Errors
    /// A line that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
        let rate = match (frames.parse(), seconds.parse()) {
            (Ok(frames), Ok(seconds)) => FrameRate::new(frames, seconds),
            _ => None,
        };
        rate.filter(|rate| (0.001..=1000.0).contains(&rate.per_second())).ok_or_else(|| {
            format!("'{text}' is not a frame rate; write 25, or a fraction like 30000/1001")
        })
    }

    /// Frames per second, as a number.
    pub fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }

    /// Start time of a frame, by its number from 0.
    pub fn time_of(self, frame: u64) -> Duration {
        let nanos = u128::from(frame) * u128::from(self.seconds) * NANOS / u128::from(self.frames);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Number of frames that begin before `time`.
    fn begun_before(self, time: Duration) -> u64 {
        let frames = time.as_nanos() * u128::from(self.frames);
        u64::try_from(frames.div_ceil(u128::from(self.seconds) * NANOS)).unwrap_or(u64::MAX)
    }

    /// Number of the first frame shown in `span`, and the count of frames; no count if the span has no end.
    pub fn frames_of(self, span: Span) -> (u64, Option<u64>) {
        let start = span.start.unwrap_or_default();
        let shown = start.as_nanos() * u128::from(self.frames);
        let first = shown / (u128::from(self.seconds) * NANOS);
        let first = u64::try_from(first).unwrap_or(u64::MAX);
        let end = span.duration.map(|d| self.begun_before(start.saturating_add(d)));
        (first, end.map(|end| end.saturating_sub(first)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers_or_fractions() {
        assert_eq!(FrameRate::parse("25"), Ok(FrameRate { frames: 25, seconds: 1 }));
        assert_eq!(FrameRate::parse("30000/1001"), Ok(FrameRate { frames: 30000, seconds: 1001 }));
        assert_eq!(FrameRate::parse("1/10"), Ok(FrameRate { frames: 1, seconds: 10 }));
        for wrong in ["", "0", "25/0", "0/1", "-5", "25.5", "1/2/3", "fast", "1001", "1/1001"] {
            assert!(FrameRate::parse(wrong).unwrap_err().contains("30000/1001"), "{wrong}");
        }
    }

    #[test]
    fn frames_have_their_exact_times_however_many_there_are() {
        let ntsc = FrameRate { frames: 30000, seconds: 1001 };
        assert_eq!(ntsc.time_of(0), Duration::ZERO);
        assert_eq!(ntsc.time_of(30_000_000), Duration::from_secs(1_001_000));
    }

    #[test]
    fn a_span_holds_the_frames_that_are_shown_in_it() {
        let ms = Duration::from_millis;
        let of = |start: Option<u64>, length: Option<u64>| {
            FrameRate::USUAL.frames_of(Span { start: start.map(ms), duration: length.map(ms) })
        };
        assert_eq!(of(None, None), (0, None));
        assert_eq!(of(Some(1000), None), (25, None));
        assert_eq!(of(Some(1039), Some(1)), (25, Some(1)));
        assert_eq!(of(Some(1039), Some(2)), (25, Some(2)));
        assert_eq!(of(None, Some(400)), (0, Some(10)));
        assert_eq!(of(None, Some(0)), (0, Some(0)));
    }
}
