//! What is carried from frame to frame, and one step of it.
//!
//! The picture that was shown last is carried along the flow of the source. Where nothing moves, nothing is resampled;
//! where the flow is unsure, the paint lies on something else by now, or is deformed, the new paint is taken.

use rayon::prelude::*;

use super::ground::Ground;
use super::squares::Squares;
use crate::core::frame::{Frame, FrameInfo, Layout};
use crate::core::regions::Mask;
use crate::flow::resample::{Plane, bytes};
use crate::flow::{FlowOptions, MotionGrid, Pyramid};

/// Displacements below this are noise: what lies there stays where it is. Pixels.
const STILL: f32 = 0.2;
/// Share of the difference between the means of new and carried paint by which the carried is changed in a frame:
/// changes of light are followed, strokes are not.
const FOLLOWS: f32 = 0.05;
/// Pixels on a side of the squares of those means.
const SQUARE: usize = 32;
/// Smallest side of frames that are held steady, pixels.
const SMALLEST: usize = 16;

/// The source of a frame.
pub(super) struct SourceFrame {
    info: FrameInfo,
    layout: Layout,
    /// As decoded.
    bytes: Vec<u8>,
}

impl SourceFrame {
    pub(super) fn of(frame: &Frame) -> Self {
        SourceFrame {
            info: frame.info,
            layout: frame.planes.layout(),
            bytes: frame.planes.bytes().to_vec(),
        }
    }

    pub(super) fn info(&self) -> FrameInfo {
        self.info
    }

    /// Mean brightness of the blocks of a grid of so many columns and rows, in levels.
    pub(super) fn thumbnail(&self, (columns, rows): (usize, usize)) -> Vec<f32> {
        let (width, height) = (self.info.width, self.info.height);
        let step = if self.layout == Layout::Rgb { 3 } else { 1 };
        // Of RGB the green: what matters is whether it changes.
        let first = step / 2;
        let mut means = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            let lines =
                row * height / rows..((row + 1) * height / rows).max(row * height / rows + 1);
            for column in 0..columns {
                let from = column * width / columns;
                let to = ((column + 1) * width / columns).max(from + 1);
                let (mut sum, mut count) = (0u64, 0u64);
                for line in lines.clone() {
                    let start = (line * width + from) * step + first;
                    let end = ((line * width + to) * step).min(self.bytes.len());
                    for sample in
                        self.bytes.get(start..end).unwrap_or_default().iter().step_by(step)
                    {
                        (sum, count) = (sum + u64::from(*sample), count + 1);
                    }
                }
                means.push(sum as f32 / count.max(1) as f32);
            }
        }
        means
    }

    pub(super) fn pyramid(&self, options: &FlowOptions) -> Pyramid {
        let (width, height) = (self.info.width, self.info.height);
        match self.layout {
            Layout::I420 | Layout::Y444 => Pyramid::new(&self.bytes, width, height, width, options),
            Layout::Rgb => {
                // As of BT.601.
                let luma = |p: &[u8]| {
                    (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]) + 128) >> 8
                };
                let luma: Vec<u8> = self.bytes.chunks_exact(3).map(|p| luma(p) as u8).collect();
                Pyramid::new(&luma, width, height, width, options)
            }
        }
    }
}

/// Carries painted frames along.
pub(super) struct Carried {
    unpainted: Option<Mask>,
    /// Share of each pixel that is painted, for frames of this size; only with a mask.
    painted_share: Option<((usize, usize), Vec<f32>)>,
    state: Option<State>,
}

/// The state after a frame.
struct State {
    info: FrameInfo,
    layout: Layout,
    /// What was shown, were the steadiness 1.
    paint: Vec<u8>,
    /// Of the step before; its memory is used again.
    spare: Vec<u8>,
    planes: Vec<PaintedPlane>,
    ground: Ground,
}

impl Carried {
    pub(super) fn new(unpainted: Option<Mask>) -> Self {
        Carried { unpainted, painted_share: None, state: None }
    }

    pub(super) fn forget(&mut self) {
        self.state = None;
    }

