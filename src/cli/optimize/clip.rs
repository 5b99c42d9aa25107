//! `nst-stream optimize` of a video: its frames are read, painted one after another, and written with its sound.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::OptimizeArgs;
#[cfg(not(feature = "media"))]
use crate::cli::Outcome;
use crate::cli::UsageError;
use crate::cli::files::{name_fault, same_file};
use crate::core::encoding::Container;
use crate::core::picture;
use crate::core::rate::FrameRate;
use crate::core::span::{parse_length, parse_time};
use crate::stream::{InputKind, OutputKind};

/// Options of a video's frames.
#[derive(Debug, Args)]
#[command(next_help_heading = "Frames of a video")]
pub struct ClipArgs {
    /// Start at this time of the video: seconds, MM:SS or HH:MM:SS [default: its beginning]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    start: Option<Duration>,
    /// Paint only this much of the video
    #[arg(long, value_name = "TIME", value_parser = parse_length)]
    duration: Option<Duration>,
    /// Frames per second of a folder of frames [default: 25]
    #[arg(long, value_name = "RATE", value_parser = FrameRate::parse)]
    fps: Option<FrameRate>,
    /// Leave out the sound
    #[arg(long)]
    no_audio: bool,
    /// Steps of a frame that starts at the painting of another one [default: 60]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    frame_steps: Option<u64>,
    /// Weight of the loss that holds a frame to those before it; 0: only its start is theirs [default: 5]
    #[arg(long, value_name = "X")]
    temporal_weight: Option<f64>,
    /// How far before a frame those lie that it is held to, in frames: each pixel is held by the nearest that
    /// shows it for sure; 0: paint each frame by itself [default: 1,2,4]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(0..=1000))]
    look_back: Vec<u16>,
    /// How often to paint all frames. With several, each is first painted by itself; then forward and backward in
    /// turn it is mixed with its neighbour: steadier over long times and at borders [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    passes: Option<u32>,
    /// Go on with a run of the same command that ended early
    #[arg(long)]
    resume: bool,
}

impl ClipArgs {
    /// The first given option that has no effect on a picture.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("--start", self.start.is_some()),
            ("--duration", self.duration.is_some()),
            ("--fps", self.fps.is_some()),
            ("--no-audio", self.no_audio),
            ("--frame-steps", self.frame_steps.is_some()),
            ("--temporal-weight", self.temporal_weight.is_some()),
            ("--look-back", !self.look_back.is_empty()),
            ("--passes", self.passes.is_some()),
            ("--resume", self.resume),
        ];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }
}

/// Whether a video is to be painted, not a picture.
///
/// # Errors
/// When content, output and options do not go together.
pub(super) fn is_wanted(args: &OptimizeArgs) -> Result<bool, UsageError> {
    let (content, output) = (args.content.display(), args.output.display());
    let usage = |text: String| Err(UsageError(text));
    let (source, target) = (InputKind::of(&args.content), OutputKind::of(&args.output));
    let is_file = matches!(source, InputKind::File(_) | InputKind::Animation(_));
    let is_still = matches!(source, InputKind::File(_)) && picture::is_picture(&args.content);
    if target.is_picture() || is_still {
        let is_video = args.content.is_file() && Container::from_path(&args.content).is_some();
        if !is_file || (is_video && !is_still) {
            return usage(format!(
                "'{content}' is a video: write to a .mp4, .mov, .mkv or .webm, or to pictures (out/)"
            ));
        }
        return match args.clip.given().or(args.encoding.given()) {
            Some(option) => usage(format!("{option} is for videos, and '{content}' is a picture")),
            None => Ok(false),
        };
    }
    if source == InputKind::Stdin || target == OutputKind::Stdout {
        return usage("a video is read from files and written to files: - is neither".to_owned());
    }
    if let Some(said) = name_fault(&args.output, &target) {
        return usage(format!("cannot write '{output}': {said}"));
    }
    match Container::from_path(&args.output) {
        Some(container) => {
            let codec = args.encoding.encoding().codec_in(container);
            codec.map_err(|error| UsageError(format!("--codec: {error}")))?;
        }
        None => {
            if let Some(option) = args.encoding.given() {
                return usage(format!("{option} is for video files"));
            }
        }
    }
    if args.clip.fps.is_some() && !source.is_pictures() {
        return usage("--fps is for pictures: a video has its own rate".to_owned());
    }
    for (option, given) in [
        ("--preview-every", args.preview_every.is_some()),
        ("--evolution", args.evolution.is_some()),
    ] {
        if given {
            return usage(format!("{option} is for pictures, and '{content}' is a video"));
        }
    }
    let alone = args.clip.look_back.contains(&0);
    if alone && (args.clip.look_back.len() > 1 || args.clip.passes.is_some_and(|n| n > 1)) {
        let said = "--look-back 0 paints each frame by itself: leave out other frames and --passes";
        return usage(said.to_owned());
    }
    let same_pictures = match (&source, &target) {
        (InputKind::Pictures(from), OutputKind::Pictures(to)) => from.pattern() == to.pattern(),
        _ => false,
    };
    if same_pictures || same_file(&args.content, &args.output) {
        return usage(format!("'{content}' is both content and output"));
    }
    Ok(true)
}

