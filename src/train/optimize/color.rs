//! Control over colour (Gatys et al. 2017, section 4): the content's own colours in the style.

use tch::{Device, Kind, TchError, Tensor};

use crate::engine::network::luma;

choice! {
    /// How the content's colours are kept.
    Preserve {
        /// Only brightness is painted; the colours are the content's (section 4.2 of the paper).
        Luminance = "luminance",
        /// The style picture gets the content's colours before it is looked at (section 4.1).
        Histogram = "histogram",
    }
}

/// Variances below this, in levels squared, are raised to it: the colours of a grey picture all lie on a
/// line.
const LEAST_VARIANCE: f64 = 1e-2;

/// Mean (3 × 1) and covariance (3 × 3) of a picture's colours, in double precision. `x`: 1 × 3 ×
/// height × width; `mask`: how much each pixel counts, 1 × 1 × height × width, not all 0.
fn statistics(x: &Tensor, mask: Option<&Tensor>) -> Result<(Tensor, Tensor), TchError> {
    let x = x.f_to_kind(Kind::Double)?.f_reshape([3, -1])?;
    let weight = match mask {
        Some(mask) => mask.f_to_kind(Kind::Double)?.f_reshape([1, -1])?,
        None => x.f_narrow(0, 0, 1)?.f_ones_like()?,
    };
    let weight = weight.f_div(&weight.f_sum(Kind::Double)?)?;
    let mean = x.f_mul(&weight)?.f_sum_dim_intlist(1, true, Kind::Double)?;
    let centred = x.f_sub(&mean)?;
    let covariance = centred.f_mul(&weight)?.f_matmul(&centred.f_transpose(0, 1)?)?;
    Ok((mean, covariance))
}

/// A symmetric matrix to a power, by its eigenvalues.
fn power(matrix: &Tensor, exponent: f64) -> Result<Tensor, TchError> {
    let (values, vectors) = matrix.f_linalg_eigh("L")?;
    let values = values.f_clamp_min(LEAST_VARIANCE)?.f_pow_tensor_scalar(exponent)?;
    vectors.f_mul(&values)?.f_matmul(&vectors.f_transpose(0, 1)?)
}

/// A style picture with the colours of the content: the linear map that gives its colours the
/// content's mean and covariance, `Σc^½ Σs^-½` with symmetric square roots ("Image Analogies" colour
/// transfer, eq. 11 of the paper, which finds it better than Cholesky's). Clamped to 0–255.
///
/// Both pictures: 1 × 3 × height × width, RGB 0–255. `mask`: the part of the content that counts.
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn match_colors(
    style: &Tensor,
    content: &Tensor,
    mask: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let cpu = |t: &Tensor| t.f_to_device(Device::Cpu);
    let (style_mean, style_covariance) = statistics(&cpu(style)?, None)?;
    let (mean, covariance) = statistics(&cpu(content)?, mask.map(cpu).transpose()?.as_ref())?;
    let map = power(&covariance, 0.5)?.f_matmul(&power(&style_covariance, -0.5)?)?;
    let pixels = cpu(style)?.f_to_kind(Kind::Double)?.f_reshape([3, -1])?;
    let mapped = map.f_matmul(&pixels.f_sub(&style_mean)?)?.f_add(&mean)?;
    let mapped = mapped.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Float)?;
    mapped.f_reshape(style.size())?.f_to_device(style.device())
}

/// Brightness of a style picture, in all three channels, with the mean and deviation of the
/// content's (eq. 10 of the paper): dark paintings would darken the photo.
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn match_luma(
    style: &Tensor,
    content: &Tensor,
    mask: Option<&Tensor>,
) -> Result<Tensor, TchError> {
    let style = luma(style)?;
    let of = |x: &Tensor, mask: Option<&Tensor>| -> Result<(f64, f64), TchError> {
        let (mean, covariance) = statistics(x, mask)?;
        let variance = covariance.f_double_value(&[0, 0])?.max(LEAST_VARIANCE);
        Ok((mean.f_double_value(&[0, 0])?, variance.sqrt()))
    };
    let ((mean, deviation), (wanted, wanted_deviation)) =
        (of(&style, None)?, of(&luma(content)?, mask)?);
    let centred = style.f_sub_scalar(mean)?.f_mul_scalar(wanted_deviation / deviation)?;
    centred.f_add_scalar(wanted)
}

