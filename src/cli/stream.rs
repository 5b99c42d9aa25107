//! `nst-stream --model M --input IN --output OUT`, the command without a name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::encoding::EncodingArgs;
use super::interrupts::Interrupts;
use super::progress::Reporter;
use super::regions::{BlendAt, ModelAt};
use super::{Outcome, UsageError};
#[cfg(feature = "media")]
use crate::endpoint::RtspUrl;
use crate::endpoint::{Input, Output};
use crate::engine::device::DeviceChoice;
use crate::engine::precision::PrecisionChoice;
use crate::engine::stylizer::StyleMix;
use crate::rate::Rate;
use crate::span::{about, parse_time};
use crate::stats::Summary;
use crate::stream::{EngineOptions, Observer, RunContext};
use crate::stylizer::StylizeError;

/// Options of the main command, in the groups of its help.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Style model: a file, or the name of a shipped model (see `nst-stream models`). Repeat it for
    /// live runs, where keys switch models, and with --mask: mosaic@white, none@black
    #[arg(short, long = "model", value_name = "MODEL", required = true, help_heading = STYLE)]
    pub(super) models: Vec<ModelAt>,
    /// Styles of a multi-style model: wave, or a mixture such as mosaic:0.6,wave:0.4. Repeat it with
    /// --mask: wave@white [default: the first style; live, keys step through all]
    #[arg(long, value_name = "STYLE[:SHARE],…", help_heading = STYLE)]
    pub(super) blend: Vec<BlendAt>,
    /// Picture whose colours mark regions, each with its own @COLOUR (black, white, a grey value or
    /// #rrggbb) in --model or --blend; `none` leaves a region unpainted
    #[arg(long, value_name = "PICTURE", help_heading = STYLE)]
    pub(super) mask: Option<PathBuf>,
    /// How much of the style to apply, from 0 (none) to 1
    #[arg(long, value_name = "0…1", default_value_t = 1.0, value_parser = fraction, help_heading = STYLE)]
    strength: f64,
    /// Keep the colours of the input and paint its brightness only
    #[arg(long, help_heading = STYLE)]
    preserve_color: bool,
    /// Paint at this fraction of the frame size: faster, with larger strokes; the output keeps its size
    #[arg(long, value_name = "0.01…1", default_value_t = 1.0, value_parser = scale, help_heading = STYLE)]
    scale: f64,
    /// Size of the brush strokes: 2 doubles it; 0.5 halves it and takes four times as long
    #[arg(long, value_name = "0.25…4", default_value_t = 1.0, value_parser = stroke, help_heading = STYLE)]
    stroke: f64,
    /// Run a TorchScript model. It can do anything on this machine: only if you trust its author
    #[arg(long, help_heading = STYLE)]
    trust: bool,
    /// What to paint: a video, an animation, a picture, a folder of pictures or numbered pictures
    /// (frames/%04d.png), - for YUV4MPEG2 on stdin, /dev/videoN, rtsp://…, rtsps://… or test:
    #[arg(short, long, value_name = "INPUT", help_heading = IO)]
    #[cfg_attr(feature = "media", arg(required_unless_present = "pipeline_source"))]
    #[cfg_attr(not(feature = "media"), arg(required = true))]
    input: Option<String>,
    /// Where to write: a video (.mp4, .mov, .mkv, .webm), a picture (.png, .jpg), pictures (out/ or
    /// out/%05d.png), - for YUV4MPEG2 on stdout; live, one or more of a video, window:, /dev/videoN
    /// (v4l2loopback) or rtsp://ADDRESS:PORT/PATH to serve [default: window:; without a display,
    /// rtsp://127.0.0.1:8554/art]
    #[arg(short, long = "output", value_name = "OUTPUT", help_heading = IO)]
    outputs: Vec<String>,
    /// Replace the output if it exists
    #[arg(long, help_heading = IO)]
    pub(super) overwrite: bool,
    /// Start at this time of the video: seconds or [HH:]MM:SS [default: its beginning]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = IO)]
    pub(super) start: Option<Duration>,
    /// Stop after this much of the video: seconds or [HH:]MM:SS [default: all of it]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = IO)]
    pub(super) duration: Option<Duration>,
    /// Paint only the frame at this time, as a picture
    #[arg(long, value_name = "TIME", value_parser = parse_time,
          conflicts_with_all = ["start", "duration"], help_heading = IO)]
    pub(super) preview: Option<Duration>,
    /// Frame rate of pictures that become a video, or to ask of a camera: 25, 30000/1001 [default: 25;
    /// of a camera 30]
    #[arg(long, value_name = "N[/D]", value_parser = Rate::parse, help_heading = IO)]
    pub(super) fps: Option<Rate>,
    /// Leave out the sound; subtitles stay
    #[arg(long, help_heading = IO)]
    pub(super) no_audio: bool,
    #[command(flatten)]
    pub(super) encoding: EncodingArgs,
    #[cfg(feature = "media")]
    #[command(flatten)]
    live: super::live::LiveArgs,
    /// Device to run the network on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = PERFORMANCE)]
    device: DeviceChoice,
    /// Precision of the network's arithmetic: auto, fp32, bf16 or fp16
    #[arg(long, value_name = "PRECISION", default_value = "auto", help_heading = PERFORMANCE)]
    precision: PrecisionChoice,
    /// Frames per pass of the network: a number, or auto
    #[arg(long, value_name = "N", default_value = "auto", value_parser = batch, help_heading = PERFORMANCE)]
    pub(super) batch: Batch,
    /// CPU threads for the network [default: all cores]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = PERFORMANCE)]
    threads: Option<usize>,
    /// On a GPU, use the program's own kernels between cuDNN's convolutions: on or off
    #[arg(long, value_name = "on|off", default_value = "off", action = clap::ArgAction::Set,
          value_parser = switch, help_heading = PERFORMANCE)]
    gpu_kernels: bool,
    /// Print a summary as JSON: frames, fps, speed, seconds in decoder, network and encoder
    #[arg(long, help_heading = DIAGNOSTICS)]
    pub(super) json: bool,
    /// Write the GStreamer pipelines into this folder as Graphviz graphs
    #[arg(long, value_name = "FOLDER", help_heading = DIAGNOSTICS)]
    pub(super) dump_dot: Option<PathBuf>,
}

