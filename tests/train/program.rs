//! `nst-stream train` and `evaluate` as a user meets them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nst_stream::engine::model_file::ModelFile;

use crate::{common, masks, photos, style};

fn nst(folder: &Path, args: &str) -> Command {
    let mut command = common::nst();
    command.current_dir(folder).args(args.split_whitespace());
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Arguments of a run that takes some seconds.
fn arguments(more: &str) -> String {
    let style = style();
    format!(
        "train --style {} --dataset photos --output a.pt --image-size 32 --style-size 64 --batch 2 \
         --width 4 --residual-blocks 1 --threads 1 --device cpu --preview photos/0.png {more}",
        style.display()
    )
}

#[test]
fn a_folder_without_usable_videos_is_refused_before_the_training() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    let refused = |more: &str, expected: i32| {
        let output = nst(folder.path(), &arguments(more)).output().unwrap();
        assert_eq!(code(&output), expected, "{more}: {}", stderr(&output));
        assert!(!folder.path().join("a.pt").exists() && !folder.path().join("a.run").exists());
        stderr(&output)
    };
    let said = refused("--steps 2 --videos photos", 2);
    assert!(said.contains("--videos needs a --temporal-weight above 0"), "{said}");
    let said = refused("--steps 2 --temporal-weight 1 --videos none", 1);
    assert!(
        said.contains("cannot read the videos 'none") || said.contains("none': No such"),
        "{said}"
    );
    let said = refused("--steps 2 --temporal-weight 1 --videos photos", 1);
    assert!(said.contains("photos' holds no videos"), "{said}");
    std::fs::create_dir(folder.path().join("videos")).unwrap();
    std::fs::write(folder.path().join("videos/a.mkv"), b"no video").unwrap();
    let said = refused("--steps 2 --temporal-weight 1 --videos videos", 1);
    assert!(said.contains("none of the 1 videos can be used") && said.contains("a.mkv"), "{said}");
}

#[test]
fn a_model_is_trained_measured_and_paints() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    std::fs::write(folder.path().join("photos/broken.jpg"), b"broken").unwrap();
    let output = nst(folder.path(), &arguments("--steps 8 --licence MIT")).output().unwrap();
    let said = stderr(&output);
    assert_eq!(code(&output), 0, "{said}");
    assert!(said.contains("s: about") && said.contains("a.pt: 8 steps"), "{said}");
    assert!(said.contains("1 pictures could not be decoded"), "{said}");
    let shown = nst(folder.path(), "models show a.pt").output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.contains("johnson 4-8-16, 1 block") && text.contains("\"steps\": 8"), "{text}");
    let style = style();
    std::fs::create_dir(folder.path().join("two")).unwrap();
    for name in ["two/0.png", "two/1.png"] {
        std::fs::copy(folder.path().join("photos").join(&name[4..]), folder.path().join(name))
            .unwrap();
    }
    let evaluate = format!(
        "evaluate --model a.pt --style {} --images two --json --sheet s.png --threads 1 \
         --against-optimize 2 --optimize-size 32",
        style.display()
    );
    let output = nst(folder.path(), &evaluate).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = ["style_distance", "style_distance_relative", "patch_distance", "readability"];
    for key in keys {
        assert!(figures[key].as_f64().is_some_and(f64::is_finite), "{key}: {figures}");
    }
    assert!(figures["style_layers"]["relu4_1"].as_f64().is_some_and(|d| d > 0.0), "{figures}");
    assert!(figures["border"]["mean"].is_f64() && figures["border"]["contrast"].is_f64());
    assert!(figures["shift_error"].as_f64().is_some_and(|levels| levels > 0.0), "{figures}");
    assert_eq!(figures["photos"].as_object().unwrap().len(), 2);
    // Eight steps of training are worth little: noise is far worse still after two steps.
    let worth = &figures["worth_lbfgs_steps"];
    for photo in worth["photos"].as_array().unwrap() {
        let of = |name: &str| photo[name].as_f64().unwrap();
        assert!(of("network") > 0.0 && of("start") > of("network"), "{photo}");
        assert!(photo["steps"].is_null() || photo["steps"].as_u64().unwrap() <= 2, "{photo}");
        assert!(of("evaluations") >= 3.0 || photo["steps"] == 1, "{photo}");
    }
    assert!(image::open(folder.path().join("s.png")).unwrap().height() > 400);
    let paint = "--model a.pt --input photos/1.png --output painted.png --device cpu";
    assert_eq!(code(&nst(folder.path(), paint).output().unwrap()), 0);
}

