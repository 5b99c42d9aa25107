//! Optical flow: how long it takes, and how far it is from the truth.
//!
//!     cargo bench --bench flow                      times at 640×360, on pictures made here
//!     cargo bench --bench flow -- --pairs FOLDER    errors and times on pairs with ground truth
//!
//!     cargo bench --bench flow -- --picture OUT.jpg A.png B.png [C.png D.png ...]
//!                                                   draws the flow of pairs of pictures
//!
//! `FOLDER` is laid out as Middlebury's: `other-data/NAME/frame10.png`, `frame11.png` and
//! `other-gt-flow/NAME/flow10.flo`. `scripts/bench_flow.py` runs OpenCV beside it. `--threads N`: so many
//! instead of all; `--json`: for programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use image::{Rgb, RgbImage};
use nst_stream::flow::{FlowField, FlowOptions, Pyramid, flow, flow_both, occluded};

const PRESETS: [(&str, FlowOptions); 2] =
    [("live", FlowOptions::LIVE), ("accurate", FlowOptions::ACCURATE)];
/// Of so many tries the best counts.
const TRIES: usize = 15;

struct Luma {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Luma {
    fn read(path: &Path) -> Self {
        let picture = image::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let picture = picture.to_luma8();
        Luma {
            width: picture.width() as usize,
            height: picture.height() as usize,
            bytes: picture.into_raw(),
        }
    }

    /// Waves of several lengths, which have moved by (3, -2) per `step`.
    fn drawn(width: usize, height: usize, step: f32) -> Self {
        let pixel = |n: usize| {
            let x = (n % width) as f32 - 3.0 * step;
            let y = (n / width) as f32 + 2.0 * step;
            let waves = (x / 7.0 + (y / 19.0).sin() * 2.0).sin()
                + (y / 5.0 + (x / 23.0).cos() * 3.0).sin()
                + ((x + y) / 41.0).sin();
            (128.0 + 40.0 * waves).clamp(0.0, 255.0) as u8
        };
        Luma { width, height, bytes: (0..width * height).map(pixel).collect() }
    }

    fn pyramid(&self, options: &FlowOptions) -> Pyramid {
        Pyramid::new(&self.bytes, self.width, self.height, self.width, options)
    }
}

/// The shortest of several runs, in milliseconds, and what the last gave.
fn best<T>(mut run: impl FnMut() -> T) -> (f64, T) {
    let mut timed = || {
        let since = Instant::now();
        let made = run();
        (since.elapsed().as_secs_f64() * 1e3, made)
    };
    let (mut shortest, mut made) = timed();
    for _ in 1..TRIES {
        let (took, again) = timed();
        (shortest, made) = (shortest.min(took), again);
    }
    (shortest, made)
}

/// Middlebury's .flo: displacements as pairs of floats; unknown ones are enormous.
fn truth(path: &Path) -> Vec<(f32, f32)> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let float = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    bytes[12..].chunks_exact(8).map(|pair| (float(&pair[..4]), float(&pair[4..]))).collect()
}

/// The mean end-point error where the truth is known, in pixels.
fn error(field: &FlowField, truth: &[(f32, f32)]) -> f64 {
    let pixels = field.u.iter().zip(&field.v).zip(truth);
    let known = pixels.filter(|(_, (u, v))| u.abs() < 1e9 && v.abs() < 1e9);
    let errors = known.map(|((u, v), (a, b))| f64::from((u - a).hypot(v - b)));
    let (sum, count) = errors.fold((0.0, 0), |(sum, count), error| (sum + error, count + 1));
    sum / f64::from(count)
}

fn pairs(folder: &Path, json: bool) {
    let truths = folder.join("other-gt-flow");
    let entries =
        std::fs::read_dir(&truths).unwrap_or_else(|e| panic!("{}: {e}", truths.display()));
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for (preset, options) in PRESETS {
        let (mut errors, mut times) = (Vec::new(), Vec::new());
        for name in &names {
            let frames = folder.join("other-data").join(name.file_name().unwrap());
            let [first, second] =
                ["frame10.png", "frame11.png"].map(|file| Luma::read(&frames.join(file)));
            let (time, field) =
                best(|| flow(&first.pyramid(&options), &second.pyramid(&options), &options));
            errors.push(error(&field, &truth(&name.join("flow10.flo"))));
            times.push(time);
        }
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
        let (error, time) = (mean(&errors), mean(&times));
        if json {
            let line = serde_json::json!({ "preset": preset, "error": error, "ms": time, "errors": errors });
            println!("{line}");
        } else {
            println!("{preset}: error {error:.3} pixels, {time:.1} ms with both pyramids");
        }
    }
}

