//! Runs a checked configuration: opens the model and the input, and writes the output.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::path_kinds::{InputKind, OutputKind, Pictures, part_of};
use super::pictures::{pairs, remove_rest, stylize_pictures};
use super::{EngineOptions, ModelChoice, Observer, RegionSettings, Regions, RunContext, still};
use crate::core::animation::Animation;
use crate::core::encoding::Encoding;
use crate::core::picture::{self, Picture};
use crate::core::rate::FrameRate;
use crate::core::regions::Mask;
use crate::core::span::Span;
use crate::core::stats::Summary;
use crate::core::stylizer::{StylizeError, Stylizer};
use crate::core::unreadable::{is_cut_off_jpeg, what_it_is};
#[cfg(feature = "media")]
use crate::engine::device::try_algorithms;
#[cfg(feature = "media")]
use crate::media::error::ErrorKind;
#[cfg(feature = "media")]
use crate::media::source::{FrameFormat, VideoSource};
use crate::steady::Steady;

/// A checked run between files, pictures and pipes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The model, and which of its styles; with a mask, those of its regions.
    pub models: Vec<ModelChoice>,
    /// The mask of `--mask`, if there is one.
    pub mask: Option<Mask>,
    /// What paints each region of the mask.
    pub regions: RegionSettings,
    /// How the model runs.
    pub engine: EngineOptions,
    /// How steady video is held, 0–1; see [`Steady`].
    pub steady: f32,
    /// What [`InputKind::of`] understands.
    pub input: PathBuf,
    /// What [`OutputKind::of`] understands.
    pub output: PathBuf,
    /// Replace an existing output.
    pub overwrite: bool,
    /// Frames in one network pass; chosen for the device when none.
    pub batch: Option<usize>,
    /// Which part of a video.
    pub span: Span,
    /// The rate of pictures that become a video, 25 when none.
    pub rate: Option<FrameRate>,
    /// Copy the sound of a video.
    pub audio: bool,
    /// Only the frame at this time, as a picture.
    pub preview: Option<Duration>,
    /// How a video is encoded.
    pub encoding: Encoding,
    /// A part of a longer video, for [`parts`](super::parts).
    #[cfg(feature = "media")]
    pub part: Option<super::video_job::PartJob>,
    /// Folder for pipeline graphs.
    pub dump_dot: Option<PathBuf>,
}

/// Runs `config`. The stop signal ends a video early; what was painted before is kept.
///
/// # Errors
/// One line for the user, with the file it is about.
pub fn run(config: &Config, context: &mut RunContext) -> Result<Summary> {
    let (source, target) = (InputKind::of(&config.input), OutputKind::of(&config.output));
    check_input(&config.input, &source)?;
    let pairs = pairs_of(config, &source, &target, context.observer)?;
    check_output(config, &target, pairs.as_deref())?;
    let summary = make(config, &source, &target, pairs.as_deref(), context)?;
    if let OutputKind::Pictures(pictures) = &target
        && config.overwrite
        && !summary.interrupted
    {
        replace_all(config, &source, pictures, pairs.as_deref(), &summary, context.observer)?;
    }
    Ok(summary)
}

/// Removes what is left of an earlier sequence that the new one replaces.
fn replace_all(
    config: &Config,
    source: &InputKind,
    target: &Pictures,
    pairs: Option<&[(PathBuf, PathBuf)]>,
    summary: &Summary,
    observer: &mut dyn Observer,
) -> Result<()> {
    // If part of a sequence keeps its numbers, only those pictures are replaced.
    if pairs.is_some() && config.span != Span::default() {
        return Ok(());
    }
    let (inputs, made): (Vec<_>, Vec<_>) = match pairs {
        Some(pairs) => pairs.iter().cloned().unzip(),
        None => (vec![config.input.clone()], Vec::new()),
    };
    match target.numbered(source, pairs.map(|_| made.as_slice()), summary.frames) {
        Some((pattern, last)) if last > 0 => remove_rest(&pattern, last, &inputs, observer),
        _ => Ok(()),
    }
}

