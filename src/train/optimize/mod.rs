//! Style transfer by optimization (Gatys, Ecker and Bethge 2016): no network is trained; the picture
//! itself is changed until its features are those of the content and its Gram matrices those of the
//! style.
//!
//! * [`objective`]: the loss of a picture and its gradient, at one size.
//! * [`lbfgs`] with `line_search`, and Adam: how it falls.
//! * [`color`], [`regions`]: control over colour and space (Gatys et al. 2017).
//! * [`worth`]: how many optimization steps reach the loss of a network's picture.

pub mod color;
pub mod lbfgs;
mod line_search;
mod method;
pub mod objective;
mod open;
pub mod regions;
pub mod worth;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use image::RgbImage;
use tch::{TchError, Tensor};

use super::loss::LossTerms;
use super::preview::{to_picture, to_tensor};
use super::random::{generator, normal_pair};
use super::recipe::{Recipe, StyleSizes};
use super::run::{Progress, RunObserver};
use crate::engine::device::{Device, set_threads};
use crate::engine::precision::Precision;
use crate::engine::{guarded, is_out_of_memory, words};
use color::Preserve;
use method::Minimizer;
use objective::Objective;
pub use open::Sizes;
use regions::StyleAt;

choice! {
    /// How the loss is lowered.
    Method {
        /// Limited-memory BFGS: the better pictures in fewer steps.
        Lbfgs = "lbfgs",
        /// Adam, with the recipe's learning rate: less memory.
        Adam = "adam",
    }
}

/// Where the picture starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// At the content: its forms stay best.
    Content,
    /// At white noise, as in the papers.
    Noise,
    /// At another picture, of the content's shape or stretched to it.
    Picture(PathBuf),
}

impl FromStr for Init {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "content" => Self::Content,
            "noise" => Self::Noise,
            path => Self::Picture(path.into()),
        })
    }
}

/// Arguments that cannot be combined or are out of range: a usage error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageFault(pub String);

/// What to paint, and how.
#[derive(Clone, Debug)]
pub struct OptimizeConfig {
    /// The photo.
    pub content: PathBuf,
    /// The styles.
    pub styles: Vec<StyleAt>,
    /// Where which style goes.
    pub mask: Option<PathBuf>,
    /// Weights, layers and forms of the losses, number of steps **at each size**, Adam's learning rate, seed,
    /// and `style_scale`.
    pub recipe: Recipe,
    /// Another VGG16 than the shipped one.
    pub vgg: Option<PathBuf>,
    /// Shorter side of the result, in pixels; none: the content's own, at most
    /// [`DEFAULT_SIZE`](Sizes::DEFAULT_SIZE).
    pub size: Option<u32>,
    /// Shorter sides of the style pictures at full size, in pixels; none: 1.5 times the result's. Multiplied
    /// by the recipe's `style_scale`.
    pub style_size: Option<StyleSizes>,
    /// Number of sizes to work through, each half the next; none: as many as useful.
    pub levels: Option<u32>,
    /// How the loss is lowered.
    pub method: Method,
    /// Where it starts.
    pub init: Init,
    /// How the content's colours are kept.
    pub preserve: Option<Preserve>,
    /// Where to compute.
    pub device: Device,
    /// Arithmetic of the loss network.
    pub precision: Precision,
    /// CPU threads of libtorch.
    pub threads: Option<usize>,
    /// Steps after which the picture is also shown, in ascending order, counted over all sizes.
    pub shown: Vec<u64>,
}

impl OptimizeConfig {
    /// Number of sizes to work through; reads the photo's size.
    ///
    /// # Errors
    /// As [`optimize`] itself.
    pub fn level_count(&self) -> Result<u64> {
        Ok(Sizes::sizes_of(self)?.len() as u64)
    }
}

