//! Writes the stylized stream as HLS: segments and a playlist in a folder, for any web server.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::clock::LiveClock;
use super::error::PipelineError;
use super::hls_playlist::{Playlist, Segment};
use super::live_audio::LiveAudio;
use super::live_encode::SoundEncoder;
use super::pipeline::{Event, Pipeline, PipelineRole};
use super::shared_encoder::SharedEncoder;
use super::stream_feed::StreamFeed;
use super::stream_sink::{SoundTrack, send_sound, sound_of};
use crate::core::timeouts::LEAVE_MEDIA_SERVER;
use crate::core::watchdog::Heartbeat;

const DESCRIPTION: &str = include_str!("../../pipelines/sink-hls.pipeline");

/// A stream that is written as HLS. Dropping it completes the playlist.
pub struct HlsSink {
    pipeline: Pipeline,
    feed: Arc<StreamFeed>,
    encoder: Arc<SharedEncoder>,
    sound: Option<Arc<SoundEncoder>>,
    folder: Arc<Mutex<Folder>>,
    notes: Vec<String>,
}

impl HlsSink {
    /// Begins to write the playlist `path`, with its segments beside it.
    ///
    /// # Errors
    /// When an element is missing, or the folder cannot be written to.
    pub fn open(
        path: &Path,
        number: usize,
        encoder: &Arc<SharedEncoder>,
        audio: Option<&LiveAudio>,
        clock: &LiveClock,
        events: &Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let mut notes = Vec::new();
        let track = audio.and_then(|audio| match sound_of(audio.caps()) {
            Ok(track) => Some(track),
            Err(error) => {
                notes.push(format!("the sound is left out: {error}"));
                None
            }
        });
        let more = track.as_ref().map_or_else(String::new, |SoundTrack { parser, .. }| {
            let parser = parser.unwrap_or("identity");
            format!("\nappsrc name=packets format=time is-live=true ! {parser} ! server.audio_0\n")
        });
        let role = PipelineRole::Sink(number);
        let pipeline = Pipeline::parse(role, &format!("{DESCRIPTION}{more}"))?;
        clock.apply_to(pipeline.gst());
        let units: gst_app::AppSrc = pipeline.element_as("units")?;
        units.set_caps(Some(encoder.caps()));
        let packets: Option<gst_app::AppSrc> = match &track {
            Some(track) => {
                let packets: gst_app::AppSrc = pipeline.element_as("packets")?;
                packets.set_caps(Some(&track.caps));
                Some(packets)
            }
            None => None,
        };
        let folder = Arc::new(Mutex::new(Folder::of(path)));
        lock(&folder).write()?;
        name_segments(&pipeline.element("server")?, &folder, role, clock, events);
        let feed = Arc::new(StreamFeed::with_gaps(units, packets));
        pipeline.set_state(gst::State::Playing)?;
        pipeline.forward(events.clone());
        let mut sound = None;
        if let (Some(track), Some(audio)) = (track, audio) {
            sound = track.encoder.map(Arc::new);
            send_sound(audio, sound.as_ref(), &feed)?;
        }
        encoder.send_to(&feed);
        Ok(HlsSink { pipeline, feed, encoder: Arc::clone(encoder), sound, folder, notes })
    }

    /// Takes a frame. Never blocks.
    pub fn push(&self, frame: &gst::Buffer) {
        self.encoder.push(frame);
    }

    /// Whether a frame waits for the encoder.
    pub fn waits_for_encoder(&self) -> bool {
        self.encoder.heartbeat().works
    }

    /// Whether frames wait for the encoder, or what it has encoded for the output; and how many have been taken.
    pub fn heartbeat(&self) -> Heartbeat {
        let (encoder, feed) = (self.encoder.heartbeat(), self.feed.heartbeat());
        if encoder.works && !feed.works { encoder } else { feed }
    }

    /// How many frames were not written.
    pub fn dropped(&self) -> u64 {
        self.encoder.dropped() + self.feed.dropped()
    }

