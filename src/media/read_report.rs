//! Reports of the thread that reads our own sources (pipes, pictures), while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the thread that reads frames has reported so far.
#[derive(Debug, Default)]
pub struct ReadReport {
    /// Notes for the user, oldest first.
    pub notes: Vec<String>,
    /// How many frames could not be read, and were replaced or left out.
    pub damaged: u64,
    /// Why reading ended early.
    pub failure: Option<String>,
    /// The source ended without a frame. The pipeline does not report this: an end of stream without a
    /// preceding buffer does not reach the sink.
    pub(super) nothing: bool,
}

/// A report shared between the thread that reads and the one that tells the user.
#[derive(Debug, Clone, Default)]
pub struct SharedReport(Arc<Mutex<ReadReport>>);

impl SharedReport {
    /// To read and to add to.
    pub fn lock(&self) -> MutexGuard<'_, ReadReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
