//! Figures by which models and recipes are compared: how close a painted picture is to its style, and how
//! much of its photo remains. Their settings are fixed, so that figures of different recipes are comparable;
//! scripts/measures_reference.py computes the same figures with numpy.

use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};

use super::loss::{differences, gram, relative_distance};
use super::vgg::{Layer, Vgg, VggError};
use crate::engine::architecture::Padding;
use crate::engine::network::luma;

/// Shorter side of photos and painted pictures, pixels.
pub const PHOTO_SIZE: u32 = 320;
/// Shorter side of the style picture, pixels.
pub const STYLE_SIZE: u32 = 480;
/// Layers whose Gram matrices are compared.
const STYLE_LAYERS: [Layer; 4] = [Layer::Relu1_1, Layer::Relu2_1, Layer::Relu3_1, Layer::Relu4_1];
/// Sides, in pixels, of the squares over which luma is averaged before its differences are compared.
const POOLS: [i64; 3] = [4, 8, 16];
/// Side of the patches of the patch distance, pixels.
const PATCH: i64 = 7;
/// Patches are taken from the picture at these reductions.
const REDUCTIONS: [i64; 4] = [1, 2, 4, 8];
/// Directions on which patches are projected.
const DIRECTIONS: usize = 64;
/// Quantiles at which two distributions are compared.
const QUANTILES: i64 = 512;

/// Squared distance of Gram matrices over the style's own squared norm, by layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LayerDistances {
    /// Colours.
    pub relu1_1: f64,
    /// Fine texture.
    pub relu2_1: f64,
    /// Strokes.
    pub relu3_1: f64,
    /// Large forms.
    pub relu4_1: f64,
}

impl LayerDistances {
    /// The mean of all layers, equally weighted.
    pub fn mean(&self) -> f64 {
        (self.relu1_1 + self.relu2_1 + self.relu3_1 + self.relu4_1) / 4.0
    }

    /// The mean over several pictures, by layer; zeros for none.
    pub fn mean_of(all: &[Self]) -> Self {
        let of =
            |value: fn(&Self) -> f64| all.iter().map(value).sum::<f64>() / all.len().max(1) as f64;
        LayerDistances {
            relu1_1: of(|f| f.relu1_1),
            relu2_1: of(|f| f.relu2_1),
            relu3_1: of(|f| f.relu3_1),
            relu4_1: of(|f| f.relu4_1),
        }
    }
}

/// Figures of a painted picture, or their mean over several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Mean distance of the Gram matrices of four layers: 0 is the style itself.
    pub style_distance: f64,
    /// The same over that of the untouched photo: 1 is no style at all.
    pub style_distance_relative: f64,
    /// The distance at each layer.
    pub style_layers: LayerDistances,
    /// Sliced Wasserstein distance of small patches at four scales to those of the style, over that of
    /// the untouched photo.
    pub patch_distance: f64,
    /// Correlation of the edges of painted picture and photo: 1 when the photo is as readable as
    /// before.
    pub readability: f64,
}

impl Figures {
    /// The mean of several pictures' figures; zeros for none.
    pub fn mean(all: &[Figures]) -> Figures {
        let of = |value: fn(&Figures) -> f64| {
            all.iter().map(value).sum::<f64>() / all.len().max(1) as f64
        };
        Figures {
            style_distance: of(|f| f.style_distance),
            style_distance_relative: of(|f| f.style_distance_relative),
            style_layers: LayerDistances::mean_of(
                &all.iter().map(|figures| figures.style_layers).collect::<Vec<_>>(),
            ),
            patch_distance: of(|f| f.patch_distance),
            readability: of(|f| f.readability),
        }
    }
}

/// Distances of a picture to the style, divided by nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TextureDistances {
    /// Of Gram matrices.
    pub layers: LayerDistances,
    /// Of small patches.
    pub patches: f64,
}

impl TextureDistances {
    /// The mean of several pictures' distances; zeros for none.
    pub fn mean(all: &[Self]) -> Self {
        let layers: Vec<LayerDistances> = all.iter().map(|one| one.layers).collect();
        let patches = all.iter().map(|one| one.patches).sum::<f64>() / all.len().max(1) as f64;
        TextureDistances { layers: LayerDistances::mean_of(&layers), patches }
    }
}

/// A style picture that painted ones are compared with.
#[derive(Debug)]
pub struct Measures {
    vgg: Vgg,
    grams: Vec<Tensor>,
    patches: Patches,
    style_patches: Vec<Tensor>,
}

