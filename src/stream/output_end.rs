//! How an output of a live run ended.

use crate::media::PipelineError;

/// How an output ended.
pub(super) enum OutputEnd {
    /// Everything went through.
    Finished,
    /// It failed while it ended.
    Failed(PipelineError),
    /// It did not end in time.
    OutOfTime,
    /// It failed during the run, which was said.
    FailedBefore,
}
