//! `nst-stream split`, `part`, `status` and `join`: long videos in parts, for several machines.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};
use indicatif::{ProgressBar, ProgressStyle};

use super::interrupts::Interrupts;
use super::progress::Reporter;
use super::stream_args::StreamArgs;
use super::{Cli, Outcome, UsageError};
use crate::core::encoding::Container;
use crate::core::span::{about, parse_length, parse_time};
use crate::core::stop::StopSignal;
use crate::core::timeouts::POLL;
use crate::engine::device::cuda_devices;
use crate::engine::shipped;
use crate::stream::parts::plan::{Fingerprint, JobFolder, JobPlan};
use crate::stream::parts::{self, JoinJob, PartLength, SplitJob, plan_parts, read_times};
use crate::stream::{Config, InputKind, Observer, RunContext};

/// How long a part is, unless the user says so.
const USUAL: Duration = Duration::from_secs(60);
/// Options of `split` that are not those of the run.
const OWN: [&str; 10] = [
    "film",
    "count",
    "seconds",
    "overlap",
    "container",
    "any_machine",
    "input",
    "outputs",
    "overwrite",
    "json",
];
/// Options that files have not, or that make no video.
const UNUSED: [&str; 14] = [
    "input",
    "preview",
    "fps",
    "dump_dot",
    "size",
    "rtsp_transport",
    "latency",
    "push",
    "pipeline_source",
    "pipeline_sink",
    "adapt",
    "on_loss",
    "stall",
    "retries",
];

/// Arguments of `nst-stream split`: those of its own, and the options of the run.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
        nst-stream split film.mp4 --model mosaic --output job/ --seconds 60\n  \
        nst-stream part job/ --index 0        # on any machine, as 1, 2, …\n  \
        nst-stream status job/\n  \
        nst-stream join job/ --output film.art.mp4")]
pub struct SplitArgs {
    /// The video
    #[arg(value_name = "VIDEO")]
    film: Option<PathBuf>,
    /// Into so many parts
    #[arg(long = "parts", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000),
          conflicts_with = "seconds", help_heading = "Parts")]
    count: Option<u32>,
    /// Into parts of about this length: seconds, MM:SS or HH:MM:SS [default: 60 seconds]
    #[arg(long, value_name = "TIME", value_parser = parse_length, help_heading = "Parts")]
    seconds: Option<Duration>,
    /// Begin parts anywhere, and paint this much before each, for --steady to begin with. Where parts meet, still
    /// things may change a little [default: parts begin at cuts, where nothing is held]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "Parts")]
    overlap: Option<Duration>,
    /// What the pictures are encoded for: mp4, mov, mkv or webm
    #[arg(long, value_name = "CONTAINER", default_value = "mp4", value_parser = container, help_heading = "Parts")]
    container: Container,
    /// Let machines paint parts that compute in another way (AVX2, AVX-512, another precision): pictures may
    /// then differ by a level from part to part
    #[arg(long, help_heading = "Parts")]
    any_machine: bool,
    #[command(flatten)]
    run: StreamArgs,
    /// The options of the run, as they were given.
    #[arg(skip)]
    pub(super) options: Vec<OsString>,
}

/// Arguments of `nst-stream part`.
#[derive(Debug, Args)]
pub struct PartArgs {
    /// The job's folder
    #[arg(value_name = "JOB")]
    folder: PathBuf,
    /// Which part, from 0
    #[arg(long, value_name = "I", required_unless_present = "all")]
    index: Option<usize>,
    /// All parts that are not painted yet
    #[arg(long, conflicts_with = "index")]
    all: bool,
    /// With --all, paint so many side by side: one for each GPU, or for each group of cores
    #[arg(long, value_name = "N", default_value_t = 1, requires = "all",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: u32,
    /// Paint the part again although it is there
    #[arg(long, conflicts_with = "all")]
    again: bool,
    /// Where the video is on this machine [default: where it was split]
    #[arg(long, value_name = "VIDEO")]
    input: Option<PathBuf>,
    /// CPU threads for the network [default: as the job was split, or all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    threads: Option<u32>,
}

