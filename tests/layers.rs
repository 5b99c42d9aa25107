//! Modules use lower layers only, as ARCHITECTURE.md says: core, flow, steady ← media | engine ← train | stream ← control ← cli.
//!
//! Read from the source itself: `use` lines and inline paths, names of foreign crates, `unsafe`.
//! Comments and texts in quotes do not count.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The top-level modules, each with its layer, from 0; a module may use those of lower layers, and itself.
const MODULES: [(&str, u8); 9] = [
    ("core", 0),
    ("flow", 0),
    ("steady", 0),
    ("media", 1),
    ("engine", 1),
    ("train", 2),
    ("stream", 2),
    ("control", 3),
    ("cli", 4),
];

/// Foreign crates and the modules that may name them.
const FOREIGN: [(&[&str], &[&str]); 8] = [
    (
        &["gstreamer", "gstreamer_app", "gstreamer_video", "gst", "gst_app", "gst_video", "glib"],
        &["media"],
    ),
    (&["tch", "torch_sys"], &["engine", "train"]),
    // Lower layers have errors of their own, which their callers can tell apart.
    (&["anyhow"], &["train", "stream", "control", "cli"]),
    (&["axum", "hyper", "utoipa"], &["control"]),
    // The connections of WebRTC are many, and each waits for packets and for times.
    (&["tokio"], &["media", "control"]),
    (&["str0m"], &["media"]),
    (&["rosc"], &["control"]),
    (&["cudarc"], &["engine"]),
];

/// Where `unsafe` may stand: opening CUDA, where a tensor's memory becomes a slice, and kernels.
const UNSAFE: [&str; 2] = ["engine/device", "engine/kernels"];

/// Everything that is wrong with one file, whose path counts from src/.
fn faults(path: &str, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let code = code_of(source);
    let words = words(&code);
    if words.contains(&"unsafe") && !UNSAFE.iter().any(|place| path.starts_with(place)) {
        faults.push(format!("{path} holds `unsafe`"));
    }
    let module = module_of(path);
    let Some(top) = module.first() else { return faults };
    for (names, modules) in FOREIGN {
        if let Some(name) = words.iter().find(|word| names.contains(word))
            && !modules.contains(&top.as_str())
        {
            faults.push(format!("{path} mentions {name}"));
        }
    }
    let Some(layer) = layer_of(top) else {
        faults.push(format!("{path}: the module '{top}' has no layer; give it one in this test"));
        return faults;
    };
    for used in modules_used(&module, &code) {
        match layer_of(&used) {
            _ if used == *top => {}
            // Modules of the lowest layer may use each other.
            Some(0) if layer == 0 => {}
            Some(other) if other < layer => {}
            _ => faults.push(format!("{path} uses crate::{used}")),
        }
    }
    faults
}

fn layer_of(module: &str) -> Option<u8> {
    MODULES.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// `media/source.rs` is the module media::source, `media/mod.rs` is media; main.rs and lib.rs are
/// none.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts == ["main"] || parts == ["lib"] { Vec::new() } else { parts }
}

/// The tokens of the source, with spaces between names alone: no comments, no literals.
fn code_of(source: &str) -> String {
    fn add(code: &mut String, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        _ => ("(", ")"),
                    };
                    code.push_str(open);
                    add(code, group.stream());
                    code.push_str(close);
                }
                TokenTree::Ident(name) => {
                    if code.ends_with(part_of_name) {
                        code.push(' ');
                    }
                    code.push_str(&name.to_string());
                }
                TokenTree::Punct(sign) => code.push(sign.as_char()),
                TokenTree::Literal(_) => code.push(' '),
            }
        }
    }
    let mut code = String::new();
    add(&mut code, source.parse().unwrap());
    code
}

/// Names and keywords, in order.
fn words(code: &str) -> Vec<&str> {
    code.split(|c| !part_of_name(c)).filter(|word| !word.is_empty()).collect()
}

fn part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Top-level modules that paths beginning with `crate`, `super` or the crate's name lead to.
fn modules_used(module: &[String], code: &str) -> Vec<String> {
    let tests = code.find("#[cfg(test)]").unwrap_or(code.len());
    let mut modules = Vec::new();
    let mut at = 0;
    while let Some(found) = code[at..].find("::") {
        let end = at + found;
        at = end + 2;
        let head = &code[..end];
        let word = &head[head.trim_end_matches(part_of_name).len()..];
        // In the middle of a path: its beginning has been looked at.
        if head[..head.len() - word.len()].ends_with("::") {
            continue;
        }
        // Where the path starts: `super` in a file's own tests is the file itself.
        let mut here = module.to_vec();
        if end > tests {
            here.push("tests".to_owned());
        }
        match word {
            "crate" | "nst_stream" => here.clear(),
            "super" => drop(here.pop()),
            _ => continue,
        }
        let mut rest = &code[at..];
        while let Some(further) = rest.strip_prefix("super::") {
            here.pop();
            rest = further;
        }
        match here.first() {
            Some(module) => modules.push(module.clone()),
            None => modules.extend(heads(rest)),
        }
    }
    modules
}

