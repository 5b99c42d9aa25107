//! Measures how much a painted video flickers.
//!
//! The measure is that of Ruder, Dosovitskiy and Brox ("Artistic style transfer for videos", GCPR 2016) and of Lai et
//! al. ("Learning blind video temporal consistency", ECCV 2018): the frame before is moved along the optical flow of
//! the *source*, and where the flow is reliable the painted frame should be what it shows. The flow is that of
//! [`flow`](crate::flow) with [`FlowOptions::ACCURATE`].

use serde::Serialize;

use crate::flow::{FlowOptions, Pyramid, flow_both, occluded, warp};

/// Source pixels are still when their luma changes by no more than this from frame to frame, levels of 255…
const STILL_LEVELS: f32 = 2.0;
/// …and their flow is shorter than this, pixels.
const STILL_FLOW: f32 = 0.2;
/// If fewer pixels than this share are still, no figure is given.
const STILL_SHARE: f64 = 0.01;

/// Figures of one video, painted or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct FlickerFigures {
    /// Root mean squared difference between each frame and the one before, warped by the source's flow, over pixels
    /// where forward and backward flow agree. Values 0–1; 0 is perfectly steady.
    pub warping_error: f64,
    /// Mean absolute change of still pixels from frame to frame, levels of 255. None where less than a hundredth of
    /// the source is still: then the camera moves.
    pub still_flicker: Option<f64>,
    /// Mean absolute Laplacian of luma, levels of 255: what is steady because it is blurred has less of it.
    pub sharpness: f64,
}

/// Figures of a clip.
#[derive(Clone, Debug, Serialize)]
pub struct ClipFigures {
    /// Frames that were measured.
    pub frames: usize,
    /// Of the painted frames.
    #[serde(flatten)]
    pub painted: FlickerFigures,
    /// Of the source's own frames, by the same flow.
    pub source: FlickerFigures,
    /// Warping error of each frame but the first: painted, source.
    #[serde(skip)]
    pub over_time: Vec<(f64, f64)>,
}

/// The mean over clips; of still pixels over those that have some.
pub fn mean(all: &[FlickerFigures]) -> FlickerFigures {
    let of = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let still: Vec<f64> = all.iter().filter_map(|one| one.still_flicker).collect();
    FlickerFigures {
        warping_error: of(&all.iter().map(|one| one.warping_error).collect::<Vec<_>>()),
        still_flicker: (!still.is_empty()).then(|| of(&still)),
        sharpness: of(&all.iter().map(|one| one.sharpness).collect::<Vec<_>>()),
    }
}

/// A sum and its number of values.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn join(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn value(self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Squared differences to the warped frame before, values 0–1.
    warped: Mean,
    /// Absolute changes of still pixels, levels.
    still: Mean,
    /// Absolute Laplacian of luma, levels.
    laplacian: Mean,
}

impl Sums {
    fn figures(&self, pixels: u64) -> FlickerFigures {
        // Each pixel has three samples.
        let share = self.still.count as f64 / (3 * pixels).max(1) as f64;
        FlickerFigures {
            warping_error: self.warped.value().sqrt(),
            still_flicker: (share >= STILL_SHARE).then(|| self.still.value()),
            sharpness: self.laplacian.value(),
        }
    }
}

/// A frame that the next one is compared with.
struct PreviousFrame {
    pyramid: Pyramid,
    luma: Vec<u8>,
    source: [Vec<f32>; 3],
    painted: [Vec<f32>; 3],
}

/// Measures a clip, frame by frame.
pub struct Flicker {
    width: usize,
    height: usize,
    before: Option<PreviousFrame>,
    frames: usize,
    painted: Sums,
    source: Sums,
    over_time: Vec<(f64, f64)>,
}

impl Flicker {
    /// For frames of `width` × `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Flicker {
            width,
            height,
            before: None,
            frames: 0,
            painted: Sums::default(),
            source: Sums::default(),
            over_time: Vec::new(),
        }
    }

    /// The next frame: the source's and what was made of it, interleaved RGB of `3 · width · height` bytes.
    ///
    /// # Panics
    /// When a frame has another size.
    pub fn add(&mut self, source: &[u8], painted: &[u8]) {
        let (width, height) = (self.width, self.height);
        let bytes = 3 * width * height;
        assert!(source.len() == bytes && painted.len() == bytes, "frames of another size");
        self.frames += 1;
        let luma = luma(source);
        self.source.laplacian.join(laplacian(&luma, width));
        self.painted.laplacian.join(laplacian(&self::luma(painted), width));
        let now = PreviousFrame {
            pyramid: Pyramid::new(&luma, width, height, width, &FlowOptions::ACCURATE),
            luma,
            source: planes(source),
            painted: planes(painted),
        };
        if let Some(before) = self.before.take() {
            self.compare(&before, &now);
        }
        self.before = Some(now);
    }

    fn compare(&mut self, before: &PreviousFrame, now: &PreviousFrame) {
        let (forward, backward) = flow_both(&before.pyramid, &now.pyramid, &FlowOptions::ACCURATE);
        let hidden = occluded(&backward, &forward);
        let still: Vec<bool> = (0..now.luma.len())
            .map(|n| {
                let change = f32::from(now.luma[n]) - f32::from(before.luma[n]);
                change.abs() <= STILL_LEVELS && backward.u[n].hypot(backward.v[n]) < STILL_FLOW
            })
            .collect();
        let measure = |sums: &mut Sums, before: &[Vec<f32>; 3], now: &[Vec<f32>; 3]| {
            let mut warped = Mean::default();
            for (before, now) in before.iter().zip(now) {
                let moved = warp(before, &backward);
                for n in 0..now.len() {
                    if !hidden[n] {
                        warped.add(f64::from((now[n] - moved[n]) / 255.0).powi(2));
                    }
                    if still[n] {
                        sums.still.add(f64::from((now[n] - before[n]).abs()));
                    }
                }
            }
            sums.warped.join(warped);
            warped.value().sqrt()
        };
        let painted = measure(&mut self.painted, &before.painted, &now.painted);
        let source = measure(&mut self.source, &before.source, &now.source);
        self.over_time.push((painted, source));
    }

    /// The figures; none for fewer than two frames.
    pub fn finish(self) -> Option<ClipFigures> {
        let pairs = self.frames.checked_sub(1).filter(|pairs| *pairs > 0)?;
        let pixels = (pairs * self.width * self.height) as u64;
        Some(ClipFigures {
            frames: self.frames,
            painted: self.painted.figures(pixels),
            source: self.source.figures(pixels),
            over_time: self.over_time,
        })
    }
}

