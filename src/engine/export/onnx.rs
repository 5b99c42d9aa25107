//! The network as an ONNX graph.

mod scales;

use std::io;

use prost::Message;

use super::contents::{ExportError, metadata, single, tensor};
use super::messages::{
    Attribute, Dimension, Entry, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type,
    Value,
};
use crate::engine::EPSILON;
use crate::engine::architecture::{Change, Epilogue, Layer, Source, layers};
use crate::engine::architecture::{OutputLayer, Padding};
use crate::engine::model_file::{ModelFile, RawTensor};
use crate::engine::network::{LUMA, MIDDLE, TANH_SCALE};

/// Operators as of ONNX 1.12 (2022), which every current runtime knows.
const OPERATORS: i64 = 17;
/// The file format that came with them.
const FORMAT: i64 = 8;
/// What a protobuf message can be at most.
const LARGEST: usize = i32::MAX as usize;

const WHITE: f32 = 255.0;

/// The shares of the styles, where there are several; the values of the norms, where a predictor makes them.
pub(super) const STYLE: &str = "style";

pub(super) fn to_bytes(model: &ModelFile) -> Result<Vec<u8>, ExportError> {
    encoded(&network(model)?)
}

pub(super) fn encoded(message: &Model) -> Result<Vec<u8>, ExportError> {
    let length = message.encoded_len();
    if length > LARGEST {
        return Err(ExportError::TooLarge { mib: length >> 20 });
    }
    Ok(message.encode_to_vec())
}

fn network(model: &ModelFile) -> io::Result<Model> {
    let description = &model.description;
    let architecture = &description.architecture;
    let mut inputs = vec![picture("input", "batch", "RGB, 0 to 255")];
    if architecture.predictor.is_some() {
        let about = "the style of a picture, as the style predictor gives it";
        inputs.push(value(STYLE, about, vec![length(architecture.norm_values())]));
    } else if architecture.styles > 1 {
        let about = format!("shares of {}; they sum up to 1", description.styles.join(", "));
        inputs.push(value(STYLE, &about, vec![length(architecture.styles as i64)]));
    }
    // Reflection cannot mirror a picture more than once.
    let least = description.architecture.multiple() + 1;
    let mut graph = Builder { model, nodes: Vec::new(), tensors: Vec::new() };
    graph.build()?;
    let about =
        format!("{}: RGB 0-255 in and out, any size from {least}x{least}", description.name);
    graph.finished(about, inputs, picture("output", "batch", "RGB, 0 to 255"))
}

/// A picture of any size; `batch` names how many, or is `1`.
pub(super) fn picture(name: &str, batch: &str, about: &str) -> Value {
    let free = |name: &str| Dimension { dim_param: Some(name.to_owned()), dim_value: None };
    let batch = batch.parse().map_or_else(|_| free(batch), length);
    value(name, about, vec![batch, length(3), free("height"), free("width")])
}

pub(super) fn length(of: i64) -> Dimension {
    Dimension { dim_value: Some(of), dim_param: None }
}

pub(super) fn value(name: &str, about: &str, dim: Vec<Dimension>) -> Value {
    let tensor = TensorType { elem_type: Some(Tensor::FLOAT), shape: Some(Shape { dim }) };
    Value {
        name: Some(name.to_owned()),
        kind: Some(Type { tensor: Some(tensor) }),
        doc_string: Some(about.to_owned()),
    }
}

/// A graph under construction. Values are known by the name of what makes them.
pub(super) struct Builder<'a> {
    pub model: &'a ModelFile,
    pub nodes: Vec<Node>,
    pub tensors: Vec<Tensor>,
}

