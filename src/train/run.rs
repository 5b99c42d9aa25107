//! A training run: opens everything, trains step by step, writes previews, checkpoints and the model.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use tch::TchError;

use super::checkpoint::Checkpoint;
use super::config::TrainingConfig;
use super::crop::{Crop, CropOptions};
use super::dataset::{CropLoader, Dataset, resized};
use super::loss::LossTerms;
use super::loss_row::LossRow;
use super::open::{enough_memory, open_init, open_trainer, writable};
use super::preview::Previews;
use super::random::generator;
use super::recipe::{Recipe, StyleSource};
use super::run_folder::{RunFile, RunFolder};
use super::trainer::{Trainer, architecture};
use super::video_pairs::VideoPairs;
use crate::engine::architecture::Architecture;
use crate::engine::device::set_threads;
use crate::engine::model_file::Description;
use crate::engine::{guarded, words};

/// Progress of a run after a step.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Loss terms, averaged over some of the last steps.
    pub terms: LossTerms,
    /// Recent seconds per step.
    pub seconds: f64,
}

/// Receives notes and progress of a run.
pub trait RunObserver {
    /// One line worth saying.
    fn note(&mut self, text: &str);
    /// A step is done.
    fn progress(&mut self, progress: &Progress);
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Steps done.
    pub step: u64,
    /// Whether it was interrupted, with a checkpoint to resume from.
    pub interrupted: bool,
    /// Loss terms of the last steps.
    pub terms: LossTerms,
}

/// Weight of a new value in the smoothed loss terms that are shown.
const SMOOTHING: f64 = 0.05;
/// The losses recorded in the model are the mean over this many of the last steps.
const RECORDED_STEPS: usize = 50;
/// A run has diverged if its loss exceeds that of its start by this factor.
const DIVERGENCE_FACTOR: f64 = 100.0;

/// Trains. `stop` is checked between steps.
///
/// # Errors
/// One line for the user. What was made so far stays in the run's folder.
pub fn train(
    config: &TrainingConfig,
    stop: &AtomicBool,
    watcher: &mut dyn RunObserver,
) -> Result<Trained> {
    let trained = guarded(|| run(config, stop, watcher), anyhow::Error::from);
    trained.map_err(|error| in_words(error, &config.run.recipe))
}

