//! What all parts of a run share.

use std::sync::Arc;

use super::Observer;
use crate::core::stats::Stats;
use crate::core::stop::StopSignal;

/// The stop signal, the counters and the observer of one run.
pub struct RunContext<'a> {
    /// Ends the run.
    pub stop: StopSignal,
    /// Counters, from when the run began.
    pub stats: Arc<Stats>,
    /// Shows notes and progress to the user.
    pub observer: &'a mut dyn Observer,
}

impl<'a> RunContext<'a> {
    /// Of a run that begins now.
    pub fn new(stop: &StopSignal, observer: &'a mut dyn Observer) -> Self {
        RunContext { stop: stop.clone(), stats: Arc::default(), observer }
    }
}
