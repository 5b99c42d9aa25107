//! Vectors of single-precision numbers, as the processor has them.
//!
//! Kernels are written once, over this trait, and compiled for each width: everything is
//! `inline(always)`, so that it becomes part of a function that has the instructions enabled (see
//! [`at_level`](super::at_level)).

use std::arch::x86_64::*;

/// A vector of numbers.
///
/// # Safety
/// All functions need the processor to have the type's instructions; `load` and `store` need
/// [`LANES`](Simd::LANES) numbers behind the pointer, in any alignment.
pub(super) trait Simd: Copy {
    /// Numbers in a vector.
    const LANES: usize;

    unsafe fn zero() -> Self;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `self · factor + term`, rounded once.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// Its numbers where those of the other are above 0, else 0.
    unsafe fn where_positive(self, other: Self) -> Self;

    /// Asks for numbers that will be wanted soon; any address will do.
    #[inline(always)]
    unsafe fn prefetch(at: *const f32) {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }

    /// All numbers added up.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut numbers = [0.0; 16];
        // No vector has more numbers than that.
        self.store(numbers.as_mut_ptr());
        let mut half = Self::LANES / 2;
        while half > 0 {
            for n in 0..half {
                numbers[n] += numbers[n + half];
            }
            half /= 2;
        }
        numbers[0]
    }
}

macro_rules! avx2_where_positive {
    ($x:ident, $y:ident) => {
        _mm256_and_ps($x, _mm256_cmp_ps::<_CMP_GT_OQ>($y, _mm256_setzero_ps()))
    };
}

macro_rules! avx512_where_positive {
    ($x:ident, $y:ident) => {
        _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>($y, _mm512_setzero_ps()), $x)
    };
}

macro_rules! vector {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $lanes:literal, $zero:ident, $splat:ident, $load:ident,
     $store:ident, $add:ident, $sub:ident, $mul_add:ident, $max:ident, $where_positive:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $name(pub(super) $inner);

        impl Simd for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> Self {
                $name($zero())
            }
            #[inline(always)]
            unsafe fn splat(x: f32) -> Self {
                $name($splat(x))
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                $name($load(from))
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                $store(to, self.0);
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                $name($add(self.0, other.0))
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                $name($sub(self.0, other.0))
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                $name($mul_add(self.0, factor.0, term.0))
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                $name($max(self.0, other.0))
            }
            #[inline(always)]
            unsafe fn where_positive(self, other: Self) -> Self {
                let (x, y) = (self.0, other.0);
                $name($where_positive!(x, y))
            }
        }
    };
}

vector!(
    /// AVX2 with FMA: 8 numbers, 16 registers.
    V8, __m256, 8, _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
    _mm256_add_ps, _mm256_sub_ps, _mm256_fmadd_ps, _mm256_max_ps, avx2_where_positive
);

vector!(
    /// AVX-512: 16 numbers, 32 registers.
    V16, __m512, 16, _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
    _mm512_add_ps, _mm512_sub_ps, _mm512_fmadd_ps, _mm512_max_ps, avx512_where_positive
);

/// Two vectors of AVX2 as one: wide kernels can be tested where there is no AVX-512.
#[cfg(test)]
#[derive(Clone, Copy)]
pub(super) struct V8Pair(V8, V8);

#[cfg(test)]
impl Simd for V8Pair {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self {
        V8Pair(V8::zero(), V8::zero())
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        V8Pair(V8::splat(x), V8::splat(x))
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        V8Pair(V8::load(from), V8::load(from.add(8)))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        self.0.store(to);
        self.1.store(to.add(8));
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        V8Pair(self.0.add(other.0), self.1.add(other.1))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        V8Pair(self.0.sub(other.0), self.1.sub(other.1))
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        V8Pair(self.0.mul_add(factor.0, term.0), self.1.mul_add(factor.1, term.1))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        V8Pair(self.0.max(other.0), self.1.max(other.1))
    }
    #[inline(always)]
    unsafe fn where_positive(self, other: Self) -> Self {
        V8Pair(self.0.where_positive(other.0), self.1.where_positive(other.1))
    }
}
