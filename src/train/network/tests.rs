//! What is trained is what the engine paints.

use super::*;
use crate::engine::architecture::{NetworkKind, Padding, Upsampling};
use crate::engine::device::Device as EngineDevice;
use crate::engine::network::Network;
use crate::engine::precision::Precision;

fn lite() -> Architecture {
    let kind = NetworkKind::Lite;
    Architecture { kind, widths: vec![4, 12], residual_blocks: 2, ..Architecture::default() }
}

fn texture() -> Architecture {
    let kind = NetworkKind::Texture;
    let widths = vec![4, 5, 6];
    Architecture { kind, widths, residual_blocks: 0, ..Architecture::default() }
}

fn small() -> Architecture {
    Architecture { widths: vec![4, 8, 16], residual_blocks: 2, ..Architecture::default() }
}

/// What the model of a network paints, by the engine, and what the network itself does.
fn both(architecture: Architecture) -> (Tensor, Tensor) {
    let network = TrainNetwork::random(architecture, 3, Device::Cpu, Kind::Float).unwrap();
    let x = Tensor::rand([1, 3, 32, 48], (Kind::Float, Device::Cpu)) * 255;
    let y = tch::no_grad(|| network.forward(&x, 0).unwrap());
    let model = network.to_model(Description::new("test", small())).unwrap();
    model.check("test").unwrap();
    let engine = Network::new(&model, EngineDevice::CPU, Precision::Fp32).unwrap();
    (y, engine.forward(&x).unwrap())
}

#[test]
fn the_engine_paints_what_training_saw_but_for_the_rounding_of_weights() {
    let variants = [
        small(),
        Architecture { output: OutputLayer::Tanh, ..small() },
        Architecture { upsample: Upsampling::Transposed, ..small() },
        Architecture { padding: Padding::Zero, ..small() },
        Architecture { luminance: true, ..small() },
        Architecture { norm: Normalization::None, ..small() },
        lite(),
        Architecture { output: OutputLayer::Tanh, padding: Padding::Zero, ..lite() },
        texture(),
        Architecture { padding: Padding::Circular, photo: false, ..texture() },
        Architecture { output: OutputLayer::Tanh, luminance: true, ..texture() },
        Architecture { norm: Normalization::None, padding: Padding::Circular, ..texture() },
    ];
    for architecture in variants {
        let name = architecture.to_string();
        let (ours, engine) = both(architecture);
        let error = (ours - engine).abs().max().double_value(&[]);
        assert!(error < 1.0, "{name}: {error}");
    }
}

#[test]
fn an_untrained_network_is_about_the_middle_of_the_range() {
    let (y, _) = both(small());
    let (mean, deviation) = (y.mean(Kind::Float).double_value(&[]), y.std(true).double_value(&[]));
    assert!((mean - 127.5).abs() < 60.0 && deviation > 5.0, "{mean} {deviation}");
}

#[test]
fn a_batch_norm_is_folded_into_the_convolution_before_it() {
    let transposed = Architecture { upsample: Upsampling::Transposed, ..small() };
    let circular = Architecture { padding: Padding::Circular, ..texture() };
    for architecture in [small(), transposed, lite(), texture(), circular] {
        let name = architecture.to_string();
        let architecture = Architecture { norm: Normalization::Batch, ..architecture };
        let network = TrainNetwork::random(architecture, 3, Device::Cpu, Kind::Float).unwrap();
        let x = Tensor::rand([4, 3, 32, 32], (Kind::Float, Device::Cpu)) * 255;
        // Until the running statistics are those of this batch.
        let mut y = network.forward(&x, 0).unwrap();
        for _ in 0..150 {
            y = network.forward(&x, 0).unwrap().detach();
        }
        // A preview is what the model paints, and leaves the statistics as they are.
        let other = Tensor::zeros([4, 3, 32, 32], (Kind::Float, Device::Cpu));
        drop(tch::no_grad(|| network.forward(&other, 0).unwrap()));
        let shown = tch::no_grad(|| network.forward(&x, 0).unwrap());
        let off = (&y - &shown).abs().mean(Kind::Float).double_value(&[]);
        assert!(off < 1.0, "{name}: a preview is off by {off}");
        let model = network.to_model(Description::new("test", small())).unwrap();
        let engine = Network::new(&model, EngineDevice::CPU, Precision::Fp32).unwrap();
        let error = (y - engine.forward(&x).unwrap()).abs().mean(Kind::Float);
        let error = error.double_value(&[]);
        assert!(error < 1.0, "{name}: {error}");
    }
}

#[test]
fn fine_tuning_starts_from_what_a_model_paints() {
    for architecture in [small(), lite(), texture()] {
        let network = TrainNetwork::random(architecture, 3, Device::Cpu, Kind::Float).unwrap();
        let model = network.to_model(Description::new("test", small())).unwrap();
        let again = TrainNetwork::from_model(&model, Device::Cpu, Kind::Float).unwrap();
        assert_eq!(again.to_model(Description::new("test", small())).unwrap(), model);
    }
}
