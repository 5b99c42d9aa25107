//! What all pipelines share: construction from a description, observation, and shutdown (state Null).

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::error::{ErrorKind, PipelineError};
use super::workarounds::may_reorder;
use super::{older_than, packages};
use crate::core::stop::StopSignal;
use crate::core::timeouts::{CLOSE_STOPPED, FIRST_FRAME_AFTER_READING, PREROLL, WaitTimer};

/// Which pipeline an [`Event`] comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineRole {
    /// The decoder of the picture.
    Source,
    /// The reader of the copied track of this number.
    Track(usize),
    /// Encoder and muxer; of a live run the output of this number.
    Sink(usize),
    /// What brings the index of a finished file to its front.
    Remux,
}

/// A thread of a run whose end is an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunThread {
    /// Runs the network.
    Worker,
    /// Hands stylized frames to encoders and outputs.
    Feeder,
}

/// What happens in a run: what its pipelines say, the end of its threads.
#[derive(Debug)]
pub enum Event {
    /// All data has passed through the last element (end of stream).
    End(PipelineRole),
    /// The pipeline failed and will deliver nothing more.
    Failed(PipelineRole, PipelineError),
    /// A recoverable error; the pipeline continues.
    Warning(PipelineRole, PipelineError),
    /// The source is lost, for this reason; it is being opened again.
    SourceLost(PipelineError),
    /// An attempt to open the lost source has failed.
    SourceAbsent(PipelineError),
    /// The source is back after this time.
    SourceReturned(Duration),
    /// A thread has ended; joining it returns its result.
    ThreadEnded(RunThread, ThreadEnd),
    /// The level of the stop signal has risen.
    StopRaised,
}

/// How a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadEnd {
    /// It returned.
    Returned,
    /// It panicked.
    Panicked,
}

/// A GStreamer pipeline that is brought to Null when dropped.
pub struct Pipeline {
    inner: gst::Pipeline,
    role: PipelineRole,
    /// If set, waits on this pipeline end early.
    stop: Option<StopSignal>,
}

impl Pipeline {
    /// Builds a pipeline from a description in `gst-launch` syntax; lines that begin with `#` are
    /// comments.
    ///
    /// # Errors
    /// When an element is missing (the error names its package) or the text does not parse.
    pub fn parse(role: PipelineRole, description: &str) -> Result<Self, PipelineError> {
        super::init()?;
        let lines = description.lines().filter(|line| !line.trim_start().starts_with('#'));
        let text = lines.collect::<Vec<_>>().join("\n");
        let mut context = gst::ParseContext::new();
        let parsed =
            gst::parse::launch_full(&text, Some(&mut context), gst::ParseFlags::FATAL_ERRORS);
        let element = parsed.map_err(|error| {
            // The parse context lists missing elements; other mistakes are described in the message.
            if error.matches(gst::ParseError::NoSuchElement)
                && let Some(missing) = context.missing_elements().first()
            {
                let remedy = packages::for_element(missing)
                    .map_or_else(String::new, |package| format!("; install {package}"));
                let text = format!("no GStreamer element '{missing}'{remedy}");
                return PipelineError::new(missing.as_str(), text)
                    .of_kind(ErrorKind::MissingPlugin);
            }
            PipelineError::new("pipeline", understood(error.message()))
        })?;
        let inner = element.downcast::<gst::Pipeline>().map_err(|_| {
            PipelineError::new("pipeline", "the description is one element, not a pipeline")
        })?;
        Ok(Pipeline { inner, role, stop: None })
    }

    /// The same pipeline, whose waits end when `stop` is set: with an error of
    /// [`ErrorKind::Stopped`].
    pub fn until(mut self, stop: &StopSignal) -> Self {
        self.stop = Some(stop.clone());
        self
    }

    fn check_stop(&self) -> Result<(), PipelineError> {
        match &self.stop {
            Some(stop) if stop.is_set() => Err(PipelineError::stopped()),
            _ => Ok(()),
        }
    }

    /// The pipeline itself.
    pub fn gst(&self) -> &gst::Pipeline {
        &self.inner
    }

    /// The element of this name.
    ///
    /// # Errors
    /// When the description has none.
    pub fn element(&self, name: &str) -> Result<gst::Element, PipelineError> {
        self.inner.by_name(name).ok_or_else(|| {
            PipelineError::new(name, format!("the pipeline has no element named '{name}'"))
        })
    }

