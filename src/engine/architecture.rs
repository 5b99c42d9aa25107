//! A network's architecture, without building it: kind and sizes, its layers as a list, names and shapes of
//! its parameters. Exports write this list, kernels and training are built from it, `bench` counts its
//! arithmetic.

mod scales;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::predictor;
pub(super) use scales::NOISE;

/// Family of networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Johnson et al. 2016 with instance normalization and upsampling convolutions, laid out as
    /// PyTorch's fast_neural_style example publishes it.
    #[default]
    Johnson,
    /// A small network that is fast on a CPU: its first convolution halves the picture, its residual blocks
    /// work at a quarter of the size with few channels, and its last convolution enlarges.
    Lite,
    /// The multi-scale generator of Ulyanov et al. 2016, "Texture Networks": noise, and a photo unless it makes
    /// textures, at several sizes; small convolutions at each size; joined upward by channels. In libtorch only.
    Texture,
}

impl FromStr for NetworkKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == text);
        kind.ok_or_else(|| format!("'{text}': expected johnson, lite or texture"))
    }
}

impl NetworkKind {
    /// The name a description gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Johnson => "johnson",
            Self::Lite => "lite",
            Self::Texture => "texture",
        }
    }

    /// Every kind this release knows.
    pub const ALL: [Self; 3] = [Self::Johnson, Self::Lite, Self::Texture];

    /// How many widths it has: of the convolutions of its encoder, which the decoder mirrors, or of its scales.
    pub const fn depths(self) -> RangeInclusive<usize> {
        match self {
            Self::Johnson => 3..=3,
            Self::Lite => 2..=2,
            Self::Texture => 1..=Architecture::MAX_SCALES,
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
        /// The opposite side, as of a picture that is laid side by side with itself: texture networks only.
        Circular = "circular",
    }
}

/// A network's family and sizes: all that is needed to build it before its weights are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// Family of networks.
    pub kind: NetworkKind,
    /// Output channels of each convolution of the encoder, as many as [`depths`](NetworkKind::depths) says; the
    /// decoder mirrors them. Of a texture network: channels of each scale, the coarsest first.
    pub widths: Vec<i64>,
    /// Residual blocks between encoder and decoder, each of the last width's channels.
    pub residual_blocks: usize,
    /// What normalizes features.
    #[serde(default = "instance", skip_serializing_if = "is_instance")]
    pub norm: Normalization,
    /// What the last convolution gives.
    #[serde(default = "direct", skip_serializing_if = "is_direct")]
    pub output: OutputLayer,
    /// How the decoder enlarges.
    #[serde(default = "nearest", skip_serializing_if = "is_nearest")]
    pub upsample: Upsampling,
    /// What lies beyond the border.
    #[serde(default = "reflect", skip_serializing_if = "is_reflect")]
    pub padding: Padding,
    /// Number of styles that the norms hold: with more than one, their weights and biases are `[styles,
    /// channels]` (conditional instance norm, Dumoulin et al. 2017).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub styles: usize,
    /// Input and output are brightness alone, the same in all three channels (Gatys et al. 2017).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub luminance: bool,
    /// Hidden values of the style predictor, whose output takes the place of the norms' weights and biases
    /// ([`predictor`]); none: they are the network's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictor: Option<i64>,
    /// Whether it reads a photo; otherwise it makes a texture of noise alone (texture networks only).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub photo: bool,
}

// Default values: the meaning of files written before a field existed. Fields with these values are not
// written.
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
const fn yes() -> bool {
    true
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
// As serde wants it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_yes(photo: &bool) -> bool {
    *photo
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
            predictor: None,
            photo: true,
        }
    }
}

impl Architecture {
    /// Largest number of channels of a layer; a file that claims more is refused before memory is allocated.
    pub const MAX_WIDTH: i64 = 4096;
    /// Most residual blocks accepted.
    pub const MAX_BLOCKS: usize = 256;
    /// Most scales of a texture network.
    pub const MAX_SCALES: usize = 8;
    /// Most styles accepted.
    pub const MAX_STYLES: usize = 1024;

