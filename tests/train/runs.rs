//! Whole runs on a tiny set: they learn, repeat themselves exactly, and resume exactly.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nst_stream::engine::architecture::{Normalization, OutputLayer, Upsampling};
use nst_stream::engine::device::Device;
use nst_stream::engine::model_file::ModelFile;
use nst_stream::engine::precision::Precision;
use nst_stream::train::config::TrainingConfig;
use nst_stream::train::loss_row::LossRow;
use nst_stream::train::recipe::{Optimizer, Recipe, RecipePreset, StyleSource};
use nst_stream::train::run::{Progress, RunObserver, Trained, train};
use nst_stream::train::run_folder::{RunFile, read_losses};

use crate::common::data;
use crate::{masks, photos, style};

/// Asks for an end after some steps.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl RunObserver for StopAfter<'_> {
    fn note(&mut self, _: &str) {}
    fn progress(&mut self, progress: &Progress) {
        self.1.fetch_or(progress.step >= self.0, Ordering::Relaxed);
    }
}

pub(crate) fn recipe() -> Recipe {
    let styles = vec![StyleSource { picture: style(), weight: 1.0, region: None }];
    Recipe {
        style_size: 64.into(),
        image_size: 32,
        batch: 2,
        steps: 30,
        width: 4,
        residual_blocks: 1,
        ..Recipe::preset(RecipePreset::Default, styles)
    }
}

pub(crate) fn config(folder: &Path, recipe: Recipe) -> TrainingConfig {
    photos(&folder.join("photos"));
    TrainingConfig {
        run: RunFile {
            dataset: folder.join("photos"),
            photos: 6,
            masks: None,
            videos: None,
            styles: None,
            output: folder.join("a.pt"),
            vgg: None,
            licence: Some("MIT".to_owned()),
            credit: None,
            previews: vec![folder.join("photos/0.png")],
            recipe,
        },
        folder: folder.join("a.run"),
        resume: false,
        overwrite: false,
        device: Device::CPU,
        threads: Some(1),
        preview_every: 10,
        checkpoint_every: 10,
    }
}

pub(crate) fn run(config: &TrainingConfig, steps: u64) -> Trained {
    let stop = AtomicBool::new(false);
    train(config, &stop, &mut StopAfter(steps, &stop)).unwrap()
}

/// Losses without the seconds, which never repeat.
pub(crate) fn losses(folder: &Path) -> Vec<LossRow> {
    let rows = read_losses(&folder.join("a.run/losses.csv")).unwrap();
    rows.into_iter().map(|row| LossRow { seconds: 0.0, ..row }).collect()
}

fn mean(rows: &[LossRow], of: fn(&LossRow) -> f64) -> f64 {
    rows.iter().map(of).sum::<f64>() / rows.len() as f64
}

#[test]
fn thirty_steps_lower_the_loss_and_leave_a_model_that_says_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), recipe());
    let trained = run(&config, u64::MAX);
    assert_eq!((trained.step, trained.interrupted), (30, false));
    let rows = losses(folder.path());
    let total = |row: &LossRow| row.terms.total();
    let (first, last) = (mean(&rows[..5], total), mean(&rows[25..], total));
    assert!(last < 0.8 * first, "{first} → {last}");
    let model = ModelFile::open(&config.run.output).unwrap();
    let described = &model.description;
    assert_eq!(
        (described.name.as_str(), described.styles.as_slice()),
        ("a", &["mosaic".to_owned()][..])
    );
    assert_eq!(described.licence.as_deref(), Some("MIT"));
    let facts = described.recipe.as_ref().unwrap();
    assert_eq!(facts["dataset"]["photos"], 6);
    assert_eq!(facts["steps"], 30);
    assert!(facts["losses"]["style"].as_f64().unwrap() > 0.0);
    // Where files lay is nobody's business.
    assert!(!facts.to_string().contains(env!("CARGO_MANIFEST_DIR")), "{facts}");
    for file in
        ["recipe.toml", "losses.svg", "losses.png", "evolution.jpg", "previews/step-00000010.jpg"]
    {
        assert!(config.folder.join(file).is_file(), "{file}");
    }
}

