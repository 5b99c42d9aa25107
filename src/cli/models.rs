//! `nst-stream models`: lists the shipped models, shows what a model file says about itself,
//! imports published networks, averages models, exports for other programs.

mod average;
mod export;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::table;
use crate::cli::text::{megabytes, printable};
use crate::engine::model_file::{Description, ModelFile};
use crate::engine::shipped::{self, ModelRole, Shipped};

/// Arguments of `models`.
#[derive(Args, Clone, Debug)]
pub struct ModelsArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub command: Option<ModelsCommand>,
}

/// What `models` can do.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the shipped models
    List {
        /// Print JSON: an array with one object for each model
        #[arg(long)]
        json: bool,
    },
    /// Show the description of a model
    Show {
        /// Style model: a file, or the name of a shipped model
        #[arg(value_name = "NAME|FILE")]
        model: String,
        /// Print JSON, with the shapes of all tensors
        #[arg(long)]
        json: bool,
    },
    /// Convert a published PyTorch network into a model file
    Import(ImportArgs),
    /// Average the weights of models that were fine-tuned from the same one
    Average(average::AverageArgs),
    /// Write a model as ONNX, TorchScript or safetensors for other programs
    Export(export::ExportArgs),
}

/// Arguments of `models import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Network: a state dict saved by PyTorch (.pt, .pth, .model), or safetensors
    pub file: PathBuf,
    /// Model file to write (half precision)
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Name of the model [default: the output's file name without its extension]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Name of its style [default: the model's name]
    #[arg(long, value_name = "NAME")]
    pub style: Option<String>,
    /// Licence of the weights, preferably an SPDX expression
    #[arg(long)]
    pub licence: Option<String>,
    /// Where the weights come from
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Whom to credit
    #[arg(long, value_name = "TEXT")]
    pub credit: Option<String>,
    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,
}

