//! Checks and opens everything before the first step, so that a run does not fail at its end.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use tch::{Kind, Tensor};

use super::checkpoint::Checkpoint;
use super::config::TrainingConfig;
use super::dataset::resized;
use super::network::TrainNetwork;
use super::preview::to_tensor;
use super::trainer::{Trainer, architecture, named, photos_in_a_pass};
use super::vgg::Vgg;
use crate::engine::architecture::Normalization;
use crate::engine::memory;
use crate::engine::model_file::{Description, ModelFile};
use crate::engine::shipped;

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

pub(super) fn open_trainer(config: &TrainingConfig) -> Result<Trainer> {
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
    let init = match recipe.init.as_deref() {
        Some(run) if Path::new(run).is_dir() => Some(model_of_run(Path::new(run))?),
        Some(model) => Some(shipped::open(model)?),
        None => None,
    };
    if let Some(init) = &init {
        let (found, wanted) = (&init.description.architecture, architecture(recipe));
        ensure!(
            *found == wanted,
            "--init '{}': its network is {found}, the recipe asks for {wanted}",
            recipe.init.as_deref().unwrap_or_default()
        );
    }
    let teacher = recipe.teacher.as_deref().map(shipped::open).transpose()?;
    if let Some(teacher) = &teacher {
        let (has, wanted) = (teacher.description.architecture.styles, architecture(recipe).styles);
        ensure!(
            has == wanted,
            "--teacher '{}': it paints {has} styles, the recipe asks for {wanted}",
            recipe.teacher.as_deref().unwrap_or_default()
        );
    }
    Ok(Trainer::new(recipe, vgg, &styles, init.as_ref(), teacher.as_ref(), device, kind)?)
}

/// The network of a run as its newest sound checkpoint has it.
fn model_of_run(folder: &Path) -> Result<ModelFile> {
    let (checkpoint, _) = Checkpoint::newest(&folder.join("checkpoints"))
        .with_context(|| format!("--init {}", folder.display()))?;
    let recipe = &checkpoint.recipe;
    let (cpu, float) = (tch::Device::Cpu, Kind::Float);
    let network = TrainNetwork::random(architecture(recipe), recipe.seed, cpu, float)?;
    let part = if recipe.averaging > 0.0 { "average" } else { "weight" };
    checkpoint.restore(named(part, &network))?;
    Ok(network.to_model(Description::new("init", architecture(recipe)))?)
}
