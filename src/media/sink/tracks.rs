//! The tracks of a file that are not its picture.

use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::error::PipelineError;
use super::super::pipeline::Event;
use super::super::remux::{Layout, Track};
use super::super::tracks::{Reader, TrackLimit, Tracks, name_of, write_about};
use super::VideoSink;

/// A track that is being written.
pub(super) struct OutputTrack {
    pads: &'static str,
    /// Where its packets go in.
    target: gst_app::AppSrc,
    /// Which reader's it is ([`Role::Track`](super::super::Role)): a track that the muxer refuses has a
    /// number, too.
    number: usize,
    /// Who reads it, in a file; live sound comes by itself.
    reader: Option<Reader>,
}

impl OutputTrack {
    /// How much of its beginning is not to be presented.
    fn lead(&self) -> Duration {
        self.reader.as_ref().map(|reader| reader.lead).unwrap_or_default()
    }

    fn begins_unheard(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.begins_unheard)
    }
}

const AUDIO: &str = "audio_%u";
const SUBTITLE: &str = "subtitle_%u";

impl VideoSink {
    /// Makes room for the tracks of a file; one that the muxer refuses is told in the notes.
    pub(super) fn take_tracks(&mut self, tracks: Tracks) -> Result<(), PipelineError> {
        let mux = self.pipeline.element("mux")?;
        write_about(&mux, tracks.tags.as_ref(), tracks.toc.as_ref());
        for (number, reader) in tracks.readers.into_iter().enumerate() {
            let pads = if reader.is_sound() { AUDIO } else { SUBTITLE };
            match self.add_track(&reader.caps, "identity", pads, reader.tags.as_ref()) {
                Ok(target) => {
                    self.tracks.push(OutputTrack { pads, target, number, reader: Some(reader) });
                }
                Err(error) => {
                    let name = name_of(&reader.caps);
                    self.notes.push(format!("a track ({name}) is left out: {error}"));
                }
            }
        }
        Ok(())
    }

    /// Where the container cannot hide how a track begins, it begins with that, and all others are as
    /// much later: a fraction of a packet, and in sync.
    pub(super) fn make_room(&self) {
        let hidden =
            self.tracks.iter().all(|track| track.lead().is_zero() || track.begins_unheard());
        let most = self.tracks.iter().map(OutputTrack::lead).filter(|_| !hidden).max();
        let most = signed(most.unwrap_or_default());
        let others = self.tracks.iter().map(|track| (&track.target, track.lead()));
        for (input, lead) in others.chain([(&self.frames, Duration::ZERO)]) {
            let Some(pad) = input.static_pad("src") else { continue };
            pad.set_offset(most - signed(lead));
            if hidden && !lead.is_zero() {
                begin_at(&pad, gst::ClockTime::try_from(lead).unwrap_or_default());
            }
        }
    }

    /// Lets the readers of all tracks go.
    pub(super) fn start_tracks(&mut self, events: &Sender<Event>) {
        for track in &mut self.tracks {
            if let Some(reader) = &mut track.reader
                && let Err(error) = reader.start(&track.target, events.clone())
            {
                self.notes.push(format!("a track is left out: {error}"));
                let _ = track.target.end_of_stream();
            }
        }
    }

    /// Makes room for live sound, which goes through these elements; where its packets go in.
    pub(in super::super) fn add_sound(
        &mut self,
        caps: &gst::Caps,
        through: &str,
    ) -> Result<gst_app::AppSrc, PipelineError> {
        let target = self.add_track(caps, through, AUDIO, None)?;
        let track = target.parent().and_downcast::<gst::Bin>();
        if let Some(pad) = track.and_then(|track| track.static_pad("src")) {
            only_with_time(&pad);
        }
        let number = self.tracks.len();
        self.tracks.push(OutputTrack { pads: AUDIO, target: target.clone(), number, reader: None });
        Ok(target)
    }

    fn add_track(
        &mut self,
        caps: &gst::Caps,
        through: &str,
        pads: &'static str,
        tags: Option<&gst::TagList>,
    ) -> Result<gst_app::AppSrc, PipelineError> {
        let mux = self.pipeline.element("mux")?;
        // A packet is a few hundred bytes: 64 KiB are seconds of sound.
        let description =
            format!("appsrc name=packets format=time block=true max-bytes=65536 ! {through}");
        let bin = gst::parse::bin_from_description(&description, true)
            .map_err(|e| PipelineError::new("track", e.message()))?;
        let target = bin.by_name("packets").and_downcast::<gst_app::AppSrc>();
        let target = target.ok_or_else(|| PipelineError::new("track", "no packets element"))?;
        target.set_caps(Some(caps));
        self.pipeline
            .gst()
            .add(&bin)
            .map_err(|_| PipelineError::new("mux", "cannot add the track"))?;
        let pad = mux.request_pad_simple(pads);
        let linked = match (bin.static_pad("src"), &pad) {
            // A format that is refused only when it comes would end the whole file.
            (Some(_), Some(to)) if through == "identity" && !to.query_accept_caps(caps) => {
                Err(PipelineError::new("mux", "the container does not support this format"))
            }
            (Some(from), Some(to)) => {
                if let Some(tags) = tags {
                    tag(&from, tags.clone());
                }
                from.link(to).map(drop).map_err(|e| PipelineError::new("mux", e.to_string()))
            }
            _ => Err(PipelineError::new("mux", "the container does not support this track")),
        };
        if linked.is_err() {
            let _ = self.pipeline.gst().remove(&bin);
            if let Some(pad) = pad {
                mux.release_request_pad(&pad);
            }
        }
        linked.map(|()| target)
    }

