//! Relative losses: every layer counts by its weight, whatever the scale of the loss network's features.

use std::path::Path;

use nst_stream::train::loss::Losses;
use nst_stream::train::recipe::{Recipe, RecipePreset};
use nst_stream::train::vgg::Vgg;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

/// The shipped loss network with features of 1/255 of the scale: ReLU and pooling keep a factor, so
/// the first weights and all biases are divided.
fn small_features(folder: &Path) -> Vgg {
    let bytes =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/vgg16.safetensors"))
            .unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut stored = Vec::new();
    for (name, view) in tensors.tensors() {
        let values: Vec<f32> = match view.dtype() {
            Dtype::F16 => view
                .data()
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            _ => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        };
        let factor =
            if name.ends_with("bias") || name == "conv1_1.weight" { 1.0 / 255.0 } else { 1.0 };
        let bytes: Vec<u8> = values.iter().flat_map(|v| (v * factor).to_le_bytes()).collect();
        stored.push((name, view.shape().to_vec(), bytes));
    }
    let views = stored.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let path = folder.join("small.safetensors");
    std::fs::write(&path, safetensors::serialize(views, &None).unwrap()).unwrap();
    Vgg::open(&path, Device::Cpu, Kind::Float).unwrap()
}

/// Waves with colours, 1 × 3 × height × width, RGB 0–255.
fn picture(step: f64, height: i64, width: i64) -> Tensor {
    let values = Tensor::arange(3 * height * width, (Kind::Float, Device::Cpu));
    (((values * step).sin() + 1.0) * 127.5).reshape([1, 3, height, width])
}

/// Content and style terms of a picture, and the gradient of their sum.
fn terms(vgg: Vgg, recipe: &Recipe) -> ([f64; 2], Tensor) {
    let losses = Losses::new(vgg, recipe);
    let style = losses.style_target(&[(picture(0.37, 48, 64), 1.0)]).unwrap();
    let content = losses.content_target(&picture(0.11, 64, 48)).unwrap();
    let y = picture(0.23, 64, 48).set_requires_grad(true);
    let [content, style, _] = losses.terms(&y, &content, None, &style).unwrap();
    (&content + &style).backward();
    ([content.double_value(&[]), style.double_value(&[])], y.grad())
}

#[test]
fn one_set_of_weights_serves_loss_networks_of_any_scale() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = || Vgg::shipped(Device::Cpu, Kind::Float).unwrap();
    let recipe = Recipe::preset(RecipePreset::Default, Vec::new());
    let (ours, gradient) = terms(shipped(), &recipe);
    let (theirs, other) = terms(small_features(folder.path()), &recipe);
    for (a, b) in ours.into_iter().zip(theirs) {
        assert!(a > 1e-3 && (a / b - 1.0).abs() < 1e-3, "{a} {b}");
    }
    let most = |t: &Tensor| t.abs().max().double_value(&[]);
    assert!(most(&(&gradient - &other)) < 1e-2 * most(&gradient));
    // The published form differs by the second and fourth power of 255.
    let classic = Recipe { tv_weight: 0.0, ..Recipe::preset(RecipePreset::Classic, Vec::new()) };
    let ([content, style], _) = terms(shipped(), &classic);
    let ([small_content, small_style], _) = terms(small_features(folder.path()), &classic);
    assert!(content / small_content > 6e4 && style / small_style > 4e9);
}

#[test]
fn every_layer_counts_by_its_weight_and_the_sum_of_weights_makes_no_difference() {
    let layers = |text: &str| text.split(',').map(|l| l.parse().unwrap()).collect::<Vec<_>>();
    let style = |text: &str| {
        let recipe = Recipe {
            style_layers: layers(text),
            style_weight: 1.0,
            ..Recipe::preset(RecipePreset::Default, Vec::new())
        };
        terms(Vgg::shipped(Device::Cpu, Kind::Float).unwrap(), &recipe).0[1]
    };
    let (first, fourth) = (style("relu1_1"), style("relu4_1"));
    // Of one order, so that neither drowns the other.
    assert!(first / fourth < 30.0 && fourth / first < 30.0, "{first} {fourth}");
    let mean = (first + fourth) / 2.0;
    for weights in ["relu1_1,relu4_1", "relu1_1:7,relu4_1:7"] {
        assert!((style(weights) / mean - 1.0).abs() < 1e-4, "{weights}");
    }
    let more = style("relu1_1:1,relu4_1:3");
    assert!((more / (0.25 * first + 0.75 * fourth) - 1.0).abs() < 1e-4, "{more}");
}

#[test]
fn a_content_loss_does_not_depend_on_how_strong_the_photos_features_are() {
    // Half the contrast of photo and painted picture: half of every difference.
    let recipe = Recipe::preset(RecipePreset::Default, Vec::new());
    let losses = Losses::new(Vgg::shipped(Device::Cpu, Kind::Float).unwrap(), &recipe);
    let style = losses.style_target(&[(picture(0.37, 48, 64), 1.0)]).unwrap();
    let content = |contrast: f64| {
        let seen = |step| (picture(step, 64, 48) - 127.5) * contrast + 127.5;
        let target = losses.content_target(&seen(0.11)).unwrap();
        let [content, _, _] = losses.terms(&seen(0.12), &target, None, &style).unwrap();
        content.double_value(&[])
    };
    let (full, half) = (content(1.0), content(0.5));
    assert!(full / half < 2.5 && half / full < 2.5, "{full} {half}");
}
