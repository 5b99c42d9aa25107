//! Which kernels paint a model.

use super::Level;
use super::amx::tiles::Unit;
use super::executor::{Executor, PaintError};
use crate::engine::architecture::NetworkKind;
use crate::engine::device::cpu_has_bf16;
use crate::engine::model_file::ModelFile;
use crate::engine::precision::Precision;

/// Paints a model in kernels of our own.
#[derive(Debug)]
pub struct Kernels(Algorithm);

#[derive(Debug)]
enum Algorithm {
    /// In single precision.
    Single(Level, Box<Executor<Level>>),
    /// In bfloat16, on a processor that multiplies matrices of it.
    Matrices(Box<Executor<Unit>>),
}

impl Kernels {
    /// Kernels for a model, where there are some.
    ///
    /// bf16 uses AMX if the CPU has it and the system allows it. Otherwise, kernels in single precision are
    /// used, which are faster than libtorch in bf16.
    pub fn new(model: &ModelFile, precision: Precision) -> Option<Self> {
        let texture = model.description.architecture.kind == NetworkKind::Texture;
        if texture || precision == Precision::Fp16 {
            return None;
        }
        if precision == Precision::Bf16 {
            if let Some(executor) = Unit::available().and_then(|unit| Executor::new(model, unit)) {
                return Some(Kernels(Algorithm::Matrices(Box::new(executor))));
            }
            if !cpu_has_bf16() {
                return None;
            }
        }
        let at = |level| Some(Algorithm::Single(level, Box::new(Executor::new(model, level)?)));
        Level::available().into_iter().find_map(at).map(Kernels)
    }

    /// Which instructions compute it, and in what arithmetic: where two machines say the same, they paint the same.
    pub fn arithmetic(&self) -> &'static str {
        match &self.0 {
            Algorithm::Single(level, _) => match level {
                Level::Avx2 => "AVX2 kernels in fp32",
                Level::Avx512 => "AVX-512 kernels in fp32",
                #[cfg(test)]
                Level::Twice => "AVX2 kernels in fp32, twice as wide",
            },
            Algorithm::Matrices(_) => "AMX kernels in bf16",
        }
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub fn blend(&mut self, shares: &[f32]) {
        match &mut self.0 {
            Algorithm::Single(_, executor) => executor.blend(shares),
            Algorithm::Matrices(executor) => executor.blend(shares),
        }
    }

    /// Paints a picture with so many threads.
    ///
    /// `picture`: three planes of height × width, R, G, B in 0–255. `out`, of the same size, is
    /// overwritten with what the last convolution makes of it.
    ///
    /// # Errors
    /// When memory is short, or the system gives no threads: why.
    pub fn paint(
        &self,
        picture: &[f32],
        size: (usize, usize),
        out: &mut [f32],
        threads: usize,
    ) -> Result<(), PaintError> {
        match &self.0 {
            Algorithm::Single(_, executor) => executor.paint(picture, size, out, threads),
            Algorithm::Matrices(executor) => executor.paint(picture, size, out, threads),
        }
    }

    /// What painting takes, bytes a pixel, with 32 channels in the first layer: measured from 500²
    /// to 2000².
    pub fn memory_a_pixel(&self) -> f64 {
        match &self.0 {
            Algorithm::Single(..) => 400.0,
            Algorithm::Matrices(_) => 200.0,
        }
    }
}
