//! The tracks of a file that are not its picture.

use std::sync::mpsc::Sender;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::error::PipelineError;
use super::super::finalise::{Layout, Track};
use super::super::pipeline::Event;
use super::super::tracks::{Reader, TrackLimit, Tracks, Way, name_of, way_of_audio, write_about};
use super::VideoSink;
use crate::encoding::Container;

/// A track that is being written.
pub(super) struct Written {
    pads: &'static str,
    /// Who reads it, in a file; live sound comes by itself.
    reader: Option<Reader>,
}

impl Written {
    /// How much of its beginning is not to be presented.
    fn lead(&self) -> Duration {
        self.reader.as_ref().map(|reader| reader.lead).unwrap_or_default()
    }
}

const AUDIO: &str = "audio_%u";
const SUBTITLE: &str = "subtitle_%u";

impl VideoSink {
    /// Makes room for the tracks of a file; one that the muxer refuses is told in the notes.
    pub(super) fn take_tracks(&mut self, tracks: Tracks) -> Result<(), PipelineError> {
        let mux = self.pipeline.element("mux")?;
        write_about(&mux, tracks.tags.as_ref(), tracks.toc.as_ref());
        for reader in tracks.readers {
            let pads = if reader.is_sound() { AUDIO } else { SUBTITLE };
            match self.add_track(&reader.caps, "identity", pads, reader.tags.as_ref()) {
                Ok(()) => self.tracks.push(Written { pads, reader: Some(reader) }),
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
        let leads = || self.tracks.iter().map(Written::lead);
        let most = leads().max().unwrap_or_default();
        let others = self.targets.iter().zip(leads());
        for (input, lead) in others.chain([(&self.frames, Duration::ZERO)]) {
            let later = i64::try_from((most - lead).as_nanos()).unwrap_or(0);
            if let Some(pad) = input.static_pad("src") {
                pad.set_offset(later);
            }
        }
    }

    /// Lets the readers of all tracks go.
    pub(super) fn start_tracks(&mut self, events: &Sender<Event>) {
        for (track, target) in self.tracks.iter_mut().zip(&self.targets) {
            if let Some(reader) = &mut track.reader
                && let Err(error) = reader.start(target, events.clone())
            {
                self.notes.push(format!("a track is left out: {error}"));
                let _ = target.end_of_stream();
            }
        }
    }

    /// Makes room for live sound.
    pub(super) fn add_sound(
        &mut self,
        caps: &gst::Caps,
        container: Container,
    ) -> Result<(), PipelineError> {
        let (way, note) = match way_of_audio(caps, container) {
            Way::Copy(way) => (way.to_owned(), None),
            Way::Encode(way, codec) => {
                let (name, container) = (name_of(caps), container.name());
                let note = format!(
                    "the sound ({name}) does not fit into {container}: it is encoded as {codec}"
                );
                (way, Some(note))
            }
            Way::None(why) => {
                self.notes.push(format!("the sound ({}) is left out: {why}", name_of(caps)));
                return Ok(());
            }
        };
        self.notes.extend(note);
        self.add_track(caps, &way, AUDIO, None)?;
        self.tracks.push(Written { pads: AUDIO, reader: None });
        Ok(())
    }

    fn add_track(
        &mut self,
        caps: &gst::Caps,
        way: &str,
        pads: &'static str,
        tags: Option<&gst::TagList>,
    ) -> Result<(), PipelineError> {
        let mux = self.pipeline.element("mux")?;
        // A packet is a few hundred bytes: 64 KiB are seconds of sound.
        let description =
            format!("appsrc name=packets format=time block=true max-bytes=65536 ! {way}");
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
            (Some(from), Some(to)) => {
                if let Some(tags) = tags {
                    tag(&from, tags.clone());
                }
                from.link(to).map(drop).map_err(|e| PipelineError::new("mux", e.to_string()))
            }
            _ => Err(PipelineError::new("mux", "the container takes no such track")),
        };
        if linked.is_err() {
            let _ = self.pipeline.gst().remove(&bin);
            if let Some(pad) = pad {
                mux.release_request_pad(&pad);
            }
        }
        linked?;
        self.targets.push(target);
        Ok(())
    }

    /// Handles that end the tracks early.
    pub fn limits(&self) -> Vec<TrackLimit> {
        self.tracks.iter().filter_map(|track| track.reader.as_ref()).map(Reader::limit).collect()
    }

    /// Ends a track whose reader failed; the others go on.
    pub fn end_track(&self, number: usize) {
        if let Some(target) = self.targets.get(number) {
            let _ = target.end_of_stream();
        }
    }

    /// Which tracks there are beside the picture.
    pub fn layout(&self) -> Layout {
        let track = |track: &Written| Track {
            pad: if track.pads == AUDIO { "audio" } else { "subtitle" },
            lead: track.lead(),
            end: track.reader.as_ref().and_then(Reader::end),
            empty: track.reader.as_ref().is_some_and(Reader::is_empty),
        };
        self.tracks.iter().map(track).collect()
    }
}

/// Sends the tags of a track before its first packet.
fn tag(pad: &gst::Pad, tags: gst::TagList) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
        pad.push_event(gst::event::Tag::new(tags.clone()));
        gst::PadProbeReturn::Remove
    });
}
