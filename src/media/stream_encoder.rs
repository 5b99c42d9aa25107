//! H.264 for live viewers: frames → access units, without delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::video::{VideoStream, buffer_from_frame};
use crate::core::encoding::StreamEncoding;
use crate::core::frame::{Bytes, Frame, FrameInfo, Planes, Range};
use crate::core::timeouts::{FIRST_UNIT, WaitTimer};
use crate::core::watchdog::Heartbeat;

const DESCRIPTION: &str = include_str!("../../pipelines/encode-live.pipeline");

/// Shortest interval between key frames that clients ask for. Without it, many clients that come and go would
/// turn every frame into a key frame and lower the quality for all.
const KEY_GAP: Duration = Duration::from_millis(100);

/// Frames do not come at exact times; a key frame rather comes a little early than one frame late.
const SLACK: Duration = Duration::from_millis(10);

/// Frame rate assumed if the source states none, in frames per second.
const USUAL_RATE: f64 = 30.0;

/// Which features of H.264 are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Profile {
    /// Whatever the encoder likes.
    Any,
    /// What every browser takes by WebRTC.
    ConstrainedBaseline,
}

/// Told how long after its capture an encoded frame left the encoder.
pub type OnEncoded = Box<dyn Fn(Duration) + Send + Sync>;

/// Turns frames into H.264 access units.
pub(super) struct Encoder {
    pipeline: Pipeline,
    frames: gst_app::AppSrc,
    encode: gst::Element,
    keys: Arc<Keys>,
    /// Running time of the newest frame, nanoseconds.
    newest: AtomicU64,
    dropped: AtomicU64,
    encoded: Arc<AtomicU64>,
}

/// Decides when key frames are made. Times are nanoseconds of running time.
struct Keys {
    /// Between two key frames, while no client asks for one.
    interval: Duration,
    newest: AtomicU64,
    /// A client needs a key frame.
    wanted: AtomicBool,
    /// A key frame was requested from the encoder and has not been produced yet.
    asked: AtomicBool,
}

impl Keys {
    fn every(interval: Duration) -> Self {
        Keys {
            interval,
            newest: AtomicU64::default(),
            wanted: AtomicBool::default(),
            asked: AtomicBool::default(),
        }
    }

    /// Whether the frame at `now` must be requested as a key frame.
    fn due(&self, now: Duration) -> bool {
        let since = now.saturating_sub(Duration::from_nanos(self.newest.load(Ordering::Acquire)));
        let wanted = self.wanted.load(Ordering::Acquire) && since >= KEY_GAP;
        (wanted || since + SLACK >= self.interval) && !self.asked.swap(true, Ordering::AcqRel)
    }

    fn came(&self, at: Duration) {
        self.newest.store(nanos(at), Ordering::Release);
        self.wanted.store(false, Ordering::Release);
        self.asked.store(false, Ordering::Release);
    }
}

impl Encoder {
    /// Starts the encoder and encodes a first, black picture at running time zero: its access unit holds the
    /// parameters that clients need before the first frame. `deliver` is called with every further unit, with
    /// its running time and no DTS, on the encoder's thread; before, `on_encoded` with the time from its capture. Key
    /// frames come as `encoding` says, or when asked for.
    ///
    /// # Errors
    /// When an element is missing, or the encoder cannot handle such frames.
    pub fn start(
        role: PipelineRole,
        stream: &VideoStream,
        clock: &LiveClock,
        events: &Sender<Event>,
        (encoding, profile): (StreamEncoding, Profile),
        on_encoded: OnEncoded,
        deliver: impl Fn(gst::Buffer) + Send + Sync + 'static,
    ) -> Result<(Self, gst::Sample), PipelineError> {
        let description = match profile {
            Profile::Any => DESCRIPTION.to_owned(),
            Profile::ConstrainedBaseline => DESCRIPTION
                .replace("! x264enc", "! video/x-raw,format=I420 ! x264enc")
                .replace("! h264parse", "! video/x-h264,profile=constrained-baseline ! h264parse"),
        };
        let pipeline = Pipeline::parse(role, &description)?;
        clock.apply_to(pipeline.gst());
        let frames: gst_app::AppSrc = pipeline.element_as("frames")?;
        // Of frames without a rate, as a browser sends them, x264 would hold back one, and give nothing for the first.
        let usual = Some((USUAL_RATE as i32, 1));
        let mut timed = stream.clone();
        timed.framerate = timed.framerate.or(usual);
        frames.set_caps(Some(&timed.caps()?));
        let encode = pipeline.element("encode")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Each thread encodes a slice of the picture, and more slices lower the quality.
        encode.set_property("threads", cores.min(4) as u32);
        encode.set_property(
            "bitrate",
            encoding.bitrate.map_or(bitrate(stream), |bits| (bits / 1000).max(1)),
        );
        // The encoder's own interval is much longer than that of the key frames that `Keys` requests.
        encode.set_property("key-int-max", (10.0 * rate(stream)).clamp(100.0, 10_000.0) as u32);

        let keys = Arc::new(Keys::every(encoding.key_interval));
        let (first, comes) = channel();
        let units: gst_app::AppSink = pipeline.element_as("units")?;
        let encoded = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&encoded);
        let (told, clock) = (Arc::clone(&keys), clock.clone());
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let Some(unit) = in_running_time(&sample) else { return Ok(gst::FlowSuccess::Ok) };
                count.fetch_add(1, Ordering::Relaxed);
                let at = unit.pts().map_or(Duration::ZERO, Duration::from);
                if !unit.flags().contains(gst::BufferFlags::DELTA_UNIT) {
                    told.came(at);
                }
                if at.is_zero() {
                    let _ = first.send(sample);
                    return Ok(gst::FlowSuccess::Ok);
                }
                on_encoded(clock.now().saturating_sub(at));
                deliver(unit);
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        units.set_callbacks(callbacks);
        pipeline.set_state(gst::State::Playing)?;

