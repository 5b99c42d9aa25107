//! Values of the presets: published ones, and those that measured best.

use super::{
    ContentForm, LayerWeight, Optimizer, Recipe, RecipePreset, StyleForm, StyleSource, TvForm,
};
use crate::engine::architecture::{NetworkKind, Normalization, OutputLayer, Padding, Upsampling};
use crate::engine::precision::Precision;
use crate::train::vgg::{Layer, Release};

/// Content and style layers of Johnson et al.
fn johnson_layers() -> (Vec<LayerWeight>, Vec<LayerWeight>) {
    let of = |layer| LayerWeight { layer, weight: 1.0 };
    let style = [Layer::Relu1_2, Layer::Relu2_2, Layer::Relu3_3, Layer::Relu4_3];
    (vec![of(Layer::Relu2_2)], style.map(of).to_vec())
}

/// Content and style layers that show a painting's forms, as far as measured (docs/losses.md).
fn default_layers() -> (Vec<LayerWeight>, Vec<LayerWeight>) {
    let of = |layer| LayerWeight { layer, weight: 1.0 };
    let style = [Layer::Relu1_1, Layer::Relu2_1, Layer::Relu3_1, Layer::Relu4_1];
    ([Layer::Relu2_2, Layer::Relu3_3].map(of).to_vec(), style.map(of).to_vec())
}

impl Recipe {
    /// The same recipe for another kind of network, with that kind's default sizes.
    pub fn of(self, arch: NetworkKind) -> Self {
        match arch {
            NetworkKind::Johnson => Recipe { arch, ..self },
            // About 14,000 multiply-adds per pixel, an eleventh of the published network's.
            NetworkKind::Lite => Recipe { arch, width: 16, residual_blocks: 4, ..self },
            // As published: eight channels for each scale. Longer steps than other networks': after 100 steps on a
            // texture, the style loss was 0.088 with a learning rate of 0.001, 0.076 with 0.003, 0.079 with 0.01.
            NetworkKind::Texture => {
                Recipe { arch, width: 8, residual_blocks: 0, learning_rate: 5e-3, ..self }
            }
        }
    }

    /// The same recipe for `optimize`, with less content weight: a single picture can follow photo and style
    /// both, while a network with so little content weight would lose the photo.
    #[must_use]
    pub fn of_one_picture(self) -> Self {
        match self.preset {
            RecipePreset::Default => Recipe { content_weight: 0.06, ..self },
            _ => self,
        }
    }

    /// A preset's own numbers, for these styles.
    pub fn preset(preset: RecipePreset, styles: Vec<StyleSource>) -> Self {
        let (content_layers, style_layers) = default_layers();
        let start = Recipe {
            preset,
            content_layers,
            style_layers,
            content_weight: 0.07,
            style_weight: 1.0,
            tv_weight: 0.0,
            temporal_weight: 0.0,
            content_form: ContentForm::Relative,
            style_form: StyleForm::Relative,
            tv_form: TvForm::Absolute,
            style_tiles: 3,
            tile_share: 0.0,
            loss_network: Release::Caffe,
            loss_padding: Padding::Reflect,
            style_size: 480.into(),
            style_scale: 1.0,
            image_size: 256,
            batch: 4,
            steps: 2000,
            optimizer: Optimizer::Adam,
            learning_rate: 1e-3,
            decay: 0.3,
            averaging: 0.0,
            seed: 1,
            noise: 6.0,
            exposure: 0.0,
            augment: true,
            arch: NetworkKind::Johnson,
            width: 32,
            residual_blocks: 5,
            norm: Normalization::Instance,
            output_layer: OutputLayer::Direct,
            upsample: Upsampling::Nearest,
            padding: Padding::Reflect,
            luminance: false,
            styles_separate: false,
            texture: false,
            predictor: 0,
            precision: Precision::Fp32,
            styles,
            unstyled: Vec::new(),
            teacher: None,
            teacher_weight: 0.5,
            init: None,
        };
        let (content_layers, style_layers) = johnson_layers();
        let classic = Recipe {
            content_layers,
            style_layers,
            content_weight: 5.0,
            style_weight: 10.0,
            tv_weight: 1e-4,
            content_form: ContentForm::Mean,
            style_form: StyleForm::Mean,
            style_size: 384.into(),
            ..start.clone()
        };
        let published = Recipe {
            style_size: 256.into(),
            decay: 0.0,
            noise: 0.0,
            augment: false,
            loss_padding: Padding::Zero,
            ..classic.clone()
        };
        match preset {
            RecipePreset::Default => start,
            RecipePreset::Classic => classic,
            RecipePreset::Paper => Recipe {
                content_weight: 1e5,
                style_weight: 1e5,
                tv_weight: 1e-7,
                style_form: StyleForm::Paper,
                tv_form: TvForm::Squared,
                loss_network: Release::Torchvision,
                steps: 10_000,
                ..published
            },
            RecipePreset::Pytorch => Recipe {
                content_weight: 1e5,
                style_weight: 1e10,
                tv_weight: 0.0,
                loss_network: Release::Torchvision,
                steps: 41_000,
                ..published
            },
            RecipePreset::Johnson => Recipe {
                content_layers: vec![LayerWeight { layer: Layer::Relu3_3, weight: 1.0 }],
                content_weight: 1.0,
                style_weight: 5.0,
                // The published strength, 1e-6, is of a sum over the four pictures of a batch;
                // ours is of a mean.
                tv_weight: 4e-6,
                tv_form: TvForm::Squared,
                steps: 40_000,
                output_layer: OutputLayer::Tanh,
                upsample: Upsampling::Transposed,
                padding: Padding::Zero,
                ..published
            },
        }
    }
}
