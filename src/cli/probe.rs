//! `nst-stream probe`: what this installation can read and write, and what is missing.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::table;
use crate::engine::report;

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints versions, devices, tables of formats and what is missing; with `verbose`, also every decoder
/// and encoder of GStreamer.
///
/// # Errors
/// When GStreamer cannot start.
pub fn run(args: &ProbeArgs, verbose: bool) -> Result<()> {
    let report = json!({
        "nst_stream": env!("CARGO_PKG_VERSION"),
        "engine": report::report(),
        "media": media()?,
    });
    let text = if args.json { format!("{report:#}\n") } else { as_text(&report, verbose) };
    super::print(&text)
}

#[cfg(feature = "media")]
fn media() -> Result<Value> {
    use crate::media::probe;
    Ok(json!({
        "gstreamer": probe::version()?,
        "formats": probe::formats()?,
        "video_decoders": probe::video_codecs(false)?,
        "video_encoders": probe::video_codecs(true)?,
        "elements": probe::elements()?,
    }))
}

#[cfg(not(feature = "media"))]
fn media() -> Result<Value> {
    Ok(Value::Null)
}

fn as_text(report: &Value, verbose: bool) -> String {
    let (engine, media) = (&report["engine"], &report["media"]);
    let version = match media["gstreamer"].as_str() {
        Some(found) => found.to_owned(),
        None => "left out of this build: pictures only".to_owned(),
    };
    let cpu = format!(
        "{}, {} threads, {}",
        of(&engine["cpu"]),
        engine["threads"],
        of(&engine["cpu_precision"])
    );
    let libtorch = format!("{} in '{}'", of(&engine["libtorch"]), of(&engine["libtorch_folder"]));
    let mut text = table(&[
        ["nst-stream".to_owned(), of(&report["nst_stream"]).to_owned()],
        ["gstreamer".to_owned(), version],
        ["libtorch".to_owned(), libtorch],
        ["cpu".to_owned(), cpu],
        ["cuda".to_owned(), of(&engine["cuda"]).to_owned()],
    ]);
    if media.is_null() {
        return text;
    }
    text += &formats(media);
    text += &live(media);
    text += &missing(media);
    if verbose {
        text += &listed(media);
    }
    text
}

fn of(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn all(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Text of a cell for what the program does not offer.
const NOTHING: &str = "-";
const MISSING: &str = "missing";

/// A table of containers and one of codecs, in columns of the same width.
fn formats(media: &Value) -> String {
    let mut rows = Vec::new();
    for (kind, title) in [("container", "CONTAINER"), ("codec", "VIDEO CODEC")] {
        rows.push([""; 3].map(str::to_owned));
        rows.push([title, "READ WITH", "WRITE WITH"].map(str::to_owned));
        for format in all(&media["formats"]).filter(|format| format["kind"] == kind) {
            let mut writers: Vec<&str> = all(&format["hardware"]).map(of).collect();
            match format["writer"].as_str() {
                Some(writer) if format["writable"] == true => writers.push(writer),
                Some(_) if writers.is_empty() => writers.push(MISSING),
                None => writers.push(NOTHING),
                Some(_) => {}
            }
            let reader = format["reader"].as_str().unwrap_or(MISSING);
            rows.push([of(&format["name"]).to_owned(), reader.to_owned(), writers.join(", ")]);
        }
        if kind == "container" {
            for own in ["YUV4MPEG2", "PNG, JPEG"] {
                rows.push([own, "built in", "built in"].map(str::to_owned));
            }
            rows.push(["GIF, WebP, TIFF, BMP", "built in", NOTHING].map(str::to_owned));
        }
    }
    table(&rows)
}

/// What live runs read and write, and the element of each.
fn live(media: &Value) -> String {
    let present =
        |name: &str| all(&media["elements"]).any(|e| e["name"] == name && e["present"] == true);
    let cell = |name: &str| {
        let shown = if name == NOTHING || present(name) { name } else { MISSING };
        shown.to_owned()
    };
    let mut rows =
        vec![[""; 3].map(str::to_owned), ["LIVE", "READ WITH", "WRITE WITH"].map(str::to_owned)];
    for (name, reader, writer) in [
        ("Camera, virtual camera", "v4l2src", "v4l2sink"),
        ("RTSP camera, RTSP server", "rtspsrc", "rtph264pay"),
        ("Media server (--rtsp-push)", NOTHING, "rtspclientsink"),
        ("Window", NOTHING, "ximagesink"),
    ] {
        rows.push([name.to_owned(), cell(reader), cell(writer)]);
    }
    table(&rows)
}

/// A line for each missing element or decoder, with its package; at the end, what installs them.
fn missing(media: &Value) -> String {
    let mut lines = Vec::new();
    for format in all(&media["formats"]).filter(|format| format["reader"].is_null()) {
        let what = if format["kind"] == "container" { "demuxer" } else { "decoder" };
        lines.push((format!("{what} for {}", of(&format["name"])), of(&format["package"])));
    }
    for element in all(&media["elements"]).filter(|element| element["present"] == false) {
        let text = format!("'{}', which {}", of(&element["name"]), of(&element["purpose"]));
        lines.push((text, of(&element["package"])));
    }
    if lines.is_empty() {
        return "\nnothing is missing\n".to_owned();
    }
    let mut packages: Vec<&str> = lines.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let said = lines.iter().map(|(what, package)| format!("missing {what}: install {package}\n"));
    format!("\n{}install all: sudo apt install {}\n", said.collect::<String>(), packages.join(" "))
}

/// Every video decoder and encoder, and the elements that the program uses by name.
fn listed(media: &Value) -> String {
    let mut text = String::new();
    for (title, key) in [("VIDEO DECODERS", "video_decoders"), ("VIDEO ENCODERS", "video_encoders")]
    {
        let names: Vec<&str> = all(&media[key]).map(of).collect();
        text += &format!("\n{title}\n{}", wrapped(&names, 100));
    }
    let header = ["", "", ""].map(str::to_owned);
    let mut rows = vec![header, ["ELEMENT", "PACKAGE", "PURPOSE"].map(str::to_owned)];
    for element in all(&media["elements"]) {
        rows.push(["name", "package", "purpose"].map(|key| of(&element[key]).to_owned()));
    }
    text + &table(&rows)
}

/// Words in lines of at most `width` characters.
fn wrapped(words: &[&str], width: usize) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in words {
        if column > 0 && column + 1 + word.len() > width {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += word.len();
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fill_lines_up_to_the_width() {
        assert_eq!(wrapped(&["one", "two", "three"], 7), "one two\nthree\n");
    }
}