    /// The element of this name, as what it must be (an `AppSink`, an `AppSrc`).
    ///
    /// # Errors
    /// When there is none, or it is something else.
    pub fn element_as<T: IsA<gst::Element>>(&self, name: &str) -> Result<T, PipelineError> {
        self.element(name)?.downcast::<T>().map_err(|element| {
            let is = element.type_();
            PipelineError::new(name, format!("'{name}' is a {is}, not a {}", T::static_type()))
        })
    }

    /// Requests a state without waiting for it.
    ///
    /// # Errors
    /// The error on the bus, when an element refuses.
    pub fn set_state(&self, state: gst::State) -> Result<(), PipelineError> {
        self.inner.set_state(state).map(drop).map_err(|_| self.failure())
    }

    /// The list of tracks that a file's demuxer posts.
    ///
    /// # Errors
    /// The pipeline's error, or that no list came in time.
    pub fn streams(&self, limit: Duration) -> Result<gst::StreamCollection, PipelineError> {
        let (bus, mut timer) = (self.inner.bus(), WaitTimer::new());
        while let Some(bus) = bus.as_ref().filter(|_| !timer.is_over(limit)) {
            self.check_stop()?;
            let message = bus.timed_pop(gst::ClockTime::from_mseconds(50));
            match message.as_ref().map(|m| m.view()) {
                Some(gst::MessageView::StreamCollection(list)) => {
                    return Ok(list.stream_collection());
                }
                Some(gst::MessageView::Error(e)) => return Err(PipelineError::from_message(e)),
                _ => {}
            }
        }
        Err(PipelineError::new("parsebin", "cannot list the tracks"))
    }

    /// Whether the pipeline contains an element of this factory.
    pub(super) fn has(&self, factory: &str) -> bool {
        let elements = self.inner.iterate_recurse().into_iter().flatten();
        elements.filter_map(|element| element.factory()).any(|found| found.name() == factory)
    }

    /// Waits until every sink has its first buffer, or the end of its stream.
    ///
    /// # Errors
    /// The first error (a missing plugin takes precedence over its consequences), or a timeout.
    pub fn wait_prerolled(&self, limit: Duration) -> Result<(), PipelineError> {
        self.wait(limit, &|| false)
    }

    /// The same, but also returns as soon as `there` returns true.
    ///
    /// # Errors
    /// As above.
    pub fn wait(&self, limit: Duration, there: &dyn Fn() -> bool) -> Result<(), PipelineError> {
        let (mut timer, mut missing, mut idle) = (WaitTimer::new(), None, WaitTimer::new());
        let Some(bus) = self.inner.bus() else { return Ok(()) };
        while !timer.is_over(limit) {
            self.check_stop()?;
            let message = bus.timed_pop(gst::ClockTime::from_mseconds(5));
            match message.as_ref().map(|m| m.view()) {
                Some(gst::MessageView::Error(error)) => {
                    return Err(missing.unwrap_or_else(|| PipelineError::from_message(error)));
                }
                Some(gst::MessageView::Element(element)) => {
                    let found = element.structure().and_then(PipelineError::from_missing_plugin);
                    missing = missing.or(found);
                }
                _ => {}
            }
            // The state is asked, not read off the bus: after a seek the bus may still hold the
            // message of the state before.
            let (result, current, _) = self.inner.state(gst::ClockTime::ZERO);
            if there()
                || result == Ok(gst::StateChangeSuccess::Success) && current >= gst::State::Paused
            {
                return Ok(());
            }
            if message.is_some() || !self.reading_ended() {
                idle.renew();
            } else if idle.is_over(FIRST_FRAME_AFTER_READING) {
                let text = "it is damaged: nothing in it can be played";
                return Err(missing.unwrap_or_else(|| {
                    PipelineError::new("demuxer", text).of_kind(ErrorKind::Damaged)
                }));
            }
        }
        Err(PipelineError::new("pipeline", format!("nothing arrived within {} s", limit.as_secs())))
    }

    /// Whether the pipeline has demuxers that read a file, and all of them have stopped. decodebin (1.22 to
    /// 1.26) drops a demuxer's error that occurs while it is being linked; then no further message arrives.
    pub(super) fn reading_ended(&self) -> bool {
        let (mut readers, mut ended) = (0, 0);
        for element in demuxers(&self.inner) {
            for pad in element.sink_pads().iter().filter(|pad| pad.mode() == gst::PadMode::Pull) {
                readers += 1;
                ended += usize::from(pad.task_state() != gst::TaskState::Started);
            }
        }
        readers > 0 && readers == ended
    }

