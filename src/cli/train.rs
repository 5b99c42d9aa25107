//! `nst-stream train`: arguments → recipe → run.

pub(super) mod bar;
mod numbers;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use bar::Bar;
use numbers::RecipeArgs;

use super::{Outcome, UsageError};
use crate::core::regions::{Color, MaskError};
use crate::engine::architecture::{Architecture, NetworkKind};
use crate::engine::device::{Device, DeviceChoice, cpu_has_matrices, resolve};
use crate::engine::precision::{Precision, PrecisionChoice};
use crate::train::config::TrainingConfig;
use crate::train::dataset::Dataset;
use crate::train::dataset_error::DatasetError;
use crate::train::optimize::regions::StyleAt;
use crate::train::recipe::{Recipe, RecipePreset, StyleSource};
use crate::train::run::{RunObserver, architecture_of, choose_previews, train};
use crate::train::run_folder::{RunFile, RunFolder};
use crate::train::vgg::Vgg;

/// Options of `train`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nst-stream train --style mosaic.jpg --dataset coco/train2014 --output mosaic.pt\n  \
    nst-stream train --style a.jpg:0.7 --style b.jpg:0.3 --dataset photos --output hybrid.pt\n  \
    nst-stream train --style a.jpg@white --style b.jpg@black --masks masks --dataset photos \
    --output both.pt\n  \
    nst-stream train --texture bricks.jpg --output bricks.pt\n  \
    nst-stream train --resume mosaic.run")]
pub struct TrainArgs {
    /// Style picture. Several are mixed into one hybrid style, by weight: a.jpg:0.7. With --masks each
    /// names its region: a.jpg@white, a.jpg:0.7@#ff0000, none@black
    #[arg(long = "style", value_name = "PICTURE", required_unless_present_any = ["resume", "style_folder", "texture"], help_heading = IO)]
    styles: Vec<StyleAt>,
    /// Folder of style pictures (.jpg, .png, .webp), searched with its subfolders: the network learns to paint in
    /// the style of any picture, also of ones it has never seen; hundreds are needed
    #[arg(long = "styles", value_name = "FOLDER", conflicts_with = "styles", help_heading = IO)]
    style_folder: Option<PathBuf>,
    /// Picture of a texture: the network learns to make such textures of any size from noise, without photos; see
    /// the command `texture`
    #[arg(long, value_name = "PICTURE", help_heading = IO, conflicts_with_all =
        ["styles", "style_folder", "dataset", "masks", "videos", "previews", "epochs"])]
    texture: Option<PathBuf>,
    /// Folder of photos (.jpg, .png, .webp), searched with its subfolders
    #[arg(long, value_name = "FOLDER", required_unless_present_any = ["resume", "texture"], help_heading = IO)]
    dataset: Option<PathBuf>,
    /// Folder with a mask for each photo (a/cat.png for a/cat.jpg) whose colours mark regions: the
    /// network learns to recognize them and paints each in its style, later without masks
    #[arg(long, value_name = "FOLDER", help_heading = IO)]
    masks: Option<PathBuf>,
    /// Folder of videos, searched with its subfolders: every second pair of the temporal loss is then of two
    /// neighbouring frames, moved along their optical flow (with --temporal-weight)
    #[arg(long, value_name = "FOLDER", help_heading = IO)]
    videos: Option<PathBuf>,
    /// Model file to write
    #[arg(short, long, value_name = "FILE.pt", required_unless_present = "resume", help_heading = IO)]
    output: Option<PathBuf>,
    /// Replace the model and the folder of its run if they exist
    #[arg(long, help_heading = IO)]
    overwrite: bool,
    /// Licence to record in the model, preferably an SPDX expression
    #[arg(long, value_name = "LICENCE", help_heading = IO)]
    licence: Option<String>,
    /// Credit to record in the model: the artist, the photographers
    #[arg(long, value_name = "TEXT", help_heading = IO)]
    credit: Option<String>,
    /// Folder for checkpoints, losses and previews [default: the output's name with .run]
    #[arg(long, value_name = "FOLDER", conflicts_with = "resume", help_heading = RUN)]
    run: Option<PathBuf>,
    /// Resume a stopped run from its newest checkpoint
    #[arg(long, value_name = "RUN", help_heading = RUN)]
    resume: Option<PathBuf>,
    /// Photo to paint as a preview; repeatable [default: four of the dataset]
    #[arg(long = "preview", value_name = "PHOTO", help_heading = RUN)]
    previews: Vec<PathBuf>,
    /// Steps between previews
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..), help_heading = RUN)]
    preview_every: u64,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..), help_heading = RUN)]
    checkpoint_every: u64,
    /// Device to train on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = RUN)]
    device: DeviceChoice,
    /// CPU threads for libtorch [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = RUN)]
    threads: Option<u16>,
    /// Loss network: VGG16 weights as Caffe's safetensors or torchvision's state dict [default: the
    /// shipped vgg16]
    #[arg(long, value_name = "FILE", help_heading = RUN)]
    vgg: Option<PathBuf>,
    // Last: the heading of a flattened struct holds for all options after it.
    #[command(flatten)]
    numbers: RecipeArgs,
}

