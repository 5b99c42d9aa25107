//! The product of some rows of a matrix with a panel of two vectors' width: what all convolutions
//! but the last come down to.

use super::simd::Simd;

/// Adds to `acc` the products of `n` numbers of each of R rows with `n` rows of a panel.
///
/// # Safety
/// `rows`: R rows of `n` numbers, `stride` apart. `panel`: n × two vectors.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const R: usize>(
    mut acc: [[S; 2]; R],
    rows: *const f32,
    stride: usize,
    panel: *const f32,
    n: usize,
) -> [[S; 2]; R] {
    for i in 0..n {
        // The next panel: this one's rows take long enough for it to arrive.
        S::prefetch(panel.wrapping_add(2 * S::LANES * (n + i)));
        let left = S::load(panel.add(2 * S::LANES * i));
        let right = S::load(panel.add(2 * S::LANES * i + S::LANES));
        for (r, [a, b]) in acc.iter_mut().enumerate() {
            let x = S::splat(*rows.add(r * stride + i));
            *a = x.mul_add(left, *a);
            *b = x.mul_add(right, *b);
        }
    }
    acc
}

/// Rows × panel, written `to_stride` apart.
///
/// # Safety
/// As [`accumulate`]'s; `to` has room for R rows of two vectors.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, const R: usize>(
    rows: *const f32,
    stride: usize,
    panel: *const f32,
    n: usize,
    to: *mut f32,
    to_stride: usize,
) {
    let acc = accumulate::<S, R>([[S::zero(); 2]; R], rows, stride, panel, n);
    for (r, [a, b]) in acc.into_iter().enumerate() {
        a.store(to.add(r * to_stride));
        b.store(to.add(r * to_stride + S::LANES));
    }
}

/// Panels of weights: outputs × inputs (of `weight(output, input)`) become panels of `panel`
/// outputs, in each the outputs of one input side by side.
pub(super) fn pack(
    outputs: usize,
    inputs: usize,
    panel: usize,
    weight: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let mut packed = Vec::with_capacity(outputs * inputs);
    for first in (0..outputs).step_by(panel) {
        for input in 0..inputs {
            packed.extend((first..first + panel).map(|output| weight(output, input)));
        }
    }
    packed
}