    /// Name and shape of every parameter, in the order in which the published network lists them.
    /// Convolution weights are `[out, in, height, width]` (transposed ones `[in, out, …]`), norms'
    /// `[channels]`, or `[styles, channels]` where there are several styles. With a style predictor there are
    /// none of norms, and the predictor's come last.
    pub fn parameters(&self) -> Vec<(String, Vec<i64>)> {
        let norm = |channels: i64| match self.styles {
            1 => vec![channels],
            // Lossless: at most MAX_STYLES.
            styles => vec![styles as i64, channels],
        };
        let mut list = Vec::new();
        for layer in layers(self) {
            let (inputs, outputs) = layer.channels;
            let (conv, size) = (&layer.conv, layer.size);
            let (first, second) = match layer.change {
                Change::Transposed => (inputs, outputs),
                _ => (outputs, inputs),
            };
            list.push((format!("{conv}.conv2d.weight"), vec![first, second, size, size]));
            list.push((format!("{conv}.conv2d.bias"), vec![outputs]));
            for (name, channels) in layer.norms().filter(|_| self.predictor.is_none()) {
                list.push((format!("{name}.weight"), norm(channels)));
                list.push((format!("{name}.bias"), norm(channels)));
            }
        }
        if let Some(hidden) = self.predictor {
            list.extend(predictor::parameters(hidden, self.norm_values()));
        }
        list
    }

    /// Number of values of all norms of one style: weights and biases.
    pub fn norm_values(&self) -> i64 {
        layers(self).iter().flat_map(Layer::norms).map(|(_, channels)| 2 * channels).sum()
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> i64 {
        self.parameters().iter().map(|(_, shape)| shape.iter().product::<i64>()).sum()
    }

    /// Reads the sizes of a network of the published kind from the shapes of its tensors: widths from the weights of the three encoder
    /// convolutions, the number of blocks from the names.
    ///
    /// # Errors
    ///
    /// The name of the first tensor from which a size should have been read, when it is missing
    /// or has a shape no convolution has.
    pub fn from_shapes(shapes: &BTreeMap<&str, &[i64]>) -> Result<Self, &'static str> {
        let width = |name: &'static str| match shapes.get(name).copied() {
            Some(&[out, _, _, _]) if (1..=Self::MAX_WIDTH).contains(&out) => Ok(out),
            _ => Err(name),
        };
        let widths = vec![
            width("conv1.conv2d.weight")?,
            width("conv2.conv2d.weight")?,
            width("conv3.conv2d.weight")?,
        ];
        // The highest number, not the count: a gap is then reported as the missing tensor it is.
        let residual_blocks = shapes
            .keys()
            .filter_map(|name| name.strip_prefix("res")?.split_once('.')?.0.parse().ok())
            .filter(|&block| block <= Self::MAX_BLOCKS)
            .max()
            .unwrap_or(0);
        Ok(Self { widths, residual_blocks, ..Self::default() })
    }

    /// Pictures are padded to multiples of this, in pixels: the network halves them until the coarsest scale.
    pub fn multiple(&self) -> i64 {
        match self.kind {
            NetworkKind::Johnson | NetworkKind::Lite => 4,
            // At most MAX_SCALES.
            NetworkKind::Texture => 1 << self.widths.len().saturating_sub(1),
        }
    }

    /// What is wrong with the architecture, if anything.
    pub(in crate::engine) fn fault(&self) -> Option<String> {
        let depths = self.kind.depths();
        if !depths.contains(&self.widths.len()) {
            let (found, from, to) = (self.widths.len(), depths.start(), depths.end());
            let expected = if from == to { from.to_string() } else { format!("{from} to {to}") };
            return Some(format!("{found} widths of layers, expected {expected}"));
        }
        if self.kind != NetworkKind::Johnson && self.upsample != Upsampling::Nearest {
            return Some(format!("a {} network with transposed convolutions", self.kind.name()));
        }
        if let Some(fault) = self.fault_of_scales() {
            return Some(fault.to_owned());
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
        if let Some(hidden) = self.predictor {
            if !(1..=Self::MAX_WIDTH).contains(&hidden) {
                let most = Self::MAX_WIDTH;
                return Some(format!("a style predictor of {hidden} values, expected 1 to {most}"));
            }
            if self.styles != 1 || self.norm != Normalization::Instance {
                return Some("a style predictor needs instance norms and no styles".to_owned());
            }
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
        write!(f, "{} {}", self.kind.name(), widths.join("-"))?;
        if self.kind != NetworkKind::Texture {
            write!(f, ", {} block{s}", self.residual_blocks)?;
        }
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
        if !self.photo {
            f.write_str(", of noise alone")?;
        }
        if self.styles > 1 {
            write!(f, ", {} styles", self.styles)?;
        }
        if let Some(hidden) = self.predictor {
            write!(f, ", any style (predictor {hidden})")?;
        }
        if self.luminance { f.write_str(", luminance") } else { Ok(()) }
    }
}

/// How a layer changes height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    Same,
    /// A stride of 2 halves them.
    Halve,
    /// Each pixel is repeated 2×2 before the convolution.
    Nearest,
    /// A transposed convolution of stride 2 doubles them.
    Transposed,
}