fn make(
    config: &Config,
    source: &InputKind,
    target: &OutputKind,
    pairs: Option<&[(PathBuf, PathBuf)]>,
    context: &mut RunContext,
) -> Result<Summary> {
    // The input is opened first: it is the more likely mistake, and quickly found.
    let wants_picture = target.is_picture();
    let is_picture = matches!(source, InputKind::File(_)) && picture::is_picture(&config.input);
    let still = if let (InputKind::Animation(path), true) = (source, wants_picture) {
        let animation = Animation::open(path)?;
        if config.preview.is_none() {
            context.observer.note(&format!(
                "'{}' is an animation: its first frame is painted; --preview TIME paints another one, and \
                 an output like .mp4 all of them",
                path.display()
            ));
        }
        Some(animation.frame_at(config.preview.unwrap_or_default())?)
    } else if is_picture && wants_picture {
        if is_cut_off_jpeg(&config.input) {
            let text = "is cut off: what is missing of the picture is grey, or repeated";
            context.observer.note(&format!("'{}' {text}", config.input.display()));
        }
        Some(Picture::open(&config.input)?)
    } else if wants_picture && config.preview.is_some() {
        match frame_of_video(config, context)? {
            Some(picture) => Some(picture),
            None => return Ok(stopped_before(config, context)),
        }
    } else {
        None
    };
    if let (Some(mask), Some(pairs)) = (&config.mask, pairs) {
        fits_all(mask, pairs)?;
    }
    let stylizers = config.engine.open(&config.models, context.observer)?;
    let mut stylizer: Box<dyn Stylizer> = match config.mask.clone() {
        Some(mask) => Box::new(Regions::new(mask, stylizers, config.regions)),
        None => Box::new(stylizers.into_iter().next().context("no model")?),
    };
    match (still, pairs) {
        (Some(picture), _) => {
            let (input, output) = (&config.input, &config.output);
            still::stylize_picture(picture, input, output, stylizer.as_mut(), &context.stats)
        }
        (None, Some(pairs)) => {
            let names = (config.input.as_path(), config.output.as_path());
            match config.rate {
                // Pictures without a rate are not frames of a video.
                None => stylize_pictures(names, pairs, stylizer.as_mut(), context),
                Some(_) => stylize_pictures(names, pairs, &mut steady(config, stylizer), context),
            }
        }
        (None, None) if wants_picture => bail!(
            "'{}' is not a picture; --preview TIME paints one frame of a video",
            config.input.display()
        ),
        (None, None) if is_picture => bail!(
            "'{}' is a picture: write to a .png or .jpg, not to '{}'",
            config.input.display(),
            config.output.display()
        ),
        (None, None) => {
            let summary = video(config, Box::new(steady(config, stylizer)), context)?;
            Ok(Summary { steady: Some(config.steady), ..summary })
        }
    }
}

/// Holds a video steady as `config` wants.
fn steady(config: &Config, stylizer: Box<dyn Stylizer>) -> Steady<Box<dyn Stylizer>> {
    let unpainted = config.mask.as_ref().and_then(|mask| config.regions.unpainted(mask));
    Steady::new(stylizer, config.steady, unpainted)
}

/// The summary of a run that was ended before anything was made.
fn stopped_before(config: &Config, context: &RunContext) -> Summary {
    Summary {
        input: config.input.display().to_string(),
        output: config.output.display().to_string(),
        wall_s: context.stats.elapsed().as_secs_f64(),
        interrupted: context.stop.is_interrupted(),
        ..Summary::default()
    }
}