/// A painted brightness (1 × 1 or 3 × height × width) with the colours of the content: the differences
/// between the content's channels are kept, so hue and, in Y'CbCr, chroma are the content's.
///
/// # Errors
/// When libtorch fails, as for want of memory.
pub fn with_colors_of(content: &Tensor, brightness: &Tensor) -> Result<Tensor, TchError> {
    content.f_add(&brightness.f_narrow(1, 0, 1)?)?.f_sub(&luma(content)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(seed: i64, from: [f64; 3], to: [f64; 3]) -> Tensor {
        tch::manual_seed(seed);
        let noise = Tensor::rand([1, 3, 24, 30], (Kind::Float, Device::Cpu));
        let column = |v: [f64; 3]| Tensor::from_slice(&v.map(|v| v as f32)).reshape([1, 3, 1, 1]);
        // Channels that depend on each other, as in photos.
        let mixed = &noise * 0.6 + noise.mean_dim(1, true, Kind::Float) * 0.4;
        column(from) + mixed * (column(to) - column(from))
    }

    #[test]
    fn a_matched_style_has_the_contents_mean_and_covariance() {
        let style = picture(1, [90., 20., 60.], [150., 120., 180.]);
        let content = picture(2, [60., 90., 80.], [200., 140., 170.]);
        let matched = match_colors(&style, &content, None).unwrap();
        let ((m, c), (wm, wc)) =
            (statistics(&matched, None).unwrap(), statistics(&content, None).unwrap());
        assert!(m.allclose(&wm, 1e-3, 1e-2, false), "{m} {wm}");
        assert!(c.allclose(&wc, 1e-2, 1.0, false), "{c} {wc}");
        // A picture is matched to itself by leaving it alone.
        let same = match_colors(&style, &style, None).unwrap();
        assert!(same.allclose(&style, 1e-3, 1e-2, false));
    }

    #[test]
    fn a_style_without_colours_gets_none_that_are_not_numbers() {
        let grey = picture(3, [40.; 3], [200.; 3]).mean_dim(1, true, Kind::Float);
        let content = picture(2, [60., 90., 80.], [200., 140., 170.]);
        let matched = match_colors(&grey.expand([1, 3, 24, 30], false), &content, None).unwrap();
        assert!(matched.isfinite().all().int64_value(&[]) == 1);
        let flat = content.zeros_like();
        assert!(match_luma(&flat, &content, None).unwrap().isfinite().all().int64_value(&[]) == 1);
    }

    #[test]
    fn only_the_masked_part_of_the_content_counts() {
        let style = picture(1, [90., 20., 60.], [150., 120., 180.]);
        let content = picture(2, [60., 90., 80.], [200., 140., 170.]);
        let mask = Tensor::zeros([1, 1, 24, 30], (Kind::Float, Device::Cpu));
        let _ = mask.narrow(3, 0, 10).fill_(1.0);
        let cut = content.narrow(3, 0, 10);
        let (a, b) = (match_luma(&style, &content, Some(&mask)), match_luma(&style, &cut, None));
        assert!(a.unwrap().allclose(&b.unwrap(), 1e-4, 1e-2, false));
    }

    #[test]
    fn brightness_takes_the_place_of_the_contents_and_colours_stay() {
        let content = picture(2, [60., 90., 80.], [200., 140., 170.]);
        let painted = picture(4, [90.; 3], [160.; 3]).narrow(1, 0, 1);
        let joined = with_colors_of(&content, &painted).unwrap();
        let near = |a: &Tensor, b: &Tensor| a.allclose(b, 1e-4, 1e-2, false);
        assert!(near(&luma(&joined).unwrap().narrow(1, 0, 1), &painted));
        let difference = |x: &Tensor| x.narrow(1, 0, 1) - x.narrow(1, 2, 1);
        assert!(near(&difference(&joined), &difference(&content)));
    }
}
