//! Frames that the program reads itself (a pipe, pictures) → frames like those of a decoder.
//!
//! They pass through the same conversion as decoded files.

use std::thread;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::error::{ErrorKind, PipelineError};
use super::frame_format::{FrameFormat, FramePlan};
use super::pipeline::{Pipeline, PipelineRole};
use super::read_report::SharedReport;
use super::source::{Busy, DECODED, VideoSource, crop_to_even};
use super::video::tight_buffer;
use super::workarounds::one_frame_for_each;
use crate::core::frame::{Bytes, FramePool, Range};
use crate::core::rate::FrameRate;
use crate::core::stop::StopSignal;
use crate::core::y4m::{ChromaSite, Header, Interlace, Sampling};

/// Format and timing of the frames.
#[derive(Debug, Clone)]
pub enum RawFormat {
    /// As the header of a YUV4MPEG2 stream says.
    Y4m(Header),
    /// Three bytes a pixel, as pictures have them.
    Rgb {
        /// Width in pixels.
        width: usize,
        /// Height in lines.
        height: usize,
        /// Frames a second.
        rate: FrameRate,
    },
    /// As `Rgb`, but each frame has its own duration.
    Animation {
        /// Width in pixels.
        width: usize,
        /// Height in lines.
        height: usize,
        /// Frames per second, if all frames last equally long.
        rate: Option<FrameRate>,
        /// When the first frame begins.
        start: Duration,
        /// When each frame ends.
        ends: Vec<Duration>,
    },
}

/// Writes the next frame into the buffer; returns `false` after the last one. An error also ends the stream.
pub type NextFrame = Box<dyn FnMut(&mut Vec<u8>) -> Result<bool, String> + Send>;

/// Opens a source of the frames that `next` gives, on a thread of its own, and converts the first.
///
/// The thread may be left blocked in `next` when the source is dropped, since a blocking read of a pipe
/// cannot be interrupted. `count` is the number of frames, if known. Returns none if `stop` was set before
/// the first frame.
///
/// # Errors
/// The error of `next` before the first frame, or that the format is not supported.
pub fn open(
    shape: &RawFormat,
    count: Option<u64>,
    wanted: FrameFormat,
    mut next: NextFrame,
    log: &SharedReport,
    stop: &StopSignal,
) -> Result<Option<VideoSource>, PipelineError> {
    super::init()?;
    let raw = Raw::of(shape)?;
    let pipeline = Pipeline::parse(PipelineRole::Source, &description())?;
    let source: gst_app::AppSrc = pipeline.element_as("src")?;
    source.set_caps(Some(&raw.caps));
    one_frame_for_each(&pipeline.element("deinterlace")?);
    let format = pipeline.element("format")?;
    let plan = FramePlan::new(&raw.caps, wanted);
    if wanted == FrameFormat::Even {
        crop_to_even(&pipeline.element("crop")?);
    }
    let mut caps = plan.caps();
    if raw.format == gst_video::VideoFormat::Rgb && wanted != FrameFormat::Rgb {
        // The matrix that players assume for this size, but the primaries of pictures (sRGB).
        let matrix = if raw.size.1 >= 720 { 3 } else { 4 };
        caps.make_mut().set("colorimetry", format!("2:{matrix}:5:1"));
    }
    format.set_property("caps", &caps);
    let frames: gst_app::AppSink = pipeline.element_as("frames")?;

    let said = log.clone();
    let length = count.map(|count| raw.begins(count));
    let pool = FramePool::new(4);
    let feeder = move || {
        let mut feeding = FrameReader { source, said, number: 0 };
        loop {
            let mut bytes = pool.take(0);
            match next(bytes.vec_mut()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    feeding.said.lock().failure = Some(error);
                    break;
                }
            }
            let buffer = raw.buffer(bytes, feeding.number);
            match buffer.map(|buffer| feeding.source.push_buffer(buffer)) {
                Ok(Ok(_)) => feeding.number += 1,
                // The consumer is gone.
                Ok(Err(_)) => break,
                Err(error) => {
                    feeding.said.lock().failure = Some(error.to_string());
                    break;
                }
            }
        }
    };
    let started = thread::Builder::new().name("read".into()).spawn(feeder);
    started.map_err(|e| PipelineError::new("appsrc", e.to_string()))?;
    pipeline.set_state(gst::State::Paused)?;
    // A stream that ends without a frame may or may not preroll, so the report is checked too.
    let nothing = || {
        let mut said = log.lock();
        let why = said.nothing.then(|| said.failure.take());
        why.map(|why| {
            let text = why.unwrap_or_else(|| "it contains no frame".to_owned());
            PipelineError::new("appsrc", text).of_kind(ErrorKind::Damaged)
        })
    };
    while !prerolled(&pipeline)? {
        nothing().map_or(Ok(()), Err)?;
        if stop.is_set() {
            return Ok(None);
        }
    }
    nothing().map_or(Ok(()), Err)?;
    let caps = frames.static_pad("sink").and_then(|pad| pad.current_caps());
    let caps = caps.ok_or_else(|| PipelineError::new("appsink", "it has no frames"))?;
    let fit = plan.fit(&caps)?;
    let mut stream = plan.stream(fit.caps())?;
    stream.duration = length;
    let (busy, log) = (Busy::default(), log.clone());
    Ok(Some(VideoSource {
        pipeline,
        frames,
        stream,
        plan,
        fit,
        busy,
        end: None,
        complete: std::sync::Arc::default(),
        log,
    }))
}