/// Input and output files, if both are pictures.
fn pairs_of(
    config: &Config,
    source: &InputKind,
    target: &OutputKind,
    observer: &mut dyn Observer,
) -> Result<Option<Vec<(PathBuf, PathBuf)>>> {
    let OutputKind::Pictures(target) = target else { return Ok(None) };
    let inputs = match source {
        InputKind::Pictures(pictures) => {
            let (files, note) = pictures.files()?;
            note.into_iter().for_each(|note| observer.note(&note));
            let rate = config.rate.unwrap_or(FrameRate::USUAL);
            part_of(files, rate, config.span)
                .with_context(|| format!("cannot decode '{}'", config.input.display()))?
        }
        InputKind::File(path) if picture::is_picture(path) => vec![path.clone()],
        _ => return Ok(None),
    };
    let outputs = target.made_of(source, &inputs);
    pairs(inputs, outputs).map(Some)
}

/// Checks the mask's aspect ratio against all pictures; unreadable ones are reported later.
fn fits_all(mask: &Mask, pairs: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (path, _) in pairs {
        if let Ok((width, height)) = picture::size(path) {
            mask.check(width, height, "the picture")
                .map_err(StylizeError::from)
                .with_context(|| format!("cannot stylize '{}'", path.display()))?;
        }
    }
    Ok(())
}

/// Checks the input before the model is loaded.
fn check_input(input: &Path, source: &InputKind) -> Result<()> {
    let path = match source {
        InputKind::File(path) | InputKind::Animation(path) | InputKind::Y4m(path) => path,
        InputKind::Pictures(pictures) => return pictures.files().map(drop),
        InputKind::Stdin => return Ok(()),
    };
    let metadata =
        std::fs::metadata(path).with_context(|| format!("cannot read '{}'", input.display()))?;
    if matches!(source, InputKind::File(_)) && metadata.file_type().is_fifo() {
        bail!(
            "cannot decode '{}': it is a named pipe, and of pipes YUV4MPEG2 is read, from stdin: \
             `ffmpeg -i IN -f yuv4mpegpipe - | nst-stream --input - …`",
            input.display()
        );
    }
    if metadata.is_file() && metadata.len() == 0 {
        bail!("cannot decode '{}': the file is empty", input.display());
    }
    if let Some(what) = what_it_is(path) {
        bail!("cannot decode '{}': {what}", input.display());
    }
    Ok(())
}

/// Checks the output before the model is loaded.
fn check_output(
    config: &Config,
    target: &OutputKind,
    pairs: Option<&[(PathBuf, PathBuf)]>,
) -> Result<()> {
    let output = &config.output;
    let there_already = |path: &Path| match config.overwrite {
        false => bail!("'{}' already exists; use --overwrite to replace it", path.display()),
        true => Ok(()),
    };
    let folder = match target {
        OutputKind::Stdout => return Ok(()),
        OutputKind::File(_) | OutputKind::Y4m(_) => {
            if output.is_dir() {
                bail!("cannot write '{}': it is a folder", output.display());
            }
            if output.exists() {
                there_already(output)?;
            }
            output.parent().map(Path::to_owned)
        }
        OutputKind::Pictures(pictures) => {
            let folder = pictures.folder();
            let made = pairs.into_iter().flatten().map(|(_, output)| output.clone());
            let numbered = match pairs {
                // The number of pictures is not known yet, so none of them may exist.
                None if folder.is_dir() => pictures.pattern().existing().unwrap_or_default(),
                _ => Vec::new(),
            };
            let numbered = numbered.first().map(|first| pictures.pattern().path(*first));
            made.chain(numbered)
                .find(|path| path.exists())
                .map_or(Ok(()), |p| there_already(&p))?;
            if folder.exists() { Some(folder) } else { folder.parent().map(Path::to_owned) }
        }
    };
    let folder = folder.filter(|f| !f.as_os_str().is_empty()).unwrap_or(PathBuf::from("."));
    if !folder.is_dir() {
        bail!("cannot write '{}': there is no folder '{}'", output.display(), folder.display());
    }
    Ok(())
}