impl Builder<'_> {
    fn build(&mut self) -> io::Result<()> {
        let architecture = &self.model.description.architecture;
        self.integers("multiple", &[architecture.multiple()], &[]);
        self.integers("no_pads", &[0; 6], &[6]);
        let size = self.node("Shape", "size", &["input"], vec![int("start", 2), int("end", 4)]);
        // (4 - size mod 4) mod 4 pixels, right and bottom, where multiples of 4 are taken.
        let over = self.node("Mod", "size/over", &[&size, "multiple"], vec![]);
        let missing = self.node("Sub", "size/rest", &["multiple", &over], vec![]);
        let missing = self.node("Mod", "size/missing", &[&missing, "multiple"], vec![]);
        let pads = self.node("Concat", "size/pads", &["no_pads", &missing], vec![int("axis", 0)]);
        let mut x = self.node("Pad", "padded", &["input", &pads], vec![text("mode", "reflect")]);
        if architecture.luminance {
            x = self.luma("luma/in", &x);
        }
        if architecture.predictor.is_some() {
            self.norms_of_style();
        }
        let (pictures, mut block, mut coarser) = (x.clone(), x.clone(), x.clone());
        for layer in layers(architecture) {
            if layer.begins_block {
                block.clone_from(&x);
            }
            match &layer.source {
                Source::Previous => {}
                Source::Scale(scale) => {
                    let read = self.at_scale(&pictures, *scale);
                    coarser = std::mem::replace(&mut x, read);
                }
                Source::Join { norms, .. } => {
                    x = self.joined(&layer.conv, [&x, &coarser], norms.as_ref())?;
                }
            }
            x = self.layer(&layer, &x, &block)?;
        }
        if architecture.output == OutputLayer::Tanh {
            self.floats("tanh_scale", &[TANH_SCALE as f32], &[]);
            self.floats("middle", &[MIDDLE as f32], &[]);
            x = self.node("Tanh", "tanh", &[&x], vec![]);
            x = self.node("Mul", "tanh/scaled", &[&x, "tanh_scale"], vec![]);
            x = self.node("Add", "tanh/moved", &[&x, "middle"], vec![]);
        }
        if architecture.luminance {
            x = self.luma("luma/out", &x);
        }
        self.floats("black", &[0.0], &[]);
        self.floats("white", &[WHITE], &[]);
        x = self.node("Clip", "clamped", &[&x, "black", "white"], vec![]);
        self.integers("corner", &[0, 0], &[2]);
        self.integers("sides", &[2, 3], &[2]);
        self.node("Slice", "output", &[&x, "corner", &size, "sides"], vec![]);
        Ok(())
    }

    /// Cuts the values of all norms into those of each.
    fn norms_of_style(&mut self) {
        let parts = |(norm, channels): (&str, i64)| {
            ["weight", "bias"].map(|part| (format!("{norm}.{part}"), channels))
        };
        let layers = layers(&self.model.description.architecture);
        let norms: Vec<(String, i64)> =
            layers.iter().flat_map(Layer::norms).flat_map(parts).collect();
        let lengths: Vec<i64> = norms.iter().map(|(_, channels)| *channels).collect();
        self.integers("norms/lengths", &lengths, &[lengths.len() as i64]);
        self.node("Split", "norms", &[STYLE, "norms/lengths"], vec![int("axis", 0)]);
        if let Some(split) = self.nodes.last_mut() {
            split.output = norms.into_iter().map(|(name, _)| name).collect();
        }
    }

    /// Brightness in all three channels, as a 1×1 convolution.
    fn luma(&mut self, name: &str, x: &str) -> String {
        self.floats("luma", &LUMA.repeat(3), &[3, 3, 1, 1]);
        // Defaults are written out, since some readers do not know them.
        let attributes =
            vec![ints("kernel_shape", &[1, 1]), ints("strides", &[1, 1]), ints("pads", &[0; 4])];
        self.node("Conv", name, &[x, "luma"], attributes)
    }

    fn layer(&mut self, layer: &Layer, x: &str, block: &str) -> io::Result<String> {
        let name = layer.conv.as_str();
        let mut x = self.convolution(layer, x)?;
        if let Some(norm) = &layer.norm {
            x = self.norm(norm, &x)?;
        }
        Ok(match layer.after {
            Epilogue::Relu => self.node("Relu", &format!("{name}/relu"), &[&x], vec![]),
            Epilogue::LeakyRelu => self.leaky_relu(name, &x),
            Epilogue::Add => self.node("Add", &format!("{name}/sum"), &[&x, block], vec![]),
            Epilogue::Nothing => x,
        })
    }

    fn convolution(&mut self, layer: &Layer, x: &str) -> io::Result<String> {
        let name = layer.conv.as_str();
        let (weight, bias) = (
            self.weight(&format!("{name}.conv2d.weight"))?,
            self.weight(&format!("{name}.conv2d.bias"))?,
        );
        let kernel = ints("kernel_shape", &[layer.size; 2]);
        let pad = layer.size / 2;
        if layer.change == Change::Transposed {
            let attributes = vec![
                kernel,
                ints("strides", &[2, 2]),
                ints("pads", &[pad; 4]),
                ints("output_padding", &[1, 1]),
            ];
            return Ok(self.node("ConvTranspose", name, &[x, &weight, &bias], attributes));
        }
        let mut x = x.to_owned();
        if layer.change == Change::Nearest {
            x = self.doubled(name, &x);
        }
        let zeros = match self.model.description.architecture.padding {
            Padding::Zero => pad,
            _ if pad == 0 => 0,
            Padding::Circular => {
                x = self.wrapped(name, &x, pad);
                0
            }
            Padding::Reflect => {
                let pads = format!("pads_{pad}");
                self.integers(&pads, &[0, 0, pad, pad, 0, 0, pad, pad], &[8]);
                let mode = vec![text("mode", "reflect")];
                x = self.node("Pad", &format!("{name}/padded"), &[&x, &pads], mode);
                0
            }
        };
        let stride = if layer.change == Change::Halve { 2 } else { 1 };
        let attributes = vec![kernel, ints("strides", &[stride; 2]), ints("pads", &[zeros; 4])];
        Ok(self.node("Conv", name, &[&x, &weight, &bias], attributes))
    }

    fn norm(&mut self, name: &str, x: &str) -> io::Result<String> {
        let architecture = &self.model.description.architecture;
        let mut part = |part: &str| -> io::Result<String> {
            if architecture.predictor.is_some() {
                return Ok(format!("{name}.{part}"));
            }
            let all = self.weight(&format!("{name}.{part}"))?;
            Ok(match architecture.styles {
                1 => all,
                // 1 × styles times styles × channels.
                _ => self.node("MatMul", &format!("{name}/{part}"), &[STYLE, &all], vec![]),
            })
        };
        let (weight, bias) = (part("weight")?, part("bias")?);
        let epsilon = vec![float("epsilon", EPSILON as f32)];
        Ok(self.node("InstanceNormalization", name, &[x, &weight, &bias], epsilon))
    }

    /// The graph with what goes in and comes out, and what the model says about itself.
    pub fn finished(self, about: String, input: Vec<Value>, output: Value) -> io::Result<Model> {
        let entry =
            |(key, value): (&str, String)| Entry { key: Some(key.to_owned()), value: Some(value) };
        Ok(Model {
            ir_version: Some(FORMAT),
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            doc_string: Some(about),
            graph: Some(Graph {
                node: self.nodes,
                name: Some(self.model.description.name.clone()),
                initializer: self.tensors,
                input,
                output: vec![output],
            }),
            opset_import: vec![OperatorSet { domain: None, version: Some(OPERATORS) }],
            metadata_props: metadata(self.model)?.into_iter().map(entry).collect(),
        })
    }

    /// A tensor of the model, under its own name.
    pub fn weight(&mut self, name: &str) -> io::Result<String> {
        let RawTensor { shape, data, .. } = single(tensor(self.model, name)?);
        self.constant(name, Tensor::FLOAT, data, &shape);
        Ok(name.to_owned())
    }

    pub fn floats(&mut self, name: &str, values: &[f32], shape: &[i64]) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, Tensor::FLOAT, data, shape);
    }

    pub fn integers(&mut self, name: &str, values: &[i64], shape: &[i64]) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, Tensor::INT64, data, shape);
    }

    /// Adds a constant; one of the name that is there already is the same.
    pub fn constant(&mut self, name: &str, kind: i32, data: Vec<u8>, shape: &[i64]) {
        if self.tensors.iter().any(|tensor| tensor.name.as_deref() == Some(name)) {
            return;
        }
        self.tensors.push(Tensor {
            dims: shape.to_vec(),
            data_type: Some(kind),
            name: Some(name.to_owned()),
            raw_data: Some(data),
        });
    }

    /// Adds an operation; its name is that of its result.
    pub fn node(
        &mut self,
        operator: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> String {
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: Some(name.to_owned()),
            op_type: Some(operator.to_owned()),
            attribute,
        });
        name.to_owned()
    }
}

