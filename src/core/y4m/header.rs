//! The header line of YUV4MPEG2.

use super::Y4mError;
use crate::core::frame::Range;
use crate::core::rate::FrameRate;

/// Chroma subsampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// 4:2:0: half the width and half the height.
    Yuv420,
    /// 4:2:2: half the width.
    Yuv422,
    /// 4:1:1: a quarter of the width.
    Yuv411,
    /// 4:4:4: as many as of luma.
    Yuv444,
    /// 4:4:4 with an alpha plane, which is ignored.
    Yuv444Alpha,
    /// No chroma: grey.
    Mono,
}

/// Chroma siting of 4:2:0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChromaSite {
    /// Centre of four luma samples (JPEG, MPEG-1).
    Centre,
    /// Between the left two luma samples (MPEG-2 and later).
    Left,
    /// As in PAL DV.
    PalDv,
}

/// Interlacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interlace {
    /// Progressive.
    Progressive,
    /// Interlaced, top field first.
    TopFirst,
    /// Interlaced, bottom field first.
    BottomFirst,
    /// Stated for each frame.
    Mixed,
}

/// The format of a stream's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels.
    pub width: usize,
    /// Height in lines.
    pub height: usize,
    /// Frame rate.
    pub rate: FrameRate,
    /// Pixel aspect ratio (width over height).
    pub pixel_aspect: (u32, u32),
    /// Chroma subsampling.
    pub sampling: Sampling,
    /// Chroma siting.
    pub site: ChromaSite,
    /// Bits per sample; above eight in two bytes, little-endian.
    pub depth: u32,
    /// Range of the sample values.
    pub range: Range,
    /// Interlacing.
    pub interlace: Interlace,
}

pub(super) const MAGIC: &[u8] = b"YUV4MPEG2";
const LONGEST_SIDE: usize = 32_768;
/// Largest number of pixels of a frame, 16 times that of 8K.
const MOST_PIXELS: usize = 1 << 29;

impl Header {
    /// Parses the line `YUV4MPEG2 W… H… …`.
    ///
    /// # Errors
    /// [`Y4mError::NotY4m`], [`Y4mError::Header`].
    pub fn parse(line: &str) -> Result<Self, Y4mError> {
        let mut words = line.split_ascii_whitespace();
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err(Y4mError::NotY4m);
        }
        let wrong = |word: &str| Y4mError::Header(format!("'{}'", shortened(word)));
        let mut header = Header {
            width: 0,
            height: 0,
            rate: FrameRate::USUAL,
            pixel_aspect: (1, 1),
            sampling: Sampling::Yuv420,
            site: ChromaSite::Centre,
            depth: 8,
            range: Range::Limited,
            interlace: Interlace::Progressive,
        };
        let (mut kind, mut older_kind) = (None, None);
        for word in words {
            let (tag, value) = word.split_at_checked(1).ok_or_else(|| wrong(word))?;
            match tag {
                "W" => header.width = value.parse().map_err(|_| wrong(word))?,
                "H" => header.height = value.parse().map_err(|_| wrong(word))?,
                "F" => {
                    let (n, d) = ratio(value).ok_or_else(|| wrong(word))?;
                    // 0:0 is "not known".
                    header.rate = FrameRate::new(n, d).unwrap_or(FrameRate::USUAL);
                }
                "A" => {
                    let (n, d) = ratio(value).ok_or_else(|| wrong(word))?;
                    header.pixel_aspect = if n > 0 && d > 0 { (n, d) } else { (1, 1) };
                }
                "I" => {
                    header.interlace = match value {
                        "t" => Interlace::TopFirst,
                        "b" => Interlace::BottomFirst,
                        "m" => Interlace::Mixed,
                        "p" | "?" => Interlace::Progressive,
                        _ => return Err(wrong(word)),
                    }
                }
                "C" => kind = Some(value),
                "X" => match value.split_once('=') {
                    Some(("COLORRANGE", "FULL")) => header.range = Range::Full,
                    Some(("YSCSS", value)) => older_kind = Some(value),
                    _ => {}
                },
                // Whatever else there may be describes; it does not change what the samples are.
                _ => {}
            }
        }
        if let Some(kind) = kind.or(older_kind) {
            (header.sampling, header.site, header.depth) = parse_kind(&kind.to_ascii_lowercase())
                .ok_or_else(|| {
                let kind = shortened(kind);
                Y4mError::Header(format!("chroma format '{kind}' is not supported"))
            })?;
        }
        let (width, height) = (header.width, header.height);
        let sides = 1..=LONGEST_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) || width * height > MOST_PIXELS {
            let text = format!("frames of {width}×{height} pixels are not supported");
            return Err(Y4mError::Header(text));
        }
        Ok(header)
    }

    /// The header line, with its line end.
    pub fn line(&self) -> String {
        let kind = match (self.sampling, self.site, self.depth) {
            (Sampling::Yuv420, ChromaSite::Centre, 8) => "420jpeg".to_owned(),
            (Sampling::Yuv420, ChromaSite::Left, 8) => "420mpeg2".to_owned(),
            (Sampling::Yuv420, ChromaSite::PalDv, 8) => "420paldv".to_owned(),
            (Sampling::Mono, _, 8) => "mono".to_owned(),
            (Sampling::Mono, _, depth) => format!("mono{depth}"),
            (sampling, _, depth) => {
                let name = match sampling {
                    Sampling::Yuv422 => "422",
                    Sampling::Yuv411 => "411",
                    Sampling::Yuv444 => "444",
                    Sampling::Yuv444Alpha => "444alpha",
                    Sampling::Yuv420 | Sampling::Mono => "420",
                };
                if depth > 8 { format!("{name}p{depth}") } else { name.to_owned() }
            }
        };
        let range = if self.range == Range::Full { "FULL" } else { "LIMITED" };
        let interlace = match self.interlace {
            Interlace::Progressive => 'p',
            Interlace::TopFirst => 't',
            Interlace::BottomFirst => 'b',
            Interlace::Mixed => 'm',
        };
        let (width, height, (n, d)) = (self.width, self.height, self.pixel_aspect);
        let (frames, seconds) = (self.rate.frames, self.rate.seconds);
        format!(
            "YUV4MPEG2 W{width} H{height} F{frames}:{seconds} I{interlace} A{n}:{d} C{kind} \
             XCOLORRANGE={range}\n"
        )
    }

    /// Bytes per row and number of rows of each plane.
    pub fn planes(&self) -> Vec<(usize, usize)> {
        let (width, height) = (self.width, self.height);
        let bytes = if self.depth > 8 { 2 } else { 1 };
        let planes = match self.sampling {
            Sampling::Mono => vec![(width, height)],
            Sampling::Yuv444 => vec![(width, height); 3],
            Sampling::Yuv444Alpha => vec![(width, height); 4],
            Sampling::Yuv422 => vec![(width, height), (width.div_ceil(2), height)],
            Sampling::Yuv411 => vec![(width, height), (width.div_ceil(4), height)],
            Sampling::Yuv420 => {
                vec![(width, height), (width.div_ceil(2), height.div_ceil(2))]
            }
        };
        let second = planes.get(1).copied().filter(|_| planes.len() == 2);
        planes.into_iter().chain(second).map(|(w, h)| (w * bytes, h)).collect()
    }

    /// Size of a frame, in bytes.
    pub fn frame_bytes(&self) -> usize {
        self.planes().iter().map(|(w, h)| w * h).sum()
    }
}

