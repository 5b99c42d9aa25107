//! GStreamer's caps and buffers ↔ frames.

use std::time::Duration;

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::error::PipelineError;
use crate::core::frame::{
    Bytes, Colorimetry, Frame, FrameInfo, FramePool, Layout, Matrix, Planes, Range,
};
use crate::core::rate::FrameRate;
use crate::core::y4m::{ChromaSite, Header, Interlace, Sampling};

/// Properties of a video that are known before its first frame.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoStream {
    /// Size and colorimetry of its frames.
    pub frame: FrameInfo,
    /// Layout of its frames.
    pub layout: Layout,
    /// Frames a second as a fraction; none when the rate varies or is not said.
    pub framerate: Option<(i32, i32)>,
    /// Width over height of a pixel.
    pub pixel_aspect: (i32, i32),
    /// Duration of the requested part, if the container states one.
    pub duration: Option<Duration>,
    /// Where chroma samples of 4:2:0 lie.
    site: ChromaSite,
    /// Primaries and transfer, in GStreamer's words, carried from input to output.
    colorimetry: gst_video::VideoColorimetry,
    /// Where subsampled chroma lies.
    chroma_site: gst_video::VideoChromaSite,
}

impl VideoStream {
    /// From the caps of decoded video.
    ///
    /// # Errors
    /// When the caps are not video that this program handles.
    pub fn from_caps(caps: &gst::CapsRef) -> Result<Self, PipelineError> {
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| {
            PipelineError::new("appsink", format!("cannot handle the video format {caps}"))
        })?;
        let layout = layout_of(info.format()).ok_or_else(|| {
            PipelineError::new("appsink", format!("cannot handle frames of {}", info.format()))
        })?;
        let rate = info.fps();
        let par = info.par();
        Ok(VideoStream {
            frame: frame_info(&info),
            layout,
            framerate: (rate.numer() > 0).then(|| (rate.numer(), rate.denom())),
            pixel_aspect: (par.numer(), par.denom()),
            duration: None,
            site: site_of(info.chroma_site()),
            colorimetry: info.colorimetry(),
            chroma_site: match (layout, info.chroma_site().is_empty()) {
                // Unmarked chroma: as in MPEG-2, H.264 and later. mp4mux (1.22 to 1.26) fails without a
                // siting.
                (Layout::I420, true) => gst_video::VideoChromaSite::MPEG2,
                _ => info.chroma_site(),
            },
        })
    }

    /// The caps that describe these frames to an encoder.
    ///
    /// # Errors
    /// When the size is out of GStreamer's range.
    pub fn caps(&self) -> Result<gst::Caps, PipelineError> {
        let (n, d) = self.framerate.unwrap_or((0, 1));
        let (width, height) = (self.frame.width as u32, self.frame.height as u32);
        gst_video::VideoInfo::builder(format_of(self.layout), width, height)
            .fps(gst::Fraction::new(n, d))
            .par(gst::Fraction::new(self.pixel_aspect.0, self.pixel_aspect.1))
            .colorimetry(&self.colorimetry)
            .chroma_site(self.chroma_site)
            .build()
            .and_then(|info| info.to_caps())
            .map_err(|_| {
                PipelineError::new("appsrc", format!("cannot describe {width}×{height} video"))
            })
    }

    /// Checks that a frame has the format of this stream.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, frame: &Frame) -> Result<(), PipelineError> {
        let is = (frame.info.width, frame.info.height, frame.planes.layout());
        let (width, height, layout) = (self.frame.width, self.frame.height, self.layout);
        if is == (width, height, layout) {
            return Ok(());
        }
        let text = format!(
            "a frame of {}×{} ({:?}) cannot follow frames of {width}×{height} ({layout:?})",
            is.0, is.1, is.2
        );
        Err(PipelineError::new("frames", text))
    }

    /// Its rate, if it is constant.
    pub fn rate(&self) -> Option<FrameRate> {
        let (frames, seconds) = self.framerate?;
        FrameRate::new(u32::try_from(frames).ok()?, u32::try_from(seconds).ok()?)
    }

    /// The header of a YUV4MPEG2 stream of these frames; none when they have no constant rate.
    pub fn y4m_header(&self) -> Option<Header> {
        let positive = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0);
        let ratio = |(n, d)| Some((positive(n)?, positive(d)?));
        Some(Header {
            width: self.frame.width,
            height: self.frame.height,
            rate: self.rate()?,
            pixel_aspect: ratio(self.pixel_aspect).unwrap_or((1, 1)),
            sampling: match self.layout {
                Layout::I420 => Sampling::Yuv420,
                Layout::Y444 => Sampling::Yuv444,
                Layout::Rgb => return None,
            },
            site: self.site,
            depth: 8,
            range: self.frame.colorimetry.range,
            interlace: Interlace::Progressive,
        })
    }

    /// Frames like these, but of limited range.
    pub fn limited_range(&self) -> gst::Caps {
        let colors = gst_video::VideoColorimetry::new(
            gst_video::VideoColorRange::Range16_235,
            self.colorimetry.matrix(),
            self.colorimetry.transfer(),
            self.colorimetry.primaries(),
        );
        gst::Caps::builder("video/x-raw").field("colorimetry", colors.to_string()).build()
    }

    /// Expected number of frames, from duration and rate.
    pub fn frames(&self) -> Option<u64> {
        let (n, d) = self.framerate?;
        let seconds = self.duration?.as_secs_f64();
        // Rounded down: containers often state the duration of the sound, which outlasts the last frame.
        Some((seconds * f64::from(n) / f64::from(d) + 0.01).floor() as u64)
    }
}

