//! Single frames of a live run, saved as pictures.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::PartialFile;
use crate::core::picture::Picture;
use crate::core::stop::StopSignal;
use crate::media::Buffer;
use crate::media::video::{VideoStream, rgb_of};

/// Frames that may wait to be saved.
const WAITING: usize = 2;

/// Requests the next stylized frame as a picture. Clones share the request.
#[derive(Clone, Default)]
pub struct SnapshotRequest(Arc<Asked>);

#[derive(Default)]
struct Asked {
    is: AtomicBool,
    by: Mutex<Answers>,
}

/// Called with the file, or why there is none.
type Answers = Vec<Box<dyn FnOnce(Result<PathBuf, String>) + Send>>;

impl SnapshotRequest {
    /// Makes the request.
    pub fn ask(&self) {
        self.0.is.store(true, Ordering::Release);
    }

    /// Makes the request, and calls `answer` with the file once it is saved.
    pub fn ask_for(&self, answer: impl FnOnce(Result<PathBuf, String>) + Send + 'static) {
        self.0.by.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(answer));
        self.ask();
    }

    fn take(&self) -> Option<Answers> {
        let asked = self.0.is.swap(false, Ordering::AcqRel);
        let mut by = self.0.by.lock().unwrap_or_else(PoisonError::into_inner);
        asked.then(|| std::mem::take(&mut *by))
    }
}

/// Saves requested frames on a thread of its own, since compressing one takes longer than a frame. Dropping
/// it waits until all are saved.
pub(super) struct Snapshots {
    request: SnapshotRequest,
    frames: Option<SyncSender<(Buffer, Answers)>>,
    thread: Option<JoinHandle<()>>,
}

impl Snapshots {
    /// Of frames like those of `stream`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        request: &SnapshotRequest,
        stream: &VideoStream,
        stop: &StopSignal,
    ) -> std::io::Result<Self> {
        let (frames, to_save) = sync_channel::<(Buffer, Answers)>(WAITING);
        let (stream, stop) = (stream.clone(), stop.clone());
        let save_all = move || {
            for (frame, answers) in to_save {
                let saved = save(&frame, &stream, &stop).map_err(|error| format!("{error:#}"));
                match &saved {
                    Ok(path) => tracing::warn!("snapshot: {}", path.display()),
                    Err(error) => tracing::error!("no snapshot: {error}"),
                }
                answers.into_iter().for_each(|answer| answer(saved.clone()));
            }
        };
        let thread = thread::Builder::new().name("snapshot".into()).spawn(save_all)?;
        Ok(Snapshots { request: request.clone(), frames: Some(frames), thread: Some(thread) })
    }

    /// Saves the frame, if a snapshot was requested.
    pub fn offer(&self, frame: &Buffer) {
        // Asked of every frame: without a lock, as long as there is none.
        if !self.request.0.is.load(Ordering::Acquire) {
            return;
        }
        let (Some(answers), Some(frames)) = (self.request.take(), &self.frames) else { return };
        let refused = match frames.try_send((frame.clone(), answers)) {
            Ok(()) => return,
            Err(TrySendError::Full(refused) | TrySendError::Disconnected(refused)) => refused,
        };
        let why = "earlier ones are still being saved";
        tracing::warn!("no snapshot: {why}");
        refused.1.into_iter().for_each(|answer| answer(Err(why.to_owned())));
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        drop(self.frames.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Saves a frame as `nst-stream-<milliseconds since 1970>.png` in the working folder.
fn save(frame: &Buffer, stream: &VideoStream, stop: &StopSignal) -> Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = PathBuf::from(format!("nst-stream-{}.png", since.as_millis()));
    let picture = Picture::from_frame(rgb_of(frame, stream)?);
    let file = PartialFile::beside(&path)?;
    let partial = file.path().to_owned();
    let _removed = stop.clean_up(move || {
        let _ = std::fs::remove_file(partial);
        None
    });
    picture.save(file.path(), &path)?;
    file.commit()?;
    Ok(path)
}
