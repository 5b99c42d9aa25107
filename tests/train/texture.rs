//! Texture networks: trained with photos, or on a texture alone; `nst-stream texture`.

use std::path::Path;
use std::process::Command;

use nst_stream::engine::architecture::{NetworkKind, Normalization, Padding};
use nst_stream::engine::device::Device;
use nst_stream::engine::model_file::ModelFile;
use nst_stream::engine::network::Network;
use nst_stream::engine::precision::Precision;
use nst_stream::train::config::TrainingConfig;
use nst_stream::train::recipe::{Recipe, RecipePreset};
use nst_stream::train::run_folder::RunFile;

use crate::common::{data, nst, output, succeed};
use crate::runs::{config, losses, run};
use crate::{photos, style};

fn with_photos() -> Recipe {
    let recipe = crate::runs::recipe();
    Recipe { width: 4, learning_rate: 1e-2, ..recipe.of(NetworkKind::Texture) }
}

fn of_texture() -> Recipe {
    let preset = Recipe::preset(RecipePreset::Default, crate::runs::recipe().styles).of_texture();
    Recipe {
        style_size: 64.into(),
        image_size: 32,
        batch: 2,
        steps: 30,
        width: 4,
        learning_rate: 1e-2,
        ..preset
    }
}

/// A run without photos.
fn alone(folder: &Path, recipe: Recipe) -> TrainingConfig {
    let config = config(folder, recipe);
    let run =
        RunFile { dataset: Default::default(), photos: 0, previews: Vec::new(), ..config.run };
    run.check().unwrap();
    TrainingConfig { run, ..config }
}

#[test]
fn both_kinds_lower_the_loss_and_resume_exactly() {
    type Made = fn(&Path, Recipe) -> TrainingConfig;
    let batch = Recipe { norm: Normalization::Batch, ..with_photos() };
    let averaged = Recipe { averaging: 0.9, ..of_texture() };
    let kinds: [(Recipe, Made); 4] = [
        (with_photos(), config),
        (batch, config),
        (averaged, alone),
        (Recipe { norm: Normalization::Batch, ..of_texture() }, alone),
    ];
    for (recipe, made) in kinds {
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run(&made(whole.path(), recipe.clone()), u64::MAX);
        let mut parted = made(stopped.path(), recipe.clone());
        assert_eq!(run(&parted, 7).step, 7);
        parted.resume = true;
        run(&parted, u64::MAX);
        let rows = losses(whole.path());
        assert_eq!(rows, losses(stopped.path()));
        let mean = |from: usize| rows[from..from + 5].iter().map(|r| r.terms.style).sum::<f64>();
        assert!(mean(25) < 0.8 * mean(0), "{} → {}", mean(0), mean(25));
        assert_eq!(recipe.texture, rows.iter().all(|row| row.terms.content == 0.0));
        let bytes = |folder: &Path| std::fs::read(folder.join("a.pt")).unwrap();
        assert!(bytes(whole.path()) == bytes(stopped.path()), "other models");
        let model = ModelFile::open(&whole.path().join("a.pt")).unwrap();
        let architecture = &model.description.architecture;
        assert_eq!(
            (architecture.kind, architecture.photo),
            (NetworkKind::Texture, !recipe.texture)
        );
        let circular = architecture.padding == Padding::Circular;
        assert_eq!((circular, model.check_style("a").is_err()), (recipe.texture, recipe.texture));
        let facts = model.description.recipe.unwrap();
        assert_eq!(facts["dataset"].is_null(), recipe.texture, "{facts}");
        assert!(whole.path().join("a.run/evolution.jpg").is_file());
    }
}

fn program(folder: &Path, args: &str) -> Command {
    let mut command = nst();
    command.current_dir(folder).args(args.split_whitespace());
    command
}

/// Exit code 1 or 2, one line that says this.
fn refused(folder: &Path, args: &str, code: i32, says: &[&str]) {
    let out = output(&mut program(folder, args));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args}: {said}");
    for words in says {
        assert!(said.contains(words), "{args}: {said}");
    }
    assert!(!said.contains("panicked") && !folder.join("wall.png").exists(), "{args}: {said}");
}

