//! bfloat16 in vectors of single precision.

use std::arch::x86_64::*;

use crate::engine::kernels::simd::{Simd, V16};

/// Vectors of [`SIDE`](super::tiles::SIDE) numbers that are bfloat16 in memory.
///
/// # Safety
/// As [`Simd`]'s.
pub(super) trait Halves: Simd {
    unsafe fn load_halves(from: *const u16) -> Self;
    /// Rounds to the nearest.
    unsafe fn store_halves(self, to: *mut u16);
}

impl Halves for V16 {
    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> Self {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        V16(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
    }
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut u16) {
        let halves: __m256bh = _mm512_cvtneps_pbh(self.0);
        _mm256_storeu_si256(to.cast(), std::mem::transmute::<__m256bh, __m256i>(halves));
    }
}

#[cfg(test)]
impl Halves for crate::engine::kernels::simd::V8Pair {
    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> Self {
        let numbers: [f32; 16] = std::array::from_fn(|n| super::wide(*from.add(n)));
        Self::load(numbers.as_ptr())
    }
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut u16) {
        let mut numbers = [0.0; 16];
        self.store(numbers.as_mut_ptr());
        for (n, x) in numbers.into_iter().enumerate() {
            *to.add(n) = super::half(x);
        }
    }
}
