//! Which network a file holds: names and shapes of its parameters, without building it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RawTensor;
use crate::engine::layer_list::{Change, Layer, layers};

/// Family of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Johnson et al. 2016 with instance normalization and upsampling convolutions, laid out as
    /// PyTorch's fast_neural_style example publishes it.
    #[default]
    Johnson,
    /// A small network for processors without a graphics card: it halves the picture with its first
    /// convolution already, has a narrow trunk at a quarter of the size, and enlarges with its last.
    Lite,
}

impl FromStr for NetworkKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| format!("'{text}': expected johnson or lite"))
    }
}

impl NetworkKind {
    /// The name a description gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Johnson => "johnson",
            Self::Lite => "lite",
        }
    }

    /// Every kind this release knows.
    pub const ALL: [Self; 2] = [Self::Johnson, Self::Lite];

    /// How many convolutions its encoder has; the decoder has as many.
    pub const fn depth(self) -> usize {
        match self {
            Self::Johnson => 3,
            Self::Lite => 2,
        }
    }
}

choice! {
    /// What normalizes features between the layers.
    Normalization {
        /// Each channel of each picture by itself (Ulyanov et al. 2016).
        Instance = "instance",
        /// Each channel over a whole batch (Ioffe and Szegedy 2015): while training only, for
        /// comparison. In a model file it is folded into the convolutions, and is then `None`.
        Batch = "batch",
        /// Nothing.
        None = "none",
    }
}

choice! {
    /// What comes out of the last convolution.
    OutputLayer {
        /// Its values as they are, RGB 0–255: the paper's finding.
        Direct = "direct",
        /// `150·tanh + 127.5` (Johnson et al. 2016).
        Tanh = "tanh",
    }
}

choice! {
    /// How the decoder doubles width and height.
    Upsampling {
        /// Each pixel repeated 2×2, then a convolution (Odena et al. 2016).
        Nearest = "nearest",
        /// A transposed convolution of stride 2 (Johnson et al. 2016): fractional strides.
        Transposed = "transposed",
    }
}

choice! {
    /// What convolutions see beyond the border.
    Padding {
        /// The picture mirrored.
        Reflect = "reflect",
        /// Zeros.
        Zero = "zero",
    }
}

/// A network's family and sizes: all that is needed to build it before its weights are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// Family of networks.
    pub kind: NetworkKind,
    /// Channels after each convolution of the encoder, [`depth`](Kind::depth) of them; the decoder
    /// mirrors them.
    pub widths: Vec<i64>,
    /// Residual blocks between encoder and decoder, each of the last width's channels.
    pub residual_blocks: usize,
    /// What normalizes features.
    #[serde(default = "instance", skip_serializing_if = "is_instance")]
    pub norm: Normalization,
    /// What comes out.
    #[serde(default = "direct", skip_serializing_if = "is_direct")]
    pub output: OutputLayer,
    /// How the decoder enlarges.
    #[serde(default = "nearest", skip_serializing_if = "is_nearest")]
    pub upsample: Upsampling,
    /// What lies beyond the border.
    #[serde(default = "reflect", skip_serializing_if = "is_reflect")]
    pub padding: Padding,
    /// Styles between which the norms choose: with more than one, their weights and biases are
    /// `[styles, channels]` (conditional instance norm, Dumoulin et al. 2017).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub styles: usize,
    /// Takes and gives brightness alone, the same in all three channels (Gatys et al. 2017).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub luminance: bool,
}

// What files from before a field existed mean, and what need not be said.
const fn instance() -> Normalization {
    Normalization::Instance
}
const fn direct() -> OutputLayer {
    OutputLayer::Direct
}
const fn nearest() -> Upsampling {
    Upsampling::Nearest
}
const fn reflect() -> Padding {
    Padding::Reflect
}
const fn one() -> usize {
    1
}
fn is_instance(norm: &Normalization) -> bool {
    *norm == Normalization::Instance
}
fn is_direct(output: &OutputLayer) -> bool {
    *output == OutputLayer::Direct
}
fn is_nearest(upsample: &Upsampling) -> bool {
    *upsample == Upsampling::Nearest
}
fn is_reflect(padding: &Padding) -> bool {
    *padding == Padding::Reflect
}
fn is_one(styles: &usize) -> bool {
    *styles == 1
}

impl Default for Architecture {
    /// The published sizes: widths 32, 64, 128 and five residual blocks.
    fn default() -> Self {
        Self {
            kind: NetworkKind::Johnson,
            widths: vec![32, 64, 128],
            residual_blocks: 5,
            norm: Normalization::Instance,
            output: OutputLayer::Direct,
            upsample: Upsampling::Nearest,
            padding: Padding::Reflect,
            styles: 1,
            luminance: false,
        }
    }
}

