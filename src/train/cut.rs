//! What is cut out of a photograph for a step: a piece at random, brightened or darkened at random,
//! with noise on what the network sees.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::random::{generator, normal_pair};

/// Photos are shown up to this much larger than the piece cut out of them.
const ZOOM: f32 = 1.25;

/// What is cut out of photographs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Side of the square pieces, pixels.
    pub size: u32,
    /// At random places and scales, and mirrored; else the middle.
    pub augment: bool,
    /// Largest deviation of the noise on what the network sees, levels of 255.
    pub noise: f32,
    /// Half of the photos are brightened or darkened, by up to so many stops.
    pub exposure: f32,
    /// Seed of all that is random.
    pub seed: u64,
}

/// A piece of a photograph: `size · size` RGB pixels, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// As photographed, 0–255.
    pub photo: Vec<u8>,
    /// With noise, which may lead below 0 and above 255; none when there is to be no noise.
    pub noisy: Option<Vec<f32>>,
}

impl Cut {
    /// Piece number `number` of the run, of this photograph.
    pub(super) fn piece(self, photo: RgbImage, number: u64) -> Piece {
        let photo = self.exposed(self.of(photo, number).into_raw(), number);
        let noisy = (self.noise > 0.0).then(|| {
            let mut random = generator(self.seed, "noise", number);
            let amount = self.noise * random.f32();
            let mut noisy: Vec<f32> = photo.iter().map(|&value| f32::from(value)).collect();
            for pair in noisy.chunks_mut(2) {
                let noise = normal_pair(&mut random);
                pair.iter_mut().zip(noise).for_each(|(value, n)| *value += n * amount);
            }
            noisy
        });
        Piece { photo, noisy }
    }

    /// Half of the pieces over- or underexposed. Bright ones lose what is in their skies: few photos
    /// have large plain white areas, and a network that never saw any paints them in one colour.
    fn exposed(self, mut photo: Vec<u8>, number: u64) -> Vec<u8> {
        let mut random = generator(self.seed, "exposure", number);
        if self.exposure > 0.0 && random.bool() {
            let factor = (self.exposure * (2.0 * random.f32() - 1.0)).exp2();
            // The cast clips at 255.
            photo.iter_mut().for_each(|value| *value = (f32::from(*value) * factor).round() as u8);
        }
        photo
    }

    /// Its pixels.
    fn of(self, photo: RgbImage, number: u64) -> RgbImage {
        let mut random = generator(self.seed, "cut", number);
        let zoom = if self.augment { 1.0 + random.f32() * (ZOOM - 1.0) } else { 1.0 };
        let (width, height) = photo.dimensions();
        let size = self.size as f32;
        let scale = size * zoom / width.min(height).max(1) as f32;
        let scaled = |length: u32| ((length as f32 * scale).round() as u32).max(self.size);
        let (w, h) = (scaled(width), scaled(height));
        let photo = match (w, h) == (width, height) {
            true => photo,
            false => imageops::resize(&photo, w, h, FilterType::Triangle),
        };
        let (free_x, free_y) = (w - self.size, h - self.size);
        let (x, y) = match self.augment {
            true => (random.u32(0..=free_x), random.u32(0..=free_y)),
            false => (free_x / 2, free_y / 2),
        };
        let mut piece = imageops::crop_imm(&photo, x, y, self.size, self.size).to_image();
        if self.augment && random.bool() {
            imageops::flip_horizontal_in_place(&mut piece);
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const CUT: Cut = Cut { size: 32, augment: true, noise: 6.0, exposure: 1.0, seed: 1 };

    #[test]
    fn half_of_the_photos_are_brighter_or_darker_by_up_to_a_stop() {
        let factors: Vec<u8> = (0..200).map(|n| CUT.exposed(vec![100, 250], n)[0]).collect();
        assert!(factors.iter().all(|value| (50..=200).contains(value)), "{factors:?}");
        let same = factors.iter().filter(|&&value| value == 100).count();
        let brighter = factors.iter().filter(|&&value| value > 100).count();
        assert!((70..130).contains(&same) && (25..80).contains(&brighter), "{same} {brighter}");
        let bright = (0..200).map(|n| CUT.exposed(vec![100, 250], n)).find(|p| p[0] > 150);
        assert_eq!(bright.unwrap()[1], 255);
        assert_eq!(Cut { exposure: 0.0, ..CUT }.exposed(vec![9, 99], 4), [9, 99]);
    }

    #[test]
    fn without_augmenting_the_middle_is_cut_out() {
        let photo = RgbImage::from_fn(96, 32, |x, _| Rgb([x as u8, 0, 0]));
        let piece = Cut { augment: false, ..CUT }.of(photo, 5);
        assert_eq!((piece.get_pixel(0, 0).0[0], piece.get_pixel(31, 31).0[0]), (32, 63));
    }
}
