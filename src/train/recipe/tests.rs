use super::*;

fn recipe(preset: Preset) -> Recipe {
    Recipe::preset(preset, vec!["a.jpg".parse().unwrap()])
}

#[test]
fn a_recipe_survives_toml() {
    for preset in [Preset::Default, Preset::Paper, Preset::Pytorch, Preset::Johnson] {
        let recipe = recipe(preset);
        recipe.check().unwrap();
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe, "{text}");
    }
}

#[test]
fn the_rate_falls_to_a_tenth_at_the_end() {
    let recipe = Recipe { steps: 100, ..recipe(Preset::Default) };
    assert_eq!((recipe.rate(0), recipe.rate(70)), (1e-3, 1e-3));
    assert!((recipe.rate(85) - 5e-4).abs() < 1e-9);
    assert!((recipe.rate(99) - 1e-4).abs() < 1e-9);
}

#[test]
fn layers_and_styles_take_weights() {
    let layer: LayerWeight = "relu3_3:0.25".parse().unwrap();
    assert_eq!((layer.layer, layer.weight), (Layer::Relu3_3, 0.25));
    assert!("relu3_3:-1".parse::<LayerWeight>().is_err());
    let style: StyleSource = "a:b.jpg".parse().unwrap();
    assert_eq!((style.name().as_str(), style.weight), ("a:b", 1.0));
    let style: StyleSource = "dir/wave.jpg:0.7".parse().unwrap();
    assert_eq!((style.name().as_str(), style.weight), ("wave", 0.7));
    assert!("wave.jpg:0".parse::<StyleSource>().is_err());
}

#[test]
fn what_differs_is_named() {
    let (a, mut b) = (recipe(Preset::Default), recipe(Preset::Default));
    assert_eq!(a.difference(&b), None);
    b.style_weight = 5.0;
    let (name, ours, theirs) = a.difference(&b).unwrap();
    assert_eq!((name.as_str(), ours.as_str(), theirs.as_str()), ("style-weight", "10.0", "5.0"));
}

#[test]
fn numbers_out_of_range_are_refused_by_their_option() {
    let bad = Recipe { batch: 0, ..recipe(Preset::Default) };
    assert_eq!(bad.check().unwrap_err(), "--batch 0: expected 1 to 1024");
    let bad = Recipe { style_weight: f64::NAN, ..recipe(Preset::Default) };
    assert!(bad.check().unwrap_err().starts_with("--style-weight NaN"));
    let bad = Recipe { width: -8, ..recipe(Preset::Default) };
    assert!(bad.check().unwrap_err().starts_with("--width 0"));
    let bad = Recipe { decay: 2.0, ..recipe(Preset::Default) };
    assert_eq!(bad.check().unwrap_err(), "--decay 2: expected 0 to 1");
}
