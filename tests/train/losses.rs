//! Losses and gradients equal those of PyTorch: scripts/train_reference.py wrote the numbers.

use nst_stream::engine::model_file::Padding;
use nst_stream::train::loss::Losses;
use nst_stream::train::recipe::{LayerWeight, Preset, Recipe, StyleForm, TvForm};
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
    let terms = losses.terms(&y, &content, None, &style).unwrap();
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

fn losses(
    content: &[(Layer, f64)],
    style: &[(Layer, f64)],
    weights: [f64; 3],
    (style_form, tv_form): (StyleForm, TvForm),
) -> Losses {
    let [content_weight, style_weight, tv_weight] = weights;
    let recipe = Recipe {
        tile_share: 0.0,
        content_layers: layers(content),
        style_layers: layers(style),
        content_weight,
        style_weight,
        tv_weight,
        style_form,
        tv_form,
        loss_padding: Padding::Zero,
        ..Recipe::preset(Preset::Default, Vec::new())
    };
    Losses::new(Vgg::shipped(Device::Cpu, Kind::Float).unwrap(), &recipe)
}

#[test]
fn losses_and_gradients_are_those_of_pytorch_for_a_batch_that_is_not_square() {
    let forms = (StyleForm::Mean, TvForm::Absolute);
    let style = STYLE.map(|layer| (layer, 1.0));
    compare("mean", &losses(&[(Layer::Relu2_2, 1.0)], &style, [5.0, 10.0, 10.0], forms));
}

#[test]
fn the_papers_own_formula_is_that_of_pytorch_too() {
    let style = [
        (Layer::Relu1_2, 0.25),
        (Layer::Relu2_2, 1.0),
        (Layer::Relu3_3, 2.0),
        (Layer::Relu4_3, 0.5),
    ];
    let forms = (StyleForm::Paper, TvForm::Squared);
    compare("paper", &losses(&[(Layer::Relu3_3, 1.0)], &style, [2.0, 1e-3, 0.5], forms));
}