    /// Ends the stream. Returns how long that may take.
    pub fn end(&self) -> Duration {
        if let Some(sound) = &self.sound {
            sound.end();
        }
        self.feed.end();
        LEAVE_MEDIA_SERVER
    }

    /// What the user should know: sound that is left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The pipeline, as a Graphviz graph.
    pub fn dot(&self) -> String {
        self.pipeline.dot()
    }
}

impl Drop for HlsSink {
    fn drop(&mut self) {
        // Closes the last segment.
        let _ = self.pipeline.set_state(gst::State::Null);
        let mut folder = lock(&self.folder);
        let ended = folder.complete(None).and_then(|()| {
            folder.playlist.end();
            folder.write()
        });
        if let Err(error) = ended {
            tracing::warn!("the end of the HLS stream cannot be written: {error}");
        }
    }
}

fn lock(folder: &Mutex<Folder>) -> std::sync::MutexGuard<'_, Folder> {
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names each segment when it begins; the one before is complete then.
fn name_segments(
    server: &gst::Element,
    folder: &Arc<Mutex<Folder>>,
    role: PipelineRole,
    clock: &LiveClock,
    events: &Sender<Event>,
) {
    let (folder, clock, events) = (Arc::clone(folder), clock.clone(), events.clone());
    // The date of the run's time zero.
    let zero = SystemTime::now() - clock.now();
    server.connect("format-location-full", false, move |args| {
        let sample = args.get(2).and_then(|sample| sample.get::<gst::Sample>().ok());
        let at = sample.as_ref().and_then(|sample| {
            let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
            segment.to_running_time(sample.buffer()?.pts()?)
        });
        let at = at.map_or_else(|| clock.now(), Duration::from);
        let mut folder = lock(&folder);
        if let Err(error) = folder.complete(Some(at)) {
            let _ = events.send(Event::Failed(role, error));
        }
        Some(folder.begin(at, zero + at).display().to_string().to_value())
    });
}

/// The files of a stream.
struct Folder {
    path: PathBuf,
    stem: String,
    playlist: Playlist,
    number: u64,
    /// The segment that is being written: when it began, on the run's clock and by date.
    current: Option<(String, Duration, SystemTime)>,
    /// Length of the newest segment.
    newest: Duration,
}

impl Folder {
    fn of(playlist: &Path) -> Self {
        Folder {
            path: playlist.to_owned(),
            stem: playlist.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            playlist: Playlist::default(),
            number: 0,
            current: None,
            newest: Duration::from_secs(2),
        }
    }

    /// The next segment; the file that it is written to until it is complete.
    fn begin(&mut self, at: Duration, date: SystemTime) -> PathBuf {
        let name = format!("{}-{:05}.ts", self.stem, self.number);
        self.number += 1;
        let partial = self.partial(&name);
        self.current = Some((name, at, date));
        partial
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.path.with_file_name(format!(".{name}.partial"))
    }

    /// The present segment is complete; the next one begins at `next`.
    fn complete(&mut self, next: Option<Duration>) -> Result<(), PipelineError> {
        let Some((name, began, begins)) = self.current.take() else { return Ok(()) };
        if let Some(next) = next {
            self.newest = next.saturating_sub(began);
        }
        let from = self.partial(&name);
        std::fs::rename(&from, self.path.with_file_name(&name)).map_err(|e| failed(&from, &e))?;
        let segment = Segment { name, duration: self.newest, begins };
        if let Some(old) = self.playlist.add(segment) {
            let _ = std::fs::remove_file(self.path.with_file_name(old));
        }
        self.write()
    }

    /// Replaces the playlist by its present state, at once.
    fn write(&self) -> Result<(), PipelineError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let partial = self.partial(&name);
        std::fs::write(&partial, self.playlist.text())
            .and_then(|()| std::fs::rename(&partial, &self.path))
            .map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> PipelineError {
    PipelineError::new("hls", format!("'{}': {error}", path.display()))
}