/// A run whose temporal loss also sees frames of videos, the first of which is no video.
#[cfg(feature = "media")]
fn with_videos(folder: &Path) -> TrainingConfig {
    let videos = folder.join("videos/more");
    std::fs::create_dir_all(&videos).unwrap();
    std::fs::write(folder.join("videos/a.mp4"), b"no video").unwrap();
    std::fs::copy(data("carphone_pristine.mp4"), videos.join("b.MP4")).unwrap();
    let recipe = Recipe { temporal_weight: 10.0, steps: 6, ..recipe() };
    let mut config = config(folder, recipe);
    config.run.videos = Some(folder.join("videos"));
    config
}

#[cfg(feature = "media")]
#[test]
fn frames_of_videos_take_part_in_the_temporal_loss_also_after_resuming() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [whole, parts, photos] = folders.each_ref().map(|folder| with_videos(folder.path()));
    run(&whole, u64::MAX);
    assert!(run(&parts, 3).interrupted);
    run(&TrainingConfig { resume: true, ..parts.clone() }, u64::MAX);
    let mut photos = photos;
    photos.run.videos = None;
    run(&photos, u64::MAX);
    let [whole, parts, photos] = folders.each_ref().map(|folder| losses(folder.path()));
    assert_eq!(whole, parts);
    assert!(whole.iter().all(|row| row.terms.temporal > 0.0 && row.terms.is_finite()));
    assert_ne!(whole[5].terms.temporal, photos[5].terms.temporal);
}

#[test]
fn two_runs_with_one_seed_are_the_same_and_with_another_are_not() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    for (folder, seed) in folders.iter().zip([1, 1, 2]) {
        run(&config(folder.path(), Recipe { seed, steps: 6, ..recipe() }), u64::MAX);
    }
    let [a, b, c] = folders.each_ref().map(|folder| losses(folder.path()));
    assert_eq!(a, b);
    assert_ne!(a, c);
    let model = |n: usize| std::fs::read(folders[n].path().join("a.pt")).unwrap();
    assert!(model(0) == model(1), "one seed, two models");
}

#[test]
fn a_run_that_was_stopped_and_resumed_equals_one_that_never_was() {
    for (norm, optimizer) in [
        (Normalization::Instance, Optimizer::Adam),
        (Normalization::Batch, Optimizer::AdamW),
        (Normalization::Instance, Optimizer::Sgd),
        (Normalization::Instance, Optimizer::RmsProp),
    ] {
        // Plain gradient descent would run away on losses of this size.
        let learning_rate = if optimizer == Optimizer::Sgd { 1e-12 } else { 1e-3 };
        let averaging = if optimizer == Optimizer::Adam { 0.9 } else { 0.0 };
        let recipe = Recipe { steps: 9, norm, optimizer, learning_rate, averaging, ..recipe() };
        let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run(&config(whole.path(), recipe.clone()), u64::MAX);
        let mut config = config(stopped.path(), recipe);
        let trained = run(&config, 4);
        assert_eq!((trained.step, trained.interrupted), (4, true));
        assert!(!config.run.output.exists());
        config.resume = true;
        run(&config, 7);
        run(&config, u64::MAX);
        assert_eq!(losses(whole.path()), losses(stopped.path()), "{norm} {optimizer}");
        let model = |folder: &Path| std::fs::read(folder.join("a.pt")).unwrap();
        assert!(model(whole.path()) == model(stopped.path()), "{norm} {optimizer}: other models");
    }
}

#[test]
fn a_run_resumes_from_the_checkpoint_before_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), Recipe { steps: 8, ..recipe() });
    config.checkpoint_every = 2;
    run(&config, 5);
    let whole = losses(folder.path());
    let newest = config.folder.join("checkpoints/step-00000005.safetensors");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() - 100]).unwrap();
    config.resume = true;
    run(&config, u64::MAX);
    assert_eq!(losses(folder.path())[..5], whole[..]);
}

