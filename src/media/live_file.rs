//! Records live frames and their sound to a file.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::error::PipelineError;
use super::leaky::LeakyInput;
use super::live_audio::LiveAudio;
use super::live_encode::SoundEncoder;
use super::pipeline::Event;
use super::remux::TrackLayout;
use super::sink::{NewFile, VideoSink};
use super::tracks::{Treatment, encode_audio, name_of, transcode_note, way_of_audio};
use crate::core::encoding::{Container, Encoding};
use crate::core::watchdog::Heartbeat;

/// A muxer writes no picture until it knows the sound of the same time. If the sound lags further than this,
/// matroskamux gets a gap event, and the picture continues.
const GAP_AFTER: Duration = Duration::from_secs(2);

/// If sound arrives after a gap was sent, the next wait is longer, up to this.
const GAP_AFTER_AT_MOST: Duration = Duration::from_secs(10);

/// mp4mux (1.22) ignores gap events: if no sound arrives for this long, the sound track is ended. Until then
/// the encoded picture waits; none of it is lost.
const END_AFTER: Duration = Duration::from_secs(8);

/// Packets may overlap by microseconds, since timestamps are rounded and follow the sender's clock. A packet
/// that begins more than this before the end of the previous one belongs to a source that started again.
const OVERLAP: Duration = Duration::from_millis(250);

/// How much encoded picture may wait; longer than any wait for sound.
const WAITING: Duration = Duration::from_secs(20);

/// Number of frames that may wait for the encoder.
const FRAMES: u64 = 30;

/// A recording of a live run.
pub struct LiveFileSink {
    sink: VideoSink,
    frames: LeakyInput,
    sound: Option<Arc<Sound>>,
    /// Re-encodes the sound, if the container cannot hold it.
    encoder: Option<Arc<SoundEncoder>>,
}

impl LiveFileSink {
    /// Opens a file for live frames, with their sound if there is any; it takes both once it has
    /// [begun](Self::begin). It never blocks the run: frames that the encoder cannot take in time are dropped. Events
    /// are reported to `events` with the output number `number`.
    ///
    /// # Errors
    /// When an element is missing, or the file cannot be created.
    pub fn create(
        file: NewFile,
        audio: Option<&LiveAudio>,
        number: usize,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        // Looking ahead would delay the file by dozens of frames, which can be minutes with a slow network.
        let encoding = Encoding { live: true, ..*file.encoding };
        let mut sink = VideoSink::build(NewFile { encoding: &encoding, ..file }, number)?;
        let waiting = sink.pipeline.element("waiting")?;
        waiting.set_property("max-size-buffers", 0u32);
        waiting.set_property("max-size-time", u64::try_from(WAITING.as_nanos()).unwrap_or(0));
        let frames = LeakyInput::over(sink.frames.clone(), FRAMES);
        let track = audio.and_then(|audio| add_sound(&mut sink, audio.caps(), file.container));
        let (target, encoder) = track.unzip();
        // Sound that comes before the beginning is left out.
        let never = SoundTimeline::new(Duration::MAX, file.container);
        let sound = target.map(|target| Arc::new(Sound::into(&target, never)));
        let encoder = encoder.flatten().map(Arc::new);
        if let (Some(sound), Some(encoder)) = (&sound, &encoder) {
            let (taker, ended) = (Arc::clone(sound), Arc::clone(sound));
            encoder.start(move |packet| taker.packet(packet), move |why| ended.end(why))?;
        }
        if let (Some(audio), Some(sound)) = (audio, &sound) {
            // A weak reference: the source may outlive the file.
            let (taker, to) = (Arc::downgrade(sound), encoder.as_ref().map(Arc::downgrade));
            audio.send_to(move |packet| match &to {
                Some(encoder) => {
                    if let Some(encoder) = encoder.upgrade() {
                        encoder.push(packet);
                    }
                }
                None => {
                    if let Some(taker) = taker.upgrade() {
                        taker.packet(packet);
                    }
                }
            });
        }
        sink.pipeline.forward(events.clone());
        sink.pipeline.set_state(gst::State::Playing)?;
        Ok(LiveFileSink { sink, frames, sound, encoder })
    }

