//! Where the frames of a live run go.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::PartialFile;
use super::live::{Events, LiveJob};
use super::video::finish;
use crate::endpoint::{Output, RtspUrl};
use crate::media::clock::LiveClock;
use crate::media::live::{LiveAudio, LiveSource};
use crate::media::live_sink::{LiveSink, OnDelay, measure};
use crate::media::rtsp_server::{RtspServer, ServeAddress};
use crate::media::sink::{Container, VideoSink};
use crate::media::video::{VideoStream, rgb_of};
use crate::media::{Buffer, Event, Role};
use crate::picture::Picture;
use crate::stats::Delays;

/// All outputs of a live run; a frame goes to each of them.
pub struct Outputs {
    sinks: Vec<Sink>,
    notes: Vec<String>,
}

enum Sink {
    Shown(LiveSink),
    Served(Arc<RtspServer>),
    File(Box<Mutex<LiveFile>>),
}

impl Outputs {
    /// Opens every output of `job`.
    ///
    /// # Errors
    /// The first that cannot be opened; the others are closed again.
    pub fn open(
        job: &LiveJob,
        source: &LiveSource,
        clock: &LiveClock,
        events: &Events,
        delays: &Arc<Delays>,
    ) -> Result<Self> {
        let mut outputs = Outputs { sinks: Vec::new(), notes: Vec::new() };
        for output in &job.outputs {
            let delays = Arc::clone(delays);
            let on_delay: OnDelay = Box::new(move |delay| delays.add(delay));
            let sink = match output {
                Output::Serve(url) => {
                    let server = serve(url, source, clock, events, on_delay)?;
                    outputs.notes.push(format!("serving {}", server.url()));
                    outputs.notes.extend_from_slice(server.notes());
                    Sink::Served(server)
                }
                Output::File(path) => {
                    let file = LiveFile::reserve(path, job.overwrite, source, clock, events)?;
                    Sink::File(Box::new(Mutex::new(file.reporting(on_delay))))
                }
                Output::Window | Output::Device(_) | Output::Push(_) | Output::Pipeline(_) => {
                    let opened = LiveSink::open(output, source.stream(), clock, events, on_delay);
                    Sink::Shown(opened.with_context(|| format!("cannot open '{output}'"))?)
                }
            };
            outputs.sinks.push(sink);
        }
        Ok(outputs)
    }

    /// What the user should know: the addresses that are served.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Clients of all servers.
    pub fn clients(&self) -> Option<usize> {
        let counts = self.sinks.iter().filter_map(|sink| match sink {
            Sink::Served(server) => Some(server.clients()),
            _ => None,
        });
        counts.reduce(|a, b| a + b)
    }

    /// Hands a frame, whose time is `pts`, to every output; none of them is waited for.
    pub fn push(&self, frame: &Buffer, pts: Duration) {
        for sink in &self.sinks {
            match sink {
                Sink::Shown(sink) => drop(sink.push(frame)),
                Sink::Served(server) => server.push_frame(frame),
                Sink::File(file) => {
                    file.lock().unwrap_or_else(PoisonError::into_inner).push(frame, pts);
                }
            }
        }
    }

    /// Ends everything: files are finished and get their names, clients are told. Returns what the
    /// user should know.
    ///
    /// # Errors
    /// When a file cannot be finished in time.
    pub fn finish(self, said: &Receiver<Event>, limit: Duration) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let deadline = Instant::now() + limit;
        for sink in self.sinks {
            if let Sink::File(file) = sink {
                let file = file.into_inner().unwrap_or_else(PoisonError::into_inner);
                file.finish(said, deadline, &mut notes)?;
            }
        }
        Ok(notes)
    }
}

fn serve(
    url: &RtspUrl,
    source: &LiveSource,
    clock: &LiveClock,
    events: &Events,
    on_delay: OnDelay,
) -> Result<Arc<RtspServer>> {
    let host = url.bind_address().map_err(anyhow::Error::msg)?.to_string();
    let owned = |(user, password): (&str, &str)| (user.to_owned(), password.to_owned());
    let address = ServeAddress {
        host,
        port: url.port(),
        path: url.path().to_owned(),
        user: url.credentials().map(owned),
    };
    let audio = source.audio();
    let caps = audio.map(LiveAudio::caps);
    let server = RtspServer::start(&address, source.stream(), caps, clock, events.clone())
        .with_context(|| format!("cannot serve '{url}'"))?;
    server.on_encoded(on_delay);
    let server = Arc::new(server);
    if let Some(audio) = audio {
        // Weak: the source outlives the outputs.
        let to = Arc::downgrade(&server);
        audio.send_to(move |packet| {
            if let Some(server) = to.upgrade() {
                server.push_audio(packet);
            }
        });
    }
    Ok(server)
}

