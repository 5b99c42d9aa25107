//! The main command with a live end: a camera, a network camera, a window, an RTSP server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::interrupts::Interrupts;
use super::keys::{self, Controls, Keys};
use super::progress::Reporter;
use super::regions::Painters;
use super::stream::{PARTIAL, StreamArgs, report};
use super::{Outcome, UsageError};
use crate::encoding::Container;
use crate::endpoint::{Input, Output, RtspUrl, parse_size};
use crate::media::live::LiveOptions;
use crate::media::mode::Wish;
use crate::rate::Rate;
use crate::stream::{
    Choice, LiveConfig, LiveJob, Look, Observer, RunContext, SnapshotRequest, Source, Target,
    Wanted, run_live,
};

/// Options that only live runs have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Live")]
pub struct LiveArgs {
    /// Frame size to ask of a camera [default: the mode nearest to 640x480]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Paint at a smaller scale while the network cannot keep up with the source
    #[arg(long)]
    adapt: bool,
    /// Buffer an RTSP source this long, in milliseconds, to reorder late packets
    #[arg(long, value_name = "MS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    latency: u64,
    /// Transport of an RTSP source: auto (UDP, then TCP), tcp or udp
    #[arg(long, value_name = "TRANSPORT", value_enum, hide_possible_values = true, default_value_t = Transport::Auto)]
    rtsp_transport: Transport,
    /// Send the result to a media server (RTSP RECORD), with the sound; repeatable
    #[arg(long = "rtsp-push", value_name = "URL")]
    pub push: Vec<String>,
    /// Read frames from your own GStreamer description, which ends in an appsink named `frames`
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub pipeline_source: Option<PathBuf>,
    /// Write frames to your own GStreamer description, which begins with an appsrc named `frames`;
    /// repeatable
    #[arg(long, value_name = "FILE")]
    pub pipeline_sink: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// UDP, and TCP when no packets arrive.
    Auto,
    Tcp,
    Udp,
}

impl LiveArgs {
    /// True when outputs are given besides `--output`.
    pub fn has_outputs(&self) -> bool {
        !self.push.is_empty() || !self.pipeline_sink.is_empty()
    }

    fn options(&self, rate: Option<Rate>) -> Result<LiveOptions, UsageError> {
        let fps = rate.map(|rate| rate.per_second().round() as u32);
        if fps.is_some_and(|fps| !(1..=240).contains(&fps)) {
            return Err(UsageError("--fps: a camera gives 1 to 240 frames a second".to_owned()));
        }
        Ok(LiveOptions {
            wish: Wish { size: self.size, fps },
            latency: Duration::from_millis(self.latency),
            tcp: match self.rtsp_transport {
                Transport::Auto => None,
                Transport::Tcp => Some(true),
                Transport::Udp => Some(false),
            },
        })
    }
}

/// Runs live.
///
/// # Errors
/// One line for the user.
pub(super) fn run(
    args: &StreamArgs,
    live: &LiveArgs,
    input: Input,
    mut outputs: Vec<Output>,
    quiet: bool,
) -> Result<Outcome> {
    if outputs.is_empty() {
        outputs.push(default_output()?);
    }
    check(args, &input, &outputs)?;
    let engine = args.engine();
    let wanted = Wanted::new(Look { model: 0, scale: engine.scale, mix: engine.mix });
    let Painters { mut models, mask } = args.painters()?;
    // Keys step through the styles of each.
    if mask.is_none() && !args.has_blend() {
        models = Choice::every_style(models.into_iter().map(|choice| choice.model))?;
    }
    let shown = if mask.is_some() { 1 } else { models.len() };
    let config = LiveConfig {
        models,
        mask,
        engine,
        job: LiveJob {
            input,
            outputs,
            options: live.options(args.fps)?,
            adapt: live.adapt,
            overwrite: args.overwrite,
            encoding: args.encoding.encoding(),
            dump_dot: args.dump_dot.clone(),
        },
    };
    let interrupts = Interrupts::watch(PARTIAL)?;
    let snapshot = SnapshotRequest::default();
    let mut reporter = Reporter::new(quiet, 1.0);
    let keys = Keys::watch(Controls {
        wanted: wanted.clone(),
        models: shown,
        snapshot: snapshot.clone(),
        interrupts: interrupts.clone(),
    });
    if keys.is_some() {
        reporter.note(&keys::help(shown));
    }
    let mut context = RunContext::new(interrupts.stop(), &mut reporter);
    let result = run_live(&config, &wanted, &snapshot, &mut context);
    drop(keys);
    report(args, result, &mut reporter)
}

