//! The delay of a live picture, from drawing it to a client that has decoded it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::camera::Camera;
use crate::measure::Effort;
use crate::report::{Goal, Report};
use crate::timecode::{FPS, HEIGHT, Reader, WIDTH};

/// What is asked of the frame path at p99, besides the frame interval.
const GOAL_MS: f64 = 100.0;

/// Without a network and with one that keeps up.
pub fn live(effort: &Effort, report: &mut Report) {
    eprintln!("delay of a live picture");
    let interval = 1000.0 / f64::from(FPS);
    let mut row = |what: &str, more: &[&str], goal: Option<f64>| {
        let delays = read(effort.live_frames, more);
        let at = |share: f64| {
            let place = (share * (delays.len() - 1) as f64).round() as usize;
            delays[place].as_secs_f64() * 1e3
        };
        report.row(
            format!("Delay at an RTSP client, {WIDTH}×{HEIGHT} at {FPS} fps, {what}: p99"),
            format!(
                "{:.0} ms (p50 {:.0} ms, most {:.0} ms, {} frames; a frame interval is {interval:.0} ms)",
                at(0.99),
                at(0.5),
                at(1.0),
                delays.len()
            ),
            goal.map_or(Goal::None, |goal| Goal::Millis(at(0.99), goal)),
        );
    };
    row("without a network", &["--strength", "0"], Some(GOAL_MS));
    // A part of the style is mixed in: the time must still be readable.
    row("with mosaic at scale 0.2", &["--strength", "0.2", "--scale", "0.2"], None);
}

/// How old so many pictures are at the client, sorted.
fn read(frames: usize, more: &[&str]) -> Vec<Duration> {
    let camera = Camera::with_timecode();
    let mut program = Program::start(&camera.url(), more);
    let mut delays = Reader::watch(&program.served(), camera.epoch(), frames);
    delays.sort_unstable();
    delays
}

/// Killed when dropped.
struct Program(Child);

impl Program {
    fn start(input: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nst-stream"));
        command.args(["--model", crate::clips::MODEL, "--device", "cpu", "--latency", "0"]);
        command.args(["--input", input, "--output", "rtsp://127.0.0.1:0/art"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Program(command.spawn().unwrap())
    }

    /// The address that it says it serves.
    fn served(&mut self) -> String {
        let mut lines = BufReader::new(self.0.stderr.take().unwrap()).lines();
        let url =
            lines.by_ref().find_map(|line| Some(line.ok()?.strip_prefix("serving ")?.to_owned()));
        // What it says later must be read too, or it would wait.
        std::thread::spawn(move || lines.count());
        url.expect("it serves")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
