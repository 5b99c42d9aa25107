//! The pictures whose styles a network with a style predictor learns: which one a photo is painted in, and what
//! is measured of it.
//!
//! As the photos', their order depends on seed and number alone. A picture is seen whole or in parts, mirrored,
//! and in other colours, and some styles are mixtures of two: the predictor must know what lies between and
//! beyond the pictures it was trained with.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use tch::{Device, Kind, TchError, Tensor};

use super::dataset::{Dataset, decode, scaled};
use super::dataset_error::DatasetError;
use super::loss::{Losses, StyleTarget};
use super::preview::to_tensor;
use super::random::{PhotoOrder, generator};
use super::statistics::{means_and_deviations, statistics};
use crate::engine::memory;
use crate::engine::predictor::STATISTICS;

/// In how many ways each picture is seen: whole first, then in random parts and colours.
const VIEWS: u64 = 3;
/// Share of styles that are mixtures of two.
const MIXED: f32 = 0.25;
/// How many pictures tell the centre and the spread of the statistics.
const SAMPLE: usize = 100;
/// How many photos tell how far photos are from a style.
const PHOTOS: usize = 24;
/// Pictures are not longer than this many times their width: of longer ones, the middle.
const LONGEST: f64 = 2.0;
/// Share of the free memory in which measured pictures are kept.
const KEPT: f64 = 0.25;

/// Style pictures of a folder.
#[derive(Debug)]
pub struct StylePictures {
    files: Dataset,
    size: u32,
    seed: u64,
    order: RefCell<PhotoOrder>,
    known: RefCell<Known>,
    /// Mean of photos, which tells how much each style counts; none: all alike.
    photos: Option<StyleTarget>,
}

/// What is measured of a style picture: its [moments](super::statistics), and its target.
type Measured = (Tensor, StyleTarget);

/// Pictures that have been measured, in the rows of one tensor, in half precision. Each by itself would lie among
/// the much larger blocks of passes, which come and go, and would keep their memory from being used again.
#[derive(Debug)]
struct Known {
    /// Row of each file and view.
    rows: HashMap<(usize, u64), i64>,
    /// None until the first is measured.
    values: Option<Tensor>,
    most: i64,
}

impl Known {
    fn row(&self, key: (usize, u64)) -> Result<Option<Tensor>, TchError> {
        let (Some(row), Some(values)) = (self.rows.get(&key), &self.values) else {
            return Ok(None);
        };
        values.f_select(0, *row).map(Some)
    }

    /// Keeps a row, if there is room.
    fn keep(&mut self, key: (usize, u64), row: &Tensor) -> Result<(), TchError> {
        let values = match &self.values {
            Some(values) => values,
            None => {
                let bytes = 2.0 * row.numel() as f64;
                let room = memory::free().map_or(0.0, |free| free * KEPT / bytes) as i64;
                self.most = self.most.min(room);
                let shape = [self.most.max(1), row.size1()?];
                self.values.insert(Tensor::f_empty(shape, (Kind::BFloat16, Device::Cpu))?)
            }
        };
        let next = self.rows.len() as i64;
        if next < self.most {
            values.f_select(0, next)?.f_copy_(row)?;
            self.rows.insert(key, next);
        }
        Ok(())
    }
}

/// What is measured of a picture as a row in half precision: means, deviations (half precision would lose small ones
/// in mean squares) and Gram matrices.
fn row_of((moments, target): &Measured) -> Result<Tensor, TchError> {
    let row = Tensor::f_cat(&[means_and_deviations(moments)?, target.row()?], 0)?;
    row.f_to_kind(Kind::BFloat16)
}

/// What is measured, of its row.
fn of_row(row: &Tensor, losses: &Losses) -> Result<Measured, TchError> {
    let row = row.f_to_kind(Kind::Float)?;
    let kept = row.f_narrow(0, 0, STATISTICS as i64)?.f_reshape([2, -1])?;
    let (mean, deviation) = (kept.f_select(0, 0)?, kept.f_select(0, 1)?);
    let square = deviation.f_square()?.f_add(&mean.f_square()?)?;
    let grams = row.f_narrow(0, STATISTICS as i64, row.size1()? - STATISTICS as i64)?;
    Ok((Tensor::f_stack(&[mean, square], 0)?, losses.target_of_row(&grams)?))
}

impl StylePictures {
    /// The pictures of a folder and all folders in it, used with this shorter side.
    ///
    /// # Errors
    /// [`DatasetError`].
    pub fn open(folder: &Path, size: u32, seed: u64) -> Result<Self, DatasetError> {
        let files = Dataset::open(folder, 2)?;
        let most = files.len() as i64 * VIEWS as i64;
        let known = RefCell::new(Known { rows: HashMap::new(), values: None, most });
        let order = RefCell::new(PhotoOrder::new(files.len() as u64, seed ^ 0x5717));
        Ok(StylePictures { files, size, seed, order, known, photos: None })
    }

