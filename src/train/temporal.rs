//! The temporal loss: a painted picture must move with its photo, whatever the noise, the light and the codec.
//!
//! Pairs are made from single photos by a known motion, so no video is needed; with videos, every second pair is of
//! two neighbouring frames, moved along their optical flow. The loss is that of Ruder,
//! Dosovitskiy and Brox ("Artistic style transfer for videos", GCPR 2016), with random motions instead of a
//! video's; changes of luminance are allowed for as in ReCoNet (Gao et al., ACCV 2018, equation 5):
//!
//! `loss = mean of M · (y₂ − (W(y) + Y(x₂) − W(Y(x))))² / 255²`
//!
//! with the photo x and its painting y, the moved photo x₂ and its painting y₂, the motion W, luma Y, and the
//! mask M of pixels that x shows too. To it is added, as in ReCoNet (equation 3, there of the whole encoder), the
//! same difference between the inputs of the first residual block, relative to their squares:
//!
//! `MIDDLE_WEIGHT · Σ M · (f₂ − W(f))² / Σ M · W(f)²`
//!
//! W(y) and W(f) are constants: gradients flow through y₂ only, so that only one
//! graph is held at a time. Since motions have no preferred direction, the expected gradient is proportional
//! to that of both.

use image::ImageFormat;
use image::codecs::jpeg::JpegEncoder;
use tch::{Device, Kind, TchError, Tensor};

use super::preview::{to_picture, to_tensor};
use super::random::{generator, normal_pair};
use super::video_pairs::PairFlow;
use crate::engine::network::luma;

/// Largest turn, radians.
const TURN: f32 = 0.07;
/// Largest change of size.
const ZOOM: f32 = 0.06;
/// Largest displacement, as a share of the side.
const SHIFT: f32 = 0.06;
/// Smallest displacement, pixels, of a picture in which [`SHIFT`] is more; before rounding.
const SMALL: f32 = 1.5;
/// Largest bend, as a share of the side.
const BEND: f32 = 0.015;
/// Largest change of exposure, stops.
const EXPOSURE: f32 = 0.15;
/// Least and best quality of JPEG, 1–100.
const QUALITY: (u8, u8) = (30, 90);
/// Weight of the difference in the middle of the network, beside that of the output.
const MIDDLE_WEIGHT: f64 = 0.02;

/// A known motion for each picture of a batch, and a change of brightness.
#[derive(Debug)]
pub struct Motion {
    /// For each pixel of the moved picture, its position in the original: batch × height × width × (x, y), −1
    /// to 1 from border to border.
    grid: Tensor,
    /// 1 where that position lies inside the original, otherwise 0: batch × 1 × height × width.
    mask: Tensor,
    /// Factor of brightness: batch × 1 × 1 × 1.
    gain: Tensor,
}

