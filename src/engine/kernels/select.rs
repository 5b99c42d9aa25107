//! Which kernels paint a model.

use super::Level;
use super::amx::tiles::Unit;
use super::executor::{Executor, PaintError};
use crate::engine::device::cpu_has_bf16;
use crate::engine::model_file::ModelFile;
use crate::engine::precision::Precision;

/// Paints a model in kernels of our own.
#[derive(Debug)]
pub struct Kernels(Algorithm);

#[derive(Debug)]
enum Algorithm {
    /// In single precision.
    Single(Box<Executor<Level>>),
    /// In bfloat16, on a processor that multiplies matrices of it.
    Matrices(Box<Executor<Unit>>),
}

impl Kernels {
    /// Kernels for a model, where there are some.
    ///
    /// bf16 uses AMX if the CPU has it and the system allows it. Otherwise, kernels in single precision are
    /// used, which are faster than libtorch in bf16.
    pub fn new(model: &ModelFile, precision: Precision) -> Option<Self> {
        if precision == Precision::Fp16 {
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
        let executor =
            Level::available().into_iter().find_map(|level| Executor::new(model, level))?;
        Some(Kernels(Algorithm::Single(Box::new(executor))))
    }

    /// Paints a mixture of styles from now on: a share for each.
    pub fn blend(&mut self, shares: &[f32]) {
        match &mut self.0 {
            Algorithm::Single(executor) => executor.blend(shares),
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
            Algorithm::Single(executor) => executor.paint(picture, size, out, threads),
            Algorithm::Matrices(executor) => executor.paint(picture, size, out, threads),
        }
    }

    /// What painting takes, bytes a pixel, with 32 channels in the first layer: measured from 500²
    /// to 2000².
    pub fn memory_a_pixel(&self) -> f64 {
        match &self.0 {
            Algorithm::Single(_) => 400.0,
            Algorithm::Matrices(_) => 200.0,
        }
    }
}