    /// Mixes the paint that is carried into a painted frame.
    pub(super) fn hold(&mut self, source: &SourceFrame, frame: &mut Frame, steadiness: f32) {
        let (info, layout) = (source.info, source.layout);
        let (width, height) = (info.width, info.height);
        if frame.planes.bytes()[..] == source.bytes[..] || width.min(height) < SMALLEST {
            return self.forget(); // not painted at all, or too small for a flow
        }
        let options = options_for(width, height);
        let pyramid = source.pyramid(&options);
        let mut state = match self.state.take() {
            Some(state) if (state.info, state.layout) == (info, layout) => state,
            _ => {
                self.state = Some(State::begin(source, frame, pyramid));
                return;
            }
        };
        let motion = MotionGrid::between(&pyramid, &state.ground.reference, &options);
        if motion.cut {
            self.state = Some(State::begin(source, frame, pyramid));
            return;
        }
        let kept = state.ground.step(&motion, &pyramid);
        state.carry(&motion, &kept, frame.planes.bytes());
        let share = self.painted_share(width, height);
        show(frame, source, &state.paint, steadiness, share);
        self.state = Some(state);
    }

    /// Share of each pixel that is painted.
    fn painted_share(&mut self, width: usize, height: usize) -> Option<&[f32]> {
        let mask = self.unpainted.as_ref()?;
        if self.painted_share.as_ref().is_none_or(|(size, _)| *size != (width, height)) {
            let unpainted = mask.sized(width, height).pop().unwrap_or_default();
            let painted = unpainted.iter().map(|share| 1.0 - share).collect();
            self.painted_share = Some(((width, height), painted));
        }
        self.painted_share.as_ref().map(|(_, share)| share.as_slice())
    }
}

impl State {
    /// With the first frame, or that after a cut.
    fn begin(source: &SourceFrame, frame: &Frame, pyramid: Pyramid) -> Self {
        let (info, layout) = (source.info, source.layout);
        let paint = frame.planes.bytes().to_vec();
        let planes = PaintedPlane::all(layout, (info.width, info.height));
        let ground = Ground::new(pyramid);
        State { info, layout, spare: vec![0; paint.len()], paint, planes, ground }
    }

    /// Carries paint along `motion` and joins it with that of the new frame. `kept` is its share in each cell.
    fn carry(&mut self, motion: &MotionGrid, kept: &[f32], painted: &[u8]) {
        for plane in &mut self.planes {
            plane.carry(motion, kept, &self.paint, painted, &mut self.spare);
        }
        std::mem::swap(&mut self.paint, &mut self.spare);
    }
}

/// A plane of painted frames.
struct PaintedPlane {
    /// Index of its first byte.
    start: usize,
    /// Width and height, samples.
    size: (usize, usize),
    /// Bytes from one sample to the next.
    step: usize,
    /// Pixels of the frame on a side of a sample.
    pixels: usize,
    /// For each square, what is added to carried paint in the next frame.
    light: Vec<f32>,
}

impl PaintedPlane {
    fn all(layout: Layout, (width, height): (usize, usize)) -> Vec<Self> {
        let plane = |start, pixels: usize, step| {
            let size = (width.div_ceil(pixels), height.div_ceil(pixels));
            let squares = Squares::over(size, SQUARE).size;
            PaintedPlane { start, size, step, pixels, light: vec![0.0; squares.0 * squares.1] }
        };
        let full = width * height;
        match layout {
            Layout::Rgb => (0..3).map(|n| plane(n, 1, 3)).collect(),
            Layout::Y444 => (0..3).map(|n| plane(n * full, 1, 1)).collect(),
            Layout::I420 => {
                let chroma = width.div_ceil(2) * height.div_ceil(2);
                vec![plane(0, 1, 1), plane(full, 2, 1), plane(full + chroma, 2, 1)]
            }
        }
    }

