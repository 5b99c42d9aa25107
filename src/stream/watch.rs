//! The main thread of a video: listens to what its pipelines say until the sink is done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::feed::Early;
use crate::media::sink::VideoSink;
use crate::media::{Event, PipelineError, Role};
use crate::queue::Closer;

/// After a failure of the source: how long to wait for another frame.
const SILENCE: Duration = Duration::from_secs(2);

/// After the end of reading: how long a single frame may take to be decoded.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Both queues, to be ended early.
pub(super) struct Queues<'a> {
    pub(super) decoded: &'a Closer,
    pub(super) styled: &'a Closer,
    /// Whether there are decoded frames that are not painted yet.
    pub(super) waiting: &'a dyn Fn() -> bool,
    /// Whether the source reads nothing more.
    pub(super) read: &'a dyn Fn() -> bool,
}

/// How the source came through.
#[derive(Default)]
pub(super) struct SourceEnd {
    /// What ended it before its time.
    pub(super) failure: Option<PipelineError>,
    /// How often the decoder complained and went on.
    pub(super) warnings: u64,
}

/// Waits for the muxer to finish, and starts the end early when something asks for it.
///
/// # Errors
/// The sink's failure: then the file cannot be finished.
pub(super) fn watch(
    said: &Receiver<Event>,
    queues: &Queues,
    sink: Option<&VideoSink>,
    early: &Early,
    stop: &AtomicBool,
    tick: &mut dyn FnMut(),
) -> Result<SourceEnd> {
    let mut end = SourceEnd::default();
    // Since when nothing has come of a source that is at its end.
    let mut silent = Instant::now();
    loop {
        if stop.load(Ordering::Acquire) && !early.get() {
            early.set();
            queues.decoded.close();
        }
        // After a failure the frames before it still come. A demuxer may also stop without a word
        // (see `Pipeline::wait_prerolled`).
        let patience = match end.failure {
            Some(_) => Some(SILENCE),
            None => (queues.read)().then_some(GIVEN_UP),
        };
        match patience {
            Some(patience) if !queues.decoded.is_closed() && !(queues.waiting)() => {
                if silent.elapsed() > patience {
                    let text = "it is damaged: no more could be read";
                    end.failure.get_or_insert_with(|| PipelineError::new("demuxer", text));
                    early.set();
                    queues.decoded.close();
                }
            }
            _ => silent = Instant::now(),
        }
        match said.recv_timeout(Duration::from_millis(100)) {
            Ok(Event::End(Role::Sink(_))) => {
                // Of a sink that had enough before its source had: nobody waits for more.
                queues.decoded.close();
                return Ok(end);
            }
            Ok(Event::Failed(Role::Sink(_), error)) => {
                queues.styled.close();
                return Err(error.into());
            }
            Ok(Event::Failed(Role::Source, error)) => {
                // The demuxer failed far ahead of what is decoded: the frames before still come, and
                // then, most often, the end.
                end.failure.get_or_insert(error);
                early.set();
                silent = Instant::now();
            }
            Ok(Event::Failed(Role::Track(number), error)) => {
                tracing::warn!("audio track {}: {error}", number + 1);
                sink.into_iter().for_each(|sink| sink.end_track(number));
            }
            Ok(Event::Warning(role, warning)) => {
                end.warnings += u64::from(role == Role::Source);
                tracing::debug!("{}: {warning} ({:?})", warning.element, warning.debug);
            }
            Ok(Event::End(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the pipelines are gone"),
        }
        tick();
    }
}