    /// Waits for the end of stream at the last element.
    ///
    /// # Errors
    /// The first error, or a timeout.
    pub fn wait_end(&self, limit: Duration) -> Result<(), PipelineError> {
        let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
        let limit_ns = gst::ClockTime::try_from(limit).unwrap_or(gst::ClockTime::MAX);
        let message = self.inner.bus().and_then(|b| b.timed_pop_filtered(limit_ns, &wanted));
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Error(error)) => Err(PipelineError::from_message(error)),
            Some(_) => Ok(()),
            None => {
                let text = format!("it did not end within {} s", limit.as_secs());
                Err(PipelineError::new("pipeline", text))
            }
        }
    }

    /// The error that is queued on the bus (a missing plugin takes precedence over its consequences);
    /// messages before it are discarded.
    pub(super) fn pending_error(&self) -> Option<PipelineError> {
        let bus = self.inner.bus()?;
        let mut missing = None;
        while let Some(message) = bus.pop() {
            match message.view() {
                gst::MessageView::Error(error) => {
                    return missing.or_else(|| Some(PipelineError::from_message(error)));
                }
                gst::MessageView::Element(element) => {
                    let found = element.structure().and_then(PipelineError::from_missing_plugin);
                    missing = missing.or(found);
                }
                _ => {}
            }
        }
        None
    }

    /// The error that waits on the bus, or a general one.
    pub(super) fn failure(&self) -> PipelineError {
        self.pending_error()
            .unwrap_or_else(|| PipelineError::new("pipeline", "the pipeline could not start"))
    }

    /// From now on sends bus messages to `events`, on the thread that posts them.
    pub fn forward(&self, events: Sender<Event>) {
        let Some(bus) = self.inner.bus() else { return };
        let role = self.role;
        // The channel is only used inside; a `Mutex` is not needed since `Sender` is `Sync`.
        let send = move |message: &gst::Message| {
            let event = match message.view() {
                gst::MessageView::Eos(_) => Event::End(role),
                gst::MessageView::Error(e) => Event::Failed(role, PipelineError::from_message(e)),
                gst::MessageView::Warning(warning) => {
                    let src = warning.src().map_or_else(String::new, |s| s.name().to_string());
                    let mut error = PipelineError::new(src, warning.error().message());
                    error.debug = warning.debug().map(|d| d.to_string());
                    Event::Warning(role, error)
                }
                _ => return,
            };
            // Nobody listens any more once the run is over.
            let _ = events.send(event);
        };
        let earlier = send.clone();
        bus.set_sync_handler(move |_, message| {
            send(message);
            gst::BusSyncReply::Drop
        });
        while let Some(message) = bus.pop() {
            earlier(&message);
        }
    }

    /// How long the media is, where the container says.
    pub fn duration(&self) -> Option<Duration> {
        self.inner.query_duration::<gst::ClockTime>().map(Duration::from)
    }

    /// Goes exactly to `start`, counted from where the file begins (see [`Pipeline::origin`]); running time then
    /// begins at zero there. To the beginning when none.
    /// The pipeline must be prerolled.
    ///
    /// No stop position is set; the consumer of the packets ends the span. qtdemux (1.22) would stop too
    /// early (see `mp4_duration`) and leave out the packet that contains the end.
    ///
    /// # Errors
    /// When the media cannot be sought.
    pub fn seek(&self, start: Option<Duration>) -> Result<(), PipelineError> {
        self.seek_at(self.inner.upcast_ref(), start)?;
        self.wait_prerolled(PREROLL)
    }

    /// The same through one element of the pipeline, which alone is seeked; does not wait.
    ///
    /// # Errors
    /// When the media cannot be sought.
    pub fn seek_at(
        &self,
        element: &gst::Element,
        start: Option<Duration>,
    ) -> Result<(), PipelineError> {
        self.play_beyond_duration();
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        let Some(start) = start else {
            // A file without an index may not be seekable; then its timestamps stay as they are.
            if self.restarts_timestamps() {
                let _ = element.seek_simple(flags, gst::ClockTime::ZERO);
            }
            return Ok(());
        };
        let start = gst::ClockTime::try_from(start).ok();
        let start = start
            .and_then(|start| self.origin(element).checked_add(start))
            .ok_or_else(|| PipelineError::new("seek", "the time is out of range"))?;
        let (set, none) = (gst::SeekType::Set, gst::SeekType::None);
        element
            .seek(1.0, flags, set, start, none, gst::ClockTime::NONE)
            .map_err(|_| PipelineError::new("seek", "cannot seek in this file"))
    }

    /// Makes demuxers read to the end of the file. After a seek they (1.22 to 1.26, at least) stop at the
    /// duration that the container states, and decoders drop frames from there on: the last frame, if the
    /// stated duration leaves out how long it lasts (FFmpeg 7 writes such Matroska files of a variable rate),
    /// or more, if the duration is wrong. qtdemux is excluded: its segments end where edit lists say.
    fn play_beyond_duration(&self) {
        let named = |element: &gst::Element| element.factory().map(|factory| factory.name());
        for element in demuxers(&self.inner).filter(|e| named(e).is_some_and(|n| n != "qtdemux")) {
            for pad in element.src_pads() {
                pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, without_stop);
            }
        }
    }

    /// What the file, or its demuxer, calls the time at which it begins, which is that of running time zero when
    /// nothing is sought: a transport stream or FLV may begin at any time. Of what comes into `element`, or into
    /// the sink where that is the pipeline.
    pub(super) fn origin(&self, element: &gst::Element) -> gst::ClockTime {
        // It counts from the first packet, but its first segment is of another opinion.
        if self.has("matroskademux") {
            return gst::ClockTime::ZERO;
        }
        let sink = match element.downcast_ref::<gst::Pipeline>() {
            Some(pipeline) => pipeline.iterate_sinks().into_iter().flatten().next(),
            None => Some(element.clone()),
        };
        let segment = sink
            .and_then(|sink| sink.static_pad("sink"))
            .and_then(|pad| pad.sticky_event::<gst::event::Segment>(0));
        let times = segment.and_then(|event| {
            let times = event.segment().downcast_ref::<gst::ClockTime>()?.clone();
            times.time().map(|time| time.saturating_sub(times.base().unwrap_or_default()))
        });
        times.unwrap_or_default()
    }

    /// Whether a frame of this file can be sought: not where nothing says when which frame is shown. mpegpsdemux
    /// goes by the bit rate, a stream without a container likewise; avidemux (1.22 to 1.26) calls the time at
    /// which a key frame is stored that at which it is shown (`-c:v mpeg4 -bf 2 x.avi`: two frames too late).
    pub(super) fn seeks_frames(&self) -> bool {
        let names = |pad: gst::Pad| {
            pad.current_caps().and_then(|c| Some(c.structure(0)?.name().to_string()))
        };
        let mut demuxers = demuxers(&self.inner).peekable();
        demuxers.peek().is_some()
            && !self.seeks_by_bitrate()
            && !demuxers.filter(|e| e.factory().is_some_and(|f| f.name() == "avidemux")).any(
                |avi| avi.src_pads().into_iter().filter_map(names).any(|name| may_reorder(&name)),
            )
    }

    /// Whether seeking to `start` is unreliable in this file: mpegpsdemux (1.22 to 1.26) guesses the position
    /// from the bit rate and reports it as exact (`--start` in a .vob gave 2 frames of 25).
    pub(super) fn seeks_by_bitrate(&self) -> bool {
        self.has("mpegpsdemux")
    }

    /// Whether seeks may go too far: tsdemux (1.22 to 1.26) guesses positions from the clock references that it has read.
    pub(super) fn guesses_positions(&self) -> bool {
        self.has("tsdemux")
    }

    /// Instead of seeking, reads from the beginning and drops at `element` all that ends before `start`;
    /// running time then starts at zero there. Does not wait.
    ///
    /// # Errors
    /// When the file cannot be read from its beginning.
    pub(super) fn read_up_to(
        &self,
        element: &gst::Element,
        start: Duration,
    ) -> Result<(), PipelineError> {
        let (Some(sink), Some(src)) = (element.static_pad("sink"), element.static_pad("src"))
        else {
            return Ok(());
        };
        let segment = Mutex::new(gst::FormattedSegment::<gst::ClockTime>::new());
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        sink.add_probe(kinds, move |_, info| {
            let mut segment = segment.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(event) = info.event()
                && let gst::EventView::Segment(found) = event.view()
                && let Some(found) = found.segment().downcast_ref::<gst::ClockTime>()
            {
                *segment = found.clone();
            }
            let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
            let length = buffer.duration().unwrap_or_default();
            let ends =
                buffer.pts().and_then(|pts| segment.to_running_time(pts)).map(|at| at + length);
            // Tolerates rounding.
            match ends.is_some_and(|ends| Duration::from(ends) <= start + Duration::from_micros(1))
            {
                true => gst::PadProbeReturn::Handled,
                false => gst::PadProbeReturn::Ok,
            }
        });
        src.set_offset(-i64::try_from(start.as_nanos()).unwrap_or(i64::MAX));
        element
            .seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO)
            .map_err(|_| PipelineError::new("seek", "cannot seek in this file"))
    }

    /// Whether timestamps start again after a seek. matroskademux (before 1.26) counts from the first packet
    /// it finds, and changes that origin when another track's packet turns out to be earlier, so that tracks
    /// would have different origins. After a seek it counts from zero.
    pub(super) fn restarts_timestamps(&self) -> bool {
        if !older_than(1, 26) {
            return false;
        }
        let elements = self.inner.iterate_recurse().into_iter().flatten();
        let mut factories = elements.filter_map(|element| element.factory());
        factories.any(|factory| factory.name() == "matroskademux")
    }

    /// The pipeline as a Graphviz graph, without users and passwords.
    pub fn dot(&self) -> String {
        super::graph::dot(&self.inner)
    }
}

