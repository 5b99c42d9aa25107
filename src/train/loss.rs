//! The losses that training minimizes: content, style and total variation (the paper's section "Method";
//! Gatys et al. 2016; Johnson et al. 2016, section 3.2). The temporal loss is in
//! [`temporal`](super::temporal).

use serde::{Deserialize, Serialize};
use tch::{Kind, TchError, Tensor};

use super::recipe::{ContentForm, LayerWeight, Recipe, StyleForm, TvForm};
use super::statistics;
use super::vgg::{Layer, Vgg};

/// The loss terms, each multiplied by its weight, averaged over the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LossTerms {
    /// Distance between the features of the picture and of the photo.
    pub content: f64,
    /// Distance between the Gram matrices of the picture and of the style.
    pub style: f64,
    /// Total variation: how much neighbouring pixels differ.
    pub tv: f64,
    /// Temporal loss; 0 without a temporal weight.
    #[serde(default)]
    pub temporal: f64,
}

impl LossTerms {
    /// The sum, which is what is minimized.
    pub fn total(&self) -> f64 {
        self.content + self.style + self.tv + self.temporal
    }

    /// Whether no term is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.total().is_finite()
    }

    /// Adds `other` times `part`.
    pub fn add(&mut self, other: &Self, part: f64) {
        self.content += other.content * part;
        self.style += other.style * part;
        self.tv += other.tv * part;
        self.temporal += other.temporal * part;
    }
}

/// Distance of photos from most paintings, as [`relative_distance`] has it.
const USUAL_DISTANCE: f64 = 0.6;
/// Most that a style which is close to photos counts more.
const MOST_WEIGHT: f64 = 2.0;

/// Gram matrix of features: batch × channels × channels, one for each picture, in single
/// precision.
///
/// `G = F Fᵀ / (C·H·W)`, where F is channels × (height · width): the published implementations'
/// scale. (The paper divides by H·W alone; [`StyleForm::Paper`] makes up for it; in
/// [`StyleForm::Relative`] it makes no difference.)
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn gram(features: &Tensor) -> Result<Tensor, TchError> {
    let (batch, channels, height, width) = features.size4()?;
    // Channels lie innermost in memory, so this order takes no copy.
    let f = features.f_permute([0, 2, 3, 1])?.f_reshape([batch, height * width, channels])?;
    let f = f.f_to_kind(Kind::Float)?;
    let scale = 1.0 / (channels * height * width) as f64;
    f.f_transpose(1, 2)?.f_matmul(&f)?.f_mul_scalar(scale)
}

/// Gram matrix over part of a picture (Gatys et al. 2017, eq. 4 and 5): `guide` weights each position.
///
/// `guide`: 1 × 1 × height × width of the features, 0–1. `G = Σ m f fᵀ / (C · Σ m)` over the places,
/// which is [`gram`] where the guide is 1 everywhere. (The paper's guidance channel is √m.)
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn guided_gram(features: &Tensor, guide: &Tensor) -> Result<Tensor, TchError> {
    let (batch, channels, height, width) = features.size4()?;
    let f = features.f_permute([0, 2, 3, 1])?.f_reshape([batch, height * width, channels])?;
    let f = f.f_to_kind(Kind::Float)?;
    let guide = guide.f_reshape([1, height * width, 1])?;
    let scale = guide.f_sum(Kind::Float)?.f_mul_scalar(channels as f64)?.f_clamp_min(1e-6)?;
    f.f_mul(&guide)?.f_transpose(1, 2)?.f_matmul(&f)?.f_div(&scale)
}

/// Squared distance of Gram matrices from a target, divided by the target's squared norm, averaged over the
/// batch. 0 means equal; the scale of the features does not matter.
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn relative_distance(grams: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
    let pictures = grams.size3()?.0 as f64;
    let sum = |t: &Tensor| t.f_square()?.f_sum(Kind::Float);
    // Because of the biases, features are never all 0; this guards against division by 0 all the same.
    let norm = sum(target)?.f_mul_scalar(pictures)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    sum(&grams.f_sub(target)?)?.f_div(&norm)
}

