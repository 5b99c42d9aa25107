//! Previews: the same photos, painted as training goes on, and the evolution grid made of them (the
//! paper's Fig. 3).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use plotters::prelude::*;
use tch::{Device, Kind, TchError, Tensor};

use super::dataset::resized;
use super::network::TrainNetwork;
use super::run_folder::RunFolder;
use crate::core::picture::{Picture, rgb_frame};

/// Shorter side of the photos as they are painted, pixels.
const SIZE: u32 = 256;
/// Width of a photo in previews and grids.
const WIDTH: u32 = 288;
const GAP: u32 = 6;
/// Height of the line above a grid that names the steps.
const HEAD: u32 = 34;
/// Columns of an evolution grid beside the photos themselves.
const COLUMNS: usize = 5;

/// The photos that are painted at each preview.
#[derive(Debug)]
pub struct Previews {
    photos: Vec<RgbImage>,
    /// The picture that textures are made like, without photos.
    texture: Option<RgbImage>,
}

impl Previews {
    /// Reads the photos, and cuts them to multiples of `multiple` pixels, which the network in training takes.
    ///
    /// # Errors
    /// When one cannot be read or decoded.
    pub fn open(files: &[PathBuf], multiple: i64) -> Result<Self> {
        let multiple = u32::try_from(multiple)?;
        let mut photos = Vec::new();
        for file in files {
            let photo = resized(file, SIZE)?;
            let cut = |length: u32| length / multiple * multiple;
            let (width, height) = (cut(photo.width()), cut(photo.height()));
            photos.push(imageops::crop_imm(&photo, 0, 0, width, height).to_image());
        }
        Ok(Previews { photos, texture: None })
    }

    /// Previews of a network that makes textures like this picture.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn of_texture(file: &Path) -> Result<Self> {
        let texture = Some(resized(file, SIZE)?);
        // Only its shape counts.
        Ok(Previews { photos: vec![RgbImage::new(SIZE, SIZE)], texture })
    }

    /// Paints the photos, in each style the network has, below each other.
    ///
    /// # Errors
    /// When libtorch fails, or the picture cannot be written.
    pub fn paint(&self, network: &TrainNetwork, device: Device, path: &Path) -> Result<()> {
        let mut painted = Vec::new();
        for photo in &self.photos {
            for style in 0..network.architecture().styles {
                let x = to_tensor(photo)?.f_to_device(device)?;
                let y = tch::no_grad(|| network.forward(&x, style))?;
                painted.push(thumbnail(&to_picture(&y)?));
            }
        }
        save(&column(&painted), path)
    }

    /// The photos themselves, in a column as [`paint`](Self::paint) makes it.
    fn column(&self, styles: usize) -> RgbImage {
        let shown = self.texture.as_ref().map_or(&self.photos[..], std::slice::from_ref);
        let thumbnails = shown.iter().map(thumbnail);
        let repeated = thumbnails.flat_map(|photo| std::iter::repeat_n(photo, styles));
        column(&repeated.collect::<Vec<_>>())
    }

    /// Photos and some of the run's previews side by side, evenly spread, the last among them.
    ///
    /// # Errors
    /// When the previews cannot be read, or the grid cannot be written.
    pub fn evolution(&self, folder: &RunFolder, styles: usize, path: &Path) -> Result<()> {
        let previews = folder.previews();
        let Some(last) = previews.last().map(|(step, _)| *step) else { return Ok(()) };
        let name = if self.texture.is_some() { "texture" } else { "photo" };
        let mut columns = vec![(name.to_owned(), self.column(styles))];
        let mut shown = 0;
        for n in 1..=COLUMNS as u64 {
            // Early steps change most, so the steps shown are spaced quadratically.
            let wanted = last * n * n / (COLUMNS * COLUMNS) as u64;
            let near = previews.iter().min_by_key(|(step, _)| step.abs_diff(wanted));
            if let Some((step, file)) = near.filter(|(step, _)| *step > shown) {
                let picture = image::open(file);
                let picture =
                    picture.with_context(|| format!("cannot read '{}'", file.display()))?;
                columns.push((format!("step {step}"), picture.into_rgb8()));
                shown = *step;
            }
        }
        save(&grid(&columns)?, path)
    }
}

