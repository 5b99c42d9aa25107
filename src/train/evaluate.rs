//! Measures how good a model is: the means over photos of the figures of [`measures`](super::measures), and
//! border figures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use super::dataset::{Dataset, resized, resized_to};
use super::measures::{Figures, Measures, PHOTO_SIZE, STYLE_SIZE};
use super::preview::{save_columns, to_picture, to_tensor};
use super::random::generator;
use crate::core::picture::format_for_output;
use crate::engine::model::Model;
use crate::engine::network::luma;
use crate::engine::{guarded, words};

/// Width of the ring at the border, pixels.
const RING: i64 = 16;
/// Side of the random crops of photos whose borders are looked at, pixels.
const CROP: i64 = 128;
/// How many crops, at least.
const CROPS: usize = 200;

/// Shifts for the shift error, pixels down and to the right. Large and lite networks halve a picture twice: shifted by
/// four pixels it is painted alike.
const SHIFTS: [(i64, i64); 5] = [(0, 1), (1, 0), (1, 1), (2, 2), (3, 3)];
/// Pixels at the borders that the shift error leaves out: what lies beyond them moves with the picture.
const MARGIN: i64 = 32;

/// How borders differ from the rest: difference between painted and original, over many random crops of
/// photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct BorderFigures {
    /// Brightness of the outer 16 pixels less that of the inner part, levels of 255, signed: 0 when
    /// borders are neither darker nor lighter.
    pub mean: f64,
    /// Texture (standard deviation within tiles of 16×16 pixels) of the outer 16 pixels over that of
    /// the inner part, over the same of the photo, less 1: 0 when borders have as much texture as
    /// the rest.
    pub contrast: f64,
    /// How many crops.
    pub crops: usize,
}

/// The result of a measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Mean over the photos.
    #[serde(flatten)]
    pub mean: Figures,
    /// Of borders.
    pub border: BorderFigures,
    /// Root mean squared difference, levels of 255, between a painted photo and the same photo shifted by one to
    /// three whole pixels before it is painted, where both show the same place; mean over shifts and photos. At 0 it
    /// does not matter where a picture lies on the network's grid (Zhang 2019); the larger, the more the paint of what
    /// moves flickers.
    pub shift_error: f64,
    /// Each photo's own figures, by file name.
    pub photos: Vec<(String, Figures)>,
}

/// Measures a model. If `sheet` is given, a picture of each photo beside its painted version is written
/// there.
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
    check_sheet(sheet)?;
    in_words(guarded(|| measure(model, style, images, sheet, progress), anyhow::Error::from))
}

/// Refuses a name that no picture can be written under.
pub(super) fn check_sheet(sheet: Option<&Path>) -> Result<()> {
    let Some(sheet) = sheet else { return Ok(()) };
    let shown = sheet.display();
    let known = format_for_output(sheet);
    known.with_context(|| format!("--sheet '{shown}': its name must end in .png or .jpg"))?;
    Ok(())
}

/// libtorch's errors in the user's words.
pub(super) fn in_words<T>(measured: Result<T>) -> Result<T> {
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
    let style = to_tensor(&resized(style, STYLE_SIZE)?)?.f_to_device(device)?;
    let measures = Measures::new(&style)?;
    let per_photo = CROPS.div_ceil(photos.len());
    let total = photos.len() * (1 + per_photo);
    let (mut evaluation, mut rings) = (Vec::new(), BorderSums::default());
    let mut shifted = 0.0;
    let mut rows = Vec::new();
    for (n, file) in photos.files().iter().enumerate() {
        let photo = resized(file, PHOTO_SIZE)?;
        let x = to_tensor(&photo)?.f_to_device(device)?;
        let y = paint(model, &x)?;
        let measured = measures.figures(&y, &x)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        evaluation.push((name, measured));
        shifted += shift_error(&x, |x| paint(model, x))?;
        progress(n * (1 + per_photo) + 1, total);
        for crop in 0..per_photo {
            let x = crop_of(&x, n, crop)?;
            rings.add(&x, &paint(model, &x)?)?;
            progress(n * (1 + per_photo) + 2 + crop, total);
        }
        if sheet.is_some() {
            rows.push((photo, to_picture(&y)?));
        }
    }
    if let Some(path) = sheet {
        let (photos, painted) = rows.into_iter().unzip();
        save_columns(&[("photo", photos), ("painted", painted)], path)?;
    }
    let each: Vec<Figures> = evaluation.iter().map(|(_, figures)| *figures).collect();
    Ok(Evaluation {
        mean: Figures::mean(&each),
        border: rings.border(),
        shift_error: shifted / photos.len() as f64,
        photos: evaluation,
    })
}

/// Shorter side of the style picture for pictures with the shorter side `size`, pixels.
fn style_size(size: u32) -> u32 {
    size * STYLE_SIZE / PHOTO_SIZE
}

/// Measures painted pictures, each with its photo, against one style; results are named by the painted files.
///
/// Pictures that are larger than [`PHOTO_SIZE`] are reduced to it. Smaller ones are measured as they
/// are, beside a style reduced as much: enlarging them would measure the blur. Photos are resized to
/// the painted pictures.
///
/// # Errors
/// One line for the user.
pub fn evaluate_pictures(
    painted: &[(PathBuf, PathBuf)],
    style: &Path,
) -> Result<Vec<(String, Figures)>> {
    let measure = || -> Result<Vec<(String, Figures)>> {
        let mut all = Vec::new();
        for (file, photo) in painted {
            let (width, height) = crate::core::picture::size(file)?;
            let size = PHOTO_SIZE.min(width.min(height) as u32);
            let measures = Measures::new(&to_tensor(&resized(style, style_size(size))?)?)?;
            let picture = resized(file, size)?;
            let photo = resized_to(photo, picture.width(), picture.height())?;
            let figures = measures.figures(&to_tensor(&picture)?, &to_tensor(&photo)?)?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.push((name, figures));
        }
        Ok(all)
    };
    in_words(guarded(measure, anyhow::Error::from))
}