fn run(
    config: &TrainingConfig,
    stop: &AtomicBool,
    watcher: &mut dyn RunObserver,
) -> Result<Trained> {
    let RunFile { recipe, dataset, masks, output, previews, .. } = &config.run;
    set_threads(config.threads);
    let photos = if recipe.texture { None } else { Some(Dataset::open(dataset, recipe.batch)?) };
    let photos = match (photos, masks) {
        (Some(photos), Some(masks)) => Some(photos.with_masks(masks, recipe.regions())?),
        (photos, _) => photos,
    };
    writable(output, config.overwrite || config.resume)?;
    enough_memory(config)?;
    let previews = match recipe.styles.first() {
        Some(texture) if recipe.texture => Previews::of_texture(&texture.picture)?,
        _ => Previews::open(previews, architecture(recipe).multiple())?,
    };
    let cut = CropOptions {
        size: recipe.image_size,
        augment: recipe.augment,
        noise: recipe.noise as f32,
        exposure: recipe.exposure as f32,
        seed: recipe.seed,
    };
    let pairs = config
        .run
        .videos
        .as_deref()
        .map(|folder| VideoPairs::open(folder, cut, stop, &mut |text| watcher.note(text)));
    let mut trainer = open_trainer(config, photos.as_ref())?.with_videos(pairs.transpose()?);
    let mut done = if config.resume { restore(config, &trainer, watcher)? } else { 0 };
    let loaders = (crate::engine::device::default_threads() / 2).clamp(1, 8);
    let batch = recipe.batch as u64;
    if let Some(photos) = &photos {
        photos.check_masks(done * batch..recipe.steps * batch, recipe.seed, loaders, stop)?;
    }
    let mut folder = match config.resume {
        true => RunFolder::resume(&config.folder, done)?,
        false => RunFolder::create(&config.folder, config.overwrite, &config.run)?,
    };
    let mut loader =
        photos.as_ref().map(|photos| CropLoader::new(photos, cut, done * batch, loaders));
    let (mut smooth, mut start) = (None, None);
    let mut pace = StepRate::default();
    let styles = trainer.network().architecture().styles;
    if done == 0 {
        trainer.prepare_previews()?;
        previews.paint(trainer.network(), config.device.torch(), &folder.preview(0))?;
    }
    while done < recipe.steps && !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut crop = || loader.as_mut().map_or_else(|| Ok(Crop::empty()), CropLoader::crop);
        let crops = (0..recipe.batch).map(|_| crop()).collect::<Result<Vec<_>, _>>()?;
        let terms = trainer.step(done, &crops).inspect_err(|_| drop(folder.draw()))?;
        let smoothed = follow(&mut smooth, &terms);
        let start = *start.get_or_insert(smoothed.total());
        if !terms.is_finite() || smoothed.total() > DIVERGENCE_FACTOR * start {
            let _ = folder.draw();
            return Err(diverged(done, &terms, &folder));
        }
        done += 1;
        let seconds = began.elapsed().as_secs_f64();
        pace.add(seconds);
        folder.add(&LossRow { step: done, terms, rate: recipe.rate(done - 1), seconds })?;
        let last = done == recipe.steps;
        if done.is_multiple_of(config.checkpoint_every) || last {
            save(&trainer, recipe, done, &mut folder)?;
        }
        if done.is_multiple_of(config.preview_every) || last || is_early(done) {
            trainer.prepare_previews()?;
            previews.paint(trainer.network(), config.device.torch(), &folder.preview(done))?;
        }
        let seconds = pace.seconds();
        watcher.progress(&Progress { step: done, steps: recipe.steps, terms: smoothed, seconds });
    }
    let terms = smooth.unwrap_or_default();
    let unreadable = loader.as_ref().map_or_else(Vec::new, CropLoader::unreadable);
    if let Some(first) = unreadable.first() {
        let (count, first) = (unreadable.len(), first.display());
        watcher.note(&format!("{count} pictures could not be decoded and were skipped: {first} …"));
    }
    if done < recipe.steps {
        save(&trainer, recipe, done, &mut folder)?;
        return Ok(Trained { step: done, interrupted: true, terms });
    }
    folder.draw()?;
    // Read from the file, so that a resumed run records the same as one that was never interrupted.
    let terms = folder.last_terms(RECORDED_STEPS)?;
    previews.evolution(&folder, styles, &folder.path().join("evolution.jpg"))?;
    let model = trainer.to_model(description(config, photos.as_ref().map(Dataset::len), &terms))?;
    model.save(output)?;
    Ok(Trained { step: done, interrupted: false, terms })
}

/// Seconds a step takes of late: the median, which a pause or a preview does not move.
#[derive(Debug, Default)]
struct StepRate(VecDeque<f64>);

impl StepRate {
    fn add(&mut self, seconds: f64) {
        self.0.push_back(seconds);
        if self.0.len() > 31 {
            self.0.pop_front();
        }
    }