/// Arguments of `nst-stream status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The job's folder
    #[arg(value_name = "JOB")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `nst-stream join`.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The job's folder
    #[arg(value_name = "JOB")]
    folder: PathBuf,
    /// The video to write
    #[arg(short, long, value_name = "OUTPUT")]
    output: PathBuf,
    /// Where the video is on this machine, whose sound, subtitles, chapters and tags are copied [default: where it
    /// was split]
    #[arg(long, value_name = "VIDEO")]
    input: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long)]
    overwrite: bool,
}

fn container(text: &str) -> Result<Container, String> {
    Container::from_path(Path::new(&format!("x.{text}")))
        .ok_or_else(|| "expected mp4, mov, mkv or webm".to_owned())
}

/// Hides options of the run in the help of `split` that it does not use.
pub(super) fn hide_what_is_live(arg: clap::Arg) -> clap::Arg {
    let id = arg.get_id().as_str();
    let live = arg.get_help_heading() == Some("Live") || UNUSED.contains(&id) || id == "json";
    match id {
        "outputs" => arg.help("The job's folder; it is made"),
        _ if live => arg.hide(true),
        _ => arg,
    }
}

/// The options of the run that the user gave to `split`, to give them to each part.
///
/// # Errors
/// The name of one that a video file does not have.
pub(super) fn options_of_split(
    command: &clap::Command,
    matches: &ArgMatches,
) -> Result<Vec<OsString>, String> {
    let mut options = Vec::new();
    let Some(("split", given)) = matches.subcommand() else { return Ok(options) };
    let Some(split) = command.find_subcommand("split") else { return Ok(options) };
    for arg in split.get_arguments() {
        let id = arg.get_id().as_str();
        let Some(long) = arg.get_long() else { continue };
        let global = ["help", "verbose", "quiet", "version"].contains(&id);
        if global || OWN.contains(&id) || given.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if arg.is_hide_set() {
            return Err(format!("--{long}"));
        }
        if !arg.get_action().takes_values() {
            options.push(format!("--{long}").into());
            continue;
        }
        for value in given.get_raw(id).into_iter().flatten() {
            let mut option = OsString::from(format!("--{long}="));
            option.push(value);
            options.push(option);
        }
    }
    Ok(options)
}

/// Makes the plan of a job.
///
/// # Errors
/// One line for the user.
pub fn split(args: &SplitArgs, quiet: bool) -> Result<Outcome> {
    let usage = |text: String| -> Result<Outcome> { Err(UsageError(text).into()) };
    let input = match (&args.film, &args.run.input) {
        (Some(film), None) => film.clone(),
        (None, Some(input)) => PathBuf::from(input),
        (Some(_), Some(_)) => return usage("give the video once: VIDEO or --input".to_owned()),
        (None, None) => return usage("which video? nst-stream split VIDEO --model …".to_owned()),
    };
    let folder = match args.run.outputs.as_slice() {
        [folder] => JobFolder::at(Path::new(folder)),
        [] => return usage("--output names the job's folder".to_owned()),
        _ => return usage("a job has one folder: give one --output".to_owned()),
    };
    if !matches!(InputKind::of(&input), InputKind::File(_))
        || crate::core::picture::is_picture(&input)
    {
        return usage(format!("'{}' is no video file: only these are split", input.display()));
    }
    let config = args.run.file_config(input.clone(), sample_output(args.container))?;
    let interrupts = Interrupts::watch("the job is not split")?;
    let source = Fingerprint::of_video(&input)?;
    let mut models = Vec::new();
    for choice in &config.models {
        if choice.made.is_some() {
            return usage(
                "--style is for one run: save the style as a model first (nst-stream styles save \
                 PICTURE --output MODEL.pt), and give it as --model"
                    .to_owned(),
            );
        }
        models.push(Fingerprint::of_model(&choice.model, &shipped::bytes(&choice.model)?));
    }
    let mut reporter = Reporter::new(quiet, 1.0);
    let mut context = RunContext::new(interrupts.stop(), &mut reporter);
    let arithmetic = match args.any_machine {
        true => None,
        false => Some(parts::arithmetic(&config, &mut context)?),
    };
    if folder.plan_path().exists() && !args.run.overwrite {
        bail!("'{}' holds a job already; use --overwrite to replace it", folder.path().display());
    }
    let held = config.steady > 0.0 && config.engine.mix.strength > 0.0;
    let job = SplitJob {
        input: &input,
        span: config.span,
        encoding: &config.encoding,
        container: args.container,
        at_cuts: held && args.overlap.is_none(),
    };
    let bar = ReadingBar::new(quiet);
    let frames = read_times(&job, interrupts.stop(), &mut |done, total| bar.show(done, total))?;
    bar.clear();
    let Some(frames) = frames else { return Ok(Outcome::Interrupted) };
    let length = match (args.count, args.seconds) {
        (Some(count), _) => PartLength::Count(count as usize),
        (None, seconds) => PartLength::Duration(seconds.unwrap_or(USUAL)),
    };
    let parts = plan_parts(&frames, length, args.overlap.unwrap_or_default());
    let options = args.options.iter().map(|option| {
        let text = option.to_str().map(str::to_owned);
        text.with_context(|| format!("'{}': a plan holds UTF-8 only", option.to_string_lossy()))
    });
    let plan = JobPlan {
        format: JobPlan::FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        folder: std::env::current_dir().context("there is no working folder")?,
        source,
        models,
        options: options.collect::<Result<_>>()?,
        arithmetic,
        container: args.container,
        frames: frames.times.len() as u64,
        parts,
    };
    folder.create(&plan, args.run.overwrite)?;
    if !quiet {
        let (shown, last) = (folder.path().display(), plan.parts.len() - 1);
        let count = match plan.parts.len() {
            1 if job.at_cuts => {
                "1 part, since it has no cut where another could begin (--overlap)".to_owned()
            }
            1 => "1 part".to_owned(),
            count => format!("{count} parts"),
        };
        eprintln!("{shown}: {} frames in {count}", plan.frames);
        eprintln!(
            "paint them:  nst-stream part {shown} --index 0     (to {last}; --all: all, here)"
        );
        eprintln!(
            "then:        nst-stream join {shown} --output {}",
            suggested(&input, args.container)
        );
    }
    Ok(Outcome::Done)
}

