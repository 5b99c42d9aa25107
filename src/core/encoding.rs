//! Encoding options of video files: codecs, containers, presets, and which of them fit together.

use std::fmt;
use std::path::Path;
use std::time::Duration;

choice! {
    /// A video codec.
    Codec {
        /// H.264 (MPEG-4 AVC): plays everywhere.
        H264 = "h264",
        /// H.265 (HEVC).
        H265 = "h265",
        /// VP9.
        Vp9 = "vp9",
        /// AV1: smallest files, slowest encoder.
        Av1 = "av1",
    }
}

choice! {
    /// Encoder speed against file size, from the fastest to the slowest.
    EncoderPreset {
        /// Fastest, largest files.
        Ultrafast = "ultrafast",
        /// One step slower.
        Superfast = "superfast",
        /// One step slower.
        Veryfast = "veryfast",
        /// One step slower.
        Faster = "faster",
        /// One step slower.
        Fast = "fast",
        /// The default for files.
        Medium = "medium",
        /// One step slower.
        Slow = "slow",
        /// One step slower.
        Slower = "slower",
        /// Slowest, smallest files.
        Veryslow = "veryslow",
    }
}

impl EncoderPreset {
    /// Index from 0 (fastest) to 8 (slowest).
    pub fn index(self) -> usize {
        self as usize
    }
}

choice! {
    /// Whether hardware decoders and encoders are used.
    HwAccel {
        /// Those that work.
        Auto = "auto",
        /// None.
        Off = "off",
    }
}

/// Rate control of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateControl {
    /// Constant quality, from 0 (poor) to 100.
    Quality(u32),
    /// Average bit rate, in bits per second.
    Bitrate(u32),
}

impl RateControl {
    /// Hard to distinguish from the original.
    pub const DEFAULT: RateControl = RateControl::Quality(60);

    /// The quantizer for this quality on a codec's scale from 0 (lossless) to `worst`; none for a bit rate.
    pub fn quantizer(self, worst: u32) -> Option<u32> {
        match self {
            RateControl::Quality(quality) => Some(((100 - quality.min(100)) * worst + 50) / 100),
            RateControl::Bitrate(_) => None,
        }
    }
}

/// Parses a bit rate in bits per second: `4M`, `2500k` or `2500000`, from 10 kbit/s to 1 Gbit/s.
///
/// # Errors
/// A line that says what is expected.
pub fn parse_bitrate(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.trim_end_matches(['k', 'K', 'm', 'M']) {
        number if number.len() == text.len() => (number, 1.0),
        number if text.ends_with(['k', 'K']) => (number, 1e3),
        number => (number, 1e6),
    };
    let bits = number.parse::<f64>().ok().map(|n| n * unit);
    bits.filter(|bits| (1e4..=1e9).contains(bits))
        // Lossless: within the range just checked.
        .map(|bits| bits as u32)
        .ok_or_else(|| "expected bits per second from 10k to 1000M, such as 4M or 2500k".to_owned())
}

/// The containers that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// MPEG-4 part 14.
    Mp4,
    /// QuickTime.
    Mov,
    /// Matroska.
    Mkv,
    /// WebM.
    WebM,
}

impl Container {
    /// File name extensions of all containers, for messages.
    pub const ENDINGS: &str = ".mp4, .mov, .mkv or .webm";

    /// The container of a file name, by its extension in any case.
    pub fn from_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" => Some(Container::Mp4),
            "mov" => Some(Container::Mov),
            "mkv" => Some(Container::Mkv),
            "webm" => Some(Container::WebM),
            _ => None,
        }
    }

    /// The usual extension of its files.
    pub const fn ending(self) -> &'static str {
        match self {
            Container::Mp4 => "mp4",
            Container::Mov => "mov",
            Container::Mkv => "mkv",
            Container::WebM => "webm",
        }
    }

    /// Codecs that it may hold, the default first.
    pub fn codecs(self) -> &'static [Codec] {
        match self {
            Container::Mp4 | Container::Mkv => &[Codec::H264, Codec::H265, Codec::Vp9, Codec::Av1],
            Container::Mov => &[Codec::H264, Codec::H265],
            Container::WebM => &[Codec::Vp9, Codec::Av1],
        }
    }

    /// Its common name.
    pub fn name(self) -> &'static str {
        match self {
            Container::Mp4 => "MP4",
            Container::Mkv => "Matroska",
            Container::Mov => "QuickTime",
            Container::WebM => "WebM",
        }
    }

    /// Whether it is of the MP4 family: written in fragments, finished with its index in front, and with edit
    /// lists, which can begin a track within a packet.
    pub fn is_mp4(self) -> bool {
        matches!(self, Container::Mp4 | Container::Mov)
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Container::Mp4 => ".mp4",
            Container::Mov => ".mov",
            Container::Mkv => ".mkv",
            Container::WebM => ".webm",
        })
    }
}

