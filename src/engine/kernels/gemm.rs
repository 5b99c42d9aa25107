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

/// Rows of a matrix whose columns lie `stride` apart, times a matrix: `to[m][o] += Σ a[k][m] · b[k][o]`, for
/// `counts`: how many m, o and k. What a convolution's gradient for its weights comes down to.
///
/// # Safety
/// `a`: k rows of m numbers, `b`: k rows of o numbers, o a multiple of a vector; both with their
/// distances of rows. `to`: m rows of o numbers, in the same way.
#[inline(always)]
pub(super) unsafe fn add_transposed<S: Simd, const ROWS: usize>(
    (a, a_stride): (*const f32, usize),
    (b, b_stride): (*const f32, usize),
    (rows, columns, count): (usize, usize, usize),
    (to, to_stride): (*mut f32, usize),
) {
    // The panel of a block stays in the first-level cache.
    const BLOCK: usize = 128;
    let groups = rows.div_ceil(ROWS);
    for k in (0..count).step_by(BLOCK) {
        let n = BLOCK.min(count - k);
        for o in (0..columns).step_by(2 * S::LANES) {
            let b = b.add(k * b_stride + o);
            for group in 0..groups {
                let (first, end) = (group * rows / groups, (group + 1) * rows / groups);
                let a = a.add(k * a_stride + first);
                let to = to.add(first * to_stride + o);
                macro_rules! one_of {
                    ($($rows:literal)*) => {
                        match (end - first, o + S::LANES < columns) {
                            $(($rows, true) if ROWS >= $rows => {
                                add_rows::<S, $rows, 2>((a, a_stride), (b, b_stride), n, to, to_stride)
                            }
                            ($rows, false) if ROWS >= $rows => {
                                add_rows::<S, $rows, 1>((a, a_stride), (b, b_stride), n, to, to_stride)
                            })*
                            _ => {}
                        }
                    };
                }
                one_of!(1 2 3 4 5 6 7 8 9 10 11 12)
            }
        }
    }
}

/// R rows and V vectors of [`add_transposed`].
///
/// # Safety
/// As its own.
#[inline(always)]
unsafe fn add_rows<S: Simd, const R: usize, const V: usize>(
    (a, a_stride): (*const f32, usize),
    (b, b_stride): (*const f32, usize),
    n: usize,
    to: *mut f32,
    to_stride: usize,
) {
    let mut acc = [[S::zero(); V]; R];
    for k in 0..n {
        let mut panel = [S::zero(); V];
        for v in 0..V {
            panel[v] = S::load(b.add(k * b_stride + v * S::LANES));
        }
        for (r, acc) in acc.iter_mut().enumerate() {
            let x = S::splat(*a.add(k * a_stride + r));
            for v in 0..V {
                acc[v] = x.mul_add(panel[v], acc[v]);
            }
        }
    }
    for (r, row) in acc.into_iter().enumerate() {
        for (v, value) in row.into_iter().enumerate() {
            let to = to.add(r * to_stride + v * S::LANES);
            S::load(to).add(value).store(to);
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