/// A name from which the container is seen.
fn sample_output(container: Container) -> PathBuf {
    PathBuf::from(format!("part.{}", container.ending()))
}

fn suggested(input: &Path, container: Container) -> String {
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    format!("'{stem}.art.{}'", container.ending())
}

/// The run that a plan describes.
fn config_of(plan: &JobPlan, input: Option<&PathBuf>) -> Result<Config> {
    std::env::set_current_dir(&plan.folder).with_context(|| {
        format!("the job was split in '{}', which is not on this machine", plan.folder.display())
    })?;
    let video = input.cloned().unwrap_or_else(|| PathBuf::from(&plan.source.name));
    let given = ["nst-stream", "--input=-", "--output=-"].map(str::to_owned);
    let given = given.into_iter().chain(plan.options.iter().cloned());
    let matches = Cli::command().try_get_matches_from(given);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = cli.map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default().to_owned();
        anyhow::anyhow!("the plan has options that this nst-stream does not know: {line}")
    })?;
    cli.stream.file_config(video, sample_output(plan.container))
}

/// The same path, from the root: the working folder is about to change.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find '{}'", path.display()))
}

/// Paints a part, or all.
///
/// # Errors
/// One line for the user.
pub fn part(args: &PartArgs, quiet: bool) -> Result<Outcome> {
    let folder = JobFolder::at(&absolute(&args.folder)?);
    let (plan, sum) = folder.plan()?;
    let input = args.input.as_deref().map(absolute).transpose()?;
    let interrupts = Interrupts::watch("the part will be painted from its beginning")?;
    let Some(index) = args.index else {
        return all(args, (&folder, &plan, &sum), input.as_deref(), quiet, interrupts.stop());
    };
    if index >= plan.parts.len() {
        let text = format!("--index {index}: the parts are 0 to {}", plan.parts.len() - 1);
        return Err(UsageError(text).into());
    }
    let mut config = config_of(&plan, input.as_ref())?;
    if let Some(threads) = args.threads {
        config.engine.threads = Some(threads as usize);
    }
    if args.again {
        folder.forget(index)?;
    }
    let mut reporter = Reporter::new(quiet, config.engine.scale);
    let mut context = RunContext::new(interrupts.stop(), &mut reporter);
    let painted = parts::render(config, (&folder, &plan, &sum), index, &mut context);
    reporter.finish();
    let painted = painted?;
    reporter.finish_well();
    match painted {
        None => reporter.note(&format!("part {index} is painted already")),
        Some(summary) if summary.interrupted => return Ok(Outcome::Interrupted),
        Some(summary) => {
            let took = about(Duration::from_secs_f64(summary.wall_s));
            let frames = summary.frames;
            reporter
                .note(&format!("part {index}: {frames} frames in {took} ({:.1} fps)", summary.fps));
        }
    }
    Ok(Outcome::Done)
}

