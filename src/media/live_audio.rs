//! The sound of a live source, for any number of outputs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::pipeline::Pipeline;
use crate::core::timeouts::{LIVE_SOUND, LIVE_SOUND_ANNOUNCED, WaitTimer};

/// The sound of a live source, still encoded; any number of outputs may take it.
#[derive(Clone)]
pub struct LiveAudio {
    caps: gst::Caps,
    takers: Arc<Mutex<Vec<PacketCallback>>>,
}

type PacketCallback = Box<dyn Fn(&gst::Buffer) + Send>;

impl LiveAudio {
    /// The sound delivered by the appsink `packets`, once its first packet has arrived; none if there is
    /// none.
    pub(super) fn of(pipeline: &Pipeline) -> Option<Self> {
        let sink = pipeline.gst().by_name("packets").and_downcast::<gst_app::AppSink>()?;
        let pad = sink.static_pad("sink")?;
        // Sound often comes a little after the first picture.
        let mut timer = WaitTimer::new();
        let linked = || pipeline.gst().by_name("track")?.static_pad("sink")?.peer();
        let caps = loop {
            match pad.current_caps() {
                Some(caps) => break caps,
                None if linked().is_none() && timer.is_over(LIVE_SOUND_ANNOUNCED) => return None,
                None if timer.is_over(LIVE_SOUND_ANNOUNCED + LIVE_SOUND) => return None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let takers: Arc<Mutex<Vec<PacketCallback>>> = Arc::default();
        let to = Arc::clone(&takers);
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                if let Some(packet) = packet_in_running_time(&sample) {
                    let takers = to.lock().unwrap_or_else(PoisonError::into_inner);
                    takers.iter().for_each(|take| take(&packet));
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        sink.set_callbacks(callbacks);
        Some(LiveAudio { caps, takers })
    }

    /// The format of its packets.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// Calls `take` with every further packet, timestamped in running time; `take` must not block.
    pub fn send_to(&self, take: impl Fn(&gst::Buffer) + Send + 'static) {
        self.takers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(take));
    }
}

/// The packet with its timestamp in running time; none if it lies before the segment.
pub(super) fn packet_in_running_time(sample: &gst::SampleRef) -> Option<gst::Buffer> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let mut packet = sample.buffer_owned()?;
    let pts = match packet.pts().or(packet.dts()) {
        Some(pts) => Some(segment.to_running_time(pts)?),
        None => None,
    };
    let dts = packet.dts().and_then(|dts| segment.to_running_time(dts));
    let writable = packet.make_mut();
    writable.set_pts(pts);
    writable.set_dts(dts);
    Some(packet)
}
