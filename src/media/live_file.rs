//! Live frames and their sound → a file.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::error::PipelineError;
use super::finalise::Layout;
use super::live_audio::LiveAudio;
use super::pipeline::Event;
use super::sink::{NewFile, VideoSink};
use crate::encoding::{Container, Encoding};

/// A muxer writes nothing of the picture until it knows what sound belongs to it. When the sound
/// is further behind than this, matroskamux is told that there is none, and the picture goes on.
const GAP_AFTER: Duration = Duration::from_millis(500);

/// mp4mux (1.22) does not understand gaps: for it the sound is over when it has not come for so
/// long. Until then the encoded picture waits, and nothing of it is lost.
const END_AFTER: Duration = Duration::from_secs(8);

/// How much of the encoded picture may wait; more than it ever waits for sound.
const WAITING: Duration = Duration::from_secs(20);

/// A file that is written while live.
pub struct LiveFileSink {
    sink: VideoSink,
    sound: Option<Arc<Sound>>,
}

impl LiveFileSink {
    /// Starts a file for frames that come live, with their sound if there is any. It never holds
    /// up who delivers: frames that the encoder cannot take in time are dropped. The file's time
    /// begins with the first frame, `first` on the run's clock. What happens is told to `events`
    /// as of the output `number`.
    ///
    /// # Errors
    /// When an element is missing, or the file cannot be created.
    pub fn create(
        file: NewFile,
        audio: Option<&LiveAudio>,
        first: Duration,
        number: usize,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let caps: Vec<_> = audio.iter().map(|audio| audio.caps().clone()).collect();
        // Looking ahead would hold back dozens of frames, minutes of them with a slow network.
        let encoding = Encoding { live: true, ..*file.encoding };
        let sink = VideoSink::build(NewFile { encoding: &encoding, ..file }, &caps, number)?;
        let waiting = sink.pipeline.element("waiting")?;
        waiting.set_property("max-size-buffers", 0u32);
        waiting.set_property("max-size-time", u64::try_from(WAITING.as_nanos()).unwrap_or(0));
        sink.frames.set_block(false);
        sink.frames.set_max_buffers(30);
        sink.frames.set_leaky_type(gst_app::AppLeakyType::Downstream);
        for input in sink.targets.iter().chain([&sink.frames]) {
            if let Some(pad) = input.static_pad("src") {
                pad.set_offset(-i64::try_from(first.as_nanos()).unwrap_or(0));
            }
        }
        let mut sound = None;
        if let (Some(audio), Some(target)) = (audio, sink.targets.first()) {
            let track = Arc::new(Sound::into(target, first, file.container));
            let taker = Arc::clone(&track);
            audio.send_to(move |packet| taker.packet(packet));
            sound = Some(track);
        }
        sink.pipeline.forward(events.clone());
        sink.pipeline.set_state(gst::State::Playing)?;
        Ok(LiveFileSink { sink, sound })
    }

    /// Hands over a frame that other outputs also take.
    pub fn push(&self, frame: &gst::Buffer) -> bool {
        if let (Some(sound), Some(pts)) = (&self.sound, frame.pts()) {
            sound.keep_up_with(pts.into());
        }
        self.sink.frames.push_buffer(frame.clone()).is_ok()
    }

    /// The encoder's output, where delay is measured.
    pub fn encoded(&self) -> Option<gst::Pad> {
        self.sink.pipeline.gst().by_name("encode")?.static_pad("src")
    }

    /// Ends picture and sound.
    pub fn end(&self) {
        self.sink.end();
    }

    /// The tracks that were written.
    pub fn layout(&self) -> Layout {
        self.sink.layout()
    }

    /// What the user should know.
    pub fn notes(&self) -> &[String] {
        self.sink.notes()
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.sink.dot()
    }
}

/// The sound of a file, which may pause or end before the picture does.
struct Sound {
    target: gst_app::AppSrc,
    known: Mutex<Known>,
}

/// What the muxer knows of the sound.
struct Known {
    /// Up to here it has sound, or knows that there is none.
    until: Duration,
    container: Container,
    ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Tell {
    Nothing,
    Gap,
    End,
}

impl Known {
    /// A packet comes; false when its time has passed, and it must not go to the muxer.
    fn packet(&mut self, pts: Duration, duration: Duration) -> bool {
        let fits = !self.ended && pts >= self.until;
        if fits {
            self.until = pts + duration;
        }
        fits
    }

