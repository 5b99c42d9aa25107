//! `nst-stream bench`: how fast a model runs on this machine.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::UsageError;
use super::progress::Reporter;
use super::stream_args::switch;
use crate::core::endpoint::parse_size;
use crate::core::stylizer::StylizeError;
use crate::engine::architecture::multiply_adds;
use crate::engine::bench::{self, Job, Timing};
use crate::engine::device::{self, DeviceChoice, resolve};
use crate::engine::model::Model;
use crate::engine::model_file::ModelFile;
use crate::engine::network::Network;
use crate::engine::precision::Precision;
use crate::engine::precision::PrecisionChoice::{self, Auto, Exactly};
use crate::engine::stylizer::StyleMix;
use crate::engine::{shipped, words};
use crate::stream::{EngineOptions, ModelChoice};

/// Approximate duration of each of the two measurements.
const BUDGET: Duration = Duration::from_secs(4);

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Style model: a file, or the name of a shipped model
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// Frame size: 1280x720
    #[arg(short, long, value_name = "WxH", value_parser = parse_size)]
    size: (u32, u32),
    /// Frames per pass of the network
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Device to run the network on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Precision of the network's arithmetic: auto, fp32, bf16 or fp16
    #[arg(long, value_name = "PRECISION", default_value = "auto")]
    precision: PrecisionChoice,
    /// On a GPU, use the program's own kernels between cuDNN's convolutions: on or off
    #[arg(long, value_name = "on|off", default_value = "off", action = clap::ArgAction::Set, value_parser = switch)]
    gpu_kernels: bool,
    /// CPU threads for the network [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Run a TorchScript model. It can do anything on this machine: only if you trust its author
    #[arg(long)]
    trust: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The results of a benchmark.
struct Figures<'a> {
    args: &'a BenchArgs,
    device: String,
    precision: Option<String>,
    threads: usize,
    network: Timing,
    frames: Option<Timing>,
    /// Whether the model makes textures, not frames.
    textures: bool,
    /// Arithmetic of a pass in GFLOP, and the machine's peak in GFLOP/s; unknown for a TorchScript program.
    arithmetic: Option<(f64, f64)>,
}

/// Measures and prints.
///
/// # Errors
/// One line for the user.
pub fn run(args: &BenchArgs, quiet: bool) -> Result<()> {
    // What is no model file here may be a TorchScript program.
    if let Ok(file) = shipped::open(&args.model)
        && !file.description.architecture.photo
    {
        return textures(args, &file);
    }
    let threads = args.threads.map(usize::from);
    let options = EngineOptions {
        trust: args.trust,
        device: args.device,
        precision: args.precision,
        gpu_kernels: args.gpu_kernels,
        threads,
        scale: 1.0,
        stroke: 1.0,
        mix: StyleMix::default(),
    };
    let mut reporter = Reporter::new(quiet, 1.0);
    // All styles of a model are equally fast.
    let choice = ModelChoice::every_style([ModelChoice::named(args.model.clone(), None)])?
        .into_iter()
        .next();
    let choice = choice.context("the model has no style")?;
    let mut stylizers = options.open(&[choice], &mut reporter)?;
    reporter.finish_well();
    let stylizer = stylizers.first_mut().context("no model was opened")?;
    let device = stylizer.model().device();
    device::set_threads(threads);
    device::try_algorithms();
    let (width, height) = (args.size.0 as usize, args.size.1 as usize);
    let job = Job { width, height, batch: args.batch.into(), budget: BUDGET };
    let failed = |error| explained(args, error);
    let network = bench::network(stylizer, &job).map_err(failed)?;
    let frames = bench::frames(stylizer, &job).map_err(failed)?;
    let precision = stylizer.model().precision();
    let arithmetic = match (stylizer.model(), precision) {
        (Model::Network(johnson), Some(precision)) => {
            let pass = multiply_adds(johnson.architecture(), width, height) * job.batch as f64;
            let peak = bench::peak(device, precision)
                .map_err(|e| anyhow!("cannot multiply matrices on {device}: {e}"))?;
            // A multiplication and an addition: two operations.
            Some((2e-9 * pass, 2e-9 * peak))
        }
        _ => None,
    };
    let figures = Figures {
        args,
        device: device.to_string(),
        precision: precision.map(|precision| precision.to_string()),
        threads: threads.unwrap_or_else(device::default_threads),
        network,
        frames,
        textures: false,
        arithmetic,
    };
    figures.print()
}

