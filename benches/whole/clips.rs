//! Clips to measure with, made of the tests' fixtures, and the commands that work on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The model that ships with the program.
pub const MODEL: &str = "mosaic";

/// A clip and how many frames it has.
#[derive(Debug, Clone)]
pub struct Clip {
    pub path: PathBuf,
    pub frames: f64,
    pub sound: bool,
}

/// Where clips are made, and removed at the end.
pub struct Clips(TempDir);

impl Clips {
    pub fn make() -> Self {
        Clips(tempfile::Builder::new().prefix("nst-bench-").tempdir().unwrap())
    }

    /// What `nst-stream` writes.
    pub fn output(&self) -> PathBuf {
        self.0.path().join("out.mp4")
    }

    /// What `gst-launch-1.0` writes.
    pub fn gst_output(&self) -> PathBuf {
        self.0.path().join("gst.mp4")
    }

    /// Big Buck Bunny, 1280×720 with sound, so many times over.
    pub fn hd(&self, times: usize) -> Clip {
        let path = self.0.path().join(format!("720p-{times}.mp4"));
        if !path.exists() {
            let last = (times - 1).to_string();
            let before = ["-stream_loop", last.as_str()];
            ffmpeg(&before, &fixture("bigbuckbunny.mp4"), &["-c", "copy"], &path);
        }
        Clip { path, frames: 132.0 * times as f64, sound: true }
    }

    /// So many frames of it at a size, without sound.
    pub fn silent(&self, (width, height): (i64, i64), frames: usize) -> Clip {
        let path = self.0.path().join(format!("{height}p-{frames}-silent.mp4"));
        if !path.exists() {
            let (count, scale) = (frames.to_string(), format!("scale={width}:{height}"));
            let how = ["-vf", &scale, "-frames:v", &count, "-an", "-crf", "18"];
            ffmpeg(&[], &fixture("bigbuckbunny.mp4"), &how, &path);
        }
        Clip { path, frames: frames as f64, sound: false }
    }

    /// So many frames of Carphone, 176×144 without sound, from the start again at its end.
    pub fn tiny(&self, frames: usize) -> Clip {
        let path = self.0.path().join(format!("qcif-{frames}.mp4"));
        if !path.exists() {
            let count = frames.to_string();
            let how = ["-frames:v", &count, "-crf", "18"];
            ffmpeg(&["-stream_loop", "-1"], &fixture("carphone_pristine.mp4"), &how, &path);
        }
        Clip { path, frames: frames as f64, sound: false }
    }

    /// `nst-stream` on a clip.
    pub fn nst(&self, clip: &Clip, scale: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nst-stream"));
        command.args(["--model", MODEL, "--device", "cpu", "--scale", scale]);
        command.args(["--json", "--overwrite", "--input"]).arg(&clip.path);
        command.arg("--output").arg(self.output());
        command
    }

    /// Our frame path on a clip, with nothing in the place of the network.
    pub fn identity(&self, clip: &Clip) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("identity").arg(&clip.path).arg(self.output());
        command
    }

    /// The same decoding, encoding and muxing by `gst-launch-1.0`, sound copied: what one would
    /// type by hand. The encoder is set as the program sets it; the muxer is taken from its own
    /// pipeline.
    pub fn gst_launch(&self, clip: &Clip) -> Command {
        let file = manifest("pipelines/mux-mp4.pipeline");
        let sink = std::fs::read_to_string(file).unwrap();
        let element = |name: &str| {
            let mut elements =
                sink.lines().filter(|l| !l.starts_with('#')).flat_map(|l| l.split(" ! "));
            elements.find(|e| e.starts_with(name)).unwrap_or_else(|| panic!("no {name}")).to_owned()
        };
        let encode = "x264enc pass=qual quantizer=20 speed-preset=medium";
        let mux = element("mp4mux ");
        let input = format!("location={}", clip.path.display());
        let output = format!("location={}", self.gst_output().display());
        let decode =
            "! decodebin caps=video/x-raw(ANY) expose-all-streams=false ! videoconvert ! queue";
        let video =
            format!("{decode} ! {encode} ! h264parse ! queue ! mux.video_0 {mux} ! filesink");

        let mut command = Command::new("gst-launch-1.0");
        command.args(["-q", "filesrc", &input]).args(video.split_whitespace()).arg(output);
        if clip.sound {
            let sound = "! qtdemux name=sound sound.audio_0 ! queue ! aacparse ! mux.audio_0";
            command.args(["filesrc", &input]).args(sound.split_whitespace());
        }
        command
    }
}

fn manifest(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn fixture(name: &str) -> PathBuf {
    manifest("tests/data").join(name)
}

fn ffmpeg(before: &[&str], input: &Path, how: &[&str], output: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin"]).args(before).arg("-i").arg(input);
    let out = command.args(how).arg(output).output().expect("ffmpeg is needed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
