//! Weights that were published for another loss network.
//!
//! The paper and PyTorch's example trained with torchvision's VGG16, Johnson et al. with the Caffe
//! release, whose features are larger by a factor s: its input is 0–255, not about ±2, and its
//! layers amplify more. A content loss, a mean of squared features, is then larger by s², a style
//! loss, a mean of squared Gram matrices, by s⁴, while the total variation does not depend on the
//! loss network at all. So weights published for one release are multiplied by 1/s² and 1/s⁴ for
//! the other, which keeps the ratio of the terms; the factors stand in the recipe
//! (`content_factor`, `style_factor`).
//!
//! s² = 20,000 here: at relu2_2, painted pictures of the Caffe release differ from their photos by
//! 2·10⁵ (mean square; `styles/mosaic.jpg` on photos at 256 pixels), and the published weights
//! suppose differences of about 10. With torchvision's own file (`--vgg`) nothing is rescaled.

use std::path::Path;

use super::recipe::Recipe;
use super::vgg::{Release, Vgg, VggError};

/// s²: how much larger squared features of the Caffe release are.
const SQUARED_SCALE: f64 = 20_000.0;

/// Fits the recipe's weights to the loss network it will be used with: the shipped one, or that of
/// a file. Returns a line for the user when weights were rescaled.
///
/// # Errors
/// When the file is no VGG16.
pub fn adapt(recipe: &mut Recipe, vgg: Option<&Path>) -> Result<Option<String>, VggError> {
    let at_hand = match vgg {
        Some(path) => Vgg::open(path, tch::Device::Cpu, tch::Kind::Float)?.release(),
        None => Release::Caffe,
    };
    let published = recipe.loss_network;
    let scale = match (published, at_hand) {
        (Release::Torchvision, Release::Caffe) => 1.0 / SQUARED_SCALE,
        (Release::Caffe, Release::Torchvision) => SQUARED_SCALE,
        _ => return Ok(None),
    };
    recipe.loss_network = at_hand;
    recipe.content_factor = scale;
    recipe.style_factor = scale * scale;
    Ok(Some(format!(
        "weights published for {published} VGG16, rescaled for {at_hand}: content × {scale:e}, \
         style × {:e}",
        scale * scale
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipe::Preset;

    #[test]
    fn only_weights_published_for_another_network_are_rescaled() {
        let fresh = |preset| Recipe::preset(preset, vec!["a.jpg".parse().unwrap()]);
        for preset in [Preset::Default, Preset::Johnson] {
            let mut recipe = fresh(preset);
            assert_eq!(adapt(&mut recipe, None).unwrap(), None);
            assert_eq!((recipe.content_factor, recipe.style_factor), (1.0, 1.0));
        }
        for preset in [Preset::Paper, Preset::Pytorch] {
            let mut recipe = fresh(preset);
            let said = adapt(&mut recipe, None).unwrap().unwrap();
            assert_eq!((recipe.content_factor, recipe.style_factor), (5e-5, 5e-5 * 5e-5));
            assert_eq!(recipe.loss_network, Release::Caffe);
            assert!(said.contains("content × 5e-5"), "{said}");
        }
    }
}
