//! The network in bfloat16 on processors that multiply matrices of it: Intel's AMX.
//!
//! * `arithmetic`: what an [`executor`](super::executor) needs of it.
//! * `convolution`: all of its convolutions but the last, which is `last`; `matrix` is what both come
//!   down to: weights in tiles, and where in a picture their inputs lie.
//! * `border`: pixels at the border that the last one, where it repeats pixels, computes apart.
//! * `tiling`: the parts of a picture that are tasks; `input_rows`: what a task reads, made ready.
//! * `tiles`: the processor's tiles; `vector`: its vectors with bfloat16 in memory.
//!
//! Values lie pixel by pixel, as in the kernels beside, two bytes each. Sums, statistics and what norms
//! make of a value are in single precision.

mod arithmetic;
mod border;
mod convolution;
mod input_rows;
mod last;
mod matrix;
#[cfg(test)]
mod tests;
pub(super) mod tiles;
mod tiling;
mod vector;

use super::Shared;

/// R, G and B: what the last convolution makes.
const OUTPUTS: usize = 3;

/// Numbers as they lie in a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheLine([u16; CacheLine::NUMBERS]);

impl CacheLine {
    const NUMBERS: usize = 32;
    const ZERO: Self = CacheLine([0; Self::NUMBERS]);

    /// Numbers as so many lines: what is missing in the last one is 0.
    fn all(numbers: &[u16]) -> Vec<Self> {
        let line = |numbers: &[u16]| {
            let mut line = Self::ZERO;
            line.0[..numbers.len()].copy_from_slice(numbers);
            line
        };
        numbers.chunks(Self::NUMBERS).map(line).collect()
    }
}

/// A number in bfloat16, rounded to the nearest.
#[inline(always)]
const fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// A bfloat16 number in single precision.
#[inline(always)]
const fn wide(x: u16) -> f32 {
    f32::from_bits((x as u32) << 16)
}

/// Calls a kernel, `unsafe fn kernel<S: Halves>(task: &Task)`, compiled for what is around a unit.
macro_rules! beside {
    ($unit:expr, $kernel:ident, $task:expr, $type:ty) => {{
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
        unsafe fn amx(task: &$type) {
            $kernel::<$crate::engine::kernels::simd::V16>(task);
        }
        #[cfg(test)]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn looped(task: &$type) {
            $kernel::<$crate::engine::kernels::simd::V8Pair>(task);
        }
        match $unit {
            $crate::engine::kernels::amx::tiles::Unit::Amx => amx($task),
            #[cfg(test)]
            $crate::engine::kernels::amx::tiles::Unit::Loop => looped($task),
        }
    }};
}
use beside;
