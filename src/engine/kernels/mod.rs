//! The network on x86-64 processors, in kernels of our own.
//!
//! * [`select`]: which kernels paint a model; [`executor`]: the network, layer by layer.
//! * `winograd`: 3×3 convolutions, and those of an upsampled picture, also with weights that are transformed as
//!   they are used; `direct`: strides and the
//!   first layer; `last`: the last one. `gemm` is what the first two come down to.
//! * `single`: single-precision arithmetic for the executor; `amx`: bfloat16, on processors that multiply
//!   matrices of it (AMX).
//! * [`features`]: a loss network, forward and backward to its input; [`training`]: a network in
//!   training, forward and backward to its weights.
//! * `norm`, `source`: instance norm, half of it while a layer is written, half while it is read.
//! * `weights`: a model's tensors; `simd`: the processor's vectors.
//!
//! Values lie in memory pixel by pixel, the channels of a pixel side by side, in single precision.
//! No layer is written twice: padding, norm, ReLU and the residual blocks' sums are all made while
//! the next convolution reads.

// Kernels are loops over pointers: what makes them safe is said where they are called, from sizes
// that are checked there.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]
// Rows, columns and points are numbers that several arrays share.
#![allow(clippy::needless_range_loop)]

mod amx;
mod direct;
pub mod executor;
pub mod features;
mod gemm;
mod last;
mod norm;
pub mod select;
mod simd;
mod single;
mod source;
#[cfg(test)]
mod tests;
pub mod training;
mod weights;
mod winograd;

use rayon::prelude::*;

/// Which instructions kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
    /// As wide as AVX-512, made of AVX2.
    #[cfg(test)]
    Twice,
}

impl Level {
    /// All that this processor has, the fastest first.
    pub fn available() -> Vec<Self> {
        let avx512 = std::arch::is_x86_feature_detected!("avx512f").then_some(Self::Avx512);
        let avx2 = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        avx512.into_iter().chain(avx2.then_some(Self::Avx2)).collect()
    }

    /// Numbers in a vector: a layer must have a multiple of it.
    const fn lanes(self) -> usize {
        match self {
            Self::Avx2 => 8,
            Self::Avx512 => 16,
            #[cfg(test)]
            Self::Twice => 16,
        }
    }

    /// Outputs that a kernel computes at once: two vectors, but for a last one that is left over.
    const fn panel(self) -> usize {
        2 * self.lanes()
    }
}

/// Calls a kernel, `unsafe fn kernel<S: Simd, const ROWS: usize>(task: &Task)`, compiled for a
/// level. ROWS is how many rows of two vectors fit the registers beside what they are made of.
macro_rules! at_level {
    ($level:expr, $kernel:ident, $task:expr, $type:ty) => {{
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(task: &$type) {
            $kernel::<$crate::engine::kernels::simd::V8, 6>(task);
        }
        #[target_feature(enable = "avx512f")]
        unsafe fn avx512(task: &$type) {
            $kernel::<$crate::engine::kernels::simd::V16, 12>(task);
        }
        #[cfg(test)]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn twice(task: &$type) {
            $kernel::<$crate::engine::kernels::simd::V8Pair, 12>(task);
        }
        match $level {
            $crate::engine::kernels::Level::Avx2 => avx2($task),
            $crate::engine::kernels::Level::Avx512 => avx512($task),
            #[cfg(test)]
            $crate::engine::kernels::Level::Twice => twice($task),
        }
    }};
}
use at_level;

/// Does so many tasks on the threads of the pool, each with the scratch of its thread.
fn each<T: Copy>(count: usize, scratch: &[Shared<T>], task: impl Fn(usize, Shared<T>) + Sync) {
    (0..count)
        .into_par_iter()
        .for_each(|n| task(n, scratch[rayon::current_thread_index().unwrap_or(0)]));
}

/// Whether each thread's scratch has room for so many numbers.
fn enough<T: Copy>(scratch: &[Shared<T>], count: usize) -> bool {
    scratch.iter().all(|one| one.count >= count)
}

/// Numbers in memory that several threads write to, each to its own part.
#[derive(Clone, Copy, Debug)]
struct Shared<T = f32> {
    first: *mut T,
    count: usize,
}

// SAFETY: who makes one sees to it that no two tasks touch the same numbers.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn of(numbers: &mut [T]) -> Self {
        Shared { first: numbers.as_mut_ptr(), count: numbers.len() }
    }

    /// The place `offset` numbers further.
    ///
    /// # Safety
    /// It lies within the numbers this was made of.
    #[inline(always)]
    unsafe fn at(self, offset: usize) -> *mut T {
        debug_assert!(offset <= self.count, "{offset} of {} numbers", self.count);
        self.first.add(offset)
    }

    /// The `count` numbers from `offset` on.
    ///
    /// # Safety
    /// They lie within the numbers this was made of.
    unsafe fn part(self, offset: usize, count: usize) -> Self {
        debug_assert!(offset + count <= self.count, "{offset} + {count} of {}", self.count);
        Shared { first: self.first.add(offset), count }
    }
}