    /// Weighs each style by how far photos such as these are from it ([`Losses::balanced`]).
    ///
    /// # Errors
    /// When none can be read, or libtorch fails.
    pub fn balance(&mut self, losses: &Losses, photos: &Dataset, size: u32) -> Result<()> {
        let files = photos.files();
        let mut some = Vec::new();
        for n in 0..files.len().min(PHOTOS) {
            if let Ok(photo) = decode(&files[n * files.len() / files.len().min(PHOTOS)]) {
                some.push((to_tensor(&scaled(not_too_long(photo), size))?, 1.0));
            }
        }
        self.photos = (!some.is_empty()).then(|| losses.style_target(&some)).transpose()?;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files, sorted.
    pub fn files(&self) -> &[PathBuf] {
        self.files.files()
    }

    /// Statistics of some of the pictures, spread evenly, one in each row.
    ///
    /// # Errors
    /// When one cannot be read, or libtorch fails.
    pub fn sample(&self, losses: &Losses) -> Result<Tensor> {
        let count = self.len().min(SAMPLE);
        let mut rows = Vec::with_capacity(count);
        for n in 0..count {
            rows.push(statistics(&self.view(losses, n * self.len() / count, 0)?.0)?);
        }
        Ok(Tensor::f_stack(&rows, 0)?)
    }

    /// Statistics and target of the style for photo `number`.
    ///
    /// # Errors
    /// When no picture can be read, or libtorch fails.
    pub fn style(&self, losses: &Losses, number: u64) -> Result<(Tensor, StyleTarget)> {
        let mut random = generator(self.seed, "style", number);
        let first = self.readable(losses, number, random.u64(0..VIEWS))?;
        if random.f32() >= MIXED {
            return Ok((statistics(&first.0)?, self.balanced(losses, first.1)?));
        }
        let shift = random.u64(1..self.len() as u64);
        let second = self.readable(losses, number + shift, random.u64(0..VIEWS))?;
        let share = f64::from(random.f32());
        let moments = first.0.f_lerp(&second.0, share)?;
        let target = self.balanced(losses, first.1.mixed(&second.1, share)?)?;
        Ok((statistics(&moments)?, target))
    }

    fn balanced(&self, losses: &Losses, target: StyleTarget) -> Result<StyleTarget, TchError> {
        match &self.photos {
            Some(photos) => losses.balanced(target, photos),
            None => Ok(target),
        }
    }

    /// The style of picture `index`, as it is.
    ///
    /// # Errors
    /// As [`style`](Self::style).
    pub fn plain(&self, losses: &Losses, index: usize) -> Result<Tensor> {
        Ok(statistics(&self.view(losses, index % self.len(), 0)?.0)?)
    }

    /// The picture for photo `number`, or the next that can be read.
    fn readable(&self, losses: &Losses, number: u64, view: u64) -> Result<Measured> {
        let mut last = None;
        for shift in 0..10 {
            let index = self.order.borrow_mut().photo(number, shift);
            match self.view(losses, index, view) {
                Err(error) if error.downcast_ref::<TchError>().is_none() => last = Some(error),
                seen => return seen,
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no style picture can be read")))
    }

    fn view(&self, losses: &Losses, index: usize, view: u64) -> Result<Measured> {
        if let Some(row) = self.known.borrow().row((index, view))? {
            return Ok(of_row(&row, losses)?);
        }
        let mut picture = scaled(not_too_long(decode(&self.files()[index])?), self.size);
        if view > 0 {
            let number = index as u64 * VIEWS + view;
            picture = changed(&picture, self.size, self.seed, number);
        }
        let row = row_of(&losses.style_and_moments(&to_tensor(&picture)?)?)?;
        self.known.borrow_mut().keep((index, view), &row)?;
        // Rounded also the first time: a resumed run must not differ.
        Ok(of_row(&row, losses)?)
    }
}

/// Cuts the middle out of a picture that is longer than [`LONGEST`] times its width.
pub(super) fn not_too_long(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let most = (f64::from(width.min(height)) * LONGEST) as u32;
    let (w, h) = (width.min(most), height.min(most));
    match (w, h) == (width, height) {
        true => picture,
        false => imageops::crop_imm(&picture, (width - w) / 2, (height - h) / 2, w, h).to_image(),
    }
}

/// A random part of a picture, mirrored and in other colours at random, enlarged to `size`.
fn changed(picture: &RgbImage, size: u32, seed: u64, number: u64) -> RgbImage {
    let mut random = generator(seed, "style view", number);
    let (width, height) = picture.dimensions();
    let side = (width.min(height) as f32 * (0.6 + 0.4 * random.f32())) as u32;
    let (x, y) = (random.u32(0..=width - side), random.u32(0..=height - side));
    let part = imageops::crop_imm(picture, x, y, side, side).to_image();
    let mut part = imageops::resize(&part, size, size, FilterType::Triangle);
    if random.bool() {
        imageops::flip_horizontal_in_place(&mut part);
    }
    if random.bool() {
        let (turn, saturation) = (random.f32() * std::f32::consts::TAU, 0.5 + random.f32());
        recolour(&mut part, turn, saturation);
    }
    part
}

/// Turns hues by an angle and scales saturations, luma kept: a rotation in Y'CbCr.
fn recolour(picture: &mut RgbImage, turn: f32, saturation: f32) {
    let (sin, cos) = turn.sin_cos();
    let (sin, cos) = (sin * saturation, cos * saturation);
    for Rgb([r, g, b]) in picture.pixels_mut() {
        let (red, green, blue) = (f32::from(*r), f32::from(*g), f32::from(*b));
        let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
        let (u, v) = ((blue - luma) * 0.564, (red - luma) * 0.713);
        let (u, v) = (u * cos - v * sin, u * sin + v * cos);
        let to = |value: f32| value.round().clamp(0.0, 255.0) as u8;
        *r = to(luma + 1.403 * v);
        *g = to(luma - 0.344 * u - 0.714 * v);
        *b = to(luma + 1.773 * u);
    }
}
