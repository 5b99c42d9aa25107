//! `nst-stream optimize`: a picture or a video in the style of a picture, without a network.

pub(super) mod clip;
mod clip_bar;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use image::RgbImage;

use super::encoding::EncodingArgs;
use super::losses::LossArgs;
use super::train::bar::Bar;
use super::{Outcome, UsageError};
use clip::ClipArgs;

use crate::core::picture::{Picture, format_for_output, rgb_frame};
use crate::engine::device::{DeviceChoice, resolve};
use crate::engine::precision::{Precision, PrecisionChoice};
use crate::stream::PartialFile;
use crate::train::optimize::color::Preserve;
use crate::train::optimize::regions::StyleAt;
use crate::train::optimize::{Init, Method, OptimizeConfig, Optimized, UsageFault, optimize};
use crate::train::preview::columns;
use crate::train::recipe::{Recipe, RecipePreset, StyleSizes};
use crate::train::run::RunObserver;
use crate::train::vgg::Vgg;

/// Options of `optimize`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nst-stream optimize --content photo.jpg --style wave.jpg --output painted.png\n  \
    nst-stream optimize --content photo.jpg --style a.jpg:0.7 --style b.jpg:0.3 --output c.png\n  \
    nst-stream optimize --content photo.jpg --style a.jpg --preserve-color histogram --output c.png\n  \
    nst-stream optimize --content photo.jpg --mask sky.png --style a.jpg@white --style b.jpg@black \
    --output c.png\n  \
    nst-stream optimize --content clip.mp4 --style wave.jpg --output painted.mp4 --size 320")]
pub struct OptimizeArgs {
    /// Photo to paint, or a video: a file, a folder of its frames or numbered pictures (frames/%04d.png)
    #[arg(short, long, value_name = "PICTURE", help_heading = IO)]
    content: PathBuf,
    /// Style picture. Several are mixed by weight: a.jpg:0.7. With --mask each names its region:
    /// a.jpg@white, a.jpg:0.7@#ff0000, none@black
    #[arg(short, long = "style", value_name = "PICTURE", required = true, help_heading = IO)]
    styles: Vec<StyleAt>,
    /// Picture to write (.png or .jpg); of a video, a video (.mp4, .mov, .mkv, .webm) or pictures (out/ or
    /// out/%05d.png)
    #[arg(short, long, value_name = "PICTURE", help_heading = IO)]
    output: PathBuf,
    /// Replace the output if it exists
    #[arg(long, help_heading = IO)]
    overwrite: bool,
    /// Picture whose colours mark regions, each named by a --style with @COLOUR (black, white, a grey
    /// value or #rrggbb)
    #[arg(long, value_name = "PICTURE", help_heading = IO)]
    mask: Option<PathBuf>,
    /// Keep the photo's colours: luminance (paint brightness only) or histogram (recolour the style
    /// first) [default: the style's colours]
    #[arg(long, value_name = "METHOD", help_heading = IO)]
    preserve_color: Option<Preserve>,
    /// Also write the picture every N steps, beside the output: painted.step-00050.png
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = IO)]
    preview_every: Option<u64>,
    /// Also write one picture of several stages side by side (.png or .jpg)
    #[arg(long, value_name = "FILE", help_heading = IO)]
    evolution: Option<PathBuf>,
    /// Shorter side of the result, in pixels [default: the content's, at most 512]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(1..=16384), help_heading = METHOD)]
    size: Option<u32>,
    /// Shorter side of the style picture, in pixels; several sizes (256,512) are combined [default: 1.5
    /// times --size]
    #[arg(long, value_name = "PX", help_heading = METHOD)]
    style_size: Option<StyleSizes>,
    /// Factor for the size of the strokes: enlarges the style picture
    #[arg(long, value_name = "X", default_value_t = 1.0, conflicts_with = "style_size", help_heading = METHOD)]
    style_scale: f64,
    /// Number of sizes to work through, each twice the one before [default: 1; 2 from 512 pixels, 3 from 1024
    /// …]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10), help_heading = METHOD)]
    levels: Option<u32>,
    /// Steps at each size; of a video, those of a frame that starts anew
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = METHOD)]
    steps: u64,
    /// End the steps at a size once the loss falls by less than this share of itself within ten steps; 0: never
    /// [default: 0; of a video, 0.01]
    #[arg(long, value_name = "0…1", value_parser = super::stream_args::fraction, help_heading = METHOD)]
    tolerance: Option<f64>,
    /// Optimizer: lbfgs or adam
    #[arg(long, value_name = "NAME", default_value = "lbfgs", help_heading = METHOD)]
    optimizer: Method,
    /// Learning rate of Adam, in levels of 255 per step
    #[arg(long, value_name = "X", default_value_t = 8.0, help_heading = METHOD)]
    learning_rate: f64,
    /// Picture to start from: content, noise or a file
    #[arg(long, value_name = "START", default_value = "content", help_heading = METHOD)]
    init: Init,
    /// Seed of the noise
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = METHOD)]
    seed: u64,
    /// Device to compute on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = METHOD)]
    device: DeviceChoice,
    /// Precision of the loss network: auto (fp32), fp32 or bf16
    #[arg(long, value_name = "PRECISION", default_value = "auto", help_heading = METHOD)]
    precision: PrecisionChoice,
    /// CPU threads for libtorch [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = METHOD)]
    threads: Option<u16>,
    /// Loss network: VGG16 weights as Caffe's safetensors or torchvision's state dict [default: the
    /// shipped vgg16]
    #[arg(long, value_name = "FILE", help_heading = METHOD)]
    vgg: Option<PathBuf>,
    /// Losses to start from: default, classic, paper, pytorch or johnson, as in `train`
    #[arg(long, value_name = "NAME", default_value = "default", help_heading = METHOD)]
    recipe: RecipePreset,
    // These must come last: the help heading of a flattened struct also applies to all options after it.
    #[command(flatten)]
    losses: LossArgs,
    #[command(flatten)]
    clip: ClipArgs,
    #[command(flatten)]
    encoding: EncodingArgs,
}