fn layout_of(format: gst_video::VideoFormat) -> Option<Layout> {
    match format {
        gst_video::VideoFormat::I420 => Some(Layout::I420),
        gst_video::VideoFormat::Y444 => Some(Layout::Y444),
        gst_video::VideoFormat::Rgb => Some(Layout::Rgb),
        _ => None,
    }
}

/// GStreamer's name of a layout.
pub fn format_of(layout: Layout) -> gst_video::VideoFormat {
    match layout {
        Layout::I420 => gst_video::VideoFormat::I420,
        Layout::Y444 => gst_video::VideoFormat::Y444,
        Layout::Rgb => gst_video::VideoFormat::Rgb,
    }
}

/// Unmarked chroma is sited as in MPEG-2, which all later codecs follow.
fn site_of(site: gst_video::VideoChromaSite) -> ChromaSite {
    match site {
        gst_video::VideoChromaSite::JPEG => ChromaSite::Centre,
        gst_video::VideoChromaSite::DV => ChromaSite::PalDv,
        _ => ChromaSite::Left,
    }
}

fn frame_info(info: &gst_video::VideoInfo) -> FrameInfo {
    let matrix = match info.colorimetry().matrix() {
        gst_video::VideoColorMatrix::Bt709 => Matrix::Bt709,
        gst_video::VideoColorMatrix::Bt2020 => Matrix::Bt2020,
        gst_video::VideoColorMatrix::Smpte240m => Matrix::Smpte240m,
        gst_video::VideoColorMatrix::Fcc => Matrix::Fcc,
        gst_video::VideoColorMatrix::Bt601 => Matrix::Bt601,
        // Unmarked: the matrix that players assume for this size.
        _ if info.height() >= 720 => Matrix::Bt709,
        _ => Matrix::Bt601,
    };
    let range = match info.colorimetry().range() {
        gst_video::VideoColorRange::Range0_255 => Range::Full,
        _ => Range::Limited,
    };
    FrameInfo {
        width: info.width() as usize,
        height: info.height() as usize,
        colorimetry: Colorimetry { matrix, range },
    }
}

/// Copies a decoded sample into a frame from the pool; `pts` is its running time.
///
/// # Errors
/// When the sample has no buffer, no caps, or cannot be read.
pub fn frame_from_sample(
    sample: &gst::SampleRef,
    pool: &FramePool,
) -> Result<Frame, PipelineError> {
    let broken = |what: &str| PipelineError::new("appsink", format!("a frame without {what}"));
    let buffer = sample.buffer().ok_or_else(|| broken("data"))?;
    let caps = sample.caps().ok_or_else(|| broken("a format"))?;
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| broken("a format"))?;
    let layout = layout_of(info.format()).ok_or_else(|| broken("a known format"))?;
    let mapped = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|_| broken("readable data"))?;
    let (width, height) = (info.width() as usize, info.height() as usize);
    let mut frame = empty_frame(sample, &info, layout, pool);
    let mut rest: &mut [u8] = frame.planes.bytes_mut();
    for (plane, (w, h)) in layout.planes(width, height).into_iter().enumerate() {
        let data = mapped.plane_data(plane as u32).map_err(|_| broken("all planes"))?;
        let stride = usize::try_from(mapped.plane_stride()[plane]).unwrap_or(0).max(w);
        let (target, later) = std::mem::take(&mut rest).split_at_mut(w * h);
        rest = later;
        if stride == w && data.len() >= w * h {
            target.copy_from_slice(&data[..w * h]);
        } else {
            for (to, from) in target.chunks_exact_mut(w).zip(data.chunks(stride)) {
                let from = from.get(..w).ok_or_else(|| broken("whole rows"))?;
                to.copy_from_slice(from);
            }
        }
    }
    drop(mapped);
    Ok(frame)
}

