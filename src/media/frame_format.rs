//! Chooses the layout of decoded frames for painting, and the notes for the user on what is lost.

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::error::PipelineError;
use super::fit::Fit;
use super::video::{VideoStream, format_of, frame_from_sample};
use crate::core::frame::{Frame, FrameInfo, FramePool, Layout, Range};

/// The format in which an output takes frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFormat {
    /// RGB, for still pictures.
    Rgb,
    /// 4:2:0 of any size.
    Subsampled,
    /// 4:2:0; 4:4:4 where a side is odd, for encoders whose 4:2:0 has no odd sizes.
    Exact,
    /// As `Exact`, for frames that are not encoded, so no note about players is needed.
    Raw,
    /// 4:2:0 without the last line or column of an odd size.
    Even,
}

/// How decoded frames are converted: the format to ask of GStreamer, and what is lost.
#[derive(Debug, Clone, PartialEq)]
pub struct FramePlan {
    /// Layout of the painted frames.
    pub layout: Layout,
    /// The format asked of GStreamer; it differs from that of the layout for frames with alpha.
    pub format: gst_video::VideoFormat,
    /// Chroma siting: that of the source if it is 4:2:0, otherwise that of MPEG-2.
    site: Option<String>,
    /// Colours of greys: those of the source, which videoconvert (1.22 to 1.26) otherwise forgets: it copies
    /// the samples of full range and calls them limited.
    colours: Option<String>,
    /// What the conversion loses or changes, one line each, for the user.
    pub notes: Vec<String>,
}

impl FramePlan {
    /// The plan for decoded frames with these caps.
    pub fn new(decoded: &gst::CapsRef, wanted: FrameFormat) -> Self {
        let odd = decoded.structure(0).is_some_and(|s| {
            ["width", "height"].iter().any(|side| s.get::<i32>(*side).is_ok_and(|v| v % 2 == 1))
        });
        let layout = match (wanted, odd) {
            (FrameFormat::Rgb, _) => Layout::Rgb,
            (FrameFormat::Exact | FrameFormat::Raw, true) => Layout::Y444,
            _ => Layout::I420,
        };
        let site = decoded.structure(0).and_then(|s| s.get::<String>("chroma-site").ok());
        let site = (layout == Layout::I420).then(|| site.unwrap_or_else(|| "mpeg2".to_owned()));
        let (format, notes) = (format_of(layout), Vec::new());
        let mut plan = FramePlan { layout, format, site, colours: None, notes };
        // Caps with features refer to a decoder's own memory; the picture format is the same.
        let Ok(info) = gst_video::VideoInfo::from_caps(decoded) else { return plan };
        if info.format_info().is_gray() && layout != Layout::Rgb {
            let said = decoded.structure(0).and_then(|s| s.get::<String>("colorimetry").ok());
            plan.colours = said.filter(|said| said.split(':').all(|part| part != "0"));
        }
        if info.format_info().has_alpha() {
            plan.format = match layout {
                Layout::Rgb => gst_video::VideoFormat::Rgba,
                _ => gst_video::VideoFormat::Ayuv,
            };
            plan.site = None;
            plan.notes.push("it is partly transparent: painted on black".to_owned());
        }
        if wanted == FrameFormat::Rgb {
            return plan;
        }
        plan.notes.extend(lost(&info, layout));
        if odd && wanted == FrameFormat::Exact {
            plan.notes.push(
                "its size is odd: written as 4:4:4, which not every player shows (--even crops a line, --codec vp9 keeps the size)"
                    .to_owned(),
            );
        }
        if odd && wanted == FrameFormat::Even {
            plan.notes.push("its size is odd: the last line or column is left out".to_owned());
        }
        if info.interlace_mode() != gst_video::VideoInterlaceMode::Progressive {
            plan.notes.push("it is interlaced: deinterlaced, two fields to a frame".into());
        }
        plan
    }

    /// What is asked of GStreamer.
    pub fn caps(&self) -> gst::Caps {
        gst::Caps::builder("video/x-raw")
            .field("format", self.format.to_str())
            .field_if_some("chroma-site", self.site.as_deref())
            .field_if_some("colorimetry", self.colours.as_deref())
            .build()
    }

    /// The converter for all frames, if the first one has these caps; pictures get square pixels.
    ///
    /// # Errors
    /// When GStreamer cannot convert it.
    pub(super) fn fit(&self, first: &gst::Caps) -> Result<Fit, PipelineError> {
        match self.layout {
            Layout::Rgb => Fit::to_square_pixels(first),
            Layout::I420 | Layout::Y444 => Fit::to_first(first),
        }
    }

