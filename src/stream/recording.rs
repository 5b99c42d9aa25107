//! A file recorded during a live run.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::finish::finish;
use super::live_job::LiveJob;
use super::output_end::OutputEnd;
use super::outputs::close;
use super::supervisor::Supervisor;
use super::{Observer, PartialFile};
use crate::core::encoding::{Container, Encoding};
use crate::core::watchdog::Heartbeat;
use crate::media::clock::LiveClock;
use crate::media::frame_count::readable_frames;
use crate::media::live_audio::LiveAudio;
use crate::media::live_file::LiveFileSink;
use crate::media::live_sink::{OnDelay, report_delay};
use crate::media::sink::NewFile;
use crate::media::video::VideoStream;
use crate::media::{Buffer, Event, PipelineRole};

/// A recording; it begins with the first frame.
pub(super) struct Recording {
    partial: PartialFile,
    container: Container,
    encoding: Encoding,
    stream: VideoStream,
    audio: Option<LiveAudio>,
    clock: LiveClock,
    events: Sender<Event>,
    on_delay: Option<OnDelay>,
    sink: Option<LiveFileSink>,
    output: PathBuf,
    number: usize,
    /// It has failed, and the failure has been reported.
    failed: bool,
}

impl Recording {
    /// Reserves the file name. Frames and sound are like those of `source`; `number` is the number of the output.
    pub fn reserve(
        path: &Path,
        number: usize,
        job: &LiveJob,
        source: (VideoStream, Option<LiveAudio>),
        clock: LiveClock,
        events: Sender<Event>,
        on_delay: OnDelay,
    ) -> Result<Self> {
        let name = path.display();
        let Some(container) = Container::from_path(path) else {
            bail!("cannot write '{name}': its name must end in {}", Container::ENDINGS);
        };
        if path.exists() && !job.overwrite {
            bail!("'{name}' already exists; use --overwrite to replace it");
        }
        if let Err(why) = job.encoding.codec_in(container) {
            bail!("cannot write '{name}': {why}");
        }
        Ok(Recording {
            partial: PartialFile::beside(path).with_context(|| format!("cannot write '{name}'"))?,
            container,
            encoding: job.encoding,
            stream: source.0,
            audio: source.1,
            clock,
            events,
            on_delay: Some(on_delay),
            sink: None,
            output: path.to_owned(),
            number,
            failed: false,
        })
    }

    /// Passes on a frame, whose time is `pts`.
    pub fn push(&mut self, frame: &Buffer, pts: Duration) {
        if self.failed {
            return;
        }
        if self.sink.is_none() {
            let file = NewFile {
                path: self.partial.path(),
                container: self.container,
                encoding: &self.encoding,
                stream: &self.stream,
                packets: false,
            };
            let made = LiveFileSink::create(file, self.audio.as_ref(), self.number, &self.events);
            match made {
                Ok(sink) => {
                    sink.begin(pts);
                    if let (Some(pad), Some(report)) = (sink.encoded(), self.on_delay.take()) {
                        report_delay(&pad, self.clock.clone(), pts, report);
                    }
                    sink.notes().iter().for_each(|note| tracing::warn!("{note}"));
                    self.sink = Some(sink);
                }
                Err(error) => {
                    self.failed = true;
                    let _ = self.events.send(Event::Failed(PipelineRole::Sink(self.number), error));
                    return;
                }
            }
        }
        if let Some(sink) = &self.sink {
            sink.push(frame);
        }
    }

    /// Whether frames wait for its encoder, and how many it has taken.
    pub fn heartbeat(&self) -> Heartbeat {
        self.sink.as_ref().map_or_else(Heartbeat::default, LiveFileSink::heartbeat)
    }

    /// How many frames its encoder could not take in time.
    pub fn dropped(&self) -> u64 {
        self.sink.as_ref().map_or(0, LiveFileSink::dropped)
    }

    /// Ends the stream of frames; false if there is no file to finish.
    pub fn end(&self) -> bool {
        self.sink.as_ref().map(LiveFileSink::end).is_some()
    }

    /// Completes the file after its muxer has `ended`: renames it and notes what the user should know.
    ///
    /// # Errors
    /// When it could not be finished or cannot get its name; what there is stays under its partial name.
    pub fn finish(
        self,
        ended: OutputEnd,
        supervisor: &Supervisor,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let name = self.output.display();
        let Some(sink) = self.sink else {
            observer.note(&format!("'{name}' was not written: no frame arrived"));
            return Ok(());
        };
        let layout = sink.layout();
        close(sink);
        match ended {
            OutputEnd::Finished => {
                finish(self.partial, self.container, &layout, supervisor, observer)
                    .with_context(|| format!("cannot write '{name}'"))
            }
            OutputEnd::Failed(error) => {
                let kept = kept(self.partial);
                Err(anyhow::Error::from(error).context(format!("cannot write '{name}' ({kept})")))
            }
            OutputEnd::OutOfTime => {
                let kept = kept(self.partial);
                bail!("'{name}' could not be finished: {kept}")
            }
            OutputEnd::FailedBefore => {
                observer.note(&kept(self.partial));
                Ok(())
            }
        }
    }

    /// The pipeline as a Graphviz graph, once there is one.
    pub fn dot(&self) -> Option<String> {
        self.sink.as_ref().map(LiveFileSink::dot)
    }
}

/// Message about what remains of an unfinished recording.
pub(super) fn kept(partial: PartialFile) -> String {
    let Some(path) = partial.keep() else { return "nothing was recorded".to_owned() };
    let count =
        readable_frames(&path).map_or_else(String::new, |count| format!(" ({count} frames)"));
    format!("what was recorded{count} is in '{}'", path.display())
}
