//! The statistics of a picture from which a style predictor tells its style
//! ([`predictor`](crate::engine::predictor)).

use anyhow::{Context, Result, anyhow};
use tch::{Device, Kind, TchError, Tensor};

use super::dataset::{pixels, scaled};
use super::measures::STYLE_SIZE;
use super::preview::to_tensor;
use super::recipe::StyleSource;
use super::style_pictures::not_too_long;
use super::vgg::{Layer, Vgg};
use crate::core::picture::Picture;
use crate::engine::architecture::{Architecture, Padding};
use crate::engine::model_file::ModelFile;
use crate::engine::predictor::{PredictedStyle, predicted};
use crate::engine::{guarded, words};

/// Layers whose statistics are taken.
pub(super) const LAYERS: [Layer; 4] =
    [Layer::Relu1_1, Layer::Relu2_1, Layer::Relu3_1, Layer::Relu4_1];

/// Mean and mean square of each channel of the features at [`LAYERS`], one after the other: 2 × 960. Those of a
/// mixture of pictures are the mixture of theirs.
///
/// # Errors
/// When libtorch fails.
pub(super) fn moments(features: &[Tensor]) -> Result<Tensor, TchError> {
    let over = [0_i64, 2, 3];
    let mut parts = [Vec::new(), Vec::new()];
    for features in features {
        let features = features.f_to_kind(Kind::Float)?;
        for (parts, of) in parts.iter_mut().zip([&features, &features.f_square()?]) {
            parts.push(of.f_mean_dim(over.as_slice(), false, Kind::Float)?);
        }
    }
    let [means, squares] = parts.map(|parts| Tensor::f_cat(&parts, 0));
    Tensor::f_stack(&[means?, squares?], 0)
}

/// The statistics of moments: `ln(1 + mean)`, then `ln(1 + deviation)`.
///
/// # Errors
/// When libtorch fails.
pub(super) fn statistics(moments: &Tensor) -> Result<Tensor, TchError> {
    means_and_deviations(moments)?.f_log1p()
}

/// Means, then deviations, of moments.
///
/// # Errors
/// When libtorch fails.
pub(super) fn means_and_deviations(moments: &Tensor) -> Result<Tensor, TchError> {
    let (mean, square) = (moments.f_select(0, 0)?, moments.f_select(0, 1)?);
    let deviation = square.f_sub(&mean.f_square()?)?.f_clamp_min(0.0)?.f_sqrt()?;
    Tensor::f_cat(&[mean, deviation], 0)
}

/// Measures pictures.
#[derive(Debug)]
pub struct StyleReader(Vgg);

impl StyleReader {
    /// With the shipped loss network.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new() -> Result<Self> {
        let vgg = Vgg::shipped(Device::Cpu, Kind::Float)?.with_padding(Padding::Reflect);
        Ok(StyleReader(vgg.up_to(LAYERS[3])))
    }

    /// A model with a style for each of the pictures, made from one with a style predictor. The styles are named after
    /// the pictures.
    ///
    /// # Errors
    /// One line: when a picture cannot be read, there are too many, or the model has no predictor.
    pub fn model(&self, any: &ModelFile, pictures: &[StyleSource]) -> Result<ModelFile> {
        let mut styles: Vec<PredictedStyle> = Vec::new();
        for source in pictures {
            let statistics = self.statistics(Picture::open(&source.picture)?, any)?;
            let same = |name: &str| styles.iter().any(|style| style.name == name);
            let plain = source.name();
            let numbered = (2..).map(|n| format!("{plain}-{n}"));
            let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !same(name));
            styles.push(PredictedStyle { name: name.unwrap_or(plain), statistics });
        }
        predicted(any, &styles).with_context(|| {
            let (name, most) = (&any.description.name, Architecture::MAX_STYLES);
            format!("'{name}' predicts 1 to {most} styles, {} are given", styles.len())
        })
    }

    /// A model with the style of one picture, as [`model`](Self::model). `name` is what the style is called.
    ///
    /// # Errors
    /// One line: when libtorch fails, or the model has no predictor.
    pub fn model_of(&self, any: &ModelFile, picture: Picture, name: &str) -> Result<ModelFile> {
        let statistics = self.statistics(picture, any)?;
        let style = PredictedStyle { name: name.to_owned(), statistics };
        predicted(any, &[style])
            .with_context(|| format!("'{}' predicts no styles", any.description.name))
    }

    /// The statistics of a picture, at the size at which the predictor of this model learned from pictures.
    fn statistics(&self, picture: Picture, any: &ModelFile) -> Result<Vec<f32>> {
        // Cut first: of a line of pixels, which is very long at that size.
        let picture = scaled(not_too_long(pixels(picture)), picture_size(any));
        let measure = || -> Result<Vec<f32>, TchError> {
            let _guard = tch::no_grad_guard();
            let features = self.0.features(&to_tensor(&picture)?, &LAYERS)?;
            Vec::<f32>::try_from(statistics(&moments(&features)?)?)
        };
        guarded(measure, |error| error)
            .map_err(|error| anyhow!("cannot measure the style: {}", words(&error)))
    }
}

/// Shorter side of style pictures in the training of a model, pixels; the first size, if it was trained with several.
pub(super) fn picture_size(model: &ModelFile) -> u32 {
    let recipe = model.description.recipe.as_ref();
    let number = |name: &str| {
        let value = recipe?.get(name)?;
        value.get(0).unwrap_or(value).as_f64()
    };
    let size = number("style_size").unwrap_or_else(|| STYLE_SIZE.into());
    // The cast saturates.
    ((size * number("style_scale").unwrap_or(1.0)).round() as u32).clamp(32, 8192)
}