    /// Begins the file: its time zero is the first frame's time, `first`, on the run's clock.
    pub fn begin(&self, first: Duration) {
        let target = self.sound.as_ref().map(|sound| &sound.target);
        for input in target.into_iter().chain([&self.sink.frames]) {
            if let Some(pad) = input.static_pad("src") {
                pad.set_offset(-i64::try_from(first.as_nanos()).unwrap_or(0));
            }
        }
        if let Some(sound) = &self.sound {
            let mut known = sound.known.lock().unwrap_or_else(PoisonError::into_inner);
            *known = SoundTimeline::new(first, known.container);
        }
    }

    /// Passes on a frame that is shared with other outputs.
    pub fn push(&self, frame: &gst::Buffer) -> bool {
        if let (Some(sound), Some(pts)) = (&self.sound, frame.pts()) {
            sound.keep_up_with(pts.into());
        }
        self.frames.push(frame)
    }

    /// How many frames the encoder could not take in time.
    pub fn dropped(&self) -> u64 {
        self.frames.dropped()
    }

    /// Whether frames wait for the encoder, and how many it has taken.
    pub fn heartbeat(&self) -> Heartbeat {
        self.frames.heartbeat()
    }

    /// The output pad of the encoder, where the delay is measured.
    pub fn encoded(&self) -> Option<gst::Pad> {
        self.sink.pipeline.gst().by_name("encode")?.static_pad("src")
    }

    /// Ends picture and sound.
    pub fn end(&self) {
        let _ = self.sink.frames.end_of_stream();
        match (&self.encoder, &self.sound) {
            // The encoder passes on what it still holds, then ends the track.
            (Some(encoder), _) => encoder.end(),
            (None, Some(sound)) => sound.end(None),
            (None, None) => {}
        }
    }

