//! The main command with a live end: a camera, a network camera, a window, an RTSP server.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::interrupts::Interrupts;
use super::keys::{self, Controls, Keys};
use super::outcome::{PARTIAL, report};
use super::progress::Reporter;
use super::regions::{self, ModelSelection};
use super::stream_args::StreamArgs;
use super::{Outcome, UsageError};
use crate::control::{ControlServer, OscServer};
use crate::core::encoding::{Container, StreamEncoding};
use crate::core::endpoint::{InputSpec, OutputSpec, RtspUrl};
use crate::core::sequence::Pattern;
use crate::media::webrtc::WebRtc;
use crate::stream::{
    InputKind, LiveConfig, LiveControls, LiveJob, LiveSettings, ModelChoice, Observer, OutputKind,
    RunContext, run_live,
};

/// Runs live.
///
/// # Errors
/// One line for the user.
pub(super) fn run(
    args: &StreamArgs,
    input: InputSpec,
    mut outputs: Vec<OutputSpec>,
    quiet: bool,
) -> Result<Outcome> {
    // The page shows the picture.
    if outputs.is_empty() && !args.live.is_controlled() {
        outputs.push(default_output()?);
    }
    check(args, &input, &outputs)?;
    let control = args.live.control()?;
    let engine = args.engine();
    let ModelSelection { mut models, mask, regions, predictor } =
        regions::select(args.painters(), true)?;
    let mut controls = LiveControls::new(LiveSettings {
        model: 0,
        scale: engine.scale,
        stroke: engine.stroke,
        mix: engine.mix,
        blend: None,
        regions,
        steady: args.steadiness(),
    });
    let options = args.live.options(args.fps)?;
    if let Some(control) = &control {
        let publisher = (input == InputSpec::Whip).then_some(options.requested);
        let webrtc = WebRtc::start(control.address.socket().port(), publisher);
        controls.webrtc = Some(webrtc.context("cannot start a thread")?);
    }
    if let Some(mask) = &mask {
        controls.monitor.set_mask(mask);
    }
    // Keys step through the styles of each.
    if mask.is_none() && args.blend.is_empty() {
        models = ModelChoice::every_style(models)?;
    }
    let is_publisher_awaited = input == InputSpec::Whip;
    let key_interval = args.live.key_interval(&outputs);
    let count = models.len();
    let config = LiveConfig {
        models,
        predictor,
        engine,
        job: LiveJob {
            input,
            outputs,
            options,
            adapt: args.live.adapt,
            mask,
            overwrite: args.overwrite,
            segment: args.live.segment,
            encoding: args.encoding.encoding(),
            streams: StreamEncoding { key_interval, bitrate: args.encoding.bitrate() },
            dump_dot: args.dump_dot.clone(),
        },
    };
    let interrupts = Interrupts::watch(PARTIAL)?;
    let mut reporter = Reporter::new(quiet, 1.0);
    let keys = Keys::watch(Controls {
        wanted: controls.wanted.clone(),
        monitor: controls.monitor.clone(),
        snapshot: controls.snapshot.clone(),
        interrupts: interrupts.clone(),
    });
    if keys.is_some() {
        reporter.note(&keys::help(count, regions.each().len()));
    }
    let control = control.map(|options| ControlServer::start(&options, &controls)).transpose()?;
    if let Some(control) = &control {
        reporter.note(&format!("control: {}", control.link()));
        if is_publisher_awaited {
            reporter.note("waiting for a camera: open the page and press Camera");
        }
        if args.live.open {
            open_in_browser(control.link());
        }
    }
    let osc = args.live.osc.as_ref();
    let osc = osc.map(|address| OscServer::start(address, &controls)).transpose()?;
    if let Some(osc) = &osc {
        reporter.note(&format!("osc: {}", osc.address()));
    }
    let result = match &control {
        Some(control) => {
            let mut observer = control.observer(&mut reporter);
            run_live(&config, &controls, &mut RunContext::new(interrupts.stop(), &mut observer))
        }
        None => {
            run_live(&config, &controls, &mut RunContext::new(interrupts.stop(), &mut reporter))
        }
    };
    drop((keys, control, osc));
    report(args, result, &mut reporter)
}

/// Opens the page in the user's browser; the run goes on if there is none.
fn open_in_browser(link: &str) {
    let mut open = Command::new("xdg-open");
    open.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match open.spawn() {
        // Some browsers end with their last window.
        Ok(mut browser) => drop(std::thread::spawn(move || browser.wait())),
        Err(error) => {
            tracing::warn!("no browser is opened (xdg-open): {error}; open the link yourself")
        }
    }
}

