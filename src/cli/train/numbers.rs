//! The recipe's numbers on the command line.

use clap::Args;

use crate::cli::losses::{Losses, set};

use crate::engine::model_file::{Kind, Normalization, OutputLayer, Padding, Upsampling};
use crate::engine::precision::PrecisionChoice;
use crate::train::recipe::{Optimizer, Preset, Recipe, StyleSizes};

/// Numbers of the recipe; each takes the place of the preset's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recipe")]
pub struct Numbers {
    /// Settings to start from: default, classic (Johnson's form of the losses, our weights), or those
    /// published by paper, pytorch or johnson.
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<Preset>,
    /// Measure a share of the style in N × N parts of each picture, so that none stays empty.
    #[arg(long, value_name = "N")]
    style_tiles: Option<u32>,
    /// That share, 0–1.
    #[arg(long, value_name = "X")]
    tile_share: Option<f64>,
    /// Shorter side of the style picture, pixels, or several (384,768), whose forms then come together.
    #[arg(long, value_name = "PX")]
    style_size: Option<StyleSizes>,
    /// Strokes so many times as large: the style picture is taken so many times as large.
    #[arg(long, value_name = "X")]
    style_scale: Option<f64>,
    /// Side of the pieces of photos, pixels.
    #[arg(long, value_name = "PX")]
    image_size: Option<u32>,
    /// Photos a step.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Steps.
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    steps: Option<u64>,
    /// Steps, as times that every photo is seen.
    #[arg(long, value_name = "N")]
    epochs: Option<f64>,
    /// adam, adamw, sgd or rmsprop.
    #[arg(long, value_name = "NAME")]
    optimizer: Option<Optimizer>,
    /// Length of a step.
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Last part of the steps, 0–1, over which the learning rate falls to a tenth.
    #[arg(long, value_name = "X")]
    decay: Option<f64>,
    /// How much of its weights' running average a model keeps at each step, 0–1; 0: the last
    /// step's weights.
    #[arg(long, value_name = "X")]
    averaging: Option<f64>,
    /// Seed of all that is random.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Largest deviation of noise on the network's input, levels of 255.
    #[arg(long, value_name = "X")]
    noise: Option<f64>,
    /// Half of the photos are over- or underexposed, by up to so many stops.
    #[arg(long, value_name = "STOPS")]
    exposure: Option<f64>,
    /// Random pieces of photos, mirrored at random (true), or the middle of each (false).
    #[arg(long, value_name = "BOOL")]
    augment: Option<bool>,
    /// Network: johnson, the paper's, or lite, a small one that is live on a plain CPU.
    #[arg(long, value_name = "NAME")]
    pub arch: Option<Kind>,
    /// Channels of the network's first layer.
    #[arg(long, value_name = "N")]
    width: Option<i64>,
    /// Residual blocks of the network.
    #[arg(long, value_name = "N")]
    residual_blocks: Option<usize>,
    /// Normalization: instance or batch.
    #[arg(long, value_name = "NAME")]
    norm: Option<Normalization>,
    /// Output: direct or tanh.
    #[arg(long, value_name = "NAME")]
    output_layer: Option<OutputLayer>,
    /// Enlarging: nearest or transposed.
    #[arg(long, value_name = "NAME")]
    upsample: Option<Upsampling>,
    /// Beyond the border: reflect or zero.
    #[arg(long, value_name = "NAME")]
    padding: Option<Padding>,
    /// Beyond the border in the loss network: reflect or zero.
    #[arg(long, value_name = "NAME")]
    loss_padding: Option<Padding>,
    /// Train on brightness alone; the stream adds the colours of the input.
    #[arg(long)]
    luminance: bool,
    /// One network with a style for each picture (conditional instance norm), not a hybrid.
    #[arg(long)]
    styles_separate: bool,
    /// Start from this model, or from a run's newest checkpoint, instead of random weights.
    #[arg(long, value_name = "MODEL|RUN")]
    init: Option<String>,
    /// Learn from this model's pictures too: a lite network from a large one of the same style.
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// Weight of the features' distance from those of the teacher's pictures.
    #[arg(long, value_name = "X", requires = "teacher")]
    teacher_weight: Option<f64>,
    /// Arithmetic: auto, fp32 or bf16.
    #[arg(long, value_name = "NAME")]
    pub precision: Option<PrecisionChoice>,
    // The last: its heading holds for what follows.
    #[command(flatten)]
    losses: Losses,
}

impl Numbers {
    /// Whether both weights that depend on the loss network's features were given.
    pub fn has_weights(&self) -> bool {
        self.losses.has_weights()
    }

    /// Puts what was given into the place of the recipe's own.
    pub fn apply(&self, recipe: &mut Recipe, photos: usize) {
        set(&mut recipe.preset, self.recipe);
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
        set(&mut recipe.noise, self.noise);
        set(&mut recipe.exposure, self.exposure);
        set(&mut recipe.augment, self.augment);
        if let Some(arch) = self.arch.filter(|arch| *arch != recipe.arch) {
            *recipe = recipe.clone().of(arch);
        }
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