#[test]
fn ctrl_c_writes_a_checkpoint_and_resume_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    let mut child = nst(folder.path(), &arguments("--steps 100000 --checkpoint-every 1000"))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let losses = folder.path().join("a.run/previews/step-00000025.jpg");
    let began = Instant::now();
    while !losses.exists() && began.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = i32::try_from(child.id()).unwrap();
    Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(code(&output), 130, "{said}");
    assert!(said.contains("--resume a.run`"), "{said}");
    assert!(!folder.path().join("a.pt").exists());
    let other = nst(folder.path(), "train --resume a.run --style-weight 3").output().unwrap();
    let said = stderr(&other);
    assert_eq!(code(&other), 1, "{said}");
    assert!(said.contains("another recipe: its style-weight is 1.0, not 3.0"), "{said}");
    let other = nst(folder.path(), "train --resume a.run --recipe paper").output().unwrap();
    let said = stderr(&other);
    assert!(said.contains("its preset is \"default\", not \"paper\""), "{said}");
    // From another folder: the run knows where its files are.
    let run = folder.path().join("a.run");
    child =
        nst(Path::new("/"), &format!("train --resume {} --device cpu --threads 1", run.display()))
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("step ")), "it ended before its first step");
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let said: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:#?}");
}

#[test]
fn what_cannot_work_is_told_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::write(folder.path().join("text.jpg"), b"no picture").unwrap();
    std::fs::write(folder.path().join("vgg.pth"), b"no network").unwrap();
    std::fs::write(folder.path().join("there.pt"), b"a model").unwrap();
    let style = style();
    let style = style.display();
    let short = |more: &str| format!("{} {more}", arguments("--steps 2"));
    let cases = [
        (short("--dataset none"), 2, ""),
        (format!("train --style {style} --dataset none --output a.pt"), 1, "none': No such file"),
        (
            format!("train --style {style} --dataset empty --output a.pt"),
            1,
            "empty' holds 0 pictures",
        ),
        (
            "train --style none.jpg --dataset photos --output a.pt".to_owned(),
            1,
            "none.jpg': No such file",
        ),
        ("train --style text.jpg --dataset photos --output a.pt".to_owned(), 1, "text.jpg'"),
        (format!("train --style {style} --dataset photos --output none/a.pt"), 1, "none/a.pt'"),
        (
            format!("train --style {style} --dataset photos --output there.pt"),
            1,
            "there.pt' already exists; use --overwrite",
        ),
        (
            format!("train --style {style} --dataset photos --output a.txt"),
            2,
            "the name of a model ends in .pt",
        ),
        (short("--vgg vgg.pth"), 1, "vgg.pth"),
        (short("--norm none"), 2, "--norm"),
        (short("--styles-separate"), 2, "--styles-separate needs two --style"),
        (short("--learning-rate=-1"), 2, "--learning-rate"),
        (
            format!(
                "train --style {style} --dataset photos --output a.pt --batch 2 --image-size 4096"
            ),
            1,
            "lower --image-size",
        ),
        (short("--init mosaic"), 1, "--init 'mosaic': its network is johnson 32-64-128"),
        ("train --resume photos".to_owned(), 1, "'photos' is not a run"),
        (format!("train --style {style} --dataset photos"), 2, "--output"),
    ];
    for (args, expected, words) in cases {
        let output = nst(folder.path(), &args).output().unwrap();
        let said = stderr(&output);
        assert_eq!(code(&output), expected, "{args}: {said}");
        assert!(said.contains(words), "{args}: {said}");
        assert!(!folder.path().join("a.pt").exists(), "{args}");
    }
    assert_eq!(std::fs::read(folder.path().join("there.pt")).unwrap(), b"a model");
}

