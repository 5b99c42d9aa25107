//! Products of tiles: 16 pixels × 32 inputs · 32 inputs × 16 outputs of bfloat16, added up in single
//! precision. The instructions are AMX's, by name: the standard library has none of them yet.

use std::arch::asm;
use std::sync::OnceLock;

/// Pixels and outputs of a tile.
pub(super) const SIDE: usize = 16;
/// Inputs of a tile.
pub(super) const DEPTH: usize = 32;
/// Numbers of a tile of weights, and of one of inputs.
pub(super) const TILE: usize = SIDE * DEPTH;
/// Sums of a tile.
pub(super) const SUMS: usize = SIDE * SIDE;
/// Tiles of sums that one product makes at most: as many as the processor works on at once.
pub(super) const MOST: usize = 4;

/// What multiplies tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::kernels) enum Unit {
    /// The processor's (AMX), with AVX-512 around it.
    Amx,
    /// A loop, with AVX2 around it: for tests, on any machine.
    #[cfg(test)]
    Loop,
}

impl Unit {
    /// The processor's, where it has one that the system lets this process use.
    pub(in crate::engine::kernels) fn available() -> Option<Self> {
        static THERE: OnceLock<bool> = OnceLock::new();
        let there = *THERE.get_or_init(|| {
            std::arch::is_x86_feature_detected!("avx512bf16")
                && std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512vl")
                && crate::engine::device::cpu_has_matrices()
                && permitted()
        });
        there.then_some(Self::Amx)
    }
}

/// Asks Linux for the registers, which are large, so that no process has them from the start: true
/// when threads of this process may use them from now on.
fn permitted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call reads and writes no memory of ours; a system that does not know it says so.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// The shape of the tiles, as `ldtilecfg` takes it: all eight are whole.
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

