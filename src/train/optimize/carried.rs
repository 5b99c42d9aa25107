//! Painted frames, carried along the flow of the video to a later or an earlier one.

use anyhow::{Result, anyhow};
use image::RgbImage;
use tch::{Device, Tensor};

use super::objective::TemporalTarget;
use crate::flow::{FlowField, FlowOptions, motion_boundaries};
use crate::train::preview::to_tensor;
use crate::train::video_pairs::pair_flow;

/// What another frame's painting shows of this frame.
#[derive(Debug)]
pub(super) struct Carried {
    /// 1 × 3 × height × width, RGB 0–255.
    picture: Tensor,
    /// 1 where the other frame does not show the pixel, otherwise 0; 1 × 1 × height × width.
    occluded: Tensor,
    /// 1 where it shows it for sure: neither occluded nor at a motion boundary.
    reliable: Tensor,
}

impl Carried {
    /// Carries `painted`, the painting of `from`, to the frame `to`, on a device. None if the frames show different
    /// scenes.
    pub(super) fn between(
        from: &RgbImage,
        painted: &RgbImage,
        to: &RgbImage,
        device: Device,
    ) -> Result<Option<Self>> {
        let size = (to.width() as usize, to.height() as usize);
        let pair = [from.as_raw().clone(), to.as_raw().clone()];
        let found = pair_flow(&pair, size, &FlowOptions::ACCURATE);
        let found = found.map_err(|reason| anyhow!("cannot compute the optical flow: {reason}"))?;
        if !found.is_of_one_scene() {
            return Ok(None);
        }
        let boundary = motion_boundaries(&found.flow);
        let unreliable = found.occluded.iter().zip(boundary).map(|(hidden, edge)| *hidden || edge);
        let weights = |of: &[bool], is: bool| -> Result<Tensor> {
            let all: Vec<f32> = of.iter().map(|&one| f32::from(u8::from(one == is))).collect();
            let all = Tensor::f_from_slice(&all)?;
            Ok(all.f_reshape([1, 1, size.1 as i64, size.0 as i64])?.f_to_device(device)?)
        };
        // Bicubic: what is carried from frame to frame would lose its sharpness otherwise.
        let grid = sampling_grid(&found.flow)?;
        let picture =
            to_tensor(painted)?.f_grid_sampler(&grid, 2, 1, false)?.f_clamp(0.0, 255.0)?;
        Ok(Some(Carried {
            picture: picture.f_to_device(device)?,
            occluded: weights(&found.occluded, true)?,
            reliable: weights(&unreliable.collect::<Vec<_>>(), false)?,
        }))
    }

    /// A start: this, and what `other` shows (1 × 3 × height × width) where the other frame shows nothing.
    pub(super) fn over(&self, other: &Tensor) -> Result<Tensor> {
        Ok(self.picture.f_lerp_tensor(other, &self.occluded.f_expand_as(other)?)?)
    }

    /// A start: half this, half `other` where this is reliable, `other` elsewhere (Ruder et al., section 3.5).
    pub(super) fn blended_with(&self, other: &Tensor) -> Result<Tensor> {
        let half = self.reliable.f_mul_scalar(0.5)?;
        Ok(other.f_lerp_tensor(&self.picture, &half.f_expand_as(other)?)?)
    }
}

/// For each pixel its place along the flow: 1 × height × width × (x, y), −1 to 1 from border to border.
fn sampling_grid(flow: &FlowField) -> Result<Tensor> {
    let at = |position: f32, side: usize| (2.0 * position + 1.0) / side as f32 - 1.0;
    let mut grid = Vec::with_capacity(2 * flow.u.len());
    for (n, (u, v)) in flow.u.iter().zip(&flow.v).enumerate() {
        let (x, y) = ((n % flow.width) as f32 + u, (n / flow.width) as f32 + v);
        grid.extend([at(x, flow.width), at(y, flow.height)]);
    }
    let shape = [1, flow.height as i64, flow.width as i64, 2];
    Ok(Tensor::f_from_slice(&grid)?.f_reshape(shape)?)
}