/// Hidden values of a style predictor.
const PREDICTOR: i64 = 256;

// Headings of the help.
const IO: &str = "Input and output";
const RUN: &str = "Run";

/// Starts or resumes a training run.
///
/// # Errors
/// One line for the user; a [`UsageError`] when the arguments are to blame.
pub fn run(args: &TrainArgs, quiet: bool) -> Result<Outcome> {
    let (device, note) = resolve(args.device).map_err(|e| UsageError(format!("--device: {e}")))?;
    let mut bar = Bar::new(quiet);
    if let Some(note) = note {
        tracing::info!("{note}");
    }
    let (mut run, folder) = match &args.resume {
        Some(folder) => (with_new_paths(args, RunFolder::read(folder)?), folder.clone()),
        None => new_run(args)?,
    };
    let photos = if run.recipe.texture { None } else { Some(Dataset::open(&run.dataset, 1)?) };
    let is = photos.as_ref().map_or(0, Dataset::len);
    if args.resume.is_some() && is != run.photos {
        let was = run.photos;
        bar.note(&format!(
            "the dataset held {was} photos and now holds {is}: the results will differ"
        ));
    }
    if let (None, Some(init)) = (&args.resume, &args.numbers.init) {
        // What cannot be opened is told when the run opens it.
        if let Ok(architecture) = architecture_of(init) {
            goes_with(args, init, &architecture)?;
            run.recipe.take_architecture(&architecture);
        }
    }
    args.numbers.apply(&mut run.recipe, is);
    if args.resume.is_none() {
        complete(args, &mut run, photos.as_ref(), device, &mut bar)?;
    } else if let Some(texture) = &args.texture {
        run.recipe.styles = vec![whole(texture)];
    } else if !args.styles.is_empty() {
        (run.recipe.styles, run.recipe.unstyled) = styles(args);
    }
    run.check().map_err(UsageError)?;
    let interrupts = super::interrupts::Interrupts::watch("its checkpoints are kept")?;
    let stop = interrupts.stop().flag();
    let config = TrainingConfig {
        folder: folder.clone(),
        resume: args.resume.is_some(),
        overwrite: args.overwrite,
        device,
        threads: args.threads.map(usize::from),
        preview_every: args.preview_every,
        checkpoint_every: args.checkpoint_every,
        run,
    };
    let trained = train(&config, stop, &mut bar);
    bar.finish();
    let trained = trained.map_err(as_usage_error)?;
    let shown = folder.display();
    if trained.interrupted {
        let step = trained.step;
        bar.note(&format!(
            "stopped after step {step}; continue with `nst-stream train --resume {shown}`"
        ));
        return Ok(Outcome::Interrupted);
    }
    let output = args.output.as_ref().unwrap_or(&config.run.output).display();
    bar.note(&format!(
        "{output}: {} steps; losses, previews and evolution.jpg in '{shown}'",
        trained.step
    ));
    Ok(Outcome::Done)
}

/// A resumed run, with the paths, licence and credit that were given anew.
fn with_new_paths(args: &TrainArgs, run: RunFile) -> RunFile {
    let place = |given: &Option<PathBuf>, was| given.as_deref().map_or(was, absolute);
    RunFile {
        dataset: place(&args.dataset, run.dataset),
        masks: args.masks.as_deref().map(absolute).or(run.masks),
        videos: args.videos.as_deref().map(absolute).or(run.videos),
        styles: args.style_folder.as_deref().map(absolute).or(run.styles),
        output: place(&args.output, run.output),
        vgg: args.vgg.as_deref().map(absolute).or(run.vgg),
        licence: args.licence.clone().or(run.licence),
        credit: args.credit.clone().or(run.credit),
        ..run
    }
}

/// The absolute path: a run may be resumed from another folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Turns an error about regions without a style into a [`UsageError`].
fn as_usage_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(DatasetError::Mask(MaskError::Refused(text))) => UsageError(text.clone()).into(),
        _ => error,
    }
}

