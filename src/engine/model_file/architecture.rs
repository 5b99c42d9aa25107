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

/// A network's family and sizes: all that is needed to build it before its weights are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Architecture {
    /// Family of networks.
    pub kind: Kind,
    /// Channels after the first, second and third convolution; the decoder mirrors them.
    pub widths: [i64; 3],
    /// Residual blocks between encoder and decoder, each of `widths[2]` channels.
    pub residual_blocks: usize,
}

impl Default for Architecture {
    /// The published sizes: widths 32, 64, 128 and five residual blocks.
    fn default() -> Self {
        Self { kind: Kind::Johnson, widths: [32, 64, 128], residual_blocks: 5 }
    }
}

impl Architecture {
    /// Widest layer accepted; a file that claims more is refused before memory is set aside.
    pub const MAX_WIDTH: i64 = 4096;
    /// Most residual blocks accepted.
    pub const MAX_BLOCKS: usize = 256;

    /// Name and shape of every parameter, in the order in which the published network lists them.
    /// Convolution weights are `[out, in, height, width]`, everything else `[channels]`.
    pub fn parameters(&self) -> Vec<(String, Vec<i64>)> {
        let [w0, w1, w2] = self.widths;
        let mut list = Parameters(Vec::new());
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
        list.conv("deconv1", w1, w2, 3);
        list.norm("in4", w1);
        list.conv("deconv2", w0, w1, 3);
        list.norm("in5", w0);
        list.conv("deconv3", 3, w0, 9);
        list.0
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
        Ok(Self { kind: Kind::Johnson, widths, residual_blocks })
    }

    /// What is wrong with the sizes, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(w) = self.widths.iter().find(|w| !(1..=Self::MAX_WIDTH).contains(*w)) {
            return Some(format!("a layer of {w} channels, expected 1 to {}", Self::MAX_WIDTH));
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
        write!(f, "{} {w0}-{w1}-{w2}, {} block{s}", self.kind.name(), self.residual_blocks)
    }
}

/// The list under construction.
struct Parameters(Vec<(String, Vec<i64>)>);

impl Parameters {
    fn conv(&mut self, name: &str, outputs: i64, inputs: i64, size: i64) {
        self.0.push((format!("{name}.conv2d.weight"), vec![outputs, inputs, size, size]));
        self.0.push((format!("{name}.conv2d.bias"), vec![outputs]));
    }

    fn norm(&mut self, name: &str, channels: i64) {
        self.0.push((format!("{name}.weight"), vec![channels]));
        self.0.push((format!("{name}.bias"), vec![channels]));
    }
}
