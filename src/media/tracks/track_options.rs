//! How a track is to be read.

use gstreamer as gst;

use super::text::TextConversion;
use crate::core::span::Span;
use crate::core::stop::StopSignal;

/// How a track is to be read.
pub(super) struct TrackOptions<'a> {
    /// Index of the track among the tracks of the output.
    pub number: usize,
    pub span: Span,
    /// GStreamer elements that the packets pass through, in `gst-launch` syntax.
    pub elements: &'a str,
    /// The caps that the muxer accepts; none: any.
    pub accepted_caps: Option<gst::Caps>,
    /// How subtitle text is converted.
    pub text_conversion: TextConversion,
    /// The track is re-encoded.
    pub encoded: bool,
    /// A decoder that has refused the track.
    pub refused: Option<String>,
    /// Encoder delay: samples that the encoder inserts before the sound.
    pub delay: u32,
    /// Whether the muxer needs a duration on every packet.
    pub needs_durations: bool,
    /// Whether the track's name is padded, to make room for flags that are written later (Matroska).
    pub pad_name: bool,
    /// Ends the wait for the track's first packet.
    pub stop: &'a StopSignal,
}
