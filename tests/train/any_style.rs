//! A network with a style predictor: trained on a folder of pictures, it paints in the style of others.

use std::path::Path;
use std::process::Command;

use image::{Rgb, RgbImage};
use nst_stream::engine::architecture::NetworkKind;
use nst_stream::engine::model_file::ModelFile;
use nst_stream::train::config::TrainingConfig;
use nst_stream::train::recipe::Recipe;
use nst_stream::train::run_folder::RunFile;

use crate::common::{nst, output, succeed};
use crate::runs::{config, losses, run};

/// Pictures in plain colours with stripes.
fn pictures(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (n, color) in
        [[220, 40, 30], [30, 60, 210], [40, 190, 60], [230, 200, 40]].iter().enumerate()
    {
        let stripes = RgbImage::from_fn(60, 44 + 4 * n as u32, |x, y| match (x / 4 + y / 6) % 2 {
            0 => Rgb(*color),
            _ => Rgb(color.map(|c: u8| c / 3)),
        });
        stripes.save(folder.join(format!("{n}.png"))).unwrap();
    }
}

/// A run that trains a predictor on them.
fn with_pictures(folder: &Path, recipe: Recipe) -> TrainingConfig {
    pictures(&folder.join("styles"));
    let recipe = Recipe {
        predictor: 32,
        styles: Vec::new(),
        arch: NetworkKind::Lite,
        averaging: 0.5,
        content_weight: 0.01,
        learning_rate: 1e-3,
        ..recipe
    };
    let config = config(folder, recipe);
    let run = RunFile { styles: Some(folder.join("styles")), ..config.run };
    TrainingConfig { run, ..config }
}

fn recipe() -> Recipe {
    Recipe { styles: Vec::new(), ..crate::runs::recipe() }
}

#[test]
fn a_run_with_a_predictor_resumes_exactly() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole_run = with_pictures(whole.path(), recipe());
    run(&whole_run, u64::MAX);
    let mut parted = with_pictures(parts.path(), recipe());
    run(&parted, 13);
    parted.resume = true;
    run(&parted, u64::MAX);
    assert_eq!(losses(whole.path()), losses(parts.path()));
    let read = |folder: &Path| ModelFile::open(&folder.join("a.pt")).unwrap();
    assert_eq!(read(whole.path()).tensors, read(parts.path()).tensors);
}

