//! Measures a model that makes textures: how near they are to the picture that they are made like.

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::dataset::resized;
use super::evaluate::{check_sheet, in_words};
use super::measures::{LayerDistances, Measures, PHOTO_SIZE, TextureDistances};
use super::preview::{save_columns, to_picture, to_tensor};
use super::statistics::picture_size;
use crate::core::stylizer::StylizeError;
use crate::engine::device::Device;
use crate::engine::model_file::ModelFile;
use crate::engine::network::Network;
use crate::engine::precision::Precision;
use crate::engine::{guarded, words};

/// How many textures are measured, each of another seed.
const TEXTURES: u64 = 4;

/// Means over textures of `side` × `side` pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TextureFigures {
    /// Mean distance of the Gram matrices of four layers: 0 is the picture itself.
    pub style_distance: f64,
    /// The same over that of a plain picture of the mean colour: 1 is no texture at all.
    pub style_distance_relative: f64,
    /// The distance at each layer.
    pub style_layers: LayerDistances,
    /// Sliced Wasserstein distance of small patches at four scales, over that of a plain picture of the mean colour.
    pub patch_distance: f64,
    /// How many.
    pub textures: u64,
    /// Their sides, pixels.
    pub side: u32,
}

/// Measures the textures of a model against a picture, as large as in training. If `sheet` is given, a picture of
/// it beside the textures is written there.
///
/// # Errors
/// One line for the user.
pub fn evaluate_textures(
    file: &ModelFile,
    device: Device,
    picture: &Path,
    sheet: Option<&Path>,
) -> Result<TextureFigures> {
    check_sheet(sheet)?;
    // In single precision, as `texture` makes them.
    let network = Network::in_torch(file, device, Precision::Fp32)
        .map_err(|e| anyhow!("cannot put the network onto {device}: {}", words(&e)))?;
    let size = picture_size(file);
    in_words(guarded(|| measure(&network, size, picture, sheet), anyhow::Error::from))
}

fn measure(
    network: &Network,
    size: u32,
    picture: &Path,
    sheet: Option<&Path>,
) -> Result<TextureFigures> {
    let multiple = network.architecture().multiple();
    let side = (i64::from(PHOTO_SIZE) / multiple).max(1) * multiple;
    let side = u32::try_from(side)?;
    let device = network.device().torch();
    let like = resized(picture, size)?;
    let target = to_tensor(&like)?.f_to_device(device)?;
    let measures = Measures::new(&target)?;
    let colour = target.f_mean_dim([2_i64, 3].as_slice(), true, Kind::Float)?;
    let plain = colour.f_expand([1, 3, i64::from(side), i64::from(side)], false)?;
    let plain = measures.distances(&plain.f_contiguous()?)?;
    let (mut all, mut pictures) = (Vec::new(), Vec::new());
    for seed in 1..=TEXTURES {
        let made = network.texture((side as usize, side as usize), seed);
        let made: Tensor = made.map_err(|error| match error {
            StylizeError::OutOfMemory { .. } => anyhow!("not enough memory to make textures"),
            other => anyhow!("{other}"),
        })?;
        let made = made.f_clamp(0.0, 255.0)?;
        all.push(measures.distances(&made)?);
        pictures.push(to_picture(&made)?);
    }
    if let Some(path) = sheet {
        save_columns(&[("picture", vec![like]), ("textures", pictures)], path)?;
    }
    let mean = TextureDistances::mean(&all);
    Ok(TextureFigures {
        style_distance: mean.layers.mean(),
        style_distance_relative: mean.layers.mean() / plain.layers.mean(),
        style_layers: mean.layers,
        patch_distance: mean.patches / plain.patches,
        textures: TEXTURES,
        side,
    })
}
