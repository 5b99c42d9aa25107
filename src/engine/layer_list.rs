//! The network as a list of layers, for whoever needs to know them without running them: exports
//! write them down, `bench` counts their arithmetic.

use super::model_file::{Architecture, NetworkKind, Normalization, Upsampling};

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
pub enum Epilogue {
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
    pub after: Epilogue,
    /// Whether a residual block begins here.
    pub begins_block: bool,
}

/// The layers in the order in which they run.
pub fn layers(architecture: &Architecture) -> Vec<Layer> {
    let widths = architecture.widths.as_slice();
    let up = match architecture.upsample {
        Upsampling::Nearest => Change::Nearest,
        Upsampling::Transposed => Change::Transposed,
    };
    // First and last layer. A lite network has no layer as large as the picture: what its first one
    // halves and its last one doubles are space-to-depth and pixel shuffle within a convolution, and
    // since the last one sees each pixel 2×2 times, it makes no pattern of a plain surface.
    let (size, head, tail) = match architecture.kind {
        NetworkKind::Johnson => (9, Change::Same, Change::Same),
        NetworkKind::Lite => (5, Change::Halve, Change::Nearest),
    };
    let named = architecture.norm != Normalization::None;
    let layer = |conv: String, norm: String, channels, size, change| Layer {
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
    format!("deconv{}", architecture.widths.len())
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