    fn carry(&mut self, motion: &MotionGrid, kept: &[f32], old: &[u8], new: &[u8], out: &mut [u8]) {
        let (size @ (width, height), step) = (self.size, self.step);
        let bytes_of_line = width * step;
        let end = (self.start + bytes_of_line * height).min(old.len());
        let (old, new) = (&old[self.start..end], &new[self.start..end]);
        let squares = Squares::over(size, SQUARE);
        let light = &self.light;
        let from = Plane { samples: old, size, step };
        let per_cell = motion.cell as f32 / self.pixels as f32;
        let cells = Squares { size: motion.size(), side: (motion.cell / self.pixels).max(1) };
        let smaller = motion.cell < self.pixels; // cells than samples: chroma of small frames
        let bands = out[self.start..end].par_chunks_mut(bytes_of_line * SQUARE);
        let next = bands.enumerate().map_init(
            || std::array::from_fn(|_| vec![0.0; width]),
            |[u, v, keep, lit, carried]: &mut [Vec<f32>; 5], (band, out)| {
                let mut sums = vec![0.0f32; squares.size.0];
                let lines = out.len().div_ceil(bytes_of_line);
                for (n, out) in out.chunks_mut(bytes_of_line).enumerate() {
                    let y = band * SQUARE + n;
                    let planes =
                        [(&motion.field.u[..], &mut *u), (&motion.field.v, v), (kept, keep)];
                    for (values, line) in planes {
                        match smaller {
                            false => cells.line(values, y, line),
                            true => every_second(values, cells.size, y, line),
                        }
                    }
                    let still = STILL / self.pixels as f32;
                    for (u, v) in u.iter_mut().zip(v.iter_mut()) {
                        (*u, *v) = (per_cell * *u, per_cell * *v);
                        if u.abs().max(v.abs()) < still {
                            (*u, *v) = (0.0, 0.0);
                        }
                    }
                    squares.line(light, y, lit);
                    bytes(&from, y, u, v, carried);
                    let new = &new[y * bytes_of_line..];
                    for (x, out) in out.iter_mut().step_by(step).enumerate() {
                        let (old, new) = (carried[x] + lit[x], f32::from(new[x * step]));
                        sums[x / SQUARE] += new - old;
                        *out = byte(new + keep[x] * (old - new));
                    }
                }
                let count = |column: usize| (width - column * SQUARE).min(SQUARE) * lines;
                let light = |(column, sum): (usize, f32)| FOLLOWS * sum / count(column) as f32;
                sums.into_iter().enumerate().map(light).collect::<Vec<f32>>()
            },
        );
        self.light = next.flatten_iter().collect();
    }
}

/// Every second value of every second line of a grid.
fn every_second(values: &[f32], (columns, rows): (usize, usize), y: usize, out: &mut [f32]) {
    let line = &values[(2 * y).min(rows - 1) * columns..][..columns];
    out.iter_mut().zip(line.iter().step_by(2)).for_each(|(out, value)| *out = *value);
}

/// What is shown: the new frame, and what was carried, by the steadiness.
fn show(
    frame: &mut Frame,
    source: &SourceFrame,
    paint: &[u8],
    steadiness: f32,
    share: Option<&[f32]>,
) {
    let (width, height, layout) = (source.info.width, source.info.height, source.layout);
    let bytes = frame.planes.bytes_mut();
    let mut start = 0;
    for (w, h) in layout.planes(width, height) {
        let range = start..start + w * h;
        start = range.end;
        // Planes that were not painted stay as they are: kept colours.
        if layout != Layout::Rgb && bytes[range.clone()] == source.bytes[range.clone()] {
            continue;
        }
        let all = bytes[range.clone()].iter_mut().zip(&paint[range]);
        match share {
            None if steadiness == 1.0 => all.for_each(|(out, paint)| *out = *paint),
            None => all.for_each(|(out, paint)| {
                *out = byte(mix(f32::from(*out), f32::from(*paint), steadiness));
            }),
            Some(share) => {
                let (step, part) = match layout {
                    Layout::Rgb => (3, 1),
                    _ => (1, if w < width { 2 } else { 1 }),
                };
                for (n, (out, paint)) in all.enumerate() {
                    let (x, y) = (n % w / step, n / w);
                    let share = share[part * y * width + part * x];
                    *out = byte(mix(f32::from(*out), f32::from(*paint), steadiness * share));
                }
            }
        }
    }
}

#[inline]
fn mix(new: f32, old: f32, share: f32) -> f32 {
    new + share * (old - new)
}

#[inline]
fn byte(sample: f32) -> u8 {
    (sample + 0.5) as u8 // saturates
}

/// The flow is searched on a grid of about the same number of cells, whatever the size of the frame: 320 on the longer
/// side.
pub(super) fn options_for(width: usize, height: usize) -> FlowOptions {
    let finest = (width.max(height) as f64 / 320.0).log2().round().max(0.0) as usize;
    FlowOptions { finest, ..FlowOptions::LIVE }
}