/// The elements of a pipeline that take a file apart.
pub(super) fn demuxers(pipeline: &gst::Pipeline) -> impl Iterator<Item = gst::Element> + use<> {
    let elements = pipeline.iterate_recurse().into_iter().flatten();
    elements.filter(|element| {
        let kind = element.factory().and_then(|f| f.metadata("klass").map(|k| k.to_owned()));
        kind.is_some_and(|kind| kind.contains("Demux"))
    })
}

/// Lets a decodebin skip the decoders for whose names `skipped` returns true.
pub(super) fn skip_decoders(
    decode: &gst::Element,
    skipped: impl Fn(&str) -> bool + Send + Sync + 'static,
) {
    decode.connect("autoplug-select", false, move |args| {
        let name = args.get(3)?.get::<gst::ElementFactory>().ok()?.name();
        let answers = gst::glib::Type::from_name("GstAutoplugSelectResult")?;
        let answer = if skipped(&name) { "skip" } else { "try" };
        gst::glib::EnumClass::with_type(answers)?.to_value_by_nick(answer)
    });
}

/// Removes the stop position from a segment event that passes.
fn without_stop(_: &gst::Pad, info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
    if let Some(gst::PadProbeData::Event(event)) = &mut info.data
        && let gst::EventView::Segment(segment) = event.view()
        && let Some(times) = segment.segment().downcast_ref::<gst::ClockTime>()
        && times.stop().is_some()
    {
        let mut open = times.clone();
        open.set_stop(gst::ClockTime::NONE);
        *event = gst::event::Segment::builder(&open).seqnum(event.seqnum()).build();
    }
    gst::PadProbeReturn::Ok
}

/// The parser's error message, reworded for the author of the description.
fn understood(message: &str) -> String {
    match message.trim_end_matches('.') {
        "syntax error" => "it is not a GStreamer description (as for gst-launch-1.0)".to_owned(),
        "empty pipeline not allowed" => "the description is empty".to_owned(),
        other => other.to_owned(),
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(bus) = self.inner.bus() {
            bus.unset_sync_handler();
        }
        // This also unblocks threads that wait in an appsrc or for an appsink of this pipeline.
        let pipeline = self.inner.clone();
        let close = move || {
            let _ = pipeline.set_state(gst::State::Null);
        };
        if self.check_stop().is_ok() {
            return close();
        }
        // Nothing wakes a thread that reads a pipe or a disk that does not answer. After a stop, waiting for
        // it has a limit.
        let (closed, heard) = channel();
        let close = move || {
            close();
            let _ = closed.send(());
        };
        if std::thread::Builder::new().name("close".into()).spawn(close).is_ok() {
            let _ = heard.recv_timeout(CLOSE_STOPPED);
        }
    }
}
