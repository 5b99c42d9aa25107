//! `nst-stream styles`: models that paint in the style of a picture, without training.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use super::UsageError;
use super::text::megabytes;
use crate::engine::blend::Blend;
use crate::engine::export::blended;
use crate::engine::model_file::ModelFile;
use crate::engine::shipped;
use crate::train::recipe::StyleSource;
use crate::train::statistics::StyleReader;

/// The model that paints in the style of any picture.
pub(super) const ANY: &str = "any-lite";

/// Arguments of `styles`.
#[derive(Args, Clone, Debug)]
pub struct StylesArgs {
    /// What to do
    #[command(subcommand)]
    pub command: StylesCommand,
}

/// What `styles` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum StylesCommand {
    /// Write the style of a picture as a model of its own, which needs the picture no more
    Save(SaveArgs),
}

/// Arguments of `styles save`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    nst-stream styles save wave.jpg --output wave.pt\n  \
    nst-stream styles save wave.jpg:0.7 night.jpg:0.3 --output both.pt")]
pub struct SaveArgs {
    /// Style picture; several are mixed, each with its share: a.jpg:0.7
    #[arg(value_name = "PICTURE[:SHARE]", required = true)]
    pictures: Vec<StyleSource>,
    /// Model file to write
    #[arg(short, long, value_name = "FILE.pt")]
    output: PathBuf,
    /// Model with a style predictor: a file, or the name of a shipped model
    #[arg(short, long, value_name = "MODEL", default_value = ANY)]
    model: String,
    /// Keep each picture's style apart (for --blend), instead of mixing them
    #[arg(long)]
    separate: bool,
    /// Licence to record in the model [default: that of the model]
    #[arg(long)]
    licence: Option<String>,
    /// Whom to credit [default: whom the model credits]
    #[arg(long, value_name = "TEXT")]
    credit: Option<String>,
    /// Replace the output if it exists
    #[arg(long)]
    overwrite: bool,
}

/// Runs `styles`; returns a message for the user.
///
/// # Errors
/// One line: when a picture or the model cannot be read, or the output is there already or cannot be written.
pub fn run(args: &StylesArgs) -> Result<String> {
    let StylesCommand::Save(args) = &args.command;
    let file = args.output.display();
    if args.output.exists() && !args.overwrite {
        bail!("'{file}' already exists; use --overwrite to replace it");
    }
    if args.output.extension().is_none_or(|ending| ending != "pt") {
        bail!(UsageError(format!("cannot write '{file}': the name of a model ends in .pt")));
    }
    let model = predicted(&args.model, &args.pictures)?;
    let mut model = match args.separate {
        true => model,
        false => blended(&model, &shares(&args.pictures, &model)?)?,
    };
    let description = &mut model.description;
    description.name = args.output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !args.separate {
        description.styles = vec![description.name.clone()];
    }
    description.licence = args.licence.clone().or(description.licence.take());
    description.credit = args.credit.clone().or(description.credit.take());
    model.save(&args.output)?;
    let size = std::fs::metadata(&args.output).with_context(|| format!("cannot read '{file}'"))?;
    Ok(format!("{file}: {}, {}\n", model.description.architecture, megabytes(size.len())))
}

/// A model with a style for each of the pictures, predicted by this model.
///
/// # Errors
/// One line: when a picture or the model cannot be read, or the model has no style predictor.
pub(super) fn predicted(model: &str, pictures: &[StyleSource]) -> Result<ModelFile> {
    let any = shipped::open(model)?;
    if any.description.architecture.predictor.is_none() {
        bail!(UsageError(format!(
            "'{model}' paints its own style: a picture's style needs a model that predicts it, such as {ANY}"
        )));
    }
    StyleReader::new()?.model(&any, pictures)
}

/// The shares of the pictures' styles in their model.
fn shares(pictures: &[StyleSource], model: &ModelFile) -> Result<Blend> {
    let names = model.description.styles.iter();
    let parts = names.zip(pictures).map(|(name, picture)| (name.clone(), picture.weight));
    Blend::of(parts).context("a mixture of styles")
}
