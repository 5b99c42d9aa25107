//! What is carried from frame to frame, and one step of it.
//!
//! Paint isn't resampled from frame to frame, which would blur it. Instead each pixel remembers in which of the last
//! frames its paint was made, and where; from frame to frame only that place is carried along the flow (the texture
//! advection of Bousseau, Neyret, Thollot and Salesin, "Video watercolorization using bidirectional texture
//! advection", SIGGRAPH 2007, forward in time and with a new start for each pixel that the flow loses). The source is
//! carried in the same way, and the flow leads from the new source to the carried one: what the flow missed before,
//! it finds now, so that errors do not add up.

use rayon::prelude::*;

use super::resample::{Sample, sample};
use crate::core::frame::{Frame, FrameInfo, Layout};
use crate::core::regions::Mask;
use crate::flow::{FlowOptions, MotionGrid, Pyramid};

/// Displacements below this are noise: what lies there stays where it is. Pixels.
const STILL: f32 = 0.2;
/// The carried source may differ from the new one by this much, levels of 255, and…
const SAME: f32 = 4.0;
/// …from here on the paint lies on something else.
const OTHER: f32 = 16.0;
/// More is allowed by this much for each level that luma changes from pixel to pixel: texture that is off by a part of a
/// pixel.
const TEXTURE: f32 = 0.5;
/// Paint is kept in full where it is this sure, and…
const KEPT: f32 = 0.7;
/// …not at all where it is less sure than this.
const LOST: f32 = 0.3;
/// Pixels on a side of the blocks in which paint is to be whole, and…
const BLOCK: usize = 8;
/// …shares of neighbours that may be torn apart: up to the first it is whole, from the second on it is painted anew.
const TORN: (f32, f32) = (0.12, 0.25);
/// Frames whose paint is kept, at most, and…
const FRAMES: usize = 16;
/// …at most so many bytes of them, but at least four frames.
const MEMORY: usize = 128 << 20;
/// Smallest side of frames that are held steady, pixels.
const SMALLEST: usize = 16;
/// Lines that are worth a thread.
const LINES: usize = 16;

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

    /// Luma, a byte a pixel; of RGB that of BT.601.
    fn luma(&self) -> Vec<u8> {
        let pixels = self.info.width * self.info.height;
        match self.layout {
            Layout::I420 | Layout::Y444 => self.bytes[..pixels].to_vec(),
            Layout::Rgb => {
                let luma = |p: &[u8]| {
                    (77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]) + 128) >> 8
                };
                self.bytes.chunks_exact(3).map(|p| luma(p) as u8).collect()
            }
        }
    }
}

/// Paint, and the source it was made for.
struct Canvas {
    /// In the layout of the frames.
    paint: Vec<u8>,
    /// Luma.
    source: Vec<u8>,
}

