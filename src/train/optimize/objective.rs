//! The objective at one size: the targets, and the loss of a picture of that size.

use anyhow::Result;
use tch::{Kind, TchError, Tensor};

use super::color::{Preserve, match_colors, match_luma, with_colors_of};
use crate::engine::network::luma;
use crate::train::loss::{LossTerms, Losses, Region, StyleTarget};

/// Number of pixels for which the total variation weight is meant. For other sizes it is scaled, since total
/// variation is a sum over pixels, so that large pictures are smoothed no more than small ones.
pub const TV_PIXELS: f64 = 256.0 * 256.0;

/// A content and its styles at one size.
#[derive(Debug)]
pub struct Objective<'a> {
    losses: &'a Losses,
    photo: Tensor,
    content: Vec<Tensor>,
    style: StyleTarget,
    tv: f64,
    preserve: Option<Preserve>,
    held: Option<Held>,
}

/// What a picture is to show besides, and where: the temporal loss is the mean of weight · (x − target)² over values
/// 0–1, times a weight of its own.
#[derive(Debug)]
pub struct TemporalTarget {
    /// 1 × 3 × height × width, RGB 0–255.
    pub picture: Tensor,
    /// 1 × 1 × height × width.
    pub weight: Tensor,
}

/// A temporal target in terms of the variable.
#[derive(Debug)]
struct Held {
    target: Tensor,
    /// Factor of each squared difference.
    factor: Tensor,
}

impl Held {
    /// The loss, and half its gradient.
    fn loss(&self, variable: &Tensor) -> Result<(f64, Tensor), TchError> {
        let apart = variable.f_detach()?.f_sub(&self.target)?;
        let half = apart.f_mul(&self.factor)?;
        Ok((half.f_mul(&apart)?.f_sum(Kind::Double)?.f_double_value(&[])?, half))
    }
}

/// Which styles, and where.
#[derive(Debug)]
pub enum Styles {
    /// Pictures with weights, for everywhere.
    Everywhere(Vec<(Tensor, f64)>),
    /// Regions with styles of their own.
    Regions(Vec<Region>),
}