/// Runs `models`.
///
/// # Errors
///
/// When the model cannot be read, or the output exists or cannot be written.
pub fn run(args: ModelsArgs) -> anyhow::Result<()> {
    let text = match args.command {
        None | Some(ModelsCommand::List { json: false }) => list()?,
        Some(ModelsCommand::List { json: true }) => list_json()?,
        Some(ModelsCommand::Show { model, json }) => show(&model, json)?,
        Some(ModelsCommand::Import(args)) => import(args)?,
        Some(ModelsCommand::Average(args)) => average::run(&args)?,
        Some(ModelsCommand::Export(args)) => export::run(&args)?,
    };
    // `models | head -1` closes the pipe early: that is no error.
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn list() -> anyhow::Result<String> {
    let manifest = shipped::manifest().context("the manifest of the shipped models")?;
    let mut rows = vec![["NAME", "STYLES", "ARCHITECTURE", "SIZE", "LICENCE"].map(str::to_owned)];
    let mut loss = String::new();
    for &Shipped { name, role, bytes, .. } in shipped::all() {
        let size = megabytes(bytes.len() as u64);
        match role {
            ModelRole::Style | ModelRole::Any => {
                let Description { styles, architecture, licence, .. } =
                    shipped::open(name)?.description;
                let licence = licence.unwrap_or_default();
                rows.push([
                    name.to_owned(),
                    match role {
                        ModelRole::Any => "any picture's (--style)".to_owned(),
                        // `models show` lists them.
                        _ if styles.len() > 3 => format!("{} styles (--blend)", styles.len()),
                        _ => styles.join(", "),
                    },
                    architecture.to_string(),
                    size,
                    licence,
                ]);
            }
            ModelRole::Loss => {
                let licence = manifest.entry(name).map_or("", |entry| &entry.licence);
                writeln!(loss, "\nFor training: {name}, {size}, {licence}")?;
            }
        }
    }
    Ok(table(&rows) + &loss)
}

fn list_json() -> anyhow::Result<String> {
    let manifest = shipped::manifest().context("the manifest of the shipped models")?;
    let mut all = Vec::new();
    for &Shipped { name, role, bytes, .. } in shipped::all() {
        let entry = manifest.entry(name).with_context(|| format!("the manifest lacks '{name}'"))?;
        let mut found = serde_json::json!({
            "name": name,
            "role": role,
            "about": entry.about,
            "licence": entry.licence,
            "credit": entry.credit,
            "bytes": bytes.len(),
        });
        if role != ModelRole::Loss {
            let Description { styles, architecture, .. } = shipped::open(name)?.description;
            found["styles"] = styles.into();
            found["architecture"] = architecture.to_string().into();
        }
        all.push(found);
    }
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn show(name: &str, json: bool) -> anyhow::Result<String> {
    let model = shipped::open(name)?;
    let path = Path::new(name);
    let size = if path.is_file() {
        path.metadata().with_context(|| format!("cannot read '{name}'"))?.len()
    } else {
        shipped::find(name).map_or(0, |shipped| shipped.bytes.len() as u64)
    };
    if json { show_json(&model, size) } else { show_text(&model, size) }
}

fn show_text(model: &ModelFile, size: u64) -> anyhow::Result<String> {
    let description = &model.description;
    let mut dtypes: Vec<&str> = model.tensors.values().map(|t| t.dtype.name()).collect();
    dtypes.sort_unstable();
    dtypes.dedup();
    let unknown = || "unknown".to_owned();
    let mut rows = vec![
        ["name", &description.name].map(str::to_owned),
        ["styles", &description.styles.join(", ")].map(str::to_owned),
        ["architecture".to_owned(), description.architecture.to_string()],
        ["parameters".to_owned(), thousands(description.architecture.parameter_count())],
        ["tensors".to_owned(), format!("{}, {}", model.tensors.len(), dtypes.join(", "))],
        ["size".to_owned(), megabytes(size)],
        ["licence".to_owned(), description.licence.clone().unwrap_or_else(unknown)],
    ];
    for (key, value) in [("credit", &description.credit), ("source", &description.source)] {
        if let Some(value) = value {
            rows.push([key.to_owned(), value.clone()]);
        }
    }
    for [_, value] in &mut rows {
        *value = printable(value);
    }
    let mut text = table(&rows);
    if let Some(recipe) = &description.recipe {
        let recipe = serde_json::to_string_pretty(recipe)?;
        for (number, line) in recipe.lines().enumerate() {
            let key = if number == 0 { "recipe" } else { "" };
            writeln!(text, "{key:12}  {}", printable(line))?;
        }
    }
    Ok(text)
}

fn show_json(model: &ModelFile, size: u64) -> anyhow::Result<String> {
    let tensors: Vec<_> = model
        .description
        .architecture
        .parameters()
        .into_iter()
        .map(|(name, shape)| {
            let dtype = model.tensors.get(&name).map(|t| t.dtype.name());
            serde_json::json!({ "name": name, "shape": shape, "dtype": dtype })
        })
        .collect();
    let all = serde_json::json!({
        "description": model.description,
        "parameters": model.description.architecture.parameter_count(),
        "bytes": size,
        "tensors": tensors,
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn import(args: ImportArgs) -> anyhow::Result<String> {
    let ImportArgs { file, output, name, style, licence, source, credit, overwrite } = args;
    if output.exists() && !overwrite {
        bail!("'{}' already exists; use --overwrite to replace it", output.display());
    }
    let mut model = ModelFile::open(&file)?;
    let description = &mut model.description;
    let stem = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let had_default_style = description.styles == [description.name.clone()];
    description.name = name.unwrap_or(stem);
    if let Some(style) = style {
        description.styles = vec![style];
    } else if had_default_style {
        description.styles = vec![description.name.clone()];
    }
    description.licence = licence.or(description.licence.take());
    description.source = source.or(description.source.take());
    description.credit = credit.or(description.credit.take());
    model.save(&output)?;
    let size = output.metadata().map_or(0, |metadata| metadata.len());
    Ok(format!(
        "{}: {}, {} tensors, {}\n",
        output.display(),
        model.description.architecture,
        model.tensors.len(),
        megabytes(size)
    ))
}

/// `1,679,235`
fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_679_235), "1,679,235");
        assert_eq!(thousands(108_771), "108,771");
    }
}
