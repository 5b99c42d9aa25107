//! `optimize` of a video: its frames are painted one after another.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::common::{audio_packets, ffmpeg, frame_times, nst, rgb_frames, size, succeed};
use super::{assert_says, files, folder, refusal, run, works};

/// Width and height of the frames, and by how much each is moved to the left.
const SIZE: (usize, usize) = (80, 64);
const SHIFT: usize = 3;

/// `pan.mkv`: a part of the cat that moves to the left, with a tone; and the style.
fn pan(folder: &Path, frames: usize) {
    let path = |name: &str| folder.join(name).display().to_string();
    let style = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/styles/mosaic.jpg");
    fs::copy(style, folder.join("style.jpg")).unwrap();
    let moving = format!("scale=160:-2,crop={}:{}:'{SHIFT}*n':20,setsar=1", SIZE.0, SIZE.1);
    let (count, seconds) = (frames.to_string(), (frames as f64 / 25.0).to_string());
    let tone = format!("sine=frequency=440:duration={seconds}");
    let input = ["-loop", "1", "-i", &path("cat.png"), "-f", "lavfi", "-i", &tone];
    let made = ["-vf", &moving, "-frames:v", &count, "-c:v", "ffv1", "-pix_fmt", "bgr0"];
    ffmpeg(&[&input[..], &made, &["-c:a", "flac", "-t", &seconds, &path("pan.mkv")]].concat());
}

/// Arguments of few steps, from noise: what is painted has little to do with the frame before by itself.
fn with<'a>(content: &'a str, output: &'a str, steps: &'a str, more: &'a str) -> Vec<&'a str> {
    let all = "optimize --style style.jpg --init noise --device cpu --threads 1 --tolerance 0";
    let paths = ["--content", content, "--output", output, "--steps", steps];
    all.split(' ').chain(paths).chain(more.split_whitespace()).collect()
}

/// Mean difference of each frame to the one before, moved as the content was.
fn moved_error(frames: &[Vec<u8>]) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for pair in frames.windows(2) {
        for y in 0..SIZE.1 {
            for x in 0..3 * (SIZE.0 - SHIFT) {
                let (now, before) =
                    (pair[1][3 * SIZE.0 * y + x], pair[0][3 * SIZE.0 * y + x + 3 * SHIFT]);
                sum += f64::from(now.abs_diff(before));
                count += 1;
            }
        }
    }
    sum / f64::from(count)
}

#[test]
fn paint_moves_with_what_it_lies_on_and_sound_and_times_are_kept() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    pan(folder.path(), 4);
    let paint =
        |output: &str, more: &str| works(folder.path(), &with("pan.mkv", output, "20", more));
    let said = paint("one.mkv", "--quality 100 --frame-steps 12");
    assert_says(
        &said,
        &["4 frames of 80×64", "at most about", "one.mkv: 4 frames; 4 painted in 56 steps"],
    );
    paint("three.mkv", "--quality 100 --frame-steps 12 --passes 3");

    // By themselves, each from other noise.
    let said = paint("alone.mkv", "--quality 100 --look-back 0");
    assert_says(&said, &["up to 20 steps for each,", "4 painted in 80 steps"]);
    let alone = moved_error(&rgb_frames(&path("alone.mkv"), 4));
    for (name, most) in [("one.mkv", 0.4), ("three.mkv", 0.8)] {
        let moved = moved_error(&rgb_frames(&path(name), 4));
        assert!(moved < most * alone, "{name}: {moved}, by themselves {alone}");
        assert_eq!(size(&path(name)), SIZE, "{name}");
        assert_eq!(
            audio_packets(&path(name), "a:0"),
            audio_packets(&path("pan.mkv"), "a:0"),
            "{name}"
        );
        assert_eq!(frame_times(&path(name)), frame_times(&path("pan.mkv")), "{name}");
    }
    let left = files(folder.path())
        .into_keys()
        .find(|name| name.contains("frames") || name.contains("partial"));
    assert_eq!(left, None);
}

/// Interrupts a run once it has painted so many frames; what it said.
fn interrupted(folder: &Path, args: &[&str], frames: usize) -> String {
    let mut command = nst();
    let command = command.current_dir(folder).args(args).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while !folder.join(format!("out.frames/pass-01/{frames:05}.png")).exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run was over too soon");
        assert!(Instant::now() < until, "no frame");
        thread::sleep(Duration::from_millis(5));
    }
    succeed(Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]));
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(130), "{said}");
    said
}

