//! Everything in a file that is not the picture: sound, subtitles, tags and chapters.

mod channels;
mod metadata;
mod reader;
mod retiming;
mod text;
mod track_list;
mod track_options;
mod treatment;

use std::path::Path;

use gst::prelude::*;
use gstreamer as gst;

pub(super) use metadata::write as write_about;
pub(super) use reader::Reader;
pub use reader::TrackLimit;
use text::TextConversion;
use track_list::{TrackInfo, TrackKind, TrackList, WEBVTT};
use track_options::TrackOptions;
pub(super) use treatment::Treatment;
pub(super) use treatment::{
    audio_treatment as way_of_audio, encoder as sound_encoder, name as name_of,
    transcode_audio as encode_audio, transcode_note,
};

use super::capture_metadata::CaptureMetadata;
use super::error::PipelineError;
use super::workarounds::{further_programmes, is_transport_stream};
use crate::core::encoding::Container;
use crate::core::span::Span;
use crate::core::stop::StopSignal;

/// avenc_aac inserts one frame of silence (1024 samples) before the sound and does not report it.
pub(super) const AAC_DELAY: u32 = 1024;

/// The tracks, tags and chapters that are copied from the input to the output.
#[derive(Default)]
pub struct Tracks {
    pub(super) readers: Vec<Reader>,
    pub(super) tags: Option<gst::TagList>,
    pub(super) toc: Option<gst::Toc>,
    notes: Vec<String>,
}

impl Tracks {
    /// Whether a file has sound; false if it cannot be read.
    pub fn has_sound(path: &Path, stop: &StopSignal) -> bool {
        let contents = TrackList::of(path, stop);
        contents.is_ok_and(|c| c.streams.iter().any(|s| matches!(s.kind, TrackKind::Audio)))
    }

    /// Opens all tracks of a file that `container` can hold, without sound if `audio` is false. What is left
    /// out is listed in the notes. `stop` ends the wait for a track's first packet.
    pub fn open(
        path: &Path,
        span: Span,
        container: Container,
        audio: bool,
        stop: &StopSignal,
    ) -> Self {
        let mut tracks = Tracks::default();
        let contents = match TrackList::of(path, stop) {
            Ok(contents) => contents,
            Err(error) => {
                tracks.notes.push(format!(
                    "'{}': only the picture is kept; its other tracks cannot be read: {error}",
                    path.display()
                ));
                return tracks;
            }
        };
        tracks.about(&contents, span, container);
        tracks.recording(path, container);
        let mut numbers = [0; 2];
        for stream in &contents.streams {
            match stream.kind {
                TrackKind::Audio if audio => {
                    numbers[0] += 1;
                    tracks.sound(path, stream, numbers[0], span, container, stop);
                }
                TrackKind::Text | TrackKind::Bitmap => {
                    numbers[1] += 1;
                    tracks.subtitles(path, stream, numbers[1], span, container, stop);
                }
                _ => {}
            }
        }
        let count = |kind| contents.streams.iter().filter(|s| s.kind == kind).count();
        tracks.left_out(count(TrackKind::Video).saturating_sub(1), "further video track");
        tracks.left_out(count(TrackKind::Other), "data track");
        tracks.left_out(further_programmes(path), "further programme");
        tracks
    }

