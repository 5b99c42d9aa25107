//! `nst-stream man`: manual pages, for packages.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

use super::Cli;

/// Arguments of `nst-stream man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder to write to
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
}

/// Writes a page for the program and one for each command: `nst-stream.1`, `nst-stream-train.1`.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(args: &ManArgs) -> Result<()> {
    clap_mangen::generate_to(Cli::command(), &args.output)
        .with_context(|| format!("cannot write to '{}'", args.output.display()))
}
