//! Checks sizes, pictures and mask before the first step, so that a run does not fail at its end.

use std::path::Path;

use anyhow::{Result, ensure};
use image::RgbImage;
use tch::Tensor;

use super::{OptimizeConfig, UsageFault};
use crate::core::regions::{Color, Mask, MaskError};
use crate::engine::memory;
use crate::train::dataset::{decode, resized};
use crate::train::loss::Losses;
use crate::train::optimize::objective::Styles;
use crate::train::preview::to_tensor;
use crate::train::recipe::{Recipe, StyleSource};
use crate::train::vgg::Vgg;

/// What the optimization takes on the CPU beside the pixels, bytes: libtorch and the loss network.
const MEMORY_AT_REST: f64 = 0.3e9;
/// What each pixel takes, bytes, in single precision: features, their gradients, L-BFGS's memory.
const MEMORY_A_PIXEL: f64 = 5_000.0;
/// Sizes below this are not worth a level of their own.
const LEAST_LEVEL: u32 = 256;

/// The checked sizes and mask.
#[derive(Debug)]
pub struct Sizes {
    sizes: Vec<u32>,
    /// The regions with styles, and the mask.
    mask: Option<(Vec<Color>, Mask)>,
}

impl Sizes {
    /// Shorter side of the result when none is asked for and the photo is larger, pixels.
    pub const DEFAULT_SIZE: u32 = 512;

    /// Checks everything that can be checked before the work.
    ///
    /// # Errors
    /// One line; [`UsageFault`] when the arguments are to blame.
    pub fn open(config: &OptimizeConfig) -> Result<Self> {
        config.recipe.check().map_err(UsageFault)?;
        let photo = decode(&config.content)?;
        let (width, height) = photo.dimensions();
        let own = width.min(height);
        let sizes = Self::sizes_for(config, own);
        let size = sizes.last().copied().unwrap_or(own);
        let least = least_size(&config.recipe);
        let smallest = sizes.first().copied().unwrap_or_default();
        if smallest < least {
            let said = match (config.size, config.levels) {
                (_, Some(levels)) if size >= least => {
                    format!("--levels {levels}: the smallest size would be {smallest} pixels")
                }
                (Some(size), _) => format!("--size {size}: it is too small"),
                (None, _) => {
                    format!("'{}' is {width}×{height} pixels: too small", config.content.display())
                }
            };
            let deepest = deepest(&config.recipe);
            return Err(UsageFault(format!(
                "{said}; the loss network needs {least} for {deepest}: a larger --size, or layers \
                 further in front"
            ))
            .into());
        }
        let style_sizes = config.style_size.iter().flat_map(|sizes| &sizes.0);
        if let Some(style) = style_sizes.copied().find(|&style| style < least) {
            return Err(UsageFault(format!(
                "--style-size {style}: too small; the loss network needs {least} for {}",
                deepest(&config.recipe)
            ))
            .into());
        }
        enough_memory(config, size, f64::from(width) * f64::from(height) / f64::from(own).powi(2))?;
        let mask = read_mask(config, &photo)?;
        for style in config.styles.iter().filter_map(|style| style.source.as_ref()) {
            // Decoded now, so that a wrong file name is reported before the work.
            decode(&style.picture)?;
        }
        Ok(Sizes { sizes, mask })
    }

    /// The sizes alone.
    pub(super) fn sizes_of(config: &OptimizeConfig) -> Result<Vec<u32>> {
        let (width, height) = decode(&config.content)?.dimensions();
        Ok(Self::sizes_for(config, width.min(height)))
    }

    fn sizes_for(config: &OptimizeConfig, own: u32) -> Vec<u32> {
        sizes(config.size.unwrap_or(own.min(Self::DEFAULT_SIZE)), config.levels)
    }

    /// Shorter sides, from the smallest on, pixels.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// The losses to lower.
    pub(super) fn losses(&self, config: &OptimizeConfig) -> Result<Losses> {
        let (device, kind) = (config.device.torch(), config.precision.kind());
        let vgg = match &config.vgg {
            Some(path) => Vgg::open(path, device, kind)?,
            None => Vgg::shipped(device, kind)?,
        };
        config.recipe.check_release(vgg.release()).map_err(UsageFault)?;
        Ok(Losses::new(vgg, &config.recipe))
    }

    /// A photo at a size.
    pub(super) fn photo(
        &self,
        config: &OptimizeConfig,
        content: &Path,
        size: u32,
    ) -> Result<Tensor> {
        let photo = to_tensor(&resized(content, size)?)?;
        Ok(photo.f_to_device(config.device.torch())?)
    }

