//! Options of how a video file is encoded.

use clap::Args;

use crate::core::encoding::{
    Codec, EncoderPreset, Encoding, HwAccel, RateControl, parse_bitrate, parse_quality,
};

/// How a video file is encoded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Video files")]
pub struct EncodingArgs {
    /// Video codec: h264, h265, vp9 or av1 [default: h264; vp9 in .webm]
    #[arg(long, value_name = "CODEC")]
    codec: Option<Codec>,
    /// Picture quality, from 0 (smallest file) to 100 [default: 60]
    #[arg(long, value_name = "0…100", value_parser = parse_quality, conflicts_with = "bitrate")]
    quality: Option<u32>,
    /// Bit rate of the picture instead of a quality, in bits per second: 4M, 800k
    #[arg(long, value_name = "BITS", value_parser = parse_bitrate)]
    bitrate: Option<u32>,
    /// Encoder speed against file size: ultrafast, superfast, veryfast, faster, fast, medium, slow,
    /// slower or veryslow [default: medium; live, veryfast]
    #[arg(long, value_name = "PRESET")]
    preset: Option<EncoderPreset>,
    /// Hardware decoders and encoders: auto (use those that work) or off
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    hwaccel: HwAccel,
    /// Crop an odd width or height by one pixel. H.264 and H.265 keep odd sizes as 4:4:4 only, which
    /// not every player shows
    #[arg(long)]
    even: bool,
}

impl EncodingArgs {
    /// What was asked for.
    pub fn encoding(&self) -> Encoding {
        let quality = self.quality.map(RateControl::Quality);
        Encoding {
            codec: self.codec,
            rate: quality
                .or(self.bitrate.map(RateControl::Bitrate))
                .unwrap_or(RateControl::DEFAULT),
            preset: self.preset,
            hwaccel: self.hwaccel,
            even: self.even,
            live: false,
        }
    }

    /// The bit rate that was asked for, in bits per second.
    #[cfg(feature = "media")]
    pub fn bitrate(&self) -> Option<u32> {
        self.bitrate
    }

    /// The first given option that has no effect unless the output is a video file.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--codec", self.codec.is_some()),
            ("--quality", self.quality.is_some()),
            ("--bitrate", self.bitrate.is_some()),
            ("--preset", self.preset.is_some()),
            ("--even", self.even),
        ];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }
}
