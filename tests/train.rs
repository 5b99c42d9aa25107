//! Training, measured against PyTorch and against itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "train/border.rs"]
mod border;
mod common;
#[path = "train/losses.rs"]
mod losses;
#[path = "train/optimize.rs"]
mod optimize;
#[path = "train/program.rs"]
mod program;
#[path = "train/runs.rs"]
mod runs;

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

fn cat() -> RgbImage {
    image::open(common::data("chelsea.png")).unwrap().into_rgb8()
}

fn style() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/styles/mosaic.jpg")
}
