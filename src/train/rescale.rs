//! Weights that were published for another loss network.
//!
//! The paper and PyTorch's example trained with torchvision's VGG16, whose features are of another
//! scale than those of the Caffe release that is shipped: the same weights would give another
//! balance of the terms.

use std::path::Path;

use anyhow::Result;

use super::recipe::Recipe;

/// Placeholder.
pub fn adapt(recipe: &mut Recipe, vgg: Option<&Path>) -> Result<()> {
    let _ = vgg;
    recipe.loss_network = super::vgg::Release::Caffe;
    Ok(())
}
