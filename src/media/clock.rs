//! One clock and one base time for all pipelines of a live run.
//!
//! A frame's time is the running time of the source's pipeline. Sinks run in pipelines of their
//! own; with the same clock and base time a frame's time means the same in all of them, and its
//! delay is simply "now" minus its time.

use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::error::PipelineError;

/// What pipelines of one run share.
#[derive(Debug, Clone)]
pub struct LiveClock {
    clock: gst::Clock,
    base: gst::ClockTime,
}

impl LiveClock {
    /// Starts a clock whose running time is zero now; it follows the system's monotonic clock.
    ///
    /// # Errors
    /// When GStreamer cannot start.
    pub fn start() -> Result<Self, PipelineError> {
        super::init()?;
        let clock = gst::SystemClock::obtain();
        let base = clock.time();
        Ok(LiveClock { clock, base })
    }

    /// Sets this clock and base time for a pipeline. Call it before the pipeline is set to Playing.
    pub fn apply_to(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        // Without a start time the pipeline keeps the base time it is given.
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base);
    }

    /// The clock itself.
    pub fn gst(&self) -> &gst::Clock {
        &self.clock
    }

    /// The clock's time at which running time is zero.
    pub fn base_time(&self) -> gst::ClockTime {
        self.base
    }

    /// Running time now.
    pub fn now(&self) -> Duration {
        self.clock.time().saturating_sub(self.base).into()
    }
}