// Headings of the help.
const IO: &str = "Input and output";
const METHOD: &str = "Optimization";

/// Columns of the evolution grid.
const COLUMNS: u64 = 6;

/// Paints a picture or a video, writes it, and reports how it went.
///
/// # Errors
/// One line for the user; a [`UsageError`] when the arguments are to blame.
pub fn run(args: &OptimizeArgs, quiet: bool) -> Result<Outcome> {
    match clip::is_wanted(args)? {
        true => clip::run(args, quiet),
        false => paint_picture(args, quiet),
    }
}

/// Optimizes the picture, writes it, and reports the losses.
fn paint_picture(args: &OptimizeArgs, quiet: bool) -> Result<Outcome> {
    let usage = |text: String| UsageError(text);
    for (option, path) in
        [("--output", Some(&args.output)), ("--evolution", args.evolution.as_ref())]
    {
        let Some(path) = path else { continue };
        if format_for_output(path).is_none() {
            let shown = path.display();
            return Err(
                usage(format!("{option} '{shown}': its name must end in .png or .jpg")).into()
            );
        }
        if path.exists() && !args.overwrite {
            anyhow::bail!("'{}' already exists; use --overwrite to replace it", path.display());
        }
    }
    let (config, grid) = with_shown_steps(args, config(args)?)?;
    let mut bar = Bar::new(quiet);
    // Created now, so that a folder that cannot be written is told before the work.
    let file = partial(&args.output)?;
    let interrupts = super::interrupts::Interrupts::watch("nothing was written")?;
    let stop = interrupts.stop().flag();
    let mut seen: Vec<(u64, RgbImage)> = Vec::new();
    let made = optimize(&config, stop, &mut bar, &mut |step, picture| {
        if step > 0 && args.preview_every.is_some_and(|every| step.is_multiple_of(every)) {
            save(&picture, &preview_path(&args.output, step))?;
        }
        if grid.contains(&step) {
            seen.push((step, picture));
        }
        Ok(())
    });
    bar.finish();
    let made = made.map_err(as_usage_error)?;
    commit(file, &made.picture, &args.output)?;
    if let Some(path) = &args.evolution {
        let shown: Vec<_> = seen
            .into_iter()
            .filter(|(step, _)| *step < made.steps)
            .chain([(made.steps, made.picture.clone())])
            .map(|(step, picture)| (format!("step {step}"), vec![picture]))
            .collect();
        save(&columns(&shown)?, path)?;
    }
    report(args, &made, &mut bar);
    Ok(if made.interrupted { Outcome::Interrupted } else { Outcome::Done })
}

