use super::*;

fn recipe(preset: RecipePreset) -> Recipe {
    Recipe::preset(preset, vec!["a.jpg".parse().unwrap()])
}

#[test]
fn a_recipe_survives_toml() {
    let all = [
        RecipePreset::Default,
        RecipePreset::Classic,
        RecipePreset::Paper,
        RecipePreset::Pytorch,
        RecipePreset::Johnson,
    ];
    for preset in all {
        let recipe = recipe(preset);
        recipe.check().unwrap();
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe, "{text}");
    }
}

#[test]
fn the_rate_falls_to_a_tenth_at_the_end() {
    let recipe = Recipe { steps: 100, ..recipe(RecipePreset::Default) };
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
    let (a, mut b) = (recipe(RecipePreset::Default), recipe(RecipePreset::Default));
    assert_eq!(a.difference(&b), None);
    b.style_weight = a.style_weight * 2.0;
    let (name, ours, theirs) = a.difference(&b).unwrap();
    assert_eq!((name.as_str(), ours.as_str(), theirs.as_str()), ("style-weight", "1.0", "2.0"));
}

#[test]
fn numbers_out_of_range_are_refused_by_their_option() {
    let bad = Recipe { batch: 0, ..recipe(RecipePreset::Default) };
    assert_eq!(bad.check().unwrap_err(), "--batch 0: expected 1 to 1024");
    let bad = Recipe { style_weight: f64::NAN, ..recipe(RecipePreset::Default) };
    assert!(bad.check().unwrap_err().starts_with("--style-weight NaN"));
    let bad = Recipe { width: -8, ..recipe(RecipePreset::Default) };
    assert!(bad.check().unwrap_err().starts_with("--width 0"));
    let bad = Recipe { decay: 2.0, ..recipe(RecipePreset::Default) };
    assert_eq!(bad.check().unwrap_err(), "--decay 2: expected 0 to 1");
}

#[test]
fn style_sizes_are_one_or_several_and_scaled() {
    let several = Recipe {
        style_size: "384,768".parse().unwrap(),
        style_scale: 1.5,
        ..recipe(RecipePreset::Default)
    };
    several.check().unwrap();
    assert_eq!(several.scaled_style_sizes(), [576, 1152]);
    let text = toml::to_string(&several).unwrap();
    assert!(
        text.contains("style_size = [384, 768]") && text.contains("style_scale = 1.5"),
        "{text}"
    );
    assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), several);
    // As recipes were written before there were several.
    let text = toml::to_string(&recipe(RecipePreset::Classic)).unwrap();
    assert!(text.contains("style_size = 384\n") && !text.contains("style_scale"), "{text}");
    let small = Recipe { style_scale: 0.01, ..recipe(RecipePreset::Default) };
    assert!(small.check().unwrap_err().starts_with("--style-scale 0.01: the style would be"));
    let large = Recipe { style_size: 9000.into(), ..recipe(RecipePreset::Default) };
    assert_eq!(large.check().unwrap_err(), "--style-size 9000: expected 32 to 8192");
    for bad in ["", "a", "0", "384,", "384,0"] {
        assert!(bad.parse::<StyleSizes>().is_err(), "{bad}");
    }
}

#[test]
fn recipes_from_before_relative_losses_mean_absolute_ones() {
    let text = toml::to_string(&recipe(RecipePreset::Classic)).unwrap();
    let before = text.replace("content_form = \"mean\"\n", "content_factor = 1.0\n");
    assert_ne!(before, text);
    assert_eq!(toml::from_str::<Recipe>(&before).unwrap(), recipe(RecipePreset::Classic));
}

#[test]
fn weights_of_absolute_forms_are_for_one_loss_network_alone() {
    for release in [Release::Caffe, Release::Torchvision] {
        recipe(RecipePreset::Default).check_release(release).unwrap();
    }
    recipe(RecipePreset::Johnson).check_release(Release::Caffe).unwrap();
    recipe(RecipePreset::Paper).check_release(Release::Torchvision).unwrap();
    let said = recipe(RecipePreset::Paper).check_release(Release::Caffe).unwrap_err();
    assert!(said.contains("--vgg") && said.contains("--content-weight"), "{said}");
}
