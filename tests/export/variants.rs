//! Small models of every architecture that a model file can describe.

use nst_stream::engine::architecture::{
    Architecture, NetworkKind, Normalization, OutputLayer, Padding, Upsampling,
};
use nst_stream::engine::model_file::{DType, Description, ModelFile, RawTensor};

fn base() -> Architecture {
    Architecture { widths: vec![8, 12, 16], residual_blocks: 2, ..Architecture::default() }
}

pub fn all() -> Vec<ModelFile> {
    let (norm, padding) = (Normalization::None, Padding::Zero);
    let (output, upsample) = (OutputLayer::Tanh, Upsampling::Transposed);
    vec![
        model("small", base()),
        model(
            "deep and uneven",
            Architecture { widths: vec![5, 9, 7], residual_blocks: 3, ..base() },
        ),
        model("no blocks, no norms", Architecture { norm, residual_blocks: 0, ..base() }),
        model("tanh", Architecture { output, ..base() }),
        model("transposed", Architecture { upsample, ..base() }),
        model("zeros", Architecture { padding, ..base() }),
        model("luminance", Architecture { luminance: true, ..base() }),
        several_styles(),
        model("lite", Architecture { kind: NetworkKind::Lite, widths: vec![8, 12], ..base() }),
        model(
            "everything else",
            Architecture { output, upsample, padding, styles: 2, luminance: true, ..base() },
        ),
        model("no norms, transposed, zeros", Architecture { norm, upsample, padding, ..base() }),
        model("texture", texture()),
        model("texture, circular", Architecture { padding: Padding::Circular, ..texture() }),
        model("texture, all else", Architecture { norm, output, luminance: true, ..texture() }),
        model("texture of two styles", Architecture { styles: 2, widths: vec![5], ..texture() }),
    ]
}

/// Two scales, so that sides are multiples of 2 and 5 pixels are enough.
fn texture() -> Architecture {
    let kind = NetworkKind::Texture;
    Architecture { kind, widths: vec![6, 9], residual_blocks: 0, ..Architecture::default() }
}

/// A network with the styles a, b and c.
pub fn several_styles() -> ModelFile {
    model("three styles", Architecture { styles: 3, ..base() })
}

/// The values of a tensor in single precision.
pub fn values(model: &ModelFile, name: &str) -> Vec<f32> {
    model.tensors[name].to_f32()
}

/// Random weights, scaled so that the picture is neither flat nor out of range.
fn model(name: &str, architecture: Architecture) -> ModelFile {
    let mut random = fastrand::Rng::with_seed(7);
    let direct = architecture.output == OutputLayer::Direct;
    let tensors = architecture.parameters().into_iter().map(|(name, shape)| {
        let inputs = shape[1..].iter().product::<i64>() as f32;
        let last = (name.starts_with("deconv3") || name.starts_with("out.")) && direct;
        let (middle, scale) = match name.contains("conv2d") {
            true if last && name.ends_with("bias") => (127.0, 20.0),
            true if last => (0.0, 40.0 / inputs.sqrt()),
            true => (0.0, 1.7 / inputs.sqrt().max(1.0)),
            false if name.ends_with("weight") => (1.0, 0.6),
            false => (0.0, 0.6),
        };
        let count = shape.iter().product::<i64>();
        let values: Vec<f32> =
            (0..count).map(|_| middle + scale * (2.0 * random.f32() - 1.0)).collect();
        (name, RawTensor::from_f32(shape, &values, DType::F16))
    });
    let tensors = tensors.collect();
    let mut description = Description::new(name, architecture);
    if description.architecture.styles > 1 {
        let names = ["a", "b", "c"].iter().take(description.architecture.styles);
        description.styles = names.map(|&name| name.to_owned()).collect();
    }
    ModelFile { tensors, description }
}