#[cfg(not(feature = "media"))]
pub(super) fn run(_: &OptimizeArgs, _: bool) -> Result<Outcome> {
    anyhow::bail!("this nst-stream was built without GStreamer: it paints pictures only")
}

#[cfg(feature = "media")]
pub(super) use with_media::run;

#[cfg(feature = "media")]
mod with_media {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result, bail};
    use image::RgbImage;

    use super::super::clip_bar::ClipBar;
    use super::super::{OptimizeArgs, as_usage_error, config};
    use super::ClipArgs;
    use crate::cli::Outcome;
    use crate::cli::interrupts::Interrupts;
    use crate::cli::progress::Reporter;
    use crate::core::frame::Frame;
    use crate::core::rate::FrameRate;
    use crate::core::sequence::Pattern;
    use crate::core::span::Span;
    use crate::core::stop::StopSignal;
    use crate::stream::{
        FrameReader, InputKind, Observer, OutputKind, RunContext, TimedPictures, VideoJob,
        read_frames, stylize_video,
    };
    use crate::train::optimize::clip::{ClipConfig, ClipPainted, optimize_clip};
    use crate::train::optimize::clip_folder::{ClipFolder, ClipSettings};

    /// Weight of the temporal loss.
    const TEMPORAL_WEIGHT: f64 = 5.0;
    /// Share by which ten steps must lower the loss of a frame.
    const TOLERANCE: f64 = 0.01;
    /// Steps of a frame that starts at another's painting.
    const FRAME_STEPS: u64 = 60;
    /// Frames that a frame is held to (Ruder et al. 2016, section 3.4).
    const LOOK_BACK: [usize; 3] = [1, 2, 4];

    /// Reads the frames of a video, paints them and writes them.
    ///
    /// # Errors
    /// One line for the user; a [`UsageError`](crate::cli::UsageError) when the arguments are to blame.
    pub(in super::super) fn run(args: &OptimizeArgs, quiet: bool) -> Result<Outcome> {
        check_output(args)?;
        let config = clip_config(args)?;
        config.picture.recipe.check().map_err(crate::cli::UsageError)?;
        let path = ClipFolder::beside(&args.output);
        let settings = settings(args, &config)?;
        let interrupts = Interrupts::watch("frames painted so far are kept for --resume")?;
        let mut reporter = Reporter::new(quiet, 1.0);
        let folder = match args.clip.resume {
            true => ClipFolder::resume(&path, &settings).map_err(as_usage_error)?,
            false => None,
        };
        let folder = match folder {
            Some(folder) => folder,
            None => {
                let overwrite = args.overwrite || args.clip.resume;
                let folder = ClipFolder::create(&path, &settings, overwrite)?;
                match read(args, folder, interrupts.stop(), &mut reporter)? {
                    Some(folder) => folder,
                    None => return Ok(nothing_painted(args, &mut reporter)),
                }
            }
        };
        let mut bar = ClipBar::new(quiet, folder.len(), config.passes);
        let made = optimize_clip(&config, &folder, interrupts.stop().flag(), &mut bar);
        bar.finish();
        let kept = format!("'{}' keeps the painted frames, for --resume", path.display());
        let made = match made {
            Ok(made) => made,
            Err(error) if folder.newest(config.passes).is_empty() => {
                folder.remove()?;
                return Err(as_usage_error(error));
            }
            Err(error) => return Err(as_usage_error(error).context(kept)),
        };
        if made.frames.is_empty() {
            folder.remove()?;
            return Ok(nothing_painted(args, &mut reporter));
        }
        let mut reporter = Reporter::new(quiet, 1.0);
        write(args, &folder, &made, &mut reporter).context(kept.clone())?;
        report(args, &folder, &made, &mut reporter);
        if made.interrupted {
            reporter.note(&kept);
            return Ok(Outcome::Interrupted);
        }
        folder.remove()?;
        Ok(match interrupts.stop().is_interrupted() {
            true => Outcome::Interrupted,
            false => Outcome::Done,
        })
    }

    fn nothing_painted(args: &OptimizeArgs, reporter: &mut Reporter) -> Outcome {
        reporter.finish();
        reporter.note(&format!("{}: interrupted before the first frame", args.output.display()));
        Outcome::Interrupted
    }

    fn report(
        args: &OptimizeArgs,
        folder: &ClipFolder,
        made: &ClipPainted,
        reporter: &mut Reporter,
    ) {
        let ClipPainted { frames, painted, steps, .. } = made;
        let each = *steps as f64 / (*painted).max(1) as f64;
        let (output, frames) = (args.output.display(), frames.len());
        let of =
            if frames < folder.len() { format!(" of {}", folder.len()) } else { String::new() };
        reporter.note(&format!(
            "{output}: {frames}{of} frames; {painted} painted in {steps} steps ({each:.0} each)"
        ));
    }

    /// Refuses an output that cannot be written, before the work.
    fn check_output(args: &OptimizeArgs) -> Result<()> {
        let output = &args.output;
        let shown = output.display();
        let (folder, there) = match OutputKind::of(output) {
            OutputKind::Pictures(pictures) => {
                let there = pictures.pattern().existing().unwrap_or_default();
                let there = there.first().map(|number| pictures.pattern().path(*number));
                (pictures.folder().parent().map(Path::to_owned), there)
            }
            _ if output.is_dir() => bail!("cannot write '{shown}': it is a folder"),
            _ => (output.parent().map(Path::to_owned), output.exists().then(|| output.clone())),
        };
        if let Some(there) = there.filter(|_| !args.overwrite && !args.clip.resume) {
            bail!("'{}' already exists; use --overwrite to replace it", there.display());
        }
        let folder = folder.filter(|f| !f.as_os_str().is_empty()).unwrap_or(PathBuf::from("."));
        if !folder.is_dir() {
            bail!("cannot write '{shown}': there is no folder '{}'", folder.display());
        }
        Ok(())
    }

    fn clip_config(args: &OptimizeArgs) -> Result<ClipConfig> {
        let mut picture = config(args)?;
        let ClipArgs { temporal_weight, frame_steps, passes, look_back, .. } = &args.clip;
        picture.recipe.temporal_weight = temporal_weight.unwrap_or(TEMPORAL_WEIGHT);
        picture.tolerance = args.tolerance.unwrap_or(TOLERANCE);
        let mut look_back: Vec<usize> = look_back.iter().map(|&n| n.into()).collect();
        look_back.sort_unstable();
        look_back.dedup();
        let look_back = match look_back.as_slice() {
            [] => LOOK_BACK.to_vec(),
            [0] => Vec::new(),
            _ => look_back,
        };
        Ok(ClipConfig {
            picture,
            frame_steps: frame_steps.unwrap_or(FRAME_STEPS),
            passes: passes.unwrap_or(1),
            look_back,
        })
    }

    /// What decides how frames are painted, by the names of options.
    fn settings(args: &OptimizeArgs, config: &ClipConfig) -> Result<ClipSettings> {
        let ClipConfig { picture, frame_steps, passes, look_back } = config;
        let mut all = BTreeMap::new();
        // Paths are those of the file system: a run may be resumed from another folder.
        let real = |path: &Path| {
            let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
            format!("{} ({bytes} bytes)", real.display())
        };
        let mut add = |name: &str, value: String| drop(all.insert(format!("--{name}"), value));
        let recipe = serde_json::to_value(&picture.recipe)?;
        for (name, value) in recipe.as_object().into_iter().flatten() {
            add(&name.replace('_', "-"), value.to_string());
        }
        add("content", real(&args.content));
        let style = |style: &crate::train::optimize::regions::StyleAt| {
            let picture = style.source.as_ref().map(|source| real(&source.picture));
            format!("{picture:?}{:?}", style.region)
        };
        add("style", picture.styles.iter().map(style).collect::<Vec<_>>().join(" "));
        add("mask", format!("{:?}", picture.mask.as_deref().map(real)));
        add("vgg", format!("{:?}", picture.vgg.as_deref().map(real)));
        add("start", format!("{:?}", args.clip.start));
        add("duration", format!("{:?}", args.clip.duration));
        add("fps", format!("{:?}", args.clip.fps));
        add("size", format!("{:?}", picture.size));
        add("style-size", format!("{:?}", picture.style_size));
        add("levels", format!("{:?}", picture.levels));
        add("tolerance", picture.tolerance.to_string());
        add("optimizer", format!("{:?}", picture.method));
        add("init", format!("{:?}", picture.init));
        add("preserve-color", format!("{:?}", picture.preserve));
        add("frame-steps", frame_steps.to_string());
        add("passes", passes.to_string());
        add("look-back", format!("{look_back:?}"));
        Ok(all)
    }

    fn span(args: &ClipArgs) -> Span {
        Span { start: args.start, duration: args.duration }
    }

    /// Keeps the frames of a video in a run's folder.
    struct FrameKeeper<'a> {
        folder: &'a mut ClipFolder,
        size: Option<u32>,
        rate: Option<FrameRate>,
    }

    impl FrameReader for FrameKeeper<'_> {
        fn begin(&mut self, rate: Option<FrameRate>) {
            self.rate = rate;
        }

        fn take(&mut self, frame: Frame) -> Result<()> {
            let (width, height) = (frame.info.width as u32, frame.info.height as u32);
            let start = frame.pts.unwrap_or_default();
            let end = start + frame.duration.unwrap_or_default();
            let pixels = frame.planes.bytes().to_vec();
            let picture = RgbImage::from_raw(width, height, pixels).context("not an RGB frame")?;
            self.folder.add(&picture, (start, end), self.size)
        }
    }

    /// Reads the frames of the video into the run's folder. None if that was interrupted; the folder is then removed, as
    /// it is where they cannot be read.
    fn read(
        args: &OptimizeArgs,
        mut folder: ClipFolder,
        stop: &StopSignal,
        reporter: &mut Reporter,
    ) -> Result<Option<ClipFolder>> {
        // Pictures are what frames with square pixels are for.
        let frames = PathBuf::from(format!("{}/", folder.path().display()));
        let job = VideoJob {
            span: span(&args.clip),
            rate: args.clip.fps,
            audio: false,
            encoding: args.encoding.encoding(),
            ..VideoJob::new(&args.content, &frames)
        };
        let mut keeper = FrameKeeper { folder: &mut folder, size: args.size, rate: None };
        let read = read_frames(&job, &mut RunContext::new(stop, reporter), &mut keeper);
        let rate = keeper.rate.map(|rate| (rate.frames, rate.seconds));
        reporter.finish_well();
        let read = read.and_then(|_| match stop.is_set() || folder.is_empty() {
            true => Ok(false),
            false => folder.complete(rate).map(|()| true),
        });
        match read {
            Ok(true) => Ok(Some(folder)),
            Ok(false) => folder.remove().map(|()| None),
            Err(error) => {
                folder.remove()?;
                Err(error)
            }
        }
    }

    /// Writes the painted frames as a video with the sound of the content, which ends with them.
    fn write(
        args: &OptimizeArgs,
        folder: &ClipFolder,
        made: &ClipPainted,
        reporter: &mut Reporter,
    ) -> Result<()> {
        let times = folder.times();
        let frames = TimedPictures {
            files: made.frames.clone(),
            start: times.start,
            ends: times.ends.clone(),
            rate: times.rate.and_then(|(frames, seconds)| FrameRate::new(frames, seconds)),
        };
        let span = match times.ends.get(made.frames.len() - 1) {
            Some(end) if made.frames.len() < folder.len() => {
                Span { start: args.clip.start, duration: Some(*end) }
            }
            _ => span(&args.clip),
        };
        let job = VideoJob {
            span,
            audio: !args.clip.no_audio && !InputKind::of(&args.content).is_pictures(),
            encoding: args.encoding.encoding(),
            frames: Some(&frames),
            ..VideoJob::new(&args.content, &args.output)
        };
        // What has been painted is written even if the painting was interrupted.
        let stop = StopSignal::default();
        let written = stylize_video(
            &job,
            Box::new(crate::core::stylizer::Identity),
            &mut RunContext::new(&stop, reporter),
        );
        reporter.finish_well();
        written?;
        match OutputKind::of(&args.output) {
            OutputKind::Pictures(pictures) if made.frames.len() == folder.len() => {
                remove_rest(&pictures.pattern(), folder.len() as u64)
            }
            _ => Ok(()),
        }
    }

    /// Removes pictures that a longer sequence has left, which this one replaces.
    fn remove_rest(pattern: &Pattern, last: u64) -> Result<()> {
        for path in pattern.rest(last) {
            let cannot = || format!("cannot remove '{}'", path.display());
            std::fs::remove_file(&path).with_context(cannot)?;
        }
        Ok(())
    }
}
