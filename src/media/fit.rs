//! Converts frames that differ from a run's first frame to its format and size.

use gstreamer as gst;
use gstreamer_video as gst_video;

use super::error::PipelineError;

/// Opaque black.
const BLACK: u32 = 0xff00_0000;

/// Converts every frame to one format and size: scaled to fit, with black bars if the aspect ratio differs.
/// Frames that already match are passed on unchanged.
#[derive(Clone)]
pub(super) struct Fit {
    caps: gst::Caps,
    to: gst_video::VideoInfo,
    /// Converter for frames with other caps. The last one is kept, since after a change many frames have the
    /// same caps.
    converter: Option<Converter>,
    /// `first`: format of the first frames. `change`: whether the user has been told that later frames differ.
    first: gst_video::VideoInfo,
    change: Change,
}

#[derive(Clone, PartialEq)]
enum Change {
    None,
    /// A note that is still to be shown.
    Seen(String),
    Said,
}

#[derive(Clone)]
struct Converter {
    caps: gst::Caps,
    from: gst_video::VideoInfo,
    /// None if the frames differ only in what consumers ignore (the frame rate).
    convert: Option<std::sync::Arc<gst_video::VideoConverter>>,
}

impl Fit {
    /// Converts to the first frame's format, but as I420 of even size (4:2:0 requires even sides).
    pub fn to(first: &gst::Caps) -> Result<Self, PipelineError> {
        let info = info_of(first)?;
        let even = |side: u32| (side & !1).max(2);
        let (width, height) = (even(info.width()), even(info.height()));
        let format = gst_video::VideoFormat::I420;
        if info.format() == format && (width, height) == (info.width(), info.height()) {
            return Fit::to_first(first);
        }
        let builder = gst_video::VideoInfo::builder(format, width, height);
        let builder = builder.fps(info.fps()).par(info.par());
        let colorimetry = info.colorimetry();
        // RGB has no matrix; the default one for the size is taken.
        let builder = match info.format_info().is_yuv() {
            true => builder.colorimetry(&colorimetry),
            false => builder,
        };
        Fit::of(first, info, builder)
    }

    /// Converts to the first frame's format.
    pub fn to_first(first: &gst::Caps) -> Result<Self, PipelineError> {
        let to = info_of(first)?;
        let (caps, first) = (first.clone(), to.clone());
        Ok(Fit { caps, to, converter: None, first, change: Change::None })
    }

    /// Converts to the first frame's format, but with square pixels; the picture is enlarged, never reduced,
    /// so that no detail is lost.
    pub fn to_square_pixels(first: &gst::Caps) -> Result<Self, PipelineError> {
        let info = info_of(first)?;
        let (n, d) = (f64::from(info.par().numer()), f64::from(info.par().denom()));
        let ratio = n / d.max(1.0);
        let side = |length: u32, by: f64| (f64::from(length) * by).round().max(1.0);
        let (width, height) = (side(info.width(), ratio), side(info.height(), 1.0 / ratio));
        let (width, height) = match ratio {
            // Some files claim an impossible pixel aspect ratio.
            ratio if !(0.1..=10.0).contains(&ratio) || n == d => return Fit::to_first(first),
            ratio if ratio > 1.0 => (width as u32, info.height()),
            _ => (info.width(), height as u32),
        };
        let builder = gst_video::VideoInfo::builder(info.format(), width, height);
        let colorimetry = info.colorimetry();
        let square = gst::Fraction::new(1, 1);
        let builder = builder.fps(info.fps()).par(square).colorimetry(&colorimetry);
        Fit::of(first, info, builder)
    }

    fn of(
        first: &gst::Caps,
        info: gst_video::VideoInfo,
        to: gst_video::VideoInfoBuilder,
    ) -> Result<Self, PipelineError> {
        let made = to.build().and_then(|to| Ok((to.to_caps()?, to)));
        let (caps, to) = made.map_err(|_| unknown(first))?;
        Ok(Fit { caps, to, converter: None, first: info, change: Change::None })
    }

    /// The caps of the converted frames.
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
        if self.change == Change::None && !alike(&from, &self.first) {
            self.change = Change::Seen(change(&self.first, &from, &self.to, &sample));
        }
        let Some(convert) = convert else { return Ok(sample) };
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

