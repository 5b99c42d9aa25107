//! What goes to stdout and what to stderr: JSON, silence, probe, completions, graphs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use gstreamer::prelude::*;
use serde_json::Value;

use super::common::{nst, output, succeed};
use super::{assert_says, files, folder, run, works};

const SHORT: [&str; 8] = ["-m", "mosaic", "-i", "clip.mp4", "--duration", "0.2", "-o", "out.mp4"];

#[test]
fn json_alone_goes_to_stdout_with_the_documented_keys() {
    let folder = folder();
    let out = run(folder.path(), &[&SHORT[..], &["--json"]].concat());
    assert!(out.status.success());
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["input"], "clip.mp4");
    assert_eq!(json["output"], "out.mp4");
    assert_eq!(json["frames"], 6);
    assert_eq!(json["dropped"], 0);
    assert_eq!(json["interrupted"], false);
    for key in ["fps", "speed", "wall_s", "decode_s", "network_s", "encode_s", "first_frame_s"] {
        assert!(json[key].as_f64().is_some_and(|v| v > 0.0), "{key}: {}", json[key]);
    }
    assert!(json["queue_full"].is_u64());
    let number = |key: &str| json[key].as_f64().unwrap();
    assert!(number("network_s") < number("wall_s"), "{json}");
    assert!(number("first_frame_s") < number("wall_s"), "{json}");
    assert!((number("fps") * number("wall_s") - 6.0).abs() < 0.01, "{json}");
    assert!((number("speed") * number("wall_s") - 0.2).abs() < 0.01, "{json}");
}

#[test]
fn json_of_a_picture_has_the_same_keys() {
    let folder = folder();
    let json = |args: &[&str]| -> Value {
        serde_json::from_slice(&run(folder.path(), args).stdout).unwrap()
    };
    let video = json(&[&SHORT[..], &["--json"]].concat());
    let picture = json(&["-m", "mosaic", "-i", "cat.png", "-o", "out.png", "--json", "-q"]);
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&picture), keys(&video));
    assert_eq!((&picture["frames"], &picture["speed"]), (&Value::from(1), &Value::Null));
}

#[test]
fn quiet_says_nothing_of_a_success_and_still_names_what_fails() {
    let folder = folder();
    assert_eq!(works(folder.path(), &[&SHORT[..], &["-q"]].concat()), "");
    let out = run(folder.path(), &[&SHORT[..], &["-q"]].concat());
    assert_eq!(out.status.code(), Some(1));
    assert_says(&String::from_utf8(out.stderr).unwrap(), &["nst-stream: 'out.mp4' already exists"]);
}

