//! Figures that say how good a model is, the same for every model: on photos and style at 384 pixels,
//! with equal weights of layers.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use super::dataset::{Dataset, resized};
use super::loss::{Losses, differences};
use super::preview::{save_columns, to_picture, to_tensor};
use super::random::generator;
use super::recipe::{Preset, Recipe};
use super::vgg::Vgg;
use crate::engine::model::Model;
use crate::engine::model_file::Padding;
use crate::engine::network::luma;
use crate::engine::{guarded, words};
use crate::picture::format_for_output;

/// Shorter side of photos and style, pixels.
const SIZE: u32 = 384;
/// Gradients are compared on squares of so many pixels.
const POOL: i64 = 8;
/// Width of the ring at the border, pixels.
const RING: i64 = 16;
/// Side of the random pieces of photos whose borders are looked at, pixels.
const PIECE: i64 = 128;
/// How many pieces, at least.
const PIECES: usize = 200;

/// Figures of a model on a photo, or their mean over photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Content loss: mean squared difference of the features at relu2_2.
    pub content: f64,
    /// Style loss: mean squared differences of Gram matrices (divided by C·H·W), summed over
    /// relu1_2, relu2_2, relu3_3 and relu4_3.
    pub style: f64,
    /// Mean absolute difference of neighbouring pixels, levels of 255.
    pub tv: f64,
    /// Style loss over that of the untouched photo: 0 is the style itself, 1 no style at all.
    pub style_relative: f64,
    /// Correlation of absolute luma gradients of the painted picture and the photo, both averaged
    /// over 8×8 pixels first: 1 when the content is as readable as before.
    pub gradient_correlation: f64,
}

/// How borders differ from the rest, painted less photographed, over many random pieces of photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Border {
    /// Brightness of the outer 16 pixels less that of the inner part, levels of 255, signed: 0 when
    /// borders are neither darker nor lighter.
    pub mean: f64,
    /// Texture (standard deviation within tiles of 16×16 pixels) of the outer 16 pixels over that of
    /// the inner part, over the same of the photo, less 1: 0 when borders have as much texture as
    /// the rest.
    pub contrast: f64,
    /// How many pieces.
    pub pieces: usize,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Mean over the photos.
    #[serde(flatten)]
    pub mean: Figures,
    /// Of borders.
    pub border: Border,
    /// Each photo's own figures, by file name.
    pub photos: Vec<(String, Figures)>,
}

/// Measures a model. `sheet`, if given, gets each photo beside what was made of it.
///
/// # Errors
/// One line for the user.
pub fn evaluate(
    model: &Model,
    style: &Path,
    images: &Path,
    sheet: Option<&Path>,
    progress: impl FnMut(usize, usize),
) -> Result<Evaluation> {
    if let Some(sheet) = sheet {
        let shown = sheet.display();
        let known = format_for_output(sheet);
        known.with_context(|| format!("--sheet {shown}: its name must end in .png or .jpg"))?;
    }
    let measured = guarded(|| measure(model, style, images, sheet, progress), anyhow::Error::from);
    measured.map_err(|error| match error.downcast_ref::<TchError>() {
        Some(torch) => anyhow!("cannot measure: {}", words(torch)),
        None => error,
    })
}