/// The operation after convolution and norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// Negative values become 0.
    Relu,
    /// Negative values become a hundredth of themselves.
    LeakyRelu,
    /// The input of the residual block is added.
    Add,
    /// Nothing: the last layer.
    Nothing,
}

/// What a layer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What the layer before made.
    Previous,
    /// The picture at 1 / 2^n of its size with noise beside it, or noise alone: a scale of a texture network
    /// begins here.
    Scale(usize),
    /// What the scale that ends here made, then the result of the scale before enlarged 2×2, both normalized,
    /// joined by channels.
    Join {
        /// Channels of this scale, and of all before.
        channels: [i64; 2],
        /// Names of the norms of both, where there are norms.
        norms: Option<[String; 2]>,
    },
}

/// A convolution with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What it reads.
    pub source: Source,
    /// Published name of the convolution: `res1.conv2`.
    pub conv: String,
    /// Published name of the norm, where there is one: `res1.in2`.
    pub norm: Option<String>,
    /// Channels in and out.
    pub channels: (i64, i64),
    /// Side of the kernel, pixels: odd.
    pub size: i64,
    /// What becomes of height and width.
    pub change: Change,
    /// What comes after.
    pub after: Epilogue,
    /// Whether a residual block begins here.
    pub begins_block: bool,
}

impl Layer {
    /// Names and channels of its norms, in the order in which they run: those of what it reads, then its own.
    pub fn norms(&self) -> impl Iterator<Item = (&str, i64)> {
        let joined = match &self.source {
            Source::Join { channels, norms: Some(norms) } => Some(norms.iter().zip(*channels)),
            _ => None,
        };
        let joined = joined.into_iter().flatten().map(|(name, channels)| (name.as_str(), channels));
        joined.chain(self.norm.as_deref().map(|name| (name, self.channels.1)))
    }
}

/// The layers in the order in which they run.
pub fn layers(architecture: &Architecture) -> Vec<Layer> {
    let widths = architecture.widths.as_slice();
    let up = match architecture.upsample {
        Upsampling::Nearest => Change::Nearest,
        Upsampling::Transposed => Change::Transposed,
    };
    // First and last layer. A lite network has no layer of full size: the halving of its first convolution
    // and the doubling of its last one are space-to-depth and pixel shuffle within a convolution. Since the
    // last one sees each pixel 2×2 times, it leaves no pattern on plain surfaces.
    let (size, head, tail) = match architecture.kind {
        NetworkKind::Johnson => (9, Change::Same, Change::Same),
        NetworkKind::Lite => (5, Change::Halve, Change::Nearest),
        NetworkKind::Texture => return scales::layers(architecture),
    };
    let named = architecture.norm != Normalization::None;
    let layer = |conv: String, norm: String, channels, size, change| Layer {
        source: Source::Previous,
        conv,
        norm: named.then_some(norm),
        channels,
        size,
        change,
        after: Epilogue::Relu,
        begins_block: false,
    };
    let mut list = Vec::new();
    let mut inputs = 3;
    for (n, &width) in widths.iter().enumerate() {
        let (size, change) = if n == 0 { (size, head) } else { (3, Change::Halve) };
        let (conv, norm) = (format!("conv{}", n + 1), format!("in{}", n + 1));
        list.push(layer(conv, norm, (inputs, width), size, change));
        inputs = width;
    }
    for block in 1..=architecture.residual_blocks {
        for half in 1..=2 {
            let (conv, norm) = (format!("res{block}.conv{half}"), format!("res{block}.in{half}"));
            let after = if half == 1 { Epilogue::Relu } else { Epilogue::Add };
            let same = layer(conv, norm, (inputs, inputs), 3, Change::Same);
            list.push(Layer { after, begins_block: half == 1, ..same });
        }
    }
    for (n, &width) in widths.iter().rev().skip(1).enumerate() {
        let (conv, norm) = (format!("deconv{}", n + 1), format!("in{}", widths.len() + n + 1));
        list.push(layer(conv, norm, (inputs, width), 3, up));
        inputs = width;
    }
    let same = layer(last(architecture), String::new(), (inputs, 3), size, tail);
    list.push(Layer { norm: None, after: Epilogue::Nothing, ..same });
    list
}

