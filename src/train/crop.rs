//! What is cut out of a photograph for a step: a crop at random, brightened or darkened at random,
//! with noise on what the network sees.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::random::{generator, normal_pair};
use crate::core::regions::Mask;

/// Photos are scaled up to this factor larger than the crop taken from them.
const ZOOM: f32 = 1.25;

/// How crops are taken from photos.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropOptions {
    /// Side of the square crops, pixels.
    pub size: u32,
    /// Random positions, scales and mirroring; otherwise the centre.
    pub augment: bool,
    /// Largest standard deviation of the noise on the network's input, in levels of 255.
    pub noise: f32,
    /// Half of the photos are over- or underexposed by up to this many stops.
    pub exposure: f32,
    /// Seed of all that is random.
    pub seed: u64,
}

/// A crop of a photograph: `size · size` RGB pixels, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// As photographed, 0–255.
    pub photo: Vec<u8>,
    /// With noise, so that values may be below 0 or above 255; none without noise.
    pub noisy: Option<Vec<f32>>,
    /// Weight of each region at each pixel, 0–1, `size · size` values each; empty without a mask.
    pub regions: Vec<Vec<f32>>,
}

/// Where in a photograph a crop lies.
#[derive(Debug, Clone, Copy)]
struct CropRect {
    /// The photo's size when the crop is cut out, pixels.
    scaled: (u32, u32),
    /// Upper left corner of the crop in the scaled photo, pixels.
    corner: (u32, u32),
    mirrored: bool,
}

impl Crop {
    /// None, where a network needs no photo.
    pub(super) fn empty() -> Self {
        Crop { photo: Vec::new(), noisy: None, regions: Vec::new() }
    }
}

impl CropOptions {
    /// Crop number `number` of the run, from this photo and its mask.
    pub(super) fn crop(self, photo: RgbImage, mask: Option<&Mask>, number: u64) -> Crop {
        let place = self.place(photo.dimensions(), number);
        let regions = mask.map_or_else(Vec::new, |mask| self.regions(mask, place));
        let photo = self.exposed(self.pixels(photo, place).into_raw(), number);
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
        Crop { photo, noisy, regions }
    }

    /// The pixels of crop number `number`, as they are.
    pub(super) fn plain(self, photo: RgbImage, number: u64) -> Vec<u8> {
        let place = self.place(photo.dimensions(), number);
        self.pixels(photo, place).into_raw()
    }

    /// Over- or underexposes half of the crops. Bright ones lose detail in their skies. Few photos have large
    /// plain white areas, and a network that never saw any paints them in one colour.
    fn exposed(self, mut photo: Vec<u8>, number: u64) -> Vec<u8> {
        let mut random = generator(self.seed, "exposure", number);
        if self.exposure > 0.0 && random.bool() {
            let factor = (self.exposure * (2.0 * random.f32() - 1.0)).exp2();
            // The cast clips at 255.
            photo.iter_mut().for_each(|value| *value = (f32::from(*value) * factor).round() as u8);
        }
        photo
    }

    /// Where it lies in a photo of this size.
    fn place(self, (width, height): (u32, u32), number: u64) -> CropRect {
        let mut random = generator(self.seed, "cut", number);
        let zoom = if self.augment { 1.0 + random.f32() * (ZOOM - 1.0) } else { 1.0 };
        let size = self.size as f32;
        let scale = size * zoom / width.min(height).max(1) as f32;
        let scaled = |length: u32| ((length as f32 * scale).round() as u32).max(self.size);
        let (w, h) = (scaled(width), scaled(height));
        let (free_x, free_y) = (w - self.size, h - self.size);
        let corner = match self.augment {
            true => (random.u32(0..=free_x), random.u32(0..=free_y)),
            false => (free_x / 2, free_y / 2),
        };
        CropRect { scaled: (w, h), corner, mirrored: self.augment && random.bool() }
    }

    /// Its pixels.
    fn pixels(
        self,
        photo: RgbImage,
        CropRect { scaled: (w, h), corner, mirrored }: CropRect,
    ) -> RgbImage {
        let photo = match (w, h) == photo.dimensions() {
            true => photo,
            false => imageops::resize(&photo, w, h, FilterType::Triangle),
        };
        let mut crop =
            imageops::crop_imm(&photo, corner.0, corner.1, self.size, self.size).to_image();
        if mirrored {
            imageops::flip_horizontal_in_place(&mut crop);
        }
        crop
    }