fn measure(
    model: &Model,
    style: &Path,
    images: &Path,
    sheet: Option<&Path>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Evaluation> {
    let photos = Dataset::open(images, 1)?;
    let device = model.device().torch();
    let style = to_tensor(&resized(style, SIZE)?)?.f_to_device(device)?;
    let losses = equal_losses(Vgg::shipped(device, Kind::Float)?);
    let target = losses.style_target(&[(style, 1.0)])?;
    let per_photo = PIECES.div_ceil(photos.len());
    let total = photos.len() * (1 + per_photo);
    let (mut evaluation, mut rings) = (Vec::new(), Rings::default());
    let mut rows = Vec::new();
    for (n, file) in photos.files().iter().enumerate() {
        let photo = resized(file, SIZE)?;
        let x = to_tensor(&photo)?.f_to_device(device)?;
        let y = paint(model, &x)?;
        let measured = tch::no_grad(|| -> Result<Figures, TchError> {
            let features = losses.content_target(&x)?;
            let terms = |y: &Tensor| {
                let terms = losses.terms(y, &features, None, &target)?;
                let [content, style, _] = terms.map(|term| term.f_double_value(&[]));
                Ok::<_, TchError>((content?, style?))
            };
            let ((content, style), (_, untouched)) = (terms(&y)?, terms(&x)?);
            Ok(Figures {
                content,
                style,
                tv: variation(&y)?,
                style_relative: style / untouched,
                gradient_correlation: correlation(&gradients(&y)?, &gradients(&x)?)?,
            })
        })?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        evaluation.push((name, measured));
        progress(n * (1 + per_photo) + 1, total);
        for piece in 0..per_photo {
            let x = piece_of(&x, n, piece)?;
            rings.add(&x, &paint(model, &x)?)?;
            progress(n * (1 + per_photo) + 2 + piece, total);
        }
        if sheet.is_some() {
            rows.push((photo, to_picture(&y)?));
        }
    }
    if let Some(path) = sheet {
        let (photos, painted) = rows.into_iter().unzip();
        save_columns(&[("photo", photos), ("painted", painted)], path)?;
    }
    Ok(Evaluation { mean: mean(&evaluation), border: rings.border(), photos: evaluation })
}

/// Every weight 1 and borders as everybody measures them, so that figures of different recipes can
/// be compared.
fn equal_losses(vgg: Vgg) -> Losses {
    let recipe = Recipe {
        content_weight: 1.0,
        style_weight: 1.0,
        tv_weight: 1.0,
        loss_padding: Padding::Zero,
        tile_share: 0.0,
        ..Recipe::preset(Preset::Default, Vec::new())
    };
    Losses::new(vgg, &recipe)
}

/// The picture that is seen: clamped.
fn paint(model: &Model, x: &Tensor) -> Result<Tensor> {
    let y = tch::no_grad(|| model.forward(x))?;
    Ok(y.f_clamp(0.0, 255.0)?)
}

fn mean(all: &[(String, Figures)]) -> Figures {
    let of = |value: fn(&Figures) -> f64| {
        all.iter().map(|(_, figures)| value(figures)).sum::<f64>() / all.len().max(1) as f64
    };
    Figures {
        content: of(|f| f.content),
        style: of(|f| f.style),
        tv: of(|f| f.tv),
        style_relative: of(|f| f.style_relative),
        gradient_correlation: of(|f| f.gradient_correlation),
    }
}

fn variation(y: &Tensor) -> Result<f64, TchError> {
    let (down, right) = differences(y)?;
    let mean = |t: Tensor| t.f_abs()?.f_mean(Kind::Double)?.f_double_value(&[]);
    Ok((mean(down)? + mean(right)?) / 2.0)
}

/// Absolute luma gradients, downwards and to the right, of the picture averaged over squares.
fn gradients(x: &Tensor) -> Result<Tensor, TchError> {
    let luma = luma(x)?.f_narrow(1, 0, 1)?;
    let pool = [POOL, POOL];
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

/// A piece of a photo, the same for every model. The photo is taken as if its borders met, and the
/// places are spread evenly (the additive recurrence R₂, Roberts 2018), so that each pixel is as
/// often in the ring as its share: what the photo shows then cancels out.
fn piece_of(x: &Tensor, photo: usize, number: usize) -> Result<Tensor, TchError> {
    const STEPS: [f64; 2] = [0.754_877_666_246_693, 0.569_840_290_998_053];
    let (_, _, height, width) = x.size4()?;
    let mut random = generator(1, "border", photo as u64);
    let mut place = |length: i64, step: f64| {
        let part = (random.f64() + step * number as f64).fract();
        (part * length as f64) as i64
    };
    let (y, left) = (place(height, STEPS[0]), place(width, STEPS[1]));
    x.f_roll([-y, -left], [2, 3])?.f_narrow(2, 0, PIECE)?.f_narrow(3, 0, PIECE)
}

/// Sums over pieces.
#[derive(Default)]
struct Rings {
    painted: [f64; 4],
    photographed: [f64; 4],
    pieces: usize,
}

impl Rings {
    fn add(&mut self, x: &Tensor, y: &Tensor) -> Result<(), TchError> {
        for (sums, t) in [(&mut self.photographed, x), (&mut self.painted, y)] {
            sums.iter_mut().zip(ring(t)?).for_each(|(sum, value)| *sum += value);
        }
        self.pieces += 1;
        Ok(())
    }

    fn border(&self) -> Border {
        let brightness = |sums: &[f64; 4]| (sums[0] - sums[1]) / self.pieces.max(1) as f64;
        let texture = |sums: &[f64; 4]| sums[2] / sums[3];
        Border {
            mean: brightness(&self.painted) - brightness(&self.photographed),
            contrast: texture(&self.painted) / texture(&self.photographed) - 1.0,
            pieces: self.pieces,
        }
    }
}

/// Of a picture's luma, in tiles as wide as the ring: mean of the ring and of the inner part, mean
/// deviation within the tiles of the ring and of the inner part. (The deviation of a whole ring
/// would be that of places far apart, and greater than the inner part's in any photo.)
fn ring(x: &Tensor) -> Result<[f64; 4], TchError> {
    let luma = luma(x)?.f_narrow(1, 0, 1)?.f_to_kind(Kind::Double)?;
    let tile = [RING, RING];
    let mean = |t: &Tensor| t.f_avg_pool2d(tile, tile, [0, 0], false, false, None);
    let (means, squares) = (mean(&luma)?, mean(&luma.f_square()?)?);
    let deviations = squares.f_sub(&means.f_square()?)?.f_clamp_min(0.0)?.f_sqrt()?;
    let parts = |t: &Tensor| {
        let (_, _, height, width) = t.size4()?;
        let inner = t.f_narrow(2, 1, height - 2)?.f_narrow(3, 1, width - 2)?;
        let sum = |t: &Tensor| t.f_sum(Kind::Double)?.f_double_value(&[]);
        let (all, inside) = (sum(t)?, sum(&inner)?);
        let (n, inner_n) = (t.numel() as f64, inner.numel() as f64);
        Ok::<_, TchError>(((all - inside) / (n - inner_n), inside / inner_n))
    };
    let ((ring_mean, inner_mean), (ring_texture, inner_texture)) =
        (parts(&means)?, parts(&deviations)?);
    Ok([ring_mean, inner_mean, ring_texture, inner_texture])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn noise(height: i64, width: i64) -> Tensor {
        let numbers: Vec<f32> = {
            let mut random = generator(5, "noise", 0);
            (0..3 * height * width).map(|_| random.f32() * 255.0).collect()
        };
        Tensor::from_slice(&numbers).reshape([1, 3, height, width])
    }

    #[test]
    fn a_picture_correlates_with_itself_and_not_with_noise() {
        let x = noise(96, 128);
        let same = correlation(&gradients(&x).unwrap(), &gradients(&x).unwrap()).unwrap();
        assert!((same - 1.0).abs() < 1e-9, "{same}");
        let other = x.flip([3]);
        let none = correlation(&gradients(&x).unwrap(), &gradients(&other).unwrap()).unwrap();
        assert!(none.abs() < 0.3, "{none}");
    }

    #[test]
    fn a_dark_border_shows_in_the_mean_and_a_smooth_one_in_the_contrast() {
        let x = noise(128, 128);
        let mut rings = Rings::default();
        rings.add(&x, &x).unwrap();
        assert_eq!((rings.border().mean, rings.border().contrast), (0.0, 0.0));
        // The inner part as it is; the ring darker by 20, then with half its deviation.
        let mask = Tensor::zeros([1, 1, 128, 128], (Kind::Float, Device::Cpu));
        let _ = mask.narrow(2, 16, 96).narrow(3, 16, 96).fill_(1.0);
        let dark = &x - (1.0 - &mask) * 20.0;
        let mut rings = Rings::default();
        rings.add(&x, &dark).unwrap();
        assert!((rings.border().mean + 20.0).abs() < 1e-3, "{:?}", rings.border());
        let smooth = &mask * &x + (1.0 - &mask) * ((&x - 127.5) * 0.5 + 127.5);
        let mut rings = Rings::default();
        rings.add(&x, &smooth).unwrap();
        assert!((rings.border().contrast + 0.5).abs() < 0.01, "{:?}", rings.border());
    }
}
