//! Regions of a mask, each with a model of its own.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};

use super::common::{bikes, ffmpeg, psnr, yuv_frames};
use super::make::two_styles;
use super::{assert_says, files, folder, refusal, works};

/// Black up to column `edge`, then white.
fn halves(folder: &Path, name: &str, (width, height): (u32, u32), edge: u32) {
    let mask = RgbImage::from_fn(width, height, |x, _| Rgb([if x < edge { 0 } else { 255 }; 3]));
    mask.save(folder.join(name)).unwrap();
}

fn picture(folder: &Path, name: &str) -> RgbImage {
    image::open(folder.join(name)).unwrap().into_rgb8()
}

/// `-i cat.png` with these arguments.
fn painted(folder: &Path, args: &[&str]) -> RgbImage {
    works(folder, &[&["-i", "cat.png", "-o", "out.png", "--overwrite"], args].concat());
    picture(folder, "out.png")
}

#[test]
fn each_region_is_what_its_model_makes_of_the_whole_picture_and_none_stays_exact() {
    let folder = folder();
    let folder = folder.path();
    halves(folder, "mask.png", (91, 61), 40);
    let cat = picture(folder, "cat.png");
    for more in [&[][..], &["--strength", "0.5"], &["--preserve-color", "--scale", "0.5"]] {
        let alone = |model: &str| painted(folder, &[&["-m", model], more].concat());
        let (mosaic, night) = (alone("mosaic"), alone("starry-night-lite"));
        let with = |models: [&str; 2]| {
            let [one, two] = models;
            painted(folder, &[&["--mask", "mask.png", "-m", one, "-m", two], more].concat())
        };
        let one = with(["mosaic@white", "none@black"]);
        let two = with(["starry-night-lite@0", "mosaic@#ffffff"]);
        for (x, y, came) in cat.enumerate_pixels() {
            let is_left = x < 40;
            let (first, second) =
                if is_left { (came, &night) } else { (mosaic.get_pixel(x, y), &mosaic) };
            assert_eq!(one.get_pixel(x, y), first, "{more:?} {x} {y}");
            assert_eq!(two.get_pixel(x, y), second.get_pixel(x, y), "{more:?} {x} {y}");
        }
    }
}

#[test]
fn a_soft_edge_of_a_mask_of_another_size_mixes_the_regions() {
    let folder = folder();
    let folder = folder.path();
    // Twice the picture's size, and of three regions two are painted by one model.
    let greys = RgbImage::from_fn(182, 122, |x, _| Rgb([(x * 255 / 181) as u8; 3]));
    greys.save(folder.join("mask.png")).unwrap();
    let (cat, mosaic) = (picture(folder, "cat.png"), painted(folder, &["-m", "mosaic"]));
    let models = ["-m", "mosaic@0", "-m", "none@128", "-m", "mosaic@255"];
    let mixed = painted(folder, &[&["--mask", "mask.png"][..], &models].concat());
    for (x, y, came) in cat.enumerate_pixels() {
        let grey = (f64::from(x) * 2.0 + 0.5) * 255.0 / 181.0;
        let part = 1.0 - (grey / 128.0).min((255.0 - grey) / 127.0);
        for n in 0..3 {
            let (came, made) = (f64::from(came[n]), f64::from(mosaic.get_pixel(x, y)[n]));
            let expected = came + part * (made - came);
            let found = f64::from(mixed.get_pixel(x, y)[n]);
            // A level of grey is 1/128 of the way.
            assert!((found - expected).abs() < 3.5, "{x} {y}: {found}, expected {expected}");
        }
    }
}

