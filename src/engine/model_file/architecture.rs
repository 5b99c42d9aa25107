//! Which network a file holds: names and shapes of its parameters, without building it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::RawTensor;

/// Family of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Johnson et al. 2016 with instance normalization and upsampling convolutions, laid out as
    /// PyTorch's fast_neural_style example publishes it.
    #[default]
    Johnson,
}

impl Kind {
    /// The name a description gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Johnson => "johnson",
        }
    }

    /// Every kind this release knows.
    pub const ALL: [Self; 1] = [Self::Johnson];
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
    pub kind: Kind,
    /// Channels after the first, second and third convolution; the decoder mirrors them.
    pub widths: [i64; 3],
    /// Residual blocks between encoder and decoder, each of `widths[2]` channels.
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
            kind: Kind::Johnson,
            widths: [32, 64, 128],
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
        let [w0, w1, w2] = self.widths;
        let mut list = Parameters { list: Vec::new(), architecture: self };
        list.conv("conv1", w0, 3, 9);
        list.norm("in1", w0);
        list.conv("conv2", w1, w0, 3);
        list.norm("in2", w1);
        list.conv("conv3", w2, w1, 3);
        list.norm("in3", w2);
        for block in 1..=self.residual_blocks {
            for half in 1..=2 {
                list.conv(&format!("res{block}.conv{half}"), w2, w2, 3);
                list.norm(&format!("res{block}.in{half}"), w2);
            }
        }
        list.enlarging("deconv1", w1, w2);
        list.norm("in4", w1);
        list.enlarging("deconv2", w0, w1);
        list.norm("in5", w0);
        list.conv("deconv3", 3, w0, 9);
        list.list
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> i64 {
        self.parameters().iter().map(|(_, shape)| shape.iter().product::<i64>()).sum()
    }

    /// Reads the sizes from the tensors themselves: widths from the weights of the three encoder
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
        let widths = [
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
        let [w0, w1, w2] = self.widths;
        let s = if self.residual_blocks == 1 { "" } else { "s" };
        write!(f, "{} {w0}-{w1}-{w2}, {} block{s}", self.kind.name(), self.residual_blocks)?;
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

/// The list under construction.
struct Parameters<'a> {
    list: Vec<(String, Vec<i64>)>,
    architecture: &'a Architecture,
}

impl Parameters<'_> {
    fn conv(&mut self, name: &str, outputs: i64, inputs: i64, size: i64) {
        self.list.push((format!("{name}.conv2d.weight"), vec![outputs, inputs, size, size]));
        self.list.push((format!("{name}.conv2d.bias"), vec![outputs]));
    }

    fn enlarging(&mut self, name: &str, outputs: i64, inputs: i64) {
        self.conv(name, outputs, inputs, 3);
        if self.architecture.upsample == Upsampling::Transposed
            && let [.., (_, weight), _] = self.list.as_mut_slice()
        {
            weight.swap(0, 1);
        }
    }

    fn norm(&mut self, name: &str, channels: i64) {
        let shape = match self.architecture.styles {
            _ if self.architecture.norm == Normalization::None => return,
            1 => vec![channels],
            // Lossless: at most MAX_STYLES.
            styles => vec![styles as i64, channels],
        };
        self.list.push((format!("{name}.weight"), shape.clone()));
        self.list.push((format!("{name}.bias"), shape));
    }
}