#[test]
fn a_run_that_is_there_is_not_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    assert_eq!(code(&nst(folder.path(), &arguments("--steps 1")).output().unwrap()), 0);
    std::fs::remove_file(folder.path().join("a.pt")).unwrap();
    let again = nst(folder.path(), &arguments("--steps 2")).output().unwrap();
    assert!(
        stderr(&again).contains("'a.run' holds a run already: use --resume"),
        "{}",
        stderr(&again)
    );
    let replaced = nst(folder.path(), &arguments("--steps 2 --overwrite")).output().unwrap();
    assert_eq!(code(&replaced), 0, "{}", stderr(&replaced));
    let model = ModelFile::open(&folder.path().join("a.pt")).unwrap();
    assert_eq!(model.description.recipe.unwrap()["steps"], 2);
}

fn paint(folder: &Path, more: &str, name: &str) -> (i32, String) {
    let args = format!("--input photos/1.png --output {name} --device cpu --overwrite {more}");
    let output = nst(folder, &args).output().unwrap();
    (code(&output), stderr(&output))
}

fn pixels(folder: &Path, name: &str) -> Vec<f64> {
    let picture = image::open(folder.join(name)).unwrap().into_rgb8();
    picture.into_raw().into_iter().map(f64::from).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

#[test]
fn one_network_of_two_styles_is_chosen_from_and_blended() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    // A second style that differs much: the cat in the negative.
    let mut negative = crate::cat();
    image::imageops::invert(&mut negative);
    negative.save(folder.path().join("negative.png")).unwrap();
    let more = "--style negative.png --styles-separate --steps 12";
    let trained = nst(folder.path(), &arguments(more)).output().unwrap();
    assert_eq!(code(&trained), 0, "{}", stderr(&trained));
    let (failed, said) = paint(folder.path(), "--model a.pt --blend wave", "x.png");
    assert_eq!(failed, 1);
    assert!(said.contains("'a' has no style 'wave': it paints mosaic, negative"), "{said}");
    let (done, said) = paint(folder.path(), "--model a.pt", "first.png");
    assert_eq!(done, 0, "{said}");
    assert!(said.contains("'a.pt' paints mosaic, negative; --blend chooses"), "{said}");
    for (blend, name) in [
        ("mosaic", "mosaic.png"),
        ("negative", "negative-style.png"),
        ("mosaic:1,negative:1", "both.png"),
    ] {
        let (done, said) = paint(folder.path(), &format!("--model a.pt --blend {blend}"), name);
        assert_eq!(done, 0, "{said}");
    }
    let [first, mosaic, negative, both] =
        ["first.png", "mosaic.png", "negative-style.png", "both.png"]
            .map(|name| pixels(folder.path(), name));
    assert_eq!(first, mosaic);
    let apart = distance(&mosaic, &negative);
    assert!(apart > 0.5, "{apart}");
    assert!(distance(&mosaic, &both) < apart && distance(&negative, &both) < apart);
}

