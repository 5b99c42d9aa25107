//! The frames of a video, painted one after another so that paint stays on what it lies on (Ruder, Dosovitskiy and
//! Brox, "Artistic style transfer for videos", GCPR 2016).
//!
//! In one pass each frame starts at the painting of the one before, carried along the optical flow (section 3.2 of the
//! paper), and is held to those before it: to the nearest in which the flow is sure, neither occluded nor at a motion
//! boundary (3.3 and 3.4). In several, all frames are first painted by themselves; then forward and backward in turn each
//! starts at a mixture of its own painting and its neighbour's (3.5), and is held to its neighbours in the later half of
//! the passes.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use image::RgbImage;
use tch::Tensor;

use super::carried::{Carried, temporal_target};
use super::clip_folder::ClipFolder;
use super::descent::{Descent, StepLimit, descend};
use super::method::Minimizer;
use super::objective::TemporalTarget;
use super::{OptimizeConfig, Painter, in_words};
use crate::core::span::about;
use crate::engine::guarded;
use crate::train::dataset::decode;
use crate::train::loss::LossTerms;
use crate::train::preview::{to_picture, to_tensor};

/// How the frames of a video are painted.
#[derive(Clone, Debug)]
pub struct ClipConfig {
    /// How each is painted; its `content` is not read. The number of steps is that of frames that start anew; the
    /// recipe's temporal weight is how strongly frames are held to others.
    pub picture: OptimizeConfig,
    /// Steps of a frame that starts at another's painting.
    pub frame_steps: u64,
    /// How often all frames are painted.
    pub passes: u32,
    /// How far those frames lie away that a frame is held to, in frames, in ascending order. None: each is painted by
    /// itself.
    pub look_back: Vec<usize>,
}

impl ClipConfig {
    /// Whether frames are painted by themselves in a pass.
    fn are_alone(&self, pass: u32) -> bool {
        self.look_back.is_empty() || (pass == 1 && self.passes > 1)
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct ClipProgress {
    /// The pass, from 1.
    pub pass: u32,
    /// Frames that this pass has painted.
    pub frames: usize,
    /// Steps done for the next.
    pub step: u64,
    /// Its loss.
    pub terms: LossTerms,
    /// How long the rest will take.
    pub left: Duration,
}

/// Receives notes and progress of a run.
pub trait ClipObserver {
    /// One line worth saying.
    fn note(&mut self, text: &str);
    /// A step is done.
    fn progress(&mut self, progress: &ClipProgress);
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct ClipPainted {
    /// The painted frames, from the first one on.
    pub frames: Vec<PathBuf>,
    /// Frames that were painted now, in all passes.
    pub painted: u64,
    /// Steps made for them.
    pub steps: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// Paints the frames of a folder, those that are not painted yet. `stop` is checked before every evaluation.
///
/// # Errors
/// One line for the user; [`UsageFault`](super::UsageFault) when the arguments are to blame.
pub fn optimize_clip(
    config: &ClipConfig,
    folder: &ClipFolder,
    stop: &AtomicBool,
    watcher: &mut dyn ClipObserver,
) -> Result<ClipPainted> {
    guarded(|| run(config, folder, stop, watcher), anyhow::Error::from).map_err(in_words)
}

fn run(
    config: &ClipConfig,
    folder: &ClipFolder,
    stop: &AtomicBool,
    watcher: &mut dyn ClipObserver,
) -> Result<ClipPainted> {
    ensure!(!folder.is_empty(), "the video has no frames");
    let mut picture = config.picture.clone();
    picture.content = folder.source(0);
    let (width, height) = decode(&picture.content)?.dimensions();
    // Frames already have the size that was asked for.
    picture.size = Some(width.min(height));
    let painter = Painter::open(&picture)?;
    let first = folder.current_pass(config.passes);
    let pace = Pace::new(config, folder, first);
    let mut run = ClipRun { config, folder, painter, stop, watcher, pace, steps: 0 };
    run.estimate((width, height))?;
    let (mut painted, mut interrupted) = (0, false);
    'passes: for pass in first..=config.passes {
        for n in run.order(pass) {
            if folder.painted(pass, n).exists() {
                continue;
            }
            let began = Instant::now();
            let Some(picture) = run.paint(pass, n)? else {
                interrupted = true;
                break 'passes;
            };
            folder.save(pass, n, &picture)?;
            run.pace.done(run.is_whole(pass, n), began.elapsed());
            painted += 1;
        }
        if pass > 1 {
            folder.remove_pass(pass - 1);
        }
    }
    let steps = run.steps;
    Ok(ClipPainted { frames: folder.newest(config.passes), painted, steps, interrupted })
}

/// A run over frames.
struct ClipRun<'a> {
    config: &'a ClipConfig,
    folder: &'a ClipFolder,
    painter: Painter<'a>,
    stop: &'a AtomicBool,
    watcher: &'a mut dyn ClipObserver,
    pace: Pace,
    steps: u64,
}

impl ClipRun<'_> {
    /// The frames in the order of a pass. Those after the first pass go forward and backward in turn.
    fn order(&self, pass: u32) -> Vec<usize> {
        let forward = 0..self.folder.len();
        if is_backward(pass) { forward.rev().collect() } else { forward.collect() }
    }

    /// Whether a frame starts anew in a pass, rather than at another's painting.
    fn is_whole(&self, pass: u32, n: usize) -> bool {
        self.config.are_alone(pass) || (pass == 1 && n == 0)
    }

    /// Paints a frame; none if that was interrupted.
    fn paint(&mut self, pass: u32, n: usize) -> Result<Option<RgbImage>> {
        let config = self.config;
        let source = decode(&self.folder.source(n))?;
        let photo = to_tensor(&source)?.f_to_device(config.picture.device.torch())?;
        let alone = config.are_alone(pass);
        let held = config.passes == 1 || pass > config.passes.div_ceil(2);
        // Other paintings by how far away they are, the nearest first.
        let others = if alone { Vec::new() } else { self.others(pass, n, &source, held)? };
        let nearest = others.first().map(|(_, nearest)| nearest);
        let target = if held { self.target(&others)? } else { None };
        let made = match (nearest, pass) {
            (None, 1) => self.paint_anew(pass, n)?,
            (Some(nearest), 1) => {
                let start = nearest.over(&self.painter.start(&photo, self.seed(n))?)?;
                self.repaint(pass, n, photo, &start, target.as_ref())?
            }
            (nearest, _) => {
                let own = to_tensor(&decode(&self.folder.painted(pass - 1, n))?)?;
                let own = own.f_to_device(photo.device())?;
                let start = nearest.map(|nearest| nearest.blended_with(&own)).transpose()?;
                self.repaint(pass, n, photo, &start.unwrap_or(own), target.as_ref())?
            }
        };
        self.steps += made.steps;
        if made.interrupted { Ok(None) } else { Ok(Some(to_picture(&made.picture)?)) }
    }

    /// Paints a frame as a picture by itself.
    fn paint_anew(&mut self, pass: u32, n: usize) -> Result<Descent> {
        let picture = &self.config.picture;
        let limit = StepLimit { steps: picture.recipe.steps, tolerance: picture.tolerance };
        let (seed, content) = (self.seed(n), self.folder.source(n));
        let (stop, painter) = (self.stop, &self.painter);
        let mut each = EachStep { pass, whole: true, pace: &mut self.pace, watcher: self.watcher };
        let mut before = 0;
        painter.paint(&content, seed, &mut |_, objective, start| {
            let mut each = |step: u64, seconds: f64, state: &Minimizer<'_>| {
                each.tell(before + step, seconds, state)
            };
            let made = descend(picture, objective, start, limit, stop, &mut each)?;
            before += made.steps;
            Ok(Descent { steps: before, ..made })
        })
    }