#[test]
fn pictures_of_two_colours_are_painted_in_each_and_saved_as_models() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let recipe = Recipe { steps: 400, width: 8, ..recipe() };
    run(&with_pictures(folder.path(), recipe), u64::MAX);
    let any = ModelFile::open(&at("a.pt")).unwrap();
    assert_eq!(any.description.architecture.predictor, Some(32));
    let save = |pictures: &[&str], output: &str| {
        let mut command = nst();
        command.args(["styles", "save", "--model"]).arg(at("a.pt")).arg("--output").arg(at(output));
        command.args(pictures.iter().map(|picture| at(picture)));
        command
    };
    // Mean colour of a photo as a model paints it.
    let painted = |model: &str| -> [f64; 3] {
        let png = at(model).with_extension("png");
        let mut paint = nst();
        paint.arg("--model").arg(at(model)).args(["--overwrite", "--input"]);
        succeed(paint.arg(at("photos/0.png")).arg("--output").arg(&png));
        let picture = image::open(&png).unwrap().into_rgb8();
        let sum = |c: usize| picture.pixels().map(|p| f64::from(p[c])).sum::<f64>();
        [0, 1, 2].map(|c| sum(c) / f64::from(picture.width() * picture.height()))
    };
    succeed(&mut save(&["styles/0.png"], "red.pt"));
    succeed(&mut save(&["styles/1.png"], "blue.pt"));
    let (red, blue) = (painted("red.pt"), painted("blue.pt"));
    let lean = |[red, _, blue]: [f64; 3]| red - blue;
    assert!(lean(red) > lean(blue) + 20.0, "{red:?} {blue:?}");
    // A mixture lies between.
    let mixture =
        [at("styles/0.png").display().to_string() + ":3", at("styles/1.png").display().to_string()];
    let mut mix = nst();
    mix.args(["styles", "save", "--model"]).arg(at("a.pt")).arg("--output").arg(at("mix.pt"));
    succeed(mix.args(&mixture));
    let mixed = ModelFile::open(&at("mix.pt")).unwrap();
    assert_eq!(
        (mixed.description.architecture.styles, &mixed.description.styles[..]),
        (1, &["mix".to_owned()][..])
    );
    let between = lean(painted("mix.pt"));
    assert!((lean(blue)..lean(red)).contains(&between), "{red:?} {between} {blue:?}");
    // A run paints the same without a file.
    let run = |styles: &[String], more: &[&str]| {
        let mut paint = nst();
        paint
            .arg("--model")
            .arg(at("a.pt"))
            .args(["--overwrite", "--input"])
            .arg(at("photos/0.png"));
        paint.args(styles.iter().flat_map(|style| ["--style", style])).args(more);
        paint.arg("--output").arg(at("at-once.png"));
        paint
    };
    let same = |model: &str| {
        let read = |name: &str| image::open(at(name)).unwrap().into_rgb8();
        let (a, b) = (read("at-once.png"), read(&format!("{model}.png")));
        a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    };
    succeed(&mut run(&mixture[1..], &[]));
    assert!(same("blue") <= 1, "{}", same("blue"));
    succeed(&mut run(&mixture, &[]));
    assert!(same("mix") <= 1, "{}", same("mix"));
    // In regions of a mask.
    RgbImage::from_fn(24, 20, |x, _| Rgb([if x < 12 { 0 } else { 255 }; 3]))
        .save(at("mask.png"))
        .unwrap();
    let mask = at("mask.png").display().to_string();
    let regions =
        [mixture[1].clone() + "@black", at("styles/0.png").display().to_string() + "@white"];
    succeed(&mut run(&regions, &["--mask", &mask]));
    let both = image::open(at("at-once.png")).unwrap().into_rgb8();
    let half = |name: &str, x: u32| image::open(at(name)).unwrap().into_rgb8()[(x, 20)];
    assert_eq!(both[(4, 20)], half("blue.png", 4));
    assert_eq!(both[(44, 20)], half("red.png", 44));
    // Kept apart, one model has both.
    succeed(save(&["styles/0.png", "styles/1.png"], "both.pt").arg("--separate"));
    assert_eq!(ModelFile::open(&at("both.pt")).unwrap().description.styles, ["0", "1"]);
    // Each is measured by itself, and is nearer to its own picture than the other style is.
    let measure = |style: &str| {
        let mut evaluate = nst();
        evaluate
            .arg("evaluate")
            .arg("--model")
            .arg(at("both.pt"))
            .args(["--blend", style, "--json"]);
        evaluate.arg("--style").arg(at("styles/0.png")).arg("--images").arg(at("photos"));
        evaluate
    };
    let distance = |style: &str| {
        let json: serde_json::Value = serde_json::from_str(&succeed(&mut measure(style))).unwrap();
        json["style_distance"].as_f64().unwrap()
    };
    let (own, other) = (distance("0"), distance("1"));
    assert!(own < other, "{own} {other}");
    let unknown = measure("2").output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(said.contains("'2'") && said.contains("0, 1"), "{said}");
    // Fine-tuning begins with what is predicted.
    let mut train = nst();
    train.args([
        "train",
        "--steps",
        "1",
        "--learning-rate",
        "1e-9",
        "--image-size",
        "32",
        "--style-size",
        "64",
        "--init",
    ]);
    train.arg(at("a.pt")).arg("--style").arg(at("styles/0.png")).arg("--dataset").arg(at("photos"));
    succeed(train.arg("--output").arg(at("tuned.pt")));
    let apart: f64 = painted("tuned.pt").iter().zip(red).map(|(a, b)| (a - b).abs()).sum();
    assert!(apart < 3.0, "{apart}");
}

