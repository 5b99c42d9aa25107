//! A live recording in pieces: files of equal length, each playable by itself.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::finish::finish;
use super::live_job::LiveJob;
use super::outputs::close;
use super::recording::kept;
use super::supervisor::Supervisor;
use super::{Observer, PartialFile, Progress};
use crate::core::encoding::{Container, Encoding};
use crate::core::sequence::Pattern;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{FINISH_LIVE_FILE, TICK, WaitTimer};
use crate::core::watchdog::Heartbeat;
use crate::media::clock::LiveClock;
use crate::media::live_audio::LiveAudio;
use crate::media::live_file::LiveFileSink;
use crate::media::live_sink::{OnDelay, report_delay};
use crate::media::sink::NewFile;
use crate::media::video::VideoStream;
use crate::media::{Buffer, Event, PipelineError, PipelineRole};

/// How long before a piece ends the next one is prepared.
const AHEAD: Duration = Duration::from_secs(2);

/// How long the sound of a piece may come after its picture.
const LATE_SOUND: Duration = Duration::from_secs(2);

/// How much sound waits for the picture of its time, which comes through the network.
const WAITING_SOUND: Duration = Duration::from_secs(20);

/// A recording in pieces; the first begins with the first frame. No frame is lost or comes twice between two: each goes
/// into one of them, and the next one is there before it is needed.
pub(super) struct Pieces {
    maker: PieceMaker,
    length: Duration,
    audio: Option<LiveAudio>,
    /// Sound that waits for the picture of its time.
    sound: Arc<Mutex<VecDeque<Buffer>>>,
    clock: LiveClock,
    events: Sender<Event>,
    on_delay: Arc<OnDelay>,
    output: PathBuf,
    number: usize,
    next: Option<JoinHandle<Result<Piece>>>,
    current: Option<Piece>,
    /// The piece before, whose sound may still come; its picture ends at this time.
    ending: Option<(Piece, Duration)>,
    finishing: Vec<JoinHandle<Result<()>>>,
    /// Frames that earlier pieces did not take.
    missed: u64,
    /// Frames that earlier pieces have taken.
    taken: u64,
    failed: bool,
}

/// Makes pieces, on any thread.
#[derive(Clone)]
struct PieceMaker {
    pattern: Pattern,
    container: Container,
    encoding: Encoding,
    stream: VideoStream,
    audio: Option<LiveAudio>,
    overwrite: bool,
    output: usize,
    stop: StopSignal,
}

/// One file.
struct Piece {
    sink: LiveFileSink,
    sound: Option<LiveAudio>,
    partial: PartialFile,
    heard: Receiver<Event>,
    number: u64,
    /// The time of its first frame.
    begins: Duration,
}

impl Pieces {
    /// Pieces of this length; `path` has a number in its name. They are counted on from those that exist, unless they may
    /// be replaced.
    ///
    /// # Errors
    /// When the name has no number, or no file can be made there.
    pub fn reserve(
        (path, length): (&Path, Duration),
        number: usize,
        job: &LiveJob,
        (stream, audio): (VideoStream, Option<LiveAudio>),
        clock: LiveClock,
        (events, stop): (Sender<Event>, &StopSignal),
        on_delay: OnDelay,
    ) -> Result<Self> {
        let name = path.display();
        let Some(container) = Container::from_path(path) else {
            bail!("cannot write '{name}': its name must end in {}", Container::ENDINGS);
        };
        let Some(pattern) = Pattern::parse_any(path) else {
            bail!("cannot write '{name}' in pieces: its name needs a number, such as %05d");
        };
        if let Err(why) = job.encoding.codec_in(container) {
            bail!("cannot write '{name}': {why}");
        }
        let existing = pattern.existing().with_context(|| format!("cannot write '{name}'"))?;
        let first = match existing.last() {
            Some(last) if !job.overwrite => last + 1,
            _ => 1,
        };
        let maker = PieceMaker {
            pattern,
            container,
            encoding: job.encoding,
            stream,
            audio: audio.clone(),
            overwrite: job.overwrite,
            output: number,
            stop: stop.clone(),
        };
        let sound: Arc<Mutex<VecDeque<Buffer>>> = Arc::default();
        if let Some(audio) = &audio {
            // A weak reference: the source may outlive the recording.
            let to = Arc::downgrade(&sound);
            audio.send_to(move |packet| {
                if let Some(sound) = to.upgrade() {
                    wait_for_picture(&mut lock(&sound), packet);
                }
            });
        }
        // Opened now, so that a folder that cannot be written to is known at the start.
        let partial = PartialFile::beside(&maker.pattern.path(first));
        let partial = partial.with_context(|| format!("cannot write '{name}'"))?;
        let next = maker.start(first, Some(partial)).context("cannot start a thread")?;
        Ok(Pieces {
            maker,
            length,
            audio,
            sound,
            clock,
            events,
            on_delay: Arc::new(on_delay),
            output: path.to_owned(),
            number,
            next: Some(next),
            current: None,
            ending: None,
            finishing: Vec::new(),
            missed: 0,
            taken: 0,
            failed: false,
        })
    }