/// Checks that a run can start from a model with this network.
fn goes_with(args: &TrainArgs, init: &str, found: &Architecture) -> Result<(), UsageError> {
    let kind = found.kind.name();
    match args.numbers.arch {
        Some(arch) if arch != found.kind => {
            let arch = arch.name();
            Err(UsageError(format!(
                "--init '{init}' is a {kind} network: --arch {arch} does not go with it"
            )))
        }
        _ if found.photo == args.texture.is_some() => {
            let needs = if found.photo {
                "paints photos: it needs --style"
            } else {
                "makes textures: it needs --texture"
            };
            Err(UsageError(format!("--init '{init}' {needs}")))
        }
        _ => Ok(()),
    }
}

/// A picture as the only style.
fn whole(picture: &Path) -> StyleSource {
    StyleSource { picture: absolute(picture), weight: 1.0, region: None }
}

/// The styles, and the regions without one (`none@COLOUR`).
fn styles(args: &TrainArgs) -> (Vec<StyleSource>, Vec<Color>) {
    let (mut styles, mut unstyled) = (Vec::new(), Vec::new());
    for StyleAt { source, region } in &args.styles {
        match source {
            Some(source) => {
                let (picture, weight) = (absolute(&source.picture), source.weight);
                styles.push(StyleSource { picture, weight, region: *region });
            }
            None => unstyled.extend(*region),
        }
    }
    (styles, unstyled)
}

/// A new run and its folder, as the arguments name them.
fn new_run(args: &TrainArgs) -> Result<(RunFile, PathBuf)> {
    // Clap has made sure that they are there.
    let output = args.output.clone().unwrap_or_default();
    if output.extension().is_none_or(|ending| ending != "pt") {
        let shown = output.display();
        return Err(
            UsageError(format!("cannot write '{shown}': the name of a model ends in .pt")).into()
        );
    }
    let folder = args.run.clone().unwrap_or_else(|| output.with_extension("run"));
    let preset = args.numbers.recipe.unwrap_or(RecipePreset::Default);
    let (styles, unstyled) = styles(args);
    let recipe = match &args.texture {
        Some(picture) => Recipe::preset(preset, vec![whole(picture)]).of_texture(),
        None => Recipe::preset(preset, styles),
    };
    let run = RunFile {
        dataset: args.dataset.as_deref().map(absolute).unwrap_or_default(),
        photos: 0,
        masks: args.masks.as_deref().map(absolute),
        videos: args.videos.as_deref().map(absolute),
        styles: args.style_folder.as_deref().map(absolute),
        output: absolute(&output),
        vgg: args.vgg.as_deref().map(absolute),
        licence: args.licence.clone(),
        credit: args.credit.clone(),
        previews: args.previews.iter().map(|path| absolute(path)).collect(),
        recipe: Recipe {
            unstyled,
            predictor: if args.style_folder.is_some() { PREDICTOR } else { 0 },
            ..recipe
        },
    };
    Ok((run, folder))
}

