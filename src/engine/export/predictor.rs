//! The style predictor as an ONNX graph of its own: from a picture to the `style` of the network's graph.

use safetensors::SafeTensors;

use super::contents::{ExportError, single};
use super::messages::{Model, Tensor};
use super::onnx::{Builder, STYLE, encoded, int, ints, length, picture, text, value};
use crate::engine::model_file::{DType, ModelFile, RawTensor};
use crate::engine::predictor::{CENTRE, FAR, FARTHEST, LAYERS, SCALE};
use crate::engine::shipped;

/// The convolutions of VGG16 up to relu4_1; behind the last of each block, pooling, but for the last block.
const BLOCKS: [&[&str]; 4] = [
    &["conv1_1", "conv1_2"],
    &["conv2_1", "conv2_2"],
    &["conv3_1", "conv3_2", "conv3_3"],
    &["conv4_1"],
];
/// What the Caffe release subtracts, blue first.
const MEAN: [f32; 3] = [103.939, 116.779, 123.68];

/// The bytes of the graph. `input` is 1 × 3 × height × width, RGB 0–255, single precision; `style` is the second input of the
/// network's graph. The model has been [checked](ModelFile::check).
///
/// # Errors
/// [`ExportError::NoPredictor`], [`ExportError::Write`].
pub fn to_bytes(model: &ModelFile) -> Result<Vec<u8>, ExportError> {
    if model.description.architecture.predictor.is_none() {
        return Err(ExportError::NoPredictor { model: model.description.name.clone() });
    }
    encoded(&graph(model)?)
}

fn graph(model: &ModelFile) -> Result<Model, ExportError> {
    let mut graph = Builder { model, nodes: Vec::new(), tensors: Vec::new() };
    let vgg = shipped::find("vgg16").map_or(&[][..], |vgg| vgg.bytes);
    let vgg = SafeTensors::deserialize(vgg).map_err(std::io::Error::other)?;
    graph.integers("blue_first", &[2, 1, 0], &[3]);
    graph.floats("mean", &MEAN, &[1, 3, 1, 1]);
    graph.integers("pads", &[0, 0, 1, 1, 0, 0, 1, 1], &[8]);
    let mut x = graph.node("Gather", "bgr", &["input", "blue_first"], vec![int("axis", 1)]);
    x = graph.node("Sub", "centred", &[&x, "mean"], vec![]);
    let (mut means, mut deviations) = (Vec::new(), Vec::new());
    for block in BLOCKS {
        for (n, name) in block.iter().enumerate() {
            for part in ["weight", "bias"] {
                let name = format!("{name}.{part}");
                let view = vgg.tensor(&name).map_err(std::io::Error::other)?;
                let dtype = match view.dtype() {
                    safetensors::Dtype::F16 => DType::F16,
                    _ => DType::F32,
                };
                let shape = view.shape().iter().map(|length| *length as i64).collect();
                let stored = RawTensor { shape, dtype, data: view.data().to_vec() };
                let RawTensor { shape, data, .. } = single(&stored);
                graph.constant(&name, Tensor::FLOAT, data, &shape);
            }
            let mode = vec![text("mode", "reflect")];
            x = graph.node("Pad", &format!("{name}/padded"), &[&x, "pads"], mode);
            let attributes = vec![
                ints("kernel_shape", &[3; 2]),
                ints("strides", &[1; 2]),
                ints("pads", &[0; 4]),
            ];
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            x = graph.node("Conv", name, &[&x, &weight, &bias], attributes);
            x = graph.node("Relu", &format!("{name}/relu"), &[&x], vec![]);
            if n == 0 {
                let over = || vec![ints("axes", &[2, 3]), int("keepdims", 0)];
                let square = graph.node("Mul", &format!("{name}/square"), &[&x, &x], vec![]);
                let mean = graph.node("ReduceMean", &format!("{name}/mean"), &[&x], over());
                let square =
                    graph.node("ReduceMean", &format!("{name}/mean_square"), &[&square], over());
                let of_mean =
                    graph.node("Mul", &format!("{name}/of_mean"), &[&mean, &mean], vec![]);
                let variance =
                    graph.node("Sub", &format!("{name}/variance"), &[&square, &of_mean], vec![]);
                // Rounding may leave a little less than nothing.
                let variance =
                    graph.node("Relu", &format!("{name}/variance/0"), &[&variance], vec![]);
                deviations.push(graph.node(
                    "Sqrt",
                    &format!("{name}/deviation"),
                    &[&variance],
                    vec![],
                ));
                means.push(mean);
            }
        }
        let attributes = vec![ints("kernel_shape", &[2; 2]), ints("strides", &[2; 2])];
        x = graph.node("MaxPool", &format!("{}/pooled", block[0]), &[&x], attributes);
    }
    // What the last pooling makes is not used.
    graph.nodes.pop();
    let all: Vec<&str> = means.iter().chain(&deviations).map(String::as_str).collect();
    let all = graph.node("Concat", "moments", &all, vec![int("axis", 1)]);
    graph.floats("one", &[1.0], &[]);
    x = graph.node("Add", "moments/1", &[&all, "one"], vec![]);
    x = graph.node("Log", "statistics", &[&x], vec![]);
    let (centre, scale) = (graph.weight(CENTRE)?, graph.weight(SCALE)?);
    x = graph.node("Sub", "statistics/centred", &[&x, &centre], vec![]);
    x = graph.node("Div", "statistics/scaled", &[&x, &scale], vec![]);
    graph.floats("farthest", &[FARTHEST], &[]);
    graph.floats("nearest", &[-FARTHEST], &[]);
    x = graph.node("Clip", "near/each", &[&x, "nearest", "farthest"], vec![]);
    let square = graph.node("Mul", "near/square", &[&x, &x], vec![]);
    let over = vec![ints("axes", &[1]), int("keepdims", 1)];
    let mean = graph.node("ReduceMean", "near/mean", &[&square], over);
    let root = graph.node("Sqrt", "near/root", &[&mean], vec![]);
    graph.floats("far", &[FAR], &[]);
    let times = graph.node("Div", "near/times", &[&root, "far"], vec![]);
    let times = graph.node("Max", "near/over", &[&times, "one"], vec![]);
    x = graph.node("Div", "near", &[&x, &times], vec![]);
    let [hidden, hidden_bias, out, out_bias] = LAYERS;
    for name in LAYERS {
        graph.weight(name)?;
    }
    let turned = || vec![int("transB", 1)];
    x = graph.node("Gemm", "hidden", &[&x, hidden, hidden_bias], turned());
    x = graph.node("Relu", "hidden/relu", &[&x], vec![]);
    x = graph.node("Gemm", "out", &[&x, out, out_bias], turned());
    let values = model.description.architecture.norm_values();
    graph.integers("flat", &[values], &[1]);
    graph.node("Reshape", STYLE, &[&x, "flat"], vec![]);
    let about = format!(
        "style predictor of {}: a picture, RGB 0-255, in; the style of its network out",
        model.description.name
    );
    let about_style = "the network's second input";
    let output = value(STYLE, about_style, vec![length(values)]);
    Ok(graph.finished(about, vec![picture("input", "1", "RGB, 0 to 255")], output)?)
}
