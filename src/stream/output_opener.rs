//! Opens the outputs of a live run, at its beginning and after a loss.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::live_job::LiveJob;
use super::outputs::Sink;
use super::pieces::Pieces;
use super::recording::Recording;
use super::supervisor::Supervisor;
use crate::core::encoding::StreamEncoding;
use crate::core::endpoint::{OutputSpec, RtspUrl};
use crate::core::stop::StopSignal;
use crate::media::clock::LiveClock;
use crate::media::hls_sink::HlsSink;
use crate::media::live::LiveSource;
use crate::media::live_audio::LiveAudio;
use crate::media::live_sink::{LiveSink, OnDelay};
use crate::media::rtsp_server::{RtspServer, ServeAddress};
use crate::media::shared_encoder::SharedEncoder;
use crate::media::stream_sink::{StreamSink, StreamTarget};
use crate::media::video::VideoStream;
use crate::media::{Event, PipelineRole};

/// What is needed to open the outputs of a run.
#[derive(Clone)]
pub(super) struct OutputOpener {
    stream: VideoStream,
    audio: Option<LiveAudio>,
    clock: LiveClock,
    events: Sender<Event>,
    stop: StopSignal,
    on_delay: Arc<dyn Fn(Duration) + Send + Sync>,
    streams: StreamEncoding,
    encoder: Arc<Mutex<Weak<SharedEncoder>>>,
}

impl OutputOpener {
    /// For the outputs of `job`, and frames and sound of this source.
    pub fn of(
        job: &LiveJob,
        source: &LiveSource,
        clock: &LiveClock,
        supervisor: &Supervisor,
        on_delay: &Arc<dyn Fn(Duration) + Send + Sync>,
    ) -> Self {
        OutputOpener {
            stream: source.stream().clone(),
            audio: source.audio().cloned(),
            clock: clock.clone(),
            events: supervisor.events(),
            stop: supervisor.signal().clone(),
            on_delay: Arc::clone(on_delay),
            streams: job.streams,
            encoder: Arc::default(),
        }
    }

    /// Opens an output of any kind. `notes` get what the user should know.
    ///
    /// # Errors
    /// Names the output and what is wrong.
    pub fn open(
        &self,
        spec: &OutputSpec,
        number: usize,
        job: &LiveJob,
        notes: &mut Vec<String>,
    ) -> Result<Sink> {
        Ok(match spec {
            OutputSpec::Serve(url) => {
                let server = self.serve(url, number)?;
                notes.push(format!("serving {}", server.url()));
                notes.extend_from_slice(server.notes());
                Sink::Served(server)
            }
            OutputSpec::File(path) => match job.segment {
                None => Sink::File(Box::new(self.record(path, number, job)?)),
                Some(length) => Sink::Pieces(Box::new(self.pieces(path, length, number, job)?)),
            },
            OutputSpec::Hls(path) => {
                let opened = self.hls(path, number, job);
                let opened = opened.with_context(|| format!("cannot write '{spec}'"))?;
                notes.extend_from_slice(opened.notes());
                Sink::Hls(opened)
            }
            OutputSpec::Stream(_) | OutputSpec::Push(_) => {
                let opened = self.connection(spec, number);
                let opened = opened.with_context(|| format!("cannot open '{spec}'"))?;
                if let Sink::Stream(stream) = &opened {
                    notes.extend_from_slice(stream.notes());
                }
                opened
            }
            OutputSpec::Window | OutputSpec::Device(_) | OutputSpec::Pipeline(_) => {
                let opened = self.live_sink(spec, number);
                Sink::Shown(opened.with_context(|| format!("cannot open '{spec}'"))?)
            }
        })
    }

    fn hls(&self, path: &Path, number: usize, job: &LiveJob) -> Result<HlsSink> {
        if path.exists() && !job.overwrite {
            bail!("it already exists; use --overwrite to replace it");
        }
        let encoder = self.encoder(number)?;
        let (audio, clock, events) = (self.audio.as_ref(), &self.clock, &self.events);
        Ok(HlsSink::open(path, number, &encoder, audio, clock, events)?)
    }

