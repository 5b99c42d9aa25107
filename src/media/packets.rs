//! Encoded pictures of a part of a longer video: read from its file, and passed to a container.

use std::path::Path;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::error::{ErrorKind, PipelineError};
use super::pipeline::{Pipeline, PipelineRole};
use super::video::VideoStream;
use crate::core::encoding::Codec;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{POLL, READ_PACKET, WaitTimer};

const READER: &str = include_str!("../../pipelines/read-packets.pipeline");
/// Decoding times of the first pictures lie before the first picture's: the time of all packets begins here.
const ORIGIN: gst::ClockTime = gst::ClockTime::from_seconds(3600);

/// The format of encoded pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct PacketCaps(gst::Caps);

/// An encoded picture.
#[derive(Debug, Clone)]
pub struct Packet {
    /// When it is shown, counted from the beginning of its part's run.
    pub pts: Duration,
    /// Whether decoding needs another time than showing.
    pub reordered: bool,
    buffer: gst::Buffer,
}

impl PacketCaps {
    /// What its pictures are like.
    ///
    /// # Errors
    /// When it says no size.
    pub(super) fn stream(&self) -> Result<VideoStream, PipelineError> {
        let mut raw = gst::Caps::builder("video/x-raw").field("format", "I420").build();
        if let (Some(from), Some(to)) = (self.0.structure(0), raw.make_mut().structure_mut(0)) {
            for field in ["width", "height", "framerate", "pixel-aspect-ratio", "colorimetry"] {
                if let Ok(value) = from.value(field) {
                    to.set_value(field, value.clone());
                }
            }
        }
        VideoStream::from_caps(&raw)
    }

    /// The codec.
    pub fn codec(&self) -> Option<Codec> {
        match self.0.structure(0)?.name().as_str() {
            "video/x-h264" => Some(Codec::H264),
            "video/x-h265" => Some(Codec::H265),
            "video/x-vp9" => Some(Codec::Vp9),
            "video/x-av1" => Some(Codec::Av1),
            _ => None,
        }
    }
}

/// Reads the packets of a part, in the order in which they are decoded.
///
/// # Errors
/// When the file is damaged; what `each` says; that `stop` was set.
pub fn read_packets(
    path: &Path,
    stop: &StopSignal,
    each: &mut dyn FnMut(&PacketCaps, Packet) -> Result<(), PipelineError>,
) -> Result<(), PipelineError> {
    let pipeline = Pipeline::parse(PipelineRole::Remux, READER)?;
    pipeline.element("file")?.set_property("location", path);
    let packets: gst_app::AppSink = pipeline.element_as("packets")?;
    pipeline.set_state(gst::State::Playing)?;
    let damaged = |text: &str| PipelineError::new("part", text).of_kind(ErrorKind::Damaged);
    let wait = gst::ClockTime::try_from(POLL).ok();
    let mut silence = WaitTimer::new();
    let mut format: Option<PacketCaps> = None;
    loop {
        if stop.is_set() {
            return Err(PipelineError::stopped());
        }
        let Some(sample) = packets.try_pull_sample(wait) else {
            if let Some(error) = pipeline.pending_error() {
                return Err(error);
            }
            if packets.is_eos() {
                break;
            }
            if silence.is_over(READ_PACKET) {
                return Err(damaged("it gives nothing more"));
            }
            continue;
        };
        silence.renew();
        let caps = sample.caps().ok_or_else(|| damaged("it says no format"))?;
        if format.as_ref().is_none_or(|format| format.0 != *caps) {
            format = Some(PacketCaps(caps.to_owned()));
        }
        let buffer = sample.buffer_owned().ok_or_else(|| damaged("it holds no packet"))?;
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let pts = match (segment, buffer.pts()) {
            (Some(segment), Some(pts)) => segment.to_running_time(pts),
            (_, pts) => pts,
        };
        let pts = pts.ok_or_else(|| damaged("a packet has no time"))?;
        let reordered = buffer.dts().is_some();
        let Some(format) = &format else { continue };
        each(format, Packet { pts: Duration::from_nanos(pts.nseconds()), reordered, buffer })?;
    }
    match pipeline.pending_error() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Takes encoded pictures for a file.
pub struct PacketInput(gst_app::AppSrc);

impl PacketInput {
    pub(super) fn of(target: &gst_app::AppSrc) -> Self {
        PacketInput(target.clone())
    }

    /// Passes a picture on: when it is shown, and, nanoseconds, when it is decoded, where it says so. Waits while there is no
    /// room; false if no more are taken.
    pub fn push(
        &self,
        caps: &PacketCaps,
        packet: Packet,
        (pts, dts): (Duration, Option<i128>),
    ) -> bool {
        let mut buffer = packet.buffer;
        let at = |time: i128| {
            let time = (time + i128::from(ORIGIN.nseconds())).max(0);
            gst::ClockTime::from_nseconds(u64::try_from(time).unwrap_or(u64::MAX - 1))
        };
        let writable = buffer.make_mut();
        writable.set_pts(at(i128::try_from(pts.as_nanos()).unwrap_or(i128::MAX >> 1)));
        writable.set_dts(dts.map(at));
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(ORIGIN);
        segment.set_position(ORIGIN);
        let sample = gst::Sample::builder().buffer(&buffer).caps(&caps.0).segment(&segment).build();
        self.0.push_sample(&sample).is_ok()
    }

    /// Ends the pictures.
    pub fn end(&self) {
        let _ = self.0.end_of_stream();
    }
}