impl Motion {
    /// At random, for `count` pictures of `size` × `size` pixels: shift, zoom, turn and a gentle bend. The same for
    /// the same seed and number.
    ///
    /// # Errors
    /// When memory is short.
    pub fn random(
        (count, size): (usize, usize),
        (seed, number): (u64, u64),
        device: Device,
    ) -> Result<Self, TchError> {
        let (mut grid, mut mask, mut gains) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..count as u64 {
            let mut random = generator(seed, "motion", number + n);
            let mut within = |most: f32| most * (2.0 * random.f32() - 1.0);
            // Every second motion is a shift by whole pixels, which needs no interpolation, so that what is compared
            // is exact; of the others many hardly zoom, turn or bend. No shift is small, and none of those by whole
            // pixels is even both ways: a pattern that stays on the screen, as at the network's resolution in the
            // middle, would cost little.
            let whole = (number + n).is_multiple_of(2);
            let amount = if whole { 0.0 } else { within(1.0).powi(2) };
            let (sin, cos) = (amount * within(TURN)).sin_cos();
            let zoom = 1.0 + amount * within(ZOOM);
            let bend = [amount * within(BEND), amount * within(BEND), within(3.0), within(3.0)];
            let most = size as f32 * SHIFT;
            let (mut dx, mut dy) = (0.0f32, 0.0);
            while dx.hypot(dy) < SMALL.min(most) {
                (dx, dy) = (within(most), within(most));
            }
            if whole {
                (dx, dy) = (dx.round(), dy.round());
                if dx % 2.0 == 0.0 && dy % 2.0 == 0.0 {
                    dx -= dx.signum();
                }
            }
            let (dx, dy) = (2.0 / size as f32 * dx, 2.0 / size as f32 * dy);
            // Light changes little from frame to frame, and seldom much.
            gains.push((EXPOSURE * within(1.0).powi(3)).exp2());
            let at = |pixel: usize| (2 * pixel + 1) as f32 / size as f32 - 1.0;
            for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
                let (x, y) = (at(x), at(y));
                let u = zoom * (cos * x - sin * y) + dx + 2.0 * bend[0] * (3.0 * y + bend[2]).sin();
                let v = zoom * (sin * x + cos * y) + dy + 2.0 * bend[1] * (3.0 * x + bend[3]).sin();
                grid.extend([u, v]);
                mask.push(f32::from(u8::from(u.abs() <= 1.0 && v.abs() <= 1.0)));
            }
        }
        let (count, size) = (count as i64, size as i64);
        let shaped = |values: &[f32], shape: &[i64]| {
            Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(device)
        };
        Ok(Motion {
            grid: shaped(&grid, &[count, size, size, 2])?,
            mask: shaped(&mask, &[count, 1, size, size])?,
            gain: shaped(&gains, &[count, 1, 1, 1])?,
        })
    }

    /// The motion between neighbouring frames of videos, for each pair its flow.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn of_frames(flows: &[PairFlow], device: Device) -> Result<Self, TchError> {
        let (mut grid, mut mask) = (Vec::new(), Vec::new());
        let (mut width, mut height) = (1, 1);
        for PairFlow { flow, occluded } in flows {
            (width, height) = (flow.width, flow.height);
            let at = |position: f32, side: usize| (2.0 * position + 1.0) / side as f32 - 1.0;
            for (n, hidden) in occluded.iter().enumerate() {
                let (x, y) = ((n % width) as f32 + flow.u[n], (n / width) as f32 + flow.v[n]);
                grid.extend([at(x, width), at(y, height)]);
                mask.push(f32::from(u8::from(!hidden)));
            }
        }
        let (count, width, height) = (flows.len() as i64, width as i64, height as i64);
        let shaped = |values: &[f32], shape: &[i64]| {
            Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(device)
        };
        Ok(Motion {
            grid: shaped(&grid, &[count, height, width, 2])?,
            mask: shaped(&mask, &[count, 1, height, width])?,
            gain: Tensor::f_ones([count, 1, 1, 1], (Kind::Float, device))?,
        })
    }

    /// A picture, moved.
    ///
    /// # Errors
    /// When memory is short.
    pub fn moved(&self, picture: &Tensor) -> Result<Tensor, TchError> {
        sampled(picture, &self.grid)
    }

    /// The photo after the motion, with changed brightness.
    ///
    /// # Errors
    /// When memory is short.
    pub fn seen(&self, photo: &Tensor) -> Result<Tensor, TchError> {
        self.moved(photo)?.f_mul(&self.gain)?.f_clamp(0.0, 255.0)
    }

    /// The temporal loss of the painting of [`seen`](Self::seen), given the painting of the photo.
    ///
    /// # Errors
    /// When memory is short.
    pub fn loss(
        &self,
        photo: &Tensor,
        seen: &Tensor,
        (painted, painted_seen): (&Tensor, &Tensor),
    ) -> Result<Tensor, TchError> {
        let light = luma(seen)?.f_sub(&self.moved(&luma(photo)?)?)?;
        let expected = self.moved(&painted.f_detach()?)?.f_add(&light)?;
        let apart = painted_seen.f_sub(&expected)?.f_mul_scalar(1.0 / 255.0)?;
        let channels = painted_seen.size4()?.1 as f64;
        let count = self.mask.f_sum(Kind::Float)?.f_mul_scalar(channels)?.f_clamp_min(1.0)?;
        apart.f_square()?.f_mul(&self.mask)?.f_sum(Kind::Float)?.f_div(&count)
    }

    /// The temporal loss in the middle of the network, times its weight: of the features of
    /// [`seen`](Self::seen), given those of the photo.
    ///
    /// # Errors
    /// When memory is short.
    pub fn middle_loss(&self, features: &Tensor, of_seen: &Tensor) -> Result<Tensor, TchError> {
        let (_, _, height, width) = of_seen.size4()?;
        let smaller = |t: &Tensor| t.f_adaptive_avg_pool2d([height, width]);
        // Positions count from border to border, so the mean of some is the position of their middle.
        let grid = smaller(&self.grid.f_permute([0, 3, 1, 2])?)?.f_permute([0, 2, 3, 1])?;
        // Features that see a part of the picture for the first time are left out.
        let mask = smaller(&self.mask)?.f_ge(0.999)?.f_to_kind(Kind::Float)?;
        let expected = sampled(&features.f_detach()?, &grid)?;
        let sum = |t: &Tensor| t.f_square()?.f_mul(&mask)?.f_sum(Kind::Float);
        let whole = sum(&expected)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        sum(&of_seen.f_sub(&expected)?)?.f_div(&whole)?.f_mul_scalar(MIDDLE_WEIGHT)
    }
}

