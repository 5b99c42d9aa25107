//! What is measured of a process and of what it has recorded.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::camera::EVERY;
use crate::common::output;

/// Resources of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    pub at: Duration,
    /// Resident memory, KiB.
    pub rss: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Resources {
    pub fn of(process: u32, at: Duration) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
        let threads = number("Threads:")? as usize;
        Some(Resources { at, rss: number("VmRSS:")?, descriptors, threads })
    }
}

/// The middle one of these.
pub fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.into_iter().collect();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
    sorted.get(sorted.len() / 2).copied()
}

/// Runs ffmpeg over a file; its output, and everything that it complains about.
fn decoded(path: &Path, args: &[&str]) -> (Vec<u8>, String) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path).args(args);
    let out = output(&mut command);
    assert!(out.status.success(), "{path:?}: {}", String::from_utf8_lossy(&out.stderr));
    (out.stdout, String::from_utf8_lossy(&out.stderr).into_owned())
}

/// What ffmpeg complains about when it decodes all of a file.
pub fn complaints(path: &Path) -> String {
    let said = decoded(path, &["-fps_mode", "passthrough", "-f", "null", "-"]).1;
    // Of its own output, whose times are rounded.
    let rounded =
        |line: &&str| line.contains("dts to muxer") || line.contains("Last message repeated");
    said.lines().filter(|line| !rounded(line)).collect::<Vec<_>>().join("\n")
}

/// Times at which values become high, of a series of (time, value).
fn onsets(series: impl Iterator<Item = (f64, f64)>, low: f64, high: f64) -> Vec<f64> {
    let (mut onsets, mut is_high) = (Vec::new(), true);
    for (at, value) in series {
        if value > high && !is_high {
            onsets.push(at);
        }
        is_high = if value > high { true } else { is_high && value > low };
    }
    onsets
}

/// By how much each beep comes later than its flash, in seconds, with the time of the flash.
pub fn sound_after_picture(path: &Path, times: &[f64]) -> Vec<(f64, f64)> {
    let gray = ["-vf", "scale=8:8:flags=area", "-pix_fmt", "gray", "-fps_mode", "passthrough"];
    let raw = ["-an", "-f", "rawvideo", "-"];
    let (pictures, _) = decoded(path, &[&gray[..], &raw].concat());
    let means =
        pictures.chunks_exact(64).map(|p| p.iter().map(|y| f64::from(*y)).sum::<f64>() / 64.0);
    let flashes = onsets(times.iter().copied().zip(means), 100.0, 150.0);
    let to = ["-vn", "-ac", "1", "-ar", "8000", "-af", "aresample=async=1:first_pts=0"];
    let (sound, _) = decoded(path, &[&to[..], &["-f", "s16le", "-"]].concat());
    let loudness = sound.chunks_exact(160).enumerate().map(|(n, part)| {
        let level = |b: &[u8]| f64::from(i16::from_le_bytes([b[0], b[1]])).abs();
        (n as f64 * 0.01, part.chunks_exact(2).map(level).sum::<f64>() / 80.0)
    });
    let beeps = onsets(loudness, 60.0, 300.0);
    let near = |flash: f64| {
        let offsets = beeps.iter().map(|beep| beep - flash);
        offsets.min_by(|a, b| a.abs().partial_cmp(&b.abs()).unwrap())
    };
    let pairs = flashes.iter().filter_map(|flash| Some((*flash, near(*flash)?)));
    pairs.filter(|(_, offset)| offset.abs() < EVERY.as_secs_f64() / 2.0).collect()
}