    /// Passes on a frame, whose time is `pts`.
    pub fn push(&mut self, frame: &Buffer, pts: Duration) {
        if self.failed {
            return;
        }
        if let Err(error) = self.take(frame, pts) {
            self.failed = true;
            let error = PipelineError::new("file", format!("{error:#}"));
            let _ = self.events.send(Event::Failed(PipelineRole::Sink(self.number), error));
        }
    }

    fn take(&mut self, frame: &Buffer, pts: Duration) -> Result<()> {
        self.hear()?;
        let begun = self.current.as_ref().map(|piece| piece.begins);
        if begun.is_some_and(|begun| pts + AHEAD >= begun + self.length) && self.next.is_none() {
            let number = self.current.as_ref().map_or(1, |piece| piece.number + 1);
            self.next = Some(self.maker.start(number, None).context("cannot start a thread")?);
        }
        let due = begun.is_none_or(|begun| pts >= begun + self.length);
        // The first frame waits for its file; later ones still go into the piece before.
        let ready = self.current.is_none() || self.next.as_ref().is_some_and(|n| n.is_finished());
        if due
            && ready
            && let Some(next) = self.next.take()
        {
            self.begin(join(next)?, pts);
        }
        self.pass_sound(pts);
        if let Some(piece) = &self.current {
            piece.sink.push(frame);
        }
        Ok(())
    }

    /// Begins a piece with the frame of this time, and ends the one before.
    fn begin(&mut self, mut piece: Piece, pts: Duration) {
        self.end_before();
        piece.begins = pts;
        piece.sink.begin(pts);
        if let Some(pad) = piece.sink.encoded() {
            let report = Arc::clone(&self.on_delay);
            report_delay(&pad, self.clock.clone(), pts, Box::new(move |delay| report(delay)));
        }
        piece.sink.notes().iter().for_each(|note| tracing::info!("{note}"));
        self.ending = self.current.replace(piece).map(|before| (before, pts));
        if self.audio.is_none() {
            self.end_before();
        }
    }

    /// Passes on sound up to the time of the present picture, into the piece that holds the picture of its time.
    fn pass_sound(&mut self, now: Duration) {
        loop {
            let packet = lock(&self.sound).pop_front_if(|packet| time_of(packet) <= now);
            let Some(packet) = packet else { break };
            match &self.ending {
                Some((before, end)) if time_of(&packet) < *end => before.pass(&packet),
                _ => {
                    // The sound has come to the end of the piece before.
                    self.end_before();
                    self.current.iter().for_each(|piece| piece.pass(&packet));
                }
            }
        }
        if self.ending.as_ref().is_some_and(|(_, end)| now.saturating_sub(*end) >= LATE_SOUND) {
            self.end_before();
        }
    }

    /// Completes the piece before the present one.
    fn end_before(&mut self) {
        if let Some((before, _)) = self.ending.take() {
            self.complete(before);
        }
    }

    /// Ends a piece and completes its file, on a thread of its own.
    fn complete(&mut self, piece: Piece) {
        self.missed += piece.sink.dropped();
        self.taken += piece.sink.heartbeat().steps;
        piece.sink.end();
        let (maker, events, number) = (self.maker.clone(), self.events.clone(), self.number);
        let finish = move || {
            let finished = piece.finish(&maker);
            if let Err(error) = &finished {
                let error = PipelineError::new("file", format!("{error:#}"));
                // It fails even if no more frames come.
                let _ = events.send(Event::Failed(PipelineRole::Sink(number), error));
            }
            finished
        };
        match std::thread::Builder::new().name("finish".into()).spawn(finish) {
            Ok(thread) => self.finishing.push(thread),
            Err(error) => tracing::error!("a piece cannot be finished: {error}"),
        }
    }

    /// The error of the present piece, if it has failed.
    fn hear(&mut self) -> Result<()> {
        let Some(piece) = &self.current else { return Ok(()) };
        while let Ok(event) = piece.heard.try_recv() {
            if let Event::Failed(_, error) = event {
                return Err(error.into());
            }
        }
        for complete in self.finishing.extract_if(.., |piece| piece.is_finished()) {
            join(complete)?;
        }
        Ok(())
    }

    /// How many frames the encoders could not take in time.
    pub fn dropped(&self) -> u64 {
        let pieces = self.current.iter().chain(self.ending.iter().map(|(piece, _)| piece));
        self.missed + pieces.map(|piece| piece.sink.dropped()).sum::<u64>()
    }

    /// Whether frames wait for the present encoder, and how many have been taken in all.
    pub fn heartbeat(&self) -> Heartbeat {
        let before = self.ending.as_ref().map_or(0, |(piece, _)| piece.sink.heartbeat().steps);
        let now = self.current.as_ref().map(|piece| piece.sink.heartbeat()).unwrap_or_default();
        Heartbeat { works: now.works, steps: self.taken + before + now.steps }
    }

