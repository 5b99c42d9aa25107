//! Re-encodes live sound for containers that cannot hold its codec, and sound that has changed its codec.

use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::error::PipelineError;
use super::live_audio::packet_in_running_time;
use super::pipeline::{Pipeline, PipelineRole};
use super::sound_format::{encoder_of, is_alike};
use super::tracks::{AAC_DELAY, sound_encoder};
use crate::core::encoding::Container;
use crate::core::timeouts::{TRY_SOUND_ENCODER, WaitTimer};

/// Sample rate: every encoder supports it, and it is usual for both codecs (AAC, Opus).
const RATE: u32 = 48_000;

/// Decodes the packets of a live source and encodes them anew.
///
/// It has a pipeline of its own, so that an error in the sound ends the sound and not the file.
pub(super) struct SoundEncoder {
    pipeline: Pipeline,
    packets: gst_app::AppSrc,
    encoded: gst_app::AppSink,
    caps: gst::Caps,
    /// Encoder delay: how much the encoder inserts before the sound.
    delay: Duration,
}

impl SoundEncoder {
    /// An encoder for sound with the format `sound`, for a container; its codec is `codec`.
    ///
    /// # Errors
    /// When an element is missing or does not work.
    pub fn open(
        sound: &gst::Caps,
        container: Container,
        codec: &str,
    ) -> Result<Self, PipelineError> {
        let channels = sound.structure(0).and_then(|s| s.get::<i32>("channels").ok());
        // Live sources do not report the positions of more than two channels.
        let channels = channels.unwrap_or(2).clamp(1, 2);
        let (encode, ..) = sound_encoder(container, channels);
        let encode = format!("audio/x-raw,rate={RATE},channels={channels} ! {encode}");
        let delay = match codec {
            "AAC" => Duration::from_secs(1) * AAC_DELAY / RATE,
            _ => Duration::ZERO,
        };
        SoundEncoder::build(sound, &encode, delay)
    }

    /// An encoder from one format into another.
    ///
    /// # Errors
    /// When nothing encodes to it, an element is missing or does not work.
    pub fn into_format(sound: &gst::Caps, wanted: &gst::Caps) -> Result<Self, PipelineError> {
        let none = || PipelineError::new("encode", "nothing encodes it into the first format");
        let encode = encoder_of(wanted).ok_or_else(none)?;
        let rate = wanted.structure(0).and_then(|s| s.get::<i32>("rate").ok());
        let delay = match (encode.contains("avenc_aac"), rate.and_then(|rate| rate.try_into().ok()))
        {
            (true, Some(rate)) => Duration::from_secs(1) * AAC_DELAY / u32::max(rate, 1),
            _ => Duration::ZERO,
        };
        let encoder = SoundEncoder::build(sound, &encode, delay)?;
        if is_alike(&encoder.caps, wanted) { Ok(encoder) } else { Err(none()) }
    }

    fn build(sound: &gst::Caps, encode: &str, delay: Duration) -> Result<Self, PipelineError> {
        // A muxer must know the format before the first packet comes.
        let caps = format_of(encode)?;
        let description = format!(
            "appsrc name=packets format=time is-live=true leaky-type=downstream \
             max-bytes=0 max-time=20000000000 \
             ! decodebin ! audioconvert ! audioresample ! {encode} \
             ! appsink name=encoded sync=false async=false"
        );
        let pipeline = Pipeline::parse(PipelineRole::Track(0), &description)?;
        let packets: gst_app::AppSrc = pipeline.element_as("packets")?;
        packets.set_caps(Some(sound));
        let encoded = pipeline.element_as("encoded")?;
        Ok(SoundEncoder { pipeline, packets, encoded, caps, delay })
    }

    /// Caps of the encoded packets.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// Starts encoding. `take` is called with every packet, `ended` after the last one or on failure.
    ///
    /// # Errors
    /// When the pipeline does not start.
    pub fn start(
        &self,
        take: impl Fn(&gst::Buffer) + Send + 'static,
        ended: impl Fn(Option<PipelineError>) + Clone + Send + Sync + 'static,
    ) -> Result<(), PipelineError> {
        let delay = gst::ClockTime::try_from(self.delay).unwrap_or_default();
        let complete = ended.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                if let Some(mut packet) = packet_in_running_time(&sample) {
                    let earlier = |time: Option<gst::ClockTime>| time?.checked_sub(delay);
                    let (pts, dts) = (earlier(packet.pts()), earlier(packet.dts()));
                    let writable = packet.make_mut();
                    writable.set_pts(pts);
                    writable.set_dts(dts);
                    take(&packet);
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| complete(None))
            .build();
        self.encoded.set_callbacks(callbacks);
        if let Some(bus) = self.pipeline.gst().bus() {
            bus.set_sync_handler(move |_, message| {
                if let gst::MessageView::Error(error) = message.view() {
                    ended(Some(PipelineError::from_message(error)));
                }
                gst::BusSyncReply::Drop
            });
        }
        self.pipeline.set_state(gst::State::Playing)
    }

    /// Passes on a packet without blocking; if the encoder lags, the oldest waiting packet is dropped.
    pub fn push(&self, packet: &gst::Buffer) {
        // Refused only after a failure, which has been reported.
        let _ = self.packets.push_buffer(packet.clone());
    }

    /// Ends the stream of packets.
    pub fn end(&self) {
        let _ = self.packets.end_of_stream();
    }
}

/// Caps that an encoder produces, found by encoding a moment of silence.
fn format_of(encode: &str) -> Result<gst::Caps, PipelineError> {
    let description = format!(
        "audiotestsrc wave=silence num-buffers=100 ! audioconvert ! {encode} \
         ! appsink name=encoded sync=false"
    );
    let pipeline = Pipeline::parse(PipelineRole::Track(0), &description)?;
    let encoded: gst_app::AppSink = pipeline.element_as("encoded")?;
    pipeline.set_state(gst::State::Playing)?;
    let mut timer = WaitTimer::new();
    while !timer.is_over(TRY_SOUND_ENCODER) && !encoded.is_eos() {
        let sample = encoded.try_pull_sample(gst::ClockTime::from_mseconds(50));
        if let Some(caps) = sample.and_then(|sample| sample.caps_owned()) {
            return Ok(caps);
        }
        if let Some(error) = pipeline.pending_error() {
            return Err(error);
        }
    }
    Err(PipelineError::new("encode", "the sound encoder produces nothing"))
}
