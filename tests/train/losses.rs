//! Losses and gradients equal those of PyTorch: scripts/train_reference.py wrote the numbers.

use nst_stream::engine::architecture::Padding;
use nst_stream::train::loss::{Losses, StyleTarget};
use nst_stream::train::recipe::{
    ContentForm, LayerWeight, Recipe, RecipePreset, StyleForm, TvForm,
};
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
        content_form: ContentForm::Mean,
        style_form,
        tv_form,
        loss_padding: Padding::Zero,
        ..Recipe::preset(RecipePreset::Default, Vec::new())
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

/// Values from 0 to 250 without order, 1 × 3 × height × width.
fn pattern(step: i64, height: i64, width: i64) -> Tensor {
    let values = Tensor::arange(3 * height * width, (Kind::Float, Device::Cpu)) * step;
    values.remainder(251).reshape([1, 3, height, width])
}

/// The style term and its gradient.
fn style_term(losses: &Losses, y: &Tensor, style: &StyleTarget) -> (f64, Tensor) {
    let y = y.copy().set_requires_grad(true);
    let content = losses.content_target(&y.detach()).unwrap();
    let [_, term, _] = losses.terms(&y, &content, None, style).unwrap();
    term.backward();
    (term.double_value(&[]), y.grad())
}

fn guided() -> (Losses, [Tensor; 2]) {
    let forms = (StyleForm::Mean, TvForm::Absolute);
    let style = STYLE.map(|layer| (layer, 1.0));
    let losses = losses(&[(Layer::Relu2_2, 1.0)], &style, [5.0, 10.0, 1e-4], forms);
    (losses, [stored("style"), pattern(7, 64, 64)])
}

#[test]
fn a_mask_that_is_all_one_region_gives_the_plain_loss_of_its_style() {
    let (losses, [a, b]) = guided();
    let y = pattern(97, 72, 64);
    let all = Tensor::ones([1, 1, 72, 64], (Kind::Float, Device::Cpu));
    let regions = [(vec![(a.copy(), 1.0)], all.zeros_like()), (vec![(b.copy(), 1.0)], all)];
    let (plain, expected) = style_term(&losses, &y, &losses.style_target(&[(b, 1.0)]).unwrap());
    let (ours, gradient) = style_term(&losses, &y, &losses.guided_target(&regions).unwrap());
    assert!((ours / plain - 1.0).abs() < 1e-5, "{ours} {plain}");
    let error = relative(&gradient, &expected);
    assert!(error < 1e-4, "{error}");
    let (other, _) = style_term(&losses, &y, &losses.style_target(&[(a, 1.0)]).unwrap());
    assert!((ours / other - 1.0).abs() > 0.01, "{ours} {other}");
}

#[test]
fn a_region_without_a_style_gets_no_gradient_of_the_style_loss() {
    let (losses, [a, _]) = guided();
    let y = pattern(97, 48, 192);
    let left = Tensor::zeros([1, 1, 48, 192], (Kind::Float, Device::Cpu));
    let _ = left.narrow(3, 0, 96).fill_(1.0);
    let right = Tensor::ones_like(&left) - &left;
    let regions = [(vec![(a, 1.0)], left), (Vec::new(), right)];
    let (_, gradient) = style_term(&losses, &y, &losses.guided_target(&regions).unwrap());
    let most =
        |from: i64, to: i64| gradient.narrow(3, from, to - from).abs().max().double_value(&[]);
    // A place of relu4_3 sees 92 pixels: 46 and its own 8 beyond the edge at most.
    assert_eq!(most(96 + 54, 192), 0.0);
    assert!(most(0, 96) > 0.0 && most(96, 110) > 0.0);
}

#[test]
fn a_piece_without_a_styled_region_has_no_style_loss_and_a_sound_gradient() {
    let (losses, [a, _]) = guided();
    let y = pattern(97, 48, 48).set_requires_grad(true);
    let content = losses.content_target(&pattern(89, 48, 48)).unwrap();
    let none = Tensor::zeros([1, 1, 48, 48], (Kind::Float, Device::Cpu));
    let target = losses.guided_target(&[(vec![(a, 1.0)], none)]).unwrap();
    let [content, style, tv] = losses.terms(&y, &content, None, &target).unwrap();
    assert_eq!(style.double_value(&[]), 0.0);
    (content + style + tv).backward();
    let most = y.grad().abs().max().double_value(&[]);
    assert!(most > 0.0 && most.is_finite(), "{most}");
}
