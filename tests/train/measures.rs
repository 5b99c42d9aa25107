//! The measures equal those of scripts/measures_reference.py, which wrote the numbers with numpy.

use std::process::Command;

use nst_stream::train::measures::Measures;
use nst_stream::train::preview::to_tensor;
use tch::Tensor;

use crate::common;

fn stored() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(common::data("measures/reference.json")).unwrap())
        .unwrap()
}

fn picture(name: &str) -> Tensor {
    let path = common::data(&format!("measures/{name}"));
    to_tensor(&image::open(path).unwrap().into_rgb8()).unwrap()
}

#[test]
fn all_figures_are_those_of_the_reference_to_a_hundredth() {
    let measures = Measures::new(&picture("style.png")).unwrap();
    let reference = stored();
    for painted in ["painted.png", "noisy.png", "photo.png"] {
        let figures = measures.figures(&picture(painted), &picture("photo.png")).unwrap();
        let ours = serde_json::to_value(figures).unwrap();
        let theirs = &reference[painted];
        let near = |ours: &serde_json::Value, theirs: &serde_json::Value, name: &str| {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            assert!((ours / theirs - 1.0).abs() < 0.01, "{painted} {name}: {ours}, {theirs}");
        };
        for name in ["style_distance", "style_distance_relative", "patch_distance", "readability"] {
            near(&ours[name], &theirs[name], name);
        }
        for name in ["relu1_1", "relu2_1", "relu3_1", "relu4_1"] {
            near(&ours["style_layers"][name], &theirs["style_layers"][name], name);
        }
    }
}

#[test]
fn a_painted_picture_is_measured_by_the_program_at_its_own_size_when_that_is_small() {
    let of = |name: &str| common::data(&format!("measures/{name}")).display().to_string();
    let mut command: Command = common::nst();
    let (painted, photo, style) = (of("painted.png"), of("photo.png"), of("style.png"));
    command.args([
        "evaluate",
        "--painted",
        &painted,
        "--photo",
        &photo,
        "--style",
        &style,
        "--json",
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ours: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The stored style is half as large again as the photo, as the program takes it.
    let theirs = stored()["painted.png"]["readability"].as_f64().unwrap();
    assert!((ours["readability"].as_f64().unwrap() / theirs - 1.0).abs() < 0.01, "{ours}");
    let theirs = stored()["painted.png"]["style_distance"].as_f64().unwrap();
    assert!((ours["style_distance"].as_f64().unwrap() / theirs - 1.0).abs() < 0.01, "{ours}");
}
