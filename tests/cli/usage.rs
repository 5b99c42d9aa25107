//! What clap refuses, before anything is opened.

use super::{assert_says, files, folder, refusal, run, works};

/// Exit code 2, nothing made; what was said.
fn misused(args: &[&str]) -> String {
    let folder = folder();
    let before = files(folder.path());
    let out = run(folder.path(), args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(out.stdout.is_empty() && !stderr.contains("panicked"), "{args:?}: {stderr}");
    assert!(files(folder.path()) == before, "{args:?}: something was made");
    stderr
}

fn misused_with(more: &[&str]) -> String {
    misused(&[&["-m", "mosaic", "-i", "clip.mp4", "-o", "out.mp4"][..], more].concat())
}

#[test]
fn values_out_of_range_are_refused_with_what_is_expected() {
    for (flag, values, expected) in [
        ("--strength", &["2", "NaN"][..], "a number from 0 to 1"),
        ("--scale", &["0", "1.5"], "a number from 0.01 to 1"),
        ("--stroke", &["0", "5", "wide"], "a number from 0.25 to 4"),
        ("--batch", &["0", "1.5"], "a number from 1 to 1024"),
        ("--threads", &["0"], "a number from 1 to 1024"),
        ("--start", &["abc", "1:60"], "write seconds (12.5), MM:SS or HH:MM:SS"),
        ("--duration", &["soon"], "write seconds (12.5), MM:SS or HH:MM:SS"),
        ("--duration", &["0", "0:00"], "more than 0 seconds"),
        ("--device", &["gpu"], "expected auto, cpu, cuda or cuda:N"),
        ("--precision", &["int8"], "expected auto, fp32, bf16 or fp16"),
        ("--gpu-kernels", &["auto", "1"], "expected on or off"),
    ] {
        for value in values {
            let said = misused_with(&[&format!("{flag}={value}")]);
            let first = said.lines().next().unwrap();
            assert_says(first, &["error: ", flag, &format!("'{value}'"), expected]);
        }
    }
}

#[test]
fn flags_that_do_not_exist_or_do_not_go_together_are_refused_by_name() {
    assert_says(&misused_with(&["--nonsense"]), &["'--nonsense'"]);
    assert_says(&misused_with(&["--quiet", "--verbose"]), &["--quiet", "--verbose"]);
    let preview = misused_with(&["--preview", "1", "--start", "2"]);
    assert_says(&preview, &["--preview", "--start"]);
    assert_says(&misused_with(&["extra"]), &["extra"]);
    assert_says(&misused(&["completions", "tcsh"]), &["tcsh", "bash", "zsh", "fish"]);
}

#[test]
fn global_options_are_taken_on_both_sides_of_a_subcommand() {
    let folder = folder();
    let listed = run(folder.path(), &["models"]).stdout;
    for args in [["-q", "models"], ["models", "-q"], ["-v", "models"], ["--verbose", "models"]] {
        let out = run(folder.path(), &args);
        assert_eq!(out.status.code(), Some(0), "{args:?}: {:?}", String::from_utf8(out.stderr));
        assert_eq!(out.stdout, listed, "{args:?}");
    }
    for args in [&["-q", "completions", "bash"][..], &["-q", "models", "list"], &["-v", "probe"]] {
        works(folder.path(), args);
    }
    // Options of the main command are none of a subcommand's, and opposites stay opposites.
    assert_says(&misused(&["-m", "mosaic", "models"]), &["'models'", "'--model <MODEL>'"]);
    assert_says(&misused(&["--overwrite", "probe"]), &["'probe'", "'--overwrite'"]);
    assert_says(&misused(&["-q", "models", "-v"]), &["--quiet", "--verbose"]);
}

#[test]
fn what_is_missing_is_named() {
    let said = misused(&["-m", "mosaic"]);
    assert_says(&said, &["--input"]);
    assert!(!said.lines().take(3).any(|line| line.contains("--model")), "{said}");
    assert_says(&misused(&["models", "show"]), &["NAME|FILE"]);
}

#[test]
fn a_part_of_a_picture_is_not_to_be_had() {
    let folder = folder();
    for option in ["--start", "--duration", "--preview"] {
        let args = ["-m", "mosaic", "-i", "cat.png", "-o", "out.png", option, "1"];
        assert_says(&refusal(folder.path(), 2, &args), &[option, "'cat.png'", "a picture"]);
    }
}

#[test]
fn without_arguments_it_prints_its_help() {
    assert_says(&misused(&[]), &["Usage: nst-stream", "--model", "--strength", "Examples:"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let folder = folder();
    for (flag, expected) in [("--help", "Usage: nst-stream"), ("--version", "nst-stream 0.")] {
        let out = run(folder.path(), &[flag]);
        assert_eq!((out.status.code(), out.stderr.as_slice()), (Some(0), &b""[..]));
        assert_says(&String::from_utf8(out.stdout).unwrap(), &[expected]);
    }
}

#[test]
fn options_of_video_files_are_refused_where_they_do_nothing() {
    let live = ["-m", "mosaic", "-i", "test:"];
    for (more, words) in [
        (&["-o", "a.mkv", "--no-audio"][..], "--no-audio is for a video file"),
        (&["-o", "a.mkv", "--even"], "--even is for a video file"),
        (&["-o", "rtsp://127.0.0.1:8554/a", "--quality", "5"], "--quality is for video files"),
        (&["-o", "a.webm", "--codec", "h264"], ".webm cannot hold h264: it takes vp9, av1"),
    ] {
        assert_says(&misused(&[&live[..], more].concat()), &[words]);
    }
    assert_says(&misused_with(&["--quality", "5", "--bitrate", "1M"]), &["--quality", "--bitrate"]);
    let said = misused(&["-m", "mosaic", "-i", "clip.mp4", "-o", "a.mov", "--codec", "av1"]);
    assert_says(&said, &["--codec", ".mov cannot hold av1: it takes h264, h265"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = folder();
    let out = run(folder.path(), &["man", "--output", "."]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for (page, says) in [("nst-stream", "preserve"), ("nst-stream-train", "dataset")] {
        let text = std::fs::read_to_string(folder.path().join(format!("{page}.1"))).unwrap();
        assert!(text.starts_with(".ie") && text.contains(".TH") && text.contains(says), "{page}");
    }
    assert!(!folder.path().join("nst-stream-man.1").exists(), "it is for packages only");
    assert_eq!(run(folder.path(), &["man", "--output", "none"]).status.code(), Some(1));
}