/// What pictures are compared with, and how much each difference weighs.
#[derive(Debug)]
pub struct Losses {
    vgg: Vgg,
    content: Vec<LayerWeight>,
    style: Vec<LayerWeight>,
    weights: LossTerms,
    /// Weight of the distance from the features of the teacher's picture.
    teacher: f64,
    content_form: ContentForm,
    style_form: StyleForm,
    tv_form: TvForm,
    style_tiles: i64,
    tile_share: f64,
    /// Layers of both losses, in the network's order.
    layers: Vec<Layer>,
}

/// Target Gram matrices for painted pictures.
#[derive(Debug)]
pub struct StyleTarget(Vec<Part>);

impl StyleTarget {
    /// Its Gram matrices in a row, of a whole picture's target.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn row(&self) -> Result<Tensor, TchError> {
        let grams = self.0.iter().flat_map(|part| &part.grams);
        let flat = grams.map(|gram| gram.f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
        Tensor::f_cat(&flat, 0)
    }

    /// The mixture with `share` of another one, both of whole pictures.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn mixed(self, other: &Self, share: f64) -> Result<Self, TchError> {
        let mut mixed = self;
        for (part, other) in mixed.0.iter_mut().zip(&other.0) {
            for (gram, other) in part.grams.iter_mut().zip(&other.grams) {
                *gram = gram.f_lerp(other, share)?;
            }
        }
        Ok(mixed)
    }
}

/// A style, of the whole picture or of a region of it.
#[derive(Debug)]
struct Part {
    /// One for each style layer: 1 × channels × channels.
    grams: Vec<Tensor>,
    /// Weight of each position for each style layer, 0–1; none: everywhere.
    guides: Option<Vec<Tensor>>,
    /// Weight of this part: its share of the picture's area.
    share: f64,
}

/// A region of a picture: style pictures with weights, as for
/// [`style_target`](Losses::style_target), and where it lies (1 × 1 × height × width, 0–1).
pub type Region = (Vec<(Tensor, f64)>, Tensor);

impl Losses {
    /// The losses of a recipe, computed with this loss network.
    pub fn new(vgg: Vgg, recipe: &Recipe) -> Self {
        let relative = |yes: bool, layers: &[LayerWeight]| {
            // A mean over the layers: their weights are divided by their sum, so that the loss weight applies
            // to all layers together.
            let sum = if yes { layers.iter().map(|l| l.weight).sum() } else { 1.0 };
            let part = |l: &LayerWeight| LayerWeight { weight: l.weight / sum, ..*l };
            layers.iter().map(part).collect::<Vec<_>>()
        };
        let content =
            relative(recipe.content_form == ContentForm::Relative, &recipe.content_layers);
        let style = relative(recipe.style_form == StyleForm::Relative, &recipe.style_layers);
        let mut layers: Vec<Layer> = content.iter().chain(&style).map(|l| l.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        let vgg = vgg.with_padding(recipe.loss_padding);
        let of_statistics = (recipe.predictor > 0).then_some(statistics::LAYERS[3]);
        let vgg = match layers.last().copied().max(of_statistics) {
            Some(deepest) => vgg.up_to(deepest),
            None => vgg,
        };
        Losses {
            vgg,
            content,
            style,
            weights: LossTerms {
                content: recipe.content_weight,
                style: recipe.style_weight,
                tv: recipe.tv_weight,
                temporal: 0.0,
            },
            teacher: recipe.teacher_weight,
            content_form: recipe.content_form,
            style_form: recipe.style_form,
            tv_form: recipe.tv_form,
            style_tiles: recipe.style_tiles.into(),
            tile_share: recipe.tile_share,
            layers,
        }
    }

    /// Gram matrices of style pictures (each 1 × 3 × height × width, RGB 0–255), averaged with their weights.
    /// With several pictures, a network trained on them paints a hybrid style.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn style_target(&self, pictures: &[(Tensor, f64)]) -> Result<StyleTarget, TchError> {
        let grams = self.grams(pictures)?;
        Ok(StyleTarget(vec![Part { grams, guides: None, share: 1.0 }]))
    }

