//! `nst-stream models export`: a model for other programs.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use crate::cli::UsageError;
use crate::cli::text::{megabytes, printable};
use crate::engine::blend::Blend;
use crate::engine::export::{self, Format};
use crate::engine::model_file::{ModelError, write_atomically};
use crate::engine::shipped;

/// Arguments of `models export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Style model: a file, or the name of a shipped model
    #[arg(value_name = "NAME|FILE")]
    pub model: String,
    /// Format: onnx, torchscript or safetensors (weights only)
    #[arg(long, value_name = "FORMAT")]
    pub to: Format,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Style or mixture (wave, or mosaic:0.6,wave:0.4) to fix in a multi-style model [default: all styles,
    /// with their shares as a second input `style`]
    #[arg(long, value_name = "STYLE[:SHARE],…")]
    pub blend: Option<Blend>,
    /// Write the model's style predictor instead, as an ONNX graph of its own: from a picture to the
    /// input `style` of the network
    #[arg(long, conflicts_with = "blend")]
    pub predictor: bool,
    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,
}

/// Writes the file; returns a message for the user.
///
/// # Errors
/// When the model cannot be read, has no such style or is too large for the format; when the output is
/// there already or cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<String> {
    let ExportArgs { model: name, to, output, blend, predictor, overwrite } = args;
    if output.exists() && !overwrite {
        bail!("'{}' already exists; use --overwrite to replace it", output.display());
    }
    let mut model = match shipped::open(name) {
        Err(ModelError::TorchScript { file }) => {
            bail!(
                "'{file}' is a TorchScript program: it is exported already, and holds no plain model"
            )
        }
        model => model?,
    };
    if *predictor && *to != Format::Onnx {
        bail!(UsageError("--predictor: only as ONNX, --to onnx".to_owned()));
    }
    // ONNX has an input for the norms that a predictor makes; tensors alone are written as they are.
    let predicted = model.description.architecture.predictor.is_some();
    if *to == Format::TorchScript || *to == Format::Onnx && !predicted {
        model.check_style(name)?;
    }
    if let Some(blend) = blend {
        model = export::blended(&model, blend)?;
    }
    let file = output.display();
    let bytes = if *predictor { export::predictor(&model) } else { export::to_bytes(&model, *to) };
    let bytes = bytes.with_context(|| format!("cannot export '{name}'"))?;
    write_atomically(output, &bytes).with_context(|| format!("cannot write '{file}'"))?;
    let architecture = &model.description.architecture;
    let styles = match architecture.styles {
        _ if *predictor => " (style predictor)".to_owned(),
        1 => String::new(),
        _ => format!(" ({})", printable(&model.description.styles.join(", "))),
    };
    Ok(format!("{file}: {to}, {architecture}{styles}, {}\n", megabytes(bytes.len() as u64)))
}