/// What a frame is held to by several others, the nearest first: each pixel by the nearest that shows it for sure
/// (Ruder et al., equations 10 and 11: weights are 0 or 1, so of their differences at most one is 1). None if there are
/// no others.
pub(super) fn temporal_target(others: &[&Carried]) -> Result<Option<TemporalTarget>> {
    let Some((last, nearer)) = others.split_last() else { return Ok(None) };
    let mut target = TemporalTarget {
        picture: last.picture.shallow_clone(),
        weight: last.reliable.shallow_clone(),
    };
    for Carried { picture, reliable, .. } in nearer.iter().rev() {
        let held = reliable.f_expand_as(picture)?;
        target.picture = target.picture.f_lerp_tensor(picture, &held)?;
        target.weight = target.weight.f_maximum(reliable)?;
    }
    Ok(Some(target))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tch::Kind;

    fn carried(value: f64, reliable: [bool; 4]) -> Carried {
        let picture = Tensor::full([1, 3, 2, 2], value, (Kind::Float, Device::Cpu));
        let reliable = Tensor::from_slice(&reliable).reshape([1, 1, 2, 2]).to_kind(Kind::Float);
        Carried { picture, occluded: 1 - &reliable, reliable }
    }

    fn plane(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.narrow(1, 0, 1).reshape([-1])).unwrap()
    }

    #[test]
    fn each_pixel_is_held_by_the_nearest_frame_that_shows_it() {
        let near = carried(10.0, [true, true, false, false]);
        let far = carried(20.0, [true, false, true, false]);
        let target = temporal_target(&[&near, &far]).unwrap().unwrap();
        assert_eq!(plane(&target.weight), [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(plane(&target.picture)[..3], [10.0, 10.0, 20.0]);
        assert!(temporal_target(&[]).unwrap().is_none());
    }

    #[test]
    fn a_start_shows_what_is_carried_where_that_is_known() {
        let own = carried(10.0, [true, true, false, false]);
        let other = Tensor::full([1, 3, 2, 2], 30.0, (Kind::Float, tch::Device::Cpu));
        assert_eq!(plane(&own.over(&other).unwrap()), [10.0, 10.0, 30.0, 30.0]);
        assert_eq!(plane(&own.blended_with(&other).unwrap()), [20.0, 20.0, 30.0, 30.0]);
    }

    /// A texture that has moved by 2 pixels, and a painting of its first frame.
    #[test]
    fn a_painting_moves_with_its_frame_and_not_over_a_cut() {
        let at = |x: f32, y: f32| (128.0 + 60.0 * (x / 5.0).sin() + 50.0 * (y / 4.0).cos()) as u8;
        let frame = |by: f32| {
            RgbImage::from_fn(64, 64, |x, y| image::Rgb([at(x as f32 + by, y as f32); 3]))
        };
        let (first, second) = (frame(0.0), frame(2.0));
        let painted =
            RgbImage::from_fn(64, 64, |x, y| image::Rgb([255 - at(x as f32, y as f32), 0, 0]));
        let carried = Carried::between(&first, &painted, &second, Device::Cpu).unwrap().unwrap();
        let (red, mut apart) = (plane(&carried.picture), 0.0);
        for y in 16..48 {
            for x in 16..48 {
                let expected = 255.0 - f32::from(at(x as f32 + 2.0, y as f32));
                apart += (red[y * 64 + x] - expected).abs() / (32.0 * 32.0);
            }
        }
        assert!(apart < 6.0, "{apart}");
        let sure = carried.reliable.sum(Kind::Float).double_value(&[]);
        assert!(sure > 64.0 * 64.0 / 2.0, "{sure}");
        let other = RgbImage::from_fn(64, 64, |x, y| {
            image::Rgb([((x * 7 + y * 13) * (x + 3 * y) % 251) as u8; 3])
        });
        assert!(Carried::between(&first, &painted, &other, Device::Cpu).unwrap().is_none());
    }
}