/// A file that is written while live; it begins with the first frame.
struct LiveFile {
    partial: PartialFile,
    container: Container,
    stream: VideoStream,
    audio: Option<LiveAudio>,
    clock: LiveClock,
    events: Events,
    on_delay: Option<OnDelay>,
    sink: Option<VideoSink>,
    output: PathBuf,
}

impl LiveFile {
    fn reserve(
        path: &Path,
        overwrite: bool,
        source: &LiveSource,
        clock: &LiveClock,
        events: &Events,
    ) -> Result<Self> {
        let name = path.display();
        let Some(container) = Container::from_path(path) else {
            bail!("cannot write '{name}': its name must end in .mp4 or .mkv");
        };
        if path.exists() && !overwrite {
            bail!("'{name}' is there already; --overwrite replaces it");
        }
        Ok(LiveFile {
            partial: PartialFile::beside(path).with_context(|| format!("cannot write '{name}'"))?,
            container,
            stream: source.stream().clone(),
            audio: source.audio().cloned(),
            clock: clock.clone(),
            events: events.clone(),
            on_delay: None,
            sink: None,
            output: path.to_owned(),
        })
    }

    fn reporting(mut self, on_delay: OnDelay) -> Self {
        self.on_delay = Some(on_delay);
        self
    }

    fn push(&mut self, frame: &Buffer, pts: Duration) {
        if self.sink.is_none() {
            let (path, audio) = (self.partial.path(), self.audio.as_ref());
            let made = VideoSink::create_live(
                path,
                self.container,
                &self.stream,
                audio,
                pts,
                &self.events,
            );
            match made {
                Ok(sink) => {
                    if let (Some(pad), Some(report)) = (sink.encoded(), self.on_delay.take()) {
                        measure(&pad, self.clock.clone(), pts, report);
                    }
                    self.sink = Some(sink);
                }
                Err(error) => {
                    let _ = self.events.send(Event::Failed(Role::Sink, error));
                    return;
                }
            }
        }
        if let Some(sink) = &self.sink {
            sink.push_live(frame);
        }
    }

    fn finish(
        self,
        said: &Receiver<Event>,
        deadline: Instant,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        let name = self.output.display();
        let Some(sink) = self.sink else {
            notes.push(format!("'{name}' was not made: no frame came"));
            return Ok(());
        };
        sink.end();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match said.recv_timeout(left) {
                Ok(Event::End(Role::Sink)) => break,
                Ok(Event::Failed(Role::Sink, error)) => {
                    let kept = self.partial.keep();
                    return Err(anyhow::Error::from(error)
                        .context(format!("what was recorded is in '{}'", kept.display())));
                }
                Ok(_) => {}
                Err(_) => {
                    let kept = self.partial.keep();
                    bail!(
                        "'{name}' could not be finished: what is there is in '{}'",
                        kept.display()
                    );
                }
            }
        }
        let tracks = sink.track_count();
        drop(sink);
        finish(self.partial, self.container, tracks, &mut |note| notes.push(note.to_owned()))
            .with_context(|| format!("cannot write '{name}'"))
    }
}

/// Saves a frame as `nst-stream-<seconds since 1970>.png` in the working folder, on a thread of its
/// own: compressing takes longer than a frame.
pub(super) fn save_snapshot(buffer: &Buffer, stream: &VideoStream) {
    let (buffer, stream) = (buffer.clone(), stream.clone());
    let save = move || -> Result<PathBuf> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = PathBuf::from(format!("nst-stream-{}.png", since.as_millis()));
        let picture = Picture::from_frame(rgb_of(&buffer, &stream)?);
        let file = PartialFile::beside(&path)?;
        picture.save(file.path(), &path)?;
        file.commit()?;
        Ok(path)
    };
    let _ = std::thread::Builder::new().name("snapshot".into()).spawn(move || match save() {
        Ok(path) => tracing::warn!("snapshot: {}", path.display()),
        Err(error) => tracing::error!("no snapshot: {error:#}"),
    });
}
