//! `nst-stream evaluate`: figures of a model.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;

use super::UsageError;
use crate::engine::device::{DeviceChoice, resolve, set_threads};
use crate::engine::model::Model;
use crate::engine::precision::Precision;
use crate::train::evaluate::{Evaluation, evaluate};

/// Options of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Style model: a file, or the name of a shipped one.
    #[arg(short, long)]
    model: String,
    /// The picture whose style it paints.
    #[arg(short, long, value_name = "PICTURE")]
    style: PathBuf,
    /// Folder of photos to measure on.
    #[arg(short, long, value_name = "FOLDER")]
    images: PathBuf,
    /// Print everything as JSON, each photo's own figures among it.
    #[arg(long)]
    json: bool,
    /// Write each photo beside what the model makes of it (.png or .jpg).
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads of libtorch [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Measures and prints.
///
/// # Errors
/// One line for the user.
pub fn run(args: &EvaluateArgs, quiet: bool) -> Result<()> {
    let (device, _) = resolve(args.device).map_err(|e| UsageError(format!("--device: {e}")))?;
    set_threads(args.threads.map(usize::from));
    // In single precision, so that every machine gets the same figures.
    let model = Model::open(&args.model, false, device, Precision::Fp32)?;
    let bar = (!quiet && std::io::stderr().is_terminal()).then(|| ProgressBar::new(0));
    let sheet = args.sheet.as_deref();
    let measured = evaluate(&model, &args.style, &args.images, sheet, |done, of| {
        if let Some(bar) = &bar {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let measured = measured?;
    if args.json {
        super::print(&format!("{:#}\n", in_json(&measured)))
    } else {
        super::print(&in_words(&measured)?)
    }
}

fn in_json(measured: &Evaluation) -> serde_json::Value {
    // Only numbers and names, which always become JSON.
    let mut all = serde_json::to_value(measured).unwrap_or_default();
    let photos = measured.photos.iter().map(|(name, figures)| (name.clone(), figures));
    all["photos"] =
        photos.map(|(name, f)| (name, serde_json::to_value(f).unwrap_or_default())).collect();
    all
}

fn in_words(measured: &Evaluation) -> Result<String> {
    let Evaluation { mean, border, photos } = measured;
    let mut text = String::new();
    let count = photos.len();
    for (name, value, meaning) in [
        ("content", mean.content, "content loss at relu2_2"),
        ("style", mean.style, "style loss, four layers, equal weights"),
        ("tv", mean.tv, "difference of neighbouring pixels, levels"),
        ("style relative", mean.style_relative, "style loss over the untouched photo's"),
        ("gradient correlation", mean.gradient_correlation, "readability, 1 is the photo's own"),
        ("border mean", border.mean, "brightness of borders less the rest, levels"),
        ("border contrast", border.contrast, "texture of borders over the rest's, less 1"),
    ] {
        writeln!(text, "{name:22} {value:>12.4}  {meaning}")?;
    }
    writeln!(text, "mean of {count} photos, borders of {} pieces", border.pieces)?;
    Ok(text)
}