    /// The tracks that were written.
    pub fn layout(&self) -> TrackLayout {
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

/// Adds a track for live sound, re-encoded if the container cannot hold it; none, with a note, if that is
/// impossible too.
fn add_sound(
    sink: &mut VideoSink,
    sound: &gst::Caps,
    container: Container,
) -> Option<(gst_app::AppSrc, Option<SoundEncoder>)> {
    let name = name_of(sound);
    let mut way = way_of_audio(sound, container);
    if let Treatment::Passthrough(through) = way {
        match sink.add_sound(sound, through) {
            Ok(target) => return Some((target, None)),
            // The container holds this codec, but not in this form.
            Err(_) => way = encode_audio(sound, container),
        }
    }
    let why = match way {
        Treatment::Transcode(_, codec) => {
            let encoded = SoundEncoder::open(sound, container, codec).and_then(|encoder| {
                let target = sink.add_sound(encoder.caps(), "identity")?;
                Ok((target, encoder))
            });
            match encoded {
                Ok((target, encoder)) => {
                    let channels = sound.structure(0).and_then(|s| s.get::<i32>("channels").ok());
                    let mixed = channels.filter(|channels| *channels > 2);
                    let mixed = mixed.map_or_else(String::new, |n| format!(", {n} channels as 2"));
                    let what = format!("the sound ({name})");
                    sink.notes.push(transcode_note(&what, sound, container, codec, &mixed));
                    return Some((target, Some(encoder)));
                }
                Err(error) => error.to_string(),
            }
        }
        Treatment::Drop(why) => why,
        Treatment::Passthrough(_) => "the container does not support this track".to_owned(),
    };
    sink.notes.push(format!("the sound ({name}) is left out: {why}"));
    None
}

/// The sound track of a recording; the sound may pause, or end before the picture.
struct Sound {
    target: gst_app::AppSrc,
    known: Mutex<SoundTimeline>,
}

/// How far the muxer knows the sound track.
struct SoundTimeline {
    /// Up to this time the muxer has sound or a gap.
    until: Duration,
    /// Time at which the track begins.
    first: Duration,
    /// The end of the last gap: packets before it are too late.
    none_before: Duration,
    /// Time of the newest packet.
    newest: Option<Duration>,
    /// How far the sound may lag behind the picture before a gap is sent.
    patience: Duration,
    container: Container,
    ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum SoundAction {
    Nothing,
    Gap,
    End,
}

impl SoundTimeline {
    /// The timeline of a track that begins at `first`.
    fn new(first: Duration, container: Container) -> Self {
        SoundTimeline {
            until: first,
            first,
            none_before: first,
            newest: None,
            patience: GAP_AFTER,
            container,
            ended: false,
        }
    }

    /// The timestamp that a new packet gets in the file; none if the packet is too late.
    fn packet(&mut self, pts: Duration, duration: Duration) -> Option<Duration> {
        if self.ended {
            return None;
        }
        if pts < self.none_before {
            // The sound was late, not silent; or the packet is older than the file.
            if pts >= self.first {
                let late = self.none_before - pts;
                self.patience = self.patience.max(late + GAP_AFTER).min(GAP_AFTER_AT_MOST);
            }
            return None;
        }
        if pts + OVERLAP < self.until {
            return None;
        }
        // Muxers need timestamps that do not decrease, and parsers remove the timestamp of a packet if it
        // equals the previous one.
        let at = self.newest.map_or(pts, |newest| pts.max(newest + Duration::from_nanos(1)));
        self.newest = Some(at);
        self.until = self.until.max(at + duration);
        Some(at)
    }

    /// What to tell the muxer about the sound, now that the picture has reached `now`.
    fn keep_up_with(&mut self, now: Duration) -> SoundAction {
        let behind = now.saturating_sub(self.until);
        if self.ended {
            return SoundAction::Nothing;
        }
        match self.container {
            Container::Mkv | Container::WebM if behind > self.patience => {
                (self.until, self.none_before) = (now, now);
                SoundAction::Gap
            }
            Container::Mp4 | Container::Mov if behind > END_AFTER => {
                self.ended = true;
                SoundAction::End
            }
            _ => SoundAction::Nothing,
        }
    }
}

impl Sound {
    fn into(target: &gst_app::AppSrc, known: SoundTimeline) -> Self {
        target.set_block(false);
        target.set_leaky_type(gst_app::AppLeakyType::Downstream);
        // As long as the picture may wait for its encoder, whatever the bit rate.
        target.set_max_bytes(0);
        target.set_max_time(gst::ClockTime::try_from(WAITING).unwrap_or_default());
        if let Some(pad) = target.static_pad("src") {
            pad.add_probe(gst::PadProbeType::BUFFER, turn_into_gap);
        }
        Sound { target: target.clone(), known: Mutex::new(known) }
    }

    fn packet(&self, packet: &gst::Buffer) {
        let Some(pts) = packet.pts() else { return };
        let duration = packet.duration().unwrap_or_default();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.packet(pts.into(), duration.into()) {
            let mut packet = packet.clone();
            if at != Duration::from(pts) || packet.dts().is_some() {
                let at = gst::ClockTime::try_from(at).ok();
                let writable = packet.make_mut();
                // Sound is presented in the order in which it is decoded; a muxer that sees other times
                // of decoding go back makes its own.
                writable.set_pts(at);
                writable.set_dts(at);
            }
            let _ = self.target.push_buffer(packet);
        }
    }

    /// Ends the sound track; `why` is the error, if it failed.
    fn end(&self, why: Option<PipelineError>) {
        if let Some(error) = why {
            tracing::warn!("the sound cannot be encoded; the file continues without it: {error}");
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        let _ = self.target.end_of_stream();
    }

    fn keep_up_with(&self, now: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.keep_up_with(now) {
            SoundAction::Nothing => {}
            SoundAction::Gap => {
                // The gap begins now, not when the sound stopped: the muxer handles older data first, so it
                // writes the picture up to now and only then needs sound again.
                let now = gst::ClockTime::try_from(now).unwrap_or_default();
                let _ = self.target.push_buffer(gap(now));
            }
            SoundAction::End => {
                tracing::warn!(
                    "the sound has stopped: the MP4 continues without it (an .mkv would resume it)"
                );
                let _ = self.target.end_of_stream();
            }
        }
    }
}

/// What becomes an event at [`turn_into_gap`].
pub(super) fn gap(at: gst::ClockTime) -> gst::Buffer {
    let mut gap = gst::Buffer::new();
    let writable = gap.make_mut();
    writable.set_pts(at);
    writable.set_duration(gst::ClockTime::ZERO);
    writable.set_flags(gst::BufferFlags::GAP);
    gap
}

/// An appsrc cannot queue events between its buffers. So a gap is queued as an empty buffer with the GAP
/// flag, and becomes an event here, on the appsrc's thread.
pub(super) fn turn_into_gap(pad: &gst::Pad, info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
    let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
    if buffer.size() > 0 || !buffer.flags().contains(gst::BufferFlags::GAP) {
        return gst::PadProbeReturn::Ok;
    }
    if let Some(pts) = buffer.pts() {
        pad.push_event(gst::event::Gap::builder(pts).duration(buffer.duration()).build());
    }
    gst::PadProbeReturn::Handled
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn matroska_is_told_of_gaps_and_late_packets_are_left_out() {
        let mut known = SoundTimeline::new(MS(1000), Container::Mkv);
        assert_eq!(known.packet(MS(990), MS(20)), None, "before the first frame");
        assert!(known.packet(MS(1000), MS(20)).is_some());
        assert_eq!(known.keep_up_with(MS(3000)), SoundAction::Nothing, "it may still come");
        assert_eq!(known.keep_up_with(MS(3100)), SoundAction::Gap);
        assert_eq!(known.keep_up_with(MS(3140)), SoundAction::Nothing, "told already");
        assert_eq!(known.packet(MS(3080), MS(20)), None);
        assert!(known.packet(MS(3100), MS(20)).is_some(), "it is back");
        assert_eq!(known.keep_up_with(MS(3200)), SoundAction::Nothing);
    }

    #[test]
    fn packets_that_overlap_by_microseconds_are_kept() {
        let micros = Duration::from_micros;
        let mut known = SoundTimeline::new(MS(0), Container::Mkv);
        for n in 0..1000 {
            // 20 ms each, every third begins 50 µs early and every seventh 1 ms late.
            let at = micros(20_000 * n + 1000 * u64::from(n % 7 == 6) - 50 * u64::from(n % 3 == 2));
            assert_eq!(known.packet(at, MS(20)), Some(at), "packet {n}");
        }
        // One that begins before the one before begins right after it.
        let newest = known.newest.unwrap();
        let next = newest + Duration::from_nanos(1);
        assert_eq!(known.packet(newest - micros(10), MS(20)), Some(next));
        assert_eq!(known.packet(MS(3), MS(20)), None, "of another time");
    }

    #[test]
    fn sound_that_is_always_late_is_waited_for() {
        let mut known = SoundTimeline::new(MS(0), Container::Mkv);
        let mut lost = 0;
        for n in 0..1000 {
            // The sound of a time comes three seconds after its picture.
            let _ = known.keep_up_with(MS(20 * n + 3000));
            lost += usize::from(known.packet(MS(20 * n), MS(20)).is_none());
        }
        assert!(lost < 200, "{lost} of 1000 packets");
    }

    #[test]
    fn the_sound_of_an_mp4_ends_when_it_stays_away() {
        let mut known = SoundTimeline::new(MS(0), Container::Mp4);
        assert!(known.packet(MS(0), MS(20)).is_some());
        assert_eq!(known.keep_up_with(MS(7000)), SoundAction::Nothing);
        assert!(known.packet(MS(7000), MS(20)).is_some(), "a pause");
        assert_eq!(known.keep_up_with(MS(15_100)), SoundAction::End);
        assert_eq!(known.keep_up_with(MS(30_000)), SoundAction::Nothing);
        assert_eq!(known.packet(MS(30_000), MS(20)), None);
    }
}