    /// The same crop of its mask.
    fn regions(
        self,
        mask: &Mask,
        CropRect { scaled: (w, h), corner, mirrored }: CropRect,
    ) -> Vec<Vec<f32>> {
        let size = self.size as usize;
        let (x, y) = (corner.0 as usize, corner.1 as usize);
        let planes = mask.sized(w as usize, h as usize);
        let cut = |plane: Vec<f32>| {
            let mut crop = Vec::with_capacity(size * size);
            for line in plane.chunks_exact(w as usize).skip(y).take(size) {
                let line = &line[x..x + size];
                match mirrored {
                    true => crop.extend(line.iter().rev()),
                    false => crop.extend(line),
                }
            }
            crop
        };
        planes.into_iter().map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    const CUT: CropOptions =
        CropOptions { size: 32, augment: true, noise: 6.0, exposure: 1.0, seed: 1 };

    #[test]
    fn half_of_the_photos_are_brighter_or_darker_by_up_to_a_stop() {
        let factors: Vec<u8> = (0..200).map(|n| CUT.exposed(vec![100, 250], n)[0]).collect();
        assert!(factors.iter().all(|value| (50..=200).contains(value)), "{factors:?}");
        let same = factors.iter().filter(|&&value| value == 100).count();
        let brighter = factors.iter().filter(|&&value| value > 100).count();
        assert!((70..130).contains(&same) && (25..80).contains(&brighter), "{same} {brighter}");
        let bright = (0..200).map(|n| CUT.exposed(vec![100, 250], n)).find(|p| p[0] > 150);
        assert_eq!(bright.unwrap()[1], 255);
        assert_eq!(CropOptions { exposure: 0.0, ..CUT }.exposed(vec![9, 99], 4), [9, 99]);
    }

    #[test]
    fn without_augmenting_the_middle_is_cut_out() {
        let photo = RgbImage::from_fn(96, 32, |x, _| Rgb([x as u8, 0, 0]));
        let cut = CropOptions { augment: false, ..CUT };
        let crop = cut.pixels(photo, cut.place((96, 32), 5));
        assert_eq!((crop.get_pixel(0, 0).0[0], crop.get_pixel(31, 31).0[0]), (32, 63));
    }

    /// A photo whose red says where its mask is white, and a mask of another size.
    fn photo_and_mask() -> (RgbImage, Mask, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let inside = |x: u32, y: u32| x > 20 && x + y < 130;
        let shade = |on| Rgb([if on { 255 } else { 0 }; 3]);
        let photo = RgbImage::from_fn(120, 80, |x, y| shade(inside(x, y)));
        let path = folder.path().join("mask.png");
        RgbImage::from_fn(60, 40, |x, y| shade(inside(2 * x, 2 * y))).save(&path).unwrap();
        let regions = ["white", "black", "#00ff00"].map(|color| color.parse().unwrap());
        (photo, Mask::open_of_many(&path, &regions).unwrap(), folder)
    }

    #[test]
    fn a_mask_is_cut_scaled_and_mirrored_as_its_photo_and_neither_noise_nor_exposure_touch_it() {
        let (photo, mask, _folder) = photo_and_mask();
        let mut white = 0.0;
        for number in 0..20 {
            let plain = CropOptions { noise: 0.0, exposure: 0.0, ..CUT };
            let crop = plain.crop(photo.clone(), Some(&mask), number);
            let red = crop.photo.chunks(3).map(|pixel| f32::from(pixel[0]) / 255.0);
            let off = red.zip(&crop.regions[0]).map(|(a, b)| (a - b).abs()).sum::<f32>();
            assert!(off / 1024.0 < 0.03, "{number}: {off}");
            white += crop.regions[0].iter().sum::<f32>() / 1024.0 / 20.0;
            for (a, b) in crop.regions[0].iter().zip(&crop.regions[1]) {
                assert!((a + b - 1.0).abs() < 1e-4, "{a} {b}");
            }
            assert!(crop.regions[2].iter().all(|part| *part == 0.0), "a region it does not show");
            let noisy = CUT.crop(photo.clone(), Some(&mask), number);
            assert!(noisy.regions == crop.regions && noisy.noisy.is_some());
        }
        assert!((0.3..0.97).contains(&white), "{white}");
    }
}