    /// Ends the last piece, unless the recording has `failed`.
    pub fn end(&mut self, failed: bool) {
        self.pass_sound(Duration::MAX);
        self.end_before();
        if !(failed || self.failed)
            && let Some(last) = self.current.take()
        {
            self.complete(last);
        }
    }

    /// Waits until all pieces are complete, and notes what the user should know.
    ///
    /// # Errors
    /// That of the first one that could not be finished; what there is stays under its partial name.
    pub fn finish(self, failed: bool, observer: &mut dyn Observer) -> Result<()> {
        let name = self.output.display();
        if self.taken == 0 && self.current.is_none() {
            observer.note(&format!("'{name}' was not written: no frame arrived"));
        }
        let mut result = Ok(());
        for piece in self.finishing {
            match join(piece) {
                Err(error) if result.is_ok() => result = Err(error),
                Err(error) => observer.note(&format!("{error:#}")),
                Ok(()) => {}
            }
        }
        // One that has failed.
        if let Some(Piece { sink, partial, .. }) = self.current {
            close(sink);
            observer.note(&kept(partial));
        }
        // That an output has failed has been said.
        if failed { Ok(()) } else { result }
    }

    /// The pipeline of the present piece as a Graphviz graph.
    pub fn dot(&self) -> Option<String> {
        self.current.as_ref().map(|piece| piece.sink.dot())
    }
}

impl PieceMaker {
    /// Opens a piece, on a thread of its own.
    fn start(
        &self,
        number: u64,
        partial: Option<PartialFile>,
    ) -> std::io::Result<JoinHandle<Result<Piece>>> {
        let maker = self.clone();
        let open = move || maker.open(number, partial);
        std::thread::Builder::new().name("piece".into()).spawn(open)
    }

    fn open(&self, mut number: u64, partial: Option<PartialFile>) -> Result<Piece> {
        let partial = match partial {
            Some(partial) => partial,
            None => {
                while !self.overwrite && self.pattern.path(number).exists() {
                    number += 1;
                }
                let path = self.pattern.path(number);
                let partial = PartialFile::beside(&path);
                partial.with_context(|| format!("cannot write '{}'", path.display()))?
            }
        };
        let file = NewFile {
            path: partial.path(),
            container: self.container,
            encoding: &self.encoding,
            stream: &self.stream,
            packets: false,
        };
        let (events, heard) = channel();
        let sound = self.audio.as_ref().map(LiveAudio::part);
        let sink = LiveFileSink::create(file, sound.as_ref(), self.output, &events)?;
        Ok(Piece { sink, sound, partial, heard, number, begins: Duration::ZERO })
    }
}

impl Piece {
    fn pass(&self, packet: &Buffer) {
        self.sound.iter().for_each(|sound| sound.pass(packet));
    }

    /// Waits for the end of the muxer and gives the file its name.
    fn finish(self, maker: &PieceMaker) -> Result<()> {
        let Piece { sink, partial, heard, .. } = self;
        let name = partial.target().display().to_string();
        let ended = wait_for_end(&heard);
        let layout = sink.layout();
        close(sink);
        if let Err(error) = ended {
            let kept = kept(partial);
            return Err(
                anyhow::Error::from(error).context(format!("cannot write '{name}' ({kept})"))
            );
        }
        if !maker.overwrite && partial.target().exists() {
            bail!("'{name}' already exists: {}", kept(partial));
        }
        let supervisor = Supervisor::new(&maker.stop);
        finish(partial, maker.container, &layout, &supervisor, &mut Notes)
            .with_context(|| format!("cannot write '{name}'"))
    }
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("the thread of a piece panicked")))
}

fn wait_for_end(heard: &Receiver<Event>) -> Result<(), PipelineError> {
    let mut timer = WaitTimer::new();
    while !timer.is_over(FINISH_LIVE_FILE) {
        match heard.recv_timeout(TICK) {
            Ok(Event::End(_)) => return Ok(()),
            Ok(Event::Failed(_, error)) => return Err(error),
            _ => {}
        }
    }
    Err(PipelineError::new("file", "it could not be finished in time"))
}

/// Shows what a thread has to say, at once.
struct Notes;

impl Observer for Notes {
    fn note(&mut self, text: &str) {
        tracing::warn!("{text}");
    }

    fn progress(&mut self, _progress: &Progress) {}
}

fn lock(sound: &Mutex<VecDeque<Buffer>>) -> MutexGuard<'_, VecDeque<Buffer>> {
    sound.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a packet, and leaves out those that have waited in vain.
fn wait_for_picture(sound: &mut VecDeque<Buffer>, packet: &Buffer) {
    let newest = time_of(packet);
    sound.push_back(packet.clone());
    while sound.pop_front_if(|packet| time_of(packet) + WAITING_SOUND < newest).is_some() {}
}

fn time_of(packet: &Buffer) -> Duration {
    crate::media::video::time_of(packet).unwrap_or_default()
}