fn attribute(name: &str, kind: i32) -> Attribute {
    Attribute { name: Some(name.to_owned()), kind: Some(kind), ..Attribute::default() }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    Attribute { i: Some(value), ..attribute(name, 2) }
}

fn float(name: &str, value: f32) -> Attribute {
    Attribute { f: Some(value), ..attribute(name, 1) }
}

pub(super) fn text(name: &str, value: &str) -> Attribute {
    Attribute { s: Some(value.as_bytes().to_vec()), ..attribute(name, 3) }
}

pub(super) fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { ints: values.to_vec(), ..attribute(name, 7) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::architecture::Architecture;
    use crate::engine::shipped;

    fn decoded(model: &ModelFile) -> Model {
        Model::decode(to_bytes(model).unwrap().as_slice()).unwrap()
    }

    #[test]
    fn every_value_is_made_once_and_before_it_is_read() {
        let graph = decoded(&shipped::open("mosaic").unwrap()).graph.unwrap();
        let mut known = BTreeSet::from([String::new()]);
        let constants = graph.initializer.iter().filter_map(|t| t.name.clone());
        for name in graph.input.iter().filter_map(|v| v.name.clone()).chain(constants) {
            assert!(known.insert(name.clone()), "{name} is there twice");
        }
        for node in graph.node {
            let missing = node.input.iter().find(|input| !known.contains(*input));
            assert_eq!(missing, None, "{node:?}");
            assert!(node.output.into_iter().all(|output| known.insert(output)));
        }
        assert!(known.contains("output"));
    }

    #[test]
    fn batch_and_size_are_free_and_the_file_says_what_it_is() {
        let model = shipped::open("mosaic").unwrap();
        let message = decoded(&model);
        assert_eq!(message.opset_import, [OperatorSet { domain: None, version: Some(17) }]);
        let said = |key: &str| {
            let mut entries = message.metadata_props.iter();
            let entry = entries.find(|entry| entry.key.as_deref() == Some(key));
            entry.and_then(|entry| entry.value.clone()).unwrap()
        };
        assert_eq!([said("name"), said("licence")], ["mosaic", "MIT"]);
        assert_eq!(said("nst-stream.json"), serde_json::to_string(&model.description).unwrap());
        let graph = message.graph.unwrap();
        for value in [&graph.input[0], &graph.output[0]] {
            let shape = value.kind.clone().and_then(|kind| kind.tensor?.shape).unwrap();
            let names: Vec<_> = shape.dim.iter().map(|d| d.dim_param.clone()).collect();
            let free = |name: &str| Some(name.to_owned());
            assert_eq!(names, [free("batch"), None, free("height"), free("width")]);
            assert_eq!(shape.dim[1].dim_value, Some(3));
        }
        // Every weight in single precision, under its own name.
        for (name, shape) in Architecture::default().parameters() {
            let tensor = graph.initializer.iter().find(|t| t.name.as_deref() == Some(&name));
            let tensor = tensor.unwrap();
            assert_eq!((tensor.data_type, &tensor.dims), (Some(Tensor::FLOAT), &shape));
            let values = shape.iter().product::<i64>() as usize;
            assert_eq!(tensor.raw_data.as_ref().map(Vec::len), Some(4 * values));
        }
    }
}
