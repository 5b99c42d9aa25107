//! The measurements.

use std::process::Command;
use std::time::Instant;

use nst_stream::core::encoding::Container;
use nst_stream::media::remux::{Track, index_to_front};

use crate::clips::{Clip, Clips};
use crate::criterion;
use crate::process::{Cost, run};
use crate::report::{Goal, Report};

/// How often and how long is measured.
pub struct Effort {
    /// Turns of each comparison.
    turns: usize,
    /// The same with the network, which takes long.
    network_turns: usize,
    /// Length of the 720p clip in loops of 132 frames.
    loops: usize,
    /// Frames of the clips for the network; many more than the encoder looks ahead.
    frames: usize,
    /// Network passes before and after such a clip.
    passes: usize,
    /// Frames of which the delay is read.
    pub live_frames: usize,
}

impl Effort {
    pub const FULL: Effort =
        Effort { turns: 3, network_turns: 3, loops: 2, frames: 64, passes: 16, live_frames: 750 };
    pub const QUICK: Effort =
        Effort { turns: 1, network_turns: 1, loops: 1, frames: 8, passes: 2, live_frames: 100 };
}

fn cores() -> f64 {
    nst_stream::engine::device::default_threads() as f64
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// A number of the summary that the program prints.
fn said(cost: &Cost, key: &str) -> f64 {
    let summary: serde_json::Value = serde_json::from_str(&cost.stdout).unwrap();
    summary[key].as_f64().unwrap_or_else(|| panic!("no {key} in {}", cost.stdout))
}

/// Our queue against the standard library's channel, from what criterion found.
pub fn queue(report: &mut Report) {
    for (group, how) in [
        ("queue, one frame after another", "one frame after another"),
        ("queue, there and back", "there and back, both sides asleep in between"),
    ] {
        let ours = criterion::median_ns(group, "nst-stream");
        let theirs = criterion::median_ns(group, "sync_channel");
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            report.row(
                format!("A frame through the queue, against `sync_channel`: {how}"),
                format!("× {:.2} ({ours:.0} ns against {theirs:.0} ns)", ours / theirs),
                Goal::None,
            );
        }
    }
}

/// Decoding and encoding with nothing in between, against GStreamer alone.
pub fn identity(clips: &Clips, effort: &Effort, report: &mut Report) {
    eprintln!("identity at 720p");
    let clip = clips.hd(effort.loops);
    let (mut ours, mut theirs, mut remux) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.turns {
        ours.push(run(&mut clips.identity(&clip)));
        theirs.push(run(&mut clips.gst_launch(&clip)));
        // What gst-launch does not do: its file has the index where ours had it before.
        let front = clips.output().with_file_name("front.mp4");
        let since = Instant::now();
        index_to_front(&clips.gst_output(), &front, Container::Mp4, &[Track::SOUND]).unwrap();
        remux.push(since.elapsed().as_secs_f64());
    }
    let fps = |cost: &Cost| clip.frames / cost.wall;
    let turns = || ours.iter().zip(&theirs);
    let ratio = median(turns().map(|(o, t)| t.wall / o.wall));
    let cpu = median(turns().map(|(o, t)| o.cpu / t.cpu));
    let bare = median(turns().zip(&remux).map(|((o, t), r)| t.wall / (o.wall - r)));
    let moved = median(remux);
    report.row(
        format!(
            "Speed without a network at 1280×720, against `gst-launch-1.0` ({} frames)",
            clip.frames
        ),
        format!(
            "× {ratio:.3} ({:.1} fps against {:.1} fps)",
            median(ours.iter().map(fps)),
            median(theirs.iter().map(fps))
        ),
        Goal::AtLeast(ratio, 0.9),
    );
    report.row(
        "— not counting the index, which goes to the front at the end",
        format!("× {bare:.3} (it takes {:.0} ms)", moved * 1e3),
        Goal::None,
    );
    report.row("— CPU time, all of it", format!("× {cpu:.3}"), Goal::None);
}

/// The program with its network, against what network, decoding and encoding cost apart.
pub fn with_network(clips: &Clips, effort: &Effort, report: &mut Report) {
    for size in [(640, 360), (1280, 720)] {
        at(size, clips, effort, report);
    }
}