#[test]
fn a_run_ends_with_one_line_that_names_its_output_and_logs_have_no_escapes_without_a_terminal() {
    let folder = folder();
    let said = works(folder.path(), &[&SHORT[..], &["-v"]].concat());
    let last = said.lines().last().unwrap();
    assert_says(last, &["out.mp4: 6 frames in ", " fps, ", "× real time"]);
    assert_says(&said, &["INFO", "cpu"]);
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn readers_that_go_away_do_not_end_a_run() {
    let folder = folder();
    for (name, closed) in [("one.mp4", "stdout"), ("two.mp4", "stderr"), ("three.mp4", "both")] {
        let mut command = nst();
        command.current_dir(folder.path()).args(&SHORT[..6]).args(["-o", name, "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Closed before the first word.
        if closed != "stderr" {
            drop(child.stdout.take());
        }
        if closed != "stdout" {
            drop(child.stderr.take());
        }
        let out = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{closed} closed: {stderr}");
        assert!(!stderr.contains("panicked"), "{closed} closed: {stderr}");
        assert!(folder.path().join(name).exists(), "{closed} closed");
    }
}

#[test]
fn other_commands_bear_readers_that_go_away_too() {
    for args in
        [&["models"][..], &["probe"], &["completions", "bash"], &["models", "show", "mosaic"]]
    {
        let mut child =
            nst().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{args:?}");
    }
}

#[test]
fn probe_names_the_versions_of_gstreamer_and_libtorch() {
    let version = succeed(Command::new("gst-launch-1.0").arg("--version"));
    let gstreamer = version.lines().find_map(|l| l.strip_prefix("GStreamer ")).unwrap();
    let text = succeed(nst().arg("probe"));
    let line = |name: &str| text.lines().find(|l| l.starts_with(name)).unwrap();
    assert_says(line("gstreamer "), &[gstreamer]);
    assert_says(line("libtorch "), &["2.11.0"]);
    assert_says(line("nst-stream "), &[env!("CARGO_PKG_VERSION")]);

    let json: Value = serde_json::from_str(&succeed(nst().args(["probe", "--json"]))).unwrap();
    assert_eq!(json["media"]["gstreamer"], gstreamer);
    assert_eq!(json["engine"]["libtorch"], "2.11.0");
    let elements = json["media"]["elements"].as_array().unwrap();
    let x264 = elements.iter().find(|e| e["name"] == "x264enc").unwrap();
    assert_eq!(x264["present"], true);
    assert_eq!(x264["package"], "gstreamer1.0-plugins-ugly");
}

/// The row of a table that begins with this name: its cells.
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(&format!("{name}  "))).unwrap();
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn probe_shows_what_is_read_and_written_in_tables_and_long_lists_only_under_v() {
    let text = succeed(nst().arg("probe"));
    assert_eq!(row(&text, "MP4"), ["MP4", "qtdemux", "mp4mux"]);
    assert_eq!(row(&text, "AVI"), ["AVI", "avidemux", "-"]);
    assert_eq!(row(&text, "YUV4MPEG2"), ["YUV4MPEG2", "built in", "built in"]);
    let h264 = row(&text, "H.264");
    assert!(h264.len() == 3 && h264[2].ends_with("x264enc"), "{h264:?}");
    assert!(row(&text, "ProRes").ends_with(&["-"]), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 120 || line.starts_with("cuda")),
        "{text}"
    );
    assert!(!text.contains("avdec_4xm"), "{text}");

    let long = succeed(nst().args(["probe", "-v"]));
    assert_says(
        &long,
        &["VIDEO DECODERS", "VIDEO ENCODERS", "avdec_4xm", "av1enc", "opens files of any kind"],
    );
}

/// Debian 12 has no package with dav1ddec; libaom's decoder reads AV1 as well.
#[test]
fn a_format_that_some_decoder_reads_is_not_missing() {
    let text = succeed(nst().arg("probe"));
    let av1 = row(&text, "AV1");
    assert!(av1.len() == 3 && !av1.contains(&"missing"), "{av1:?}");
    assert!(!text.contains("dav1ddec"), "{text}");
}

/// What is installed here came with the package that would be named if it were missing.
#[test]
fn the_package_that_is_named_contains_the_element() {
    let json: Value = serde_json::from_str(&succeed(nst().args(["probe", "--json"]))).unwrap();
    gstreamer::init().unwrap();
    let files = succeed(Command::new("dpkg").args(["-S", "*/gstreamer-1.0/libgst*.so"]));
    let owner = |element: &str| {
        let plugin = gstreamer::ElementFactory::find(element)?.plugin()?.filename()?;
        let name = format!("/{}", plugin.file_name()?.to_str()?);
        let line = files.lines().find(|line| line.ends_with(&name));
        line.unwrap_or_else(|| panic!("{name} is of no package")).split(':').next()
    };
    let elements = json["media"]["elements"].as_array().unwrap().iter();
    let named = elements.map(|e| (e["name"].as_str().unwrap(), e["package"].as_str().unwrap()));
    let mut compared = 0;
    for (element, package) in named {
        if let Some(owner) = owner(element) {
            assert_eq!(package, owner, "{element}");
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
    // Of a format, one of the decoders is in the package.
    for format in json["media"]["formats"].as_array().unwrap() {
        let container = format["kind"] == "container";
        let kind = if container {
            gstreamer::ElementFactoryType::DEMUXER
        } else {
            gstreamer::ElementFactoryType::DECODER
        };
        let all = gstreamer::ElementFactory::factories_with_type(kind, gstreamer::Rank::MARGINAL);
        let caps: gstreamer::Caps = format["caps"].as_str().unwrap().parse().unwrap();
        let owners: Vec<&str> = all
            .iter()
            .filter(|factory| factory.can_sink_any_caps(&caps))
            .filter_map(|factory| owner(&factory.name()))
            .collect();
        let package = format["package"].as_str().unwrap();
        assert!(owners.contains(&package), "{}: {owners:?}", format["name"]);
    }
}

/// A GStreamer that has only the plugins `plugins`, in a folder of links.
fn only(command: &mut Command, folder: &Path, plugins: &[&str]) {
    let ask = ["--variable=pluginsdir", "gstreamer-1.0"];
    let system = succeed(Command::new("pkg-config").args(ask));
    let here = folder.join("plugins");
    fs::create_dir(&here).unwrap();
    for plugin in plugins {
        // videoconvert and videoscale are one plugin from GStreamer 1.22 on.
        let library = format!("libgst{plugin}.so");
        let from = Path::new(system.trim()).join(&library);
        if from.exists() {
            symlink(from, here.join(library)).unwrap();
        }
    }
    command.env("GST_PLUGIN_SYSTEM_PATH_1_0", &here).env("GST_PLUGIN_PATH_1_0", "");
    command.env("GST_REGISTRY_1_0", folder.join("registry"));
}

const NEEDED: [&str; 11] = [
    "coreelements",
    "app",
    "playback",
    "typefindfunctions",
    "isomp4",
    "videoparsersbad",
    "videoconvertscale",
    "videoconvert",
    "videofilter",
    "deinterlace",
    "videocrop",
];

#[test]
fn a_missing_decoder_or_encoder_is_named_with_the_package_that_brings_it() {
    for (more, missing, package) in [
        ("x264", "H.264", "gstreamer1.0-libav"),
        ("libav", "'x264enc'", "gstreamer1.0-plugins-ugly"),
    ] {
        let (folder, plugins) = (folder(), tempfile::tempdir().unwrap());
        let plugins_of = |command: &mut Command| {
            let _ = fs::remove_dir_all(plugins.path().join("plugins"));
            only(command, plugins.path(), &[&NEEDED[..], &[more]].concat());
        };
        let before = files(folder.path());
        let mut command = nst();
        plugins_of(command.current_dir(folder.path()).args(SHORT));
        let out = output(&mut command);
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "without all but {more}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_says(&said, &["nst-stream: ", missing, "install ", package]);
        assert!(files(folder.path()) == before);

        let mut probe = nst();
        plugins_of(probe.arg("probe"));
        let text = succeed(&mut probe);
        let missing: Vec<_> = text.lines().filter(|line| line.starts_with("missing ")).collect();
        assert!(missing.iter().any(|line| line.contains(package)), "{missing:#?}");
        assert!(!missing.iter().any(|line| line.contains("appsink")), "{missing:#?}");
    }
}

#[test]
fn completions_know_every_option() {
    for (shell, mark) in [
        ("bash", "complete -F _nst"),
        ("zsh", "#compdef nst-stream"),
        ("fish", "complete -c nst-stream"),
    ] {
        let script = succeed(nst().args(["completions", shell]));
        assert_says(&script, &[mark, "preserve-color", "completions", "probe", "import"]);
    }
    let folder = folder();
    let script = folder.path().join("nst-stream.bash");
    fs::write(&script, succeed(nst().args(["completions", "bash"]))).unwrap();
    // Bash itself completes with it.
    let ask = "source nst-stream.bash; COMP_WORDS=(nst-stream --preserve-c); COMP_CWORD=1; \
               _nst__stream nst-stream --preserve-c; echo ${COMPREPLY[@]}";
    let answer = succeed(Command::new("bash").args(["-c", ask]).current_dir(folder.path()));
    assert_eq!(answer.trim(), "--preserve-color");
}

#[test]
fn graphs_of_the_pipelines_are_written_on_request() {
    let folder = folder();
    fs::create_dir(folder.path().join("graphs")).unwrap();
    works(folder.path(), &[&SHORT[..], &["--dump-dot", "graphs"]].concat());
    for (name, elements) in [
        ("source.dot", ["GstFileSrc", "GstDecodeBin", "GstAppSink"]),
        ("sink.dot", ["GstAppSrc", "GstX264Enc", "GstMP4Mux"]),
    ] {
        let dot = fs::read_to_string(folder.path().join("graphs").join(name)).unwrap();
        assert!(dot.starts_with("digraph pipeline {"), "{name}");
        assert_says(&dot, &elements);
    }
}

#[test]
fn a_sheet_shows_each_video_in_a_row() {
    let folder = folder();
    works(folder.path(), &[&SHORT[..], &["--strength", "0"]].concat());
    let args =
        ["sheet", "clip.mp4", "out.mp4", "-o", "sheet.png", "--columns", "3", "--width", "88"];
    assert_eq!(works(folder.path(), &args), "");
    let sheet = image::open(folder.path().join("sheet.png")).unwrap().into_rgb8();
    // 88 × 65 each, for the clip's pixels are wider than high (128:117); with gaps of 6 around.
    assert_eq!(sheet.dimensions(), (3 * 94 + 6, 2 * 71 + 6));
    assert_eq!(sheet.get_pixel(2, 2).0, [255; 3]);
    let dark = |x: u32, y: u32| {
        let part = image::imageops::crop_imm(&sheet, x, y, 88, 65).to_image();
        part.iter().filter(|v| **v < 200).count() > part.len() / 4
    };
    for (column, row) in (0..3).flat_map(|x| [(x, 0), (x, 1)]) {
        assert!(dark(6 + column * 94, 6 + row * 71), "nothing at {column}, {row}");
    }
    let out = run(folder.path(), &["sheet", "cat.png", "none.mp4", "-o", "sheet.png"]);
    assert_eq!(out.status.code(), Some(1));
    assert_says(&String::from_utf8(out.stderr).unwrap(), &["nst-stream: cannot decode '"]);
}
