//! Options of `train` that replace values of its recipe.

use clap::Args;

use crate::cli::losses::{LossArgs, set};

use crate::engine::architecture::{NetworkKind, Normalization, OutputLayer, Padding, Upsampling};
use crate::engine::precision::PrecisionChoice;
use crate::train::recipe::{Optimizer, Recipe, RecipePreset, StyleSizes};

/// Options of the recipe; each replaces the value of the preset.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe")]
pub struct RecipeArgs {
    /// Settings to start from: default (its values are the defaults below), classic (those of the first
    /// shipped models), or published ones: paper, pytorch, johnson [default: default]
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<RecipePreset>,
    /// Training steps [default: 2000]
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    steps: Option<u64>,
    /// Training steps, as passes over the dataset, instead of --steps
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// Photos per step [default: 4]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Side of the square crops of photos, in pixels [default: 256]
    #[arg(long, value_name = "PX")]
    image_size: Option<u32>,
    /// Shorter side of the style picture, in pixels; several sizes (384,768) are combined
    /// [default: 480]
    #[arg(long, value_name = "PX")]
    style_size: Option<StyleSizes>,
    /// Factor for the size of the strokes: enlarges the style picture [default: 1]
    #[arg(long, value_name = "X")]
    style_scale: Option<f64>,
    /// Number of tiles per side (N × N) in which a share of the style loss, --tile-share, is measured, so
    /// that no part of a picture stays empty [default: 3]
    #[arg(long, value_name = "N")]
    style_tiles: Option<u32>,
    /// Share of the style loss that is measured in tiles, from 0 to 1 [default: 0]
    #[arg(long, value_name = "X")]
    tile_share: Option<f64>,
    /// Optimizer: adam, adamw, sgd or rmsprop [default: adam]
    #[arg(long, value_name = "NAME")]
    optimizer: Option<Optimizer>,
    /// Learning rate; of a texture network usually 0.005 [default: 0.001]
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Last part of the training, as a share of the steps from 0 to 1, over which the learning rate falls
    /// linearly to a tenth [default: 0.3]
    #[arg(long, value_name = "X")]
    decay: Option<f64>,
    /// Decay of the running average of the weights, from 0 (no average) to 1 [default: 0]
    #[arg(long, value_name = "X")]
    averaging: Option<f64>,
    /// Seed of the random numbers [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Weight of the temporal loss, against flicker in videos: a photo, and the same photo moved by a known
    /// motion, must be painted alike; about a third slower [default: 0]
    #[arg(long, value_name = "X")]
    temporal_weight: Option<f64>,
    /// Noise on the network's input: largest standard deviation, in levels of 255; each photo gets a random
    /// amount up to it [default: 6]
    #[arg(long, value_name = "X")]
    noise: Option<f64>,
    /// Over- or underexpose half of the photos by up to this many stops [default: 0]
    #[arg(long, value_name = "STOPS")]
    exposure: Option<f64>,
    /// Take random, randomly mirrored crops (true) or the centre of each photo (false)
    /// [default: true]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    augment: Option<bool>,
    /// Network: johnson (as published), lite (a tenth of the work: live on a CPU) or texture (the multi-scale
    /// generator of Ulyanov et al. 2016) [default: johnson]
    #[arg(long, value_name = "NAME")]
    pub arch: Option<NetworkKind>,
    /// Channels of the first layer; of a texture network those of each scale, usually 8 [default: 32; lite: 16]
    #[arg(long, value_name = "N")]
    width: Option<i64>,
    /// Number of residual blocks; a texture network has none [default: 5; lite: 4]
    #[arg(long, value_name = "N")]
    residual_blocks: Option<usize>,
    /// Normalization: instance or batch [default: instance]
    #[arg(long, value_name = "NAME")]
    norm: Option<Normalization>,
    /// Output layer: direct or tanh [default: direct]
    #[arg(long, value_name = "NAME")]
    output_layer: Option<OutputLayer>,
    /// Upsampling: nearest or transposed [default: nearest]
    #[arg(long, value_name = "NAME")]
    upsample: Option<Upsampling>,
    /// Padding: reflect or zero; of a texture network reflect, or circular, which --texture takes
    /// [default: reflect]
    #[arg(long, value_name = "NAME")]
    padding: Option<Padding>,
    /// Padding of the loss network: reflect or zero [default: reflect]
    #[arg(long, value_name = "NAME")]
    loss_padding: Option<Padding>,
    /// Train on brightness only; the stream then adds the colours of its input
    #[arg(long)]
    luminance: bool,
    /// Make one network with a style for each picture (conditional instance norm), not a hybrid
    #[arg(long)]
    styles_separate: bool,
    /// Start from a model, or from the newest checkpoint of a run, with its kind of network; a model for any style
    /// (any-lite) begins with the style predicted from --style [default: random weights]
    #[arg(long, value_name = "MODEL|RUN")]
    pub init: Option<String>,
    /// Learn from the pictures of this model too: a lite network from a large one of the same style
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// Weight of the distance to the teacher's pictures [default: 0.5]
    #[arg(long, value_name = "X", requires = "teacher")]
    teacher_weight: Option<f64>,
    /// Precision of training: auto, fp32 or bf16 [default: auto]
    #[arg(long, value_name = "PRECISION")]
    pub precision: Option<PrecisionChoice>,
    // Last: the heading of a flattened struct holds for all options after it.
    #[command(flatten)]
    losses: LossArgs,
}