#[test]
fn the_program_trains_on_a_texture_and_makes_tiles_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let training = format!(
        "train --texture {} --output bricks.pt --image-size 32 --style-size 64 --batch 2 --width 4 \
         --steps 4 --threads 1 --device cpu",
        style().display()
    );
    succeed(&mut program(folder, &training));
    let shown = succeed(&mut program(folder, "models show bricks.pt"));
    assert!(shown.contains("texture 4-4-4-4-4, circular padding, of noise alone"), "{shown}");

    // With one thread, since others add up in another order.
    let make = "texture --model bricks.pt --size 64x48 --tile --seed 7 --device cpu --threads 1 \
         --output";
    succeed(&mut program(folder, &format!("{make} wall.png")));
    succeed(&mut program(folder, &format!("{make} again.png")));
    let pixels = |name: &str| image::open(folder.join(name)).unwrap().into_rgb8();
    assert_eq!(pixels("wall.png").dimensions(), (64, 48));
    assert!(pixels("wall.png") == pixels("again.png"));
    // What the file's network makes, rounded.
    let model = ModelFile::open(&folder.join("bricks.pt")).unwrap();
    let network = Network::new(&model, Device::CPU, Precision::Fp32).unwrap();
    let expected = network.texture((64, 48), 7).unwrap().clamp(0.0, 255.0);
    let found = f64::from(pixels("wall.png").get_pixel(33, 20).0[1]);
    assert!((expected.double_value(&[0, 1, 20, 33]) - found).abs() <= 0.6, "{found}");

    let twice = format!("{make} wall.png");
    let out = output(&mut program(folder, &twice));
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    std::fs::remove_file(folder.join("wall.png")).unwrap();
    let texture = |more: &str, code, says: &[&str]| {
        refused(folder, &format!("texture --model {more} --output wall.png"), code, says);
    };
    texture("bricks.pt --size 100x48 --tile", 2, &["multiples of 16", "96x48"]);
    texture("bricks.pt --size 0x48", 2, &["--size"]);
    texture("mosaic --size 64x64", 2, &["'mosaic' paints pictures", "train --texture"]);
    texture("none.pt --size 64x64", 1, &["'none.pt'"]);
    std::fs::copy(data("chelsea.png"), folder.join("cat.png")).unwrap();
    let says = ["'bricks", "' makes textures", "it is for the command `texture`"];
    for args in [
        "--model bricks.pt --input cat.png --output wall.png",
        "models export bricks.pt --to onnx --output wall.png",
    ] {
        refused(folder, args, 1, &says);
    }
    refused(
        folder,
        "evaluate --model bricks.pt --style cat.png --images .",
        2,
        &["'bricks.pt' makes textures and paints no photos: leave --images"],
    );
    refused(
        folder,
        "evaluate --model bricks.pt --style cat.png --sheet s.txt",
        1,
        &["--sheet 's.txt'"],
    );
    refused(folder, "evaluate --model mosaic --style cat.png", 2, &["--images names the folder"]);
    refused(folder, "bench --model bricks.pt --size 64x64 --batch 2", 2, &["one at a time"]);
    let json = |args: &str| -> serde_json::Value {
        serde_json::from_str(&succeed(&mut program(folder, args))).unwrap()
    };
    let speed = json("bench --model bricks.pt --size 64x64 --threads 1 --json");
    assert!(speed["ms"].as_f64() > Some(0.0) && speed["i420"].is_null(), "{speed}");
    assert_eq!((&speed["precision"], &speed["size"]), (&"fp32".into(), &"64x64".into()));
    let picture = style();
    let evaluate = format!("evaluate --model bricks.pt --style {}", picture.display());
    let figures = json(&format!("{evaluate} --sheet sheet.png --threads 1 --json"));
    assert_eq!((&figures["textures"], &figures["side"]), (&4.into(), &320.into()));
    // After four steps it is far from the picture, but no longer plain.
    let relative = figures["style_distance_relative"].as_f64().unwrap();
    assert!(relative > 0.05 && relative < 3.0, "{figures}");
    let mean = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
        .map(|layer| figures["style_layers"][layer].as_f64().unwrap());
    let distance = figures["style_distance"].as_f64().unwrap();
    assert!((mean.iter().sum::<f64>() / 4.0 - distance).abs() < 1e-9, "{figures}");
    assert!(folder.join("sheet.png").is_file());
    let text = succeed(&mut program(folder, &evaluate));
    assert!(text.contains("mean of 4 textures of 320×320"), "{text}");
    succeed(&mut program(
        folder,
        "models export bricks.pt --to safetensors --output b.safetensors",
    ));
}

#[test]
fn what_does_not_go_together_is_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    photos(&folder.join("photos"));
    let style = style();
    let style = style.display();
    let texture = |more: &str, says: &[&str]| {
        refused(folder, &format!("train --texture {style} --output a.pt {more}"), 2, says);
    };
    texture("--dataset photos", &["--texture", "--dataset"]);
    texture(&format!("--style {style}"), &["--texture", "--style"]);
    texture("--arch johnson", &["--texture goes with --arch texture only"]);
    texture("--content-weight 1", &["does not go with --content-weight"]);
    texture("--temporal-weight 1", &["does not go with --temporal-weight"]);
    texture("--teacher mosaic", &["does not go with --teacher"]);
    texture("--luminance", &["does not go with --luminance"]);
    texture("--noise 3", &["does not go with --noise"]);
    texture("--image-size 100", &["--image-size 100: expected a multiple of 16"]);
    texture("--init mosaic", &["--init 'mosaic' paints photos: it needs --style"]);
    let photos = |more: &str, says: &[&str]| {
        let train = format!("train --style {style} --dataset photos --output a.pt {more}");
        refused(folder, &train, 2, says);
    };
    photos("--init mosaic --arch texture", &["--init 'mosaic' is a johnson network"]);
    photos(
        "--arch texture --upsample transposed",
        &["--arch texture goes with --upsample nearest"],
    );
    photos("--arch texture --padding zero", &["--padding reflect or circular"]);
    photos("--arch texture --residual-blocks 2", &["leave out --residual-blocks"]);
    photos("--padding circular", &["--padding circular goes with --arch texture only"]);
    photos("--loss-padding circular", &["--loss-padding circular: expected reflect or zero"]);
    assert!(!folder.join("a.pt").exists() && !folder.join("a.run").exists());
}

#[test]
fn photos_are_painted_by_what_was_trained_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recipe = Recipe { steps: 3, padding: Padding::Circular, ..with_photos() };
    run(&config(folder, recipe), u64::MAX);
    std::fs::copy(data("chelsea.png"), folder.join("cat.png")).unwrap();
    let paint = "--model a.pt --input cat.png --output out.png --device cpu --overwrite";
    succeed(&mut program(folder, paint));
    let first = std::fs::read(folder.join("out.png")).unwrap();
    succeed(&mut program(folder, paint));
    assert!(std::fs::read(folder.join("out.png")).unwrap() == first, "other noise");
    let size = image::image_dimensions(folder.join("out.png")).unwrap();
    assert_eq!(size, image::image_dimensions(folder.join("cat.png")).unwrap());
    let bench = succeed(&mut program(folder, "bench --model a.pt --size 64x64 --device cpu"));
    assert!(bench.contains("GFLOP/s"), "{bench}");
}
