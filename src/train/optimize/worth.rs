//! How many steps of L-BFGS reach the loss of a network's picture (Johnson et al. 2016, Fig. 5: 50 to 100).

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;
use tch::{Kind, TchError, Tensor};

use super::lbfgs::{HISTORY, Lbfgs};
use super::noise;
use super::objective::{Objective, Styles};
use crate::engine::model::Model;
use crate::engine::{guarded, words};
use crate::train::dataset::{Dataset, resized};
use crate::train::loss::Losses;
use crate::train::preview::to_tensor;
use crate::train::recipe::{Recipe, RecipePreset};
use crate::train::vgg::Vgg;

/// The result for one photo.
#[derive(Clone, Debug, Serialize)]
pub struct Worth {
    /// The photo's file name.
    pub photo: String,
    /// Weighted loss of the network's picture.
    pub network: f64,
    /// Weighted loss of the noise from which the optimization starts.
    pub start: f64,
    /// Weighted loss of the untouched photo.
    pub content: f64,
    /// Steps after which the optimization's loss is lower than the network's; none if it is not within the
    /// allowed steps.
    pub steps: Option<u64>,
    /// Evaluations of loss and gradient up to then.
    pub evaluations: u64,
}

/// Measures a model on each photo of a folder. Photos have `size` pixels (shorter side), the style 1.5 times
/// as many. The loss is that of the default recipe, so that models can be compared however they were trained.
/// The optimization starts from noise, as in the paper, and makes up to `steps` steps.
///
/// Both pictures are measured as displayed, clamped to 0–255.
///
/// # Errors
/// One line for the user.
pub fn worth(
    model: &Model,
    style: &Path,
    images: &Path,
    (size, steps): (u32, u64),
    progress: impl FnMut(usize, u64),
) -> Result<Vec<Worth>> {
    let measure = || measure(model, style, images, (size, steps), progress);
    guarded(measure, anyhow::Error::from).map_err(|error| match error.downcast_ref::<TchError>() {
        Some(torch) => anyhow!("cannot measure: {}", words(torch)),
        None => error,
    })
}

fn measure(
    model: &Model,
    style: &Path,
    images: &Path,
    (size, steps): (u32, u64),
    mut progress: impl FnMut(usize, u64),
) -> Result<Vec<Worth>> {
    let photos = Dataset::open(images, 1)?;
    let device = model.device().torch();
    let recipe = Recipe::preset(RecipePreset::Default, Vec::new());
    let losses = Losses::new(Vgg::shipped(device, Kind::Float)?, &recipe);
    let style = to_tensor(&resized(style, size * 3 / 2)?)?.f_to_device(device)?;
    let mut all = Vec::new();
    for (n, file) in photos.files().iter().enumerate() {
        let photo = to_tensor(&resized(file, size)?)?.f_to_device(device)?;
        let painted = tch::no_grad(|| model.forward(&photo))?.f_clamp(0.0, 255.0)?;
        let start = noise(&photo, recipe.seed)?;
        let styles = Styles::Everywhere(vec![(style.shallow_clone(), 1.0)]);
        let painting = Objective::new(&losses, photo.shallow_clone(), styles, None)?;
        let loss = |x: &Tensor| -> Result<f64> { Ok(painting.measure(x)?.total()) };
        let (network, content) = (loss(&painted)?, loss(&photo)?);
        let mut evaluations = 0;
        let mut function = |x: &Tensor| -> Result<(f64, Tensor)> {
            evaluations += 1;
            let (terms, gradient) = painting.gradient(x)?;
            Ok((terms.total(), gradient))
        };
        let mut lbfgs = Lbfgs::new(&start, HISTORY, &mut function)?;
        let mut found = None;
        for step in 1..=steps {
            let moved = lbfgs.step(&mut function)?;
            progress(n, step);
            // Values beyond 0–255 may lower a loss, but nobody sees them.
            if lbfgs.value() < network && loss(&lbfgs.x().f_clamp(0.0, 255.0)?)? < network {
                found = Some(step);
            }
            if found.is_some() || !moved {
                break;
            }
        }
        let photo = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let start = loss(&start)?;
        all.push(Worth { photo, network, start, content, steps: found, evaluations });
    }
    Ok(all)
}

/// Median of the steps over the photos, if it is known: a loss that was not reached counts as more steps than
/// all others.
pub fn median(all: &[Worth]) -> Option<u64> {
    let mut steps: Vec<u64> = all.iter().map(|w| w.steps.unwrap_or(u64::MAX)).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().filter(|&steps| steps < u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reached_is_worth_more_than_all_else() {
        let worth = |steps| Worth {
            photo: String::new(),
            network: 1.0,
            start: 2.0,
            content: 2.0,
            steps,
            evaluations: 0,
        };
        assert_eq!(median(&[worth(None), worth(Some(9)), worth(Some(3))]), Some(9));
        assert_eq!(median(&[worth(None), worth(None), worth(Some(3))]), None);
    }
}