/// A window where there is a display, else an RTSP server for this machine.
fn default_output() -> Result<Output> {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("DISPLAY") || set("WAYLAND_DISPLAY") {
        return Ok(Output::Window);
    }
    let url = RtspUrl::parse("rtsp://127.0.0.1:8554/art").map_err(UsageError)?;
    Ok(Output::Serve(url))
}

/// What can be said before anything is opened.
fn check(args: &StreamArgs, input: &Input, outputs: &[Output]) -> Result<()> {
    if args.preview.is_some() || args.start.is_some() || args.duration.is_some() {
        bail!(UsageError("--start, --duration and --preview are for files".to_owned()));
    }
    only_between_files(input, outputs)?;
    check_encoding(args, outputs)?;
    if let Input::File(path) | Input::Device(path) | Input::Pipeline(path) = input
        && !path.exists()
    {
        let hint = if matches!(input, Input::Device(_)) { cameras() } else { String::new() };
        bail!("cannot open '{}': there is no such file{hint}", path.display());
    }
    if let Some(output) = outputs
        .iter()
        .enumerate()
        .find_map(|(n, output)| outputs[..n].contains(output).then_some(output))
    {
        bail!(UsageError(format!("'{output}' is given twice as output")));
    }
    Ok(())
}

/// What options of video files a live run has no use for, or its files cannot hold.
fn check_encoding(args: &StreamArgs, outputs: &[Output]) -> Result<(), UsageError> {
    let encoding = args.encoding.encoding();
    for (option, given) in [("--no-audio", args.no_audio), ("--even", encoding.even)] {
        if given {
            return Err(UsageError(format!("{option} is for a video file that becomes a file")));
        }
    }
    let paths = outputs.iter().filter_map(|output| match output {
        Output::File(path) => Some(path),
        _ => None,
    });
    let containers: Vec<_> = paths.filter_map(|path| Container::from_path(path)).collect();
    if let (Some(option), true) = (args.encoding.given(), containers.is_empty()) {
        return Err(UsageError(format!("{option} is for video files")));
    }
    for container in containers {
        encoding.codec_in(container).map_err(|e| UsageError(format!("--codec: {e}")))?;
    }
    Ok(())
}

/// What only goes from a file to a file is refused where an end is live.
fn only_between_files(input: &Input, outputs: &[Output]) -> Result<(), UsageError> {
    if let Input::File(path) = input
        && !matches!(Source::of(path), Source::File(_))
    {
        return Err(UsageError(format!(
            "'{}' can only go into one file, into pictures or into '-': give one --output",
            path.display()
        )));
    }
    let of_files = |output: &&Output| match output {
        Output::File(path) => !matches!(Target::of(path), Target::File(_)),
        _ => false,
    };
    match outputs.iter().find(of_files) {
        Some(output) => Err(UsageError(format!(
            "'{output}' is for files and pictures as input; a live source goes into a video \
             file, a window or an rtsp:// address"
        ))),
        None => Ok(()),
    }
}

/// "; the cameras here are /dev/video0 …"
fn cameras() -> String {
    let names = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.path().display().to_string());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("/dev/video")).collect();
    names.sort();
    match names.is_empty() {
        true if Path::new("/dev").exists() => "; no camera is connected".to_owned(),
        true => String::new(),
        false => format!("; there is {}", names.join(" ")),
    }
}
