//! The outputs of a live run.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Observer;
use super::live_job::LiveJob;
use super::output_end::OutputEnd;
use super::recording::Recording;
use super::supervisor::{Stage, Supervisor};
use crate::core::endpoint::{OutputSpec, RtspUrl};
use crate::core::stats::Delays;
use crate::core::timeouts::{FINISH_LIVE_FILE, WaitTimer};
use crate::media::clock::LiveClock;
use crate::media::live::LiveSource;
use crate::media::live_audio::LiveAudio;
use crate::media::live_sink::{LiveSink, OnDelay};
use crate::media::rtsp_server::{RtspServer, ServeAddress};
use crate::media::{Buffer, Event, PipelineRole};

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
        supervisor: &Supervisor,
        delays: &Arc<Delays>,
    ) -> Result<Self> {
        let mut outputs = Outputs { sinks: Vec::new(), notes: Vec::new() };
        let (events, stop) = (&supervisor.events(), supervisor.signal());
        let ends = OutputOpener { source, clock, events };
        for (number, output) in job.outputs.iter().enumerate() {
            let delays = Arc::clone(delays);
            let on_delay: OnDelay = Box::new(move |delay| delays.add(delay));
            let sink = match output {
                OutputSpec::Serve(url) => {
                    let server = ends.serve(url, number, on_delay)?;
                    outputs.notes.push(format!("serving {}", server.url()));
                    outputs.notes.extend_from_slice(server.notes());
                    Sink::Served(server)
                }
                OutputSpec::File(path) => {
                    let file = ends.record(path, number, job, on_delay)?;
                    Sink::File(Box::new(Mutex::new(file)))
                }
                OutputSpec::Window
                | OutputSpec::Device(_)
                | OutputSpec::Push(_)
                | OutputSpec::Pipeline(_) => {
                    let (stream, audio) = (source.stream(), source.audio());
                    let opened = LiveSink::open(
                        output, number, stream, audio, clock, events, on_delay, stop,
                    )
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

    /// Passes a frame, whose time is `pts`, to every output without waiting.
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

    /// Ends all outputs: files are finished and renamed, clients and media servers get an end of stream.
    /// `failed` is the number of an output that has failed and is not waited for.
    ///
    /// # Errors
    /// The error of the first file that cannot be finished; those of others are noted.
    pub fn finish(
        self,
        failed: Option<usize>,
        supervisor: &Supervisor,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let (mut ending, mut files, mut shown) =
            (ClosingOutputs::default(), Vec::new(), Vec::new());
        let mut servers = Vec::new();
        for (number, sink) in self.sinks.into_iter().enumerate() {
            match sink {
                Sink::File(file) => {
                    let file = file.into_inner().unwrap_or_else(PoisonError::into_inner);
                    if file.end() && failed != Some(number) {
                        ending.wait_for(number, FINISH_LIVE_FILE);
                    }
                    files.push((number, file));
                }
                Sink::Shown(sink) => {
                    if let Some(limit) = sink.end().filter(|_| failed != Some(number)) {
                        ending.wait_for(number, limit);
                    }
                    shown.push(sink);
                }
                Sink::Served(server) => servers.push(server),
            }
        }
        // Ends clients' streams before files are finished, which may take long.
        drop(servers);
        let mut ended = supervisor.supervise(ending);
        drop(shown);
        let mut result = Ok(());
        for (number, file) in files {
            let end = match failed {
                Some(failed) if failed == number => OutputEnd::FailedBefore,
                _ => ended.remove(&number).unwrap_or(OutputEnd::OutOfTime),
            };
            let finished = file.finish(end, supervisor, observer);
            match (&result, finished) {
                (Ok(()), finished) => result = finished,
                (Err(_), Err(error)) => observer.note(&format!("{error:#}")),
                (Err(_), Ok(())) => {}
            }
        }
        result
    }

    /// The pipelines as Graphviz graphs, by number of the output.
    pub fn graphs(&self) -> Vec<(usize, String)> {
        let dot = |sink: &Sink| match sink {
            Sink::Shown(sink) => Some(sink.dot()),
            Sink::Served(server) => Some(server.dot()),
            Sink::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).dot(),
        };
        self.sinks.iter().enumerate().filter_map(|(n, sink)| Some((n, dot(sink)?))).collect()
    }
}

/// The stage in which the outputs end, each with its own time limit.
#[derive(Default)]
struct ClosingOutputs {
    waiting: BTreeMap<usize, (Duration, WaitTimer)>,
    ended: BTreeMap<usize, OutputEnd>,
}

impl ClosingOutputs {
    fn wait_for(&mut self, number: usize, limit: Duration) {
        self.waiting.insert(number, (limit, WaitTimer::new()));
    }

    fn end(&mut self, number: usize, end: OutputEnd) {
        if self.waiting.remove(&number).is_some() {
            self.ended.insert(number, end);
        }
    }
}

impl Stage for ClosingOutputs {
    type End = BTreeMap<usize, OutputEnd>;

    fn handle(&mut self, event: Event) -> ControlFlow<Self::End> {
        match event {
            Event::End(PipelineRole::Sink(number)) => self.end(number, OutputEnd::Finished),
            Event::Failed(PipelineRole::Sink(number), error) => {
                self.end(number, OutputEnd::Failed(error));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn stop_at_once(&mut self) -> Self::End {
        std::mem::take(&mut self.ended)
    }

    fn tick(&mut self) -> ControlFlow<Self::End> {
        let ended = &mut self.ended;
        self.waiting.retain(|number, (limit, patience)| {
            let over = patience.is_over(*limit);
            if over {
                ended.insert(*number, OutputEnd::OutOfTime);
            }
            !over
        });
        match self.waiting.is_empty() {
            true => ControlFlow::Break(std::mem::take(&mut self.ended)),
            false => ControlFlow::Continue(()),
        }
    }
}

/// What is needed to open the outputs of a run.
struct OutputOpener<'a> {
    source: &'a LiveSource,
    clock: &'a LiveClock,
    events: &'a Sender<Event>,
}

impl OutputOpener<'_> {
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
            port: url.listen_port(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stop::StopSignal;
    use crate::media::PipelineError;

    #[test]
    fn each_output_ends_by_itself() {
        let supervisor = Supervisor::new(&StopSignal::default());
        let mut ending = ClosingOutputs::default();
        ending.wait_for(0, Duration::from_secs(60));
        ending.wait_for(1, Duration::from_millis(50));
        ending.wait_for(3, Duration::from_secs(60));
        for event in [
            Event::End(PipelineRole::Source),
            Event::End(PipelineRole::Sink(2)),
            Event::End(PipelineRole::Sink(3)),
            Event::End(PipelineRole::Sink(3)),
            Event::Failed(PipelineRole::Sink(0), PipelineError::new("file", "the disk is full")),
        ] {
            supervisor.events().send(event).unwrap();
        }
        let ended = supervisor.supervise(ending);
        assert_eq!(ended.keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
        assert!(matches!(ended[&0], OutputEnd::Failed(_)));
        assert!(matches!(ended[&1], OutputEnd::OutOfTime), "it said nothing in time");
        assert!(matches!(ended[&3], OutputEnd::Finished));
    }
}