#[test]
fn every_kind_of_network_trains_and_its_model_opens() {
    let base = Recipe { steps: 3, ..recipe() };
    let two =
        vec![base.styles[0].clone(), StyleSource { picture: style(), weight: 3.0, region: None }];
    let variants = [
        Recipe { output_layer: OutputLayer::Tanh, ..base.clone() },
        Recipe { upsample: Upsampling::Transposed, ..base.clone() },
        Recipe { norm: Normalization::Batch, ..base.clone() },
        Recipe { luminance: true, ..base.clone() },
        Recipe { styles: two.clone(), ..base.clone() },
        Recipe { styles: two, styles_separate: true, ..base.clone() },
        Recipe { precision: Precision::Bf16, ..base.clone() },
    ];
    for recipe in variants {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), recipe);
        run(&config, u64::MAX);
        let model = ModelFile::open(&config.run.output).unwrap();
        let styles = if config.run.recipe.styles_separate { 2 } else { 1 };
        assert_eq!(model.description.styles.len(), styles);
        assert_eq!(model.description.architecture.styles, styles);
    }
}

#[test]
fn fine_tuning_begins_where_the_model_ended() {
    let folder = tempfile::tempdir().unwrap();
    let base = Recipe { steps: 25, ..recipe() };
    run(&config(folder.path(), base.clone()), u64::MAX);
    let end = losses(folder.path()).last().unwrap().terms.total();
    let model = folder.path().join("a.pt");
    let start = losses(folder.path())[0].terms.total();
    // From the model, and from the run it came from.
    for init in [model, folder.path().join("a.run")] {
        let init = Some(init.display().to_string());
        let tuned = tempfile::tempdir().unwrap();
        run(&config(tuned.path(), Recipe { steps: 1, init, ..base.clone() }), u64::MAX);
        let first = losses(tuned.path())[0].terms.total();
        assert!(first < start && first < 3.0 * end, "{start} → {end}, {first}");
    }
}

#[test]
fn a_run_that_diverges_says_so_and_keeps_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config =
        config(folder.path(), Recipe { learning_rate: 1e6, optimizer: Optimizer::Sgd, ..recipe() });
    config.checkpoint_every = 1;
    let stop = AtomicBool::new(false);
    let error = train(&config, &stop, &mut StopAfter(u64::MAX, &stop)).unwrap_err().to_string();
    assert!(error.contains("training diverged") && error.contains("--learning-rate"), "{error}");
    assert!(!config.run.output.exists());
}

/// Three regions: two styles, and one that keeps the content.
fn with_masks(folder: &Path, recipe: Recipe) -> TrainingConfig {
    masks(&folder.join("masks"));
    let region = |text: &str| text.parse().ok();
    let white = StyleSource { region: region("white"), ..recipe.styles[0].clone() };
    let black = StyleSource { picture: data("chelsea.png"), weight: 1.0, region: region("0") };
    let unstyled = region("128").into_iter().collect();
    let mut config = config(folder, Recipe { styles: vec![white, black], unstyled, ..recipe });
    config.run.masks = Some(folder.join("masks"));
    config
}

#[test]
fn a_run_with_masks_lowers_the_loss_and_resumes_exactly() {
    let recipe = Recipe { steps: 40, exposure: 1.0, ..recipe() };
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&with_masks(whole.path(), recipe.clone()), u64::MAX);
    let mut config = with_masks(stopped.path(), recipe.clone());
    assert_eq!(run(&config, 5).step, 5);
    config.resume = true;
    run(&config, u64::MAX);
    let rows = losses(whole.path());
    assert_eq!(rows, losses(stopped.path()));
    let style = |row: &LossRow| row.terms.style;
    let (first, last) = (mean(&rows[..6], style), mean(&rows[34..], style));
    assert!(last < 0.8 * first, "{first} → {last}");
    let model = |folder: &Path| std::fs::read(folder.join("a.pt")).unwrap();
    assert!(model(whole.path()) == model(stopped.path()), "other models");
    let facts = ModelFile::open(&config.run.output).unwrap().description.recipe.unwrap();
    assert_eq!(
        (&facts["styles"][0]["region"], &facts["styles"][1]["region"]),
        (&"255".into(), &"0".into())
    );
    assert_eq!(
        (&facts["unstyled"][0], &facts["dataset"]["masks"]),
        (&"128".into(), &"masks".into())
    );
    assert!(!facts.to_string().contains(env!("CARGO_MANIFEST_DIR")), "{facts}");
    // Other regions make another loss.
    let plain = tempfile::tempdir().unwrap();
    run(&self::config(plain.path(), Recipe { steps: 1, ..recipe }), u64::MAX);
    assert_ne!(losses(plain.path())[0], rows[0]);
}