    /// The target of one style picture, and its [moments](super::statistics).
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub(super) fn style_and_moments(
        &self,
        picture: &Tensor,
    ) -> Result<(Tensor, StyleTarget), TchError> {
        let style = self.style.iter().map(|l| l.layer);
        let layers: Vec<Layer> = statistics::LAYERS.into_iter().chain(style).collect();
        let features = tch::no_grad(|| self.features_of(picture, &layers))?;
        let (own, of_style) = features.split_at(statistics::LAYERS.len());
        let grams = of_style.iter().map(gram).collect::<Result<_, _>>()?;
        let target = StyleTarget(vec![Part { grams, guides: None, share: 1.0 }]);
        Ok((statistics::moments(own)?, target))
    }

    /// The target of a whole picture whose Gram matrices are in this [row](StyleTarget::row).
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn target_of_row(&self, row: &Tensor) -> Result<StyleTarget, TchError> {
        let (mut grams, mut place) = (Vec::new(), 0);
        for wanted in &self.style {
            let side = wanted.layer.channels();
            grams.push(row.f_narrow(0, place, side * side)?.f_reshape([1, side, side])?);
            place += side * side;
        }
        Ok(StyleTarget(vec![Part { grams, guides: None, share: 1.0 }]))
    }

    /// A style target whose loss counts as that of other styles: divided by the distance that photos with these
    /// Gram matrices have from it. A pale drawing's own Gram matrices are so small that any photo is far from it.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn balanced(
        &self,
        mut target: StyleTarget,
        photos: &StyleTarget,
    ) -> Result<StyleTarget, TchError> {
        for (part, photo) in target.0.iter_mut().zip(&photos.0) {
            let (mut far, mut sum) = (0.0, 0.0);
            for (n, wanted) in self.style.iter().enumerate() {
                let distance = relative_distance(&photo.grams[n], &part.grams[n])?;
                far += wanted.weight * distance.f_double_value(&[])?;
                sum += wanted.weight;
            }
            part.share = (USUAL_DISTANCE * sum / far.max(f64::MIN_POSITIVE)).min(MOST_WEIGHT);
        }
        Ok(target)
    }

    /// A target with a style for each region. A region is weighted by its share of the area, so that each
    /// pixel counts as much as without regions; a region without styles has the content loss only. Tiles of
    /// the style loss cannot be combined with regions.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn guided_target(&self, regions: &[Region]) -> Result<StyleTarget, TchError> {
        let styled = regions.iter().filter(|(pictures, _)| !pictures.is_empty());
        let targets = styled.map(|(pictures, mask)| Ok((self.style_target(pictures)?, mask)));
        let targets = targets.collect::<Result<Vec<_>, TchError>>()?;
        self.in_regions(targets.iter().map(|(target, mask)| (target, *mask)))
    }

    /// Restricts each of several whole-picture targets to a region of one picture (a mask of 1 × 1 × height ×
    /// width, 0–1), as in [`guided_target`](Self::guided_target). An empty region is left out, since it has
    /// no Gram matrix.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn in_regions<'a>(
        &self,
        regions: impl IntoIterator<Item = (&'a StyleTarget, &'a Tensor)>,
    ) -> Result<StyleTarget, TchError> {
        let mut parts = Vec::new();
        for (target, mask) in regions {
            let (_, _, height, width) = mask.size4()?;
            let share = mask.f_mean(Kind::Double)?.f_double_value(&[])?;
            if share <= 0.0 {
                continue;
            }
            let guide = |wanted: &LayerWeight| {
                let halvings = wanted.layer.halvings();
                mask.f_adaptive_avg_pool2d([height >> halvings, width >> halvings])
            };
            for part in &target.0 {
                parts.push(Part {
                    grams: part.grams.iter().map(Tensor::shallow_clone).collect(),
                    guides: Some(self.style.iter().map(guide).collect::<Result<_, _>>()?),
                    share,
                });
            }
        }
        Ok(StyleTarget(parts))
    }

    /// Gram matrices of pictures at the style layers, averaged with their weights.
    fn grams(&self, pictures: &[(Tensor, f64)]) -> Result<Vec<Tensor>, TchError> {
        let layers: Vec<Layer> = self.style.iter().map(|l| l.layer).collect();
        let sum: f64 = pictures.iter().map(|(_, weight)| weight).sum();
        let mut target: Vec<Tensor> = Vec::new();
        for (picture, weight) in pictures {
            let features = tch::no_grad(|| self.features_of(picture, &layers))?;
            for (n, features) in features.iter().enumerate() {
                let part = gram(features)?.f_mul_scalar(weight / sum)?;
                match target.get_mut(n) {
                    Some(whole) => *whole = whole.f_add(&part)?,
                    None => target.push(part),
                }
            }
        }
        Ok(target)
    }

    /// Features of a photo at the content layers, without gradients.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn content_target(&self, photo: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let layers: Vec<Layer> = self.content.iter().map(|l| l.layer).collect();
        tch::no_grad(|| self.features_of(photo, &layers))
    }

    /// Features at `layers`, which may be in any order.
    fn features_of(&self, x: &Tensor, layers: &[Layer]) -> Result<Vec<Tensor>, TchError> {
        let mut sorted = layers.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let features = self.vgg.features(x, &sorted)?;
        let of = |layer| sorted.binary_search(layer).map(|n| features[n].shallow_clone());
        // Every layer is in the sorted list.
        Ok(layers.iter().filter_map(|layer| of(layer).ok()).collect())
    }

    /// The three weighted terms (content, style, total variation) of painted pictures, as tensors of one
    /// number each, averaged over the batch.
    ///
    /// `y`: batch × 3 × height × width, RGB 0–255. `content`: features of the photos, from
    /// [`content_target`](Self::content_target). `lesson`: the same for the teacher's pictures; the distance
    /// from these is added to the content term. Gradients flow to `y`.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn terms(
        &self,
        y: &Tensor,
        content: &[Tensor],
        lesson: Option<&[Tensor]>,
        style: &StyleTarget,
    ) -> Result<[Tensor; 3], TchError> {
        let features = self.vgg.features(y, &self.layers)?;
        let seen = Seen { features: (&self.layers, &features), grams: None };
        self.terms_of(&seen, y, content, lesson, style)
    }

    /// Computes the terms and back-propagates `share` times their sum to everything that `y` was computed
    /// from. Returns the values of the terms. The total variation is multiplied by `tv`, in value and
    /// gradient.
    ///
    /// The same as [`terms`](Self::terms) with libtorch's backward pass, but faster if our own kernels
    /// compute the loss network.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn backward(
        &self,
        y: &Tensor,
        content: &[Tensor],
        lesson: Option<&[Tensor]>,
        style: &StyleTarget,
        share: f64,
        tv: f64,
    ) -> Result<LossTerms, TchError> {
        let values = |terms: &[Tensor; 3]| -> Result<LossTerms, TchError> {
            let [content, style, smooth] =
                terms.each_ref().map(|t| t.f_to_kind(Kind::Double)?.f_double_value(&[]));
            Ok(LossTerms { content: content?, style: style?, tv: smooth? * tv, temporal: 0.0 })
        };
        // Where Gram matrices are of whole pictures, the features themselves are not wanted for them.
        let of = |layers: &[LayerWeight]| {
            let mut layers: Vec<_> = layers.iter().map(|l| l.layer).collect();
            layers.sort_unstable();
            layers.dedup();
            layers
        };
        let whole = self.tile_share == 0.0 && style.0.iter().all(|part| part.guides.is_none());
        let (wanted, of_grams) = match whole {
            true => (of(&self.content), of(&self.style)),
            false => (self.layers.clone(), Vec::new()),
        };
        let Some(measured) = self.vgg.measured(y, &wanted, &of_grams)? else {
            let terms = self.terms(y, content, lesson, style)?;
            let sum = terms[0].f_add(&terms[1])?.f_add(&terms[2].f_mul_scalar(tv)?)?;
            sum.f_mul_scalar(share)?.f_backward()?;
            return values(&terms);
        };
        let (_, _, height, width) = y.size4()?;
        let mut grams = Vec::with_capacity(of_grams.len());
        for (layer, sums) in of_grams.iter().zip(&measured.grams) {
            let pixels = (height >> layer.halvings()) * (width >> layer.halvings());
            grams.push(sums.f_mul_scalar(1.0 / (layer.channels() * pixels) as f64)?);
        }
        let seen = Seen {
            features: (&wanted, &measured.features),
            grams: whole.then_some((of_grams.as_slice(), grams.as_slice())),
        };
        let terms = self.terms_of(&seen, y, content, lesson, style)?;
        let of_features = terms[0].f_add(&terms[1])?.f_mul_scalar(share)?;
        if of_features.requires_grad() {
            of_features.f_backward()?;
        }
        // Continues the backward pass from the pictures: the gradient of the sum of `y` times `gradient` is
        // `gradient`.
        let gradient = measured.gradient()?;
        let product = y.f_mul(&gradient)?.f_sum(Kind::Float)?;
        product.f_add(&terms[2].f_mul_scalar(tv * share)?)?.f_backward()?;
        values(&terms)
    }

    /// The terms.
    fn terms_of(
        &self,
        seen: &Seen<'_>,
        y: &Tensor,
        content: &[Tensor],
        lesson: Option<&[Tensor]>,
        style: &StyleTarget,
    ) -> Result<[Tensor; 3], TchError> {
        let zero = || Tensor::f_zeros([], (Kind::Float, y.device()));
        let mut content_loss = zero()?;
        let lesson = lesson.map(|lesson| (lesson, self.teacher));
        for (targets, weight) in [(content, self.weights.content)].into_iter().chain(lesson) {
            for (wanted, target) in self.content.iter().zip(targets) {
                let term = self.content_loss(at(seen.features, wanted.layer), target)?;
                content_loss = content_loss.f_add(&term.f_mul_scalar(wanted.weight * weight)?)?;
            }
        }
        let mut style_loss = zero()?;
        for part in &style.0 {
            for (n, (wanted, target)) in self.style.iter().zip(&part.grams).enumerate() {
                let guide = part.guides.as_ref().map(|guides| &guides[n]);
                let loss = self.style_loss(wanted, seen, target, guide)?;
                style_loss = style_loss.f_add(&loss.f_mul_scalar(part.share)?)?;
            }
        }
        let tv = total_variation(y, self.tv_form)?.f_mul_scalar(self.weights.tv)?;
        Ok([content_loss, style_loss, tv])
    }

    /// The content loss of one layer.
    fn content_loss(&self, features: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
        let difference = features.f_sub(target)?.f_to_kind(Kind::Float)?;
        if self.content_form == ContentForm::Mean {
            // Mean over batch, channels and pixels: eq. 1 of the paper.
            return difference.f_square()?.f_mean(Kind::Float);
        }
        let sum = |t: &Tensor| {
            t.f_square()?.f_sum_dim_intlist([1_i64, 2, 3].as_slice(), false, Kind::Float)
        };
        let own =
            sum(&target.f_to_kind(Kind::Float)?)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        sum(&difference)?.f_div(&own)?.f_mean(Kind::Float)
    }

    /// The weighted style loss of one layer.
    fn style_loss(
        &self,
        wanted: &LayerWeight,
        seen: &Seen<'_>,
        target: &Tensor,
        guide: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let mut weight = wanted.weight * self.weights.style;
        if self.style_form == StyleForm::Paper {
            // E = 1/(4C²) Σ(G·C − A·C)², where the Gram matrices here are smaller by C: C²/4 of
            // the mean over the C² entries.
            weight *= (wanted.layer.channels() as f64).powi(2) / 4.0;
        }
        let far = |gram: Tensor| -> Result<Tensor, TchError> {
            match self.style_form {
                StyleForm::Relative => relative_distance(&gram, target),
                StyleForm::Mean | StyleForm::Paper => {
                    gram.f_sub(target)?.f_square()?.f_mean(Kind::Float)
                }
            }
        };
        if let Some(grams) = seen.grams {
            return far(at(grams, wanted.layer).shallow_clone())?.f_mul_scalar(weight);
        }
        let features = at(seen.features, wanted.layer);
        if let Some(guide) = guide {
            return far(guided_gram(features, guide)?)?.f_mul_scalar(weight);
        }
        let share = self.tile_share;
        let whole = far(gram(features)?)?.f_mul_scalar(weight * (1.0 - share))?;
        if share == 0.0 {
            return Ok(whole);
        }
        let parts = far(gram(&tiles(features, self.style_tiles)?)?)?;
        whole.f_add(&parts.f_mul_scalar(weight * share)?)
    }
}