/// Pushes our own frames into the appsrc. When it is dropped, however its thread ended, the stream ends.
struct FrameReader {
    source: gst_app::AppSrc,
    said: SharedReport,
    /// Frames so far.
    number: u64,
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        let mut said = self.said.lock();
        if thread::panicking() {
            said.failure = Some("the thread that reads it panicked".to_owned());
        }
        said.nothing = self.number == 0;
        drop(said);
        let _ = self.source.end_of_stream();
    }
}

/// Waits a moment for the first frame; true when it is there.
fn prerolled(pipeline: &Pipeline) -> Result<bool, PipelineError> {
    let (result, current, _) = pipeline.gst().state(gst::ClockTime::from_mseconds(50));
    if let Some(error) = pipeline.pending_error() {
        return Err(error);
    }
    result.map_err(|_| pipeline.failure())?;
    Ok(result == Ok(gst::StateChangeSuccess::Success) && current >= gst::State::Paused)
}

/// The description of a source of our own frames.
fn description() -> String {
    let source = "appsrc name=src format=time block=true max-buffers=2 max-bytes=0 ! convert.";
    format!("{source}\n{DECODED}")
}

/// How the frames are described to GStreamer.
struct Raw {
    caps: gst::Caps,
    format: gst_video::VideoFormat,
    size: (usize, usize),
    planes: Vec<(usize, usize)>,
    rate: FrameRate,
    /// Start time of each frame, and the end of the last, if there is no constant rate.
    times: Vec<Duration>,
    /// Bits per sample in the input and in GStreamer's format.
    depths: (u32, u32),
}

impl Raw {
    fn of(shape: &RawFormat) -> Result<Self, PipelineError> {
        match shape {
            RawFormat::Y4m(header) => Raw::of_y4m(header),
            RawFormat::Rgb { width, height, rate } => {
                Ok(Raw::of_rgb((*width, *height), Some(*rate), Vec::new()))
            }
            RawFormat::Animation { width, height, rate, start, ends } => {
                let times = std::iter::once(start).chain(ends).copied().collect();
                Ok(Raw::of_rgb((*width, *height), *rate, times))
            }
        }
    }

    fn of_rgb(
        (width, height): (usize, usize),
        rate: Option<FrameRate>,
        times: Vec<Duration>,
    ) -> Self {
        let size = (width, height);
        let usual = rate.unwrap_or(FrameRate::USUAL);
        let mut caps = caps("RGB", size, usual, (1, 1)).field("colorimetry", "sRGB").build();
        if rate.is_none() {
            // GStreamer's notation for a variable rate.
            caps.make_mut().set("framerate", gst::Fraction::new(0, 1));
        }
        Raw {
            caps,
            format: gst_video::VideoFormat::Rgb,
            size,
            planes: vec![(3 * width, height)],
            rate: usual,
            times,
            depths: (8, 8),
        }
    }

    /// Start time of a frame; for the number after the last frame, its end.
    fn begins(&self, number: u64) -> Duration {
        let known = usize::try_from(number).ok().and_then(|number| self.times.get(number));
        known.or(self.times.last()).copied().unwrap_or_else(|| self.rate.time_of(number))
    }

    fn of_y4m(header: &Header) -> Result<Self, PipelineError> {
        let (name, depth) = match (header.sampling, header.depth) {
            (Sampling::Yuv420 | Sampling::Mono, 8) => ("I420", 8),
            (Sampling::Yuv420 | Sampling::Mono, 9 | 10) => ("I420_10LE", 10),
            (Sampling::Yuv420 | Sampling::Mono, _) => ("I420_12LE", 12),
            (Sampling::Yuv411, _) => ("Y41B", 8),
            (Sampling::Yuv422, 8) => ("Y42B", 8),
            (Sampling::Yuv422, 9 | 10) => ("I422_10LE", 10),
            (Sampling::Yuv422, _) => ("I422_12LE", 12),
            (Sampling::Yuv444 | Sampling::Yuv444Alpha, 8) => ("Y444", 8),
            (Sampling::Yuv444, 9 | 10) => ("Y444_10LE", 10),
            (Sampling::Yuv444, 11 | 12) => ("Y444_12LE", 12),
            (Sampling::Yuv444 | Sampling::Yuv444Alpha, _) => ("Y444_16LE", 16),
        };
        let caps = caps(name, (header.width, header.height), header.rate, header.pixel_aspect)
            .field("colorimetry", colorimetry(header.range, header.height))
            .field_if_some("chroma-site", chroma_site(header))
            .field("interlace-mode", interlace_mode(header.interlace))
            .field_if_some("field-order", field_order(header.interlace));
        // Grey frames get neutral chroma: GStreamer's grey formats carry no range, and full range would be
        // taken as limited.
        let as_yuv = Header { sampling: Sampling::Yuv420, ..*header };
        let mono = header.sampling == Sampling::Mono;
        let mut planes = if mono { as_yuv.planes() } else { header.planes() };
        // The alpha plane comes last and is dropped.
        planes.truncate(3);
        Ok(Raw {
            caps: caps.build(),
            format: gst_video::VideoFormat::from_string(name),
            size: (header.width, header.height),
            planes,
            rate: header.rate,
            times: Vec::new(),
            depths: (header.depth, depth),
        })
    }