/// The result of an optimization.
#[derive(Clone, Debug)]
pub struct Optimized {
    /// The picture with the lowest loss.
    pub picture: RgbImage,
    /// Its loss terms.
    pub terms: LossTerms,
    /// Those of the start, at the last size.
    pub start: LossTerms,
    /// Steps made, over all sizes.
    pub steps: u64,
    /// How often loss and gradient were computed.
    pub evaluations: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// Error by which Ctrl-C leaves an optimizer.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

/// Runs the optimization. `stop` is checked before every evaluation; `show` is called with the pictures of
/// [`OptimizeConfig::shown`].
///
/// # Errors
/// One line for the user; [`UsageFault`] when the arguments are to blame.
pub fn optimize(
    config: &OptimizeConfig,
    stop: &AtomicBool,
    watcher: &mut dyn RunObserver,
    show: &mut dyn FnMut(u64, RgbImage) -> Result<()>,
) -> Result<Optimized> {
    let made = guarded(|| run(config, stop, watcher, show), anyhow::Error::from);
    made.map_err(|error| match error.downcast_ref::<TchError>() {
        Some(torch) if is_out_of_memory(torch) => {
            anyhow!("not enough memory for a picture of this size: lower --size or --style-size")
        }
        Some(torch) => anyhow!("cannot optimize: {}", words(torch)),
        None => error,
    })
}

fn run(
    config: &OptimizeConfig,
    stop: &AtomicBool,
    watcher: &mut dyn RunObserver,
    show: &mut dyn FnMut(u64, RgbImage) -> Result<()>,
) -> Result<Optimized> {
    set_threads(config.threads);
    let wanted = Sizes::open(config)?;
    let losses = wanted.losses(config)?;
    let mut made = OptimizationProgress::new(config, wanted.sizes().len() as u64);
    let mut picture: Option<Tensor> = None;
    for (n, &size) in wanted.sizes().iter().enumerate() {
        let photo = wanted.photo(config, size)?;
        let start = match picture.take() {
            Some(smaller) => enlarged(&smaller, &photo)?,
            None => begin(config, &photo)?,
        };
        let styles = wanted.styles(config, size, &photo)?;
        let objective = Objective::new(&losses, photo, styles, config.preserve)?;
        let painted = made.level(&objective, &start, n as u64, stop, watcher, show)?;
        picture = Some(painted);
        if made.interrupted {
            break;
        }
    }
    // There is at least one size.
    let Some(picture) = picture else { bail!("there is nothing to paint") };
    // If interrupted at a smaller size, the result is still enlarged to the requested one.
    let last = wanted.sizes().last().copied().unwrap_or_default();
    let picture = enlarged(&picture, &wanted.photo(config, last)?)?;
    Ok(Optimized {
        picture: to_picture(&picture)?,
        terms: made.terms,
        start: made.start,
        steps: made.done,
        evaluations: made.evaluations,
        interrupted: made.interrupted,
    })
}

/// The first picture, of the photo's size.
fn begin(config: &OptimizeConfig, photo: &Tensor) -> Result<Tensor> {
    match &config.init {
        Init::Content => Ok(photo.shallow_clone()),
        Init::Noise => Ok(noise(photo, config.recipe.seed)?),
        Init::Picture(path) => {
            let (_, _, height, width) = photo.size4()?;
            let picture = super::dataset::resized_to(path, width as u32, height as u32)?;
            Ok(to_tensor(&picture)?.f_to_device(photo.device())?)
        }
    }
}

/// White noise of a picture's size: mean 127.5, deviation 40 levels.
pub(super) fn noise(like: &Tensor, seed: u64) -> Result<Tensor, TchError> {
    let mut random = generator(seed, "start", 0);
    let count = like.numel().div_ceil(2);
    let numbers: Vec<f32> =
        (0..count).flat_map(|_| normal_pair(&mut random).map(|n| 127.5 + 40.0 * n)).collect();
    let numbers = Tensor::f_from_slice(&numbers[..like.numel()])?;
    numbers.f_reshape(like.size())?.f_to_device(like.device())
}

/// A picture enlarged to the size of `like`, clamped.
fn enlarged(picture: &Tensor, like: &Tensor) -> Result<Tensor, TchError> {
    let (_, _, height, width) = like.size4()?;
    let picture = picture.f_clamp(0.0, 255.0)?;
    if picture.size() == like.size() {
        return Ok(picture);
    }
    picture.f_upsample_bicubic2d([height, width], false, None, None)?.f_clamp(0.0, 255.0)
}

/// The state of a run over all sizes.
struct OptimizationProgress<'a> {
    config: &'a OptimizeConfig,
    levels: u64,
    done: u64,
    evaluations: u64,
    terms: LossTerms,
    start: LossTerms,
    interrupted: bool,
}

impl<'a> OptimizationProgress<'a> {
    fn new(config: &'a OptimizeConfig, levels: u64) -> Self {
        OptimizationProgress {
            config,
            levels,
            done: 0,
            evaluations: 0,
            terms: LossTerms::default(),
            start: LossTerms::default(),
            interrupted: false,
        }
    }

    /// Runs all steps at one size; returns the picture with the lowest loss.
    fn level(
        &mut self,
        objective: &Objective<'_>,
        start: &Tensor,
        level: u64,
        stop: &AtomicBool,
        watcher: &mut dyn RunObserver,
        show: &mut dyn FnMut(u64, RgbImage) -> Result<()>,
    ) -> Result<Tensor> {
        let steps = self.config.recipe.steps;
        let (first, total) = (level * steps, self.levels * steps);
        let mut minimizer = Minimizer::new(self.config, objective, start)?;
        self.start = *minimizer.terms();
        let mut seen = |step: u64, minimizer: &Minimizer<'_>| -> Result<()> {
            if self.config.shown.binary_search(&step).is_ok() {
                show(step, to_picture(&objective.picture(minimizer.now())?)?)?;
            }
            Ok(())
        };
        seen(first, &minimizer)?;
        let mut seconds = 0.0;
        for step in 0..steps {
            let began = Instant::now();
            match minimizer.step(step, &|| stop.load(Ordering::Relaxed)) {
                Ok(true) => {}
                // Nothing to gain any more.
                Ok(false) => break,
                Err(error) if error.is::<Stopped>() => {
                    self.interrupted = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            self.done += 1;
            let took = began.elapsed().as_secs_f64();
            seconds = if step == 0 { took } else { 0.8 * seconds + 0.2 * took };
            let (terms, step) = (*minimizer.terms(), first + step + 1);
            watcher.progress(&Progress { step, steps: total, terms, seconds });
            seen(step, &minimizer)?;
        }
        self.evaluations += minimizer.evaluations();
        self.terms = *minimizer.terms();
        Ok(objective.picture(minimizer.best())?)
    }
}