/// Where the paint of each pixel comes from.
struct Origins {
    /// Index of the canvas.
    canvas: Vec<u8>,
    /// Place on it, pixels of luma.
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Origins {
    fn new(pixels: usize) -> Self {
        Origins { canvas: vec![0; pixels], x: vec![0.0; pixels], y: vec![0.0; pixels] }
    }

    /// All paint is on one canvas, where it belongs.
    fn begin(&mut self, canvas: u8, width: usize) {
        self.canvas.fill(canvas);
        self.x.iter_mut().enumerate().for_each(|(n, x)| *x = (n % width) as f32);
        self.y.iter_mut().enumerate().for_each(|(n, y)| *y = (n / width) as f32);
    }

    /// The origin of what lies at a point between pixels: on the canvas of the nearest, interpolated where the others
    /// have the same.
    #[inline]
    fn at(&self, (width, height): (usize, usize), x: f32, y: f32) -> (u8, f32, f32) {
        let (x, y) = (x.clamp(0.0, (width - 1) as f32), y.clamp(0.0, (height - 1) as f32));
        let (left, top) = (x as usize, y as usize);
        let (right, below) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
        let (across, down) = (x - left as f32, y - top as f32);
        let near_x = if across < 0.5 { left } else { right };
        let near_y = if down < 0.5 { top } else { below };
        let near = near_y * width + near_x;
        let canvas = self.canvas[near];
        let four = [
            (top * width + left, (1.0 - across) * (1.0 - down)),
            (top * width + right, across * (1.0 - down)),
            (below * width + left, (1.0 - across) * down),
            (below * width + right, across * down),
        ];
        if four.iter().all(|(n, _)| self.canvas[*n] == canvas) {
            let sum = |plane: &[f32]| four.iter().map(|(n, share)| share * plane[*n]).sum::<f32>();
            return (canvas, sum(&self.x), sum(&self.y));
        }
        let (dx, dy) = (x - near_x as f32, y - near_y as f32);
        (canvas, self.x[near] + dx, self.y[near] + dy)
    }
}

/// The state after a frame.
struct State {
    info: FrameInfo,
    layout: Layout,
    /// The last frames; the n-th frame is on canvas n modulo their number.
    canvases: Vec<Canvas>,
    frames: usize,
    origins: Origins,
    /// Of the step before; its memory is used again.
    spare: Origins,
    /// Of the carried source.
    pyramid: Pyramid,
}

/// Carries painted frames along.
pub(super) struct Carried {
    unpainted: Option<Mask>,
    /// Share of each pixel that is painted, for frames of this size; only with a mask.
    painted_share: Option<((usize, usize), Vec<f32>)>,
    state: Option<State>,
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
        let luma = source.luma();
        let pyramid = Pyramid::new(&luma, width, height, width, &options);
        let before = self.state.take().filter(|s| (s.info, s.layout) == (info, layout));
        let motion =
            before.map(|before| (MotionGrid::between(&pyramid, &before.pyramid, &options), before));
        let (motion, mut state) = match motion {
            Some((motion, state)) if !motion.cut => (motion, state),
            before => {
                self.state = Some(State::begin(
                    before.map(|(_, state)| state),
                    source,
                    frame,
                    luma,
                    pyramid,
                ));
                return;
            }
        };
        let share = self.painted_share(width, height);
        state.step(&motion, source, frame, luma, steadiness, share, &options);
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
    fn begin(
        before: Option<State>,
        source: &SourceFrame,
        frame: &Frame,
        luma: Vec<u8>,
        pyramid: Pyramid,
    ) -> Self {
        let (info, layout) = (source.info, source.layout);
        let pixels = info.width * info.height;
        let canvas = Canvas { paint: frame.planes.bytes().to_vec(), source: luma };
        let (mut origins, spare) = match before {
            Some(before) => (before.origins, before.spare),
            None => (Origins::new(pixels), Origins::new(pixels)),
        };
        origins.begin(0, info.width);
        State { info, layout, canvases: vec![canvas], frames: 1, origins, spare, pyramid }
    }

    /// The canvas of the next frame: a new one, or the oldest. What was on it is still there.
    fn next_canvas(&mut self) -> usize {
        let bytes = self.canvases[0].paint.len() + self.canvases[0].source.len();
        let most = (MEMORY / bytes.max(1)).clamp(4, FRAMES);
        let next = self.frames % most;
        self.frames += 1;
        if next == self.canvases.len() {
            let (paint, source) = (self.canvases[0].paint.len(), self.canvases[0].source.len());
            self.canvases.push(Canvas { paint: vec![0; paint], source: vec![0; source] });
        }
        next
    }

