//! Remuxes a finished MP4 with its index in front, so that web players can start at once.
//!
//! mp4mux (GStreamer 1.22 to 1.26) writes either a file that is playable while it grows or one with its
//! index in front, not both; so a finished file is muxed once more, without encoding.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::capture_metadata;
use super::edit_list::{extend_edits, hide_leads, set_enabled_and_groups};
use super::encoder::with_chroma_site;
use super::error::PipelineError;
use super::matroska::Flags;
use super::muxer::{muxer, timescale};
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::workarounds::{change_caps, open_file};
use crate::core::encoding::Container;
use crate::core::timeouts::{REMUX_STALLED, TICK, WaitTimer};

/// The tracks of a file beside its picture, in their order.
pub type TrackLayout = Vec<Track>;

/// A track of a finished file.
#[derive(Debug, Clone)]
pub struct Track {
    /// Template name of the muxer's pads for this track (`audio_%u`).
    pub(super) pad: &'static str,
    /// How much of the track's beginning must be hidden from playback.
    pub(super) lead: Duration,
    /// When it is played; none: the muxer's default.
    pub(super) flags: Option<Flags>,
    /// End of the track, if the picture ended early: the muxer may already have taken later packets.
    pub(super) end: Option<Duration>,
    /// Nothing of it was written.
    pub(super) empty: bool,
}

impl Track {
    /// A sound track without a hidden beginning.
    pub const SOUND: Self =
        Track { pad: "audio", lead: Duration::ZERO, flags: None, end: None, empty: false };

    /// When it is played.
    pub fn flags(&self) -> Flags {
        self.flags.clone().unwrap_or(Flags { default: true, ..Flags::default() })
    }
}

/// Muxes the finished `from`, which holds one video and the tracks of `layout`, into `to`, and waits
/// for that.
///
/// # Errors
/// When there is no room, or the file cannot be read; `to` is then removed and `from` still whole.
pub fn index_to_front(
    from: &Path,
    to: &Path,
    container: Container,
    layout: &[Track],
) -> Result<(), PipelineError> {
    let (events, heard) = channel();
    let remux = Remux::start(RemuxFiles::new(from, to, layout), container, events)?;
    let (mut timer, mut written) = (WaitTimer::new(), 0);
    let result = loop {
        match heard.recv_timeout(TICK) {
            Ok(Event::End(_)) => break Ok(()),
            Ok(Event::Failed(_, error)) => break Err(error),
            Ok(_) | Err(_) => {}
        }
        if written < remux.written() {
            written = remux.written();
            timer.renew();
        }
        if timer.is_over(REMUX_STALLED) {
            break Err(Remux::stalled());
        }
    };
    remux.finish(result)
}

/// The files of a remux.
#[derive(Debug, Clone)]
pub struct RemuxFiles {
    from: PathBuf,
    to: PathBuf,
    /// Temporary file in which the muxer collects the media data. It lies beside the output: the system's
    /// temporary folder may be small or in memory.
    scratch: PathBuf,
    layout: TrackLayout,
}

impl RemuxFiles {
    /// The files for remuxing the finished `from`, which holds one video track and the tracks of `layout`, to
    /// `to`.
    pub fn new(from: &Path, to: &Path, layout: &[Track]) -> Self {
        let scratch = to.with_extension("mdat");
        RemuxFiles { from: from.to_owned(), to: to.to_owned(), scratch, layout: layout.to_vec() }
    }

    /// Removes the new file. The old one stays, and the hidden beginnings of its tracks are set there.
    pub fn give_up(&self) {
        let _ = std::fs::remove_file(&self.scratch);
        let _ = std::fs::remove_file(&self.to);
        let tracks: Vec<&Track> = self.layout.iter().collect();
        let _ = complete_tracks(&self.from, &tracks);
    }

    fn complete(&self) -> Result<(), PipelineError> {
        // mp4mux removes its scratch file itself when all goes well.
        let _ = std::fs::remove_file(&self.scratch);
        let tracks: Vec<&Track> = self.layout.iter().filter(|track| !track.empty).collect();
        complete_tracks(&self.to, &tracks)
    }
}