impl Measures {
    /// Measures the style picture: 1 × 3 × height × width, RGB 0–255, its shorter side
    /// [`STYLE_SIZE`].
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn new(style: &Tensor) -> Result<Self, VggError> {
        let _guard = tch::no_grad_guard();
        let vgg = Vgg::shipped(style.device(), Kind::Float)?.with_padding(Padding::Reflect);
        let vgg = vgg.up_to(STYLE_LAYERS[3]);
        let patches = Patches::new(style.device())?;
        let (grams, style_patches) = (grams(&vgg, style)?, patches.quantiles(style)?);
        Ok(Measures { vgg, grams, patches, style_patches })
    }

    /// Figures of a painted picture of a photo, both 1 × 3 × height × width, RGB 0–255, their shorter
    /// sides [`PHOTO_SIZE`].
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn figures(&self, painted: &Tensor, photo: &Tensor) -> Result<Figures, TchError> {
        let _guard = tch::no_grad_guard();
        let layers = self.style_layers(painted)?;
        let untouched = self.style_layers(photo)?.mean();
        let patches = self.patch_distance(painted)?;
        Ok(Figures {
            style_distance: layers.mean(),
            style_distance_relative: layers.mean() / untouched,
            style_layers: layers,
            patch_distance: patches / self.patch_distance(photo)?,
            readability: readability(painted, photo)?,
        })
    }

    /// Distances of a picture to the style: 1 × 3 × height × width, RGB 0–255.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn distances(&self, picture: &Tensor) -> Result<TextureDistances, TchError> {
        let _guard = tch::no_grad_guard();
        let (layers, patches) = (self.style_layers(picture)?, self.patch_distance(picture)?);
        Ok(TextureDistances { layers, patches })
    }

    fn style_layers(&self, picture: &Tensor) -> Result<LayerDistances, TchError> {
        let mut distances = [0.0; STYLE_LAYERS.len()];
        let grams = grams(&self.vgg, picture)?;
        for ((gram, target), distance) in grams.iter().zip(&self.grams).zip(&mut distances) {
            *distance = relative_distance(gram, target)?.f_double_value(&[])?;
        }
        let [relu1_1, relu2_1, relu3_1, relu4_1] = distances;
        Ok(LayerDistances { relu1_1, relu2_1, relu3_1, relu4_1 })
    }

    /// Mean over directions, quantiles and scales.
    fn patch_distance(&self, picture: &Tensor) -> Result<f64, TchError> {
        let quantiles = self.patches.quantiles(picture)?;
        let mut sum = 0.0;
        for (ours, theirs) in quantiles.iter().zip(&self.style_patches) {
            sum += ours.f_sub(theirs)?.f_abs()?.f_mean(Kind::Double)?.f_double_value(&[])?;
        }
        Ok(sum / quantiles.len() as f64)
    }
}

fn grams(vgg: &Vgg, picture: &Tensor) -> Result<Vec<Tensor>, TchError> {
    vgg.features(picture, &STYLE_LAYERS)?.iter().map(gram).collect()
}

/// Correlation of absolute luma differences of neighbours, both directions, mean over
/// [`POOLS`].
fn readability(painted: &Tensor, photo: &Tensor) -> Result<f64, TchError> {
    let mut sum = 0.0;
    for side in POOLS {
        sum += correlation(&edges(painted, side)?, &edges(photo, side)?)?;
    }
    Ok(sum / POOLS.len() as f64)
}

/// Absolute luma differences, downwards and to the right, of the picture averaged over squares.
fn edges(x: &Tensor, side: i64) -> Result<Tensor, TchError> {
    let luma = luma(x)?.f_narrow(1, 0, 1)?;
    let pool = [side, side];
    let (down, right) = differences(&luma.f_avg_pool2d(pool, pool, [0, 0], false, false, None)?)?;
    Tensor::f_cat(&[down.f_reshape([-1])?, right.f_reshape([-1])?], 0)?.f_abs()
}

/// Pearson's correlation of two tensors' values.
fn correlation(a: &Tensor, b: &Tensor) -> Result<f64, TchError> {
    let centred = |t: &Tensor| {
        let t = t.f_to_kind(Kind::Double)?;
        t.f_sub(&t.f_mean(Kind::Double)?)
    };
    let (a, b) = (centred(a)?, centred(b)?);
    let sum = |t: Tensor| t.f_sum(Kind::Double)?.f_double_value(&[]);
    let (ab, aa, bb) = (sum(a.f_mul(&b)?)?, sum(a.f_square()?)?, sum(b.f_square()?)?);
    Ok(if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 })
}

/// Projects all patches of a picture on fixed random directions.
#[derive(Debug)]
struct Patches {
    /// Unit vectors as the kernels of a convolution: directions × 3 × side × side.
    directions: Tensor,
    device: Device,
}