    /// Paints a frame from `start` on.
    fn repaint(
        &mut self,
        pass: u32,
        n: usize,
        photo: Tensor,
        start: &Tensor,
        target: Option<&TemporalTarget>,
    ) -> Result<Descent> {
        let picture = &self.config.picture;
        let limit = StepLimit { steps: self.config.frame_steps, tolerance: picture.tolerance };
        let mut objective = self.painter.objective(photo, self.painter.size())?;
        if let Some(target) = target {
            objective = objective.held_to(target, picture.recipe.temporal_weight)?;
        }
        let whole = self.is_whole(pass, n);
        let mut each = EachStep { pass, whole, pace: &mut self.pace, watcher: self.watcher };
        let mut each =
            |step: u64, seconds: f64, state: &Minimizer<'_>| each.tell(step, seconds, state);
        descend(picture, &objective, start, limit, self.stop, &mut each)
    }

    /// The paintings that come before a frame in the order of a pass, carried to it, with how far away they are: the
    /// next, and if the frame is `held` those that it is held to. Those of another scene are left out.
    fn others(
        &self,
        pass: u32,
        n: usize,
        source: &RgbImage,
        held: bool,
    ) -> Result<Vec<(usize, Carried)>> {
        let further = self.config.look_back.iter().copied().filter(|apart| held && *apart > 1);
        let device = self.config.picture.device.torch();
        let mut others = Vec::new();
        for apart in [1].into_iter().chain(further) {
            let other = if is_backward(pass) { n.checked_add(apart) } else { n.checked_sub(apart) };
            let Some(other) = other.filter(|other| *other < self.folder.len()) else { continue };
            let painted = decode(&self.folder.painted(pass, other))?;
            let from = decode(&self.folder.source(other))?;
            others.extend(Carried::between(&from, &painted, source, device)?.map(|it| (apart, it)));
        }
        Ok(others)
    }

    /// What a frame is held to, of other paintings.
    fn target(&self, others: &[(usize, Carried)]) -> Result<Option<TemporalTarget>> {
        if self.config.picture.recipe.temporal_weight == 0.0 {
            return Ok(None);
        }
        let held = others.iter().filter(|(apart, _)| self.config.look_back.contains(apart));
        temporal_target(&held.map(|(_, it)| it).collect::<Vec<_>>())
    }

    /// Frames that start at noise start at different noise.
    fn seed(&self, n: usize) -> u64 {
        self.config.picture.recipe.seed.wrapping_add(n as u64)
    }

