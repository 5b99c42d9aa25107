//! A picture file → a stylized picture file.

use std::path::Path;

use anyhow::{Context, Result};

use super::PartialFile;
use crate::core::picture::Picture;
use crate::core::stats::{Stats, Summary};
use crate::core::stylizer::Stylizer;

/// Stylizes a picture and writes it to `output`.
///
/// # Errors
/// When the network fails or the file cannot be written.
pub fn stylize_picture(
    mut picture: Picture,
    input: &Path,
    output: &Path,
    stylizer: &mut dyn Stylizer,
    stats: &Stats,
) -> Result<Summary> {
    let since = std::time::Instant::now();
    stylizer
        .stylize(std::slice::from_mut(&mut picture.frame))
        .with_context(|| format!("cannot stylize '{}'", input.display()))?;
    stats.stylized(1, since.elapsed());
    write_picture(&picture, output)?;
    let wall = stats.elapsed().as_secs_f64();
    Ok(Summary {
        input: input.display().to_string(),
        output: output.display().to_string(),
        frames: 1,
        fps: 1.0 / wall,
        wall_s: wall,
        network_s: stats.network().as_secs_f64(),
        ..Summary::default()
    })
}

/// Writes a picture; it gets its final name only when it is complete.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_picture(picture: &Picture, output: &Path) -> Result<()> {
    let cannot = || format!("cannot write '{}'", output.display());
    let file = PartialFile::beside(output).with_context(cannot)?;
    picture.save(file.path(), output)?;
    file.commit().with_context(cannot)
}
