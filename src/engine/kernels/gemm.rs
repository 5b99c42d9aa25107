//! The product of some rows of a matrix with a panel as wide as two vectors, or one: what all
//! convolutions but the last come down to.

use super::simd::Simd;

/// Adds to `acc` the products of `n` numbers of each of R rows with `n` rows of a panel.
///
/// # Safety
/// `rows`: R rows of `n` numbers, `stride` apart. `panel`: n × V vectors.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const R: usize, const V: usize>(
    mut acc: [[S; V]; R],
    rows: *const f32,
    stride: usize,
    panel: *const f32,
    n: usize,
) -> [[S; V]; R] {
    for i in 0..n {
        // The next panel: this one's rows take long enough for it to arrive.
        S::prefetch(panel.wrapping_add(V * S::LANES * (n + i)));
        let mut weights = [S::zero(); V];
        for v in 0..V {
            weights[v] = S::load(panel.add((V * i + v) * S::LANES));
        }
        for (r, acc) in acc.iter_mut().enumerate() {
            let x = S::splat(*rows.add(r * stride + i));
            for v in 0..V {
                acc[v] = x.mul_add(weights[v], acc[v]);
            }
        }
    }
    acc
}

/// Rows × panel, written `to_stride` apart.
///
/// # Safety
/// As [`accumulate`]'s; `to` has room for R rows of V vectors.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, const R: usize, const V: usize>(
    rows: *const f32,
    stride: usize,
    panel: *const f32,
    n: usize,
    to: *mut f32,
    to_stride: usize,
) {
    let acc = accumulate::<S, R, V>([[S::zero(); V]; R], rows, stride, panel, n);
    for (r, row) in acc.into_iter().enumerate() {
        for (v, value) in row.into_iter().enumerate() {
            value.store(to.add(r * to_stride + v * S::LANES));
        }
    }
}

/// Panels of weights: outputs × inputs (of `weight(output, input)`) become panels of `panel`
/// outputs, in each the outputs of one input side by side. The last one is narrower where outputs
/// are left over.
pub(super) fn pack(
    outputs: usize,
    inputs: usize,
    panel: usize,
    weight: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let mut packed = Vec::with_capacity(outputs * inputs);
    for first in (0..outputs).step_by(panel) {
        for input in 0..inputs {
            packed.extend((first..outputs.min(first + panel)).map(|output| weight(output, input)));
        }
    }
    packed
}