/// The default output: a window if there is a display, otherwise an RTSP server for this machine.
fn default_output() -> Result<OutputSpec> {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("DISPLAY") || set("WAYLAND_DISPLAY") {
        return Ok(OutputSpec::Window);
    }
    let url = RtspUrl::parse("rtsp://127.0.0.1:8554/art").map_err(UsageError)?;
    Ok(OutputSpec::Serve(url))
}

/// Checks what can be checked before anything is opened.
fn check(args: &StreamArgs, input: &InputSpec, outputs: &[OutputSpec]) -> Result<()> {
    if args.preview.is_some() || args.start.is_some() || args.duration.is_some() {
        bail!(UsageError("--start, --duration and --preview are for files".to_owned()));
    }
    if args.live.is_looped()
        && input.is_live()
        && !matches!(input, InputSpec::Pipeline(_) | InputSpec::Stream(_))
    {
        bail!(UsageError("--loop is for what has an end: a file, a stream over HTTP".to_owned()));
    }
    if *input == InputSpec::Whip && !args.live.is_controlled() {
        bail!(UsageError(
            "--input whip: needs --control, whose page sends the camera of a browser".to_owned()
        ));
    }
    only_between_files(input, outputs)?;
    check_encoding(args, outputs)?;
    check_pieces(args.live.segment.is_some(), outputs)?;
    if let InputSpec::File(path) | InputSpec::Device(path) | InputSpec::Pipeline(path) = input
        && !path.exists()
    {
        let hint = if matches!(input, InputSpec::Device(_)) { cameras() } else { String::new() };
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

/// Checks for options of video files that this live run cannot use.
fn check_encoding(args: &StreamArgs, outputs: &[OutputSpec]) -> Result<(), UsageError> {
    let encoding = args.encoding.encoding();
    for (option, given) in [("--no-audio", args.no_audio), ("--even", encoding.even)] {
        if given {
            return Err(UsageError(format!("{option} is for a video file that becomes a file")));
        }
    }
    let paths = outputs.iter().filter_map(|output| match output {
        OutputSpec::File(path) => Some(path),
        _ => None,
    });
    let containers: Vec<_> = paths.filter_map(|path| Container::from_path(path)).collect();
    let sent = |output: &OutputSpec| matches!(output, OutputSpec::Stream(_) | OutputSpec::Hls(_));
    let streams = outputs.iter().any(sent);
    let option = args.encoding.given().filter(|option| !(streams && *option == "--bitrate"));
    if let (Some(option), true) = (option, containers.is_empty()) {
        return Err(UsageError(format!("{option} is for video files")));
    }
    for container in containers {
        encoding.codec_in(container).map_err(|e| UsageError(format!("--codec: {e}")))?;
    }
    Ok(())
}

/// Checks that the names of recordings have a number where they are written in pieces, and only there.
fn check_pieces(in_pieces: bool, outputs: &[OutputSpec]) -> Result<(), UsageError> {
    let paths = outputs.iter().filter_map(|output| match output {
        OutputSpec::File(path) => Some(path),
        _ => None,
    });
    let mut files = 0;
    for path in paths {
        files += 1;
        let name = path.display();
        match (in_pieces, Pattern::parse_any(path).is_some()) {
            (true, false) => {
                let text = format!("--segment: '{name}' needs a number in its name: art-%05d.mp4");
                return Err(UsageError(text));
            }
            (false, true) => {
                let text = format!("'{name}' has a number in its name: give --segment 10m");
                return Err(UsageError(text));
            }
            _ => {}
        }
    }
    if in_pieces && files == 0 {
        return Err(UsageError(
            "--segment is for recordings: give --output art-%05d.mp4".to_owned(),
        ));
    }
    Ok(())
}

/// Refuses inputs and outputs that only work between files, if the other end is live.
fn only_between_files(input: &InputSpec, outputs: &[OutputSpec]) -> Result<(), UsageError> {
    if let InputSpec::File(path) = input
        && !matches!(InputKind::of(path), InputKind::File(_))
    {
        return Err(UsageError(format!(
            "'{}' can only go into one file, into pictures or into '-': give one --output",
            path.display()
        )));
    }
    let of_files = |output: &&OutputSpec| match output {
        OutputSpec::File(path) => !matches!(OutputKind::of(path), OutputKind::File(_)),
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
        false => format!("; cameras here: {}", names.join(" ")),
    }
}