    /// What the user should know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn about(&mut self, contents: &TrackList, span: Span, container: Container) {
        if let Some(tags) = &contents.tags {
            self.left_out(metadata::attachments(tags), "attachment");
            if !container.is_mp4() {
                // matroskamux (1.22 to 1.26) writes none.
                self.left_out(metadata::covers(tags), "cover");
            }
            self.tags = Some(metadata::kept_tags(tags)).filter(|tags| tags.n_tags() > 0);
        }
        if let Some(toc) = &contents.toc {
            let (toc, count) = metadata::chapters(toc, span, contents.duration);
            match container {
                Container::Mkv if count > 0 => self.toc = Some(toc),
                Container::Mkv => {}
                _ if count > 0 => {
                    self.left_out(count, "chapter");
                    if let Some(note) = self.notes.last_mut() {
                        note.push_str(" (an .mkv keeps chapters)");
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds the recording metadata (place, time, camera) of the file to the tags.
    fn recording(&mut self, path: &Path, container: Container) {
        let Some(recording) = CaptureMetadata::of(path) else { return };
        let (name, text) = recording.as_tag(container);
        let tags = self.tags.get_or_insert_with(gst::TagList::new).make_mut();
        tags.set_scope(gst::TagScope::Global);
        let _ = tags.add_value(name, &text.to_send_value(), gst::TagMergeMode::Replace);
    }

    fn left_out(&mut self, count: usize, what: &str) {
        match count {
            0 => {}
            1 => self.notes.push(format!("1 {what} is left out")),
            count => self.notes.push(format!("{count} {what}s are left out")),
        }
    }

    fn sound(
        &mut self,
        path: &Path,
        stream: &TrackInfo,
        number: usize,
        span: Span,
        container: Container,
        stop: &StopSignal,
    ) {
        let what = format!("audio track {number} ({})", name_of(&stream.caps));
        let form = treatment::template(container, "audio_%u");
        let number = self.readers.len();
        let open = |way: &Treatment, refused: Option<String>| {
            let (through, delay) = match way {
                Treatment::Passthrough(through) => (*through, 0),
                Treatment::Transcode(through, "AAC") => (through.as_str(), AAC_DELAY),
                Treatment::Transcode(through, _) => (through.as_str(), 0),
                Treatment::Drop(why) => return Err(PipelineError::new("track", why)),
            };
            let (form, words) = (form.clone(), TextConversion::Same);
            let lengths = container.is_mp4();
            let encoded = matches!(way, Treatment::Transcode(..));
            let room = !lengths;
            let order = TrackOptions {
                number,
                span,
                elements: through,
                accepted_caps: form,
                text_conversion: words,
                encoded,
                refused,
                delay,
                needs_durations: lengths,
                pad_name: room,
                stop,
            };
            Reader::open(path, stream, order)
        };
        let mut way = treatment::audio_treatment(&stream.caps, container);
        let opus = stream.caps.structure(0).is_some_and(|s| s.name() == "audio/x-opus");
        if opus && matches!(way, Treatment::Passthrough(_)) && is_transport_stream(path) {
            // In a transport stream each packet has a header that no other container uses; opusparse removes
            // it.
            way = Treatment::Passthrough("opusparse");
        }
        let mut opened = open(&way, None);
        if opened.is_err() && matches!(way, Treatment::Passthrough(_)) {
            // The container holds this codec, but not in this form.
            way = treatment::transcode_audio(&stream.caps, container);
            opened = open(&way, None).or(opened);
        }
        // Another decoder may take what the first one refuses: flacdec (1.26) takes no FLAC of 32 bits.
        let refused = opened.as_ref().err().and_then(PipelineError::decoder);
        if refused.is_some() {
            opened = open(&way, refused).or(opened);
        }
        let note = match &way {
            Treatment::Transcode(_, codec) => {
                let channels = stream.caps.structure(0).and_then(|s| s.get::<i32>("channels").ok());
                // avenc_aac encodes at most 6 channels.
                let mixed = *codec == "AAC" && channels.is_some_and(|count| count > 6);
                let more = channels::more_channels(&stream.caps, *codec == "Opus");
                let mixed = match more {
                    _ if mixed => ", in 5.1 channels".to_owned(),
                    // Opus has no layout of 4.0, for example.
                    Some(more) => format!(", in {more} channels"),
                    None => String::new(),
                };
                Some(transcode_note(&what, &stream.caps, container, codec, &mixed))
            }
            _ => None,
        };
        match opened {
            Ok(reader) => self.take(reader, &what, note),
            Err(error) => self.notes.push(format!("{what} is left out: {error}")),
        }
    }

    fn subtitles(
        &mut self,
        path: &Path,
        stream: &TrackInfo,
        number: usize,
        span: Span,
        container: Container,
        stop: &StopSignal,
    ) {
        let what = format!("subtitle track {number} ({})", name_of(&stream.caps));
        let format = stream.caps.structure(0).map_or("", |s| s.name().as_str());
        // webmmux has matroskamux's template, but WebM holds none of it.
        let template = (container != Container::WebM)
            .then(|| treatment::template(container, "subtitle_%u"))
            .flatten();
        let copied = gst::Caps::new_empty_simple(format);
        let fits = template.as_ref().is_some_and(|template| template.can_intersect(&copied));
        let markup = stream.caps.structure(0).and_then(|s| s.get::<&str>("format").ok());
        let words = match format {
            // matroskamux would take it, and then fail.
            "application/x-subtitle-unknown" => {
                let why = "GStreamer cannot read it (it may be DVB)";
                self.notes.push(format!("{what} is left out: {why}"));
                return;
            }
            "text/x-raw" if markup == Some("pango-markup") => TextConversion::Markup,
            WEBVTT => TextConversion::Vtt {
                whole_cue: stream.caps.structure(0).is_some_and(|s| s.get("whole-cue") == Ok(true)),
            },
            _ if fits => TextConversion::Same,
            "application/x-ass" | "application/x-ssa" => TextConversion::Ass,
            _ => {
                self.notes.push(format!("{what} is left out: {} cannot hold it", container.name()));
                return;
            }
        };
        if template.is_none() {
            let note = format!("{what} is left out: {} cannot hold it", container.name());
            self.notes.push(note);
            return;
        }
        let note = match words {
            TextConversion::Ass => Some(format!(
                "{what} is converted to plain text: {} holds no other",
                container.name()
            )),
            TextConversion::Vtt { .. } => Some(format!("{what} is converted to plain text")),
            _ => None,
        };
        let order = TrackOptions {
            number: self.readers.len(),
            span,
            elements: "identity",
            accepted_caps: None,
            text_conversion: words,
            encoded: false,
            refused: None,
            delay: 0,
            needs_durations: false,
            pad_name: !container.is_mp4(),
            stop,
        };
        match Reader::open(path, stream, order) {
            Ok(reader) => self.take(reader, &what, note),
            Err(error) => self.notes.push(format!("{what} is left out: {error}")),
        }
    }

    fn take(&mut self, reader: Option<Reader>, what: &str, note: Option<String>) {
        match reader {
            Some(reader) => {
                self.readers.push(reader);
                self.notes.extend(note);
            }
            None => self.notes.push(format!("{what} is empty")),
        }
    }
}