#[test]
fn ctrl_c_keeps_what_is_painted_and_a_resumed_run_paints_the_same_frames() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    pan(folder.path(), 5);
    let more = "--frame-steps 12 --look-back 1,2";
    works(folder.path(), &with("pan.mkv", "whole/", "20", more));

    let args = with("pan.mkv", "out/", "20", more);
    let said = interrupted(folder.path(), &args, 2);
    assert_says(&said, &["of 5 frames", "'out.frames' keeps the painted frames, for --resume"]);
    let (whole, kept) = (files(&path("whole")), files(&path("out")));
    assert!((2..5).contains(&kept.len()), "{:?}", kept.keys());
    assert!(kept.iter().all(|(name, bytes)| *bytes == whole[name]));

    let other = [&args[..], &["--resume", "--seed", "9"]].concat();
    assert_says(&refusal(folder.path(), 2, &other), &["--resume", "another --seed: 1, not 9"]);
    let anew = with("pan.mkv", "out.mkv", "20", more);
    assert_says(&refusal(folder.path(), 1, &anew), &["'out.frames'", "--resume", "--overwrite"]);
    let resume = [&args[..], &["--resume"]].concat();
    let said = works(folder.path(), &resume);
    // Those that were there were not painted again.
    assert_says(&said, &["out/: 5 frames", &format!("; {} painted in", 5 - kept.len())]);
    assert!(files(&path("out")) == whole);
    assert!(!path("out.frames").exists());
    assert_says(&refusal(folder.path(), 1, &resume), &["no run to resume", "'out.frames'"]);

    // A folder of frames, as a video and as pictures, which replace those of a longer one.
    let few = "--frame-steps 1 --fps 10 --duration 0.3 --overwrite";
    works(folder.path(), &with("whole/", "few.mkv", "1", few));
    assert_eq!(frame_times(&path("few.mkv")), [0.0, 0.1, 0.2]);
    works(folder.path(), &with("whole/", "out/", "1", few));
    assert_eq!(files(&path("out")).len(), 3);
}

#[test]
fn a_run_that_was_stopped_leaves_a_video_with_the_sound_of_what_was_painted() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    pan(folder.path(), 25);
    let args = with("pan.mkv", "out.mp4", "4", "--frame-steps 12");
    interrupted(folder.path(), &args, 3);
    let times = frame_times(&path("out.mp4"));
    assert!((3..25).contains(&times.len()), "{}", times.len());
    let sound = |name: &str| audio_packets(&path(name), "a:0").1;
    let (whole, cut) = (sound("pan.mkv"), sound("out.mp4"));
    assert!(cut < whole && cut > 0, "{cut} of {whole}");
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let folder = folder();
    pan(folder.path(), 2);
    fs::create_dir(folder.path().join("empty")).unwrap();
    let of = |content: &str, output: &str, more: &str, code: i32| {
        refusal(folder.path(), code, &with(content, output, "20", more))
    };
    assert_says(&of("pan.mkv", "out.png", "", 2), &["'pan.mkv' is a video", ".mp4"]);
    assert_says(&of("empty", "out.png", "", 2), &["'empty' is a video"]);
    assert_says(&of("pan.mkv", "out.gif", "", 2), &["'out.gif'", ".webm"]);
    assert_says(&of("pan.mkv", "-", "", 2), &["- is neither"]);
    assert_says(&of("pan.mkv", "out.mkv", "--fps 25", 2), &["--fps"]);
    assert_says(&of("pan.mkv", "out.mkv", "--evolution x.png", 2), &["--evolution", "video"]);
    assert_says(&of("pan.mkv", "out.webm", "--codec h264", 2), &["--codec"]);
    assert_says(&of("pan.mkv", "out/", "--codec h264", 2), &["--codec is for video files"]);
    for (content, output) in
        [("pan.mkv", "pan.mkv"), ("f/%03d.png", "f/%03d.png"), ("empty", "empty")]
    {
        assert_says(&of(content, output, "--overwrite", 2), &["both content and output"]);
    }
    assert_says(&of("pan.mkv", "out.mkv", "--size 8", 2), &["--size 8"]);
    assert_says(&of("pan.mkv", "out.mkv", "--temporal-weight=-1", 2), &["--temporal-weight"]);
    assert_says(&of("pan.mkv", "no/out.mkv", "", 1), &["no folder 'no'"]);
    assert_says(&of("none.mkv", "out.mkv", "", 1), &["none.mkv"]);
    assert_says(&of("empty", "out.mkv", "", 1), &["'empty'", "no picture"]);
    fs::write(folder.path().join("there.mkv"), b"mine").unwrap();
    assert_says(&of("pan.mkv", "there.mkv", "", 1), &["'there.mkv' already exists"]);
    for more in ["--frame-steps 9", "--passes 2", "--resume", "--no-audio", "--codec h264"] {
        let option = more.split(' ').next().unwrap();
        assert_says(&of("cat.png", "out.png", more, 2), &[option, "is for videos", "'cat.png'"]);
    }
    for more in ["--look-back 0,1", "--look-back 0 --passes 2", "--passes 0", "--frame-steps 0"] {
        let args = with("pan.mkv", "out.mkv", "20", more);
        assert_eq!(run(folder.path(), &args).status.code(), Some(2), "{more}");
    }
}
