//! Losses and gradients equal those of PyTorch: scripts/train_reference.py wrote the numbers.

use nst_stream::train::loss::{LossTerms, Losses};
use nst_stream::train::recipe::{LayerWeight, StyleForm, TvForm};
use nst_stream::train::vgg::{Layer, Vgg};
use safetensors::SafeTensors;
use tch::{Device, Kind, Tensor};

const REFERENCE: &[u8] = include_bytes!("../data/train-reference.safetensors");

fn stored(name: &str) -> Tensor {
    let tensors = SafeTensors::deserialize(REFERENCE).unwrap();
    let view = tensors.tensor(name).unwrap();
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Tensor::from_data_size(view.data(), &shape, Kind::Float)
}

fn layers(layers: &[(Layer, f64)]) -> Vec<LayerWeight> {
    layers.iter().map(|&(layer, weight)| LayerWeight { layer, weight }).collect()
}

/// The largest difference, over the largest value.
fn relative(ours: &Tensor, theirs: &Tensor) -> f64 {
    let most = |t: &Tensor| t.abs().max().double_value(&[]);
    most(&(ours - theirs)) / most(theirs)
}

fn compare(name: &str, losses: &Losses) {
    let style = losses.style_target(&[(stored("style"), 1.0)]).unwrap();
    let content = losses.content_target(&stored("photo")).unwrap();
    let y = stored("painted").set_requires_grad(true);
    let terms = losses.terms(&y, &content, &style).unwrap();
    (&terms[0] + &terms[1] + &terms[2]).backward();
    let expected = Vec::<f32>::try_from(stored(&format!("{name}.terms"))).unwrap();
    for (term, expected) in terms.iter().zip(expected) {
        let ours = term.double_value(&[]);
        let error = (ours / f64::from(expected) - 1.0).abs();
        assert!(error < 1e-4, "{name}: {ours}, expected {expected}");
    }
    let error = relative(&y.grad(), &stored(&format!("{name}.gradient")));
    assert!(error < 1e-4, "{name}: gradient differs by {error}");
}

const STYLE: [Layer; 4] = [Layer::Relu1_2, Layer::Relu2_2, Layer::Relu3_3, Layer::Relu4_3];

#[test]
fn losses_and_gradients_are_those_of_pytorch_for_a_batch_that_is_not_square() {
    let vgg = Vgg::shipped(Device::Cpu, Kind::Float).unwrap();
    let style = layers(&STYLE.map(|layer| (layer, 1.0)));
    let content = layers(&[(Layer::Relu2_2, 1.0)]);
    let weights = LossTerms { content: 5.0, style: 10.0, tv: 10.0 };
    let losses = Losses::new(vgg, content, style, weights, StyleForm::Mean, TvForm::Absolute);
    compare("mean", &losses);
}

#[test]
fn the_papers_own_formula_is_that_of_pytorch_too() {
    let vgg = Vgg::shipped(Device::Cpu, Kind::Float).unwrap();
    let style = layers(&[
        (Layer::Relu1_2, 0.25),
        (Layer::Relu2_2, 1.0),
        (Layer::Relu3_3, 2.0),
        (Layer::Relu4_3, 0.5),
    ]);
    let content = layers(&[(Layer::Relu3_3, 1.0)]);
    let weights = LossTerms { content: 2.0, style: 1e-3, tv: 0.5 };
    let losses = Losses::new(vgg, content, style, weights, StyleForm::Paper, TvForm::Squared);
    compare("paper", &losses);
}
