//! What does not go together, said in one line before anything is loaded.

use std::fs;

use super::*;

#[test]
fn what_pipes_and_pictures_do_not_go_with_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(carphone(), at("clip.mp4")).unwrap();
    fs::create_dir(at("frames")).unwrap();
    fs::copy(data("chelsea.png"), at("frames/1.png")).unwrap();
    for (args, words) in [
        (&["-i", "clip.mp4", "-o", "-", "--json"][..], &["--json", "stdout"][..]),
        (&["-i", "clip.mp4", "-o", "-", "--preview", "1"], &["--preview"]),
        (&["-i", "-", "-o", "a.png", "--preview", "1"], &["--preview"]),
        (&["-i", "frames", "-o", "a.png"], &["out/%05d.png"]),
        (&["-i", "-", "-o", "a.png"], &["out/%05d.png"]),
        (&["-i", "frames", "-o", "a%d.gif"], &["'a%d.gif'", ".png or .jpg"]),
        (&["-i", "frames", "-o", "frames/"], &["both input and output"]),
        (&["-i", "clip.mp4", "-o", "a.mp4", "--fps", "25"], &["--fps", "pictures"]),
        (&["-i", "test:", "-o", "-"], &["'-'", "live"]),
        (&["-i", "test:", "-o", "out/"], &["'out/'", "live"]),
        (&["-i", "test:", "-o", "%d.png"], &["'%d.png'", "live"]),
        (&["-i", "-", "-o", "window:"], &["'-'", "one --output"]),
        (&["-i", "frames", "-o", "window:"], &["'frames'", "one --output"]),
    ] {
        let line = refusal(folder.path(), 2, args);
        assert!(words.iter().all(|word| line.contains(word)), "{args:?}: {line}");
    }
    assert_eq!(names(folder.path()), ["clip.mp4", "frames"]);
}

#[test]
fn rates_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["0", "25/0", "fast", "25.5"] {
        let out = output(&mut program(folder.path(), &["-i", "a", "-o", "b/", "--fps", wrong]));
        assert_eq!(out.status.code(), Some(2));
        assert!(said(&out).contains("30000/1001"), "{}", said(&out));
    }
}

#[test]
fn pictures_that_are_not_there_or_would_meet_under_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("frames")).unwrap();
    fs::copy(data("chelsea.png"), at("frames/a.png")).unwrap();
    image::open(data("chelsea.png")).unwrap().into_rgb8().save(at("frames/a.jpg")).unwrap();
    for (input, output, words) in [
        ("empty/", "out/", &["'empty/'", "no picture in this folder"][..]),
        ("empty", "out.mp4", &["'empty'", "no picture in this folder"]),
        ("frames/%d.png", "out.mp4", &["'frames/1.png'"]),
        ("none/%d.png", "out/", &["'none'", "No such file"]),
        ("frames", "out/", &["a.jpg", "a.png", "would both become 'out/a.png'"]),
        ("frames/a.png", "deeper/out/", &["no folder 'deeper'"]),
        ("frames", "none/%d.png/a%d.png", &["no folder 'none'"]),
    ] {
        let line = refusal(folder.path(), 1, &["-i", input, "-o", output]);
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert_eq!(names(folder.path()), ["empty", "frames"]);
}