    #[allow(clippy::too_many_arguments)]
    fn step(
        &mut self,
        motion: &MotionGrid,
        source: &SourceFrame,
        frame: &mut Frame,
        luma: Vec<u8>,
        steadiness: f32,
        share: Option<&[f32]>,
        options: &FlowOptions,
    ) {
        let size @ (width, height) = (self.info.width, self.info.height);
        let next = self.next_canvas();
        let next_label = next as u8;
        let (origins, spare) = (&self.origins, &mut self.spare);
        // Where paint comes from now, and the source that was there.
        let mut kept = vec![0.0f32; width * height];
        let mut carried = vec![0u8; width * height];
        let canvases = &self.canvases;
        let lines = spare.canvas.par_chunks_mut(width).zip(spare.x.par_chunks_mut(width));
        let lines = lines.zip(spare.y.par_chunks_mut(width)).zip(kept.par_chunks_mut(width));
        let lines = lines.zip(carried.par_chunks_mut(width)).with_min_len(LINES).enumerate();
        lines.for_each_init(
            || [vec![0.0; width], vec![0.0; width]],
            |[us, vs], (y, ((((canvas, xs), ys), kept), carried))| {
                motion.line(y, us, vs, kept);
                let own = y * width..(y + 1) * width;
                canvas.copy_from_slice(&origins.canvas[own.clone()]);
                xs.copy_from_slice(&origins.x[own.clone()]);
                ys.copy_from_slice(&origins.y[own]);
                for x in 0..width {
                    let (u, v) = (us[x], vs[x]);
                    if u.abs().max(v.abs()) >= STILL {
                        (canvas[x], xs[x], ys[x]) = origins.at(size, x as f32 + u, y as f32 + v);
                    }
                    let plane =
                        Sample { plane: &canvases[usize::from(canvas[x])].source, size, step: 1 };
                    carried[x] = byte(sample(&plane, xs[x], ys[x]));
                }
            },
        );
        keep_what_is_the_same(&mut kept, &luma, &carried, size);
        keep_what_is_whole(&mut kept, &self.spare, size);
        let source_now: Vec<u8> = luma
            .iter()
            .zip(&carried)
            .zip(&kept)
            .map(|((new, old), kept)| byte(mix(f32::from(*new), f32::from(*old), *kept)))
            .collect();
        let mut paint = frame.planes.bytes().to_vec();
        self.carry_paint(&kept, &mut paint);
        let pyramid = Pyramid::new(&source_now, width, height, width, options);
        // Paint that was lost, or is on the canvas that is written next, begins anew.
        let spare = &mut self.spare;
        for (n, kept) in kept.iter().enumerate() {
            if *kept < 0.5 || spare.canvas[n] == next_label {
                spare.canvas[n] = next_label;
                (spare.x[n], spare.y[n]) = ((n % width) as f32, (n / width) as f32);
            }
        }
        show(frame, source, &paint, steadiness, share);
        self.canvases[next] = Canvas { paint, source: source_now };
        self.pyramid = pyramid;
        std::mem::swap(&mut self.origins, &mut self.spare);
    }

