//! `nst-stream evaluate`: figures of a model, or of a painted picture.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;

use super::UsageError;
use crate::engine::blend::Blend;
use crate::engine::device::{Device, DeviceChoice, resolve, set_threads};
use crate::engine::model::Model;
use crate::engine::model_file::ModelFile;
use crate::engine::precision::Precision;
use crate::engine::shipped;
#[cfg(feature = "media")]
use crate::engine::stylizer::NetworkStylizer;
#[cfg(feature = "media")]
use crate::steady::Steady;
use crate::train::evaluate::{Evaluation, evaluate, evaluate_pictures};
use crate::train::measures::Figures;
use crate::train::optimize::worth::{Worth, median, worth};
use crate::train::texture_figures::{TextureFigures, evaluate_textures};

/// Options of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Style model: a file, or the name of a shipped model
    #[arg(short, long, value_name = "MODEL", required_unless_present = "painted")]
    model: Option<String>,
    /// Style or mixture of a multi-style model to paint: wave, or mosaic:0.6,wave:0.4 [default: the first style]
    #[arg(long, value_name = "STYLE[:SHARE],…", conflicts_with = "painted")]
    blend: Option<Blend>,
    /// Style picture to compare with; needed for photos and painted pictures
    #[arg(short, long, value_name = "PICTURE", required_unless_present = "video")]
    style: Option<PathBuf>,
    /// Folder of photos to paint and measure; a model that makes textures needs none
    #[arg(short, long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Measure how much the model's video of this clip flickers; repeat it for several clips
    #[arg(long, value_name = "CLIP", conflicts_with_all = ["images", "photo", "style", "against_optimize"])]
    video: Vec<PathBuf>,
    /// Hold the frames of --video this steady, as the main command does, from 0 (frame by frame) to 1
    #[arg(long, value_name = "0…1", default_value_t = 0.0, requires = "video",
        value_parser = super::stream_args::fraction)]
    steady: f64,
    /// Draw the warping error of --video over time (.png or .svg)
    #[arg(long, value_name = "FILE", requires = "video")]
    plot: Option<PathBuf>,
    /// Measure this painted picture instead of a model, or with --video this painted video of the clip
    #[arg(long, value_name = "PICTURE", conflicts_with_all = ["model", "images", "steady", "against_optimize"])]
    painted: Option<PathBuf>,
    /// Photo that --painted was made from
    #[arg(long, value_name = "PICTURE", requires = "painted")]
    photo: Option<PathBuf>,
    /// Write each photo beside its painted version, as one picture (.png or .jpg); with --video, one column
    /// of pixels over time, source and painted
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Also find how many steps of `optimize`, up to N, reach the model's loss on each photo (Johnson et
    /// al., Fig. 5: 50 to 100)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    against_optimize: Option<u64>,
    /// Shorter side of the photos for --against-optimize, in pixels
    #[arg(long, value_name = "PX", default_value_t = 256, requires = "against_optimize",
        value_parser = clap::value_parser!(u32).range(32..=4096))]
    optimize_size: u32,
    /// Device to compute on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads for libtorch [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print JSON, with the figures of each photo
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
/// One line for the user.
pub fn run(args: &EvaluateArgs, quiet: bool) -> Result<()> {
    let (device, _) = resolve(args.device).map_err(|e| UsageError(format!("--device: {e}")))?;
    set_threads(args.threads.map(usize::from));
    let Some(name) = &args.model else {
        return match (&args.painted, args.video.as_slice()) {
            (Some(painted), [clip]) => evaluate_painted_video(args, clip, painted, quiet),
            (_, []) => measure_picture(args),
            _ => Err(UsageError("--painted is of one --video".to_owned()).into()),
        };
    };
    // In single precision, so that every machine gets the same figures.
    let file = shipped::open(name)?;
    if !file.description.architecture.photo && args.video.is_empty() {
        if args.blend.is_some() {
            let said = format!(
                "'{name}' makes textures, and they are of its first style: leave --blend out"
            );
            return Err(UsageError(said).into());
        }
        return measure_textures(args, name, &file, device);
    }
    let mut model = Model::from_file(&file, device, Precision::Fp32)?;
    if let Some(blend) = &args.blend {
        model.blend(blend)?;
    }
    if !args.video.is_empty() {
        return evaluate_video(args, model, quiet);
    }
    // Clap has made sure that the style is there.
    let (Some(style), Some(images)) = (&args.style, &args.images) else {
        let said = "--images names the folder of the photos to paint; --video measures clips";
        return Err(UsageError(said.to_owned()).into());
    };
    let bar = (!quiet && std::io::stderr().is_terminal()).then(|| ProgressBar::new(0));
    let sheet = args.sheet.as_deref();
    let measured = evaluate(&model, style, images, sheet, |done, of| {
        if let Some(bar) = &bar {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let measured = measured?;
    let worth = args
        .against_optimize
        .map(|steps| compare_with_optimize(args, &model, (style, images), steps, quiet))
        .transpose()?;
    if args.json {
        let mut json = evaluation_json(&measured);
        if let Some(worth) = &worth {
            json["worth_lbfgs_steps"] = serde_json::json!({
                "median": median(worth),
                "start": "noise",
                "size": args.optimize_size,
                "photos": worth,
            });
        }
        super::print(&format!("{json:#}\n"))
    } else {
        let mut text = evaluation_text(&measured)?;
        if let (Some(worth), Some(steps)) = (&worth, args.against_optimize) {
            text += &worth_text(worth, steps, args.optimize_size)?;
        }
        super::print(&text)
    }
}

/// Measures and prints how near the textures of a model are to a picture.
fn measure_textures(
    args: &EvaluateArgs,
    name: &str,
    file: &ModelFile,
    device: Device,
) -> Result<()> {
    if args.images.is_some() || args.against_optimize.is_some() {
        let said = format!(
            "'{name}' makes textures and paints no photos: leave --images and --against-optimize out"
        );
        return Err(UsageError(said).into());
    }
    // Clap has made sure that it is there.
    let Some(picture) = &args.style else { return Ok(()) };
    let figures = evaluate_textures(file, device, picture, args.sheet.as_deref())?;
    if args.json {
        return super::print(&format!("{:#}\n", serde_json::to_value(figures)?));
    }
    let mut text = String::new();
    let layers = &figures.style_layers;
    let plain = "divided by that of the picture's mean colour";
    for (name, value, meaning) in [
        (
            "style distance",
            figures.style_distance,
            "Gram matrices of four layers, 0 is the picture",
        ),
        ("  relu1_1", layers.relu1_1, "colours"),
        ("  relu2_1", layers.relu2_1, "fine texture"),
        ("  relu3_1", layers.relu3_1, "larger parts"),
        ("  relu4_1", layers.relu4_1, "large forms"),
        ("  relative", figures.style_distance_relative, plain),
        ("patch distance", figures.patch_distance, plain),
    ] {
        writeln!(text, "{name:22} {value:>12.4}  {meaning}")?;
    }
    let TextureFigures { textures, side, .. } = figures;
    writeln!(text, "mean of {textures} textures of {side}×{side}")?;
    super::print(&text)
}

/// Measures and prints how much a model's videos flicker.
#[cfg(feature = "media")]
fn evaluate_video(args: &EvaluateArgs, model: Model, quiet: bool) -> Result<()> {
    let stylizer = NetworkStylizer::new(model).with_threads(args.threads.map(usize::from));
    let files = (args.sheet.as_deref(), args.plot.as_deref());
    let stylizer = Steady::new(stylizer, args.steady as f32, None);
    let painter = super::evaluate_video::Painter::Model(Box::new(stylizer));
    super::evaluate_video::run(painter, &args.video, files, (args.json, quiet))
}

/// Measures and prints how much a painted video flickers.
#[cfg(feature = "media")]
fn evaluate_painted_video(
    args: &EvaluateArgs,
    clip: &Path,
    painted: &Path,
    quiet: bool,
) -> Result<()> {
    let files = (args.sheet.as_deref(), args.plot.as_deref());
    let painter = super::evaluate_video::Painter::Video(painted.to_owned());
    super::evaluate_video::run(painter, &[clip.to_owned()], files, (args.json, quiet))
}

#[cfg(not(feature = "media"))]
fn evaluate_painted_video(_: &EvaluateArgs, _: &Path, _: &Path, _: bool) -> Result<()> {
    anyhow::bail!("this nst-stream was built without GStreamer: it measures no videos")
}

#[cfg(not(feature = "media"))]
fn evaluate_video(_: &EvaluateArgs, _: Model, _: bool) -> Result<()> {
    anyhow::bail!("this nst-stream was built without GStreamer: it measures no videos")
}

/// Measures and prints the figures of a painted picture.
fn measure_picture(args: &EvaluateArgs) -> Result<()> {
    if args.photo.is_none() {
        let said = "--painted needs the --photo that it was made from, or the --video";
        return Err(UsageError(said.to_owned()).into());
    }
    if args.sheet.is_some() {
        return Err(UsageError("--sheet is of a model or a --video".to_owned()).into());
    }
    // Clap has made sure that all are there.
    let pair = args.painted.iter().cloned().zip(args.photo.iter().cloned());
    let Some(style) = &args.style else { return Ok(()) };
    let measured = evaluate_pictures(&pair.collect::<Vec<_>>(), style)?;
    for (_, figures) in &measured {
        if args.json {
            let json = serde_json::to_value(figures).unwrap_or_default();
            super::print(&format!("{json:#}\n"))?;
        } else {
            super::print(&figures_text(figures)?)?;
        }
    }
    Ok(())
}

/// Finds how many steps of L-BFGS reach the model's loss, for each photo.
fn compare_with_optimize(
    args: &EvaluateArgs,
    model: &Model,
    (style, images): (&Path, &Path),
    steps: u64,
    quiet: bool,
) -> Result<Vec<Worth>> {
    let bar = (!quiet && std::io::stderr().is_terminal()).then(|| ProgressBar::new(steps));
    let size = (args.optimize_size, steps);
    let found = worth(model, style, images, size, |photo, step| {
        if let Some(bar) = &bar {
            bar.set_message(format!("photo {}", photo + 1));
            bar.set_position(step);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    found
}

fn worth_text(all: &[Worth], steps: u64, size: u32) -> Result<String> {
    let mut text = String::new();
    let named = |steps_found: Option<u64>| match steps_found {
        Some(found) => found.to_string(),
        None => format!("more than {steps}"),
    };
    writeln!(
        text,
        "\nworth {} steps of L-BFGS from noise (median, photos at {size} pixels), each photo:",
        named(median(all))
    )?;
    for Worth { photo, network, content, steps, .. } in all {
        writeln!(
            text,
            "  {photo:20} {:>10}  loss {network:.4e}, untouched {content:.4e}",
            named(*steps)
        )?;
    }
    Ok(text)
}

fn evaluation_json(measured: &Evaluation) -> serde_json::Value {
    // Only numbers and names, which always become JSON.
    let mut all = serde_json::to_value(measured).unwrap_or_default();
    let photos = measured.photos.iter().map(|(name, figures)| (name.clone(), figures));
    all["photos"] =
        photos.map(|(name, f)| (name, serde_json::to_value(f).unwrap_or_default())).collect();
    all
}

fn figures_text(figures: &Figures) -> Result<String> {
    let mut text = String::new();
    let layers = &figures.style_layers;
    for (name, value, meaning) in [
        ("style distance", figures.style_distance, "Gram matrices of four layers, 0 is the style"),
        ("  relu1_1", layers.relu1_1, "colours"),
        ("  relu2_1", layers.relu2_1, "fine texture"),
        ("  relu3_1", layers.relu3_1, "strokes"),
        ("  relu4_1", layers.relu4_1, "large forms"),
        ("  relative", figures.style_distance_relative, "divided by the untouched photo's"),
        (
            "patch distance",
            figures.patch_distance,
            "small patches, divided by the untouched photo's",
        ),
        ("readability", figures.readability, "1 is the photo's own"),
    ] {
        writeln!(text, "{name:22} {value:>12.4}  {meaning}")?;
    }
    Ok(text)
}

fn evaluation_text(measured: &Evaluation) -> Result<String> {
    let Evaluation { mean, border, shift_error, photos } = measured;
    let mut text = figures_text(mean)?;
    let count = photos.len();
    for (name, value, meaning) in [
        ("border mean", border.mean, "brightness of borders minus the rest, in levels of 255"),
        ("border contrast", border.contrast, "texture of borders divided by the rest's, minus 1"),
        (
            "shift error",
            *shift_error,
            "levels of 255 apart where the photo is shifted by 1 to 3 pixels",
        ),
    ] {
        writeln!(text, "{name:22} {value:>12.4}  {meaning}")?;
    }
    writeln!(text, "mean of {count} photos, borders of {} crops", border.crops)?;
    Ok(text)
}