/// What a loss network sees of pictures, each with the layers, in their order.
struct Seen<'a> {
    features: (&'a [Layer], &'a [Tensor]),
    /// [Gram matrices](gram) of whole pictures; none: they are made of the features.
    grams: Option<(&'a [Layer], &'a [Tensor])>,
}

/// What is seen at a layer, which is one of them.
fn at<'a>((layers, tensors): (&[Layer], &'a [Tensor]), layer: Layer) -> &'a Tensor {
    &tensors[layers.binary_search(&layer).unwrap_or_default()]
}

/// Cuts features into `n` × `n` equal tiles, each of which becomes an item of the batch; remaining rows and
/// columns are left out. Small pictures are cut into fewer tiles.
fn tiles(features: &Tensor, n: i64) -> Result<Tensor, TchError> {
    let (batch, channels, height, width) = features.size4()?;
    let n = n.min(height).min(width);
    if n <= 1 {
        return Ok(features.shallow_clone());
    }
    let (h, w) = (height / n, width / n);
    let whole = features.f_narrow(2, 0, h * n)?.f_narrow(3, 0, w * n)?;
    // Channels innermost, as in memory: `gram` then takes no second copy.
    let parts = whole.f_permute([0, 2, 3, 1])?.f_reshape([batch, n, h, n, w, channels])?;
    let parts = parts.f_permute([0, 1, 3, 2, 4, 5])?.f_reshape([batch * n * n, h, w, channels])?;
    parts.f_permute([0, 3, 1, 2])
}

