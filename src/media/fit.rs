//! Frames that are not like the first one of a run → frames that are.

use gstreamer as gst;
use gstreamer_video as gst_video;

use super::error::PipelineError;

/// Opaque black.
const BLACK: u32 = 0xff00_0000;

/// Brings every frame into one format and size: scaled to fit, with black bars where the shapes
/// differ. Frames that are so already pass untouched.
#[derive(Clone)]
pub(super) struct Fit {
    caps: gst::Caps,
    to: gst_video::VideoInfo,
    /// For frames of other caps; the last one is kept, since many frames follow a change.
    converter: Option<Converter>,
}

#[derive(Clone)]
struct Converter {
    caps: gst::Caps,
    from: gst_video::VideoInfo,
    convert: std::sync::Arc<gst_video::VideoConverter>,
}

impl Fit {
    /// To frames like the first one, but I420 of even size (4:2:0 wants it so).
    pub fn to(first: &gst::Caps) -> Result<Self, PipelineError> {
        let info = info_of(first)?;
        let even = |side: u32| (side & !1).max(2);
        let (width, height) = (even(info.width()), even(info.height()));
        let format = gst_video::VideoFormat::I420;
        if info.format() == format && (width, height) == (info.width(), info.height()) {
            return Ok(Fit { caps: first.clone(), to: info, converter: None });
        }
        let builder = gst_video::VideoInfo::builder(format, width, height);
        let builder = builder.fps(info.fps()).par(info.par());
        let colorimetry = info.colorimetry();
        // RGB has no matrix: then the usual one of the size is taken.
        let builder = match info.format_info().is_yuv() {
            true => builder.colorimetry(&colorimetry),
            false => builder,
        };
        let made = builder.build().and_then(|to| Ok((to.to_caps()?, to)));
        let (caps, to) = made.map_err(|_| unknown(first))?;
        Ok(Fit { caps, to, converter: None })
    }

    /// What frames become.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// The sample, fitted.
    pub fn apply(&mut self, sample: gst::Sample) -> Result<gst::Sample, PipelineError> {
        let (Some(caps), Some(buffer)) = (sample.caps(), sample.buffer()) else {
            return Ok(sample); // refused with a reason by who reads it
        };
        if *caps == *self.caps {
            return Ok(sample);
        }
        let Converter { from, convert, .. } = self.converter_for(caps)?;
        let failed = |_| PipelineError::new("frames", "cannot read a frame of the source");
        let source = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &from);
        let source = source.map_err(failed)?;
        let room = gst::Buffer::with_size(self.to.size())
            .map_err(|_| PipelineError::new("frames", "no memory for a frame"))?;
        let mut target = gst_video::VideoFrame::from_buffer_writable(room, &self.to)
            .map_err(|_| PipelineError::new("frames", "cannot write a frame"))?;
        convert.frame_ref(&source, &mut target.as_mut_video_frame_ref());
        let mut fitted = target.into_buffer();
        let times = gst::BUFFER_COPY_METADATA;
        let copied = buffer.copy_into(fitted.make_mut(), times, ..);
        copied.map_err(|_| PipelineError::new("frames", "cannot copy a frame's times"))?;
        let made = gst::Sample::builder().buffer(&fitted).caps(&self.caps);
        Ok(match sample.segment() {
            Some(segment) => made.segment(segment).build(),
            None => made.build(),
        })
    }

    fn converter_for(&mut self, caps: &gst::CapsRef) -> Result<Converter, PipelineError> {
        if let Some(known) = self.converter.as_ref().filter(|known| *known.caps == *caps) {
            return Ok(known.clone());
        }
        let caps = caps.to_owned();
        let from = info_of(&caps)?;
        // A converter changes neither rate nor interlacing, and wants to see both alike.
        let to = gst_video::VideoInfo::builder(self.to.format(), self.to.width(), self.to.height())
            .fps(from.fps())
            .interlace_mode(from.interlace_mode())
            .par(self.to.par())
            .colorimetry(&self.to.colorimetry())
            .build()
            .map_err(|_| unknown(&caps))?;
        let area = inside(&from, &to);
        let mut config = gst_video::VideoConverterConfig::new();
        config.set_dest_x(area.x);
        config.set_dest_y(area.y);
        config.set_dest_width(Some(area.width));
        config.set_dest_height(Some(area.height));
        config.set_fill_border(true);
        config.set_border_argb(BLACK);
        let convert =
            gst_video::VideoConverter::new(&from, &to, Some(config)).map_err(|_| unknown(&caps))?;
        let made = Converter { caps, from, convert: std::sync::Arc::new(convert) };
        self.converter = Some(made.clone());
        Ok(made)
    }
}

