//! How an output of a live run ended.

use crate::media::PipelineError;

/// How an output ended.
pub(super) enum OutputEnd {
    /// All its data was written.
    Finished,
    /// It failed while it ended.
    Failed(PipelineError),
    /// It did not end in time.
    OutOfTime,
    /// It failed during the run; this has been reported.
    FailedBefore,
}
