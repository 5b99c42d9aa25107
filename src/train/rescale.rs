//! Weights that were published for another loss network.

use std::path::Path;

use anyhow::Result;

use super::recipe::Recipe;

/// Placeholder.
pub fn adapt(recipe: &mut Recipe, vgg: Option<&Path>) -> Result<()> {
    let _ = vgg;
    recipe.loss_network = super::vgg::Release::Caffe;
    Ok(())
}