fn info_of(caps: &gst::CapsRef) -> Result<gst_video::VideoInfo, PipelineError> {
    gst_video::VideoInfo::from_caps(caps).map_err(|_| unknown(caps))
}

fn unknown(caps: &gst::CapsRef) -> PipelineError {
    PipelineError::new("frames", format!("cannot handle the video format {caps}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Area {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

/// The largest area of `to` that has the shape of `from`, in the middle, at even places.
fn inside(from: &gst_video::VideoInfo, to: &gst_video::VideoInfo) -> Area {
    let shape = |info: &gst_video::VideoInfo, width: f64, height: f64| {
        let par = f64::from(info.par().numer()) / f64::from(info.par().denom().max(1));
        width * par / height.max(1.0)
    };
    let (full_w, full_h) = (f64::from(to.width()), f64::from(to.height()));
    let ratio = shape(from, from.width().into(), from.height().into()) / shape(to, full_w, full_h);
    let even = |side: f64, full: u32| (((side / 2.0).round() as i32) * 2).clamp(2, full as i32);
    let width = even(full_w * ratio.min(1.0), to.width());
    let height = even(full_h / ratio.max(1.0), to.height());
    let middle = |full: u32, part: i32| ((full as i32 - part) / 2) & !1;
    Area { x: middle(to.width(), width), y: middle(to.height(), height), width, height }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(size: (u32, u32), par: (i32, i32)) -> gst_video::VideoInfo {
        gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, size.0, size.1)
            .par(gst::Fraction::new(par.0, par.1))
            .build()
            .unwrap()
    }

    #[test]
    fn shapes_are_kept_and_put_in_the_middle() {
        gst::init().unwrap();
        let wide = info((640, 360), (1, 1));
        for (size, par, (x, y, width, height)) in [
            ((640, 360), (1, 1), (0, 0, 640, 360)),
            ((1280, 720), (1, 1), (0, 0, 640, 360)),
            ((320, 240), (1, 1), (80, 0, 480, 360)),
            ((360, 640), (1, 1), (218, 0, 202, 360)),
            ((1280, 360), (1, 1), (0, 90, 640, 180)),
            // Its pixels are twice as wide as high: it is shown at 640×240.
            ((320, 240), (2, 1), (0, 60, 640, 240)),
            ((10_000, 2), (1, 1), (0, 178, 640, 2)),
        ] {
            let area = inside(&info(size, par), &wide);
            assert_eq!(area, Area { x, y, width, height }, "{size:?} {par:?}");
        }
    }

    #[test]
    fn frames_of_an_odd_size_and_another_format_become_even_i420() {
        gst::init().unwrap();
        let caps = "video/x-raw,format=BGRA,width=33,height=17,framerate=25/1";
        let caps: gst::Caps = caps.parse().unwrap();
        let mut fit = Fit::to(&caps).unwrap();
        let mut buffer = gst::Buffer::from_mut_slice(vec![255u8; 33 * 17 * 4]);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(3));
        let sample = gst::Sample::builder().buffer(&buffer).caps(&caps).build();
        let fitted = fit.apply(sample).unwrap();
        let info = gst_video::VideoInfo::from_caps(fitted.caps().unwrap()).unwrap();
        let is = (info.format(), info.width(), info.height());
        assert_eq!(is, (gst_video::VideoFormat::I420, 32, 16));
        let buffer = fitted.buffer().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_seconds(3)));
        assert!(buffer.map_readable().unwrap()[..32 * 16].iter().all(|y| *y > 230), "white");
    }
}