    /// Opens a connection to another machine, at the beginning or again.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn connection(&self, spec: &OutputSpec, number: usize) -> Result<Sink> {
        let target = match spec {
            OutputSpec::Stream(url) => StreamTarget::Url(url),
            OutputSpec::Push(url) => StreamTarget::Push(url, &self.stop),
            _ => return self.live_sink(spec, number).map(Sink::Shown),
        };
        let encoder = self.encoder(number)?;
        let (audio, clock, events) = (self.audio.as_ref(), &self.clock, &self.events);
        let opened = StreamSink::open(target, number, &encoder, audio, clock, events)?;
        Ok(Sink::Stream(opened))
    }

    /// The encoder of all outputs that send, which ends with the last of them.
    fn encoder(&self, number: usize) -> Result<Arc<SharedEncoder>> {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = encoder.upgrade() {
            return Ok(encoder);
        }
        let started = Arc::new(SharedEncoder::start(
            PipelineRole::Sink(number),
            &self.stream,
            &self.clock,
            &self.events,
            self.streams,
            self.on_delay(),
        )?);
        *encoder = Arc::downgrade(&started);
        Ok(started)
    }

    /// The next such output gets an encoder of its own: the present one may be what hangs.
    pub fn leave_encoder(&self) {
        *self.encoder.lock().unwrap_or_else(PoisonError::into_inner) = Weak::new();
    }

    /// Opens an output that shows or sends frames.
    ///
    /// # Errors
    /// What is wrong with it.
    fn live_sink(&self, spec: &OutputSpec, number: usize) -> Result<LiveSink> {
        let (stream, clock, events) = (&self.stream, &self.clock, &self.events);
        Ok(LiveSink::open(spec, number, stream, clock, events, self.on_delay())?)
    }

    fn on_delay(&self) -> OnDelay {
        let on_delay = Arc::clone(&self.on_delay);
        Box::new(move |delay| on_delay(delay))
    }

    /// Reserves a file that is recorded to.
    ///
    /// # Errors
    /// Why it cannot be written.
    pub fn record(&self, path: &Path, number: usize, job: &LiveJob) -> Result<Recording> {
        let (clock, events) = (self.clock.clone(), self.events.clone());
        let source = (self.stream.clone(), self.audio.clone());
        Recording::reserve(path, number, job, source, clock, events, self.on_delay())
    }

    fn pieces(
        &self,
        path: &Path,
        length: Duration,
        number: usize,
        job: &LiveJob,
    ) -> Result<Pieces> {
        let source = (self.stream.clone(), self.audio.clone());
        let ends = (self.events.clone(), &self.stop);
        let clock = self.clock.clone();
        Pieces::reserve((path, length), number, job, source, clock, ends, self.on_delay())
    }

    fn serve(&self, url: &RtspUrl, number: usize) -> Result<Arc<RtspServer>> {
        let host = url.bind_address().map_err(anyhow::Error::msg)?.to_string();
        let owned = |(user, password): (&str, &str)| (user.to_owned(), password.to_owned());
        let address = ServeAddress {
            host,
            port: url.listen_port(),
            path: url.path().to_owned(),
            user: url.credentials().map(owned),
        };
        let audio = self.audio.as_ref();
        let caps = audio.map(LiveAudio::caps);
        let events = self.events.clone();
        let start = || -> Result<RtspServer> {
            let encoder = self.encoder(number)?;
            Ok(RtspServer::start(&address, number, &encoder, caps, &self.clock, events)?)
        };
        let server = Arc::new(start().with_context(|| format!("cannot serve '{url}'"))?);
        if let Some(audio) = audio {
            // A weak reference: the source outlives the outputs.
            let to = Arc::downgrade(&server);
            audio.send_to(move |packet| {
                if let Some(server) = to.upgrade() {
                    server.push_audio(packet);
                }
            });
        }
        Ok(server)
    }
}