/// Name of the last convolution.
pub fn last(architecture: &Architecture) -> String {
    match architecture.kind {
        NetworkKind::Johnson | NetworkKind::Lite => format!("deconv{}", architecture.widths.len()),
        NetworkKind::Texture => scales::LAST.to_owned(),
    }
}

/// Number of multiply-adds of the convolutions for one picture of `width` × `height` pixels, padded to
/// [multiples](Architecture::multiple) that it takes, when computed as defined. A fast algorithm may need fewer.
pub fn multiply_adds(architecture: &Architecture, width: usize, height: usize) -> f64 {
    // Lossless: at most 128.
    let multiple = architecture.multiple() as usize;
    let full = (width.next_multiple_of(multiple) * height.next_multiple_of(multiple)) as f64;
    let (mut pixels, mut sum) = (full, 0.0);
    for layer in layers(architecture) {
        if let Source::Scale(scale) = layer.source {
            pixels = full / f64::from(1 << (2 * scale));
        }
        let before = pixels;
        pixels *= match layer.change {
            Change::Same => 1.0,
            Change::Halve => 0.25,
            Change::Nearest | Change::Transposed => 4.0,
        };
        // In a transposed convolution, each input pixel is multiplied with the whole kernel once.
        let meets = if layer.change == Change::Transposed { before } else { pixels };
        let (inputs, outputs) = layer.channels;
        sum += meets * (inputs * outputs * layer.size * layer.size) as f64;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lite() -> Architecture {
        let widths = vec![16, 48];
        Architecture { kind: NetworkKind::Lite, widths, residual_blocks: 4, ..Default::default() }
    }

    #[test]
    fn a_lite_network_halves_at_once_and_doubles_at_last() {
        let changes: Vec<_> =
            layers(&lite()).iter().filter(|l| l.after != Epilogue::Add).map(|l| l.change).collect();
        assert_eq!(changes[..3], [Change::Halve, Change::Halve, Change::Same]);
        assert_eq!(changes[changes.len() - 2..], [Change::Nearest, Change::Nearest]);
        // By hand, a pixel: 300 + 432 + 8 · 1296 + 1728 + 1200.
        assert_eq!(multiply_adds(&lite(), 640, 360), 14_028.0 * 640.0 * 360.0);
    }

    #[test]
    fn layers_have_their_published_names() {
        let published = Architecture { residual_blocks: 1, ..Default::default() };
        let names = |architecture: &Architecture| {
            let layers = layers(architecture).into_iter();
            layers.map(|l| (l.conv, l.norm.unwrap_or_default())).collect::<Vec<_>>()
        };
        let expected = [
            ("conv1", "in1"),
            ("conv2", "in2"),
            ("conv3", "in3"),
            ("res1.conv1", "res1.in1"),
            ("res1.conv2", "res1.in2"),
            ("deconv1", "in4"),
            ("deconv2", "in5"),
            ("deconv3", ""),
        ];
        let expected = expected.map(|(conv, norm)| (conv.to_owned(), norm.to_owned()));
        assert_eq!(names(&published), expected);
        for architecture in [published, lite()] {
            let last = layers(&architecture).pop().unwrap();
            assert_eq!(last.conv, super::last(&architecture));
            assert_eq!((last.norm, last.after), (None, Epilogue::Nothing));
            let bare = Architecture { norm: Normalization::None, ..architecture };
            assert!(names(&bare).iter().all(|(_, norm)| norm.is_empty()));
        }
    }

    #[test]
    fn the_arithmetic_is_that_of_the_published_network() {
        // By hand: 153,792 for each pixel.
        let architecture = Architecture::default();
        assert_eq!(multiply_adds(&architecture, 640, 360), 153_792.0 * 640.0 * 360.0);
        // Padded to 8 × 4.
        assert_eq!(multiply_adds(&architecture, 5, 1), 153_792.0 * 32.0);
        let transposed = Architecture { upsample: Upsampling::Transposed, ..architecture };
        let fewer = 3.0 / 4.0 * (18_432.0 * 2.0);
        assert_eq!(multiply_adds(&transposed, 8, 4), (153_792.0 - fewer) * 32.0);
    }
}
