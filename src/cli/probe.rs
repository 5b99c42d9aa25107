//! `nst-stream probe`: what this machine can do, and what is missing.

use anyhow::Result;
use clap::Args;

use crate::engine::device;

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Prints versions, devices, codecs and what is missing.
///
/// # Errors
/// When GStreamer cannot start.
pub fn run(args: &ProbeArgs) -> Result<()> {
    let report = serde_json::json!({
        "nst_stream": env!("CARGO_PKG_VERSION"),
        "engine": device::report(),
        "media": media()?,
    });
    if args.json { super::print(&format!("{report:#}\n")) } else { super::print(&as_text(&report)) }
}

#[cfg(feature = "media")]
fn media() -> Result<serde_json::Value> {
    use crate::media::probe;
    Ok(serde_json::json!({
        "gstreamer": probe::version()?,
        "video_decoders": probe::video_codecs(false)?,
        "video_encoders": probe::video_codecs(true)?,
        "elements": probe::elements()?,
    }))
}

#[cfg(not(feature = "media"))]
fn media() -> Result<serde_json::Value> {
    Ok(serde_json::Value::Null)
}

fn as_text(report: &serde_json::Value) -> String {
    let mut text = format!("nst-stream  {}\n", report["nst_stream"].as_str().unwrap_or("?"));
    if let Some(engine) = report["engine"].as_object() {
        for (name, value) in engine {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text += &format!("{name:<11} {value}\n");
        }
    }
    let media = &report["media"];
    if media.is_null() {
        return text + "gstreamer   left out of this build: pictures only\n";
    }
    text += &format!("gstreamer   {}\n", media["gstreamer"].as_str().unwrap_or("?"));
    for (title, key) in [("decoders", "video_decoders"), ("encoders", "video_encoders")] {
        let names: Vec<_> =
            media[key].as_array().into_iter().flatten().filter_map(|v| v.as_str()).collect();
        text += &format!("{title:<11} {}\n", names.join(" "));
    }
    let elements = media["elements"].as_array();
    let missing: Vec<_> =
        elements.into_iter().flatten().filter(|e| e["present"] == false).collect();
    if missing.is_empty() {
        return text + "missing     nothing\n";
    }
    for element in missing {
        text += &format!(
            "missing     {} ({}): install {}\n",
            element["name"].as_str().unwrap_or("?"),
            element["purpose"].as_str().unwrap_or("?"),
            element["package"].as_str().unwrap_or("?"),
        );
    }
    text
}