        let (newest, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        let encoder = Encoder { pipeline, frames, encode, keys, newest, dropped, encoded };
        let _ = encoder.frames.push_buffer(black(stream)?);
        let mut timer = WaitTimer::new();
        loop {
            if let Ok(sample) = comes.recv_timeout(Duration::from_millis(20)) {
                encoder.pipeline.forward(events.clone());
                return Ok((encoder, sample));
            }
            if let Some(error) = encoder.pipeline.pending_error() {
                return Err(error);
            }
            if timer.is_over(FIRST_UNIT) {
                return Err(PipelineError::new("encode", "the H.264 encoder does not start"));
            }
        }
    }

    /// Takes a frame and replaces one that still waits. Frames whose timestamp does not increase are dropped.
    pub fn push(&self, buffer: &gst::Buffer) {
        let Some(pts) = buffer.pts() else { return self.count_drop() };
        if self.newest.fetch_max(pts.nseconds(), Ordering::AcqRel) >= pts.nseconds() {
            return self.count_drop();
        }
        if self.frames.current_level_buffers() > 0 {
            self.count_drop(); // the one that waits
        }
        if self.keys.due(pts.into()) {
            let event = gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build();
            if let Some(pad) = self.encode.static_pad("src") {
                pad.send_event(event);
            }
        }
        // Refused only when the pipeline failed, which its bus tells.
        let _ = self.frames.push_buffer(buffer.clone());
    }

    fn count_drop(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests a key frame; if one was just made, after [`KEY_GAP`].
    pub fn want_key(&self) -> impl Fn() + Send + Sync + 'static {
        let keys = Arc::clone(&self.keys);
        move || keys.wanted.store(true, Ordering::Release)
    }

    /// Frames that were not encoded.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether a frame waits to be encoded, and how many have been.
    pub fn heartbeat(&self) -> Heartbeat {
        let works = self.frames.current_level_buffers() > 0;
        Heartbeat { works, steps: self.encoded.load(Ordering::Relaxed) }
    }

    /// The pipeline as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn rate(stream: &VideoStream) -> f64 {
    stream.framerate.map_or(USUAL_RATE, |(n, d)| f64::from(n) / f64::from(d.max(1)))
}

/// Upper limit of the bit rate, in kbit/s; below it the quality is constant. 0.15 bit per pixel is ample for
/// stylized pictures, which have more texture than camera pictures.
fn bitrate(stream: &VideoStream) -> u32 {
    let pixels = (stream.frame.width * stream.frame.height) as f64 * rate(stream);
    (pixels * 0.15 / 1000.0).clamp(1_000.0, 50_000.0) as u32
}

/// A black picture at running time zero.
fn black(stream: &VideoStream) -> Result<gst::Buffer, PipelineError> {
    let FrameInfo { width, height, colorimetry } = stream.frame;
    let dark = if colorimetry.range == Range::Full { 0 } else { 16 };
    let mut bytes = vec![128; stream.layout.bytes(width, height)];
    bytes[..width * height].fill(dark);
    let planes = Planes::new(stream.layout, Bytes::from(bytes));
    let pts = Some(Duration::ZERO);
    buffer_from_frame(Frame { info: stream.frame, planes, pts, duration: None })
}

/// The access unit with its running time as PTS and no DTS: nothing is reordered, and payloaders and the RTSP
/// server use the DTS, if there is one, as its time.
fn in_running_time(sample: &gst::SampleRef) -> Option<gst::Buffer> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut unit = sample.buffer_owned()?;
    let pts = segment.to_running_time(unit.pts()?)?;
    let writable = unit.make_mut();
    writable.set_pts(pts);
    writable.set_dts(gst::ClockTime::NONE);
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_come_each_second_and_when_asked_but_not_in_bursts() {
        let ms = Duration::from_millis;
        let keys = Keys::every(ms(1000));
        assert!(!keys.due(ms(900)));
        assert!(keys.due(ms(1000)));
        assert!(!keys.due(ms(1033)), "already asked for");
        keys.came(ms(1000));
        keys.wanted.store(true, Ordering::Release);
        assert!(!keys.due(ms(1099)), "too soon");
        assert!(keys.due(ms(1100)));
        keys.came(ms(1100));
        assert!(!keys.due(ms(1600)), "served");
    }
}