/// Sets the hidden beginnings and the flags of the tracks after the video track.
fn complete_tracks(path: &Path, tracks: &[&Track]) -> Result<(), PipelineError> {
    let leads = std::iter::once(Duration::ZERO).chain(tracks.iter().map(|track| track.lead));
    extend_edits(path)
        .and_then(|()| hide_leads(path, &leads.collect::<Vec<_>>()))
        .map_err(|error| PipelineError::new("edit list", error.to_string()))?;
    // Tracks of one kind form a group if there are several; players play one of a group.
    let several = |pad| tracks.iter().filter(|track| track.pad == pad).count() > 1;
    let groups = [several("audio"), several("subtitle")];
    let group = |track: &Track| match track.pad {
        "audio" => u16::from(groups[0]),
        _ => 2 * u16::from(groups[1]),
    };
    // If no sound track were enabled by default, players would be silent.
    let silent = !tracks.iter().any(|track| track.pad == "audio" && track.flags().default);
    let first = tracks.iter().position(|track| track.pad == "audio").filter(|_| silent);
    let default = |n, track: &Track| track.flags().default || first == Some(n);
    let others = tracks.iter().enumerate().map(|(n, track)| (default(n, track), group(track)));
    let all: Vec<_> = std::iter::once((true, 0)).chain(others).collect();
    set_enabled_and_groups(path, &all)
        .and_then(|()| capture_metadata::put_into(path))
        .map_err(|error| PipelineError::new("tracks", error.to_string()))
}

/// A remux that is running.
pub struct Remux {
    pipeline: Pipeline,
    files: RemuxFiles,
    /// Approximate total of bytes to write: all data once to the scratch file and once behind the index.
    total: u64,
}

impl Remux {
    /// Starts the remux; its end and its failures are sent to `events` with [`PipelineRole::Remux`].
    ///
    /// # Errors
    /// When it cannot start; the new file is then removed.
    pub fn start(
        files: RemuxFiles,
        container: Container,
        events: Sender<Event>,
    ) -> Result<Self, PipelineError> {
        // What the edit list does not show would not be read, so edits are extended first.
        let _ = extend_edits(&files.from);
        let started = start(&files, container, events);
        let pipeline = started.inspect_err(|_| files.give_up())?;
        let total = 2 * length(&files.from);
        Ok(Remux { pipeline, files, total })
    }

    /// Bytes that are written so far.
    pub fn written(&self) -> u64 {
        length(&self.files.scratch) + length(&self.files.to)
    }

    /// How much of it is done, 0–1.
    pub fn share(&self) -> f64 {
        // The scratch file is complete once data is written behind the index.
        let behind_index = length(&self.files.to);
        let collected = length(&self.files.scratch);
        let done = if behind_index > 0 { self.total / 2 + behind_index } else { collected };
        (done as f64 / self.total.max(1) as f64).min(1.0)
    }

    /// Ends the remux with the result of its pipeline: the new file is then complete, or removed.
    ///
    /// # Errors
    /// `result`, or that the new file cannot be completed.
    pub fn finish(self, result: Result<(), PipelineError>) -> Result<(), PipelineError> {
        let Remux { pipeline, files, .. } = self;
        drop(pipeline);
        result.and_then(|()| files.complete()).inspect_err(|_| files.give_up())
    }

    /// The error of a remux that makes no progress.
    pub fn stalled() -> PipelineError {
        let text = format!("nothing was written for {} s", REMUX_STALLED.as_secs());
        PipelineError::new("mux", text)
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

fn start(
    files: &RemuxFiles,
    container: Container,
    events: Sender<Event>,
) -> Result<Pipeline, PipelineError> {
    let RemuxFiles { from, to, scratch, layout } = files;
    let mut description =
        format!("{} name=mux faststart=true ! filesink name=file\n", muxer(container));
    let tracks = layout.iter().enumerate().filter(|(_, track)| !track.empty);
    // The video track has id 1; the other ids follow the order of the muxer's pads.
    let others = tracks.map(|(n, track)| (n + 2, track.pad, track.end));
    let tracks: Vec<_> = std::iter::once((1, "video", None)).chain(others).collect();
    for (id, pad, _) in &tracks {
        // A demuxer for each track: with one for all, the muxer waits for one track while the
        // demuxer waits for room in another, whenever a fragment is longer than a queue.
        description += &format!(
            "filesrc name=src_{id} ! qtdemux name=demux_{id}\nqueue name=track_{id} ! mux.{pad}_%u\n"
        );
    }
    let pipeline = Pipeline::parse(PipelineRole::Remux, &description)?;
    for (id, pad, end) in &tracks {
        open_file(&pipeline.element(&format!("src_{id}"))?, from);
        let track = pipeline.element(&format!("track_{id}"))?;
        if let Some(out) = track.static_pad("src").filter(|_| *pad == "subtitle") {
            begin_at_zero(&out, *end);
        }
        if let (Some(out), "video") = (track.static_pad("src"), *pad) {
            with_chroma_site(&out);
            keep_times(&out);
        }
        let track = track.downgrade();
        let wanted = format!("/{id:03}");
        pipeline.element(&format!("demux_{id}"))?.connect_pad_added(move |_, pad| {
            with_layer(pad);
            // A failure to link ends the demuxer with an error.
            if pad.stream_id().is_some_and(|stream| stream.ends_with(&wanted))
                && let Some(input) = track.upgrade().and_then(|track| track.static_pad("sink"))
            {
                let _ = pad.link(&input);
            }
        });
    }
    pipeline.element("file")?.set_property("location", to);
    pipeline.element("mux")?.set_property("faststart-file", scratch);
    pipeline.forward(events);
    pipeline.set_state(gst::State::Playing)?;
    Ok(pipeline)
}

/// Adds the layer to the caps of MPEG-1 audio: qtdemux (1.22 to 1.26) leaves it out, and mp4mux requires it;
/// MP4 itself does not tell the three layers apart.
fn with_layer(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        change_caps(info, |format| {
            let mpeg1 = format.name() == "audio/mpeg" && format.get("mpegversion") == Ok(1);
            let unsaid = mpeg1 && !format.has_field("layer");
            if unsaid {
                format.set("layer", 3);
            }
            unsaid
        })
    });
}