fn times(json: bool) {
    let (width, height) = (640, 360);
    let [first, second] = [0.0, 1.0].map(|step| Luma::drawn(width, height, step));
    for (preset, options) in PRESETS {
        let (pyramid, _) = best(|| first.pyramid(&options));
        let (a, b) = (first.pyramid(&options), second.pyramid(&options));
        let (one, _) = best(|| flow(&a, &b, &options));
        let (both, _) = best(|| flow_both(&a, &b, &options));
        if json {
            let line = serde_json::json!({
                "preset": preset, "width": width, "height": height,
                "pyramid_ms": pyramid, "one_ms": one, "direction_of_both_ms": both / 2.0,
            });
            println!("{line}");
        } else {
            println!(
                "{preset}, {width}×{height}: {one:.2} ms; {:.2} ms a direction where both are wanted; \
                 a pyramid {pyramid:.2} ms",
                both / 2.0
            );
        }
    }
}

/// A row for each pair: the first picture, its live and its accurate flow. Colours are directions (red to the right,
/// yellow-green down, cyan to the left, violet up), stronger where the motion is longer, up to the longest but one in
/// a hundred; what the second picture does not show is black.
fn picture(out: &Path, files: &[&String]) {
    let (mut rows, mut y) = (Vec::new(), 0);
    for pair in files.chunks_exact(2) {
        let [first, second] = [pair[0], pair[1]].map(|file| Luma::read(Path::new(file)));
        let mut row = vec![image::open(pair[0]).unwrap().to_rgb8()];
        for (preset, options) in PRESETS {
            let (a, b) = (first.pyramid(&options), second.pyramid(&options));
            let (there, back) = flow_both(&a, &b, &options);
            let hidden = occluded(&there, &back);
            let lengths = there.u.iter().zip(&there.v).map(|(u, v)| u.hypot(*v));
            let mut sorted: Vec<f32> = lengths.collect();
            sorted.sort_by(f32::total_cmp);
            let longest = sorted[sorted.len() * 99 / 100].max(0.5);
            println!("{}, {preset}: up to {longest:.1} pixels", pair[0]);
            row.push(RgbImage::from_fn(first.width as u32, first.height as u32, |x, y| {
                let n = y as usize * first.width + x as usize;
                if hidden[n] {
                    Rgb([0; 3])
                } else {
                    colour(there.u[n] / longest, there.v[n] / longest)
                }
            }));
        }
        rows.push((y, row));
        y += first.height as i64 + 4;
    }
    let width = rows.iter().map(|(_, row)| row.iter().map(|p| p.width() + 4).sum::<u32>()).max();
    let mut all = RgbImage::from_pixel(width.unwrap(), y as u32, Rgb([255; 3]));
    for (y, row) in &rows {
        let mut x = 0;
        for part in row {
            image::imageops::replace(&mut all, part, x, *y);
            x += i64::from(part.width()) + 4;
        }
    }
    all.save(out).unwrap();
}

/// White for no motion; full colours at a length of 1.
fn colour(u: f32, v: f32) -> Rgb<u8> {
    let angle = v.atan2(u).rem_euclid(std::f32::consts::TAU) / std::f32::consts::TAU * 6.0;
    let strength = u.hypot(v).min(1.0);
    let channel = |offset: f32| {
        let k = (offset + angle).rem_euclid(6.0);
        let full = 1.0 - k.min(4.0 - k).clamp(0.0, 1.0);
        (255.0 * (1.0 - strength * (1.0 - full))) as u8
    };
    Rgb([channel(5.0), channel(3.0), channel(1.0)])
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let after = |option: &str| args.iter().skip_while(|arg| *arg != option).nth(1);
    if let Some(threads) = after("--threads") {
        let threads = threads.parse().expect("--threads wants a number");
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    }
    let json = args.iter().any(|arg| arg == "--json");
    if let Some(out) = after("--picture") {
        let files: Vec<&String> = args.iter().skip_while(|arg| *arg != out).skip(1).collect();
        return picture(Path::new(out), &files);
    }
    match after("--pairs") {
        Some(folder) => pairs(Path::new(folder), json),
        None => times(json),
    }
}