/// Differences between each pixel and its neighbour below, and its neighbour to the right.
pub(super) fn differences(y: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let (_, _, height, width) = y.size4()?;
    let down = y.f_narrow(2, 1, height - 1)?.f_sub(&y.f_narrow(2, 0, height - 1)?)?;
    let right = y.f_narrow(3, 1, width - 1)?.f_sub(&y.f_narrow(3, 0, width - 1)?)?;
    Ok((down, right))
}

/// Total variation of pictures, a sum over each one's pixels and channels, averaged over the batch.
fn total_variation(y: &Tensor, form: TvForm) -> Result<Tensor, TchError> {
    let (down, right) = differences(y)?;
    let batch = y.size4()?.0;
    let sum = |d: Tensor| match form {
        TvForm::Absolute => d.f_abs()?.f_sum(Kind::Float),
        TvForm::Squared => d.f_square()?.f_sum(Kind::Float)?.f_mul_scalar(0.5),
    };
    sum(down)?.f_add(&sum(right)?)?.f_mul_scalar(1.0 / batch as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_gram_matrix_is_of_one_picture_and_counts_channels_and_pixels() {
        // 2 pictures of 2 channels, 1 × 3 pixels.
        let f = Tensor::from_slice(&[1_f32, 2., 3., 4., 5., 6., 0., 0., 1., 2., 0., 0.])
            .reshape([2, 2, 1, 3]);
        let g = Vec::<f32>::try_from(gram(&f).unwrap().reshape([-1])).unwrap();
        let expected = [14., 32., 32., 77., 1., 0., 0., 4.].map(|v: f32| v / 6.0);
        for (g, expected) in g.iter().zip(expected) {
            assert!((g - expected).abs() < 1e-6, "{g} {expected}");
        }
    }

    #[test]
    fn a_guide_leaves_out_what_is_not_of_the_region() {
        let f = Tensor::rand([1, 3, 4, 6], (Kind::Float, Device::Cpu));
        let near = |a: Tensor, b: Tensor| assert!(a.allclose(&b, 1e-5, 1e-7, false), "{a} {b}");
        let all = Tensor::ones([1, 1, 4, 6], (Kind::Float, Device::Cpu));
        near(guided_gram(&f, &all).unwrap(), gram(&f).unwrap());
        let left = all.copy();
        let _ = left.narrow(3, 2, 4).fill_(0.0);
        near(guided_gram(&f, &left).unwrap(), gram(&f.narrow(3, 0, 2)).unwrap());
        // Soft edges: a place that counts half is half as much of the mean.
        let half = (&all + &left) * 0.5;
        let [a, b] = [gram(&f).unwrap() * 24, gram(&f.narrow(3, 0, 2)).unwrap() * 8];
        near(guided_gram(&f, &half).unwrap(), (a + b) / 32);
    }

    #[test]
    fn tiles_are_parts_of_each_picture_in_rows() {
        // Two pictures of 2 channels, 4 × 6 pixels, cut into 2 × 2 parts.
        let f = Tensor::arange(96, (Kind::Float, Device::Cpu)).reshape([2, 2, 4, 6]);
        let parts = tiles(&f, 2).unwrap();
        assert_eq!(parts.size(), [8, 2, 2, 3]);
        for (part, (picture, y, x)) in [(1, (0, 0, 3)), (6, (1, 2, 0))] {
            let expected = f.get(picture).narrow(1, y, 2).narrow(2, x, 3);
            assert_eq!(parts.get(part), expected, "part {part}");
        }
        // A row and a column too many are left out; a picture of one pixel is one part.
        assert_eq!(tiles(&f.narrow(2, 0, 3), 2).unwrap().size(), [8, 2, 1, 3]);
        assert_eq!(tiles(&f.narrow(2, 0, 1), 3).unwrap().size(), [2, 2, 1, 6]);
    }

    #[test]
    fn total_variation_counts_each_neighbour_once() {
        let y = Tensor::from_slice(&[0_f32, 3., 1., 1.]).reshape([1, 1, 2, 2]);
        let y = Tensor::cat(&[&y, &y], 0);
        let value = |form| total_variation(&y, form).unwrap().double_value(&[]);
        assert_eq!(value(TvForm::Absolute), 1. + 2. + 3.);
        assert_eq!(value(TvForm::Squared), (1. + 4. + 9.) / 2.0);
        let flat = Tensor::ones([1, 3, 4, 5], (Kind::Float, Device::Cpu));
        assert_eq!(total_variation(&flat, TvForm::Absolute).unwrap().double_value(&[]), 0.0);
    }
}