    /// The frame in a sample of [`format`](Self::format).
    ///
    /// # Errors
    /// As [`frame_from_sample`].
    pub fn frame(&self, sample: &gst::SampleRef, pool: &FramePool) -> Result<Frame, PipelineError> {
        if self.format == format_of(self.layout) {
            return frame_from_sample(sample, pool);
        }
        flattened(sample, self.layout, pool)
    }

    /// Description of the stream of these frames, from GStreamer's caps.
    ///
    /// # Errors
    /// As [`VideoStream::from_caps`].
    pub fn stream(&self, caps: &gst::CapsRef) -> Result<VideoStream, PipelineError> {
        let mut caps = caps.to_owned();
        caps.make_mut().set("format", format_of(self.layout).to_str());
        VideoStream::from_caps(&caps)
    }
}

/// What a picture loses in 8-bit 4:2:0 (or 4:4:4).
fn lost(info: &gst_video::VideoInfo, layout: Layout) -> Vec<String> {
    let format = info.format_info();
    let mut notes = Vec::new();
    let depth = format.depth().first().copied().unwrap_or(8);
    let full = format.w_sub().iter().chain(format.h_sub()).all(|&shift| shift == 0);
    let subsampled = format.is_yuv() && format.h_sub().get(1) == Some(&0) && !full;
    let chroma = match layout {
        _ if !format.is_yuv() => None,
        Layout::I420 if subsampled => Some("4:2:2"),
        Layout::I420 if full => Some("4:4:4"),
        _ => None,
    };
    match (depth > 8, chroma) {
        (true, Some(chroma)) => {
            notes.push(format!("{depth} bits and {chroma}: painted with 8 bits and 4:2:0"));
        }
        (true, None) => notes.push(format!("{depth} bits: painted with 8")),
        (false, Some(chroma)) => notes.push(format!("{chroma}: painted as 4:2:0")),
        (false, None) => {}
    }
    let hdr = match info.colorimetry().transfer() {
        gst_video::VideoTransferFunction::Smpte2084 => "PQ",
        gst_video::VideoTransferFunction::AribStdB67 => "HLG",
        _ => return notes,
    };
    notes.push(format!(
        "HDR ({hdr}): painted without tone mapping, so it looks pale, and marked as HDR; convert it \
         to SDR first for better colours"
    ));
    notes
}

/// Composites a transparent picture on black, into a layout without alpha.
fn flattened(
    sample: &gst::SampleRef,
    layout: Layout,
    pool: &FramePool,
) -> Result<Frame, PipelineError> {
    let broken = |what: &str| PipelineError::new("appsink", format!("a frame without {what}"));
    let buffer = sample.buffer().ok_or_else(|| broken("data"))?;
    let caps = sample.caps().ok_or_else(|| broken("a format"))?;
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| broken("a format"))?;
    let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|_| broken("readable data"))?;
    let data = mapped.plane_data(0).map_err(|_| broken("planes"))?;
    let stride = usize::try_from(mapped.plane_stride()[0]).unwrap_or(0).max(1);
    let mut frame = super::video::empty_frame(sample, &info, layout, pool);
    let FrameInfo { width, height, .. } = frame.info;
    let rows = data.chunks(stride).take(height).map(|row| row.get(..4 * width));
    let rows: Option<Vec<&[u8]>> = rows.collect();
    let rows = rows.filter(|rows| rows.len() == height).ok_or_else(|| broken("whole rows"))?;
    let full = frame.info.colorimetry.range == Range::Full;
    let layout = frame.planes.layout();
    let out: &mut [u8] = frame.planes.bytes_mut();
    match layout {
        Layout::Rgb => {
            let pixels = rows.iter().flat_map(|row| row.chunks_exact(4));
            for (to, rgba) in out.chunks_exact_mut(3).zip(pixels) {
                let (color, alpha) = rgba.split_at(3);
                to.iter_mut().zip(color).for_each(|(to, &c)| *to = over(c, 0, alpha[0]));
            }
        }
        Layout::I420 | Layout::Y444 => {
            let black = if full { 0 } else { 16 };
            let (luma, chroma) = out.split_at_mut(width * height);
            let pixels = rows.iter().flat_map(|row| row.chunks_exact(4));
            luma.iter_mut().zip(pixels).for_each(|(y, p)| *y = over(p[1], black, p[0]));
            // A sample of chroma is the mean over the pixels it stands for.
            let step = if layout == Layout::I420 { 2 } else { 1 };
            let (w, h) = (width.div_ceil(step), height.div_ceil(step));
            for (plane, chroma) in chroma.chunks_exact_mut(w * h).enumerate() {
                for (n, sample) in chroma.iter_mut().enumerate() {
                    let (x, y) = (n % w * step, n / w * step);
                    let (mut sum, mut count) = (0, 0);
                    for row in &rows[y..(y + step).min(height)] {
                        for pixel in row[4 * x..4 * (x + step).min(width)].chunks_exact(4) {
                            sum += u32::from(over(pixel[2 + plane], 128, pixel[0]));
                            count += 1;
                        }
                    }
                    *sample = ((sum + count / 2) / count.max(1)) as u8;
                }
            }
        }
    }
    Ok(frame)
}