/// Luma by ITU-R BT.601, a byte a pixel.
pub(super) fn luma(rgb: &[u8]) -> Vec<u8> {
    let of = |p: &[u8]| 299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]);
    rgb.chunks_exact(3).map(|pixel| ((of(pixel) + 500) / 1000).min(255) as u8).collect()
}

fn planes(rgb: &[u8]) -> [Vec<f32>; 3] {
    [0, 1, 2].map(|c| rgb.iter().skip(c).step_by(3).map(|&value| f32::from(value)).collect())
}

fn laplacian(luma: &[u8], width: usize) -> Mean {
    let mut mean = Mean::default();
    let lines: Vec<&[u8]> = luma.chunks_exact(width).collect();
    for three in lines.windows(3) {
        for x in 1..width.saturating_sub(1) {
            let at = |line: usize, x: usize| i32::from(three[line][x]);
            let around = at(0, x) + at(2, x) + at(1, x - 1) + at(1, x + 1);
            mean.add(f64::from((4 * at(1, x) - around).abs()));
        }
    }
    mean
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (96, 80);

    /// A texture without end, moved by so many pixels.
    fn scene(shift: f32, add: i32) -> Vec<u8> {
        let mut rgb = Vec::new();
        for n in 0..SIZE.0 * SIZE.1 {
            let (x, y) = ((n % SIZE.0) as f32 + shift, (n / SIZE.0) as f32);
            let value = 128.0
                + 40.0 * (x / 5.0).sin() * (y / 7.0).cos()
                + 30.0 * ((x + 2.0 * y) / 11.0).sin();
            rgb.extend([(value as i32 + add).clamp(0, 255) as u8; 3]);
        }
        rgb
    }

    #[test]
    fn brightness_that_alternates_on_a_still_source_is_flicker_of_just_that_much() {
        let mut flicker = Flicker::new(SIZE.0, SIZE.1);
        for n in 0..4 {
            flicker.add(&scene(0.0, 0), &scene(0.0, if n % 2 == 0 { 5 } else { -5 }));
        }
        let measured = flicker.finish().unwrap();
        assert_eq!(measured.frames, 4);
        assert!((measured.painted.still_flicker.unwrap() - 10.0).abs() < 1e-6, "{measured:?}");
        assert!((measured.painted.warping_error - 10.0 / 255.0).abs() < 1e-4, "{measured:?}");
        assert!(measured.source.warping_error < 1e-6, "{measured:?}");
        assert_eq!(measured.source.still_flicker, Some(0.0));
        assert_eq!(measured.over_time.len(), 3);
    }

    #[test]
    fn what_moves_with_its_source_does_not_flicker_and_what_stays_behind_does() {
        let (mut moving, mut stuck) = (Flicker::new(SIZE.0, SIZE.1), Flicker::new(SIZE.0, SIZE.1));
        for n in 0..4 {
            let source = scene(3.0 * n as f32, 0);
            moving.add(&source, &scene(3.0 * n as f32, 10));
            stuck.add(&source, &scene(0.0, 10));
        }
        let (moving, stuck) = (moving.finish().unwrap().painted, stuck.finish().unwrap().painted);
        assert!(moving.warping_error < 0.01, "{moving:?}");
        assert!(stuck.warping_error > 5.0 * moving.warping_error, "{stuck:?}");
        assert_eq!(moving.still_flicker, None, "nothing is still");
    }

    #[test]
    fn a_blurred_video_is_less_sharp_and_one_frame_is_no_video() {
        let mut flicker = Flicker::new(SIZE.0, SIZE.1);
        let flat = vec![100; 3 * SIZE.0 * SIZE.1];
        flicker.add(&scene(0.0, 0), &flat);
        flicker.add(&scene(0.0, 0), &flat);
        let measured = flicker.finish().unwrap();
        assert_eq!(measured.painted.sharpness, 0.0);
        assert!(measured.source.sharpness > 1.0);
        let mut one = Flicker::new(SIZE.0, SIZE.1);
        one.add(&flat, &flat);
        assert!(one.finish().is_none());
    }

    #[test]
    fn the_mean_of_still_pixels_is_over_clips_that_have_some() {
        let of = |warping_error, still_flicker| FlickerFigures {
            warping_error,
            still_flicker,
            sharpness: 2.0,
        };
        let mean = mean(&[of(0.1, None), of(0.3, Some(4.0))]);
        assert!((mean.warping_error - 0.2).abs() < 1e-12);
        assert_eq!(mean.still_flicker, Some(4.0));
    }
}
