//! Input for outputs that must never block the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::core::watchdog::Heartbeat;

/// An appsrc that holds a few frames at most: when the output lags, the oldest one is dropped for each
/// new one, and counted.
pub(super) struct LeakyInput {
    source: gst_app::AppSrc,
    most: u64,
    pushed: AtomicU64,
    passed: Arc<AtomicU64>,
}

impl LeakyInput {
    /// Limits an appsrc to `most` frames.
    pub fn over(source: gst_app::AppSrc, most: u64) -> Self {
        source.set_block(false);
        source.set_max_buffers(most);
        // The appsrc's own 200 kB are less than a frame.
        source.set_max_bytes(0);
        source.set_max_time(gst::ClockTime::ZERO);
        if source.leaky_type() == gst_app::AppLeakyType::None {
            source.set_leaky_type(gst_app::AppLeakyType::Downstream);
        }
        let passed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&passed);
        if let Some(pad) = source.static_pad("src") {
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        LeakyInput { source, most, pushed: AtomicU64::new(0), passed }
    }

    /// The appsrc.
    pub fn source(&self) -> &gst_app::AppSrc {
        &self.source
    }

    /// Passes on a frame; false if the output no longer takes frames.
    pub fn push(&self, frame: &gst::Buffer) -> bool {
        self.pushed.fetch_add(1, Ordering::Relaxed);
        self.source.push_buffer(frame.clone()).is_ok()
    }

    /// Frames that it was given.
    pub fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Relaxed)
    }

    /// Whether frames wait for the output, as many as may, and how many it has taken.
    pub fn heartbeat(&self) -> Heartbeat {
        let works = self.source.current_level_buffers() >= self.most;
        Heartbeat { works, steps: self.passed.load(Ordering::Relaxed) }
    }

    /// How many frames the output did not take.
    pub fn dropped(&self) -> u64 {
        let waiting = self.source.current_level_buffers();
        let gone = self.passed.load(Ordering::Relaxed) + waiting;
        self.pushed.load(Ordering::Relaxed).saturating_sub(gone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_takes_nothing_holds_two_frames_and_the_others_are_counted() {
        gst::init().unwrap();
        let text = "appsrc name=frames format=time ! fakesink";
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("frames").and_downcast::<gst_app::AppSrc>().unwrap();
        let input = LeakyInput::over(source, 2);
        // Paused, a sink takes one frame and no more.
        pipeline.set_state(gst::State::Paused).unwrap();
        let frame = gst::Buffer::with_size(1_000_000).unwrap();
        input.push(&frame);
        pipeline.state(gst::ClockTime::from_seconds(30)).0.unwrap();
        assert!((1..100).all(|_| input.push(&frame)));
        assert_eq!(input.source().current_level_buffers(), 2);
        assert_eq!(input.dropped(), 97);
        assert_eq!(input.heartbeat(), Heartbeat { works: true, steps: 1 });
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