fn at(size: (i64, i64), clips: &Clips, effort: &Effort, report: &mut Report) {
    let name = format!("{}×{}", size.0, size.1);
    eprintln!("with the network at {name}");
    let (one, long) = (clips.silent(size, 1), clips.silent(size, effort.frames));
    let mut runs = Vec::new();
    for _ in 0..effort.network_turns {
        let mut passes = passes_alone(size, effort.passes);
        let ours = [&one, &long].map(|clip| run(&mut clips.nst(clip, "1")));
        passes.extend(passes_alone(size, effort.passes));
        // The stylized clip, not the original: its pictures take more to encode.
        let made = Clip { path: clips.output(), ..long.clone() };
        let theirs = run(&mut clips.gst_launch(&made));
        runs.push(Turn { network: median(passes), ours, codec: theirs.cpu / long.frames });
    }
    let turns = |figure: &dyn Fn(&Turn) -> f64| median(runs.iter().map(figure));
    let frame = |turn: &Turn| (turn.ours[1].wall - turn.ours[0].wall) / (long.frames - 1.0);
    let ratio = turns(&|turn| frame(turn) / turn.t());
    report.row(
        format!("Time of a frame at {name}, against T ({} frames)", long.frames),
        format!(
            "× {ratio:.3} ({:.0} ms; network alone {:.0} ms, decoder and encoder {:.1} ms of CPU)",
            turns(&frame) * 1e3,
            turns(&|turn| turn.network) * 1e3,
            turns(&|turn| turn.codec) * 1e3
        ),
        Goal::AtMost(ratio, 1.05),
    );
    report.row(
        "— the whole process: its start, the model and the first pass count too, in T they do not",
        format!("× {:.3}", turns(&|turn| turn.ours[1].wall / (turn.t() * long.frames))),
        Goal::None,
    );
    let first = median(runs.iter().flat_map(|turn| &turn.ours).map(from_start_to_first));
    report.row(
        format!("From the start of the process to the first stylized frame at the encoder, {name}"),
        format!("{first:.2} s"),
        Goal::Within(first, 2.0),
    );
    report.row(
        "— the whole process for a clip of one frame",
        format!("{:.2} s", turns(&|turn| turn.ours[0].wall)),
        Goal::None,
    );
}

/// What was measured side by side.
struct Turn {
    /// Seconds of a pass.
    network: f64,
    /// Of one frame, and of all.
    ours: [Cost; 2],
    /// CPU seconds of decoding and encoding a frame.
    codec: f64,
}

impl Turn {
    /// Seconds that a frame must take at the least.
    fn t(&self) -> f64 {
        (self.network * cores() + self.codec) / cores()
    }
}

/// Seconds of each pass of the network alone.
fn passes_alone((width, height): (i64, i64), count: usize) -> Vec<f64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let [width, height] = [width, height].map(|length| length.to_string());
    let cost = run(command.args(["network", &width, &height, &count.to_string()]));
    cost.stdout.lines().map(|line| line.parse::<f64>().unwrap() / 1e3).collect()
}

/// The program counts from where it begins to work; loading it and its end come on top. The end
/// belongs to the other side, so this is rather too much than too little.
fn from_start_to_first(cost: &Cost) -> f64 {
    said(cost, "first_frame_s") + (cost.wall - said(cost, "wall_s"))
}

/// Most memory of a clip and of one ten times as long.
pub fn memory(clips: &Clips, report: &mut Report) {
    eprintln!("memory of a clip ten times as long");
    let mut row = |what: &str, peak: [f64; 2]| {
        let ratio = peak[1] / peak[0];
        report.row(
            format!("Memory of a clip ten times as long: {what}"),
            format!("× {ratio:.3} ({:.0} MiB against {:.0} MiB)", peak[1], peak[0]),
            Goal::AtMost(ratio, 1.05),
        );
    };
    let hd = [clips.hd(1), clips.hd(10)];
    row("1280×720 without a network", hd.map(|clip| run(&mut clips.identity(&clip)).peak));
    let tiny = [clips.tiny(60), clips.tiny(600)];
    row("176×144 at scale 0.5", tiny.map(|clip| run(&mut clips.nst(&clip, "0.5")).peak));
}
