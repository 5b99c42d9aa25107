//! What a source of our own has to say while it is read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the thread that reads frames has reported so far.
#[derive(Debug, Default)]
pub struct ReadReport {
    /// What the user should know, oldest first.
    pub notes: Vec<String>,
    /// How many frames could not be read, and were replaced or left out.
    pub damaged: u64,
    /// Why it ended before its time.
    pub failure: Option<String>,
    /// It ended without a frame. The pipeline then says nothing: an end without a beginning does
    /// not come through.
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