#[test]
fn video_is_painted_in_its_regions_and_nowhere_else() {
    let folder = folder();
    let folder = folder.path();
    halves(folder, "mask.png", (176, 144), 88);
    // Held steady, paint near the edge would move with what it lies on.
    let short = ["--duration", "0.1", "--overwrite", "--steady", "0"];
    let made = |output: &str, args: &[&str]| {
        works(folder, &[&["-i", "clip.mp4", "-o", output][..], &short, args].concat());
        yuv_frames(&folder.join(output))
    };
    let masked = ["--mask", "mask.png", "-m", "mosaic@white", "-m", "none@black"];
    let (plain, mosaic) =
        (made("a.y4m", &["-m", "mosaic", "--strength", "0"]), made("b.y4m", &["-m", "mosaic"]));
    for more in [&[][..], &["--batch", "2"]] {
        let mixed = made("c.y4m", &[&masked[..], more].concat());
        assert_eq!(mixed.len(), plain.len());
        for ((mixed, plain), mosaic) in mixed.iter().zip(&plain).zip(&mosaic) {
            for (n, (mixed, (plain, mosaic))) in
                mixed.y.iter().zip(plain.y.iter().zip(&mosaic.y)).enumerate()
            {
                assert_eq!(mixed, if n % 176 < 88 { plain } else { mosaic }, "luma {n}");
            }
            for (n, (mixed, (plain, mosaic))) in
                mixed.v.iter().zip(plain.v.iter().zip(&mosaic.v)).enumerate()
            {
                assert_eq!(mixed, if n % 88 < 44 { plain } else { mosaic }, "chroma {n}");
            }
        }
    }
    // Through a lossy encoder, away from the edge, and out of a file of raw video.
    works(folder, &[&["-i", "a.y4m", "-o", "d.mp4"][..], &masked].concat());
    let left =
        |luma: &[u8]| luma.chunks(176).flat_map(|line| line[..80].to_vec()).collect::<Vec<_>>();
    let right =
        |luma: &[u8]| luma.chunks(176).flat_map(|line| line[96..].to_vec()).collect::<Vec<_>>();
    for (mixed, plain) in yuv_frames(&folder.join("d.mp4")).iter().zip(&plain) {
        let (near, far) =
            (psnr(&left(&mixed.y), &left(&plain.y)), psnr(&right(&mixed.y), &right(&plain.y)));
        assert!(near > 33.0 && far < 22.0, "left {near} dB, right {far} dB");
    }
}

#[test]
fn pictures_of_a_folder_may_have_any_size_of_the_masks_shape_and_no_other() {
    let folder = folder();
    let folder = folder.path();
    halves(folder, "mask.png", (91, 61), 40);
    let cat = picture(folder, "cat.png");
    fs::create_dir(folder.join("in")).unwrap();
    cat.save(folder.join("in/1.png")).unwrap();
    let large = image::imageops::resize(&cat, 182, 122, image::imageops::FilterType::Triangle);
    large.save(folder.join("in/2.png")).unwrap();
    fs::write(folder.join("in/3.png"), "no picture").unwrap();
    let args = ["-i", "in/", "--mask", "mask.png", "-m", "mosaic@white", "-m", "none@black", "-o"];
    works(folder, &[&args[..], &["out/"]].concat());
    for (name, before, edge) in [("out/1.png", &cat, 40), ("out/2.png", &large, 79)] {
        let after = picture(folder, name);
        let mut changed = 0;
        for (x, y, pixel) in before.enumerate_pixels() {
            let same = after.get_pixel(x, y) == pixel;
            assert!(same || x >= edge, "{name}: {x} {y} is of the region that stays");
            changed += usize::from(!same && x > edge + 2);
        }
        assert!(changed as f64 > 0.4 * f64::from(before.width() * before.height()), "{name}");
    }
    image::imageops::rotate90(&cat).save(folder.join("in/4.png")).unwrap();
    let line = refusal(folder, 2, &[&args[..], &["new/"]].concat());
    assert_says(&line, &["'in/4.png'", "mask.png': it is 91×61 pixels", "the picture (61×91)"]);
}

#[test]
fn styles_of_one_network_each_have_a_region() {
    let folder = folder();
    let folder = folder.path();
    two_styles().save(&folder.join("two.pt")).unwrap();
    halves(folder, "mask.png", (91, 61), 45);
    let blend = |more: &[&str]| painted(folder, &[&["-m", "two.pt"], more].concat());
    let (a, b) = (blend(&["--blend", "a"]), blend(&["--blend", "b"]));
    let masked =
        |left: &str, right: &str| blend(&["--mask", "mask.png", "--blend", left, "--blend", right]);
    let one = masked("a@black", "none@white");
    let two = masked("a@black", "b@white");
    let cat = picture(folder, "cat.png");
    for (x, y, came) in cat.enumerate_pixels() {
        let is_left = x < 45;
        assert_eq!(one.get_pixel(x, y), if is_left { a.get_pixel(x, y) } else { came }, "{x} {y}");
        let own = if is_left { &a } else { &b };
        assert_eq!(two.get_pixel(x, y), own.get_pixel(x, y), "{x} {y}");
    }
    let differ = a.pixels().zip(b.pixels()).filter(|(a, b)| a != b).count();
    assert!(differ > 4000, "the styles differ in {differ} pixels");
}