    fn buffer(&self, mut bytes: Bytes, number: u64) -> Result<gst::Buffer, PipelineError> {
        let (there, all) = (bytes.len(), self.planes.iter().map(|(w, h)| w * h).sum::<usize>());
        if there < all {
            bytes.vec_mut().resize(all, 0);
            fill_with_grey(&mut bytes[there..], self.depths.0);
        }
        change_depth(&mut bytes, self.depths);
        let (begin, end) = (self.begins(number), self.begins(number + 1));
        let times = (Some(begin), Some(end - begin));
        tight_buffer(bytes, self.format, self.size, &self.planes, times)
    }
}

fn caps(
    format: &str,
    (width, height): (usize, usize),
    rate: FrameRate,
    (n, d): (u32, u32),
) -> gst::caps::Builder<gst::caps::NoFeature> {
    let fraction = |n: u32, d: u32| {
        let number = |n| i32::try_from(n).unwrap_or(i32::MAX);
        gst::Fraction::new(number(n), number(d))
    };
    gst::Caps::builder("video/x-raw")
        .field("format", format)
        .field("width", width as i32)
        .field("height", height as i32)
        .field("framerate", fraction(rate.frames, rate.seconds))
        .field("pixel-aspect-ratio", fraction(n, d))
}

/// Range, matrix, transfer and primaries in GStreamer's numbers: BT.601 or BT.709, by size, as players assume
/// for unmarked video.
fn colorimetry(range: Range, height: usize) -> String {
    let range = if range == Range::Full { 1 } else { 2 };
    let rest = if height >= 720 { "3:5:1" } else { "4:16:4" };
    format!("{range}:{rest}")
}

fn chroma_site(header: &Header) -> Option<&'static str> {
    let half = matches!(header.sampling, Sampling::Yuv420 | Sampling::Mono);
    half.then_some(match header.site {
        ChromaSite::Centre => "jpeg",
        ChromaSite::Left => "mpeg2",
        ChromaSite::PalDv => "dv",
    })
}

fn interlace_mode(interlace: Interlace) -> &'static str {
    match interlace {
        Interlace::Progressive => "progressive",
        Interlace::TopFirst | Interlace::BottomFirst => "interleaved",
        Interlace::Mixed => "mixed",
    }
}

fn field_order(interlace: Interlace) -> Option<&'static str> {
    match interlace {
        Interlace::TopFirst => Some("top-field-first"),
        Interlace::BottomFirst => Some("bottom-field-first"),
        Interlace::Progressive | Interlace::Mixed => None,
    }
}

fn fill_with_grey(samples: &mut [u8], depth: u32) {
    if depth == 8 {
        samples.fill(128);
        return;
    }
    let grey = (1u16 << (depth - 1)).to_le_bytes();
    samples.chunks_exact_mut(2).for_each(|sample| sample.copy_from_slice(&grey));
}

/// Brings samples of two bytes from one depth to the other.
fn change_depth(samples: &mut [u8], (from, to): (u32, u32)) {
    if from == to {
        return;
    }
    for sample in samples.chunks_exact_mut(2) {
        let value = u16::from_le_bytes([sample[0], sample[1]]);
        let value = if to > from { value << (to - from) } else { value >> (from - to) };
        sample.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_moved_to_the_depth_that_gstreamer_has() {
        let mut samples = [0x34, 0x02, 0xFF, 0x3F];
        change_depth(&mut samples, (14, 12));
        assert_eq!(samples, [0x8D, 0x00, 0xFF, 0x0F]);
        change_depth(&mut samples, (12, 16));
        assert_eq!(samples, [0xD0, 0x08, 0xF0, 0xFF]);
        change_depth(&mut samples, (8, 8));
        assert_eq!(samples, [0xD0, 0x08, 0xF0, 0xFF]);
    }

    #[test]
    fn the_description_has_no_decoder() {
        let text = description();
        assert!(text.starts_with("appsrc name=src ") && !text.contains("decodebin"), "{text}");
        super::super::init().unwrap();
        let pipeline = Pipeline::parse(PipelineRole::Source, &text).unwrap();
        for name in ["src", "format", "frames"] {
            pipeline.element(name).unwrap();
        }
    }
}