impl Architecture {
    /// Widest layer accepted; a file that claims more is refused before memory is set aside.
    pub const MAX_WIDTH: i64 = 4096;
    /// Most residual blocks accepted.
    pub const MAX_BLOCKS: usize = 256;
    /// Most styles accepted.
    pub const MAX_STYLES: usize = 1024;

    /// Name and shape of every parameter, in the order in which the published network lists them.
    /// Convolution weights are `[out, in, height, width]` (transposed ones `[in, out, …]`), norms'
    /// `[channels]`, or `[styles, channels]` where there are several styles.
    pub fn parameters(&self) -> Vec<(String, Vec<i64>)> {
        let norm = |channels: i64| match self.styles {
            1 => vec![channels],
            // Lossless: at most MAX_STYLES.
            styles => vec![styles as i64, channels],
        };
        let mut list = Vec::new();
        for layer in layers(self) {
            let Layer { conv, channels: (inputs, outputs), size, .. } = layer;
            let (first, second) = match layer.change {
                Change::Transposed => (inputs, outputs),
                _ => (outputs, inputs),
            };
            list.push((format!("{conv}.conv2d.weight"), vec![first, second, size, size]));
            list.push((format!("{conv}.conv2d.bias"), vec![outputs]));
            if let Some(name) = layer.norm {
                list.push((format!("{name}.weight"), norm(outputs)));
                list.push((format!("{name}.bias"), norm(outputs)));
            }
        }
        list
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> i64 {
        self.parameters().iter().map(|(_, shape)| shape.iter().product::<i64>()).sum()
    }

    /// Reads the sizes of a network of the published kind from its tensors: widths from the weights of the three encoder
    /// convolutions, the number of blocks from the names.
    ///
    /// # Errors
    ///
    /// The name of the first tensor from which a size should have been read, when it is missing
    /// or has a shape no convolution has.
    pub fn from_tensors(tensors: &BTreeMap<String, RawTensor>) -> Result<Self, &'static str> {
        let width = |name: &'static str| match tensors.get(name).map(|t| t.shape.as_slice()) {
            Some(&[out, _, _, _]) if (1..=Self::MAX_WIDTH).contains(&out) => Ok(out),
            _ => Err(name),
        };
        let widths = vec![
            width("conv1.conv2d.weight")?,
            width("conv2.conv2d.weight")?,
            width("conv3.conv2d.weight")?,
        ];
        // The highest number, not the count: a gap is then reported as the missing tensor it is.
        let residual_blocks = tensors
            .keys()
            .filter_map(|name| name.strip_prefix("res")?.split_once('.')?.0.parse().ok())
            .filter(|&block| block <= Self::MAX_BLOCKS)
            .max()
            .unwrap_or(0);
        Ok(Self { widths, residual_blocks, ..Self::default() })
    }

    /// What is wrong with the sizes, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        if self.widths.len() != self.kind.depth() {
            let (found, expected) = (self.widths.len(), self.kind.depth());
            return Some(format!("{found} widths of layers, expected {expected}"));
        }
        if self.kind == NetworkKind::Lite && self.upsample != Upsampling::Nearest {
            return Some("a lite network with transposed convolutions".to_owned());
        }
        if let Some(w) = self.widths.iter().find(|w| !(1..=Self::MAX_WIDTH).contains(*w)) {
            return Some(format!("a layer of {w} channels, expected 1 to {}", Self::MAX_WIDTH));
        }
        if !(1..=Self::MAX_STYLES).contains(&self.styles) {
            let (styles, most) = (self.styles, Self::MAX_STYLES);
            return Some(format!("{styles} styles, expected 1 to {most}"));
        }
        if self.styles > 1 && self.norm != Normalization::Instance {
            return Some("several styles need instance norms".to_owned());
        }
        if self.norm == Normalization::Batch {
            return Some("batch norms, which should have been folded".to_owned());
        }
        let blocks = self.residual_blocks;
        (blocks > Self::MAX_BLOCKS)
            .then(|| format!("{blocks} residual blocks, expected at most {}", Self::MAX_BLOCKS))
    }
}

impl fmt::Display for Architecture {
    /// `johnson 32-64-128, 5 blocks`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<String> = self.widths.iter().map(ToString::to_string).collect();
        let s = if self.residual_blocks == 1 { "" } else { "s" };
        let (name, widths) = (self.kind.name(), widths.join("-"));
        write!(f, "{name} {widths}, {} block{s}", self.residual_blocks)?;
        if self.norm != Normalization::Instance {
            write!(f, ", {} norm", self.norm)?;
        }
        if self.output != OutputLayer::Direct {
            write!(f, ", {}", self.output)?;
        }
        if self.upsample != Upsampling::Nearest {
            write!(f, ", {} upsampling", self.upsample)?;
        }
        if self.padding != Padding::Reflect {
            write!(f, ", {} padding", self.padding)?;
        }
        if self.styles > 1 {
            write!(f, ", {} styles", self.styles)?;
        }
        if self.luminance { f.write_str(", luminance") } else { Ok(()) }
    }
}
