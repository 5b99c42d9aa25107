//! Style transfer by optimization (Gatys, Ecker and Bethge 2016): no network is trained; the picture
//! itself is changed until its features are those of the content and its Gram matrices those of the
//! style.
//!
//! * [`objective`]: the loss of a picture and its gradient, at one size.
//! * [`lbfgs`] with `line_search`, and Adam: how it falls.
//! * `descent`: the loop of steps at one size, of a picture as of a frame.
//! * [`clip`]: the frames of a video, each held to those before it (Ruder, Dosovitskiy and Brox 2016); `carried`: what
//!   those before it show; [`clip_folder`]: what such a run leaves on disk, to be resumed.
//! * [`color`], [`regions`]: control over colour and space (Gatys et al. 2017).
//! * [`worth`]: how many optimization steps reach the loss of a network's picture.

mod carried;
pub mod clip;
pub mod clip_folder;
pub mod color;
mod descent;
pub mod lbfgs;
mod line_search;
mod method;
pub mod objective;
mod open;
pub mod regions;
pub mod worth;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, anyhow, bail};
use image::RgbImage;
use tch::{TchError, Tensor};

use super::loss::{LossTerms, Losses};
use super::preview::{to_picture, to_tensor};
use super::random::{generator, normal_pair};
use super::recipe::{Recipe, StyleSizes};
use super::run::{Progress, RunObserver};
use crate::engine::device::{Device, set_threads};
use crate::engine::precision::Precision;
use crate::engine::{guarded, is_out_of_memory, words};
use color::Preserve;
use descent::{Descent, StepLimit, descend};
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
    /// Steps at a size also end once the loss falls by less than this share of itself within
    /// ten steps; 0: never.
    pub tolerance: f64,
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
    guarded(|| run(config, stop, watcher, show), anyhow::Error::from).map_err(in_words)
}

fn in_words(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<TchError>() {
        Some(torch) if is_out_of_memory(torch) => {
            anyhow!("not enough memory for a picture of this size: lower --size or --style-size")
        }
        Some(torch) => anyhow!("cannot optimize: {}", words(torch)),
        None => error,
    }
}

fn run(
    config: &OptimizeConfig,
    stop: &AtomicBool,
    watcher: &mut dyn RunObserver,
    show: &mut dyn FnMut(u64, RgbImage) -> Result<()>,
) -> Result<Optimized> {
    let painter = Painter::open(config)?;
    let steps = config.recipe.steps;
    let total = painter.sizes.sizes().len() as u64 * steps;
    let limit = StepLimit { steps, tolerance: config.tolerance };
    let (mut done, mut evaluations) = (0, 0);
    let last =
        painter.paint(&config.content, config.recipe.seed, &mut |level, objective, start| {
            let first = level * steps;
            let mut each = |step: u64, seconds: f64, minimizer: &Minimizer<'_>| {
                let (count, terms) = (first + step, *minimizer.terms());
                if step > 0 {
                    watcher.progress(&Progress { step: count, steps: total, terms, seconds });
                }
                if config.shown.binary_search(&count).is_ok() {
                    show(count, to_picture(&objective.picture(minimizer.now())?)?)?;
                }
                Ok(())
            };
            let made = descend(config, objective, start, limit, stop, &mut each)?;
            done += made.steps;
            evaluations += made.evaluations;
            Ok(made)
        })?;
    Ok(Optimized {
        picture: to_picture(&last.picture)?,
        terms: last.terms,
        start: last.start,
        steps: done,
        evaluations,
        interrupted: last.interrupted,
    })
}

/// Paints pictures of one size in the same style.
struct Painter<'a> {
    config: &'a OptimizeConfig,
    sizes: Sizes,
    losses: Losses,
}

/// Runs the steps at one size: the number of the size, the objective, and the picture to start from.
type AtOneSize<'a> = dyn FnMut(u64, &Objective<'_>, &Tensor) -> Result<Descent> + 'a;

impl<'a> Painter<'a> {
    fn open(config: &'a OptimizeConfig) -> Result<Self> {
        set_threads(config.threads);
        let sizes = Sizes::open(config)?;
        let losses = sizes.losses(config)?;
        Ok(Painter { config, sizes, losses })
    }

    /// The size of the result: its shorter side, pixels.
    fn size(&self) -> u32 {
        self.sizes.sizes().last().copied().unwrap_or_default()
    }

    /// A photo at a size.
    fn photo(&self, content: &Path, size: u32) -> Result<Tensor> {
        self.sizes.photo(self.config, content, size)
    }

    /// The objective for a photo at a size.
    fn objective(&self, photo: Tensor, size: u32) -> Result<Objective<'_>> {
        let styles = self.sizes.styles(self.config, size, &photo)?;
        Ok(Objective::new(&self.losses, photo, styles, self.config.preserve)?)
    }

    /// Paints a photo at all sizes, from the smallest on. The result has the last one, even if it was interrupted
    /// before.
    fn paint(&self, content: &Path, seed: u64, at: &mut AtOneSize<'_>) -> Result<Descent> {
        let mut last: Option<Descent> = None;
        for (n, &size) in self.sizes.sizes().iter().enumerate() {
            let photo = self.photo(content, size)?;
            let start = match &last {
                Some(smaller) => enlarged(&smaller.picture, &photo)?,
                None => self.start(&photo, seed)?,
            };
            let objective = self.objective(photo, size)?;
            let made = last.insert(at(n as u64, &objective, &start)?);
            if made.interrupted {
                break;
            }
        }
        // There is at least one size.
        let Some(last) = last else { bail!("there is nothing to paint") };
        let picture = enlarged(&last.picture, &self.photo(content, self.size())?)?;
        Ok(Descent { picture, ..last })
    }

    /// The first picture, of the photo's size.
    fn start(&self, photo: &Tensor, seed: u64) -> Result<Tensor> {
        match &self.config.init {
            Init::Content => Ok(photo.shallow_clone()),
            Init::Noise => Ok(noise(photo, seed)?),
            Init::Picture(path) => {
                let (_, _, height, width) = photo.size4()?;
                let picture = super::dataset::resized_to(path, width as u32, height as u32)?;
                Ok(to_tensor(&picture)?.f_to_device(photo.device())?)
            }
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
