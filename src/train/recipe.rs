//! The recipe: everything that decides what a training run makes. It is written into the run's
//! folder, its checkpoints and the model it makes.

mod presets;
mod regions;
mod sizes;
mod texture;

pub use sizes::StyleSizes;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::trainer::architecture;
use super::vgg::{Layer, Release};
use crate::core::named_values::weighted;
use crate::core::regions::Color;
use crate::engine::architecture::{
    Architecture, NetworkKind, Normalization, OutputLayer, Padding, Upsampling,
};
use crate::engine::precision::Precision;

/// A layer of the loss network and its weight within a term.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerWeight {
    /// Which layer.
    pub layer: Layer,
    /// How much it counts beside the term's other layers.
    pub weight: f64,
}

impl FromStr for LayerWeight {
    type Err = String;

    /// `relu2_2`, or `relu2_2:0.5`
    fn from_str(text: &str) -> Result<Self, String> {
        let (layer, weight) = text.split_once(':').unwrap_or((text, "1"));
        let weight: Option<f64> = weight.parse().ok().filter(|w: &f64| *w > 0.0 && w.is_finite());
        let weight = weight.ok_or_else(|| format!("'{text}': expected LAYER:WEIGHT, above 0"))?;
        Ok(LayerWeight { layer: layer.parse()?, weight })
    }
}

impl fmt::Display for LayerWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.layer, self.weight)
    }
}

choice! {
    /// How the difference of features becomes a number.
    #[derive(Default)]
    ContentForm {
        /// Mean of the squares: the published form, which recipes from before there was a choice
        /// have.
        #[default]
        Mean = "mean",
        /// Sum of the squares over that of the photo's own features, mean over the layers: the scale
        /// of the loss network's features does not count.
        Relative = "relative",
    }
}

choice! {
    /// How the difference of two Gram matrices becomes a number.
    StyleForm {
        /// Sum of the squares over that of the style's own Gram matrix, mean over the layers: each
        /// layer counts by its weight, whatever the scale of its features.
        Relative = "relative",
        /// Mean of the squares over all entries, Gram matrices divided by C·H·W: what the published
        /// implementations do.
        Mean = "mean",
        /// Sum of the squares over 4·C², Gram matrices divided by H·W: the paper's formula.
        Paper = "paper",
    }
}

choice! {
    /// How the difference of two neighbouring pixels counts.
    TvForm {
        /// Its absolute value: keeps edges.
        Absolute = "absolute",
        /// Half its square (Johnson's implementation).
        Squared = "squared",
    }
}

choice! {
    /// What turns gradients into steps.
    Optimizer {
        /// Kingma and Ba 2015, betas 0.9 and 0.999, epsilon 1e-8.
        Adam = "adam",
        /// Adam with decoupled weight decay of 0.01 (Loshchilov and Hutter 2019).
        AdamW = "adamw",
        /// Plain gradient descent with momentum 0.9.
        Sgd = "sgd",
        /// Tieleman and Hinton 2012, alpha 0.99, epsilon 1e-8.
        RmsProp = "rmsprop",
    }
}

choice! {
    /// Settings to start from: our own (default, classic), or published ones.
    RecipePreset {
        /// What gives the best pictures for the steps spent, as measured.
        Default = "default",
        /// Johnson's layers and form with weights of our own: what the first shipped models were
        /// trained with.
        Classic = "classic",
        /// The paper: content 1e5, style 1e5, total variation 1e-7, batch 4.
        Paper = "paper",
        /// PyTorch's fast_neural_style example.
        Pytorch = "pytorch",
        /// Johnson et al. 2016, their own implementation.
        Johnson = "johnson",
    }
}

/// A style picture, how much of it there is in a hybrid, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StyleSource {
    /// The picture.
    pub picture: PathBuf,
    /// Its share, beside those of the others (of its region).
    pub weight: f64,
    /// The region of the masks that it is for; none: everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Color>,
}

impl FromStr for StyleSource {
    type Err = String;

    /// `a.jpg`, or `a.jpg:0.7`
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, weight) = weighted(text)?;
        Ok(StyleSource { picture: PathBuf::from(path), weight, region: None })
    }
}