    /// The styles at a size, each in its region.
    pub(super) fn styles(
        &self,
        config: &OptimizeConfig,
        size: u32,
        photo: &Tensor,
    ) -> Result<Styles> {
        let full = self.sizes.last().copied().unwrap_or(size);
        let style_sizes = style_sizes(config, full);
        let open = |style: &StyleSource, style_size: u32| -> Result<(Tensor, f64)> {
            // At a smaller size the style pictures are reduced by the same factor, so that strokes grow with
            // the picture.
            let scaled = f64::from(style_size) * f64::from(size) / f64::from(full);
            let scaled = (scaled.round() as u32).max(least_size(&config.recipe));
            let picture = to_tensor(&resized(&style.picture, scaled)?)?;
            let weight = style.weight / style_sizes.len() as f64;
            Ok((picture.f_to_device(config.device.torch())?, weight))
        };
        let open = |sources: Vec<&StyleSource>| -> Result<Vec<(Tensor, f64)>> {
            let each = sources.iter().flat_map(|source| style_sizes.iter().map(|s| (*source, *s)));
            each.map(|(source, style_size)| open(source, style_size)).collect()
        };
        let Some((regions, mask)) = &self.mask else {
            let sources = config.styles.iter().filter_map(|style| style.source.as_ref());
            return Ok(Styles::Everywhere(open(sources.collect())?));
        };
        let (_, _, height, width) = photo.size4()?;
        let planes = mask.sized(width as usize, height as usize);
        let mut all = Vec::new();
        for (region, plane) in regions.iter().zip(&planes) {
            let here = config.styles.iter().filter(|style| style.region == Some(*region));
            let sources = here.filter_map(|style| style.source.as_ref());
            let plane = Tensor::f_from_slice(plane)?.f_reshape([1, 1, height, width])?;
            let plane = plane.f_to_device(config.device.torch())?;
            all.push((open(sources.collect())?, plane));
        }
        Ok(Styles::Regions(all))
    }
}

/// The sizes up to `size`: as many as requested, or as useful.
fn sizes(size: u32, levels: Option<u32>) -> Vec<u32> {
    let mut sizes = vec![size];
    let mut next = size / 2;
    while levels.map_or(next >= LEAST_LEVEL, |levels| sizes.len() < levels as usize) {
        sizes.push(next);
        next /= 2;
    }
    sizes.reverse();
    sizes
}

/// Shorter sides of the style pictures for a result of this size: those of the configuration, or 1.5 times
/// the result's (the proportion at which models are measured).
fn style_sizes(config: &OptimizeConfig, size: u32) -> Vec<u32> {
    match &config.style_size {
        Some(sizes) => sizes.0.clone(),
        None => {
            let scaled = f64::from(size) * 1.5 * config.recipe.style_scale;
            vec![(scaled.round() as u32).max(1)]
        }
    }
}

fn deepest(recipe: &Recipe) -> crate::train::vgg::Layer {
    let layers = recipe.content_layers.iter().chain(&recipe.style_layers).map(|l| l.layer);
    layers.max().unwrap_or(crate::train::vgg::Layer::Relu1_1)
}

/// Least shorter side: the deepest layer must be at least two pixels wide, for mirrored borders.
fn least_size(recipe: &Recipe) -> u32 {
    2 << deepest(recipe).halvings()
}

/// Reports before the work that memory is insufficient; the system would kill the process without a message.
fn enough_memory(config: &OptimizeConfig, size: u32, shape: f64) -> Result<()> {
    let Some(free) = memory::free().filter(|_| !config.device.is_cuda()) else { return Ok(()) };
    let content = f64::from(size).powi(2) * shape;
    // Styles go through the network without gradients, one by one.
    let style = style_sizes(config, size).into_iter().max().unwrap_or(size);
    let style = f64::from(style).powi(2) * 1.5 / 4.0;
    let needed = MEMORY_AT_REST + MEMORY_A_PIXEL * content.max(style);
    ensure!(
        needed <= free,
        "not enough memory: a picture of {size} pixels (shorter side) needs about {:.1} GB, {:.1} \
         GB are free; lower --size or --style-size",
        needed / 1e9,
        free / 1e9
    );
    Ok(())
}

/// The regions that styles are for, in the order they are first named.
fn read_mask(config: &OptimizeConfig, photo: &RgbImage) -> Result<Option<(Vec<Color>, Mask)>> {
    let mut named: Vec<Color> = Vec::new();
    for region in config.styles.iter().filter_map(|style| style.region) {
        if !named.contains(&region) {
            named.push(region);
        }
    }
    let refused = |text: &str| Err(UsageFault(text.to_owned()).into());
    let Some(path) = &config.mask else {
        if named.is_empty() {
            return Ok(None);
        }
        return refused("--style …@REGION needs a --mask");
    };
    if config.styles.iter().any(|style| style.region.is_none()) {
        return refused(
            "with --mask each --style names its region: a.jpg@white --style b.jpg@black",
        );
    }
    if config.styles.iter().all(|style| style.source.is_none()) {
        return refused("no region has a style: all are 'none'");
    }
    let (width, height) = (photo.width() as usize, photo.height() as usize);
    let mask = Mask::open(path, &named, "--style").and_then(|mask| {
        mask.check(width, height, "the photo")?;
        Ok(mask)
    });
    match mask {
        Ok(mask) => Ok(Some((named, mask))),
        Err(MaskError::Refused(text)) => refused(&text),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_grow_from_half_their_size() {
        assert_eq!(sizes(511, None), [511]);
        assert_eq!(sizes(512, None), [256, 512]);
        assert_eq!(sizes(1100, None), [275, 550, 1100]);
        assert_eq!(sizes(300, Some(3)), [75, 150, 300]);
        assert_eq!(sizes(2048, Some(1)), [2048]);
    }
}
