//! The program as its user meets it: the real binary, real files, exit codes and what it says.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/average.rs"]
mod average;
#[path = "cli/bench.rs"]
mod bench;
mod common;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/durable.rs"]
mod durable;
#[path = "cli/experiments.rs"]
mod experiments;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/flicker.rs"]
mod flicker;
#[path = "cli/inputs.rs"]
mod inputs;
#[allow(dead_code)]
#[path = "model_file/make.rs"]
mod make;
#[path = "cli/masks.rs"]
mod masks;
#[path = "cli/models.rs"]
mod models;
#[path = "cli/optimize.rs"]
mod optimize;
#[path = "cli/options.rs"]
mod options;
#[path = "cli/outputs.rs"]
mod outputs;
#[path = "cli/pictures.rs"]
mod pictures;
#[path = "cli/says.rs"]
mod says;
#[path = "common/shim.rs"]
mod shim;
#[path = "cli/signals.rs"]
mod signals;
#[path = "cli/usage.rs"]
mod usage;
#[path = "cli/video.rs"]
mod video;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use common::{data, nst, output};
use tempfile::TempDir;

/// A folder with the small clip as `clip.mp4` and the cat as `cat.png`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(common::carphone(), folder.path().join("clip.mp4")).unwrap();
    fs::copy(data("chelsea.png"), folder.path().join("cat.png")).unwrap();
    folder
}

/// Every file of a folder with its bytes; None stands for a folder.
fn files(folder: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let bytes = (!entry.path().is_dir()).then(|| fs::read(entry.path()).unwrap());
            (entry.file_name().into_string().unwrap(), bytes)
        })
        .collect()
}

/// Runs the program in `folder`.
fn run(folder: &Path, args: &[&str]) -> Output {
    output(nst().current_dir(folder).args(args))
}

/// Runs the program in `folder`, where it must succeed; what it wrote to stderr.
fn works(folder: &Path, args: &[&str]) -> String {
    let out = run(folder, args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}: {stderr}");
    stderr
}

/// Runs the program in `folder`, where it must refuse with this exit code, in one line, and leave
/// every file as it was. Gives the line.
fn refusal(folder: &Path, code: i32, args: &[&str]) -> String {
    let before = files(folder);
    let out = run(folder, args);
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {stderr}");
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "", "{args:?}: stdout");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: more or less than one line:\n{stderr}");
    assert!(stderr.starts_with("nst-stream: "), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    let after = files(folder);
    let names: Vec<_> = after.keys().collect();
    assert!(after == before, "{args:?}: it left {names:?}, or changed what was there");
    stderr.trim_end().to_owned()
}

/// Fails unless every one of `words` is in `text`.
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "'{word}' is missing in: {text}");
    }
}