    fn seconds(&self) -> f64 {
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Whether to write a preview early: the first steps change most, and show whether a run is worth its time.
fn is_early(step: u64) -> bool {
    matches!(step, 25 | 50 | 100 | 200)
}

fn follow(smooth: &mut Option<LossTerms>, terms: &LossTerms) -> LossTerms {
    let mut next = LossTerms::default();
    next.add(&smooth.unwrap_or(*terms), 1.0 - SMOOTHING);
    next.add(terms, SMOOTHING);
    *smooth = Some(next);
    next
}

fn save(trainer: &Trainer, recipe: &Recipe, done: u64, folder: &mut RunFolder) -> Result<()> {
    folder.flush()?;
    let checkpoint = Checkpoint::of(done, recipe, trainer.state())?;
    checkpoint.save(&folder.checkpoints())?;
    // Without losses yet, there is nothing to draw.
    let _ = folder.draw();
    Ok(())
}

fn diverged(step: u64, terms: &LossTerms, folder: &RunFolder) -> anyhow::Error {
    let what = if terms.is_finite() { "grew a hundredfold" } else { "became NaN or infinite" };
    let shown = folder.path().display();
    let last = match Checkpoint::newest(&folder.checkpoints()) {
        Ok((checkpoint, _)) => {
            format!("the last good checkpoint, of step {}, is in", checkpoint.step)
        }
        Err(_) => "there is no checkpoint yet in".to_owned(),
    };
    anyhow!(
        "training diverged: the loss {what} in step {} (content {:.3e}, style {:.3e}, total \
         variation {:.3e}, temporal {:.3e}); a lower --learning-rate or --style-weight helps; {last} '{shown}'",
        step + 1,
        terms.content,
        terms.style,
        terms.tv,
        terms.temporal
    )
}

/// Restores the newest sound checkpoint of a run; returns the number of steps done.
fn restore(
    config: &TrainingConfig,
    trainer: &Trainer,
    watcher: &mut dyn RunObserver,
) -> Result<u64> {
    let (checkpoint, faults) = Checkpoint::newest(&config.folder.join("checkpoints"))?;
    for fault in faults {
        watcher.note(&format!("{fault}; the one before it is taken"));
    }
    if let Some((name, was, is)) = checkpoint.recipe.difference(&config.run.recipe) {
        bail!(
            "cannot resume '{}' with another recipe: its {name} is {was}, not {is}",
            config.folder.display()
        );
    }
    checkpoint.restore(trainer.state())?;
    Ok(checkpoint.step)
}

/// libtorch's want of memory in the user's words.
fn in_words(error: anyhow::Error, recipe: &Recipe) -> anyhow::Error {
    let Some(torch) = error.downcast_ref::<TchError>() else { return error };
    if crate::engine::is_out_of_memory(torch) {
        let (batch, size) = (recipe.batch, recipe.image_size);
        return anyhow!(
            "not enough memory to train on {batch} crops of {size}×{size} pixels with a style of \
             {} pixels: lower --image-size, --batch, --style-size or --width",
            recipe.scaled_style_sizes().into_iter().max().unwrap_or_default()
        );
    }
    anyhow!("training failed: {}", words(torch))
}

/// The description of the model.
fn description(config: &TrainingConfig, photos: Option<usize>, terms: &LossTerms) -> Description {
    let RunFile { recipe, dataset, masks, output, licence, credit, .. } = &config.run;
    let name = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let styles: Vec<String> = recipe.styles.iter().map(|style| style.name()).collect();
    let last_name = |folder: &Path| {
        folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
    };
    // Only numbers and names, which always become JSON.
    let mut facts = serde_json::to_value(recipe).unwrap_or_default();
    // Paths on the training machine are not recorded.
    let named = |style: &StyleSource| {
        let mut named = serde_json::json!({ "name": style.name(), "weight": style.weight });
        if let Some(region) = style.region {
            named["region"] = serde_json::json!(region);
        }
        named
    };
    facts["styles"] = recipe.styles.iter().map(named).collect();
    for (key, model) in [("init", &recipe.init), ("teacher", &recipe.teacher)] {
        if let Some(model) = model {
            let name = Path::new(model).file_name().unwrap_or_default().to_string_lossy();
            facts[key] = serde_json::json!(name);
        }
    }
    if let Some(photos) = photos {
        facts["dataset"] = serde_json::json!({ "name": last_name(dataset), "photos": photos });
    }
    if let Some(masks) = masks {
        facts["dataset"]["masks"] = serde_json::json!(last_name(masks));
    }
    if let Some(videos) = &config.run.videos {
        facts["dataset"]["videos"] = serde_json::json!(last_name(videos));
    }
    if let Some(styles) = &config.run.styles {
        facts["dataset"]["styles"] = serde_json::json!(last_name(styles));
    }
    facts["losses"] = serde_json::to_value(terms).unwrap_or_default();
    Description {
        styles: if recipe.styles_separate { styles } else { vec![styles.join(" + ")] },
        recipe: Some(facts),
        licence: licence.clone(),
        credit: credit.clone(),
        source: Some(format!("trained by nst-stream {}", env!("CARGO_PKG_VERSION"))),
        ..Description::new(name, architecture(recipe))
    }
}

/// The kind and sizes of the network of `init`: a model, or the folder of a run.
///
/// # Errors
/// When it cannot be read.
pub fn architecture_of(init: &str) -> Result<Architecture> {
    guarded(|| Ok(open_init(init)?.description.architecture), anyhow::Error::from)
}

/// Photos for previews when none are named: some of the dataset's, chosen by the seed.
pub fn choose_previews(dataset: &Dataset, seed: u64, count: usize) -> Vec<PathBuf> {
    let mut random = generator(seed, "previews", 0);
    let mut files: Vec<&PathBuf> = dataset.files().iter().collect();
    random.shuffle(&mut files);
    let readable = files.into_iter().filter(|file| resized(file, 64).is_ok());
    readable.take(count).cloned().collect()
}