    /// Measures a step, and says how long all will take at most.
    fn estimate(&mut self, (width, height): (u32, u32)) -> Result<()> {
        let photo = self.painter.photo(&self.folder.source(0), self.painter.size())?;
        let objective = self.painter.objective(photo.shallow_clone(), self.painter.size())?;
        let variable = objective.variable(&photo)?;
        // The first is slower.
        drop(objective.gradient(&variable)?);
        let began = Instant::now();
        drop(objective.gradient(&variable)?);
        self.pace.step = began.elapsed().as_secs_f64() * EVALUATIONS;
        let picture = &self.config.picture;
        let (count, passes) = (self.folder.len(), self.config.passes);
        let (steps, frame_steps) = (picture.recipe.steps, self.config.frame_steps);
        let limits = match passes {
            1 if self.config.are_alone(1) => format!("up to {steps} steps for each"),
            1 => format!("up to {steps} steps for the first and {frame_steps} for each other"),
            _ => format!("up to {steps} steps for each, then {} × {frame_steps}", passes - 1),
        };
        let left = about(self.pace.left(0, false));
        let seconds = self.pace.step;
        self.watcher.note(&format!(
            "{count} frames of {width}×{height}, {limits}, at {seconds:.2} s: at most about {left}"
        ));
        Ok(())
    }
}

/// Evaluations of a step, on average.
const EVALUATIONS: f64 = 1.1;

fn is_backward(pass: u32) -> bool {
    pass > 1 && pass % 2 == 1
}

/// Tells of the steps of a frame.
struct EachStep<'a> {
    pass: u32,
    whole: bool,
    pace: &'a mut Pace,
    watcher: &'a mut dyn ClipObserver,
}

impl EachStep<'_> {
    fn tell(&mut self, step: u64, seconds: f64, state: &Minimizer<'_>) -> Result<()> {
        if step > 0 {
            self.pace.step = seconds;
            let left = self.pace.left(step, self.whole);
            let (pass, frames, terms) = (self.pass, self.pace.in_pass, *state.terms());
            self.watcher.progress(&ClipProgress { pass, frames, step, terms, left });
        }
        Ok(())
    }
}

/// How long frames of a kind take.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// Those to come.
    left: u64,
    /// Steps of one, at most.
    steps: u64,
    /// Those done, and how long they took.
    done: u64,
    took: f64,
}

impl Kind {
    /// Seconds of one.
    fn each(&self, step: f64) -> f64 {
        if self.done > 0 { self.took / self.done as f64 } else { self.steps as f64 * step }
    }
}

/// How long the rest of a run will take.
#[derive(Debug)]
struct Pace {
    /// Seconds of a step.
    step: f64,
    /// Frames that start anew, and those that start at another's painting.
    whole: Kind,
    others: Kind,
    frames: usize,
    /// Frames done in this pass.
    in_pass: usize,
}

impl Pace {
    /// Of what is left of a run from pass `first` on.
    fn new(config: &ClipConfig, folder: &ClipFolder, first: u32) -> Self {
        let frames = folder.len();
        let there = (0..frames).filter(|n| folder.painted(first, *n).exists()).count();
        let left = (config.passes - first) as usize * frames + frames - there;
        let whole = match first {
            _ if config.are_alone(first) => frames - there,
            1 => usize::from(there == 0),
            _ => 0,
        };
        let of = |left: usize, steps| Kind { left: left as u64, steps, ..Kind::default() };
        Pace {
            step: 0.0,
            whole: of(whole, config.picture.recipe.steps),
            others: of(left - whole, config.frame_steps),
            frames,
            in_pass: there,
        }
    }

    fn done(&mut self, whole: bool, took: Duration) {
        let kind = if whole { &mut self.whole } else { &mut self.others };
        kind.left = kind.left.saturating_sub(1);
        kind.done += 1;
        kind.took += took.as_secs_f64();
        self.in_pass = (self.in_pass + 1) % self.frames.max(1);
    }

    /// How long all frames will take, of which the next has so many steps.
    fn left(&self, step: u64, whole: bool) -> Duration {
        let of = |kind: &Kind, now: bool| {
            let one = kind.each(self.step);
            let begun = if now { (step as f64 * self.step).min(one) } else { 0.0 };
            (kind.left as f64 * one - begun).max(0.0)
        };
        Duration::from_secs_f64(of(&self.whole, whole) + of(&self.others, !whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_such_frames_took() {
        let kind = |left, steps| Kind { left, steps, ..Kind::default() };
        let mut pace =
            Pace { step: 0.5, whole: kind(1, 100), others: kind(9, 20), frames: 10, in_pass: 0 };
        assert_eq!(pace.left(0, true), Duration::from_secs(50 + 90));
        assert_eq!(pace.left(40, true), Duration::from_secs(30 + 90));
        pace.done(true, Duration::from_secs(30));
        pace.done(false, Duration::from_secs(4));
        assert_eq!(pace.left(0, false), Duration::from_secs(8 * 4));
        assert_eq!(pace.in_pass, 2);
    }
}
