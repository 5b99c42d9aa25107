//! Checks and opens everything before the first step, so that a run does not fail at its end.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tch::{Kind, Tensor};

use super::checkpoint::Checkpoint;
use super::config::TrainingConfig;
use super::dataset::{Dataset, resized};
use super::network::TrainNetwork;
use super::preview::to_tensor;
use super::statistics::StyleReader;
use super::style_pictures::StylePictures;
use super::style_predictor::StylePredictor;
use super::trainer::{Trainer, architecture, named, photos_in_a_pass};
use super::vgg::Vgg;
use crate::engine::architecture::Normalization;
use crate::engine::blend::Blend;
use crate::engine::export::blended;
use crate::engine::memory;
use crate::engine::model_file::{Description, ModelFile};
use crate::engine::predictor::STATISTICS;
use crate::engine::shipped;
use crate::train::recipe::Recipe;

/// What training takes on the CPU beside the pixels of a pass, bytes: libtorch, the loss network,
/// the network and its optimizer.
const MEMORY_AT_REST: f64 = 0.3e9;
/// What each pixel of a pass takes, bytes, measured from 256² to 768².
const MEMORY_A_PIXEL: f64 = 8_000.0;

/// Reports before the training that memory is insufficient; the system would kill the process without a
/// message.
pub(super) fn enough_memory(config: &TrainingConfig) -> Result<()> {
    let recipe = &config.run.recipe;
    let Some(free) = memory::free().filter(|_| !config.device.is_cuda()) else { return Ok(()) };
    let pixels = f64::from(recipe.image_size).powi(2) * photos_in_a_pass(recipe, false) as f64;
    // The style picture goes through the loss network only, without gradients.
    let style = recipe.scaled_style_sizes().into_iter().max().unwrap_or_default();
    let style = f64::from(style).powi(2) * 1.5 / 4.0;
    let needed = MEMORY_AT_REST + MEMORY_A_PIXEL * pixels.max(style);
    ensure!(
        needed <= free,
        "not enough memory: training on crops of {0}×{0} pixels needs about {1:.1} GB, {2:.1} GB \
         are free; lower --image-size or --style-size{3}",
        recipe.image_size,
        needed / 1e9,
        free / 1e9,
        if recipe.norm == Normalization::Batch { " or --batch" } else { "" }
    );
    Ok(())
}

/// Checks before the training that the model file can be written.
pub(super) fn writable(output: &Path, overwrite: bool) -> Result<()> {
    let shown = output.display();
    if output.exists() && !overwrite {
        bail!("'{shown}' already exists; use --overwrite to replace it");
    }
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = tempfile_in(folder);
    probe.with_context(|| format!("cannot write '{shown}'"))
}

fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".nst-stream.{}.probe", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(&probe)
}

pub(super) fn open_trainer(config: &TrainingConfig, photos: Option<&Dataset>) -> Result<Trainer> {
    let recipe = &config.run.recipe;
    let device = config.device.torch();
    let kind = recipe.precision.kind();
    let vgg = match &config.run.vgg {
        Some(path) => Vgg::open(path, device, kind)?,
        None => Vgg::shipped(device, kind)?,
    };
    recipe.check_release(vgg.release()).map_err(anyhow::Error::msg)?;
    let mut styles: Vec<Vec<Tensor>> = Vec::new();
    for style in &recipe.styles {
        let sizes = recipe.scaled_style_sizes();
        let at = |size| Ok(to_tensor(&resized(&style.picture, size)?)?);
        styles.push(sizes.into_iter().map(at).collect::<Result<_>>()?);
    }
    let init = recipe.init.as_deref().map(open_init).transpose()?;
    // Its own style predictor tells where to start.
    let init = match init {
        Some(any) if recipe.predictor == 0 && any.description.architecture.predictor.is_some() => {
            Some(predicted_start(&any, recipe)?)
        }
        init => init,
    };
    if let Some(init) = &init {
        let (mut found, wanted) = (init.description.architecture.clone(), architecture(recipe));
        if recipe.predictor > 0 {
            let hidden = found.predictor.take();
            ensure!(
                hidden.is_none_or(|hidden| hidden == recipe.predictor),
                "--init '{}': its style predictor has {} hidden values, the recipe asks for {}",
                recipe.init.as_deref().unwrap_or_default(),
                hidden.unwrap_or_default(),
                recipe.predictor
            );
            found.styles = wanted.styles;
        }
        ensure!(
            found == wanted,
            "--init '{}': its network is {found}, the recipe asks for {wanted}",
            recipe.init.as_deref().unwrap_or_default()
        );
    }
    let teacher = recipe.teacher.as_deref().map(shipped::open).transpose()?;
    if let Some(teacher) = &teacher {
        teacher.check_style(recipe.teacher.as_deref().unwrap_or_default())?;
        let (has, wanted) = (teacher.description.architecture.styles, architecture(recipe).styles);
        ensure!(
            has == wanted,
            "--teacher '{}': it paints {has} styles, the recipe asks for {wanted}",
            recipe.teacher.as_deref().unwrap_or_default()
        );
    }
    let trainer =
        Trainer::new(recipe, vgg, &styles, init.as_ref(), teacher.as_ref(), device, kind)?;
    let (Some(folder), Some(photos)) = (&config.run.styles, photos) else { return Ok(trainer) };
    let size = recipe.scaled_style_sizes().into_iter().max().unwrap_or_default();
    let pictures = StylePictures::open(folder, size, recipe.seed)?;
    trainer.with_predictor(pictures, photos, init.as_ref())
}

/// The network that a model with a style predictor paints the styles of a recipe with: one for each, or their
/// mixture.
fn predicted_start(any: &ModelFile, recipe: &Recipe) -> Result<ModelFile> {
    let model = StyleReader::new()?.model(any, &recipe.styles)?;
    if recipe.styles_separate {
        return Ok(model);
    }
    let names = model.description.styles.iter().cloned();
    let shares = Blend::of(names.zip(recipe.styles.iter().map(|style| style.weight)));
    Ok(blended(&model, &shares.context("a recipe without a style")?)?)
}

/// What a run starts from: a model, or the network of another run.
pub(super) fn open_init(init: &str) -> Result<ModelFile> {
    match Path::new(init) {
        run if run.is_dir() => model_of_run(run),
        _ => Ok(shipped::open(init)?),
    }
}

/// The network of a run as its newest sound checkpoint has it.
fn model_of_run(folder: &Path) -> Result<ModelFile> {
    let (checkpoint, _) = Checkpoint::newest(&folder.join("checkpoints"))
        .with_context(|| format!("--init {}", folder.display()))?;
    let recipe = &checkpoint.recipe;
    let (cpu, float) = (tch::Device::Cpu, Kind::Float);
    let network = TrainNetwork::random(architecture(recipe), recipe.seed, cpu, float)?;
    let part = if recipe.averaging > 0.0 { "average" } else { "weight" };
    let description = Description::new("init", architecture(recipe));
    if recipe.predictor == 0 {
        checkpoint.restore(named(part, &network, None))?;
        return Ok(network.to_model(description)?);
    }
    let statistics = Tensor::f_zeros([1, STATISTICS as i64], (float, cpu))?;
    let norms = network.norm_row(0)?;
    let predictor = StylePredictor::random(&statistics, &norms, recipe.predictor, recipe.seed)?;
    checkpoint.restore(named(part, &network, Some(&predictor)))?;
    Ok(predictor.model_of(network.to_model(description)?)?)
}
