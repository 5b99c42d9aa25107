//! Where the frames of a live run go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::live::{Events, LiveJob};
use super::recording::Recording;
use crate::endpoint::{Output, RtspUrl};
use crate::media::clock::LiveClock;
use crate::media::live::LiveSource;
use crate::media::live_audio::LiveAudio;
use crate::media::live_sink::{LiveSink, OnDelay};
use crate::media::rtsp_server::{RtspServer, ServeAddress};
use crate::media::{Buffer, Event, PipelineError, Role};
use crate::stats::Delays;

/// All outputs of a live run; a frame goes to each of them.
pub struct Outputs {
    sinks: Vec<Sink>,
    notes: Vec<String>,
}

enum Sink {
    Shown(LiveSink),
    Served(Arc<RtspServer>),
    File(Box<Mutex<Recording>>),
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
        let ends = Ends { source, clock, events };
        for (number, output) in job.outputs.iter().enumerate() {
            let delays = Arc::clone(delays);
            let on_delay: OnDelay = Box::new(move |delay| delays.add(delay));
            let sink = match output {
                Output::Serve(url) => {
                    let server = ends.serve(url, number, on_delay)?;
                    outputs.notes.push(format!("serving {}", server.url()));
                    outputs.notes.extend_from_slice(server.notes());
                    Sink::Served(server)
                }
                Output::File(path) => {
                    let file = ends.record(path, number, job, on_delay)?;
                    Sink::File(Box::new(Mutex::new(file)))
                }
                Output::Window | Output::Device(_) | Output::Push(_) | Output::Pipeline(_) => {
                    let (stream, audio) = (source.stream(), source.audio());
                    let opened =
                        LiveSink::open(output, number, stream, audio, clock, events, on_delay)
                            .with_context(|| format!("cannot open '{output}'"))?;
                    outputs.notes.extend_from_slice(opened.notes());
                    Sink::Shown(opened)
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

    /// How many frames each output did not take in time.
    pub fn dropped(&self) -> Vec<u64> {
        let dropped = |sink: &Sink| match sink {
            Sink::Shown(sink) => sink.dropped(),
            Sink::Served(server) => server.dropped(),
            Sink::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).dropped(),
        };
        self.sinks.iter().map(dropped).collect()
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

    /// Ends everything: files are finished and get their names, clients and servers are told.
    /// Returns what the user should know. `failed` is an output that is past finishing.
    ///
    /// # Errors
    /// When a file cannot be finished in time; the others are.
    pub fn finish(
        self,
        said: &Receiver<Event>,
        failed: Option<usize>,
        limit: Duration,
    ) -> Result<Vec<String>> {
        let now = Instant::now();
        let (mut ends, mut files, mut shown) = (Endings::default(), Vec::new(), Vec::new());
        let mut servers = Vec::new();
        for (number, sink) in self.sinks.into_iter().enumerate() {
            match sink {
                Sink::File(file) => {
                    let file = file.into_inner().unwrap_or_else(PoisonError::into_inner);
                    if file.end() && failed != Some(number) {
                        ends.wait_for(number, now + limit);
                    }
                    files.push((number, file));
                }
                Sink::Shown(sink) => {
                    if let Some(patience) = sink.end().filter(|_| failed != Some(number)) {
                        ends.wait_for(number, now + patience);
                    }
                    shown.push(sink);
                }
                Sink::Served(server) => servers.push(server),
            }
        }
        // Clients need not wait until files are finished.
        drop(servers);
        let mut said = ends.collect(said);
        drop(shown);
        let (mut notes, mut result) = (Vec::new(), Ok(()));
        for (number, file) in files {
            let ended = match said.remove(&number) {
                _ if failed == Some(number) => None,
                outcome => Some(outcome),
            };
            result = result.and(file.finish(ended, &mut notes));
        }
        result.map(|()| notes)
    }

    /// The pipelines as Graphviz graphs, by number of the output.
    pub fn dots(&self) -> Vec<(usize, String)> {
        let dot = |sink: &Sink| match sink {
            Sink::Shown(sink) => Some(sink.dot()),
            Sink::Served(server) => Some(server.dot()),
            Sink::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).dot(),
        };
        self.sinks.iter().enumerate().filter_map(|(n, sink)| Some((n, dot(sink)?))).collect()
    }
}

/// Outputs that are to say that they have come to their end, and until when they may.
#[derive(Default)]
struct Endings(BTreeMap<usize, Instant>);

/// How an output ended.
pub(super) type Ending = Result<(), PipelineError>;

impl Endings {
    fn wait_for(&mut self, number: usize, until: Instant) {
        self.0.insert(number, until);
    }

    /// Waits for all of them; those that say nothing in time are left out.
    fn collect(mut self, said: &Receiver<Event>) -> BTreeMap<usize, Ending> {
        let mut ended = BTreeMap::new();
        while let Some(until) = self.0.values().min().copied() {
            let left = until.saturating_duration_since(Instant::now());
            let (number, ending) = match said.recv_timeout(left) {
                Ok(Event::End(Role::Sink(number))) => (number, Ok(())),
                Ok(Event::Failed(Role::Sink(number), error)) => (number, Err(error)),
                Ok(_) => continue,
                Err(_) => {
                    self.0.retain(|_, limit| *limit > until);
                    continue;
                }
            };
            if self.0.remove(&number).is_some() {
                ended.insert(number, ending);
            }
        }
        ended
    }
}

/// What outputs are opened between.
struct Ends<'a> {
    source: &'a LiveSource,
    clock: &'a LiveClock,
    events: &'a Events,
}

impl Ends<'_> {
    fn record(
        &self,
        path: &Path,
        number: usize,
        job: &LiveJob,
        on_delay: OnDelay,
    ) -> Result<Recording> {
        let (clock, events) = (self.clock.clone(), self.events.clone());
        Recording::reserve(path, number, job, self.source, clock, events, on_delay)
    }

    fn serve(&self, url: &RtspUrl, number: usize, on_delay: OnDelay) -> Result<Arc<RtspServer>> {
        let host = url.bind_address().map_err(anyhow::Error::msg)?.to_string();
        let owned = |(user, password): (&str, &str)| (user.to_owned(), password.to_owned());
        let address = ServeAddress {
            host,
            port: url.port(),
            path: url.path().to_owned(),
            user: url.credentials().map(owned),
        };
        let audio = self.source.audio();
        let caps = audio.map(LiveAudio::caps);
        let server = RtspServer::start(
            &address,
            number,
            self.source.stream(),
            caps,
            self.clock,
            self.events.clone(),
        )
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn each_output_ends_by_itself() {
        let (send, said) = channel();
        let now = Instant::now();
        let mut ends = Endings::default();
        ends.wait_for(0, now + Duration::from_secs(60));
        ends.wait_for(1, now + Duration::from_millis(50));
        ends.wait_for(3, now + Duration::from_secs(60));
        for event in [
            Event::End(Role::Source),
            Event::End(Role::Sink(2)),
            Event::End(Role::Sink(3)),
            Event::End(Role::Sink(3)),
            Event::Failed(Role::Sink(0), PipelineError::new("file", "the disk is full")),
        ] {
            send.send(event).unwrap();
        }
        let ended = ends.collect(&said);
        assert_eq!(ended.keys().copied().collect::<Vec<_>>(), [0, 3], "1 said nothing in time");
        assert!(ended[&0].is_err() && ended[&3].is_ok());
    }
}