    /// Handles that end the tracks early.
    pub fn limits(&self) -> Vec<TrackLimit> {
        self.tracks.iter().filter_map(|track| track.reader.as_ref()).map(Reader::limit).collect()
    }

    /// Ends the track of a reader that failed; the others go on.
    pub fn end_track(&self, number: usize) {
        if let Some(track) = self.tracks.iter().find(|track| track.number == number) {
            let _ = track.target.end_of_stream();
        }
    }

    /// Which tracks there are beside the picture.
    pub fn layout(&self) -> Layout {
        let track = |track: &OutputTrack| Track {
            pad: if track.pads == AUDIO { "audio" } else { "subtitle" },
            lead: track.lead(),
            flags: track.reader.as_ref().map(|reader| reader.flags.clone()),
            end: track.reader.as_ref().and_then(Reader::end),
            empty: track.reader.as_ref().is_some_and(Reader::is_empty),
        };
        self.tracks.iter().map(track).collect()
    }
}

/// Leaves out packets that have no time in the file: muxers (qtmux 1.26) end the file with an error.
fn only_with_time(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
        let Some(pts) = info.buffer().and_then(|buffer| buffer.pts()) else {
            return gst::PadProbeReturn::Handled;
        };
        let event = pad.sticky_event::<gst::event::Segment>(0);
        let segment = event.as_ref().and_then(|e| e.segment().downcast_ref::<gst::ClockTime>());
        match segment {
            Some(segment) if segment.to_running_time(pts).is_none() => gst::PadProbeReturn::Handled,
            _ => gst::PadProbeReturn::Ok,
        }
    });
}

fn signed(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Gives the first packet this time.
fn begin_at(pad: &gst::Pad, time: gst::ClockTime) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(packet) = info.buffer_mut() {
            let writable = packet.make_mut();
            writable.set_pts(time);
            writable.set_dts(time);
        }
        gst::PadProbeReturn::Remove
    });
}

/// Sends the tags of a track before its first packet.
fn tag(pad: &gst::Pad, tags: gst::TagList) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
        pad.push_event(gst::event::Tag::new(tags.clone()));
        gst::PadProbeReturn::Remove
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::core::encoding::{Container, Encoding};
    use crate::core::span::Span;
    use crate::core::stop::StopSignal;
    use crate::media::sink::NewFile;
    use crate::media::video::VideoStream;

    #[test]
    fn a_reader_that_fails_ends_its_own_track_though_one_before_it_was_refused() {
        crate::media::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.mkv");
        let bunny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bigbuckbunny.mp4");
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(bunny);
        ffmpeg.args(["-t", "1", "-map", "0:a", "-map", "0:a", "-map", "0:a", "-c", "copy"]);
        assert!(ffmpeg.arg(&input).status().unwrap().success());
        let mut tracks =
            Tracks::open(&input, Span::default(), Container::Mkv, true, &StopSignal::default());
        assert_eq!(tracks.readers.len(), 3);
        tracks.readers[0].caps = gst::Caps::new_empty_simple("audio/x-that-no-muxer-takes");

        let caps = "video/x-raw,format=I420,width=64,height=64,framerate=25/1";
        let stream = VideoStream::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
        let encoding = Encoding::default();
        let output = folder.path().join("out.mkv");
        let (path, container) = (output.as_path(), Container::Mkv);
        let file = NewFile { path, container, encoding: &encoding, stream: &stream };
        let mut sink = VideoSink::build(file, 0).unwrap();
        sink.take_tracks(tracks).unwrap();
        assert!(sink.notes()[0].contains("left out"), "{:?}", sink.notes());
        let ended: Vec<_> = sink.tracks.iter().map(|track| ends(&track.target)).collect();
        assert_eq!(ended.len(), 2);
        let (events, _heard) = channel();
        sink.pipeline.forward(events);
        sink.pipeline.set_state(gst::State::Playing).unwrap();
        sink.end_track(2);
        ended[1].recv_timeout(Duration::from_secs(30)).expect("the track of reader 2 ends");
        assert!(ended[0].try_recv().is_err(), "the other goes on");
    }

    /// Hears when the end of its stream comes out of it.
    fn ends(target: &gst_app::AppSrc) -> Receiver<()> {
        let (send, ended) = channel();
        let pad = target.static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                let _ = send.send(());
            }
            gst::PadProbeReturn::Ok
        });
        ended
    }
}