/// The first names of a path, or of every path of a group: `{frame::{Frame, Layout}, queue}`.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        let name = path.split(|c| !part_of_name(c)).next();
        // `crate::*` brings in everything: the star has no layer.
        return vec![name.filter(|n| !n.is_empty()).unwrap_or("*").to_owned()];
    };
    let (mut heads_of, mut depth, mut part) = (Vec::new(), 0, String::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => heads_of.extend(heads(std::mem::take(&mut part).trim())),
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                part.push(c);
            }
        }
    }
    if !part.trim().is_empty() {
        heads_of.extend(heads(part.trim()));
    }
    heads_of
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_module_uses_only_lower_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&src);
    assert!(files.len() > 30, "only {} files in {}", files.len(), src.display());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(&src).unwrap().to_str().unwrap();
            faults(path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// A probe of gstreamer-rs that returns `Drop` frees what it drops itself, and GStreamer 1.22 then frees
/// nothing, with a GStreamer-CRITICAL line each time; a dropped segment was sent again before every
/// packet. `Handled` does what is meant.
#[test]
fn no_probe_makes_gstreamer_free_what_is_gone() {
    let drops = |path: &PathBuf| {
        code_of(&fs::read_to_string(path).unwrap()).contains("PadProbeReturn::Drop")
    };
    let found: Vec<_> = rust_files(Path::new("src")).into_iter().filter(drops).collect();
    assert!(found.is_empty(), "return Handled in {found:?}");
}

#[test]
fn allowed_uses_are_accepted() {
    for (path, source) in [
        ("core/worker.rs", "use crate::core::queue::Consumer;\nuse super::frame::Frame;"),
        (
            "media/source.rs",
            "use gstreamer as gst;\nuse super::video::X;\nuse crate::core::span::Span;",
        ),
        ("engine/model_file/read.rs", "use super::super::device::Device; use tch::Tensor;"),
        ("engine/device.rs", "unsafe { open() }"),
        (
            "stream/run.rs",
            "use crate::{engine::{model::Model, device}, media, core::stats::Stats};",
        ),
        ("cli/probe.rs", "fn f() { crate::media::probe::version(); anyhow::bail!(\"tch\") }"),
        (
            "core/queue.rs",
            "// use crate::cli;\n/* unsafe crate::media */ const A: &str = \"tch::x\";",
        ),
        ("core/span.rs", "#[cfg(test)]\nmod tests { use super::*; const Q: char = '\"'; }"),
        ("core/batch.rs", "fn f<'a>(x: &'a str) -> char { '\\'' } // gst"),
        ("main.rs", "use nst_stream::cli::Cli; use nst_stream::media::init;"),
    ] {
        assert_eq!(faults(path, source), Vec::<String>::new(), "{path}: {source}");
    }
}

#[test]
fn forbidden_uses_are_found() {
    for (path, source, fault) in [
        ("core/frame.rs", "use crate::media::source::VideoSource;", "uses crate::media"),
        (
            "core/worker.rs",
            "use crate::{core::frame::{Frame, Layout}, engine::color};",
            "uses crate::engine",
        ),
        ("media/sink.rs", "fn f() { let x = crate::engine::device::report(); }", "crate::engine"),
        ("engine/color.rs", "use super::super::media::video;", "uses crate::media"),
        ("engine/model_file/mod.rs", "use super::super::stream::Config;", "uses crate::stream"),
        ("engine/network.rs", "use super::super::{core, stream};", "uses crate::stream"),
        ("stream/run.rs", "use crate::cli::Outcome;", "uses crate::cli"),
        ("train/trainer.rs", "use crate::stream::run;", "uses crate::stream"),
        ("core/stats.rs", "use super::super::cli;", "uses crate::cli"),
        ("media/mod.rs", "use crate::*;", "uses crate::*"),
        (
            "core/queue.rs",
            "#[cfg(test)]\nmod tests { use crate::stream::run; }",
            "uses crate::stream",
        ),
        ("core/picture.rs", "fn f(t: &tch::Tensor) {}", "mentions tch"),
        ("stream/video.rs", "use gstreamer::prelude::*;", "mentions gstreamer"),
        ("engine/stylizer.rs", "type X = gst::Buffer;", "mentions gst"),
        ("media/source.rs", "use anyhow::Result;", "mentions anyhow"),
        ("cli/mod.rs", "fn f(x: tch::Tensor) {}", "mentions tch"),
        ("media/video.rs", "fn f() { unsafe { g() } }", "holds `unsafe`"),
        ("unknown.rs", "fn f() {}", "no layer"),
    ] {
        let found = faults(path, source);
        assert!(found.iter().any(|f| f.contains(fault)), "{path}: {source}: {found:?}");
    }
}
