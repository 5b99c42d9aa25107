//! Published settings, and what measured best.

use super::{LayerWeight, Optimizer, Preset, Recipe, StyleForm, StyleSource, TvForm};
use crate::engine::model_file::{Kind, Normalization, OutputLayer, Padding, Upsampling};
use crate::engine::precision::Precision;
use crate::train::vgg::{Layer, Release};

/// Content and style layers of Johnson et al.
fn johnson_layers() -> (Vec<LayerWeight>, Vec<LayerWeight>) {
    let of = |layer| LayerWeight { layer, weight: 1.0 };
    let style = [Layer::Relu1_2, Layer::Relu2_2, Layer::Relu3_3, Layer::Relu4_3];
    (vec![of(Layer::Relu2_2)], style.map(of).to_vec())
}

impl Recipe {
    /// The same for another family of networks: with that one's sizes.
    pub fn of(self, arch: Kind) -> Self {
        match arch {
            Kind::Johnson => Recipe { arch, ..self },
            // About 12,000 multiplications a pixel, a twelfth of the published network's.
            Kind::Lite => Recipe { arch, width: 16, residual_blocks: 4, ..self },
        }
    }

    /// A preset's own numbers, for these styles.
    pub fn preset(preset: Preset, styles: Vec<StyleSource>) -> Self {
        let (content_layers, style_layers) = johnson_layers();
        let start = Recipe {
            preset,
            content_layers,
            style_layers,
            content_weight: 5.0,
            style_weight: 10.0,
            tv_weight: 1e-4,
            content_factor: 1.0,
            style_factor: 1.0,
            style_form: StyleForm::Mean,
            tv_form: TvForm::Absolute,
            style_tiles: 3,
            tile_share: 0.0,
            loss_network: Release::Caffe,
            loss_padding: Padding::Reflect,
            style_size: 384,
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
            arch: Kind::Johnson,
            width: 32,
            residual_blocks: 5,
            norm: Normalization::Instance,
            output_layer: OutputLayer::Direct,
            upsample: Upsampling::Nearest,
            padding: Padding::Reflect,
            luminance: false,
            styles_separate: false,
            precision: Precision::Fp32,
            styles,
            unstyled: Vec::new(),
            teacher: None,
            teacher_weight: 0.5,
            init: None,
        };
        let published = Recipe {
            decay: 0.0,
            noise: 0.0,
            augment: false,
            loss_padding: Padding::Zero,
            ..start.clone()
        };
        match preset {
            Preset::Default => start,
            Preset::Paper => Recipe {
                content_weight: 1e5,
                style_weight: 1e5,
                tv_weight: 1e-7,
                style_form: StyleForm::Paper,
                tv_form: TvForm::Squared,
                loss_network: Release::Torchvision,
                style_size: 256,
                steps: 10_000,
                ..published
            },
            Preset::Pytorch => Recipe {
                content_weight: 1e5,
                style_weight: 1e10,
                tv_weight: 0.0,
                loss_network: Release::Torchvision,
                style_size: 256,
                steps: 41_000,
                ..published
            },
            Preset::Johnson => Recipe {
                content_layers: vec![LayerWeight { layer: Layer::Relu3_3, weight: 1.0 }],
                content_weight: 1.0,
                style_weight: 5.0,
                // The published strength, 1e-6, is of a sum over the four pictures of a batch;
                // ours is of a mean.
                tv_weight: 4e-6,
                tv_form: TvForm::Squared,
                style_size: 256,
                steps: 40_000,
                output_layer: OutputLayer::Tanh,
                upsample: Upsampling::Transposed,
                padding: Padding::Zero,
                ..published
            },
        }
    }
}