/// A part that a process of its own paints.
struct Painter {
    index: usize,
    slot: usize,
    process: Child,
}

/// Paints all parts that are not there yet, several side by side.
fn all(
    args: &PartArgs,
    (folder, plan, sum): (&JobFolder, &JobPlan, &str),
    input: Option<&Path>,
    quiet: bool,
    stop: &StopSignal,
) -> Result<Outcome> {
    let missing = |index: &usize| folder.fault(*index, plan, sum).is_some();
    let mut waiting: Vec<usize> = (0..plan.parts.len()).filter(missing).rev().collect();
    let (total, jobs) = (waiting.len(), args.jobs as usize);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match args.threads {
        Some(threads) => Some(threads as usize),
        None if jobs > 1 => Some((cores / jobs).max(1)),
        None => None,
    };
    let places = Places::find(jobs);
    let (mut running, mut failed): (Vec<Painter>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut done = 0;
    loop {
        while running.len() < jobs && !stop.is_set() {
            let Some(index) = waiting.pop() else { break };
            let taken: Vec<usize> = running.iter().map(|painter| painter.slot).collect();
            let slot = (0..jobs).find(|slot| !taken.contains(slot)).unwrap_or_default();
            let mut command = places.command(slot)?;
            command.arg("part").arg(folder.path()).args(["--index", &index.to_string()]);
            command.args(
                input.map(|path| [OsString::from("--input"), path.into()]).into_iter().flatten(),
            );
            command.args(threads.map(|n| format!("--threads={n}")));
            // Bars of several processes would write over each other.
            if quiet || jobs > 1 {
                command.arg("--quiet");
            }
            let process = command.stdin(Stdio::null()).spawn().context("cannot start a process")?;
            running.push(Painter { index, slot, process });
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(POLL);
        let mut still = Vec::new();
        for mut painter in running {
            let ended: Option<ExitStatus> = painter.process.try_wait()?;
            match ended {
                None => still.push(painter),
                Some(status) if status.success() => {
                    done += 1;
                    if !quiet && jobs > 1 {
                        eprintln!("part {} is painted ({done} of {total})", painter.index);
                    }
                }
                Some(_) if stop.is_set() => {}
                Some(_) => failed.push(painter.index),
            }
        }
        running = still;
    }
    if stop.is_set() {
        return Ok(Outcome::Interrupted);
    }
    if !failed.is_empty() {
        failed.sort_unstable();
        let failed: Vec<_> = failed.iter().map(ToString::to_string).collect();
        bail!("{done} parts were painted; these failed: {}", failed.join(", "));
    }
    if !quiet {
        eprintln!("{}: all {} parts are painted", folder.path().display(), plan.parts.len());
    }
    Ok(Outcome::Done)
}

/// Where the processes that paint side by side run.
struct Places {
    /// GPUs of this machine.
    gpus: usize,
    /// The cores of each NUMA node, where there are several, as `taskset -c` takes them.
    nodes: Vec<String>,
}

impl Places {
    fn find(jobs: usize) -> Self {
        let mut nodes = Vec::new();
        let folders = std::fs::read_dir("/sys/devices/system/node").into_iter().flatten().flatten();
        for folder in folders {
            let name = folder.file_name();
            let numbered = name.to_str().and_then(|name| name.strip_prefix("node"));
            if numbered.is_some_and(|number| number.parse::<u32>().is_ok())
                && let Ok(cores) = std::fs::read_to_string(folder.path().join("cpulist"))
                && !cores.trim().is_empty()
            {
                nodes.push(cores.trim().to_owned());
            }
        }
        nodes.sort();
        if nodes.len() < 2 || jobs < nodes.len() {
            nodes.clear();
        }
        Places { gpus: cuda_devices(), nodes }
    }

    /// This program, in the place of this number.
    fn command(&self, slot: usize) -> Result<Command> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = match self.nodes.get(slot % self.nodes.len().max(1)) {
            Some(cores) => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", cores]).arg(program);
                pinned
            }
            None => Command::new(program),
        };
        if self.gpus > 1 {
            command.env("CUDA_VISIBLE_DEVICES", (slot % self.gpus).to_string());
        }
        Ok(command)
    }
}

