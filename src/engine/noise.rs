//! Noise of texture networks, and what their scales read.
//!
//! Noise is a function of seed, scale, channel, row and column, not of the picture's size or of the time: a place
//! has the same noise in every frame of a video, and a larger texture begins as a smaller one. With `c(v) = v³ mod p`,
//! which permutes the numbers below the prime p = 46337, and two keys k, l for each seed, scale and channel:
//!
//! ```text
//! noise(row, column) = 255 / p · c(c(c(k + row) + column) + c(l + row))
//! ```
//!
//! All is exact in whole numbers of 32 bits, so that libtorch, TorchScript and ONNX compute the same.

use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, TchError, Tensor};

use super::architecture::NOISE;
use super::layers::channels_last;

/// The largest prime below 2^15.5 that is not 1 modulo 3: cubes permute the numbers below it.
pub(super) const PRIME: i64 = 46_337;
/// Seed of the noise in painting: a network paints a photo always alike.
pub(crate) const SEED: u64 = 0;
/// Largest value of noise, as that of a photo.
pub(super) const WHITE: f64 = 255.0;

/// Both keys of each channel of a scale: SplitMix64 (Steele et al. 2014) of all three numbers.
pub(super) fn keys(seed: u64, scale: usize) -> [[i64; 2]; NOISE as usize] {
    let mixed = |number: u64| {
        let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let key = |n: u64| mixed(mixed(seed) ^ (scale as u64 * 16 + n)) % PRIME as u64;
    // Lossless: below the prime.
    std::array::from_fn(|n| [2 * n, 2 * n + 1].map(|n| key(n as u64) as i64))
}

/// `v`³ modulo [`PRIME`], of whole numbers from 0.
fn cube(v: &Tensor) -> Result<Tensor, TchError> {
    let v = v.f_remainder(PRIME)?;
    v.f_mul(&v)?.f_remainder(PRIME)?.f_mul(&v)?.f_remainder(PRIME)
}

/// Noise of a scale, N × 3 × height × width for N seeds, evenly distributed over 0–255, in single precision.
pub(crate) fn noise(
    seeds: &[u64],
    scale: usize,
    (height, width): (i64, i64),
    device: Device,
) -> Result<Tensor, TchError> {
    let line = |length: i64, shape: [i64; 4]| {
        Tensor::f_arange(length, (Kind::Int, device))?.f_reshape(shape)
    };
    let (rows, columns) = (line(height, [1, 1, height, 1])?, line(width, [1, 1, 1, width])?);
    let row = |which: usize| {
        let keys = seeds.iter().flat_map(|&seed| keys(seed, scale)).map(|keys| keys[which]);
        let keys = Tensor::f_from_slice(&keys.collect::<Vec<_>>())?;
        let keys = keys.f_to_kind(Kind::Int)?.f_to_device(device)?;
        cube(&keys.f_reshape([-1, NOISE, 1, 1])?.f_add(&rows)?)
    };
    let all = cube(&cube(&row(0)?.f_add(&columns)?)?.f_add(&row(1)?)?)?;
    all.f_to_kind(Kind::Float)?.f_mul_scalar(WHITE / PRIME as f64)
}

/// Side of a picture at 1 / 2^scale of its size.
pub(crate) fn reduced((height, width): (i64, i64), scale: usize) -> (i64, i64) {
    (height >> scale, width >> scale)
}

/// What a scale of a texture network reads of pictures, batch × 3 × height × width with sides that are multiples of
/// 2^scale: means over squares of 2^scale pixels, then noise (of one picture or of each); without `photo` noise alone.
pub(crate) fn beside(
    pictures: &Tensor,
    photo: bool,
    noise: &Tensor,
    scale: usize,
) -> Result<Tensor, TchError> {
    let (batch, _, _, _) = pictures.size4()?;
    let noise = noise.f_expand([batch, -1, -1, -1], false)?.f_to_kind(pictures.kind())?;
    let side = [1 << scale; 2];
    let means = match scale {
        _ if !photo => return channels_last(&noise),
        0 => pictures.shallow_clone(),
        _ => pictures.f_avg_pool2d(side, side, [0, 0], false, true, None)?,
    };
    channels_last(&Tensor::f_cat(&[means, noise], 1)?)
}

/// Noise of all scales for one size of picture, kept from one frame to the next.
#[derive(Debug, Default)]
pub(super) struct KeptNoise(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    seed: u64,
    size: (i64, i64),
    scales: Vec<Tensor>,
}

impl KeptNoise {
    /// The noise of each scale, the finest first, 1 × 3 × height × width each.
    pub(super) fn scales(
        &self,
        seed: u64,
        size: (i64, i64),
        count: usize,
        (kind, device): (Kind, Device),
    ) -> Result<Vec<Tensor>, TchError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| (kept.seed, kept.size) == (seed, size)) {
            return Ok(kept.scales.iter().map(Tensor::shallow_clone).collect());
        }
        let of = |scale| noise(&[seed], scale, reduced(size, scale), device)?.f_to_kind(kind);
        let scales = (0..count).map(of).collect::<Result<Vec<_>, _>>()?;
        let own = scales.iter().map(Tensor::shallow_clone).collect();
        *kept = Some(Kept { seed, size, scales: own });
        Ok(scales)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(seed: u64, scale: usize, height: i64, width: i64) -> Tensor {
        noise(&[seed], scale, (height, width), Device::Cpu).unwrap()
    }

    fn number(t: &Tensor) -> f64 {
        t.double_value(&[])
    }

    #[test]
    fn a_place_has_the_same_noise_whatever_the_size() {
        let large = small(7, 1, 60, 90);
        assert_eq!(large.narrow(2, 0, 17).narrow(3, 0, 33), small(7, 1, 17, 33));
        for other in [small(8, 1, 60, 90), small(7, 2, 60, 90), small(7 << 40, 1, 60, 90)] {
            let equal = large.eq_tensor(&other).sum(Kind::Int64);
            assert!(equal.int64_value(&[]) < 5, "{equal}");
        }
        let two = noise(&[3, 7], 1, (60, 90), Device::Cpu).unwrap();
        assert_eq!(two.get(1), large.get(0));
    }

    #[test]
    fn noise_is_spread_evenly_and_neighbours_are_independent() {
        let x = small(1, 0, 200, 300) / WHITE - 0.5;
        assert!(number(&x.mean(Kind::Double)).abs() < 0.003);
        assert!((number(&x.square().mean(Kind::Double)) * 12.0 - 1.0).abs() < 0.01);
        for (down, right) in [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0)] {
            let shifted = x.roll([down, right], [2, 3]);
            let product = number(&(&x * shifted).mean(Kind::Double)) * 12.0;
            assert!(product.abs() < 0.01, "{down} {right}: {product}");
        }
        let channels = number(&(x.get(0).get(0) * x.get(0).get(1)).mean(Kind::Double)) * 12.0;
        assert!(channels.abs() < 0.02, "{channels}");
    }

    #[test]
    fn what_is_computed_for_a_place_is_what_is_written_down() {
        let cube = |v: i64| v % PRIME * (v % PRIME) % PRIME * (v % PRIME) % PRIME;
        let [k, l] = keys(5, 2)[1];
        let expected = cube(cube(cube(k + 11) + 6) + cube(l + 11)) as f64 * WHITE / PRIME as f64;
        let found = number(&small(5, 2, 12, 7).get(0).get(1).get(11).get(6));
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        // A permutation: no two numbers have the same cube.
        let cubes: std::collections::BTreeSet<i64> = (0..PRIME).map(cube).collect();
        assert_eq!(cubes.len() as i64, PRIME);
    }
}
