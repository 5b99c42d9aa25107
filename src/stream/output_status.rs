//! What has become of each output of a live run.

use std::time::Instant;

/// An output, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputStatus {
    /// As on the command line, without user, password and keys.
    pub name: String,
    /// Whether it takes frames.
    pub state: OutputState,
    /// Frames that it got.
    pub frames: u64,
    /// Frames that it did not take in time.
    pub dropped: u64,
    /// How often it was lost.
    pub losses: u64,
    /// Clients of a server.
    pub clients: Option<usize>,
}

/// Whether an output takes frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputState {
    /// It does.
    Open,
    /// It has failed and is opened again.
    Lost,
    /// It has failed for good: why.
    Failed(String),
    /// It has been finished while the run goes on.
    Finished,
}

/// A recording that was begun while the run went on.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingStatus {
    /// Its file.
    pub name: String,
    /// When it was begun.
    pub since: Instant,
}
