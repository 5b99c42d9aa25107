//! `nst-stream --model M --input IN --output OUT`, the command without a name.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use super::progress::Reporter;
use super::{Outcome, UsageError};
use crate::engine::device::DeviceChoice;
use crate::engine::precision::PrecisionChoice;
use crate::engine::stylizer::StyleMix;
use crate::picture;
use crate::span::{Span, about, parse_time};
use crate::stats::Summary;
use crate::stream::{Config, Observer};

/// Options of the main command.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Style model: a file, or the name of a shipped one (see `nst-stream models`).
    #[arg(short, long, value_name = "MODEL", required = true)]
    model: Option<String>,
    /// Video or picture to repaint.
    #[arg(short, long, value_name = "FILE", required = true)]
    input: Option<PathBuf>,
    /// File to make: .mp4 or .mkv for a video, .png or .jpg for a picture.
    #[arg(short, long, value_name = "FILE", required = true)]
    output: Option<PathBuf>,
    /// Replace the output if it is there already.
    #[arg(long)]
    overwrite: bool,
    /// Keep the colours of the input: only its brightness is painted.
    #[arg(long)]
    preserve_color: bool,
    /// How much of the style, from 0 (none) to 1.
    #[arg(long, value_name = "0…1", default_value_t = 1.0, value_parser = fraction)]
    strength: f64,
    /// Paint at this fraction of the size (faster, larger strokes); the output keeps its size.
    #[arg(long, value_name = "0…1", default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Frames in one network pass: a number, or auto.
    #[arg(long, value_name = "N", default_value = "auto", value_parser = batch)]
    batch: Batch,
    /// Where the network runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Arithmetic: auto, fp32, bf16 or fp16.
    #[arg(long, default_value = "auto")]
    precision: PrecisionChoice,
    /// CPU threads of the network [default: all cores].
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Begin at this time: seconds or [HH:]MM:SS.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    start: Option<Duration>,
    /// Stop after this much of the video.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Paint only the frame at this time, as a picture.
    #[arg(long, value_name = "TIME", value_parser = parse_time,
          conflicts_with_all = ["start", "duration"])]
    preview: Option<Duration>,
    /// Print a summary as JSON: frames, fps, speed, seconds in decoder, network and encoder.
    #[arg(long)]
    json: bool,
    /// Run a TorchScript model. It is a program: do this only if you trust its author.
    #[arg(long)]
    trust: bool,
    /// Write the GStreamer pipelines as Graphviz graphs into this folder.
    #[arg(long, value_name = "FOLDER")]
    dump_dot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum Batch {
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

fn fraction(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|f| (0.0..=1.0).contains(f));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn scale(text: &str) -> Result<f64, String> {
    let number = fraction(text).ok().filter(|f| *f >= 0.01);
    number.ok_or_else(|| "expected a number from 0.01 to 1".to_owned())
}

impl StreamArgs {
    /// The configuration, when the arguments do not contradict each other.
    fn check(&self) -> Result<Config> {
        let usage = |text: String| Err(UsageError(text).into());
        // Clap has made sure of these three.
        let given = "is required";
        let model = self.model.clone().context("--model").context(given)?;
        let input = self.input.clone().context("--input").context(given)?;
        let output = self.output.clone().context("--output").context(given)?;

        let picture = picture::format_for_output(&output).is_some();
        if !picture && !is_video_name(&output) {
            return usage(format!(
                "cannot write '{}': its name must end in .mp4 or .mkv, or in .png or .jpg for a \
                 picture",
                output.display()
            ));
        }
        if self.preview.is_some() && !picture {
            return usage("--preview makes a picture: give an --output of .png or .jpg".to_owned());
        }
        if same_file(&input, &output) {
            return usage(format!("'{}' is both input and output", input.display()));
        }
        Ok(Config {
            model,
            trust: self.trust,
            input,
            output,
            overwrite: self.overwrite,
            device: self.device,
            precision: self.precision,
            threads: self.threads,
            scale: self.scale,
            mix: StyleMix { strength: self.strength as f32, preserve_color: self.preserve_color },
            batch: match self.batch {
                Batch::Auto => None,
                Batch::Of(n) => Some(n),
            },
            span: Span { start: self.start, duration: self.duration },
            preview: self.preview,
            dump_dot: self.dump_dot.clone(),
        })
    }
}

fn is_video_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    matches!(ending.as_deref(), Some("mp4" | "m4v" | "mkv"))
}

/// Also through links: what counts is the file, not its name.
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// Repaints a file.
///
/// # Errors
/// One line for the user.
pub fn run(args: &StreamArgs, quiet: bool) -> Result<Outcome> {
    let config = args.check()?;
    let stop = Arc::new(AtomicBool::new(false));
    on_interrupt(Arc::clone(&stop))?;
    let mut reporter = Reporter::new(quiet, config.scale);
    let result = crate::stream::run(&config, &stop, &mut reporter);
    reporter.finish();
    let summary = result?;
    if args.json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&summary)?));
    }
    reporter.note(&in_words(&summary));
    Ok(if summary.interrupted { Outcome::Interrupted } else { Outcome::Done })
}

fn in_words(summary: &Summary) -> String {
    let took = about(Duration::from_secs_f64(summary.wall_s));
    let Some(speed) = summary.speed else { return format!("{}: {took}", summary.output) };
    let stopped = if summary.interrupted { " before it was interrupted" } else { "" };
    format!(
        "{}: {} frames in {took}{stopped} ({:.1} fps, {speed:.2}× real time)",
        summary.output, summary.frames, summary.fps
    )
}

/// The first Ctrl-C (or SIGTERM) asks for an orderly end, the second stops at once.
fn on_interrupt(stop: Arc<AtomicBool>) -> Result<()> {
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::AcqRel) {
            eprintln!("\nnst-stream: stopped at once; what was made lies in a partial file");
            std::process::exit(130);
        }
        eprintln!("\nnst-stream: finishing what is made so far; once more stops at once");
    })
    .context("cannot watch for Ctrl-C")
}
