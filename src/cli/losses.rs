//! The losses' numbers on the command line, for whoever minimizes them.

use clap::Args;

use crate::train::recipe::{ContentForm, LayerWeight, Recipe, StyleForm, TvForm};

/// Numbers of the losses; each takes the place of the recipe's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Losses")]
pub struct Losses {
    /// Weight of the content loss.
    #[arg(long, value_name = "X")]
    content_weight: Option<f64>,
    /// Weight of the style loss.
    #[arg(long, value_name = "X")]
    style_weight: Option<f64>,
    /// Weight of the total variation (optimize: for a picture of 256 × 256 pixels).
    #[arg(long, value_name = "X")]
    tv_weight: Option<f64>,
    /// Layers of the content loss: relu2_2, or relu2_2:0.5,relu3_3:1.
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    content_layers: Vec<LayerWeight>,
    /// Layers of the style loss.
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    style_layers: Vec<LayerWeight>,
    /// How features are compared: relative (to the photo's own) or mean.
    #[arg(long, value_name = "FORM")]
    content_form: Option<ContentForm>,
    /// How Gram matrices are compared: relative (to the style's own), mean or paper.
    #[arg(long, value_name = "FORM")]
    style_form: Option<StyleForm>,
    /// How neighbouring pixels are compared: absolute or squared.
    #[arg(long, value_name = "FORM")]
    tv_form: Option<TvForm>,
}

impl Losses {
    /// Whether both weights that depend on the loss network's features were given.
    pub fn has_weights(&self) -> bool {
        self.content_weight.is_some() && self.style_weight.is_some()
    }

    /// Puts what was given into the place of the recipe's own.
    pub fn apply(&self, recipe: &mut Recipe) {
        set(&mut recipe.content_weight, self.content_weight);
        set(&mut recipe.style_weight, self.style_weight);
        set(&mut recipe.tv_weight, self.tv_weight);
        set(&mut recipe.content_form, self.content_form);
        set(&mut recipe.style_form, self.style_form);
        set(&mut recipe.tv_form, self.tv_form);
        if !self.content_layers.is_empty() {
            recipe.content_layers.clone_from(&self.content_layers);
        }
        if !self.style_layers.is_empty() {
            recipe.style_layers.clone_from(&self.style_layers);
        }
    }
}

/// What was given takes the place of what was there.
pub(super) fn set<T: Copy>(place: &mut T, given: Option<T>) {
    *place = given.unwrap_or(*place);
}
