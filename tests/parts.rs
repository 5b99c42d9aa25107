//! `split`, `part`, `status` and `join`: a video that is painted in parts is the one that a single run paints.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::*;

#[path = "parts/engines.rs"]
mod engines;

/// Small pictures by a small network, encoded without loss.
const RUN: [&str; 6] = ["-m", "mosaic-lite", "--scale", "0.5", "--quality", "100"];

struct Job {
    folder: tempfile::TempDir,
    input: PathBuf,
}

impl Job {
    /// With a video that ffmpeg makes.
    fn of(name: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join(name);
        ffmpeg(&[args, &[input.to_str().unwrap()]].concat());
        Job { folder, input }
    }

    /// Two seconds of a clip with its sound, small.
    fn bunny() -> Self {
        let bunny = bunny().display().to_string();
        let scaled =
            ["-vf", "scale=160:96", "-c:v", "libx264", "-bf", "2", "-g", "12", "-c:a", "copy"];
        Job::of("in.mp4", &[&["-i", &bunny, "-t", "2"][..], &scaled].concat())
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn nst(&self, args: &[&str]) -> Output {
        output(nst().current_dir(self.folder.path()).args(args))
    }

    fn done(&self, args: &[&str]) -> String {
        let out = self.nst(args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{args:?}: {said}");
        said
    }

    /// What it says when it refuses.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let out = self.nst(args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        said
    }

    fn split(&self, args: &[&str]) -> serde_json::Value {
        let input = self.input.to_str().unwrap();
        self.done(&[&["split", input, "-o", "job", "--overwrite"][..], &RUN, args].concat());
        serde_json::from_slice(&fs::read(self.path("job/plan.json")).unwrap()).unwrap()
    }

    /// Paints all parts, and in one run; the joined video must be the same as that of the run.
    fn is_the_same_in_parts(&self, ending: &str, own: &[&str], args: &[&str]) -> usize {
        let parts = self.split(&[own, args].concat())["parts"].as_array().unwrap().len();
        for index in 0..parts {
            self.done(&["part", "job", "--index", &index.to_string()]);
        }
        let (joined, one) = (format!("joined.{ending}"), format!("one.{ending}"));
        self.done(&["join", "job", "-o", &joined, "--overwrite"]);
        let input = self.input.to_str().unwrap();
        self.done(&[&["-i", input, "-o", &one, "--overwrite"][..], &RUN, args].concat());
        assert_eq!(hashes(&self.path(&joined)), hashes(&self.path(&one)), "{own:?} {args:?}");
        parts
    }
}

/// Time, duration and hash of every decoded frame and of all packets of the other tracks.
fn hashes(path: &str) -> String {
    let all = [
        "-v", "error", "-i", path, "-map", "0", "-c:a", "copy", "-c:s", "copy", "-f", "framemd5",
        "-",
    ];
    succeed(Command::new("ffmpeg").args(all))
}

#[test]
fn parts_are_the_frames_of_one_run_with_its_sound() {
    let job = Job::bunny();
    let parts = job.is_the_same_in_parts("mp4", &["--parts", "3"], &["--steady", "0"]);
    assert_eq!(parts, 3);
    // A part of it, whose parts count from its beginning, in another container.
    let span = ["--start", "0.3", "--duration", "1", "--steady", "0", "--strength", "0.6"];
    let own = ["--seconds", "0.4", "--container", "mkv"];
    assert_eq!(job.is_the_same_in_parts("mkv", &own, &span), 3);
    assert!(job.done(&["status", "job"]).is_empty());
    let status: serde_json::Value =
        serde_json::from_slice(&job.nst(&["status", "job", "--json"]).stdout).unwrap();
    assert_eq!((&status["painted"], &status["painted_frames"]), (&3.into(), &26.into()));
}

#[test]
fn held_steady_a_part_begins_with_a_scene_and_is_still_the_same() {
    let half = |name: &Path| {
        let name = name.display().to_string();
        [["-t", "0.6", "-i"].map(str::to_owned).to_vec(), vec![name]].concat()
    };
    let inputs = [half(&bunny()), half(&bikes()), half(&carphone())].concat();
    let same = "scale=160:96,setsar=1,fps=25";
    let filter = format!("[0:v]{same}[a];[1:v]{same}[b];[2:v]{same}[c];[a][b][c]concat=n=3");
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let job =
        Job::of("in.mkv", &[&inputs[..], &["-filter_complex", &filter, "-c:v", "ffv1"]].concat());
    // More than there are scenes.
    assert_eq!(job.is_the_same_in_parts("mp4", &["--parts", "9"], &[]), 3);
    let plan = job.split(&["--parts", "3"]);
    let begins: Vec<_> = (0..3).map(|n| plan["parts"][n]["frames"].as_u64().unwrap()).collect();
    assert_eq!(begins, [15, 15, 15], "{plan}");
    // Anywhere, and begun earlier.
    let plan = job.split(&["--parts", "4", "--overlap", "0.2"]);
    let leads: Vec<_> = (0..4).map(|n| plan["parts"][n]["lead_frames"].as_u64().unwrap()).collect();
    assert_eq!(leads, [0, 5, 5, 5], "{plan}");
}

#[test]
fn what_seeks_badly_is_the_same_in_parts() {
    let test = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1.2"];
    let h264 = ["-c:v", "libx264", "-bf", "3", "-g", "50"];
    let cases: [(&str, &str, &[&str]); 5] = [
        ("in.mp4", "variable rate", &["-vf", "select='not(between(n,7,13))'", "-fps_mode", "vfr"]),
        ("in.ts", "times from 1000 s", &["-output_ts_offset", "1000"]),
        ("in.mkv", "an odd size", &["-vf", "scale=95:63", "-pix_fmt", "yuv444p"]),
        ("in.mp4", "interlaced", &["-vf", "tinterlace=4,fieldorder=tff", "-flags", "+ildct+ilme"]),
        ("in.mov", "an edit list", &[]),
    ];
    for (name, what, args) in cases {
        let job = match what {
            "an edit list" => {
                let whole = Job::of("a.mp4", &[&test[..], &h264].concat());
                let a = whole.path("a.mp4");
                Job::of(name, &["-ss", "0.3", "-i", &a, "-c", "copy"])
            }
            _ => Job::of(name, &[&test[..], &h264, args].concat()),
        };
        if what == "an odd size" {
            assert_eq!(size(&job.input), (95, 63));
        }
        let parts = job.is_the_same_in_parts("mp4", &["--parts", "3"], &["--steady", "0"]);
        assert_eq!(parts, 3, "{what}");
    }
}

#[test]
fn other_codecs_are_joined_too() {
    let job =
        Job::of("in.mkv", &["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=0.8", "-c:v", "ffv1"]);
    for (codec, ending) in [("h265", "mkv"), ("vp9", "webm"), ("vp9", "mp4"), ("av1", "mkv")] {
        job.split(&["--parts", "3", "--steady", "0", "--codec", codec, "--container", ending]);
        job.done(&["part", "job", "--all"]);
        let joined = format!("{codec}.{ending}");
        job.done(&["join", "job", "-o", &joined]);
        let times = frame_times(Path::new(&job.path(&joined)));
        assert_eq!(times.len(), 20, "{joined}");
        for (n, time) in times.iter().enumerate() {
            assert!((time - n as f64 / 25.0).abs() < 0.0011, "{joined}: {times:?}");
        }
    }
    assert!(job.refused(1, &["join", "job", "-o", "x.mov"]).contains("cannot hold av1"));
}

#[test]
fn parts_side_by_side_and_parts_that_are_there() {
    let job = Job::bunny();
    job.split(&["--parts", "4", "--steady", "0"]);
    job.done(&["part", "job", "--index", "2"]);
    let made = fs::metadata(job.path("job/part-00002.gdp")).unwrap().modified().unwrap();
    let said = job.done(&["part", "job", "--all", "--jobs", "2"]);
    assert!(said.contains("part 3 is painted (3 of 3)") || said.contains("(3 of 3)"), "{said}");
    assert_eq!(fs::metadata(job.path("job/part-00002.gdp")).unwrap().modified().unwrap(), made);
    assert!(job.done(&["part", "job", "--index", "2"]).contains("painted already"));
    job.done(&["join", "job", "-o", "out.mp4"]);
    assert_eq!(frame_times(Path::new(&job.path("out.mp4"))).len(), 50);
}

#[test]
fn two_machines_that_take_the_same_part_do_no_harm() {
    let job = Job::bunny();
    job.split(&["--parts", "1", "--steady", "0"]);
    let paint = || {
        let mut command = nst();
        command
            .current_dir(job.folder.path())
            .args(["part", "job", "--index", "0"])
            .spawn()
            .unwrap()
    };
    let mut both = [paint(), paint()];
    assert!(both.iter_mut().all(|process| process.wait().unwrap().success()));
    job.done(&["join", "job", "-o", "out.mp4"]);
    assert_eq!(frame_times(Path::new(&job.path("out.mp4"))).len(), 50);
    let left: Vec<_> =
        fs::read_dir(job.path("job")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_part_that_is_killed_or_interrupted_is_painted_from_its_beginning() {
    let job = Job::of(
        "in.mkv",
        &["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=60", "-c:v", "libx264"],
    );
    job.split(&["--parts", "1", "--steady", "0"]);
    for signal in ["-KILL", "-INT"] {
        let mut command = nst();
        command.current_dir(job.folder.path()).args(["part", "job", "--index", "0", "-q"]);
        let mut process = command.spawn().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        let begun = || {
            let entries = fs::read_dir(job.path("job")).unwrap().flatten();
            let sizes = entries.filter(|e| e.file_name().to_string_lossy().contains("partial"));
            sizes.filter_map(|e| e.metadata().ok()).any(|file| file.len() > 10_000)
        };
        while !begun() {
            assert!(Instant::now() < limit, "{signal}: it does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        succeed(Command::new("kill").args([signal, &process.id().to_string()]));
        let code = process.wait().unwrap().code();
        assert_eq!(code, if signal == "-INT" { Some(130) } else { None });
        let said = succeed(nst().current_dir(job.folder.path()).args(["status", "job"]));
        let expected = if signal == "-INT" { "missing" } else { "begun" };
        assert!(said.contains(expected) && said.contains("0 of 1 parts"), "{signal}: {said}");
        // What was killed leaves its file; the next one is another.
        for left in fs::read_dir(job.path("job")).unwrap().flatten() {
            if left.file_name().to_string_lossy().contains("partial") {
                fs::remove_file(left.path()).unwrap();
            }
        }
        assert!(job.refused(1, &["join", "job", "-o", "out.mp4"]).contains("part 0 is missing"));
    }
}

#[test]
fn what_does_not_fit_is_named_with_the_command_that_mends_it() {
    let job = Job::bunny();
    job.split(&["--parts", "2", "--steady", "0"]);
    let said = job.refused(1, &["join", "job", "-o", "out.mp4"]);
    assert!(said.contains("part 0 is missing, and 1 more") && said.contains("--index 0"), "{said}");
    job.done(&["part", "job", "--all"]);

    // Damaged.
    let packets = job.path("job/part-00001.gdp");
    let whole = fs::read(&packets).unwrap();
    fs::write(&packets, &whole[..whole.len() / 2]).unwrap();
    let said = job.refused(1, &["join", "job", "-o", "out.mp4"]);
    assert!(said.contains("part 1 is damaged") && said.contains("--index 1"), "{said}");
    assert!(succeed(nst().args(["status", &job.path("job")])).contains("damaged"));
    job.done(&["part", "job", "--index", "1"]);
    job.done(&["join", "job", "-o", "out.mp4"]);
    assert!(job.refused(1, &["join", "job", "-o", "out.mp4"]).contains("--overwrite"));
    assert!(
        job.refused(1, &["join", "job", "-o", "out.xyz"]).contains(".mp4, .mov, .mkv or .webm")
    );

    // Of another plan.
    let record = fs::read_to_string(job.path("job/part-00001.json")).unwrap();
    job.split(&["--parts", "2", "--steady", "0", "--strength", "0.5"]);
    assert!(!Path::new(&packets).exists(), "the parts of the earlier plan are gone");
    job.done(&["part", "job", "--index", "0"]);
    fs::write(job.path("job/part-00001.json"), record).unwrap();
    fs::write(&packets, &whole).unwrap();
    let said = job.refused(1, &["join", "job", "-o", "new.mp4"]);
    assert!(said.contains("part 1 belongs to another plan"), "{said}");

    // The source has changed.
    let mut changed = fs::read(&job.input).unwrap();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    fs::write(&job.input, changed).unwrap();
    for command in [&["part", "job", "--index", "1"][..], &["join", "job", "-o", "new.mp4"]] {
        let said = job.refused(1, command);
        assert!(said.contains("in.mp4' has changed since the job was split"), "{said}");
    }
    assert!(!Path::new(&job.path("new.mp4")).exists());
}

#[test]
fn a_machine_that_computes_otherwise_or_another_model_is_refused() {
    let job = Job::bunny();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mosaic-lite.pt");
    fs::copy(model, job.path("mine.pt")).unwrap();
    let input = job.input.to_str().unwrap();
    let split = ["split", input, "-m", "mine.pt", "-o", "job", "--parts", "1", "--overwrite"];
    job.done(&split);
    let plan = fs::read_to_string(job.path("job/plan.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let arithmetic = json["arithmetic"].as_str().unwrap();
    fs::write(job.path("job/plan.json"), plan.replace(arithmetic, "an abacus")).unwrap();
    let said = job.refused(1, &["part", "job", "--index", "0"]);
    assert!(said.contains("an abacus") && said.contains("--any-machine"), "{said}");
    job.done(&[&split[..], &["--any-machine"]].concat());
    let any: serde_json::Value =
        serde_json::from_slice(&fs::read(job.path("job/plan.json")).unwrap()).unwrap();
    assert!(any.get("arithmetic").is_none(), "{any}");
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/great-wave-lite.pt");
    fs::copy(other, job.path("mine.pt")).unwrap();
    let said = job.refused(1, &["part", "job", "--index", "0"]);
    assert!(said.contains("'mine.pt' has changed"), "{said}");
}

#[test]
fn wrong_usage_is_said_in_a_line() {
    let job = Job::bunny();
    let input = job.input.to_str().unwrap();
    let cases: [(&[&str], i32, &str); 11] = [
        (&["split", input, "-m", "mosaic-lite"], 2, "--output names the job's folder"),
        (&["split", "-m", "mosaic-lite", "-o", "job"], 2, "which video?"),
        (&["split", input, "-m", "mosaic-lite", "-o", "job", "--loop"], 2, "--loop is for live"),
        (&["split", input, "-m", "mosaic-lite", "-o", "job", "--preview", "1"], 2, "--preview"),
        (&["split", "none.mp4", "-m", "mosaic-lite", "-o", "job"], 1, "none.mp4"),
        (&["split", ".", "-m", "mosaic-lite", "-o", "job"], 2, "no video file"),
        (&["split", input, "-m", "nothing", "-o", "job"], 1, "nothing"),
        (
            &["split", input, "-m", "mosaic-lite", "-o", "job", "--container", "avi"],
            2,
            "mp4, mov, mkv",
        ),
        (&["part", "job", "--index", "0"], 1, "is no job"),
        (&["part", "job"], 2, "--index"),
        (&["status", "job"], 1, "is no job"),
    ];
    for (args, code, says) in cases {
        let said = job.refused(code, args);
        assert!(said.contains(says), "{args:?}: {said}");
    }
    assert!(!Path::new(&job.path("job")).exists(), "nothing is left of what was refused");
    job.split(&["--parts", "2", "--steady", "0"]);
    assert!(job.refused(2, &["part", "job", "--index", "2"]).contains("the parts are 0 to 1"));
    let again = ["split", input, "-m", "mosaic-lite", "-o", "job"];
    assert!(job.refused(1, &again).contains("--overwrite"));
    fs::write(job.path("job/plan.json"), "{\"format\": 99}").unwrap();
    assert!(job.refused(1, &["part", "job", "--index", "0"]).contains("another version"));
}