    /// The note about a change of the source; returned once.
    pub fn take_note(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.change, Change::Said) {
            Change::Seen(note) => Some(note),
            before => {
                self.change = before;
                None
            }
        }
    }

    fn converter_for(&mut self, caps: &gst::CapsRef) -> Result<Converter, PipelineError> {
        if let Some(known) = self.converter.as_ref().filter(|known| *known.caps == *caps) {
            return Ok(known.clone());
        }
        let caps = caps.to_owned();
        let from = info_of(&caps)?;
        if alike(&from, &self.to) {
            let made = Converter { caps, from, convert: None };
            self.converter = Some(made.clone());
            return Ok(made);
        }
        // A converter changes neither frame rate nor interlacing, and requires both sides to agree.
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
        let made = Converter { caps, from, convert: Some(std::sync::Arc::new(convert)) };
        self.converter = Some(made.clone());
        Ok(made)
    }
}

/// Whether consumers can treat both kinds of frames alike: only frame rate and chroma siting may differ.
fn alike(a: &gst_video::VideoInfo, b: &gst_video::VideoInfo) -> bool {
    let of = |info: &gst_video::VideoInfo| {
        (info.format(), info.width(), info.height(), info.par(), info.colorimetry())
    };
    of(a) == of(b)
}

/// A note for the user on how the source changes with this sample.
fn change(
    first: &gst_video::VideoInfo,
    now: &gst_video::VideoInfo,
    to: &gst_video::VideoInfo,
    sample: &gst::SampleRef,
) -> String {
    let pts = sample.buffer().and_then(|buffer| buffer.pts());
    let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
    let at = segment.zip(pts).and_then(|(segment, pts)| segment.to_running_time(pts));
    let at = at.map_or_else(String::new, |pts| {
        format!(" at {:.2} s", std::time::Duration::from(pts).as_secs_f64())
    });
    let size = |info: &gst_video::VideoInfo| format!("{}×{}", info.width(), info.height());
    if size(first) == size(now) {
        return format!("its picture changes its format{at}: the output keeps the first one");
    }
    format!(
        "its picture changes from {} to {}{at}: fitted into {}",
        size(first),
        size(now),
        size(to)
    )
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

/// The largest centred area of `to` with the aspect ratio of `from`, at even coordinates.
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
    fn pixels_become_square_and_the_picture_larger() {
        gst::init().unwrap();
        for ((width, height), par, square) in [
            ((720, 576), "16/11", (1047, 576)),
            ((720, 480), "8/9", (720, 540)),
            ((640, 360), "1/1", (640, 360)),
            ((640, 360), "2043/5", (640, 360)),
        ] {
            let caps = format!(
                "video/x-raw,format=RGB,width={width},height={height},framerate=25/1,\
                 pixel-aspect-ratio={par}"
            );
            let fit = Fit::to_square_pixels(&caps.parse().unwrap()).unwrap();
            assert_eq!((fit.to.width(), fit.to.height()), square, "{par}");
        }
    }

    #[test]
    fn a_change_of_size_is_said_once_and_one_of_the_rate_never() {
        gst::init().unwrap();
        let caps = |size: &str, rate: u32| -> gst::Caps {
            format!("video/x-raw,format=I420,{size},framerate={rate}/1").parse().unwrap()
        };
        let (small, large) = ("width=32,height=16", "width=64,height=32");
        let mut fit = Fit::to_first(&caps(small, 25)).unwrap();
        let mut said = Vec::new();
        for (size, rate, bytes) in [
            (small, 25, 768),
            (small, 30, 768),
            (large, 30, 3072),
            (small, 25, 768),
            (large, 25, 3072),
        ] {
            let buffer = gst::Buffer::from_mut_slice(vec![128u8; bytes]);
            let sample = gst::Sample::builder().buffer(&buffer).caps(&caps(size, rate)).build();
            let fitted = fit.apply(sample).unwrap();
            let info = gst_video::VideoInfo::from_caps(fitted.caps().unwrap()).unwrap();
            assert_eq!((info.width(), info.height()), (32, 16));
            assert_eq!(fitted.buffer().unwrap().size(), 768);
            said.extend(fit.take_note());
        }
        assert_eq!(said, ["its picture changes from 32×16 to 64×32: fitted into 32×16"]);
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