impl StyleSource {
    /// The style's name: the picture's, without folder and ending.
    pub fn name(&self) -> String {
        self.picture.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Everything that decides what is made, but for the photographs themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What it started from.
    pub preset: RecipePreset,
    /// Layers of the content loss.
    pub content_layers: Vec<LayerWeight>,
    /// Layers of the style loss.
    pub style_layers: Vec<LayerWeight>,
    /// Weight of the content loss.
    pub content_weight: f64,
    /// Weight of the style loss.
    pub style_weight: f64,
    /// Weight of the total variation, a sum over the pixels of each picture.
    pub tv_weight: f64,
    /// Weight of the temporal loss (see [`temporal`](super::temporal)), which is a mean square of values 0–1.
    #[serde(default)]
    pub temporal_weight: f64,
    /// How features are compared.
    #[serde(default)]
    pub content_form: ContentForm,
    /// How Gram matrices are compared.
    pub style_form: StyleForm,
    /// How neighbouring pixels are compared.
    pub tv_form: TvForm,
    /// Number of tiles per side (N × N tiles) in which a share of the style loss is measured, and averaged.
    /// Over the whole picture, an empty sky can be made up for by more texture elsewhere.
    #[serde(default = "one")]
    pub style_tiles: u32,
    /// Share of the style loss measured in tiles, 0–1. At 1 every tile gets all colours, and the photo is
    /// hardly recognizable.
    #[serde(default)]
    pub tile_share: f64,
    /// The release of the loss network that the weights are for, where the forms depend on it.
    pub loss_network: Release,
    /// Padding of the loss network: see [`with_padding`](super::vgg::Vgg::with_padding).
    #[serde(default = "zeros")]
    pub loss_padding: Padding,
    /// Shorter sides of the style picture, pixels. Of several, the Gram matrices are averaged, so that
    /// forms of each size take part.
    pub style_size: StyleSizes,
    /// Factor for the style sizes; larger values give larger strokes.
    #[serde(default = "full", skip_serializing_if = "is_full")]
    pub style_scale: f64,
    /// Side of the square crops of photos, pixels.
    pub image_size: u32,
    /// Photos a step.
    pub batch: usize,
    /// Steps.
    pub steps: u64,
    /// What turns gradients into steps.
    pub optimizer: Optimizer,
    /// Length of a step.
    pub learning_rate: f64,
    /// Share of the steps, at the end, over which the learning rate falls linearly to a tenth, 0–1.
    pub decay: f64,
    /// Decay of the running average of the weights, 0–1 (Polyak and Juditsky 1992); the average is the model.
    /// Single steps on few photos fluctuate around the average. 0 takes the last step's weights.
    #[serde(default)]
    pub averaging: f64,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Largest standard deviation of the noise on the network's input, in levels of 255: each photo gets a
    /// random amount up to it.
    pub noise: f64,
    /// Half of the photos are over- or underexposed by up to this many stops, for the network and for the
    /// losses.
    #[serde(default)]
    pub exposure: f64,
    /// Random positions, scales and mirroring of crops; otherwise the centre of each photo.
    pub augment: bool,
    /// Family of networks.
    #[serde(default)]
    pub arch: NetworkKind,
    /// Channels after the first convolution. In a johnson network the next two have twice and four times as
    /// many, in a lite network the next one has three times as many. In a texture network: of each scale.
    pub width: i64,
    /// Residual blocks.
    pub residual_blocks: usize,
    /// What normalizes between the layers.
    pub norm: Normalization,
    /// What comes out of the last layer.
    pub output_layer: OutputLayer,
    /// How the decoder enlarges.
    pub upsample: Upsampling,
    /// What lies beyond the borders.
    pub padding: Padding,
    /// Trains on luminance only; colours are taken from the input.
    pub luminance: bool,
    /// One network with a style for each picture, instead of one style made of all.
    pub styles_separate: bool,
    /// Makes a texture of the style picture, of noise and without photos.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub texture: bool,
    /// Hidden values of a style predictor, for a network that paints in the style of any picture; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub predictor: i64,
    /// Arithmetic of the convolutions.
    pub precision: Precision,
    /// The style pictures.
    pub styles: Vec<StyleSource>,
    /// Regions of the masks that keep to the content alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unstyled: Vec<Color>,
    /// Name or file of a teacher model, if there is one. The network also learns from its pictures (Hinton et
    /// al. 2015, "Distilling the Knowledge in a Neural Network").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<String>,
    /// Weight of the features' distance from those of the teacher's picture, at the content layers.
    #[serde(default = "half")]
    pub teacher_weight: f64,
    /// The model it started from, if not from random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
}

const fn half() -> f64 {
    0.5
}

const fn one() -> u32 {
    1
}

const fn full() -> f64 {
    1.0
}

// As serde wants it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_full(scale: &f64) -> bool {
    *scale == 1.0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The meaning of recipes written before this field existed.
const fn zeros() -> Padding {
    Padding::Zero
}

impl Recipe {
    /// Trains a network of this kind and size; its number of styles is the recipe's own matter.
    pub fn take_architecture(&mut self, of: &Architecture) {
        self.arch = of.kind;
        self.width = of.widths.first().copied().unwrap_or(self.width);
        self.residual_blocks = of.residual_blocks;
        if of.norm != Normalization::None {
            self.norm = of.norm;
        }
        (self.output_layer, self.upsample, self.padding) = (of.output, of.upsample, of.padding);
        self.luminance = of.luminance;
    }