impl<'a> Objective<'a> {
    /// Computes the targets. `photo`: 1 × 3 × height × width, RGB 0–255.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn new(
        losses: &'a Losses,
        photo: Tensor,
        styles: Styles,
        preserve: Option<Preserve>,
    ) -> Result<Self, TchError> {
        let (_, _, height, width) = photo.size4()?;
        let matched = |pictures: Vec<(Tensor, f64)>, mask: Option<&Tensor>| {
            let one = |(picture, weight)| -> Result<(Tensor, f64), TchError> {
                let picture = match preserve {
                    None => picture,
                    Some(Preserve::Luminance) => match_luma(&picture, &photo, mask)?,
                    Some(Preserve::Histogram) => match_colors(&picture, &photo, mask)?,
                };
                Ok((picture, weight))
            };
            pictures.into_iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let style = match styles {
            Styles::Everywhere(pictures) => losses.style_target(&matched(pictures, None)?)?,
            Styles::Regions(regions) => {
                let mut all = Vec::new();
                for (pictures, mask) in regions {
                    all.push((matched(pictures, Some(&mask))?, mask));
                }
                losses.guided_target(&all)?
            }
        };
        let content = match preserve {
            Some(Preserve::Luminance) => losses.content_target(&luma(&photo)?)?,
            _ => losses.content_target(&photo)?,
        };
        let tv = TV_PIXELS / (height * width) as f64;
        Ok(Objective { losses, photo, content, style, tv, preserve, held: None })
    }

    /// Adds a temporal loss with this weight.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn held_to(self, temporal: &TemporalTarget, weight: f64) -> Result<Self, TchError> {
        let target = self.variable(&temporal.picture)?;
        let scale = weight / (255.0 * 255.0 * target.numel() as f64);
        let factor = temporal.weight.f_mul_scalar(scale)?;
        Ok(Objective { held: Some(Held { target, factor }), ..self })
    }

    /// The optimized variable for a picture, 1 × 3 × height × width: the picture itself, or its brightness.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn variable(&self, picture: &Tensor) -> Result<Tensor, TchError> {
        match self.preserve {
            Some(Preserve::Luminance) => luma(picture)?.f_narrow(1, 0, 1)?.f_contiguous(),
            _ => picture.f_contiguous(),
        }
    }

    /// The displayed picture for a value of the variable.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn picture(&self, variable: &Tensor) -> Result<Tensor, TchError> {
        match self.preserve {
            Some(Preserve::Luminance) => with_colors_of(&self.photo, variable),
            _ => Ok(variable.shallow_clone()),
        }
    }

    /// The input of the losses for a value of the variable: three planes.
    fn seen(&self, variable: &Tensor) -> Result<Tensor, TchError> {
        match self.preserve {
            Some(Preserve::Luminance) => variable.f_repeat([1, 3, 1, 1]),
            _ => Ok(variable.shallow_clone()),
        }
    }

    /// The loss terms for a value of the variable.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn measure(&self, variable: &Tensor) -> Result<LossTerms, TchError> {
        let seen = self.seen(variable)?;
        let terms = tch::no_grad(|| self.losses.terms(&seen, &self.content, None, &self.style))?;
        let terms = terms.each_ref().map(|t| t.f_to_kind(Kind::Double)?.f_double_value(&[]));
        let [content, style, tv] = terms;
        let held = self.held.as_ref().map(|held| held.loss(variable)).transpose()?;
        let temporal = held.map_or(0.0, |(loss, _)| loss);
        Ok(LossTerms { content: content?, style: style?, tv: tv? * self.tv, temporal })
    }

    /// The loss terms, and the gradient of their sum in the variable's shape.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn gradient(&self, variable: &Tensor) -> Result<(LossTerms, Tensor), TchError> {
        let (mut terms, x) = tch::with_grad(|| -> Result<_, TchError> {
            let x = variable.f_detach()?.f_set_requires_grad(true)?;
            let seen = self.seen(&x)?;
            let losses = self.losses;
            let terms = losses.backward(&seen, &self.content, None, &self.style, 1.0, self.tv)?;
            Ok((terms, x))
        })?;
        // The gradient comes with channels innermost; steps along it are taken row by row.
        let mut gradient = x.f_grad()?.f_contiguous()?;
        if let Some(held) = &self.held {
            let (loss, half) = held.loss(variable)?;
            terms.temporal = loss;
            gradient = gradient.f_add(&half.f_mul_scalar(2.0)?)?;
        }
        Ok((terms, gradient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporal_loss_is_the_weighted_mean_square_and_its_gradient_what_it_grows_by() {
        tch::manual_seed(4);
        let random = |shape: [i64; 4]| Tensor::rand(shape, tch::kind::DOUBLE_CPU);
        let (x, target) = (random([1, 3, 4, 5]) * 255, random([1, 3, 4, 5]) * 255);
        let weight = random([1, 1, 4, 5]).gt(0.4).to_kind(Kind::Double);
        let factor = &weight * (7.0 / (255.0 * 255.0 * 60.0));
        let held = Held { target: target.copy(), factor };
        let (loss, half) = held.loss(&x).unwrap();
        let expected =
            ((&x - &target).square() * &weight).mean(Kind::Double) * 7.0 / (255.0 * 255.0);
        assert!((loss / expected.double_value(&[]) - 1.0).abs() < 1e-9);
        let direction = random([1, 3, 4, 5]) - 0.5;
        let further = held.loss(&(&x + &direction * 1e-3)).unwrap().0;
        let slope = (half * 2.0 * direction).sum(Kind::Double).double_value(&[]);
        assert!(((further - loss) / 1e-3 / slope - 1.0).abs() < 1e-3);
    }
}