impl Patches {
    fn new(device: Device) -> Result<Self, TchError> {
        let length = (3 * PATCH * PATCH) as usize;
        let mut random = SplitMix64(0);
        let mut values = Vec::with_capacity(DIRECTIONS * length);
        for _ in 0..DIRECTIONS {
            let direction: Vec<f64> = (0..length).map(|_| random.normal()).collect();
            let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
            values.extend(direction.iter().map(|v| (v / norm) as f32));
        }
        let shape = [DIRECTIONS as i64, 3, PATCH, PATCH];
        let directions = Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to_device(device)?;
        Ok(Patches { directions, device })
    }

    /// For each scale, directions × quantiles. A scale at which the picture has no patch is left out.
    fn quantiles(&self, picture: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let picture = picture.f_to_kind(Kind::Float)?;
        let mut all = Vec::new();
        for factor in REDUCTIONS {
            let side = [factor, factor];
            let reduced = picture.f_avg_pool2d(side, side, [0, 0], false, false, None)?;
            let (_, _, height, width) = reduced.size4()?;
            if height < PATCH || width < PATCH {
                break;
            }
            let bias = None::<Tensor>;
            let projected = reduced.f_conv2d(&self.directions, bias, [1, 1], [0, 0], [1, 1], 1)?;
            let (sorted, _) = projected.f_reshape([DIRECTIONS as i64, -1])?.f_sort(1, false)?;
            all.push(self.at_quantiles(&sorted)?);
        }
        Ok(all)
    }

    /// Values of each row, in ascending order, at the middle of [`QUANTILES`] equal parts.
    fn at_quantiles(&self, sorted: &Tensor) -> Result<Tensor, TchError> {
        let (_, count) = sorted.size2()?;
        let last = count - 1;
        let places: Vec<f64> = (0..QUANTILES)
            .map(|n| (n as f64 + 0.5) / QUANTILES as f64 * count as f64 - 0.5)
            .map(|place| place.clamp(0.0, last as f64))
            .collect();
        let below: Vec<i64> = places.iter().map(|place| place.floor() as i64).collect();
        let above: Vec<i64> = below.iter().map(|place| (place + 1).min(last)).collect();
        let part: Vec<f32> = places
            .iter()
            .zip(&below)
            .map(|(place, below)| (place - *below as f64) as f32)
            .collect();
        let index = |places: &[i64]| {
            sorted.f_index_select(1, &Tensor::f_from_slice(places)?.f_to_device(self.device)?)
        };
        let part = Tensor::f_from_slice(&part)?.f_to_device(self.device)?;
        let (below, above) = (index(&below)?, index(&above)?);
        below.f_add(&above.f_sub(&below)?.f_mul(&part)?)
    }
}

/// The generator of Steele, Lea and Flood 2014. It takes three lines in any language, so the reference script
/// can draw the same directions.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Above 0, below 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Of the normal distribution with mean 0 and deviation 1 (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random::generator;

    fn noise(height: i64, width: i64) -> Tensor {
        let mut random = generator(5, "noise", 0);
        let numbers: Vec<f32> = (0..3 * height * width).map(|_| random.f32() * 255.0).collect();
        Tensor::from_slice(&numbers).reshape([1, 3, height, width])
    }

    #[test]
    fn a_picture_is_as_readable_as_itself_and_its_mirror_image_is_not() {
        let x = noise(96, 128);
        let same = readability(&x, &x).unwrap();
        assert!((same - 1.0).abs() < 1e-9, "{same}");
        let none = readability(&x, &x.flip([3])).unwrap();
        assert!(none.abs() < 0.4, "{none}");
    }

    #[test]
    fn the_style_itself_is_at_no_distance_and_another_picture_is() {
        let style = noise(96, 128);
        let photo = Tensor::full([1, 3, 96, 128], 100.0, (Kind::Float, Device::Cpu));
        let measures = Measures::new(&style).unwrap();
        let figures = measures.figures(&style, &photo).unwrap();
        assert!(figures.style_distance < 1e-9 && figures.patch_distance < 1e-6, "{figures:?}");
        let figures = measures.figures(&photo, &photo).unwrap();
        assert!((figures.patch_distance - 1.0).abs() < 1e-9, "{figures:?}");
        assert!((figures.style_distance_relative - 1.0).abs() < 1e-9, "{figures:?}");
        assert!(figures.style_layers.relu4_1 > 0.3, "{figures:?}");
    }

    #[test]
    fn quantiles_lie_between_sorted_values() {
        let patches = Patches::new(Device::Cpu).unwrap();
        let sorted = Tensor::arange(1024, (Kind::Float, Device::Cpu)).reshape([1, 1024]);
        let found = patches.at_quantiles(&sorted).unwrap();
        let ends = [found.double_value(&[0, 0]), found.double_value(&[0, QUANTILES - 1])];
        assert_eq!(ends, [0.5, 1022.5]);
    }
}