    /// The learning rate of a step, the first being 0.
    pub fn rate(&self, step: u64) -> f64 {
        let (step, steps) = (step as f64, self.steps as f64);
        let falling = (self.decay * steps).max(1.0);
        let left = ((steps - step) / falling).clamp(0.1, 1.0);
        if self.decay > 0.0 { self.learning_rate * left } else { self.learning_rate }
    }

    /// Shorter sides of the style pictures as they are used, pixels.
    pub fn scaled_style_sizes(&self) -> Vec<u32> {
        let scaled = |&size: &u32| (f64::from(size) * self.style_scale).round() as u32;
        self.style_size.0.iter().map(scaled).collect()
    }

    /// What is wrong with the numbers, if anything: the name of the option, its value, and what is
    /// expected.
    ///
    /// # Errors
    /// One line.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("content-weight", self.content_weight),
            ("style-weight", self.style_weight),
            ("learning-rate", self.learning_rate),
            ("style-scale", self.style_scale),
        ];
        for (name, value) in positive {
            // A texture has no content loss.
            let none = self.texture && name == "content-weight" && value == 0.0;
            let sound = value > 0.0 && value.is_finite();
            if !none && !sound {
                return Err(format!("--{name} {value}: expected a number above 0"));
            }
        }
        let from_zero = [
            ("tv-weight", self.tv_weight),
            ("temporal-weight", self.temporal_weight),
            ("teacher-weight", self.teacher_weight),
            ("noise", self.noise),
            ("exposure", self.exposure),
        ];
        for (name, value) in from_zero {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(format!("--{name} {value}: expected a number from 0"));
            }
        }
        let shares =
            [("decay", self.decay), ("tile-share", self.tile_share), ("averaging", self.averaging)];
        for (name, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("--{name} {value}: expected 0 to 1"));
            }
        }
        let whole = [
            ("batch", self.batch as u64, 1, 1024),
            ("steps", self.steps, 1, 100_000_000),
            ("image-size", self.image_size.into(), 32, 4096),
            ("style-tiles", self.style_tiles.into(), 1, 16),
            ("width", u64::try_from(self.width).unwrap_or(0), 1, 1024),
            ("residual-blocks", self.residual_blocks as u64, 0, Architecture::MAX_BLOCKS as u64),
        ];
        for (name, value, least, most) in whole {
            if !(least..=most).contains(&value) {
                return Err(format!("--{name} {value}: expected {least} to {most}"));
            }
        }
        let scaled = self.scaled_style_sizes();
        let outside = scaled.iter().find(|size| !(32..=8192).contains(*size));
        if let (Some(size), false) = (outside, self.style_scale == 1.0) {
            let scale = self.style_scale;
            return Err(format!(
                "--style-scale {scale}: the style would be {size} pixels, expected 32 to 8192"
            ));
        }
        if outside.is_some() || scaled.is_empty() {
            return Err(format!("--style-size {}: expected 32 to 8192", self.style_size));
        }
        let multiple = architecture(self).multiple();
        if i64::from(self.image_size) % multiple != 0 {
            let size = self.image_size;
            return Err(format!("--image-size {size}: expected a multiple of {multiple}"));
        }
        if self.arch != NetworkKind::Johnson && self.upsample != Upsampling::Nearest {
            let arch = self.arch.name();
            return Err(format!("--arch {arch} goes with --upsample nearest only"));
        }
        self.check_texture()?;
        if self.norm == Normalization::None {
            return Err("--norm none: expected instance or batch".to_owned());
        }
        self.check_regions()?;
        if self.styles_separate && (self.styles.len() < 2 || self.norm == Normalization::Batch) {
            return Err("--styles-separate needs two --style and --norm instance".to_owned());
        }
        if self.norm == Normalization::Batch && self.batch < 2 {
            return Err("--norm batch needs a --batch of 2 at least".to_owned());
        }
        if self.norm == Normalization::Batch && self.averaging > 0.0 {
            // The running statistics of batch norm belong to the last weights, not to their average.
            return Err("--norm batch goes with --averaging 0 only".to_owned());
        }
        if self.predictor > 0 {
            self.check_predictor()?;
        } else if self.styles.is_empty() {
            return Err("a style is needed".to_owned());
        }
        let no_content = self.content_layers.is_empty() && !self.texture;
        if no_content || self.style_layers.is_empty() {
            return Err("a content layer and a style layer are needed".to_owned());
        }
        Ok(())
    }

    /// What does not go with a style predictor.
    fn check_predictor(&self) -> Result<(), String> {
        let refused = [
            (!self.styles.is_empty(), "--style"),
            (self.styles_separate, "--styles-separate"),
            (self.teacher.is_some(), "--teacher"),
            (self.luminance, "--luminance"),
            (self.arch == NetworkKind::Texture, "--arch texture"),
            (self.norm != Normalization::Instance, "--norm batch"),
            (self.style_size.0.len() > 1, "several --style-size"),
            (self.loss_network != Release::Caffe, "another loss network than the shipped one"),
        ];
        match refused.iter().find(|(given, _)| *given) {
            Some((_, what)) => Err(format!("--styles does not go with {what}")),
            None if self.predictor > Architecture::MAX_WIDTH => {
                let most = Architecture::MAX_WIDTH;
                Err(format!("--predictor {}: expected 1 to {most}", self.predictor))
            }
            None => Ok(()),
        }
    }

    /// Checks that the loss weights fit the loss network: weights of absolute forms are valid for one release
    /// only.
    ///
    /// # Errors
    /// One line.
    pub fn check_release(&self, at_hand: Release) -> Result<(), String> {
        let relative =
            self.content_form == ContentForm::Relative && self.style_form == StyleForm::Relative;
        if relative || at_hand == self.loss_network {
            return Ok(());
        }
        Err(format!(
            "the weights are for the features of {} VGG16, the loss network is {}: give the other \
             with --vgg, or weights for this one (--content-weight and --style-weight)",
            self.loss_network, at_hand
        ))
    }

    /// The first setting that differs from another recipe's: name, our value, the other value.
    pub fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let tables = (toml::Table::try_from(self).ok()?, toml::Table::try_from(other).ok()?);
        let names = tables.0.keys().chain(tables.1.keys());
        let mut differing = names.filter(|name| tables.0.get(*name) != tables.1.get(*name));
        let name = differing.next()?;
        let shown = |table: &toml::Table| {
            table.get(name).map_or_else(|| "not set".to_owned(), ToString::to_string)
        };
        Some((name.replace('_', "-"), shown(&tables.0), shown(&tables.1)))
    }
}

#[cfg(test)]
mod tests;