    /// The picture is at `now`: what the muxer must be told of the sound.
    fn keep_up_with(&mut self, now: Duration) -> Tell {
        let behind = now.saturating_sub(self.until);
        match self.container {
            Container::Mkv | Container::WebM if behind > GAP_AFTER => {
                self.until = now;
                Tell::Gap
            }
            Container::Mp4 | Container::Mov if behind > END_AFTER && !self.ended => {
                self.ended = true;
                Tell::End
            }
            _ => Tell::Nothing,
        }
    }
}

impl Sound {
    fn into(target: &gst_app::AppSrc, first: Duration, container: Container) -> Self {
        target.set_block(false);
        target.set_leaky_type(gst_app::AppLeakyType::Downstream);
        if let Some(pad) = target.static_pad("src") {
            pad.add_probe(gst::PadProbeType::BUFFER, turn_into_gap);
        }
        let known = Known { until: first, container, ended: false };
        Sound { target: target.clone(), known: Mutex::new(known) }
    }

    fn packet(&self, packet: &gst::Buffer) {
        let Some(pts) = packet.pts() else { return };
        let duration = packet.duration().unwrap_or_default();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.packet(pts.into(), duration.into()) {
            let _ = self.target.push_buffer(packet.clone());
        }
    }

    fn keep_up_with(&self, now: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.keep_up_with(now) {
            Tell::Nothing => {}
            Tell::Gap => {
                // It begins now, not when the sound stopped: the muxer takes what is older first,
                // that is the picture until now, and waits for more sound only then.
                let mut gap = gst::Buffer::new();
                let writable = gap.make_mut();
                writable.set_pts(gst::ClockTime::try_from(now).ok());
                writable.set_duration(gst::ClockTime::ZERO);
                writable.set_flags(gst::BufferFlags::GAP);
                let _ = self.target.push_buffer(gap);
            }
            Tell::End => {
                tracing::warn!(
                    "the sound has stopped: the MP4 goes on without (an .mkv takes it up again)"
                );
                let _ = self.target.end_of_stream();
            }
        }
    }
}

/// An appsrc takes no events of our own in between its buffers: an empty buffer becomes one here,
/// on the appsrc's thread.
fn turn_into_gap(pad: &gst::Pad, info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
    let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
    if buffer.size() > 0 || !buffer.flags().contains(gst::BufferFlags::GAP) {
        return gst::PadProbeReturn::Ok;
    }
    if let Some(pts) = buffer.pts() {
        pad.push_event(gst::event::Gap::builder(pts).duration(buffer.duration()).build());
    }
    gst::PadProbeReturn::Drop
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn matroska_is_told_of_gaps_and_late_packets_are_left_out() {
        let mut known = Known { until: MS(1000), container: Container::Mkv, ended: false };
        assert!(!known.packet(MS(990), MS(20)), "before the first frame");
        assert!(known.packet(MS(1000), MS(20)));
        assert_eq!(known.keep_up_with(MS(1500)), Tell::Nothing, "it may still come");
        assert_eq!(known.keep_up_with(MS(1600)), Tell::Gap);
        assert_eq!(known.keep_up_with(MS(1640)), Tell::Nothing, "told already");
        assert!(!known.packet(MS(1580), MS(20)));
        assert!(known.packet(MS(1600), MS(20)), "it is back");
        assert_eq!(known.keep_up_with(MS(1700)), Tell::Nothing);
    }

    #[test]
    fn the_sound_of_an_mp4_ends_when_it_stays_away() {
        let mut known = Known { until: MS(0), container: Container::Mp4, ended: false };
        assert!(known.packet(MS(0), MS(20)));
        assert_eq!(known.keep_up_with(MS(7000)), Tell::Nothing);
        assert!(known.packet(MS(7000), MS(20)), "a pause");
        assert_eq!(known.keep_up_with(MS(15_100)), Tell::End);
        assert_eq!(known.keep_up_with(MS(30_000)), Tell::Nothing);
        assert!(!known.packet(MS(30_000), MS(20)));
    }
}
