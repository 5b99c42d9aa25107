//! Frames that come and go without a container: raw video through pipes, and pictures.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "frames/animations.rs"]
mod animations;
mod common;
#[path = "frames/formats.rs"]
mod formats;
#[path = "frames/jpeg.rs"]
mod jpeg;
#[path = "frames/pictures.rs"]
mod pictures;
#[path = "frames/pipes.rs"]
mod pipes;
#[path = "frames/refused.rs"]
mod refused;
#[path = "common/route.rs"]
mod route;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{carphone, data, nst, output};
use nst_stream::core::span::Span;
use nst_stream::core::stats::Summary;
use nst_stream::core::stylizer::Identity;
use nst_stream::stream::VideoJob;

/// Through the whole route without a network.
fn route(job: &VideoJob) -> (Result<Summary, String>, Vec<String>) {
    let (made, said) = route::route(job, Identity);
    (made.map_err(|error| format!("{error:#}")), said.0)
}

fn identity(job: &VideoJob) -> Summary {
    route(job).0.unwrap()
}

/// Some frames of the clip as YUV4MPEG2, made by ffmpeg.
fn y4m(target: &Path, frames: u32, more: &[&str]) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y", "-nostdin", "-i"]).arg(carphone());
    ffmpeg.args(["-frames:v", &frames.to_string(), "-sws_flags", "accurate_rnd+full_chroma_int"]);
    ffmpeg.args(more).args(["-strict", "-1", "-f", "yuv4mpegpipe"]).arg(target);
    common::succeed(&mut ffmpeg);
}

/// All samples of a video as ffmpeg reads them, in this format.
fn samples(path: &Path, format: &str) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    ffmpeg.args([
        "-fps_mode",
        "passthrough",
        "-sws_flags",
        "accurate_rnd+full_chroma_int+bilinear",
    ]);
    ffmpeg.args(["-f", "rawvideo", "-pix_fmt", format, "-"]);
    let out = output(&mut ffmpeg);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.is_empty(), "{}: {said}", path.display());
    out.stdout
}

/// The first line of a file.
fn header(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    String::from_utf8_lossy(bytes.split(|b| *b == b'\n').next().unwrap()).into_owned()
}

/// The program with a small model that changes nothing.
fn program(folder: &Path, args: &[&str]) -> Command {
    let mut nst = nst();
    nst.current_dir(folder).arg("-m").arg(data("reference-small.pth"));
    nst.args(["--threads", "1", "--strength", "0"]).args(args);
    nst.stdin(Stdio::null());
    nst
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// The program must succeed; what it said.
fn works(folder: &Path, args: &[&str]) -> String {
    let out = output(&mut program(folder, args));
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", said(&out));
    said(&out)
}

/// The program must refuse with this exit code; the line that says why.
fn refusal(folder: &Path, code: i32, args: &[&str]) -> String {
    let out = output(program(folder, args).arg("-q"));
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}", said(&out));
    assert_eq!(said(&out).lines().count(), 1, "{args:?}: {}", said(&out));
    assert!(out.stdout.is_empty(), "{args:?}");
    said(&out)
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