/// A picture, or features, taken at other positions. By cubic interpolation, since linear interpolation blurs, and a
/// painting that must look like a blurred one loses its strokes; beyond the borders mirrored.
fn sampled(picture: &Tensor, grid: &Tensor) -> Result<Tensor, TchError> {
    picture.f_grid_sampler(grid, 2, 2, false)
}

/// Adds noise to the network's input, with a random standard deviation up to `most` levels for each picture.
/// Depends only on seed and number.
///
/// # Errors
/// When memory is short.
pub fn with_noise(
    picture: &Tensor,
    most: f32,
    (seed, number): (u64, u64),
) -> Result<Tensor, TchError> {
    let (count, ..) = picture.size4()?;
    let each = picture.numel() / usize::try_from(count).unwrap_or(1).max(1);
    let mut noise: Vec<f32> = Vec::with_capacity(picture.numel() + 1);
    for n in 0..count as u64 {
        let mut random = generator(seed, "second noise", number + n);
        let amount = most * random.f32();
        let begun = noise.len();
        while noise.len() < begun + each {
            noise.extend(normal_pair(&mut random).map(|value| value * amount));
        }
        noise.truncate(begun + each);
    }
    let noise = Tensor::f_from_slice(&noise)?.f_reshape(picture.size())?;
    picture.f_add(&noise.f_to_device(picture.device())?)
}