    /// Mixes the carried paint into `paint`, which is the new frame's.
    fn carry_paint(&self, kept: &[f32], paint: &mut [u8]) {
        let (width, height) = (self.info.width, self.info.height);
        let (step, planes) = match self.layout {
            Layout::Rgb => (3, vec![(0, 1), (1, 1), (2, 1)]),
            Layout::Y444 => (1, vec![(0, 1), (width * height, 1), (2 * width * height, 1)]),
            Layout::I420 => {
                let chroma = width.div_ceil(2) * height.div_ceil(2);
                (1, vec![(0, 1), (width * height, 2), (width * height + chroma, 2)])
            }
        };
        for (start, part) in planes {
            let size @ (w, h) = (width.div_ceil(part), height.div_ceil(part));
            let end = if step == 1 { start + w * h } else { paint.len() };
            let lines = paint[start..end].par_chunks_mut(w * step).with_min_len(LINES).enumerate();
            lines.for_each(|(y, line)| {
                for (x, out) in line.iter_mut().step_by(step).enumerate() {
                    // A chroma sample lies with the first of the pixels that share it.
                    let n = part * y * width + part * x;
                    if kept[n] == 0.0 {
                        continue;
                    }
                    let from = &self.canvases[usize::from(self.spare.canvas[n])].paint;
                    let plane = Sample { plane: &from[start..end], size, step };
                    let scale = 1.0 / part as f32;
                    let old = sample(&plane, scale * self.spare.x[n], scale * self.spare.y[n]);
                    *out = byte(mix(f32::from(*out), old, kept[n]));
                }
            });
        }
    }
}

/// Lowers the weights where paint has become a patchwork of many frames, or is stretched: blocks of pixels in which
/// neighbours no longer come from neighbouring places.
fn keep_what_is_whole(kept: &mut [f32], origins: &Origins, (width, height): (usize, usize)) {
    let (columns, rows) = (width.div_ceil(BLOCK), height.div_ceil(BLOCK));
    let torn = |a: usize, b: usize, (dx, dy): (f32, f32)| {
        let far = |a: f32, b: f32, d: f32| (b - a - d).abs() > 0.5;
        origins.canvas[a] != origins.canvas[b]
            || far(origins.x[a], origins.x[b], dx)
            || far(origins.y[a], origins.y[b], dy)
    };
    let mut whole = vec![0.0f32; columns * rows];
    whole.par_chunks_mut(columns).enumerate().for_each(|(row, whole)| {
        for (column, whole) in whole.iter_mut().enumerate() {
            let (mut pairs, mut tears) = (0u32, 0u32);
            for y in row * BLOCK..((row + 1) * BLOCK).min(height - 1) {
                for x in column * BLOCK..((column + 1) * BLOCK).min(width - 1) {
                    let n = y * width + x;
                    pairs += 2;
                    tears += u32::from(torn(n, n + 1, (1.0, 0.0)));
                    tears += u32::from(torn(n, n + width, (0.0, 1.0)));
                }
            }
            let share = tears as f32 / pairs.max(1) as f32;
            *whole = ((TORN.1 - share) / (TORN.1 - TORN.0)).clamp(0.0, 1.0);
        }
    });
    // Interpolated between the centres of blocks, so that no block shows.
    let near = |n: usize, last: usize| {
        let at = ((n as f32 + 0.5) / BLOCK as f32 - 0.5).clamp(0.0, last as f32);
        (at as usize, (at as usize + 1).min(last), at - at.floor())
    };
    kept.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each(|(y, kept)| {
        let (top, below, down) = near(y, rows - 1);
        for (x, kept) in kept.iter_mut().enumerate() {
            let (left, right, across) = near(x, columns - 1);
            let at =
                |row: usize| mix(whole[row * columns + left], whole[row * columns + right], across);
            *kept *= mix(at(top), at(below), down);
        }
    });
}

/// Lowers the weights, which say how sure the flow is, where the source is another than the one that was carried.
fn keep_what_is_the_same(kept: &mut [f32], luma: &[u8], carried: &[u8], size: (usize, usize)) {
    let (width, height) = size;
    kept.par_chunks_mut(width).with_min_len(LINES).enumerate().for_each_init(
        || [vec![0i16; width + 2], vec![0i16; width + 2]],
        |[difference, change], (y, kept)| {
            // Sums over three lines, and a column more on either side.
            difference.fill(0);
            change.fill(0);
            for y in [y.saturating_sub(1), y, (y + 1).min(height - 1)] {
                let line = |y: usize| &luma[y * width..][..width];
                let (own, old) = (line(y), &carried[y * width..][..width]);
                let (above, below) = (line(y.saturating_sub(1)), line((y + 1).min(height - 1)));
                for x in 0..width {
                    let (left, right) = (x.saturating_sub(1), (x + 1).min(width - 1));
                    let apart = |a: u8, b: u8| i16::from(a.abs_diff(b));
                    difference[x + 1] += i16::from(own[x]) - i16::from(old[x]);
                    change[x + 1] += (apart(own[left], own[right]) + apart(above[x], below[x])) / 2;
                }
            }
            for sums in [&mut *difference, &mut *change] {
                (sums[0], sums[width + 1]) = (sums[1], sums[width]);
            }
            for (x, kept) in kept.iter_mut().enumerate() {
                // Means of nine: noise cancels out, and so does what is off by a part of a pixel.
                let mean =
                    |sums: &[i16]| sums[x..x + 3].iter().map(|s| f32::from(*s)).sum::<f32>() / 9.0;
                let allowed = OTHER + TEXTURE * mean(change) - mean(difference).abs();
                let same = (allowed / (OTHER - SAME)).clamp(0.0, 1.0);
                *kept = ((*kept * same - LOST) / (KEPT - LOST)).clamp(0.0, 1.0);
            }
        },
    );
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
fn options_for(width: usize, height: usize) -> FlowOptions {
    let finest = (width.max(height) as f64 / 320.0).log2().round().max(0.0) as usize;
    FlowOptions { finest, ..FlowOptions::LIVE }
}
