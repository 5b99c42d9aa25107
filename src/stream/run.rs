//! One run: a checked configuration → a model, an input, an output.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Choice, EngineOptions, Observer, still};
use crate::engine::device::Device;
use crate::engine::stylizer::NetworkStylizer;
use crate::picture::{self, Picture};
use crate::span::Span;
use crate::stats::{Stats, Summary};

/// What is to be made, of what, and how.
#[derive(Debug, Clone)]
pub struct Config {
    /// The model, and which of its styles.
    pub model: Choice,
    /// How the model runs.
    pub engine: EngineOptions,
    /// A video or picture file.
    pub input: PathBuf,
    /// The file to make; its ending says what.
    pub output: PathBuf,
    /// Replace an existing output.
    pub overwrite: bool,
    /// Frames in one network pass; chosen for the device when none.
    pub batch: Option<usize>,
    /// Which part of a video.
    pub span: Span,
    /// Take the sound of a video along.
    pub audio: bool,
    /// Only the frame at this time, as a picture.
    pub preview: Option<Duration>,
    /// Folder for pipeline graphs.
    pub dump_dot: Option<PathBuf>,
}

/// Does what `config` says. `stop` ends a video early, with what is made so far.
///
/// # Errors
/// One line for the user, with the file it is about.
pub fn run(config: &Config, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Summary> {
    let stats = Arc::new(Stats::default());
    check_files(config)?;
    // The input is opened before the model: it is the likelier mistake, and soon found.
    let wants_picture = picture::format_for_output(&config.output).is_some();
    let still = if picture::is_picture(&config.input) && wants_picture {
        Some(Picture::open(&config.input)?)
    } else if wants_picture && config.preview.is_some() {
        Some(frame_of_video(config)?)
    } else {
        None
    };
    let (mut stylizers, device) =
        config.engine.open(std::slice::from_ref(&config.model), observer)?;
    let stylizer = stylizers.first_mut().context("no model")?;
    match still {
        Some(picture) => {
            still::stylize_picture(picture, &config.input, &config.output, stylizer, &stats)
        }
        None if wants_picture => bail!(
            "'{}' is not a picture; --preview TIME paints one frame of a video",
            config.input.display()
        ),
        None if picture::is_picture(&config.input) => bail!(
            "'{}' is a picture: write to a .png or .jpg, not to '{}'",
            config.input.display(),
            config.output.display()
        ),
        None => video(config, device, stylizer, stop, &stats, observer),
    }
}

/// What can be said of the files before anything is loaded.
fn check_files(config: &Config) -> Result<()> {
    let (input, output) = (&config.input, &config.output);
    let metadata =
        std::fs::metadata(input).with_context(|| format!("cannot read '{}'", input.display()))?;
    if metadata.is_dir() {
        bail!("cannot read '{}': it is a folder", input.display());
    }
    if metadata.is_file() && metadata.len() == 0 {
        bail!("cannot decode '{}': the file is empty", input.display());
    }
    if output.is_dir() {
        bail!("cannot write '{}': it is a folder", output.display());
    }
    if output.exists() && !config.overwrite {
        bail!("'{}' is there already; --overwrite replaces it", output.display());
    }
    let folder = output.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("cannot write '{}': there is no folder '{}'", output.display(), folder.display());
    }
    Ok(())
}

#[cfg(feature = "media")]
fn frame_of_video(config: &Config) -> Result<Picture> {
    let span = Span { start: config.preview, duration: None };
    let frame = crate::media::source::VideoSource::open(&config.input, span, true)
        .and_then(|source| source.first_frame())
        .with_context(|| format!("cannot decode '{}'", config.input.display()))?;
    // From here on it is a picture like any other, whatever the video's colours were.
    let bytes = frame.planes.bytes().to_vec();
    Ok(Picture::from_frame(picture::rgb_frame(frame.info.width, frame.info.height, bytes)))
}

#[cfg(feature = "media")]
fn video(
    config: &Config,
    device: Device,
    stylizer: &mut NetworkStylizer,
    stop: &AtomicBool,
    stats: &Arc<Stats>,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let job = super::VideoJob {
        input: &config.input,
        output: &config.output,
        span: config.span,
        audio: config.audio,
        // On a CPU one frame fills all cores, and more only cost memory.
        batch: config.batch.unwrap_or(if device.is_cuda() { 4 } else { 1 }),
        dump_dot: config.dump_dot.as_deref(),
    };
    super::stylize_video(&job, stylizer, stop, stats, observer)
}

#[cfg(not(feature = "media"))]
fn frame_of_video(_config: &Config) -> Result<Picture> {
    bail!("this nst-stream was built without GStreamer: it paints pictures only")
}

#[cfg(not(feature = "media"))]
fn video(
    config: &Config,
    _device: Device,
    _stylizer: &mut NetworkStylizer,
    _stop: &AtomicBool,
    _stats: &Arc<Stats>,
    _observer: &mut dyn Observer,
) -> Result<Summary> {
    let _ = (config.span, config.audio, config.batch, &config.dump_dot);
    bail!("this nst-stream was built without GStreamer: it paints pictures only")
}

/// A live run: which models, how they run, and between which ends.
#[cfg(feature = "media")]
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// Models and their styles; the first is shown first.
    pub models: Vec<Choice>,
    /// How the models run.
    pub engine: EngineOptions,
    /// Source and outputs.
    pub job: super::LiveJob,
}

/// Does what `config` says, with the look that is `wanted` from moment to moment.
///
/// # Errors
/// One line for the user.
#[cfg(feature = "media")]
pub fn run_live(
    config: &LiveConfig,
    wanted: &super::Wanted,
    commands: &std::sync::mpsc::Receiver<super::Command>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let stats = Arc::new(Stats::default());
    let (models, _) = config.engine.open(&config.models, observer)?;
    super::stylize_live(&config.job, models, wanted, commands, stop, &stats, observer)
}