const SHAPE: Shape = Shape {
    palette: 1,
    start: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tiles of a thread, as long as this lives: other code, like oneDNN's, shapes them for itself.
pub(super) struct Tiles(Unit);

impl Tiles {
    /// # Safety
    /// The processor has the unit.
    pub(super) unsafe fn new(unit: Unit) -> Self {
        match unit {
            Unit::Amx => asm!("ldtilecfg [{}]", in(reg) &SHAPE, options(nostack, readonly)),
            #[cfg(test)]
            Unit::Loop => {}
        }
        Tiles(unit)
    }

    /// Adds up products of pixels with weights: `pixels` × `outputs` tiles, whose sums go to `sums`,
    /// those of the first pixels first. Either `outputs` is 1, or both are at most 2.
    ///
    /// # Safety
    /// For each of `steps` there is a number in `steps` at which the inputs begin, bytes from `inputs`,
    /// and [`SIDE`] × `pixels` rows of [`DEPTH`] numbers there, `stride` bytes apart; `weights` has
    /// as many steps of `outputs` tiles; `sums` has room for `pixels` × `outputs` × [`SUMS`].
    #[inline(always)]
    pub(super) unsafe fn product(
        &self,
        (pixels, outputs): (usize, usize),
        steps: &[u32],
        inputs: *const u16,
        stride: usize,
        weights: *const u16,
        sums: *mut f32,
    ) {
        debug_assert!(pixels * outputs <= MOST);
        if steps.is_empty() {
            return std::ptr::write_bytes(sums, 0, pixels * outputs * SUMS);
        }
        match (self.0, pixels, outputs) {
            (Unit::Amx, 2, 2) => two_by_two(steps, inputs, stride, weights, sums),
            (Unit::Amx, 1, 2) => one_by_two(steps, inputs, stride, weights, sums),
            (Unit::Amx, 4, 1) => four(steps, inputs, stride, weights, sums),
            (Unit::Amx, 3, 1) => three(steps, inputs, stride, weights, sums),
            (Unit::Amx, 2, 1) => two(steps, inputs, stride, weights, sums),
            (Unit::Amx, ..) => one(steps, inputs, stride, weights, sums),
            #[cfg(test)]
            (Unit::Loop, ..) => {
                looped((pixels, outputs), steps, inputs, stride, weights, sums);
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.0 == Unit::Amx {
            // SAFETY: there are tiles, `new` has shaped them.
            unsafe { asm!("tilerelease", options(nostack, nomem)) }
        }
    }
}

/// A loop over steps. `{a}`: the first rows, `{s}`: bytes between rows, `{a2}`: the rows of the next
/// tile of pixels, `{b}`: the weights, 64 bytes a row (`{c}`).
macro_rules! products {
    ($name:ident, $outputs:literal, [$($zero:literal)*], [$($step:literal)*], [$($store:literal)*]) => {
        /// # Safety
        /// As [`Tiles::product`]'s; the tiles have their shape.
        #[inline(always)]
        unsafe fn $name(
            steps: &[u32],
            inputs: *const u16,
            stride: usize,
            weights: *const u16,
            sums: *mut f32,
        ) {
            asm!(
                $($zero,)*
                "2:",
                "mov {a:e}, dword ptr [{steps}]",
                "add {steps}, 4",
                "add {a}, {inputs}",
                $($step,)*
                concat!("add {b}, 1024 * ", $outputs),
                "dec {n}",
                "jnz 2b",
                $($store,)*
                a = out(reg) _,
                a2 = out(reg) _,
                s = in(reg) stride,
                more = in(reg) SIDE * stride,
                inputs = in(reg) inputs,
                steps = inout(reg) steps.as_ptr() => _,
                n = inout(reg) steps.len() => _,
                b = inout(reg) weights => _,
                c = in(reg) 64_usize,
                to = in(reg) sums,
                options(nostack),
            );
        }
    };
}

products!(
    two_by_two, "2",
    ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"],
    [
        "lea {a2}, [{a} + {more}]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tileloadd tmm6, [{b} + {c}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm7, [{b} + {c}*1 + 1024]"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "tileloadd tmm5, [{a2} + {s}*1]"
        "tdpbf16ps tmm2, tmm5, tmm6"
        "tdpbf16ps tmm3, tmm5, tmm7"
    ],
    [
        "tilestored [{to} + {c}*1], tmm0"
        "tilestored [{to} + {c}*1 + 1024], tmm1"
        "tilestored [{to} + {c}*1 + 2048], tmm2"
        "tilestored [{to} + {c}*1 + 3072], tmm3"
    ]
);

products!(
    one_by_two, "2",
    ["tilezero tmm0" "tilezero tmm1" "mov {a2}, {more}"],
    [
        "tileloadd tmm4, [{a} + {s}*1]"
        "tileloadd tmm6, [{b} + {c}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm7, [{b} + {c}*1 + 1024]"
        "tdpbf16ps tmm1, tmm4, tmm7"
    ],
    ["tilestored [{to} + {c}*1], tmm0" "tilestored [{to} + {c}*1 + 1024], tmm1"]
);

products!(
    four, "1",
    ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"],
    [
        "tileloadd tmm6, [{b} + {c}*1]"
        "lea {a2}, [{a} + {more}]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm5, [{a2} + {s}*1]"
        "tdpbf16ps tmm1, tmm5, tmm6"
        "lea {a}, [{a} + 2*{more}]"
        "lea {a2}, [{a2} + 2*{more}]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tdpbf16ps tmm2, tmm4, tmm6"
        "tileloadd tmm5, [{a2} + {s}*1]"
        "tdpbf16ps tmm3, tmm5, tmm6"
    ],
    [
        "tilestored [{to} + {c}*1], tmm0"
        "tilestored [{to} + {c}*1 + 1024], tmm1"
        "tilestored [{to} + {c}*1 + 2048], tmm2"
        "tilestored [{to} + {c}*1 + 3072], tmm3"
    ]
);

products!(
    three, "1",
    ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2"],
    [
        "tileloadd tmm6, [{b} + {c}*1]"
        "lea {a2}, [{a} + {more}]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm5, [{a2} + {s}*1]"
        "tdpbf16ps tmm1, tmm5, tmm6"
        "lea {a}, [{a} + 2*{more}]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tdpbf16ps tmm2, tmm4, tmm6"
    ],
    [
        "tilestored [{to} + {c}*1], tmm0"
        "tilestored [{to} + {c}*1 + 1024], tmm1"
        "tilestored [{to} + {c}*1 + 2048], tmm2"
    ]
);

products!(
    two, "1",
    ["tilezero tmm0" "tilezero tmm1"],
    [
        "tileloadd tmm6, [{b} + {c}*1]"
        "lea {a2}, [{a} + {more}]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm5, [{a2} + {s}*1]"
        "tdpbf16ps tmm1, tmm5, tmm6"
    ],
    ["tilestored [{to} + {c}*1], tmm0" "tilestored [{to} + {c}*1 + 1024], tmm1"]
);

products!(
    one, "1",
    ["tilezero tmm0" "mov {a2}, {more}"],
    [
        "tileloadd tmm6, [{b} + {c}*1]"
        "tileloadd tmm4, [{a} + {s}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
    ],
    ["tilestored [{to} + {c}*1], tmm0"]
);

/// The same in a loop.
#[cfg(test)]
unsafe fn looped(
    (pixels, outputs): (usize, usize),
    steps: &[u32],
    inputs: *const u16,
    stride: usize,
    weights: *const u16,
    sums: *mut f32,
) {
    let float = |x: u16| f32::from_bits(u32::from(x) << 16);
    for pixel in 0..SIDE * pixels {
        for output in 0..SIDE * outputs {
            let (right, column) = (output / SIDE, output % SIDE);
            let mut sum = 0.0;
            for (n, step) in steps.iter().enumerate() {
                let row = inputs.byte_add(*step as usize + pixel * stride);
                let tile = weights.add((n * outputs + right) * TILE);
                for k in 0..DEPTH {
                    let weight = *tile.add(k / 2 * DEPTH + 2 * column + k % 2);
                    sum += float(row.add(k).read_unaligned()) * float(weight);
                }
            }
            let tile = pixel / SIDE * outputs + right;
            *sums.add(tile * SUMS + pixel % SIDE * SIDE + column) = sum;
        }
    }
}