// Headings of the help.
const STYLE: &str = "Model and style";
const IO: &str = "Input and output";
const PERFORMANCE: &str = "Performance";
const DIAGNOSTICS: &str = "Diagnostics";

#[derive(Debug, Clone, Copy)]
pub(super) enum Batch {
    Auto,
    Of(usize),
}

fn batch(text: &str) -> Result<Batch, String> {
    if text == "auto" { Ok(Batch::Auto) } else { positive(text).map(Batch::Of) }
}

fn positive(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok().filter(|n| (1..=1024).contains(n));
    number.ok_or_else(|| "expected a number from 1 to 1024".to_owned())
}

/// `on` or `off`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|f| (0.0..=1.0).contains(f));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn scale(text: &str) -> Result<f64, String> {
    let number = fraction(text).ok().filter(|f| *f >= 0.01);
    number.ok_or_else(|| "expected a number from 0.01 to 1".to_owned())
}

fn stroke(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|f| (0.25..=4.0).contains(f));
    number.ok_or_else(|| "expected a number from 0.25 to 4".to_owned())
}

/// Between which ends, as the user wrote them.
#[cfg_attr(not(feature = "media"), allow(dead_code))]
enum Ends {
    Files(PathBuf, PathBuf),
    Live(Input, Vec<Output>),
}

impl StreamArgs {
    fn ends(&self) -> Result<Ends, UsageError> {
        let usage = |option: &str| {
            let option = option.to_owned();
            move |text| UsageError(format!("{option}: {text}"))
        };
        // Clap has made sure that there is one.
        let input = self.input.as_deref().unwrap_or_default();
        let input = match self.own_source() {
            Some(path) => Input::Pipeline(path),
            None => Input::parse(input).map_err(usage("--input"))?,
        };
        let outputs = self.outputs.iter().map(|output| Output::parse(output));
        let outputs: Vec<Output> = outputs.collect::<Result<_, _>>().map_err(usage("--output"))?;
        match (input, outputs) {
            #[cfg(feature = "media")]
            (input, mut outputs) if self.live.has_outputs() => {
                outputs.extend(self.live.pipeline_sink.iter().cloned().map(Output::Pipeline));
                for url in &self.live.push {
                    let url = RtspUrl::parse(url).map_err(usage("--rtsp-push"))?;
                    outputs.push(Output::Push(url));
                }
                Ok(Ends::Live(input, outputs))
            }
            (Input::File(input), outputs) if outputs.len() == 1 => match outputs.into_iter().next()
            {
                Some(Output::File(output)) => Ok(Ends::Files(input, output)),
                other => Ok(Ends::Live(Input::File(input), other.into_iter().collect())),
            },
            (Input::File(_), outputs)
                if outputs.iter().any(|output| matches!(output, Output::File(_))) =>
            {
                Err(UsageError("several outputs are for live sources: give one file".to_owned()))
            }
            (input, outputs) => Ok(Ends::Live(input, outputs)),
        }
    }