/// `color` with opacity `alpha`, composited over `ground`.
fn over(color: u8, ground: u8, alpha: u8) -> u8 {
    let (color, ground, alpha) = (u32::from(color), u32::from(ground), u32::from(alpha));
    // Lossless: a mean of two bytes.
    ((color * alpha + ground * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(format: &str, width: i32, height: i32, more: &str) -> gst::Caps {
        crate::media::init().unwrap();
        let text = format!(
            "video/x-raw,format={format},width={width},height={height},framerate=25/1{more}"
        );
        text.parse().unwrap()
    }

    fn notes(format: &str, wanted: FrameFormat) -> String {
        FramePlan::new(&caps(format, 64, 48, ""), wanted).notes.join("; ")
    }

    #[test]
    fn plain_video_needs_no_word() {
        for wanted in
            [FrameFormat::Exact, FrameFormat::Subsampled, FrameFormat::Even, FrameFormat::Rgb]
        {
            assert_eq!(notes("I420", wanted), "");
            assert_eq!(notes("NV12", wanted), "");
        }
    }

    #[test]
    fn what_is_lost_is_said() {
        assert_eq!(notes("I420_10LE", FrameFormat::Exact), "10 bits: painted with 8");
        assert_eq!(notes("Y42B", FrameFormat::Exact), "4:2:2: painted as 4:2:0");
        assert_eq!(
            notes("Y444_10LE", FrameFormat::Exact),
            "10 bits and 4:4:4: painted with 8 bits and 4:2:0"
        );
        assert_eq!(notes("I420_10LE", FrameFormat::Rgb), "");
        let hdr = caps("P010_10LE", 64, 48, ",colorimetry=(string)2:6:14:7");
        let hdr = FramePlan::new(&hdr, FrameFormat::Exact).notes.join("; ");
        assert!(hdr.contains("HDR (PQ)"), "{hdr}");
    }

    #[test]
    fn odd_sizes_are_kept_cropped_or_subsampled_as_asked() {
        let of = |wanted| FramePlan::new(&caps("I420", 63, 48, ""), wanted);
        assert_eq!(of(FrameFormat::Exact).layout, Layout::Y444);
        assert_eq!(of(FrameFormat::Even).layout, Layout::I420);
        assert_eq!(of(FrameFormat::Subsampled).layout, Layout::I420);
        assert!(of(FrameFormat::Subsampled).notes.is_empty());
        assert!(of(FrameFormat::Exact).notes[0].contains("--even"));
    }

    #[test]
    fn a_transparent_picture_is_shown_on_black() {
        let caps = caps("AYUV", 3, 1, ",colorimetry=bt601");
        // Opaque, clear, half: alpha, luma, two of chroma.
        let data = vec![255, 200, 90, 160, 0, 200, 90, 160, 128, 200, 90, 160];
        let buffer = gst::Buffer::from_mut_slice(data);
        let sample = gst::Sample::builder().buffer(&buffer).caps(&caps).build();
        let plan = FramePlan::new(&caps, FrameFormat::Exact);
        assert_eq!((plan.layout, plan.format), (Layout::Y444, gst_video::VideoFormat::Ayuv));
        let frame = plan.frame(&sample, &FramePool::new(0)).unwrap();
        assert_eq!(&frame.planes.bytes()[..], [200, 16, 108, 90, 128, 109, 160, 128, 144]);
        let plan = FramePlan::new(&caps, FrameFormat::Subsampled);
        let frame = plan.frame(&sample, &FramePool::new(0)).unwrap();
        assert_eq!(&frame.planes.bytes()[..], [200, 16, 108, 109, 109, 144, 144]);
    }
}
