//! `nst-stream optimize` as a user meets it, and the gradient it goes down.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};

use crate::{cat, common, style};

fn nst(folder: &Path, args: &str) -> Command {
    let mut command = common::nst();
    command.current_dir(folder).args(args.split_whitespace());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a photo (72 × 60), a mask (left black, right white) and the style.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let photo = image::imageops::crop_imm(&cat(), 10, 0, 72, 60).to_image();
    photo.save(folder.path().join("photo.png")).unwrap();
    let mask = RgbImage::from_fn(36, 30, |x, _| Rgb([if x < 18 { 0 } else { 255 }; 3]));
    mask.save(folder.path().join("mask.png")).unwrap();
    std::fs::copy(style(), folder.path().join("style.jpg")).unwrap();
    folder
}

const SHORT: &str = "optimize --content photo.png --style style.jpg --output out.png --device cpu \
                     --threads 1";

/// The style loss and the whole loss at the start, as the last line says: `loss L (content C, style
/// S, …), at the start L0`.
fn losses(output: &Output) -> (f64, f64) {
    let text = said(output);
    let line = text.lines().find(|line| line.contains("evaluations; loss")).unwrap().to_owned();
    let number = |after: &str| -> f64 {
        let rest = line.split(after).nth(1).unwrap();
        rest.split([' ', ',', ')']).next().unwrap().parse().unwrap()
    };
    (number("evaluations; loss "), number("at the start "))
}

fn pixels(folder: &Path, name: &str) -> RgbImage {
    image::open(folder.join(name)).unwrap().into_rgb8()
}

/// Mean absolute difference of a part of two pictures, columns `from` to `to`.
fn apart(a: &RgbImage, b: &RgbImage, (from, to): (u32, u32)) -> f64 {
    let mut sum = 0.0;
    for y in 0..a.height() {
        for x in from..to {
            let pair = a.get_pixel(x, y).0.into_iter().zip(b.get_pixel(x, y).0);
            sum += pair.map(|(a, b)| f64::from(a.abs_diff(b))).sum::<f64>();
        }
    }
    sum / f64::from(3 * a.height() * (to - from))
}

