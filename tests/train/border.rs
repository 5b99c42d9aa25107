//! The border figure tells networks with a border fault from those without.

use nst_stream::engine::architecture::{Architecture, Padding, Upsampling};
use nst_stream::engine::device::Device;
use nst_stream::engine::model::Model;
use nst_stream::engine::model_file::Description;
use nst_stream::engine::precision::Precision;
use nst_stream::train::evaluate::{BorderFigures, evaluate};
use nst_stream::train::network::TrainNetwork;
use tch::Kind;

use crate::{cat, style};

/// Figures of an untrained network: what its layers do to borders, without any style.
fn border(padding: Padding, upsample: Upsampling) -> BorderFigures {
    let architecture = Architecture {
        widths: vec![8, 16, 32],
        residual_blocks: 2,
        padding,
        upsample,
        ..Architecture::default()
    };
    let network = TrainNetwork::random(architecture, 4, tch::Device::Cpu, Kind::Float).unwrap();
    let file = network.to_model(Description::new("test", Architecture::default())).unwrap();
    let model = Model::from_file(&file, Device::CPU, Precision::Fp32).unwrap();
    let folder = tempfile::tempdir().unwrap();
    cat().save(folder.path().join("cat.png")).unwrap();
    evaluate(&model, &style(), folder.path(), None, |_, _| ()).unwrap().border
}

#[test]
fn zero_padding_and_transposed_convolutions_fail_the_border_figure_and_ours_pass() {
    let ours = border(Padding::Reflect, Upsampling::Nearest);
    let theirs = border(Padding::Zero, Upsampling::Transposed);
    println!("{ours:?} {theirs:?}");
    let passes = |b: &BorderFigures| b.mean.abs() <= 2.0 && b.contrast.abs() <= 0.05;
    assert!(ours.crops >= 200 && passes(&ours), "{ours:?}");
    assert!(!passes(&theirs), "{theirs:?}");
}
