//! Exported models against the engine: TorchScript through libtorch, ONNX through a runtime that is
//! not ours, at sizes that no file was made for. `scripts/check_exports.py` does the same with
//! PyTorch, ONNX Runtime and OpenVINO.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "export/variants.rs"]
mod variants;

use std::collections::BTreeMap;

use nst_stream::engine::blend::Blend;
use nst_stream::engine::device::{self, Device, DeviceChoice};
use nst_stream::engine::export::{Format, blended, predictor as export_predictor, to_bytes};
use nst_stream::engine::model::Model;
use nst_stream::engine::model_file::{DType, ModelFile};
use nst_stream::engine::network::Network;
use nst_stream::engine::precision::Precision;
use nst_stream::engine::shipped;
use rten::{NodeId, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use tch::{CModule, Kind, Tensor};

/// Batch, height, width: multiples of 4 and others, both sides alike and not.
const SIZES: [(i64, i64, i64); 4] = [(1, 64, 48), (2, 45, 61), (3, 37, 18), (1, 5, 6)];
/// What ONNX cannot take and the engine can.
const TINY: [(i64, i64, i64); 4] = [(1, 4, 4), (2, 3, 9), (1, 30, 1), (1, 1, 1)];

fn cpu() -> Device {
    device::resolve(DeviceChoice::Cpu).unwrap().0
}

fn picture_of((n, height, width): (i64, i64, i64)) -> Tensor {
    let float = (Kind::Float, cpu().torch());
    // Nowhere flat: norms would multiply what rounding leaves of a variance of 0.
    let line = |length: i64, f: f64| (Tensor::arange(length, float) * f + 0.7).sin();
    let rows = line(height, 0.31).view([1, 1, height, 1]);
    let columns = line(width, 0.23).view([1, 1, 1, width]);
    let shift = Tensor::arange(3 * n, float).view([n, 3, 1, 1]) * 9.0;
    (rows * columns * 110.0 + 120.0 + shift).clamp(0.0, 255.0).round()
}

/// What the engine makes of it, clamped, in a mixture of styles where there are several.
fn engine(model: &ModelFile, x: &Tensor, shares: Option<&[f32]>) -> Tensor {
    let mut network = Network::new(model, cpu(), Precision::Fp32).unwrap();
    if let Some(shares) = shares {
        network.blend(shares).unwrap();
    }
    network.forward(x).unwrap().clamp(0.0, 255.0)
}

/// Fails unless both pictures are the same but for rounding: the bounds of tests/network.rs, but
/// for the mean of very small ones.
fn agree(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let difference = (found - expected).abs();
    let value = |t: Tensor| t.double_value(&[]);
    let (mean, max) = (value(difference.mean(Kind::Double)), value(difference.max()));
    let equal =
        value(found.round().eq_tensor(&expected.round()).to_kind(Kind::Double).mean(Kind::Double));
    println!("{what}: mean {mean:.1e}, max {max:.1e}, equal bytes {equal:.5}");
    // Norms over a few pixels amplify what the two round differently.
    let (_, _, height, width) = found.size4().unwrap();
    let bound = if height * width > 100 { 1e-3 } else { 1e-2 };
    assert!(mean <= bound && max <= 0.1, "{what}: mean {mean}, max {max}");
    // A value just between two bytes may fall to either side.
    assert!(equal >= 0.999 || difference.numel() < 10_000 && equal > 0.995, "{what}: {equal}");
}

fn script(model: &ModelFile) -> CModule {
    let bytes = to_bytes(model, Format::TorchScript).unwrap();
    CModule::load_data(&mut bytes.as_slice()).unwrap()
}

/// Runs an ONNX file.
fn onnx(bytes: &[u8], x: &Tensor, shares: Option<&[f32]>) -> Tensor {
    let model = rten::Model::load(bytes.to_vec()).unwrap();
    let id = |name: &str| model.node_id(name).unwrap();
    let (n, channels, height, width) = x.size4().unwrap();
    let shape = [n, channels, height, width].map(|length| length as usize);
    let values = Vec::<f32>::try_from(x.contiguous().flatten(0, -1)).unwrap();
    let picture = NdTensor::from_data(shape, values);
    let shares = shares.map(|shares| NdTensor::from_data([shares.len()], shares.to_vec()));
    let mut inputs: Vec<(NodeId, ValueOrView)> = vec![(id("input"), picture.view().into())];
    inputs.extend(shares.iter().map(|shares| (id("style"), shares.view().into())));
    let result = model.run(inputs, &[id("output")], None).unwrap().remove(0);
    let result: NdTensor<f32, 4> = result.try_into().unwrap();
    let shape = result.shape().map(|length| length as i64);
    Tensor::from_slice(&result.to_vec()).reshape(shape)
}

#[test]
fn torchscript_is_the_engines_network_at_any_size() {
    for model in variants::all() {
        let script = script(&model);
        for size in SIZES.into_iter().chain(TINY) {
            let x = picture_of(size);
            let found = script.forward_ts(&[&x]).unwrap();
            // A single value a channel is left where the norms are: its variance is 0, and they
            // multiply what rounding leaves of it by 316, layer after layer.
            if size.1.max(size.2) <= 4 {
                assert_eq!(found.size(), x.size());
                let (least, most) = (found.min().double_value(&[]), found.max().double_value(&[]));
                assert!(least >= 0.0 && most <= 255.0, "{size:?}: {least} to {most}");
                continue;
            }
            agree(
                &format!("{} {size:?}", model.description.name),
                &found,
                &engine(&model, &x, None),
            );
        }
    }
}

#[test]
fn onnx_is_the_engines_network_at_any_size_from_5_by_5() {
    for model in variants::all() {
        let bytes = to_bytes(&model, Format::Onnx).unwrap();
        let styles = model.description.architecture.styles;
        // A share for each: the first alone.
        let first: Vec<f32> = (0..styles).map(|n| f32::from(u8::from(n == 0))).collect();
        let shares = (styles > 1).then_some(first.as_slice());
        for size in SIZES {
            let x = picture_of(size);
            let found = onnx(&bytes, &x, shares);
            agree(
                &format!("{} {size:?}", model.description.name),
                &found,
                &engine(&model, &x, None),
            );
        }
    }
}

#[test]
fn the_shipped_model_is_exported_whole() {
    let model = shipped::open("mosaic").unwrap();
    let x = picture_of((1, 50, 70));
    let expected = engine(&model, &x, None);
    agree("TorchScript", &script(&model).forward_ts(&[&x]).unwrap(), &expected);
    agree("ONNX", &onnx(&to_bytes(&model, Format::Onnx).unwrap(), &x, None), &expected);
}

#[test]
fn styles_are_mixed_when_it_runs_or_for_good() {
    let model = variants::several_styles();
    let x = picture_of((2, 21, 34));
    let blend: Blend = "b:3,c:1".parse().unwrap();
    let shares = blend.shares(&model.description.styles).unwrap();
    let expected = engine(&model, &x, Some(&shares));
    let first = engine(&model, &x, None);
    let apart = (&expected - first).abs().mean(Kind::Double).double_value(&[]);
    assert!(apart > 5.0, "the styles are too much alike for a test: {apart}");

    let found = script(&model).forward_ts(&[&x, &Tensor::from_slice(&shares)]).unwrap();
    agree("TorchScript, when it runs", &found, &expected);
    let found = onnx(&to_bytes(&model, Format::Onnx).unwrap(), &x, Some(&shares));
    agree("ONNX, when it runs", &found, &expected);

    let mixed = blended(&model, &blend).unwrap();
    agree("TorchScript, for good", &script(&mixed).forward_ts(&[&x]).unwrap(), &expected);
    agree("ONNX, for good", &onnx(&to_bytes(&mixed, Format::Onnx).unwrap(), &x, None), &expected);
}

/// The values of all norms of a model, in the order of its layers.
fn norms(model: &ModelFile) -> Vec<f32> {
    let layers = nst_stream::engine::architecture::layers(&model.description.architecture);
    let names = layers.into_iter().filter_map(|layer| layer.norm);
    names
        .flat_map(|norm| ["weight", "bias"].map(|part| format!("{norm}.{part}")))
        .flat_map(|name| model.tensors[&name].to_f32())
        .collect()
}

#[test]
fn a_network_gets_the_style_of_a_picture_from_its_predictor() {
    let any = shipped::open("any-lite").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("style.png");
    // Of the size at which pictures are measured, so that nothing is scaled.
    image::RgbImage::from_fn(480, 520, |x, y| {
        let spot = ((x as f32 * 0.09).sin() * (y as f32 * 0.07).cos() * 100.0) as i32;
        image::Rgb([120 + spot, 100 - spot / 2, (x / 3) as i32].map(|v| v.clamp(0, 255) as u8))
    })
    .save(&path)
    .unwrap();
    let source = path.display().to_string().parse().unwrap();
    let reader = nst_stream::train::statistics::StyleReader::new().unwrap();
    let predicted = reader.model(&any, &[source]).unwrap();

    let model = rten::Model::load(export_predictor(&any).unwrap()).unwrap();
    let id = |name: &str| model.node_id(name).unwrap();
    let pixels = image::open(&path).unwrap().into_rgb8();
    let value = |[_, c, y, x]: [usize; 4]| f32::from(pixels[(x as u32, y as u32)][c]);
    let picture = NdTensor::from_fn([1, 3, 520, 480], value);
    let inputs: Vec<(NodeId, ValueOrView)> = vec![(id("input"), picture.view().into())];
    let result = model.run(inputs, &[id("style")], None).unwrap().remove(0);
    let style: NdTensor<f32, 1> = result.try_into().unwrap();
    let (found, expected) = (style.to_vec(), norms(&predicted));
    assert_eq!(found.len(), expected.len());
    let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let most = expected.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    assert!(apart < 0.01 * most, "{apart} of {most}");

    let bytes = to_bytes(&any, Format::Onnx).unwrap();
    for size in [(1, 64, 48), (2, 45, 61)] {
        let x = picture_of(size);
        agree("any-lite", &onnx(&bytes, &x, Some(&expected)), &engine(&predicted, &x, None));
    }
    let mosaic = shipped::open("mosaic-lite").unwrap();
    let refused = export_predictor(&mosaic).unwrap_err().to_string();
    assert_eq!(refused, "'mosaic-lite' has no style predictor; any-lite has one");
}

#[test]
fn the_program_itself_runs_what_it_exported_when_it_is_trusted() {
    let model = &variants::all()[0];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.ts");
    std::fs::write(&path, to_bytes(model, Format::TorchScript).unwrap()).unwrap();
    let path = path.to_str().unwrap();
    let refused = Model::open(path, false, cpu(), Precision::Fp32).unwrap_err();
    assert!(refused.to_string().contains("TorchScript program"), "{refused}");
    let opened = Model::open(path, true, cpu(), Precision::Fp32).unwrap();
    let x = picture_of((2, 13, 22));
    agree("by the engine", &opened.forward(&x).unwrap(), &engine(model, &x, None));
}

#[test]
fn a_torchscript_module_has_the_published_names_and_the_weights() {
    let model = variants::several_styles();
    let module = script(&model);
    let found: BTreeMap<String, Tensor> = module.named_parameters().unwrap().into_iter().collect();
    assert_eq!(found.keys().collect::<Vec<_>>(), model.tensors.keys().collect::<Vec<_>>());
    for (name, raw) in &model.tensors {
        let expected = Tensor::from_slice(&raw.to_f32()).reshape(raw.shape.as_slice());
        assert_eq!(found[name], expected, "{name}");
        // Whoever runs it without `no_grad` pays nothing for gradients.
        assert!(!found[name].requires_grad(), "{name}");
    }
}

#[test]
fn safetensors_hold_the_state_dict_and_say_what_it_is() {
    let mut model = variants::several_styles();
    model.description.licence = Some("CC0-1.0".to_owned());
    model.description.credit = Some("Größe & \"Söhne\"".to_owned());
    let name = "conv1.conv2d.weight".to_owned();
    let single = variants::values(&model, &name);
    model.tensors.insert(
        name,
        nst_stream::engine::model_file::RawTensor::from_f32([8, 3, 9, 9], &single, DType::F32),
    );
    let bytes = to_bytes(&model, Format::Safetensors).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    assert_eq!(names, model.tensors.keys().collect::<Vec<_>>());
    for (name, raw) in &model.tensors {
        let view = file.tensor(name).unwrap();
        let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
        assert_eq!((shape, view.data()), (raw.shape.clone(), raw.data.as_slice()), "{name}");
    }
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let about = header.metadata().clone().unwrap();
    assert_eq!((about["format"].as_str(), about["styles"].as_str()), ("pt", "a, b, c"));
    assert_eq!(about["licence"], "CC0-1.0");
    assert_eq!(about["credit"], model.description.credit.clone().unwrap());
    let whole: serde_json::Value = serde_json::from_str(&about["nst-stream.json"]).unwrap();
    assert_eq!(whole, serde_json::to_value(&model.description).unwrap());
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = variants::several_styles();
    for format in [Format::Onnx, Format::TorchScript] {
        assert!(to_bytes(&model, format).unwrap() == to_bytes(&model, format).unwrap(), "{format}");
    }
}
