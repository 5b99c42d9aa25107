//! `nst-stream texture`: textures of any size, from a model trained on one.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use image::RgbImage;

use super::UsageError;
use crate::core::endpoint::parse_size;
use crate::core::picture::{Picture, format_for_output, rgb_frame};
use crate::core::stylizer::StylizeError;
use crate::engine::device::{DeviceChoice, resolve, set_threads};
use crate::engine::network::Network;
use crate::engine::precision::Precision;
use crate::engine::{guarded, shipped};
use crate::stream::PartialFile;
use crate::train::preview::to_picture;

/// Options of `texture`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    nst-stream texture --model bricks.pt --size 1024x512 --output wall.png\n  \
    nst-stream texture --model bricks.pt --size 512x512 --tile --seed 7 --output tile.png")]
pub struct TextureArgs {
    /// Texture model: a file made by `train --texture`
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// Size of the texture, in pixels: 1024x512
    #[arg(short, long, value_name = "WxH", value_parser = parse_size)]
    size: (u32, u32),
    /// Seed of the noise: each makes another texture
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Its borders continue at the opposite sides, for laying it side by side; only sizes that allow it are taken
    #[arg(long)]
    tile: bool,
    /// Picture to write (.png or .jpg)
    #[arg(short, long, value_name = "PICTURE")]
    output: PathBuf,
    /// Replace the output if it exists
    #[arg(long)]
    overwrite: bool,
    /// Device to compute on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// CPU threads for libtorch [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Makes a texture.
///
/// # Errors
/// One line for the user; a [`UsageError`] when the arguments are to blame.
pub fn run(args: &TextureArgs) -> Result<()> {
    let output = args.output.as_path();
    let shown = output.display();
    if format_for_output(output).is_none() {
        let text = format!("cannot write '{shown}': the name of a picture ends in .png or .jpg");
        bail!(UsageError(text));
    }
    if output.exists() && !args.overwrite {
        bail!("'{shown}' already exists; use --overwrite to replace it");
    }
    let (device, note) = resolve(args.device).map_err(|e| UsageError(format!("--device: {e}")))?;
    note.iter().for_each(|note| tracing::info!("{note}"));
    set_threads(args.threads.map(usize::from));
    let file = shipped::open(&args.model)?;
    let architecture = &file.description.architecture;
    if architecture.photo {
        bail!(UsageError(format!(
            "'{}' paints pictures: `texture` takes a model made by `train --texture`",
            args.model
        )));
    }
    if args.tile {
        check_tile(args.size, architecture.tile().map_err(UsageError)?)?;
    }
    let cannot = || format!("cannot write '{shown}'");
    let partial = PartialFile::beside(output).with_context(cannot)?;
    // In single precision, so that every machine makes the same texture.
    let network = Network::in_torch(&file, device, Precision::Fp32).map_err(|error| {
        anyhow!("cannot put the network onto {device}: {}", crate::engine::words(&error))
    })?;
    let size = (args.size.0 as usize, args.size.1 as usize);
    let texture =
        guarded(|| network.texture(size, args.seed), |e| StylizeError::Failed(e.to_string()))
            .map_err(|error| explained(args, error))?;
    let picture: RgbImage = to_picture(&texture)?;
    let frame = rgb_frame(size.0, size.1, picture.into_raw());
    Picture::from_frame(frame).save(partial.path(), output)?;
    partial.commit().with_context(cannot)
}

/// Refuses sizes whose borders would not meet.
fn check_tile((width, height): (u32, u32), multiple: u32) -> Result<(), UsageError> {
    if width.is_multiple_of(multiple) && height.is_multiple_of(multiple) {
        return Ok(());
    }
    let near = |length: u32| ((length + multiple / 2) / multiple).max(1) * multiple;
    let (w, h) = (near(width), near(height));
    Err(UsageError(format!(
        "--size {width}x{height}: with --tile sides are multiples of {multiple}, such as {w}x{h}"
    )))
}

/// Explains an error in terms of this command's options.
fn explained(args: &TextureArgs, error: StylizeError) -> anyhow::Error {
    let (width, height) = args.size;
    match error {
        StylizeError::OutOfMemory { .. } => {
            anyhow!("not enough memory for a texture of {width}×{height}: try a smaller --size")
        }
        other => anyhow!("'{}' at {width}×{height}: {other}", args.model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_of_sizes_whose_borders_meet() {
        check_tile((64, 512), 16).unwrap();
        let error = check_tile((500, 17), 16).unwrap_err().to_string();
        assert!(error.contains("multiples of 16, such as 496x16"), "{error}");
        let error = check_tile((16, 20), 64).unwrap_err().to_string();
        assert!(error.contains("64x64"), "{error}");
    }
}
