//! Texture networks: sizes, noise, and textures that can be laid side by side.

use std::collections::BTreeMap;

use nst_stream::engine::architecture::{Architecture, NetworkKind, Normalization, Padding};
use nst_stream::engine::device::Device;
use nst_stream::engine::model_file::{DType, Description, ModelFile, RawTensor};
use nst_stream::engine::network::Network;
use nst_stream::engine::precision::Precision;
use tch::{Kind, Tensor};

fn architecture(photo: bool) -> Architecture {
    Architecture {
        kind: NetworkKind::Texture,
        widths: vec![4, 6, 5],
        residual_blocks: 0,
        padding: if photo { Padding::Reflect } else { Padding::Circular },
        photo,
        ..Architecture::default()
    }
}

/// Random weights, so that colours are neither flat nor far out of range.
fn model(architecture: Architecture) -> ModelFile {
    let mut random = fastrand::Rng::with_seed(5);
    let mut tensors = BTreeMap::new();
    for (name, shape) in architecture.parameters() {
        let inputs = shape[1..].iter().product::<i64>().max(1) as f32;
        let (middle, scale) = match name.as_str() {
            "out.conv2d.bias" => (127.0, 20.0),
            "out.conv2d.weight" => (0.0, 60.0 / inputs.sqrt()),
            conv if conv.contains("conv2d") => (0.0, 1.7 / inputs.sqrt()),
            weight if weight.ends_with("weight") => (1.0, 0.5),
            _ => (0.0, 0.5),
        };
        let values = shape.iter().product::<i64>();
        let values: Vec<f32> =
            (0..values).map(|_| middle + scale * (2.0 * random.f32() - 1.0)).collect();
        tensors.insert(name, RawTensor::from_f32(shape, &values, DType::F16));
    }
    ModelFile { description: Description::new("texture", architecture), tensors }
}

fn network(architecture: Architecture) -> Network {
    let model = model(architecture);
    model.check("texture").unwrap();
    // As it is saved and read again.
    let bytes = model.to_bytes("texture").unwrap();
    let read = ModelFile::from_bytes("texture.pt", &bytes).unwrap();
    assert_eq!(read, model);
    Network::new(&read, Device::CPU, Precision::Fp32).unwrap()
}

fn number(t: Tensor) -> f64 {
    t.double_value(&[])
}

#[test]
fn pictures_of_any_size_come_out_at_their_size() {
    let network = network(architecture(true));
    for (batch, height, width) in [(1, 1, 1), (2, 5, 3), (1, 16, 33), (1, 61, 47)] {
        let x = Tensor::rand([batch, 3, height, width], (Kind::Float, tch::Device::Cpu)) * 255;
        let y = network.forward(&x).unwrap();
        assert_eq!(y.size(), x.size());
        assert!(number(y.isfinite().all().to_kind(Kind::Float)) > 0.0, "{height} × {width}");
        // The noise belongs to places, not to passes: nothing flickers.
        assert_eq!(network.forward(&x).unwrap(), y);
        let each = (0..batch).map(|n| network.forward(&x.narrow(0, n, 1)).unwrap());
        let each = Tensor::cat(&each.collect::<Vec<_>>(), 0);
        assert!(each.allclose(&y, 1e-4, 1e-2, false), "{height} × {width}");
    }
}

#[test]
fn a_seed_makes_a_texture_of_its_own_and_always_the_same() {
    let network = network(architecture(false));
    let first = network.texture((50, 35), 1).unwrap();
    assert_eq!(first.size(), [1, 3, 35, 50]);
    assert_eq!(network.texture((50, 35), 1).unwrap(), first);
    let apart = |other: Tensor| number((&first - other).abs().mean(Kind::Double));
    assert!(apart(network.texture((50, 35), 2).unwrap()) > 5.0);
    assert!(number(first.std(true)) > 10.0, "a flat texture");
}

#[test]
fn a_larger_texture_begins_as_a_smaller_one() {
    // Norms are of the whole texture: without them a place depends only on those around it.
    let without = Architecture { norm: Normalization::None, ..architecture(false) };
    let network = network(without);
    let large = network.texture((128, 96), 3).unwrap();
    let small = network.texture((96, 64), 3).unwrap();
    let inner = |t: &Tensor| t.narrow(2, 24, 16).narrow(3, 24, 48);
    let apart = (inner(&large) - inner(&small)).abs().max();
    assert!(number(apart) < 1e-2);
}

#[test]
fn a_texture_continues_at_its_opposite_sides() {
    // What is moved by whole steps of the coarsest scale, and comes in again at the other side, is painted so: no
    // border can be told. A photo is moved in place of the noise, which here has no weight.
    let apart = |padding: Padding| {
        let mut model = model(Architecture { padding, ..architecture(true) });
        for (name, tensor) in &mut model.tensors {
            if name.starts_with("scale") && name.ends_with("_conv1.conv2d.weight") {
                let mut values = tensor.to_f32();
                for inputs in values.chunks_exact_mut(6 * 9) {
                    inputs[3 * 9..].fill(0.0);
                }
                *tensor = RawTensor::from_f32(tensor.shape.clone(), &values, DType::F16);
            }
        }
        let network = Network::new(&model, Device::CPU, Precision::Fp32).unwrap();
        let x = Tensor::rand([1, 3, 40, 56], (Kind::Float, tch::Device::Cpu)) * 255;
        let moved = network.forward(&x.roll([12, 28], [2, 3])).unwrap();
        number((network.forward(&x).unwrap().roll([12, 28], [2, 3]) - moved).abs().max())
    };
    let (circular, mirrored) = (apart(Padding::Circular), apart(Padding::Reflect));
    assert!(circular < 0.05 && mirrored > 5.0, "{circular} {mirrored}");
}

#[test]
fn what_a_texture_network_cannot_have_is_refused_by_the_reader() {
    let refused = |architecture: Architecture, says: &str| {
        let error = model(architecture).check("a.pt").unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("'a.pt'"), "{error}");
    };
    let texture = || architecture(true);
    refused(Architecture { padding: Padding::Zero, ..texture() }, "zeros beyond the border");
    refused(Architecture { residual_blocks: 1, ..texture() }, "with residual blocks");
    refused(
        Architecture { widths: vec![4; 9], ..texture() },
        "9 widths of layers, expected 1 to 8",
    );
    refused(Architecture { luminance: true, ..architecture(false) }, "of brightness alone");
    let johnson = Architecture::default();
    refused(Architecture { photo: false, ..johnson.clone() }, "no photo as input");
    refused(Architecture { padding: Padding::Circular, ..johnson }, "circular padding");
    // A file that claims other widths than its tensors have.
    let mut wider = model(texture());
    wider.description.architecture.widths = vec![4, 6, 4000];
    let error = wider.check("a.pt").unwrap_err().to_string();
    assert!(error.contains("has the shape"), "{error}");
}
