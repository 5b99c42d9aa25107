//! The network as a list of layers, for whoever needs to know them without running them: exports
//! write them down, `bench` counts their arithmetic.

use super::model_file::{Architecture, Normalization, Upsampling};

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

/// What comes after convolution and norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// What is below 0 becomes 0.
    Relu,
    /// What went into the residual block is added.
    Add,
    /// Nothing: the last layer.
    Nothing,
}

/// A convolution with what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
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
    pub after: After,
    /// Whether a residual block begins here.
    pub begins_block: bool,
}

/// The layers in the order in which they run.
pub fn layers(architecture: &Architecture) -> Vec<Layer> {
    let [w0, w1, w2] = architecture.widths;
    let up = match architecture.upsample {
        Upsampling::Nearest => Change::Nearest,
        Upsampling::Transposed => Change::Transposed,
    };
    let norm = |name: String| (architecture.norm != Normalization::None).then_some(name);
    let layer = |conv: &str, name: &str, channels, size, change| Layer {
        conv: conv.to_owned(),
        norm: norm(name.to_owned()),
        channels,
        size,
        change,
        after: After::Relu,
        begins_block: false,
    };
    let mut list = vec![
        layer("conv1", "in1", (3, w0), 9, Change::Same),
        layer("conv2", "in2", (w0, w1), 3, Change::Halve),
        layer("conv3", "in3", (w1, w2), 3, Change::Halve),
    ];
    for block in 1..=architecture.residual_blocks {
        for half in 1..=2 {
            let (conv, norm) = (format!("res{block}.conv{half}"), format!("res{block}.in{half}"));
            let after = if half == 1 { After::Relu } else { After::Add };
            let same = layer(&conv, &norm, (w2, w2), 3, Change::Same);
            list.push(Layer { after, begins_block: half == 1, ..same });
        }
    }
    list.push(layer("deconv1", "in4", (w2, w1), 3, up));
    list.push(layer("deconv2", "in5", (w1, w0), 3, up));
    let last = layer("deconv3", "", (w0, 3), 9, Change::Same);
    list.push(Layer { norm: None, after: After::Nothing, ..last });
    list
}

/// Multiplications, each with its addition, that the convolutions of one picture take when they are
/// computed as they are defined: of `width` × `height` pixels, padded to multiples of 4. A fast
/// algorithm may take fewer.
pub fn multiply_adds(architecture: &Architecture, width: usize, height: usize) -> f64 {
    let mut pixels = (width.next_multiple_of(4) * height.next_multiple_of(4)) as f64;
    let mut sum = 0.0;
    for layer in layers(architecture) {
        let before = pixels;
        pixels *= match layer.change {
            Change::Same => 1.0,
            Change::Halve => 0.25,
            Change::Nearest | Change::Transposed => 4.0,
        };
        // Each pixel that a transposed convolution reads meets the whole kernel once.
        let meets = if layer.change == Change::Transposed { before } else { pixels };
        let (inputs, outputs) = layer.channels;
        sum += meets * (inputs * outputs * layer.size * layer.size) as f64;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_are_those_of_the_parameters() {
        for norm in [Normalization::Instance, Normalization::None] {
            let architecture = Architecture { residual_blocks: 2, norm, ..Default::default() };
            let mut names = Vec::new();
            for layer in layers(&architecture) {
                names
                    .extend(["weight", "bias"].map(|part| format!("{}.conv2d.{part}", layer.conv)));
                let norm = layer.norm.into_iter();
                names.extend(norm.flat_map(|n| ["weight", "bias"].map(|p| format!("{n}.{p}"))));
            }
            let parameters = architecture.parameters().into_iter().map(|(name, _)| name);
            assert_eq!(names, parameters.collect::<Vec<_>>());
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