/// `420jpeg`, `422p10`, `mono12` …
fn parse_kind(kind: &str) -> Option<(Sampling, ChromaSite, u32)> {
    let named = match kind {
        "420" | "420jpeg" => Some((Sampling::Yuv420, ChromaSite::Centre)),
        "420mpeg2" => Some((Sampling::Yuv420, ChromaSite::Left)),
        "420paldv" => Some((Sampling::Yuv420, ChromaSite::PalDv)),
        "422" => Some((Sampling::Yuv422, ChromaSite::Left)),
        "411" => Some((Sampling::Yuv411, ChromaSite::Left)),
        "444" => Some((Sampling::Yuv444, ChromaSite::Centre)),
        "444alpha" => Some((Sampling::Yuv444Alpha, ChromaSite::Centre)),
        "mono" => Some((Sampling::Mono, ChromaSite::Centre)),
        _ => None,
    };
    if let Some((sampling, site)) = named {
        return Some((sampling, site, 8));
    }
    let (sampling, site, depth) = [
        ("420p", Sampling::Yuv420, ChromaSite::Left),
        ("422p", Sampling::Yuv422, ChromaSite::Left),
        ("444p", Sampling::Yuv444, ChromaSite::Centre),
        ("mono", Sampling::Mono, ChromaSite::Centre),
    ]
    .into_iter()
    .find_map(|(name, sampling, site)| Some((sampling, site, kind.strip_prefix(name)?)))?;
    let depth = depth.parse().ok().filter(|depth| (9..=16).contains(depth))?;
    Some((sampling, site, depth))
}

fn ratio(text: &str) -> Option<(u32, u32)> {
    let (n, d) = text.split_once(':')?;
    // Caps hold them as signed numbers.
    let number = |text: &str| text.parse().ok().filter(|n| *n <= i32::MAX as u32);
    Some((number(n)?, number(d)?))
}

fn shortened(word: &str) -> String {
    let clean = |c: char| if c.is_control() { '?' } else { c };
    let short: String = word.chars().take(40).map(clean).collect();
    if short.len() < word.len() { format!("{short}…") } else { short }
}