/// Columns of pictures, named, as one picture.
///
/// # Errors
/// When the picture cannot be written.
pub fn save_columns(columns: &[(&str, Vec<RgbImage>)], path: &Path) -> Result<()> {
    let named = columns.iter().map(|(name, pictures)| ((*name).to_owned(), pictures.clone()));
    save(&self::columns(&named.collect::<Vec<_>>())?, path)
}

/// Columns of pictures beside each other, the name of each above it.
///
/// # Errors
/// When there are none.
pub fn columns(columns: &[(String, Vec<RgbImage>)]) -> Result<RgbImage> {
    let column =
        |pictures: &[RgbImage]| column(&pictures.iter().map(thumbnail).collect::<Vec<_>>());
    let named = columns.iter().map(|(name, pictures)| (name.clone(), column(pictures)));
    grid(&named.collect::<Vec<_>>())
}

/// Columns beside each other, a name above each.
fn grid(columns: &[(String, RgbImage)]) -> Result<RgbImage> {
    let height = columns.iter().map(|(_, c)| c.height()).max().unwrap_or(0) + HEAD;
    let width = columns.iter().map(|(_, c)| c.width()).sum();
    let mut pixels = vec![255; (width * height * 3) as usize];
    {
        super::plot::readable_font();
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        let mut x = i32::try_from(GAP)?;
        for (name, column) in columns {
            area.draw_text(name, &("sans-serif", 20).into_text_style(&area), (x, 8))?;
            x += i32::try_from(column.width())?;
        }
        area.present()?;
    }
    let mut grid = RgbImage::from_raw(width, height, pixels).context("an empty grid")?;
    let mut x = 0;
    for (_, column) in columns {
        imageops::replace(&mut grid, column, x, HEAD.into());
        x += i64::from(column.width());
    }
    Ok(grid)
}

fn thumbnail(photo: &RgbImage) -> RgbImage {
    let height = (photo.height() * WIDTH / photo.width().max(1)).max(1);
    imageops::resize(photo, WIDTH, height, FilterType::CatmullRom)
}

/// Pictures of one width below each other, with gaps.
fn column(pictures: &[RgbImage]) -> RgbImage {
    let height = pictures.iter().map(|p| p.height() + GAP).sum();
    let mut all = RgbImage::from_pixel(WIDTH + GAP, height, Rgb([255, 255, 255]));
    let mut y = 0;
    for picture in pictures {
        imageops::replace(&mut all, picture, i64::from(GAP / 2), y);
        y += i64::from(picture.height() + GAP);
    }
    all
}

fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let frame = rgb_frame(width, height, picture.as_raw().clone());
    Ok(Picture::from_frame(frame).save(path, path)?)
}

/// A picture as 1 × 3 × height × width, 0–255.
///
/// # Errors
/// When memory is short.
pub fn to_tensor(picture: &RgbImage) -> Result<Tensor, TchError> {
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let pixels = Tensor::f_from_slice(picture.as_raw())?.f_reshape([1, height, width, 3])?;
    pixels.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)
}

/// 1 × 3 × height × width, 0–255, as a picture: clamped and rounded.
///
/// # Errors
/// When libtorch fails.
pub fn to_picture(y: &Tensor) -> Result<RgbImage> {
    let (_, _, height, width) = y.size4()?;
    let bytes = y.f_clamp(0.0, 255.0)?.f_round()?.f_to_kind(Kind::Uint8)?;
    let bytes = bytes.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_reshape([-1])?;
    let bytes = Vec::<u8>::try_from(bytes.f_to_device(Device::Cpu)?)?;
    RgbImage::from_raw(width as u32, height as u32, bytes).context("an empty picture")
}