/// What a codec leaves of pictures, batch × 3 × height × width of 0–255: half of them, chosen at random, go through
/// JPEG of a random quality. Its blocks stay where they are on the screen while what is shown moves, as a video's do.
/// Depends only on seed and number.
///
/// # Errors
/// When memory is short.
pub fn compressed(pictures: &Tensor, (seed, number): (u64, u64)) -> anyhow::Result<Tensor> {
    let (count, ..) = pictures.size4()?;
    let mut all = Vec::new();
    for n in 0..count {
        let picture = pictures.f_narrow(0, n, 1)?;
        let mut random = generator(seed, "compression", number + n as u64);
        if random.f32() < 0.5 {
            all.push(picture);
            continue;
        }
        let quality = QUALITY.0 + (random.f32() * f32::from(QUALITY.1 - QUALITY.0)).round() as u8;
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, quality).encode_image(&to_picture(&picture)?)?;
        let shown = image::load_from_memory_with_format(&file, ImageFormat::Jpeg)?.into_rgb8();
        all.push(to_tensor(&shown)?.f_to_device(pictures.device())?);
    }
    Ok(Tensor::f_cat(&all, 0)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texture(size: i64) -> Tensor {
        let wave = |length: f64| Tensor::arange(size, (Kind::Float, Device::Cpu)) * (1.0 / length);
        let (x, y) =
            (wave(4.0).sin().reshape([1, 1, 1, size]), wave(6.0).cos().reshape([1, 1, size, 1]));
        ((x + y) * 50.0 + 128.0).repeat([2, 3, 1, 1])
    }

    #[test]
    fn what_moves_with_its_photo_and_follows_the_light_costs_nothing() {
        let photo = texture(64);
        for number in 0..6 {
            let motion = Motion::random((2, 64), (1, 2 * number), Device::Cpu).unwrap();
            let seen = motion.seen(&photo).unwrap();
            let steady = motion.loss(&photo, &seen, (&photo, &seen)).unwrap().double_value(&[]);
            assert!(steady < 1e-6, "{steady}");
            // A picture that stays where it was, and noise on top of one that moves.
            let stuck = motion.loss(&photo, &seen, (&photo, &photo)).unwrap().double_value(&[]);
            let noisy = with_noise(&seen, 20.0, (3, number)).unwrap();
            let noisy = motion.loss(&photo, &seen, (&photo, &noisy)).unwrap().double_value(&[]);
            assert!(stuck > 1e-3, "{stuck}");
            assert!(noisy > 1e-6 && noisy < (20.0f64 / 255.0).powi(2), "{noisy}");
        }
    }

    #[test]
    fn compression_leaves_about_half_of_the_pictures_and_hardly_changes_the_others() {
        let photo = texture(64).narrow(0, 0, 1);
        let (mut same, mut far) = (0, Vec::new());
        for number in 0..40 {
            let made = compressed(&photo, (7, number)).unwrap();
            assert_eq!(made, compressed(&photo, (7, number)).unwrap());
            assert_eq!(made.size(), photo.size());
            let apart = (&made - &photo).square().mean(Kind::Float).sqrt().double_value(&[]);
            if apart == 0.0 { same += 1 } else { far.push(apart) }
        }
        assert!((10..=30).contains(&same), "{same} of 40 as they were");
        assert!(far.iter().all(|levels| (0.2..20.0).contains(levels)), "{far:?}");
        // Each picture of a batch by itself.
        let pair = Tensor::cat(&[&photo, &photo], 0);
        let pair = compressed(&pair, (7, 3)).unwrap();
        let alone = |number| compressed(&photo, (7, number)).unwrap();
        assert_eq!(pair, Tensor::cat(&[alone(3), alone(4)], 0));
    }

    #[test]
    fn every_second_motion_is_by_whole_pixels_not_all_even_and_exact() {
        // Noise, of which no interpolation would leave a pixel as it is.
        let photo = with_noise(
            &Tensor::full([1, 3, 64, 64], 128.0, (Kind::Float, Device::Cpu)),
            99.0,
            (5, 1),
        );
        let photo = photo.unwrap();
        let exact = |number: u64| {
            let moved =
                Motion::random((1, 64), (1, number), Device::Cpu).unwrap().moved(&photo).unwrap();
            (-4..=4).any(|dy: i64| {
                (-4..=4).filter(|dx| dx % 2 != 0 || dy % 2 != 0).any(|dx: i64| {
                    let cut = |picture: &Tensor, x: i64, y: i64| {
                        picture.narrow(2, 8 + y, 48).narrow(3, 8 + x, 48)
                    };
                    let apart = cut(&moved, 0, 0) - cut(&photo, dx, dy);
                    apart.abs().max().double_value(&[]) < 0.1
                })
            })
        };
        for number in 0..32 {
            assert_eq!(exact(number), number % 2 == 0, "motion {number}");
        }
    }

    #[test]
    fn features_that_move_with_their_photo_cost_little_and_others_more() {
        let photo = texture(64);
        let pooled = |picture: &Tensor| picture.avg_pool2d([4, 4], [4, 4], [0, 0], false, true, 4);
        for number in 0..6 {
            let motion = Motion::random((2, 64), (1, 2 * number), Device::Cpu).unwrap();
            let features = pooled(&photo);
            let cost = |of_seen: Tensor| {
                motion.middle_loss(&features, &of_seen).unwrap().double_value(&[]) / MIDDLE_WEIGHT
            };
            let (moved, stuck) =
                (cost(pooled(&motion.moved(&photo).unwrap())), cost(pooled(&photo)));
            assert!(moved < 0.02 && stuck > 2.0 * moved, "{moved} {stuck}");
        }
    }

    #[test]
    fn motions_depend_on_seed_and_number_alone_and_leave_most_of_the_picture() {
        let motion = |number| Motion::random((1, 32), (7, number), Device::Cpu).unwrap();
        assert_eq!(motion(3).grid, motion(3).grid);
        assert_ne!(motion(3).grid, motion(4).grid);
        // Of a picture so small that no shift is large enough, too.
        assert!(Motion::random((1, 8), (7, 0), Device::Cpu).is_ok());
        for number in 0..20 {
            let shown = motion(number).mask.mean(Kind::Float).double_value(&[]);
            assert!(shown > 0.7, "{shown}");
        }
    }
}
