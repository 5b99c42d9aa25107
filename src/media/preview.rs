//! Live frames as small RGB pictures.

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

use super::error::PipelineError;
use super::video::VideoStream;

/// Makes frames of one format smaller, in RGB with square pixels.
pub struct Preview {
    converter: gst_video::VideoConverter,
    from: gst_video::VideoInfo,
    to: gst_video::VideoInfo,
}

/// A small picture: rows of R, G, B without padding.
#[derive(Clone, Debug)]
pub struct PreviewPicture {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The samples.
    pub rgb: Vec<u8>,
}

impl Preview {
    /// For frames of `stream`; the longer side of what it makes has `longest` pixels at most.
    ///
    /// # Errors
    /// When GStreamer cannot convert such frames.
    pub fn new(stream: &VideoStream, longest: usize) -> Result<Self, PipelineError> {
        let failed = |what: &str| PipelineError::new("videoconvert", what.to_owned());
        let from = gst_video::VideoInfo::from_caps(stream.caps()?.as_ref())
            .map_err(|_| failed("cannot describe the frames"))?;
        let (width, height) = small(stream, longest);
        let to = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height)
            .fps(from.fps())
            .build()
            .map_err(|_| failed("cannot describe a small picture"))?;
        let converter = gst_video::VideoConverter::new(&from, &to, None)
            .map_err(|error| failed(&error.to_string()))?;
        Ok(Preview { converter, from, to })
    }

    /// A frame, made small.
    ///
    /// # Errors
    /// When it is not a frame of the stream.
    pub fn of(&self, frame: &gst::Buffer) -> Result<PreviewPicture, PipelineError> {
        let failed = |what: &str| PipelineError::new("videoconvert", what.to_owned());
        let source = gst_video::VideoFrameRef::from_buffer_ref_readable(frame, &self.from)
            .map_err(|_| failed("a frame that cannot be read"))?;
        let mut target = gst::Buffer::with_size(self.to.size())
            .map_err(|_| failed("no memory for a small picture"))?;
        let writable = target.get_mut().ok_or_else(|| failed("a new buffer is not writable"))?;
        let mut small = gst_video::VideoFrameRef::from_buffer_ref_writable(writable, &self.to)
            .map_err(|_| failed("a small picture that cannot be written"))?;
        self.converter.frame_ref(&source, &mut small);
        let (width, height) = (self.to.width() as usize, self.to.height() as usize);
        let stride = usize::try_from(small.plane_stride()[0]).unwrap_or(0).max(3 * width);
        let data = small.plane_data(0).map_err(|_| failed("a small picture without data"))?;
        let mut rgb = Vec::with_capacity(3 * width * height);
        for row in data.chunks(stride).take(height) {
            rgb.extend_from_slice(row.get(..3 * width).ok_or_else(|| failed("a short row"))?);
        }
        Ok(PreviewPicture { width, height, rgb })
    }
}

/// Width and height of a small picture: at least 1, as the frame is seen.
fn small(stream: &VideoStream, longest: usize) -> (u32, u32) {
    let (n, d) = stream.pixel_aspect;
    let wide = stream.frame.width as f64 * f64::from(n.max(1)) / f64::from(d.max(1));
    let high = stream.frame.height as f64;
    let factor = (longest as f64 / wide.max(high)).min(1.0);
    let side = |length: f64| ((length * factor).round() as u32).max(1);
    (side(wide), side(high))
}