/// Shows which parts are painted.
///
/// # Errors
/// When there is no job.
pub fn status(args: &StatusArgs) -> Result<()> {
    let folder = JobFolder::at(&args.folder);
    let (plan, sum) = folder.plan()?;
    let (mut rows, mut list) = (Vec::new(), Vec::new());
    let (mut done, mut frames) = (0, 0);
    for (index, part) in plan.parts.iter().enumerate() {
        let fault = folder.fault(index, &plan, &sum);
        let begun = folder.begun(index);
        let newest =
            begun.iter().filter_map(|path| std::fs::metadata(path).ok()?.modified().ok()).max();
        let ago = newest.and_then(|time| SystemTime::now().duration_since(time).ok());
        let state = match (&fault, ago) {
            (None, _) => "painted".to_owned(),
            (Some(_), Some(ago)) => format!("begun, last written {} ago", about(ago)),
            (Some(fault), None) if fault.ends_with("missing") => "missing".to_owned(),
            (Some(fault), None) => fault.clone(),
        };
        if fault.is_none() {
            (done, frames) = (done + 1, frames + part.frames);
        }
        let word = match (&fault, begun.is_empty()) {
            (None, _) => "painted",
            (Some(_), false) => "begun",
            (Some(fault), true) if fault.ends_with("missing") => "missing",
            (Some(_), true) => "damaged",
        };
        list.push(serde_json::json!({
            "index": index, "state": word, "start_s": part.start().as_secs_f64(), "frames": part.frames,
        }));
        let start = format!("{:.2} s", part.start().as_secs_f64());
        rows.push([index.to_string(), start, format!("{} frames", part.frames), state]);
    }
    if args.json {
        let all = serde_json::json!({
            "source": plan.source.name, "frames": plan.frames, "painted_frames": frames,
            "parts": plan.parts.len(), "painted": done, "list": list,
        });
        return super::print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
    }
    let share = 100.0 * frames as f64 / plan.frames.max(1) as f64;
    let last =
        format!("{done} of {} parts are painted: {share:.0} % of the frames\n", plan.parts.len());
    super::print(&(super::table(&rows) + &last))
}

/// Puts the parts together.
///
/// # Errors
/// One line for the user.
pub fn join(args: &JoinArgs, quiet: bool) -> Result<Outcome> {
    let shown = args.folder.clone();
    let folder = JobFolder::at(&absolute(&args.folder)?);
    let (plan, sum) = folder.plan()?;
    let input = args.input.as_deref().map(absolute).transpose()?;
    let output = absolute(&args.output)?;
    let config = config_of(&plan, input.as_ref())?;
    let interrupts = Interrupts::watch("the parts stay as they are")?;
    let mut reporter = Reporter::new(quiet, 1.0);
    let mut context = RunContext::new(interrupts.stop(), &mut reporter);
    let job = JoinJob {
        folder: &folder,
        plan: &plan,
        sum: &sum,
        input: &config.input,
        span: config.span,
        audio: config.audio,
        output: &output,
        overwrite: args.overwrite,
    };
    let joined = parts::join(&job, &mut context)
        .with_context(|| format!("cannot join '{}'", shown.display()));
    reporter.finish();
    let summary = joined?;
    reporter.finish_well();
    if summary.interrupted {
        return Ok(Outcome::Interrupted);
    }
    let took = about(Duration::from_secs_f64(summary.wall_s));
    reporter.note(&format!("{}: {} frames in {took}", args.output.display(), summary.frames));
    Ok(Outcome::Done)
}

/// How far the reading of a video is, on a terminal.
struct ReadingBar(Option<ProgressBar>);

impl ReadingBar {
    fn new(quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        let style =
            ProgressStyle::with_template("reading {wide_bar} {pos}/{len} frames, {eta} left");
        ReadingBar(shown.then(|| {
            let bar = ProgressBar::new(0);
            style.map(|style| bar.with_style(style)).unwrap_or_else(|_| ProgressBar::new(0))
        }))
    }

    fn show(&self, done: u64, total: Option<u64>) {
        if let Some(bar) = &self.0 {
            bar.set_length(total.unwrap_or(done).max(done));
            bar.set_position(done);
        }
    }

    fn clear(&self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}