#[cfg(feature = "media")]
fn frame_of_video(config: &Config, context: &RunContext) -> Result<Option<Picture>> {
    let span = Span { start: config.preview, duration: None };
    let frame = VideoSource::open(&config.input, span, FrameFormat::Rgb, &context.stop)
        .and_then(|source| source.first_frame());
    let frame = match frame {
        Err(error) if error.kind == ErrorKind::Stopped => return Ok(None),
        frame => frame.with_context(|| format!("cannot decode '{}'", config.input.display()))?,
    };
    // From here on it is a picture like any other, whatever the video's colours were.
    let bytes = frame.planes.bytes().to_vec();
    let picture = picture::rgb_frame(frame.info.width, frame.info.height, bytes);
    Ok(Some(Picture::from_frame(picture)))
}

#[cfg(feature = "media")]
fn video(
    config: &Config,
    stylizer: Box<dyn Stylizer>,
    context: &mut RunContext,
) -> Result<Summary> {
    try_algorithms();
    let job = super::VideoJob {
        input: &config.input,
        output: &config.output,
        span: config.span,
        rate: config.rate,
        audio: config.audio,
        batch: config.batch.unwrap_or_else(|| stylizer.preferred_batch()),
        encoding: config.encoding,
        frames: None,
        part: config.part,
        dump_dot: config.dump_dot.as_deref(),
    };
    super::stylize_video(&job, stylizer, context)
}

#[cfg(not(feature = "media"))]
fn frame_of_video(_config: &Config, _context: &RunContext) -> Result<Option<Picture>> {
    bail!("this nst-stream was built without GStreamer: it paints pictures only")
}

#[cfg(not(feature = "media"))]
fn video(
    config: &Config,
    _stylizer: Box<dyn Stylizer>,
    _context: &mut RunContext,
) -> Result<Summary> {
    let _ = (config.span, config.audio, config.batch, config.encoding, &config.dump_dot);
    bail!("this nst-stream was built without GStreamer: it paints pictures only")
}

/// A checked live run.
#[cfg(feature = "media")]
#[derive(Debug, Clone)]
pub struct LiveConfig {
    /// Models and their styles; the first is shown first, or with a mask those that the settings say.
    pub models: Vec<ModelChoice>,
    /// The model that predicts the styles of pictures that come while the run goes on: a file, or a shipped one.
    pub predictor: String,
    /// How the models run.
    pub engine: EngineOptions,
    /// Source and outputs.
    pub job: super::LiveJob,
}

/// Runs `config` live, with the settings in `controls`, which may change at any time.
///
/// # Errors
/// One line for the user.
#[cfg(feature = "media")]
pub fn run_live(
    config: &LiveConfig,
    controls: &super::LiveControls,
    context: &mut RunContext,
) -> Result<Summary> {
    let candidates = config.engine.open_live(&config.models, context.observer)?;
    let job = &config.job;
    let Some(mask) = job.mask.clone() else {
        let choose = |rate: super::SourceRate, context: &mut RunContext| {
            let chosen = candidates.choose(rate, None, context)?;
            tell(&chosen, config, controls);
            Ok(chosen.models)
        };
        return super::stylize_live(job, choose, controls, context);
    };
    let choose = |rate: super::SourceRate, context: &mut RunContext| {
        mask.check(rate.width, rate.height, "the picture")
            .map_err(StylizeError::from)
            .with_context(|| format!("cannot stylize '{}'", job.input))?;
        let regions = controls.wanted.get().regions;
        let chosen = candidates.choose(rate, Some(regions.painting().len()), context)?;
        tell(&chosen, config, controls);
        Ok(vec![Regions::new(mask, chosen.models, regions)])
    };
    super::stylize_live(job, choose, controls, context)
}

/// Tells whoever watches which models were chosen, and where they run.
#[cfg(feature = "media")]
fn tell(chosen: &super::ChosenModels, config: &LiveConfig, controls: &super::LiveControls) {
    controls.models.begin(config, chosen.on);
    controls.monitor.set_models(&chosen.names);
    if let Some(model) = chosen.models.first() {
        controls.monitor.set_device(model.model().device());
    }
}
