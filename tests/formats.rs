//! Every kind of file people have, through the frame path with the identity stylizer: what comes out
//! shows what went in. The cases are made by ffmpeg from the clips in tests/data.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/route.rs"]
mod route;

use std::path::{Path, PathBuf};

use common::*;
use nst_stream::core::encoding::{Codec, EncoderPreset, Encoding};
use nst_stream::core::stats::Summary;
use nst_stream::core::stylizer::Identity;
use nst_stream::stream::VideoJob;
use route::Said;

#[path = "formats/against_ffmpeg.rs"]
mod against_ffmpeg;
#[path = "formats/changes.rs"]
mod changes;
#[path = "formats/codecs.rs"]
mod codecs;
#[path = "formats/damage.rs"]
mod damage;
#[path = "formats/interlaced.rs"]
mod interlaced;
#[path = "formats/leaks.rs"]
mod leaks;
#[path = "formats/mutated.rs"]
mod mutated;
#[path = "formats/pictures.rs"]
mod pictures;
#[path = "formats/spans.rs"]
mod spans;
#[path = "formats/square.rs"]
mod square;
#[path = "formats/timing.rs"]
mod timing;
#[path = "formats/transparent.rs"]
mod transparent;

/// As fast as encoders go: these tests look at what is kept, not at sizes of files.
const QUICK: Encoding = Encoding {
    codec: None,
    rate: nst_stream::core::encoding::RateControl::Quality(80),
    preset: Some(EncoderPreset::Ultrafast),
    hwaccel: nst_stream::core::encoding::HwAccel::Off,
    even: false,
    live: false,
};

fn with(codec: Codec) -> Encoding {
    Encoding { codec: Some(codec), ..QUICK }
}

/// The clip through the frame path.
fn convert(input: &Path, output: &Path, encoding: Encoding) -> (anyhow::Result<Summary>, Said) {
    let job = VideoJob { encoding, ..VideoJob::new(input, output) };
    route::route(&job, Identity)
}

/// The same, which must succeed.
fn converted(input: &Path, output: &Path, encoding: Encoding) -> (Summary, Said) {
    let (done, said) = convert(input, output, encoding);
    let done = done.unwrap_or_else(|e| panic!("{}: {e:#}", input.display()));
    (done, said)
}

/// A clip made by ffmpeg of these arguments, in a folder that lives as long as the test.
fn made(folder: &tempfile::TempDir, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    ffmpeg(&[args, &[path.to_str().unwrap()]].concat());
    path
}

/// The carphone clip as ffmpeg's input, a few frames of it.
fn carphone_of<'a>(path: &'a str, frames: &'a str) -> Vec<&'a str> {
    vec!["-i", path, "-frames:v", frames]
}

fn assert_same_times(input: &[f64], output: &[f64], tolerance: f64, what: &str) {
    assert_eq!(input.len(), output.len(), "{what}: number of frames");
    for (n, (a, b)) in input.iter().zip(output).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}: frame {n}: {a} s became {b} s");
    }
}

/// Mean PSNR in dB of the frames of two files, as ffmpeg shows them (turned, in RGB).
fn likeness(a: &Path, b: &Path) -> f64 {
    let (a, b) = (rgb_frames(a, 8), rgb_frames(b, 8));
    assert!(!a.is_empty() && a.len() == b.len(), "{} and {} frames", a.len(), b.len());
    let sum: f64 = a.iter().zip(&b).map(|(a, b)| psnr(a, b)).sum();
    sum / a.len() as f64
}