/// Completes a new run by what depends on the machine, the photos and the loss network.
fn complete(
    args: &TrainArgs,
    run: &mut RunFile,
    photos: Option<&Dataset>,
    device: Device,
    bar: &mut Bar,
) -> Result<()> {
    run.photos = photos.map_or(0, Dataset::len);
    let precision = match args.numbers.precision.unwrap_or_default() {
        // Half precision's range is too small for gradients.
        PrecisionChoice::Auto if device.is_cuda() => Precision::Bf16,
        // Kernels compute in single precision where the CPU does not multiply matrices of bfloat16; a lite
        // network that they lack is fastest in it, too (0.59 s a step against 0.71).
        PrecisionChoice::Auto if run.recipe.arch == NetworkKind::Lite && !cpu_has_matrices() => {
            Precision::Fp32
        }
        PrecisionChoice::Exactly(Precision::Fp16) => {
            return Err(
                UsageError("--precision fp16: training takes fp32 or bf16".to_owned()).into()
            );
        }
        // Convolutions of few channels, which were tried in single precision only.
        PrecisionChoice::Auto if run.recipe.arch == NetworkKind::Texture => Precision::Fp32,
        choice => {
            let (precision, note) =
                choice.resolve(device).map_err(|e| UsageError(e.to_string()))?;
            note.iter().for_each(|note| bar.note(note));
            precision
        }
    };
    run.recipe.precision = precision;
    if let Some(photos) = photos.filter(|_| run.previews.is_empty()) {
        run.previews = choose_previews(photos, run.recipe.seed, 4);
    }
    let release = Vgg::release_of(args.vgg.as_deref())?;
    if args.numbers.has_weights() {
        // The user's own weights apply to the loss network given.
        run.recipe.loss_network = release;
    }
    run.recipe.check_release(release).map_err(UsageError)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        train: TrainArgs,
    }

    #[test]
    fn every_number_takes_the_place_of_the_presets() {
        let text = "train --style a.jpg --dataset d --output o.pt --recipe johnson \
            --content-weight 2 --style-weight 3 --tv-weight 0 --content-form relative --content-layers relu3_3:0.5,relu2_2 \
            --style-layers relu1_1 --style-form paper --tv-form absolute --style-tiles 2 --tile-share 0.5 --style-size 300,400 --style-scale 1.5 \
            --image-size 128 --batch 3 --epochs 2 --optimizer rmsprop --learning-rate 0.1 \
            --decay 0.5 --averaging 0.9 --seed 9 --noise 1 --temporal-weight 3 --exposure 1 --augment true --width 8 --residual-blocks 2 \
            --norm batch --output-layer direct --upsample nearest --padding reflect --loss-padding reflect --luminance \
            --styles-separate --arch lite --teacher mosaic --teacher-weight 2 --init mosaic --precision bf16";
        let args = Only::parse_from(text.split_whitespace()).train;
        let mut recipe = Recipe::preset(RecipePreset::Johnson, styles(&args).0);
        let before = toml::Table::try_from(&recipe).unwrap();
        args.numbers.apply(&mut recipe, 100);
        assert_eq!(recipe.steps, 67);
        let after = toml::Table::try_from(&recipe).unwrap();
        let same: Vec<&String> =
            before.keys().filter(|k| before.get(*k) == after.get(*k)).collect();
        let fixed = ["preset", "loss_network", "styles"];
        assert!(same.iter().all(|name| fixed.contains(&name.as_str())), "{same:?}");
    }

    #[test]
    fn the_defaults_in_the_help_are_those_of_the_default_recipe() {
        use clap::CommandFactory;
        let recipe =
            toml::Table::try_from(Recipe::preset(RecipePreset::Default, Vec::new())).unwrap();
        let lite = recipe_of_lite();
        let mut compared = 0;
        for argument in Only::command().get_arguments() {
            let (name, help) = (argument.get_id().as_str(), argument.get_help());
            let text = help.map(ToString::to_string).unwrap_or_default();
            let Some((_, said)) = text.rsplit_once("[default: ") else { continue };
            let said = said.trim_end_matches(']').replace('\n', " ");
            if argument.get_help_heading() != Some("Recipe")
                || ["recipe", "precision", "init"].contains(&name)
            {
                continue;
            }
            let shown = |table: &toml::Table| match table.get(name) {
                // The style's scale is left out of recipes where it is 1.
                None => "1".to_owned(),
                Some(toml::Value::String(text)) => text.clone(),
                Some(toml::Value::Float(number)) => number.to_string(),
                Some(toml::Value::Array(one)) if one.len() == 1 => one[0].to_string(),
                Some(other) => other.to_string(),
            };
            let expected = match (shown(&recipe), shown(&lite)) {
                (usual, small) if usual == small => usual,
                (usual, small) => format!("{usual}; lite: {small}"),
            };
            assert_eq!(said, expected, "--{name}");
            compared += 1;
        }
        assert!(compared > 15, "{compared}");
    }

    /// The default recipe of a lite network, but for the name of its architecture.
    fn recipe_of_lite() -> toml::Table {
        let recipe = Recipe::preset(RecipePreset::Default, Vec::new());
        let arch = recipe.arch;
        toml::Table::try_from(Recipe {
            arch,
            ..recipe.of(crate::engine::architecture::NetworkKind::Lite)
        })
        .unwrap()
    }

    #[test]
    fn a_new_run_needs_style_dataset_and_output_a_resumed_one_nothing() {
        assert!(Only::try_parse_from(["train", "--style", "a.jpg"]).is_err());
        assert!(Only::try_parse_from(["train", "--resume", "a.run"]).is_ok());
    }

    #[test]
    fn the_runs_folder_stands_beside_the_model() {
        let args = ["train", "--style", "a.jpg", "--dataset", "d", "--output", "x/wave.pt"];
        let (run, folder) = new_run(&Only::parse_from(args).train).unwrap();
        assert!(run.output.is_absolute() && run.output.ends_with("x/wave.pt"));
        assert_eq!(folder, Path::new("x/wave.run"));
    }
}
