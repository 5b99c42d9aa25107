//! Everything in a file that is not the picture comes through: sound, subtitles, tags, chapters.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/route.rs"]
mod route;

#[path = "tracks/edges.rs"]
mod edges;
#[path = "tracks/field.rs"]
mod field;
#[path = "tracks/metadata.rs"]
mod metadata;
#[path = "tracks/slow.rs"]
mod slow;
#[path = "tracks/sound.rs"]
mod sound;
#[path = "tracks/subtitles.rs"]
mod subtitles;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use nst_stream::core::stylizer::{Identity, Stylizer};
use nst_stream::stream::VideoJob;
use serde_json::Value;

/// Runs a job with nothing done to the picture; what it said.
fn run(job: &VideoJob) -> Vec<String> {
    run_with(job, Identity)
}

fn run_with(job: &VideoJob, stylizer: impl Stylizer + 'static) -> Vec<String> {
    let (made, said) = route::route(job, stylizer);
    made.unwrap();
    said.0
}

/// One file becomes another, as a whole.
fn convert(input: &Path, output: &Path) -> Vec<String> {
    run(&VideoJob::new(input, output))
}

/// A file of four seconds (the carphone clip, unless `args` say otherwise) in this folder.
fn make(folder: &Path, name: &str, args: &[&str]) -> PathBuf {
    let path = folder.join(name);
    ffmpeg(&[args, &[path.to_str().unwrap()]].concat());
    path
}

/// Half a second of a tone in each second, beginning at 0.25 s.
const TONES: &str = "aevalsrc='0.4*sin(2*PI*(300+200*t)*t)*gte(mod(t,1),0.25)*lt(mod(t,1),0.75)'\
                     :s=48000:d=4";

/// What ffprobe says of a file.
fn probe(path: &Path) -> Value {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json", "-show_streams", "-show_format"]);
    let text = succeed(command.args(["-show_chapters"]).arg(path));
    serde_json::from_str(&text).unwrap()
}

/// The value of a tag, whatever the case of its name.
fn tag<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    let tags = of["tags"].as_object()?;
    tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, v)| v.as_str())
}

/// A packet of a file.
#[derive(Debug, Clone, PartialEq)]
struct Packet {
    /// When it is presented, in seconds, as ffprobe says.
    at: f64,
    duration: f64,
    hash: String,
    size: usize,
}

fn packets(path: &Path, stream: &str) -> Vec<Packet> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json", "-select_streams", stream, "-show_packets"]);
    let text = succeed(command.args(["-show_data_hash", "sha256"]).arg(path));
    let all: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_str().map_or(0.0, |text| text.parse::<f64>().unwrap());
    let packet = |packet: &Value| Packet {
        at: number(&packet["pts_time"]),
        duration: number(&packet["duration_time"]),
        hash: packet["data_hash"].as_str().unwrap().to_owned(),
        size: packet["size"].as_str().unwrap().parse().unwrap(),
    };
    all["packets"].as_array().unwrap().iter().map(packet).collect()
}

/// By how much the picture is later in one file than in the other.
fn shift(before: &Path, after: &Path) -> f64 {
    frame_times(after)[10] - frame_times(before)[10]
}

/// The same packets at the same times (`shift` later), to 2 ms.
fn assert_same(before: &[Packet], after: &[Packet], shift: f64, what: &str) {
    assert_eq!(before.len(), after.len(), "{what}: number of packets");
    for (n, (before, after)) in before.iter().zip(after).enumerate() {
        assert_eq!(before.hash, after.hash, "{what}: packet {n}");
        let late = (after.at - before.at - shift) * 1000.0;
        assert!(late.abs() <= 2.0, "{what}: packet {n} at {} s is {late} ms late", before.at);
    }
}

fn assert_noted(notes: &[String], words: &[&str]) {
    let found = notes.iter().any(|note| words.iter().all(|word| note.contains(word)));
    assert!(found, "no note has {words:?}: {notes:#?}");
}