#[test]
fn every_kind_of_picture_is_a_style() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let photo = RgbImage::from_fn(96, 64, |x, y| Rgb([x as u8, (x + y) as u8, 255 - 2 * y as u8]));
    photo.save(at("photo.png")).unwrap();
    RgbImage::from_pixel(200, 150, Rgb([120, 40, 160])).save(at("plain.png")).unwrap();
    RgbImage::new(64, 64).save(at("black.png")).unwrap();
    RgbImage::from_pixel(1, 1, Rgb([250, 200, 30])).save(at("dot.png")).unwrap();
    RgbImage::from_fn(4000, 2, |x, _| Rgb([x as u8, 90, 60])).save(at("line.png")).unwrap();
    image::GrayImage::from_fn(80, 60, |x, y| image::Luma([(x * y) as u8]))
        .save(at("grey.png"))
        .unwrap();
    image::ImageBuffer::from_fn(80, 60, |x, y| Rgb([(x * 800) as u16, (y * 1000) as u16, 30000]))
        .save(at("deep.png"))
        .unwrap();
    image::RgbaImage::from_fn(80, 60, |x, _| image::Rgba([200, 60, 40, (3 * x) as u8]))
        .save(at("clear.png"))
        .unwrap();
    std::fs::copy(crate::common::data("jpeg/cmyk.jpg"), at("inks.jpg")).unwrap();
    let frames = [[250, 20, 20], [20, 20, 250]].map(|[r, g, b]| {
        image::Frame::new(image::RgbaImage::from_fn(40, 30, |x, _| {
            image::Rgba([r, g, b.max(x as u8), 255])
        }))
    });
    let gif = std::fs::File::create(at("moving.gif")).unwrap();
    image::codecs::gif::GifEncoder::new(gif).encode_frames(frames).unwrap();
    for name in [
        "plain.png",
        "black.png",
        "dot.png",
        "line.png",
        "grey.png",
        "deep.png",
        "clear.png",
        "inks.jpg",
        "moving.gif",
    ] {
        let mut paint = nst();
        paint.arg("--style").arg(at(name)).arg("--input").arg(at("photo.png"));
        succeed(paint.args(["--overwrite", "--output"]).arg(at("out.png")));
        let painted = image::open(at("out.png")).unwrap().into_rgb8();
        assert_eq!(painted.dimensions(), (96, 64));
        // The photo is still there: its dark left and its light right.
        let side = |from: u32| -> f64 {
            let pixels = (from..from + 32).flat_map(|x| (8..56).map(move |y| (x, y)));
            pixels.map(|at| painted[at].0.iter().map(|v| f64::from(*v)).sum::<f64>()).sum()
        };
        assert!(side(64) > 1.05 * side(0), "{name}: {} {}", side(0), side(64));
    }
}

#[test]
fn what_cannot_be_is_said_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    pictures(&at("styles"));
    std::fs::write(at("no.jpg"), "no picture").unwrap();
    let refused = |command: &mut Command, code: i32, words: &str| {
        let done = output(command);
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && said.trim_end().lines().count() == 1, "{said}");
    };
    let save = || {
        let mut save = nst();
        save.args(["styles", "save", "--output"]).arg(at("a.pt"));
        save
    };
    let paint = |args: &[&str]| {
        let mut paint = nst();
        paint
            .args(["--input"])
            .arg(at("styles/0.png"))
            .arg("--output")
            .arg(at("out.png"))
            .args(args);
        paint
    };
    let style = at("styles/0.png").display().to_string();
    let blend = ["--style", &style, "--blend", "0"];
    refused(&mut paint(&blend), 2, "--style names its own shares");
    refused(&mut paint(&["--style", &(style.clone() + "@white")]), 2, "needs a --mask");
    let broken = at("no.jpg").display().to_string();
    refused(&mut paint(&["--style", &broken]), 1, "no.jpg");
    refused(&mut paint(&["--style", "none.jpg"]), 1, "none.jpg");
    refused(&mut paint(&["--model", "any-lite"]), 1, "name one with --style");
    let mut export = nst();
    export
        .args(["models", "export", "any-lite", "--to", "torchscript", "--output"])
        .arg(at("any.ts"));
    refused(&mut export, 1, "styles save");
    let mut export = nst();
    export.args(["models", "export", "any-lite", "--predictor", "--to", "torchscript", "--output"]);
    refused(export.arg(at("any.ts")), 2, "--to onnx");
    let mut export = nst();
    export.args(["models", "export", "mosaic", "--predictor", "--to", "onnx", "--output"]);
    refused(export.arg(at("any.ts")), 1, "no style predictor");
    let mut learn = nst();
    learn.args(["train", "--steps", "1", "--teacher", "any-lite", "--style", &style, "--dataset"]);
    refused(learn.arg(at("styles")).arg("--output").arg(at("b.pt")), 1, "styles save");
    assert!(!at("any.ts").exists() && !at("b.pt").exists());
    refused(save().args(["--model", "mosaic"]).arg(at("styles/0.png")), 2, "paints its own style");
    assert!(!at("a.pt").exists());
}