    #[cfg(feature = "media")]
    fn own_source(&self) -> Option<PathBuf> {
        self.live.pipeline_source.clone()
    }

    #[cfg(not(feature = "media"))]
    fn own_source(&self) -> Option<PathBuf> {
        None
    }

    /// How models run.
    pub(super) fn engine(&self) -> EngineOptions {
        EngineOptions {
            trust: self.trust,
            device: self.device,
            precision: self.precision,
            gpu_kernels: self.gpu_kernels,
            threads: self.threads,
            scale: self.scale,
            stroke: self.stroke,
            mix: StyleMix { strength: self.strength as f32, preserve_color: self.preserve_color },
        }
    }
}

/// Repaints a file, or a live source.
///
/// # Errors
/// One line for the user.
pub fn run(args: &StreamArgs, quiet: bool) -> Result<Outcome> {
    match args.ends()? {
        Ends::Files(input, output) => {
            let config = args.file_config(input, output)?;
            let interrupts = Interrupts::watch(PARTIAL)?;
            let mut reporter = Reporter::new(quiet, config.engine.scale);
            let mut context = RunContext::new(interrupts.stop(), &mut reporter);
            let result = crate::stream::run(&config, &mut context);
            report(args, result, &mut reporter)
        }
        #[cfg(feature = "media")]
        Ends::Live(input, outputs) => super::live::run(args, &args.live, input, outputs, quiet),
        #[cfg(not(feature = "media"))]
        Ends::Live(..) => {
            Err(UsageError("this nst-stream was built without GStreamer: no live video".to_owned())
                .into())
        }
    }
}

/// Says how a run ended.
pub(super) fn report(
    args: &StreamArgs,
    result: Result<Summary>,
    reporter: &mut Reporter,
) -> Result<Outcome> {
    reporter.finish();
    let summary = result.map_err(blamed)?;
    reporter.finish_well();
    if args.json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    }
    reporter.note(&in_words(&summary));
    Ok(if summary.interrupted { Outcome::Interrupted } else { Outcome::Done })
}

/// A mask that does not fit is one of usage.
fn blamed(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<StylizeError>() {
        Some(StylizeError::Mask(_)) => UsageError(format!("{error:#}")).into(),
        _ => error,
    }
}

fn in_words(summary: &Summary) -> String {
    let took = about(Duration::from_secs_f64(summary.wall_s));
    if summary.frames == 0 && summary.interrupted {
        return format!("{}: nothing was made before it was interrupted", summary.output);
    }
    if summary.frames == 0 && summary.speed.is_none() {
        return format!("nothing was made: '{}' gave no picture", summary.input);
    }
    if let Some(delay) = summary.delay_p50_s {
        let late: u64 = summary.dropped_by_outputs.iter().sum();
        let late = if late > 0 { format!(", {late} by outputs") } else { String::new() };
        return format!(
            "{}: {} frames in {took} ({:.1} fps, {} dropped{late}, delay {:.0} ms)",
            summary.output,
            summary.frames,
            summary.fps,
            summary.dropped,
            delay * 1000.0
        );
    }
    let stopped = if summary.interrupted { " before it was interrupted" } else { "" };
    let Some(speed) = summary.speed else {
        return match summary.frames {
            1 => format!("{}: {took}", summary.output),
            n => format!("{}: {n} pictures in {took}{stopped}", summary.output),
        };
    };
    format!(
        "{}: {} frames in {took}{stopped} ({:.1} fps, {speed:.2}× real time)",
        summary.output, summary.frames, summary.fps
    )
}

/// What a second Ctrl-C leaves of a video.
pub(super) const PARTIAL: &str = "what was made lies in a partial file";