#[test]
fn a_luminance_model_leaves_the_colours_to_the_photo() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    let trained = nst(folder.path(), &arguments("--luminance --steps 6")).output().unwrap();
    assert_eq!(code(&trained), 0, "{}", stderr(&trained));
    let (done, said) = paint(folder.path(), "--model a.pt", "grey.png");
    assert_eq!(done, 0, "{said}");
    // Differences of colour are the photo's own wherever neither is clipped.
    let (photo, painted) =
        (pixels(folder.path(), "photos/1.png"), pixels(folder.path(), "grey.png"));
    let mut compared = 0;
    for (a, b) in photo.chunks(3).zip(painted.chunks(3)) {
        if b.iter().all(|v| (1.0..255.0).contains(v)) {
            let off = ((a[0] - a[2]) - (b[0] - b[2])).abs();
            assert!(off <= 2.0, "{a:?} {b:?}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn a_network_learns_regions_from_masks_and_paints_without_them() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    masks(&folder.path().join("masks"));
    std::fs::write(folder.path().join("photos/broken.jpg"), b"broken").unwrap();
    std::fs::copy(folder.path().join("masks/0.png"), folder.path().join("masks/broken.png"))
        .unwrap();
    crate::cat().save(folder.path().join("cat@home.png")).unwrap();
    let plain = format!("--style {}", style().display());
    let regions =
        format!("{plain}@white --style cat@home.png@0 --style none@128 --masks masks --steps 3");
    let with = |more: &str| arguments(more).replacen(&plain, "", 1);
    let output = nst(folder.path(), &with(&regions)).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let shown = nst(folder.path(), "models show a.pt").output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for words in ["mosaic + cat@home", "\"region\": \"255\"", "\"masks\": \"masks\"", "unstyled"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (done, said) = paint(folder.path(), "--model a.pt", "painted.png");
    assert_eq!(done, 0, "{said}");
}

#[test]
fn what_cannot_work_with_masks_is_told_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    photos(&folder.path().join("photos"));
    masks(&folder.path().join("masks"));
    masks(&folder.path().join("few"));
    for name in ["few/1.png", "few/4.png"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    masks(&folder.path().join("wide"));
    image::RgbImage::new(90, 30).save(folder.path().join("wide/3.png")).unwrap();
    masks(&folder.path().join("damaged"));
    std::fs::write(folder.path().join("damaged/2.png"), b"no picture").unwrap();
    let style = style();
    let at = |regions: &[&str], more: &str| {
        let styles = regions.iter().map(|region| match region.strip_prefix("none") {
            Some(_) => format!("--style {region} "),
            None => format!("--style {}{region} ", style.display()),
        });
        let plain = format!("--style {}", style.display());
        let all = arguments(&format!("--steps 3 {more}"));
        all.replacen(&plain, &styles.collect::<String>(), 1)
    };
    let all = ["@white", "@0", "none@128"];
    for (args, expected, words) in [
        (at(&all, ""), 2, "--style …@REGION needs --masks"),
        (at(&[""], "--masks masks"), 2, "with --masks each --style names its region"),
        (at(&["@white", ""], "--masks masks"), 2, "with --masks each --style names its region"),
        (at(&["none@0", "none@255"], "--masks masks"), 2, "all are 'none'"),
        (at(&["@sky"], "--masks masks"), 2, "'sky' is not a region"),
        (at(&["none"], "--masks masks"), 2, "'none' needs a region"),
        (at(&all, "--masks masks --styles-separate"), 2, "--styles-separate does not go with"),
        (at(&all, "--masks masks --tile-share 0.2"), 2, "--tile-share 0 only"),
        (at(&all, "--masks masks --norm batch"), 2, "--norm instance only"),
        (at(&all, "--masks none"), 1, "cannot read the masks '"),
        (at(&all, "--masks few"), 1, "photos/1.png': expected '"),
        (at(&all, "--masks few"), 1, "2 of 6 photos have none"),
        (
            at(&["@white", "@#ff0000"], "--masks masks"),
            2,
            "0.png': no --style is for its region 0;",
        ),
        (at(&all, "--masks wide"), 2, "wide/3.png': it is 90×30 pixels"),
        (at(&all, "--masks damaged"), 1, "damaged/2.png'"),
    ] {
        let output = nst(folder.path(), &args).output().unwrap();
        let said = stderr(&output);
        assert_eq!(code(&output), expected, "{args}: {said}");
        assert!(said.contains(words), "{args}: {said}");
        // clap adds where to find help.
        let lines = said.trim_end().lines().count();
        assert!(lines == 1 || said.contains("try '--help'"), "{args}: {said}");
        let left = ["a.pt", "a.run"].map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, false], "{args}");
    }
}
