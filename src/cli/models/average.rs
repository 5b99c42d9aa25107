//! `nst-stream models average`: one model of several.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::cli::UsageError;
use crate::cli::text::megabytes;
use crate::core::named_values::weighted;
use crate::engine::model_file::ModelFile;
use crate::engine::shipped;

/// Arguments of `models average`.
#[derive(Args, Clone, Debug)]
pub struct AverageArgs {
    /// Models to average, shipped or files, each with its share: a.pt:0.3
    #[arg(value_name = "NAME|FILE[:SHARE]", required = true)]
    pub models: Vec<WeightedModel>,
    /// Model file to write (half precision)
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Licence of the result, preferably an SPDX expression [default: that of the models, if they agree]
    #[arg(long)]
    pub licence: Option<String>,
    /// Whom to credit [default: whom the models credit]
    #[arg(long, value_name = "TEXT")]
    pub credit: Option<String>,
    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,
}

/// A model and its share.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedModel {
    /// Its name, or its file.
    pub model: String,
    /// Above 0; 1 where none is named.
    pub share: f64,
}

impl FromStr for WeightedModel {
    type Err = String;

    /// `mosaic`, or `mosaic.pt:0.7`
    fn from_str(text: &str) -> Result<Self, String> {
        let (model, share) = weighted(text)?;
        Ok(WeightedModel { model: model.to_owned(), share })
    }
}

/// Writes the file; returns a message for the user.
///
/// # Errors
/// [`UsageError`] for a single model; when a model cannot be read, their networks differ, or the output is there already or cannot be
/// written.
pub fn run(args: &AverageArgs) -> anyhow::Result<String> {
    let AverageArgs { models, output, licence, credit, overwrite } = args;
    if models.len() < 2 {
        bail!(UsageError("models average needs at least two models".to_owned()));
    }
    let file = output.display();
    if output.exists() && !overwrite {
        bail!("'{file}' already exists; use --overwrite to replace it");
    }
    let open = |part: &WeightedModel| anyhow::Ok((shipped::open(&part.model)?, part.share));
    let opened = models.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let name = output.file_stem().unwrap_or_default().to_string_lossy();
    let mut mean =
        ModelFile::averaged(&opened, &name).map_err(|why| anyhow!("cannot average {why}"))?;
    let description = &mut mean.description;
    description.licence = licence.clone().or(description.licence.take());
    description.credit = credit.clone().or(description.credit.take());
    mean.save(output)?;
    let size = std::fs::metadata(output).with_context(|| format!("cannot read '{file}'"))?.len();
    let architecture = &mean.description.architecture;
    Ok(format!(
        "{file}: the mean of {} models, {architecture}, {}\n",
        models.len(),
        megabytes(size)
    ))
}