/// A frame from the pool with the size and the timestamps of a sample; its bytes are not yet filled.
pub(super) fn empty_frame(
    sample: &gst::SampleRef,
    info: &gst_video::VideoInfo,
    layout: Layout,
    pool: &FramePool,
) -> Frame {
    let running = |time: Option<gst::ClockTime>| -> Option<Duration> {
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        segment.to_running_time(time?).map(Duration::from)
    };
    let frame = frame_info(info);
    Frame {
        info: frame,
        planes: Planes::new(layout, pool.take(layout.bytes(frame.width, frame.height))),
        pts: running(sample.buffer().and_then(|b| b.pts())),
        duration: sample.buffer().and_then(|b| b.duration()).map(Duration::from),
    }
}

/// Turns a frame into a buffer without copying: its bytes go back to their pool when the encoder
/// is done with them.
///
/// # Errors
/// When the frame's times are out of GStreamer's range.
pub fn buffer_from_frame(frame: Frame) -> Result<gst::Buffer, PipelineError> {
    let layout = frame.planes.layout();
    let (width, height) = (frame.info.width, frame.info.height);
    let planes = layout.planes(width, height);
    let times = (frame.pts, frame.duration);
    let bytes: Bytes = frame.planes.into_bytes();
    tight_buffer(bytes, format_of(layout), (width, height), &planes, times)
}

/// The time of a buffer.
pub fn time_of(buffer: &gst::Buffer) -> Option<Duration> {
    buffer.pts().map(Duration::from)
}

/// The same picture or packet at another time.
///
/// A copy with memory of its own: GStreamer counts up to 255 readers of one memory, and of what is repeated while a
/// source is lost, a sink that writes many packets at once reads more.
pub fn at_time(buffer: &gst::BufferRef, pts: Duration) -> gst::Buffer {
    let mut buffer = buffer.copy_deep().unwrap_or_else(|_| buffer.copy());
    let at = gst::ClockTime::try_from(pts).ok();
    let writable = buffer.make_mut();
    writable.set_pts(at);
    writable.set_dts(gst::ClockTime::NONE);
    buffer
}

/// A buffer of these bytes: `planes` (bytes of a row, rows) one after another, without padding.
///
/// # Errors
/// When this cannot be described to GStreamer.
pub(super) fn tight_buffer(
    bytes: impl AsMut<[u8]> + Send + 'static,
    format: gst_video::VideoFormat,
    (width, height): (usize, usize),
    planes: &[(usize, usize)],
    (pts, duration): (Option<Duration>, Option<Duration>),
) -> Result<gst::Buffer, PipelineError> {
    let (mut offsets, mut strides, mut at) = (Vec::new(), Vec::new(), 0);
    for (w, h) in planes {
        offsets.push(at);
        strides.push(*w as i32);
        at += w * h;
    }
    let time = |d: Option<Duration>| d.and_then(|d| gst::ClockTime::try_from(d).ok());
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    let writable = buffer
        .get_mut()
        .ok_or_else(|| PipelineError::new("appsrc", "a new buffer is not writable"))?;
    writable.set_pts(time(pts));
    writable.set_duration(time(duration));
    // Our rows have no padding; GStreamer's own default would round them up to four bytes.
    gst_video::VideoMeta::add_full(
        writable,
        gst_video::VideoFrameFlags::empty(),
        format,
        width as u32,
        height as u32,
        &offsets,
        &strides,
    )
    .map_err(|_| PipelineError::new("appsrc", "cannot describe a frame's planes"))?;
    Ok(buffer)
}

/// The picture of a buffer of `stream` in RGB, for a snapshot.
///
/// # Errors
/// When GStreamer cannot convert it.
pub fn rgb_of(buffer: &gst::Buffer, stream: &VideoStream) -> Result<Frame, PipelineError> {
    let failed = |e: gst::glib::Error| PipelineError::new("videoconvert", e.message());
    let sample = gst::Sample::builder().buffer(buffer).caps(&stream.caps()?).build();
    let wanted = gst::Caps::builder("video/x-raw")
        .field("format", "RGB")
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build();
    let limit = gst::ClockTime::from_seconds(5);
    let sample = gst_video::convert_sample(&sample, &wanted, Some(limit)).map_err(failed)?;
    frame_from_sample(&sample, &FramePool::new(0))
}
