//! Single frames of a live run, saved as pictures.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
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
#[derive(Debug, Clone, Default)]
pub struct SnapshotRequest(Arc<AtomicBool>);

impl SnapshotRequest {
    /// Makes the request.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Saves requested frames on a thread of its own, since compressing one takes longer than a frame. Dropping
/// it waits until all are saved.
pub(super) struct Snapshots {
    request: SnapshotRequest,
    frames: Option<SyncSender<Buffer>>,
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
        let (frames, to_save) = sync_channel::<Buffer>(WAITING);
        let (stream, stop) = (stream.clone(), stop.clone());
        let save_all = move || {
            for frame in to_save {
                match save(&frame, &stream, &stop) {
                    Ok(path) => tracing::warn!("snapshot: {}", path.display()),
                    Err(error) => tracing::error!("no snapshot: {error:#}"),
                }
            }
        };
        let thread = thread::Builder::new().name("snapshot".into()).spawn(save_all)?;
        Ok(Snapshots { request: request.clone(), frames: Some(frames), thread: Some(thread) })
    }

    /// Saves the frame, if a snapshot was requested.
    pub fn offer(&self, frame: &Buffer) {
        if !self.request.take() {
            return;
        }
        let taken = self.frames.as_ref().is_some_and(|to| to.try_send(frame.clone()).is_ok());
        if !taken {
            tracing::warn!("no snapshot: earlier ones are still being saved");
        }
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