/// Keeps the timescale of the first file, and gives the last frame the duration of the one before: in a
/// fragmented file mp4mux (1.22) writes one tick.
fn keep_times(pad: &gst::Pad) {
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    let usual = Mutex::new(gst::ClockTime::ZERO);
    pad.add_probe(kinds, move |pad, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Caps(caps) = event.view()
            && let Some(mux) = pad.peer().filter(|mux| mux.has_property("trak-timescale"))
        {
            let rate = caps.structure().and_then(|s| s.get::<gst::Fraction>("framerate").ok());
            let rate = rate.filter(|rate| rate.numer() > 0).map(|r| (r.numer(), r.denom()));
            mux.set_property("trak-timescale", timescale(rate));
        }
        if let Some(buffer) = info.buffer_mut() {
            let mut usual = usual.lock().unwrap_or_else(PoisonError::into_inner);
            match buffer.duration().filter(|d| *d >= gst::ClockTime::MSECOND) {
                Some(duration) => *usual = duration,
                None if !usual.is_zero() => buffer.make_mut().set_duration(*usual),
                None => {}
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// Inserts an empty subtitle from time zero to the first one. Players that take the track's duration as the
/// end of the last subtitle (ffmpeg) would otherwise cut it short by the late start. Subtitles that begin at
/// `end` or later are dropped.
fn begin_at_zero(pad: &gst::Pad, end: Option<Duration>) {
    let segment = Mutex::new(gst::FormattedSegment::<gst::ClockTime>::new());
    let begun = AtomicBool::new(false);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |pad, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Segment(found) = event.view()
            && let Some(found) = found.segment().downcast_ref::<gst::ClockTime>()
        {
            *segment.lock().unwrap_or_else(PoisonError::into_inner) = found.clone();
            let plain = gst::FormattedSegment::<gst::ClockTime>::new();
            info.data = Some(gst::PadProbeData::Event(gst::event::Segment::new(&plain)));
        }
        // The empty one is inserted below; empty buffers pass.
        if let Some(buffer) = info.buffer_mut().filter(|buffer| buffer.size() > 0) {
            let segment = segment.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let at = buffer.pts().and_then(|pts| segment.to_running_time(pts));
            if let (Some(at), Some(end)) = (at, end)
                && Duration::from(at) >= end
            {
                return gst::PadProbeReturn::Handled;
            }
            let writable = buffer.make_mut();
            writable.set_pts(at);
            writable.set_dts(at);
            if !begun.swap(true, Ordering::AcqRel)
                && let Some(at) = at.filter(|at| !at.is_zero())
            {
                let mut nothing = gst::Buffer::new();
                let writable = nothing.make_mut();
                writable.set_pts(gst::ClockTime::ZERO);
                writable.set_dts(gst::ClockTime::ZERO);
                writable.set_duration(at);
                // This push passes through the same probe. If it fails, the next push reports the error.
                let _ = pad.push(nothing);
            }
        }
        gst::PadProbeReturn::Ok
    });
}