impl RecipeArgs {
    /// Whether both weights that depend on the loss network's features were given.
    pub fn has_weights(&self) -> bool {
        self.losses.has_weights()
    }

    /// Replaces values of the recipe by those given.
    pub fn apply(&self, recipe: &mut Recipe, photos: usize) {
        set(&mut recipe.preset, self.recipe);
        // Before what its sizes are replaced by.
        if let Some(arch) = self.arch.filter(|arch| *arch != recipe.arch) {
            *recipe = recipe.clone().of(arch);
        }
        self.losses.apply(recipe);
        set(&mut recipe.style_tiles, self.style_tiles);
        set(&mut recipe.tile_share, self.tile_share);
        if let Some(sizes) = &self.style_size {
            recipe.style_size = sizes.clone();
        }
        set(&mut recipe.style_scale, self.style_scale);
        set(&mut recipe.image_size, self.image_size);
        set(&mut recipe.batch, self.batch);
        set(&mut recipe.steps, self.steps);
        set(&mut recipe.optimizer, self.optimizer);
        set(&mut recipe.learning_rate, self.learning_rate);
        set(&mut recipe.decay, self.decay);
        set(&mut recipe.averaging, self.averaging);
        set(&mut recipe.seed, self.seed);
        set(&mut recipe.temporal_weight, self.temporal_weight);
        set(&mut recipe.noise, self.noise);
        set(&mut recipe.exposure, self.exposure);
        set(&mut recipe.augment, self.augment);
        set(&mut recipe.width, self.width);
        set(&mut recipe.residual_blocks, self.residual_blocks);
        set(&mut recipe.norm, self.norm);
        set(&mut recipe.output_layer, self.output_layer);
        set(&mut recipe.upsample, self.upsample);
        set(&mut recipe.padding, self.padding);
        set(&mut recipe.loss_padding, self.loss_padding);
        if let Some(PrecisionChoice::Exactly(precision)) = self.precision {
            recipe.precision = precision;
        }
        if let Some(epochs) = self.epochs {
            recipe.steps = (epochs * photos as f64 / recipe.batch.max(1) as f64).ceil() as u64;
        }
        recipe.luminance |= self.luminance;
        recipe.styles_separate |= self.styles_separate;
        set(&mut recipe.teacher_weight, self.teacher_weight);
        // A path as it is called from any folder; else the name of a shipped model.
        let place = |model: &String| {
            let path = std::path::absolute(model).ok().filter(|path| path.exists());
            path.map_or_else(|| model.clone(), |path| path.display().to_string())
        };
        for (to, given) in [(&mut recipe.init, &self.init), (&mut recipe.teacher, &self.teacher)] {
            if let Some(given) = given {
                *to = Some(place(given));
            }
        }
    }
}