/// Measures how fast a model makes textures, as `texture` does: in single precision, one at a time.
fn textures(args: &BenchArgs, file: &ModelFile) -> Result<()> {
    let shown = &args.model;
    if args.batch != 1 || !matches!(args.precision, Auto | Exactly(Precision::Fp32)) {
        let said = format!("'{shown}' makes textures, in single precision and one at a time");
        return Err(UsageError(said).into());
    }
    let (device, _) = resolve(args.device).map_err(|e| UsageError(format!("--device: {e}")))?;
    let threads = args.threads.map(usize::from);
    device::set_threads(threads);
    let network = Network::in_torch(file, device, Precision::Fp32)
        .map_err(|e| anyhow!("cannot put the network onto {device}: {}", words(&e)))?;
    let (width, height) = (args.size.0 as usize, args.size.1 as usize);
    let job = Job { width, height, batch: 1, budget: BUDGET };
    let timing = bench::textures(&network, &job).map_err(|error| explained(args, error))?;
    let peak = bench::peak(device, Precision::Fp32)
        .map_err(|e| anyhow!("cannot multiply matrices on {device}: {e}"))?;
    let pass = multiply_adds(network.architecture(), width, height);
    let figures = Figures {
        args,
        device: device.to_string(),
        precision: Some(Precision::Fp32.to_string()),
        threads: threads.unwrap_or_else(device::default_threads),
        network: timing,
        frames: None,
        textures: true,
        arithmetic: Some((2e-9 * pass, 2e-9 * peak)),
    };
    figures.print()
}

/// Explains an error in terms of this command's options.
fn explained(args: &BenchArgs, error: StylizeError) -> anyhow::Error {
    let ((width, height), batch) = (args.size, args.batch);
    match error {
        StylizeError::OutOfMemory { .. } => anyhow!(
            "not enough memory for {batch} × {width}×{height}: try a smaller --size or --batch"
        ),
        other => anyhow!("'{}' at {width}×{height}: {other}", args.model),
    }
}

impl Figures<'_> {
    fn print(&self) -> Result<()> {
        let json = || format!("{:#}\n", self.to_json());
        super::print(&if self.args.json { json() } else { self.to_text() })
    }

    fn fps(&self, timing: Timing) -> f64 {
        f64::from(self.args.batch) / timing.seconds
    }

    fn to_json(&self) -> Value {
        let timing =
            |t: Timing| json!({ "fps": self.fps(t), "ms": t.seconds * 1e3, "repeats": t.repeats });
        let rate = self.arithmetic.map(|(pass, _)| pass / self.network.seconds);
        let mut all = timing(self.network);
        let (width, height) = self.args.size;
        for (key, value) in [
            ("gflops", json!(rate)),
            (
                "share_of_peak",
                json!(rate.zip(self.arithmetic).map(|(rate, (_, peak))| rate / peak)),
            ),
            ("peak_gflops", json!(self.arithmetic.map(|(_, peak)| peak))),
            ("i420", self.frames.map_or(Value::Null, timing)),
            ("model", json!(self.args.model)),
            ("size", json!(format!("{width}x{height}"))),
            ("batch", json!(self.args.batch)),
            ("precision", json!(self.precision)),
            ("device", json!(self.device)),
            ("threads", json!(self.threads)),
        ] {
            all[key] = value;
        }
        all
    }

    fn to_text(&self) -> String {
        let (width, height) = self.args.size;
        let mut text = format!(
            "{}, {width}×{height}, batch {}, {}, {}, {} threads\n",
            self.args.model,
            self.args.batch,
            self.precision.as_deref().unwrap_or("the program's own precision"),
            self.device,
            self.threads
        );
        let mut timing = |name: &str, t: Timing| {
            let (ms, fps) = (t.seconds * 1e3, self.fps(t));
            // Infallible: into a String.
            let _ = writeln!(
                text,
                "{name:13} {ms:10.2} ms {fps:10.2} fps   median of {} runs",
                t.repeats
            );
        };
        timing("network alone", self.network);
        match self.frames {
            Some(frames) => timing("I420 to I420", frames),
            None if self.textures => {}
            None => text += "I420 to I420  not measured: I420 needs even sides\n",
        }
        if let Some((pass, peak)) = self.arithmetic {
            let rate = pass / self.network.seconds;
            let _ = writeln!(
                text,
                "arithmetic    {rate:10.1} GFLOP/s: {:.2} of what a large matrix product reaches ({peak:.1})",
                rate / peak
            );
        }
        text
    }
}
