//! How a track is to be read.

use gstreamer as gst;

use super::text::TextConversion;
use crate::core::span::Span;
use crate::core::stop::StopSignal;

/// How a track is to be read.
pub(super) struct TrackOptions<'a> {
    /// Its place among the tracks of the output.
    pub number: usize,
    pub span: Span,
    /// Elements that packets go through on their way.
    pub through: &'a str,
    /// What the muxer takes; anything when none.
    pub form: Option<gst::Caps>,
    /// What becomes of the words of a subtitle.
    pub words: TextConversion,
    /// It goes through an encoder.
    pub encoded: bool,
    /// Samples that the encoder puts before the sound.
    pub delay: u32,
    /// Whether the container asks how long each packet is.
    pub lengths: bool,
    /// Whether the container wants room behind the track's name, for its flags.
    pub room: bool,
    /// Ends the waiting for its beginning.
    pub stop: &'a StopSignal,
}
