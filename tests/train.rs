//! Training, measured against PyTorch and against itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "train/any_style.rs"]
mod any_style;
#[path = "train/border.rs"]
mod border;
mod common;
#[path = "train/losses.rs"]
mod losses;
#[path = "train/measures.rs"]
mod measures;
#[path = "train/optimize.rs"]
mod optimize;
#[path = "train/program.rs"]
mod program;
#[path = "train/relative.rs"]
mod relative;
#[path = "train/runs.rs"]
mod runs;
#[path = "train/texture.rs"]
mod texture;

use std::path::Path;

use image::RgbImage;
use image::imageops::crop_imm;

/// A handful of small photographs: pieces of the cat.
fn photos(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let cat = cat();
    for n in 0..6 {
        let (x, y) = (n * 9 % (cat.width() - 48), n * 7 % (cat.height() - 40));
        let photo = crop_imm(&cat, x, y, 48, 40).to_image();
        photo.save(folder.join(format!("{n}.png"))).unwrap();
    }
}

/// A mask for each of them: the left dark, the right white, and a line of grey in some; the last all
/// grey.
fn masks(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for n in 0..6 {
        let shade = |x, y| match (x, y) {
            _ if n == 5 => 128,
            (_, 0..8) if n > 2 => 128,
            (0..12, _) => 0,
            _ => 255,
        };
        let mask = RgbImage::from_fn(24, 20, |x, y| image::Rgb([shade(x, y); 3]));
        mask.save(folder.join(format!("{n}.png"))).unwrap();
    }
}

fn cat() -> RgbImage {
    image::open(common::data("chelsea.png")).unwrap().into_rgb8()
}

fn style() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/styles/mosaic.jpg")
}
