//! Options of the losses, shared by `train` and `optimize`.

use clap::Args;

use crate::train::recipe::{ContentForm, LayerWeight, Recipe, StyleForm, TvForm};

/// Options of the losses; each replaces the value of the recipe.
#[derive(Debug, Args)]
#[command(next_help_heading = "Losses")]
pub struct LossArgs {
    /// Weight of the content loss [default: the recipe's]
    #[arg(long, value_name = "X")]
    content_weight: Option<f64>,
    /// Weight of the style loss [default: the recipe's]
    #[arg(long, value_name = "X")]
    style_weight: Option<f64>,
    /// Weight of the total variation loss; in `optimize` it applies to 256×256 pixels and is scaled with the
    /// size [default: the recipe's]
    #[arg(long, value_name = "X")]
    tv_weight: Option<f64>,
    /// VGG layers of the content loss: relu2_2, or weighted, relu2_2:0.5,relu3_3:1 [default: the
    /// recipe's]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    content_layers: Vec<LayerWeight>,
    /// VGG layers of the style loss [default: the recipe's]
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    style_layers: Vec<LayerWeight>,
    /// Content loss: relative (divided by the photo's own features) or mean [default: the recipe's]
    #[arg(long, value_name = "FORM")]
    content_form: Option<ContentForm>,
    /// Style loss: relative (divided by the style's own Gram matrices), mean or paper [default: the recipe's]
    #[arg(long, value_name = "FORM")]
    style_form: Option<StyleForm>,
    /// Total variation: absolute or squared differences of neighbours [default: the recipe's]
    #[arg(long, value_name = "FORM")]
    tv_form: Option<TvForm>,
}

impl LossArgs {
    /// Whether both weights that depend on the loss network's features were given.
    pub fn has_weights(&self) -> bool {
        self.content_weight.is_some() && self.style_weight.is_some()
    }

    /// Replaces values of the recipe by those given.
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

/// Sets `place` to `given`, if it is given.
pub(super) fn set<T: Copy>(place: &mut T, given: Option<T>) {
    *place = given.unwrap_or(*place);
}