/// How a video file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Codec; none for the default of the container.
    pub codec: Option<Codec>,
    /// Rate control.
    pub rate: RateControl,
    /// Preset; none for the default.
    pub preset: Option<EncoderPreset>,
    /// Use of hardware encoders.
    pub hwaccel: HwAccel,
    /// Crop odd sizes by one line or column, instead of encoding 4:4:4.
    pub even: bool,
    /// Live: the encoder must not look ahead.
    pub live: bool,
}

/// How streams that are sent are encoded: H.264 without delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEncoding {
    /// Between two key frames, at most.
    pub key_interval: Duration,
    /// Highest bit rate, in bits per second; none for one by the size of the picture.
    pub bitrate: Option<u32>,
}

impl Default for Encoding {
    fn default() -> Self {
        Encoding {
            codec: None,
            rate: RateControl::DEFAULT,
            preset: None,
            hwaccel: HwAccel::Auto,
            even: false,
            live: false,
        }
    }
}

impl Encoding {
    /// The chosen preset, or the default: medium for files, veryfast live.
    pub fn preset(&self) -> EncoderPreset {
        self.preset.unwrap_or(if self.live {
            EncoderPreset::Veryfast
        } else {
            EncoderPreset::Medium
        })
    }

    /// The codec for this container.
    ///
    /// # Errors
    /// When the container cannot hold the chosen codec; the message lists those it can.
    pub fn codec_in(&self, container: Container) -> Result<Codec, String> {
        let may = container.codecs();
        match self.codec {
            None => Ok(may[0]),
            Some(codec) if may.contains(&codec) => Ok(codec),
            Some(codec) => {
                let may: Vec<_> = may.iter().map(ToString::to_string).collect();
                Err(format!("{container} cannot hold {codec}: it takes {}", may.join(", ")))
            }
        }
    }
}

/// Parses a quality from 0 to 100.
///
/// # Errors
/// A line that says what is expected.
pub fn parse_quality(text: &str) -> Result<u32, String> {
    let quality = text.parse().ok().filter(|quality| *quality <= 100);
    quality.ok_or_else(|| "expected a number from 0 (smallest file) to 100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_quality_is_quantizer_20_of_h264() {
        assert_eq!(RateControl::DEFAULT.quantizer(51), Some(20));
        assert_eq!(RateControl::Quality(100).quantizer(63), Some(0));
        assert_eq!(RateControl::Quality(0).quantizer(63), Some(63));
        assert_eq!(RateControl::Bitrate(1000).quantizer(51), None);
    }

    #[test]
    fn bit_rates_take_units() {
        assert_eq!(parse_bitrate("4M"), Ok(4_000_000));
        assert_eq!(parse_bitrate("1.5m"), Ok(1_500_000));
        assert_eq!(parse_bitrate("800k"), Ok(800_000));
        assert_eq!(parse_bitrate("250000"), Ok(250_000));
        for bad in ["", "k", "0", "-4M", "4Mk", "1e12", "NaN", "fast"] {
            assert!(parse_bitrate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_codec_that_does_not_fit_is_refused_with_those_that_do() {
        let h264 = Encoding { codec: Some(Codec::H264), ..Encoding::default() };
        assert_eq!(h264.codec_in(Container::Mkv), Ok(Codec::H264));
        let error = h264.codec_in(Container::WebM).unwrap_err();
        assert_eq!(error, ".webm cannot hold h264: it takes vp9, av1");
        assert_eq!(Encoding::default().codec_in(Container::WebM), Ok(Codec::Vp9));
    }

    #[test]
    fn the_place_of_a_preset_counts_from_the_fastest() {
        assert_eq!((EncoderPreset::Ultrafast.index(), EncoderPreset::Medium.index()), (0, 5));
        assert_eq!(EncoderPreset::Veryslow.index(), 8);
    }
}