#[test]
fn what_does_not_go_together_is_refused_before_the_work() {
    let folder = folder();
    let folder = folder.path();
    halves(folder, "mask.png", (91, 61), 40);
    halves(folder, "square.png", (50, 50), 40);
    halves(folder, "white.png", (91, 61), 0);
    fs::write(folder.join("text.png"), "no picture").unwrap();
    two_styles().save(&folder.join("two.pt")).unwrap();
    fs::write(folder.join("mosaic@white"), "no model").unwrap();
    let both = ["-m", "mosaic@#ffffff", "-m", "none@black"];
    let cases: [(&[&str], &str, i32, &str); 17] = [
        (&["-m", "mosaic"], "mask.png", 2, "each --model names its region: --model mosaic@white"),
        (&["-m", "mosaic@0", "-m", "mosaic"], "mask.png", 2, "each --model names its region"),
        (&both, "", 2, "--model …@REGION needs a --mask"),
        (&["-m", "two.pt", "--blend", "a@0"], "", 2, "--blend …@REGION needs a --mask"),
        (&["-m", "mosaic@0", "-m", "none@black"], "mask.png", 2, "the region 0 is given twice"),
        (&["-m", "none@0", "-m", "none@255"], "mask.png", 2, "all are 'none'"),
        (&["-m", "mosaic@0"], "mask.png", 2, "no --model is for its region 255"),
        (&both, "white.png", 2, "the mask has no region 0"),
        (&both, "square.png", 2, "'cat.png': --mask 'square.png': it is 50×50 pixels"),
        (&both, "none.png", 1, "'none.png': No such file"),
        (&both, "text.png", 1, "'text.png'"),
        // A file goes first, so this one names no region.
        (&["-m", "mosaic@white", "-m", "none@0"], "mask.png", 2, "each --model names its region"),
        (&["-m", "two.pt@0", "--blend", "b@255"], "mask.png", 2, "both name regions"),
        (&["-m", "two.pt", "--blend", "a", "--blend", "b"], "mask.png", 2, "several --blend"),
        (&["-m", "two.pt", "--blend", "a@0", "--blend", "b"], "mask.png", 2, "wave@white"),
        (&["-m", "two.pt", "-m", "mosaic", "--blend", "a@0"], "mask.png", 2, "needs one --model"),
        (&["-m", "two.pt", "--blend", "a@0", "--blend", "c@255"], "mask.png", 1, "no style 'c'"),
    ];
    for (models, mask, code, words) in cases {
        let mask = if mask.is_empty() { vec![] } else { vec!["--mask", mask] };
        let args = [&["-i", "cat.png", "-o", "out.png"][..], &mask, models].concat();
        assert_says(&refusal(folder, code, &args), &[words]);
    }
    let args = [
        "-i", "clip.mp4", "-o", "out.mp4", "--mask", "mask.png", both[0], both[1], both[2], both[3],
    ];
    assert_says(&refusal(folder, 2, &args), &["'clip.mp4'", "91×61", "the picture (176×144)"]);
    // Clap's words are more than a line.
    for (model, words) in [("none", "needs a region"), ("mosaic@sky", "'sky' is not a region")] {
        let before = files(folder);
        let out = super::run(folder, &["-m", model, "-i", "cat.png", "-o", "out.png"]);
        assert_eq!(out.status.code(), Some(2), "{model}");
        assert_says(&String::from_utf8(out.stderr).unwrap(), &[model, words]);
        assert!(files(folder) == before, "{model}");
    }
}

#[test]
fn what_a_mask_leaves_unpainted_stays_exact_in_a_video_that_is_held_steady() {
    let folder = folder();
    let folder = folder.path();
    let path = |name: &str| folder.join(name).display().to_string();
    halves(folder, "mask.png", (128, 96), 64);
    let few = ["-frames:v", "6", "-vf", "scale=128:96", "-pix_fmt", "yuv420p", "-an"];
    ffmpeg(&[&["-i", &bikes().display().to_string()][..], &few, &[&path("in.y4m")]].concat());
    let models = ["-m", "mosaic-lite@white", "-m", "none@black", "--mask", "mask.png"];
    let films = ["-i", "in.y4m", "-o", "out.y4m", "--steady", "1"];
    works(folder, &[&models[..], &films].concat());
    let (source, held) = (yuv_frames(&folder.join("in.y4m")), yuv_frames(&folder.join("out.y4m")));
    assert_eq!((source.len(), held.len()), (6, 6));
    for (source, held) in source.iter().zip(&held) {
        let left =
            |luma: &[u8]| luma.chunks(128).flat_map(|l| l[..64].to_vec()).collect::<Vec<_>>();
        assert!(left(&source.y) == left(&held.y), "the unpainted half");
        assert!(source.y != held.y, "the painted half");
    }
}
