//! Encoded pictures and sound on their way into a stream: in the order of their times, from a key frame on, never waiting.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::live_file::{gap, turn_into_gap};
use super::shared_encoder::UnitConsumer;
use crate::core::watchdog::Heartbeat;

/// How many access units may wait for a connection that is too slow: some seconds. Then pictures are left out up to the
/// next key frame.
const UNITS: u64 = 120;

/// How long sound may wait for the picture of its time, which comes through the network.
const SOUND: Duration = Duration::from_secs(20);

/// Silence of this length is told to a muxer that waits for sound.
const GAP_AFTER: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// Where pictures and sound of one stream come together.
pub(super) struct StreamFeed {
    units: gst_app::AppSrc,
    packets: Option<gst_app::AppSrc>,
    state: Mutex<FeedState>,
    dropped: AtomicU64,
    passed: Arc<AtomicU64>,
    /// The muxer waits for sound, unless it is told that there is none.
    gaps: bool,
}

#[derive(Default)]
struct FeedState {
    /// The last unit was passed on; else the next one must be a key frame.
    flows: bool,
    /// Sound waits until the picture of its time has come.
    sound: VecDeque<gst::Buffer>,
    /// Up to this time there was sound, or a gap.
    until: Option<gst::ClockTime>,
    /// Time of the first picture: sound before it is left out.
    first: Option<gst::ClockTime>,
}

impl StreamFeed {
    /// Into these inputs of a muxer.
    pub fn into(units: gst_app::AppSrc, packets: Option<gst_app::AppSrc>) -> Self {
        for input in [Some(&units), packets.as_ref()].into_iter().flatten() {
            input.set_block(false);
            input.set_max_bytes(0);
        }
        let passed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&passed);
        if let Some(pad) = units.static_pad("src") {
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                count.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        let (state, dropped) = (Mutex::default(), AtomicU64::new(0));
        StreamFeed { units, packets, state, dropped, passed, gaps: false }
    }

    /// The same, into a muxer that waits for sound: it is told where there is none.
    pub fn with_gaps(units: gst_app::AppSrc, packets: Option<gst_app::AppSrc>) -> Self {
        if let Some(pad) = packets.as_ref().and_then(|packets| packets.static_pad("src")) {
            pad.add_probe(gst::PadProbeType::BUFFER, turn_into_gap);
        }
        StreamFeed { gaps: true, ..StreamFeed::into(units, packets) }
    }

    /// Tells the muxer that there is no sound up to `now`, if it has been missing for long.
    fn tell_of_silence(&self, state: &mut FeedState, first: gst::ClockTime, now: gst::ClockTime) {
        let until = *state.until.get_or_insert(first);
        if let Some(packets) = self.packets.as_ref().filter(|_| self.gaps)
            && until + GAP_AFTER < now
        {
            state.until = Some(now);
            let _ = packets.push_buffer(gap(now));
        }
    }

    /// Takes a packet of sound.
    pub fn packet(&self, packet: &gst::Buffer) {
        if self.packets.is_none() || packet.pts().is_none() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sound.push_back(packet.clone());
        let newest = packet.pts().unwrap_or_default();
        let limit = gst::ClockTime::try_from(SOUND).unwrap_or_default();
        let late = |packet: &mut gst::Buffer| packet.pts().is_none_or(|pts| pts + limit < newest);
        while state.sound.pop_front_if(late).is_some() {}
    }

    /// Whether units wait for the connection, as many as may, and how many it has taken.
    pub fn heartbeat(&self) -> Heartbeat {
        let works = self.units.current_level_buffers() >= UNITS;
        Heartbeat { works, steps: self.passed.load(Ordering::Relaxed) }
    }

    /// Frames that were encoded and left out.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Ends picture and sound.
    pub fn end(&self) {
        for input in [Some(&self.units), self.packets.as_ref()].into_iter().flatten() {
            let _ = input.end_of_stream();
        }
    }
}

impl UnitConsumer for StreamFeed {
    /// Passes on an access unit, and the sound up to its time.
    fn unit(&self, unit: &gst::Buffer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = !unit.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let full = self.units.current_level_buffers() >= UNITS;
        if full || !state.flows && !key {
            // Units that came before the first key frame are not missed.
            if state.first.is_some() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            state.flows = false;
            return;
        }
        state.flows = true;
        let first = *state.first.get_or_insert(unit.pts().unwrap_or_default());
        while let Some(packet) = state.sound.pop_front_if(|packet| packet.pts() <= unit.pts()) {
            if packet.pts() >= Some(first)
                && let Some(packets) = &self.packets
            {
                state.until = packet.pts();
                let _ = packets.push_buffer(packet);
            }
        }
        self.tell_of_silence(&mut state, first, unit.pts().unwrap_or_default());
        // Refused only when the pipeline failed, which its bus tells.
        let _ = self.units.push_buffer(unit.clone());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn unit(ms: u64, key: bool) -> gst::Buffer {
        let mut unit = gst::Buffer::with_size(10).unwrap();
        let writable = unit.get_mut().unwrap();
        writable.set_pts(gst::ClockTime::from_mseconds(ms));
        if !key {
            writable.set_flags(gst::BufferFlags::DELTA_UNIT);
        }
        unit
    }

    #[test]
    fn a_stream_begins_with_a_key_frame_and_goes_on_with_one_after_a_jam() {
        gst::init().unwrap();
        let input = || gst::ElementFactory::make("appsrc").build().unwrap();
        let (units, packets) = (input(), input());
        let [units, packets] = [units, packets].map(|e| e.downcast::<gst_app::AppSrc>().unwrap());
        let feed = StreamFeed::into(units.clone(), Some(packets.clone()));
        let counts = || [&units, &packets].map(|input| input.current_level_buffers());
        feed.unit(&unit(0, false));
        feed.packet(&unit(5, true));
        feed.packet(&unit(45, true));
        feed.packet(&unit(90, true));
        assert_eq!((counts(), feed.dropped()), ([0, 0], 0), "no key frame yet");
        feed.unit(&unit(40, true));
        assert_eq!(counts(), [1, 0], "sound before the first picture is left out");
        feed.unit(&unit(80, false));
        assert_eq!(counts(), [2, 1], "sound up to the time of the picture");
        for n in 3..200 {
            feed.unit(&unit(40 * n, false));
        }
        assert_eq!((counts(), feed.dropped()), ([UNITS, 2], 79));
    }
}