fn report(args: &OptimizeArgs, made: &Optimized, bar: &mut Bar) {
    let Optimized { terms, start, steps, evaluations, .. } = made;
    bar.note(&format!(
        "{}: {steps} steps, {evaluations} evaluations; loss {:.4e} (content {:.3e}, style {:.3e}, \
         total variation {:.3e}), at the start {:.4e}",
        args.output.display(),
        terms.total(),
        terms.content,
        terms.style,
        terms.tv,
        start.total()
    ));
}

/// The configuration.
fn config(args: &OptimizeArgs) -> Result<OptimizeConfig> {
    let (device, note) = resolve(args.device).map_err(|e| UsageError(format!("--device: {e}")))?;
    if let Some(note) = note {
        tracing::info!("{note}");
    }
    let precision = match args.precision {
        PrecisionChoice::Auto => Precision::Fp32,
        PrecisionChoice::Exactly(Precision::Fp16) => {
            let said = "--precision fp16: gradients need the range of fp32 or bf16";
            return Err(UsageError(said.to_owned()).into());
        }
        choice @ PrecisionChoice::Exactly(_) => {
            choice.resolve(device).map_err(|e| UsageError(e.to_string()))?.0
        }
    };
    let styles = args.styles.iter().filter_map(|style| style.source.clone()).collect();
    let mut recipe = Recipe {
        steps: args.steps,
        learning_rate: args.learning_rate,
        style_scale: args.style_scale,
        seed: args.seed,
        ..Recipe::preset(args.recipe, styles).of_one_picture()
    };
    args.losses.apply(&mut recipe);
    if args.losses.has_weights() {
        // Weights of one's own are for the loss network at hand.
        recipe.loss_network = Vgg::release_of(args.vgg.as_deref())?;
    }
    Ok(OptimizeConfig {
        content: args.content.clone(),
        styles: args.styles.clone(),
        mask: args.mask.clone(),
        recipe,
        vgg: args.vgg.clone(),
        size: args.size,
        style_size: args.style_size.clone(),
        levels: args.levels,
        tolerance: args.tolerance.unwrap_or_default(),
        method: args.optimizer,
        init: args.init.clone(),
        preserve: args.preserve_color,
        device,
        precision,
        threads: args.threads.map(usize::from),
        shown: Vec::new(),
    })
}

/// Adds the steps that are shown; returns those of the evolution grid, too.
fn with_shown_steps(
    args: &OptimizeArgs,
    mut config: OptimizeConfig,
) -> Result<(OptimizeConfig, Vec<u64>)> {
    let total = config.level_count().map_err(as_usage_error)? * args.steps;
    let grid = args.evolution.as_ref().map(|_| evolution_steps(total)).unwrap_or_default();
    let previews = args.preview_every.map(|every| (every..=total).step_by(every as usize));
    config.shown = previews.into_iter().flatten().chain(grid.iter().copied()).collect();
    config.shown.sort_unstable();
    Ok((config, grid))
}

/// Turns a refusal of the arguments into a [`UsageError`].
fn as_usage_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<UsageFault>() {
        Ok(refused) => UsageError(refused.0).into(),
        Err(error) => error,
    }
}

/// Steps shown in the evolution grid, at quadratic distances: early steps change most.
fn evolution_steps(total: u64) -> Vec<u64> {
    let last = COLUMNS - 1;
    (0..=last).map(|n| (total * n * n).div_ceil(last * last)).collect()
}

/// The path of a preview: `painted.step-00050.png` beside `painted.png`.
fn preview_path(output: &Path, step: u64) -> PathBuf {
    let stem = output.file_stem().unwrap_or_default().to_string_lossy();
    let ending = output.extension().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!("{stem}.step-{step:05}.{ending}"))
}

fn partial(path: &Path) -> Result<PartialFile> {
    PartialFile::beside(path).with_context(|| format!("cannot write '{}'", path.display()))
}

fn save(picture: &RgbImage, path: &Path) -> Result<()> {
    commit(partial(path)?, picture, path)
}

fn commit(file: PartialFile, picture: &RgbImage, path: &Path) -> Result<()> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let frame = rgb_frame(width, height, picture.as_raw().clone());
    Picture::from_frame(frame).save(file.path(), path)?;
    file.commit().with_context(|| format!("cannot write '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_begins_at_the_start_and_ends_at_the_end() {
        assert_eq!(evolution_steps(100), [0, 4, 16, 36, 64, 100]);
        assert_eq!(evolution_steps(1), [0, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn previews_stand_beside_the_output() {
        assert_eq!(preview_path(Path::new("x/a.b.png"), 50), Path::new("x/a.b.step-00050.png"));
    }
}
