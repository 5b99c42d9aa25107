//! `nst-stream sheet`: a contact sheet of videos, a row for each.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::core::picture::{Picture, rgb_frame};
use crate::core::span::Span;
use crate::core::stop::StopSignal;
use crate::media::source::{FrameFormat, VideoSource};
use crate::stream::PartialFile;

/// Options of `sheet`.
#[derive(Debug, Args)]
pub struct SheetArgs {
    /// Videos of the same length; each becomes a row
    #[arg(value_name = "VIDEO", required = true, num_args = 1..)]
    videos: Vec<PathBuf>,
    /// Picture to write (.png or .jpg); an existing one is replaced
    #[arg(short, long, value_name = "PICTURE")]
    output: PathBuf,
    /// Frames per row, evenly spread over the video
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=20))]
    columns: u32,
    /// Width of each frame, in pixels
    #[arg(long, value_name = "PX", default_value_t = 480, value_parser = clap::value_parser!(u32).range(16..=4096))]
    width: u32,
}

const GAP: u32 = 6;

/// Draws the sheet; replaces an existing one.
///
/// # Errors
/// When a video cannot be decoded or the picture not written.
pub fn run(args: &SheetArgs) -> Result<()> {
    let mut rows = Vec::new();
    for video in &args.videos {
        let row = frames(video, args.columns, args.width);
        rows.push(row.with_context(|| format!("cannot decode '{}'", video.display()))?);
    }
    let heights: Vec<u32> = rows.iter().map(|row| row.first().map_or(0, |f| f.height())).collect();
    let width = args.columns * (args.width + GAP) + GAP;
    let height = heights.iter().map(|h| h + GAP).sum::<u32>() + GAP;
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255, 255, 255]));
    let mut y = GAP;
    for (row, height) in rows.iter().zip(heights) {
        for (column, frame) in row.iter().enumerate() {
            let x = GAP + column as u32 * (args.width + GAP);
            imageops::replace(&mut sheet, frame, i64::from(x), i64::from(y));
        }
        y += height + GAP;
    }
    let file = PartialFile::beside(&args.output)
        .with_context(|| format!("cannot write '{}'", args.output.display()))?;
    let picture = rgb_frame(width as usize, height as usize, sheet.into_raw());
    Picture::from_frame(picture).save(file.path(), &args.output)?;
    file.commit().with_context(|| format!("cannot write '{}'", args.output.display()))
}

/// `count` frames of a video in the middle of equal parts of it.
fn frames(video: &std::path::Path, count: u32, width: u32) -> Result<Vec<RgbImage>> {
    let whole =
        VideoSource::open(video, Span::default(), FrameFormat::Rgb, &StopSignal::default())?;
    let length = whole.stream().duration.context("its length is not known")?;
    ensure!(!length.is_zero(), "it has no length");
    let mut row = Vec::new();
    for n in 0..count {
        let at = length * (2 * n + 1) / (2 * count);
        let span = Span { start: Some(at), duration: None };
        let frame = VideoSource::open(video, span, FrameFormat::Rgb, &StopSignal::default())?
            .first_frame()?;
        let (w, h) = (frame.info.width as u32, frame.info.height as u32);
        let pixels = frame.planes.bytes().to_vec();
        let image = RgbImage::from_raw(w, h, pixels).context("a frame of the wrong size")?;
        let height = (u64::from(h) * u64::from(width) / u64::from(w.max(1))).max(1) as u32;
        row.push(imageops::resize(&image, width, height, FilterType::Triangle));
    }
    Ok(row)
}