/// Paints a picture, clamped to what is displayed.
fn paint(model: &Model, x: &Tensor) -> Result<Tensor> {
    let y = tch::no_grad(|| model.paint(x))?;
    Ok(y.f_clamp(0.0, 255.0)?)
}

/// Crop `number` of a photo, the same for every model. The photo is taken as periodic, and positions are
/// spread evenly (the additive recurrence R₂, Roberts 2018), so that every pixel falls into the ring in
/// proportion to its area. What the photo shows then cancels out.
fn crop_of(x: &Tensor, photo: usize, number: usize) -> Result<Tensor, TchError> {
    const STEPS: [f64; 2] = [0.754_877_666_246_693, 0.569_840_290_998_053];
    let (_, _, height, width) = x.size4()?;
    let mut random = generator(1, "border", photo as u64);
    let mut place = |length: i64, step: f64| {
        let part = (random.f64() + step * number as f64).fract();
        (part * length as f64) as i64
    };
    let (y, left) = (place(height, STEPS[0]), place(width, STEPS[1]));
    x.f_roll([-y, -left], [2, 3])?.f_narrow(2, 0, CROP)?.f_narrow(3, 0, CROP)
}

/// The [shift error](Evaluation::shift_error) of one photo.
fn shift_error(x: &Tensor, paint: impl Fn(&Tensor) -> Result<Tensor>) -> Result<f64> {
    let (_, _, height, width) = x.size4()?;
    // Room for the largest shift; less four, a side that is a multiple of four stays one.
    let (height, width) = (height - 4, width - 4);
    let part = |t: &Tensor, (y, x): (i64, i64), (height, width): (i64, i64)| {
        t.f_narrow(2, y, height)?.f_narrow(3, x, width)
    };
    let still = paint(&part(x, (0, 0), (height, width))?)?;
    let mut sum = 0.0;
    for (down, right) in SHIFTS {
        let moved = paint(&part(x, (down, right), (height, width))?)?;
        let both = (height - down - 2 * MARGIN, width - right - 2 * MARGIN);
        let still = part(&still, (MARGIN + down, MARGIN + right), both)?;
        let apart = part(&moved, (MARGIN, MARGIN), both)?.f_sub(&still)?.f_square()?;
        sum += apart.f_mean(Kind::Double)?.f_double_value(&[])?.sqrt();
    }
    Ok(sum / SHIFTS.len() as f64)
}

/// Sums over crops.
#[derive(Default)]
struct BorderSums {
    painted: [f64; 4],
    photographed: [f64; 4],
    crops: usize,
}

impl BorderSums {
    fn add(&mut self, x: &Tensor, y: &Tensor) -> Result<(), TchError> {
        for (sums, t) in [(&mut self.photographed, x), (&mut self.painted, y)] {
            sums.iter_mut().zip(ring(t)?).for_each(|(sum, value)| *sum += value);
        }
        self.crops += 1;
        Ok(())
    }

    fn border(&self) -> BorderFigures {
        let brightness = |sums: &[f64; 4]| (sums[0] - sums[1]) / self.crops.max(1) as f64;
        let texture = |sums: &[f64; 4]| sums[2] / sums[3];
        BorderFigures {
            mean: brightness(&self.painted) - brightness(&self.photographed),
            contrast: texture(&self.painted) / texture(&self.photographed) - 1.0,
            crops: self.crops,
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
    fn what_stays_on_the_screen_is_a_shift_error_and_what_moves_with_the_photo_is_none() {
        let x = noise(120, 140);
        let with = |paint: &dyn Fn(&Tensor) -> Tensor| shift_error(&x, |x| Ok(paint(x))).unwrap();
        assert_eq!(with(&|x| 255.0 - x), 0.0);
        // Ten levels more and ten less, two columns each: shifted by two columns every pixel is 20 levels apart, by one
        // or three every second one.
        let stripes = |x: &Tensor| {
            let columns: Vec<f32> =
                (0..x.size()[3]).map(|n| if n % 4 < 2 { 10.0 } else { -10.0 }).collect();
            x + Tensor::from_slice(&columns)
        };
        let half = 20.0 * 0.5f64.sqrt();
        let expected = (half + 0.0 + half + 20.0 + half) / 5.0;
        assert!((with(&stripes) - expected).abs() < 0.1, "{} {expected}", with(&stripes));
    }

    #[test]
    fn a_dark_border_shows_in_the_mean_and_a_smooth_one_in_the_contrast() {
        let x = noise(128, 128);
        let mut rings = BorderSums::default();
        rings.add(&x, &x).unwrap();
        assert_eq!((rings.border().mean, rings.border().contrast), (0.0, 0.0));
        // The inner part as it is; the ring darker by 20, then with half its deviation.
        let mask = Tensor::zeros([1, 1, 128, 128], (Kind::Float, Device::Cpu));
        let _ = mask.narrow(2, 16, 96).narrow(3, 16, 96).fill_(1.0);
        let dark = &x - (1.0 - &mask) * 20.0;
        let mut rings = BorderSums::default();
        rings.add(&x, &dark).unwrap();
        assert!((rings.border().mean + 20.0).abs() < 1e-3, "{:?}", rings.border());
        let smooth = &mask * &x + (1.0 - &mask) * ((&x - 127.5) * 0.5 + 127.5);
        let mut rings = BorderSums::default();
        rings.add(&x, &smooth).unwrap();
        assert!((rings.border().contrast + 0.5).abs() < 0.01, "{:?}", rings.border());
    }
}
