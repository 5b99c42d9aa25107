//! What all parts of one run share.

use std::sync::Arc;

use super::Observer;
use crate::core::stats::Stats;
use crate::core::stop::StopSignal;

/// What belongs to one run: who may end it, what counts, who is told how it goes.
pub struct RunContext<'a> {
    /// Ends the run.
    pub stop: StopSignal,
    /// Counters, from when the run began.
    pub stats: Arc<Stats>,
    /// Who is told.
    pub observer: &'a mut dyn Observer,
}

impl<'a> RunContext<'a> {
    /// Of a run that begins now.
    pub fn new(stop: &StopSignal, observer: &'a mut dyn Observer) -> Self {
        RunContext { stop: stop.clone(), stats: Arc::default(), observer }
    }
}