#[test]
fn the_loss_falls_to_a_part_from_any_start_by_either_optimizer() {
    let folder = folder();
    for (more, bound) in [
        ("--steps 12", 0.45),
        ("--steps 12 --init noise --seed 3", 0.35),
        ("--steps 40 --optimizer adam", 0.5),
        ("--steps 6 --levels 2 --evolution grid.png --preview-every 4", 0.7),
    ] {
        let output = nst(folder.path(), &format!("{SHORT} --overwrite {more}")).output().unwrap();
        assert!(output.status.success(), "{more}: {}", said(&output));
        let (end, start) = losses(&output);
        assert!(end < bound * start, "{more}: {end} of {start}");
        assert_eq!(pixels(folder.path(), "out.png").dimensions(), (72, 60));
    }
    // Six steps at each of two sizes; the last preview is before the end.
    for name in ["out.step-00004.png", "out.step-00008.png", "out.step-00012.png"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    assert!(pixels(folder.path(), "grid.png").width() > 5 * 288);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    let partial = left.iter().flatten().any(|f| f.path().to_string_lossy().contains("partial"));
    assert!(!partial, "{left:?}");
}

#[test]
fn the_same_seed_gives_the_same_picture_and_another_start_another() {
    let folder = folder();
    let paint = |more: &str| {
        let args = format!("{SHORT} --overwrite --steps 3 {more}");
        let output = nst(folder.path(), &args).output().unwrap();
        assert!(output.status.success(), "{more}: {}", said(&output));
        pixels(folder.path(), "out.png")
    };
    let (a, b) = (paint("--init noise --seed 3"), paint("--init noise --seed 3"));
    // Not assert_eq!, which would print all pixels.
    assert!(a == b);
    assert!(a != paint("--init noise --seed 4"));
    assert!(paint("") != paint("--init style.jpg"));
}

#[test]
fn luminance_keeps_the_photos_colours_and_histogram_brings_the_style_near_them() {
    let folder = folder();
    let photo = pixels(folder.path(), "photo.png");
    let paint = |more: &str| {
        let args = format!("{SHORT} --overwrite --steps 10 {more}");
        let output = nst(folder.path(), &args).output().unwrap();
        assert!(output.status.success(), "{more}: {}", said(&output));
        pixels(folder.path(), "out.png")
    };
    let luminance = paint("--preserve-color luminance");
    assert!(luminance != photo);
    let mut compared = 0;
    for (a, b) in photo.pixels().zip(luminance.pixels()) {
        if b.0.iter().all(|v| (1..255).contains(v)) {
            let off = |p: &Rgb<u8>| i32::from(p.0[0]) - i32::from(p.0[2]);
            assert!((off(a) - off(b)).abs() <= 2, "{a:?} {b:?}");
            compared += 1;
        }
    }
    assert!(compared > 2000, "{compared}");
    // How colourful: the mean difference of red and blue is the photo's much more than the style's.
    let warmth = |picture: &RgbImage| {
        let sum: i64 = picture.pixels().map(|p| i64::from(p.0[0]) - i64::from(p.0[2])).sum();
        sum as f64 / f64::from(picture.width() * picture.height())
    };
    let (plain, matched, own) = (paint(""), paint("--preserve-color histogram"), warmth(&photo));
    let (far, near) = ((warmth(&plain) - own).abs(), (warmth(&matched) - own).abs());
    assert!(near < far, "{near} {far}");
}

#[test]
fn a_region_without_a_style_stays_and_the_other_is_painted() {
    let folder = folder();
    let args = "optimize --content photo.png --mask mask.png --style style.jpg@white --style none@0 \
                --output out.png --steps 12 --threads 1 --device cpu";
    let output = nst(folder.path(), args).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let (photo, painted) = (pixels(folder.path(), "photo.png"), pixels(folder.path(), "out.png"));
    // Away from the edge, where a layer sees both sides.
    let (left, right) = (apart(&photo, &painted, (0, 20)), apart(&photo, &painted, (44, 72)));
    assert!(left < 0.4 * right && right > 8.0, "{left} {right}");
}

#[test]
fn ctrl_c_writes_the_best_so_far() {
    let folder = folder();
    let args = format!("{SHORT} --steps 100000 --optimizer adam --preview-every 2");
    let child = nst(folder.path(), &args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while !folder.path().join("out.step-00002.png").exists() {
        assert!(began.elapsed() < Duration::from_secs(120), "no preview");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!folder.path().join("out.png").exists());
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    let (end, start) = losses(&output);
    assert!(end < start, "{end} {start}");
    assert_eq!(pixels(folder.path(), "out.png").dimensions(), (72, 60));
}

#[test]
fn what_cannot_work_is_told_before_the_work() {
    let folder = folder();
    std::fs::write(folder.path().join("text.jpg"), b"no picture").unwrap();
    std::fs::write(folder.path().join("there.png"), b"mine").unwrap();
    RgbImage::new(50, 50).save(folder.path().join("square.png")).unwrap();
    RgbImage::new(12, 90).save(folder.path().join("small.png")).unwrap();
    let with = |more: &str| format!("{SHORT} {more}");
    let cases = [
        ("optimize --content photo.png --output out.png".to_owned(), 2, "--style"),
        (SHORT.replace("photo.png", "none.png"), 1, "none.png': No such file"),
        (SHORT.replace("style.jpg", "text.jpg"), 1, "text.jpg'"),
        (SHORT.replace("out.png", "out.gif"), 2, "must end in .png or .jpg"),
        (SHORT.replace("out.png", "there.png"), 1, "there.png' already exists; use --overwrite"),
        (SHORT.replace("out.png", "none/out.png"), 1, "cannot write 'none/out.png'"),
        (SHORT.replace("photo.png", "small.png"), 2, "'small.png' is 12×90 pixels: too small"),
        (with("--size 8"), 2, "--size 8: it is too small; the loss network needs 16"),
        (with("--levels 4"), 2, "--levels 4: the smallest size would be 7"),
        (with("--style-size 9"), 2, "--style-size 9: too small"),
        (with("--size 16384"), 1, "not enough memory"),
        (with("--style-weight=-1"), 2, "--style-weight"),
        (with("--content-layers relu9_1"), 2, "is not a layer"),
        (with("--precision fp16"), 2, "--precision fp16"),
        (with("--preserve-color sepia"), 2, "expected luminance, histogram"),
        (with("--steps 0"), 2, "--steps"),
        (with("--mask mask.png"), 2, "each --style names its region"),
        (SHORT.replace("style.jpg", "style.jpg@white"), 2, "needs a --mask"),
        (SHORT.replace("style.jpg", "style.jpg@sky"), 2, "'sky' is not a region"),
        (
            format!("{} --mask mask.png", SHORT.replace("style.jpg", "style.jpg@white")),
            2,
            "no --style is for its region 0",
        ),
        (
            format!(
                "{} --style none@0 --style none@#ff0000 --mask mask.png",
                SHORT.replace("style.jpg", "style.jpg@white")
            ),
            2,
            "the mask has no region #ff0000",
        ),
        (
            format!("{} --mask square.png", SHORT.replace("style.jpg", "style.jpg@0")),
            2,
            "50×50 pixels, which is not the shape of the photo (72×60)",
        ),
        (
            format!("{} --mask none.png", SHORT.replace("style.jpg", "style.jpg@0")),
            1,
            "none.png': No such file",
        ),
    ];
    for (args, code, words) in cases {
        let output = nst(folder.path(), &args).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args}: {text}");
        assert!(text.contains(words), "{args}: {text}");
        assert!(!folder.path().join("out.png").exists(), "{args}");
    }
    assert_eq!(std::fs::read(folder.path().join("there.png")).unwrap(), b"mine");
}
