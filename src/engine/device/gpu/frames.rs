//! Frames on the device, and their way there and back.

use std::sync::Arc;

use cudarc::driver::CudaEvent;
use tch::{Kind, TchError, Tensor};

use super::tasks::{Colors, Read, Write};
use super::{Backend, Gpu, THREADS, int};

/// A point in the device's queue of work.
#[derive(Clone, Debug)]
pub struct Mark(Option<Arc<CudaEvent>>);

impl Mark {
    /// Blocks until the device has reached it.
    ///
    /// # Errors
    /// What has failed on the device meanwhile.
    pub fn wait(&self) -> Result<(), TchError> {
        let Some(event) = &self.0 else { return Ok(()) };
        event.synchronize().map_err(|error| TchError::Torch(format!("the GPU failed: {error}")))
    }
}

impl Gpu {
    /// Converts frames of Y'CbCr 4:2:0 (N × S bytes) to R, G, B (N × 3 × H × W, 0–255). `rows` and
    /// `constants` are the matrix and offsets from codes to R, G, B.
    pub fn read_frames(
        &self,
        samples: &Tensor,
        (height, width): (i64, i64),
        rows: [f32; 9],
        constants: [f32; 3],
    ) -> Result<Tensor, TchError> {
        let (batch, size) = samples.size2()?;
        let (samples, planes) = (
            self.place(&samples.f_contiguous()?, Kind::Uint8)?,
            Tensor::f_empty([batch, 3, height, width], (Kind::Float, self.device))?,
        );
        let task = colors(&samples, &planes, size, rows, constants)?;
        let grid = [(width as usize).div_ceil(THREADS), height as usize, batch as usize];
        // SAFETY: both tensors are on the device; `colors` has compared their sizes.
        unsafe { self.launch(&Read(task), grid, [THREADS, 1]) }?;
        Ok(planes)
    }

    /// Converts R, G, B back to frames of Y'CbCr 4:2:0 (N × S bytes), rounded.
    pub fn write_frames(
        &self,
        planes: &Tensor,
        rows: [f32; 9],
        constants: [f32; 3],
    ) -> Result<Tensor, TchError> {
        let (batch, _, height, width) = planes.size4()?;
        let (lines, columns) = ((height + 1) / 2, (width + 1) / 2);
        let size = height * width + 2 * lines * columns;
        let planes = self.place(&planes.f_contiguous()?, Kind::Float)?;
        let samples = Tensor::f_empty([batch, size], (Kind::Uint8, self.device))?;
        let task = colors(&samples, &planes, size, rows, constants)?;
        let grid = [(columns as usize).div_ceil(THREADS), lines as usize, batch as usize];
        // SAFETY: as above.
        unsafe { self.launch(&Write(task), grid, [THREADS, 1]) }?;
        Ok(samples)
    }

    /// Page-locked host memory of this shape, in bytes, for copies that overlap the device's work.
    pub fn staging(&self, shape: [i64; 2]) -> Result<Tensor, TchError> {
        // What comes from a device without waiting comes into such memory; tch's own name for it makes
        // libtorch warn.
        let there = Tensor::f_empty(shape, (Kind::Uint8, self.device))?;
        let memory = there.f_to_device_(tch::Device::Cpu, Kind::Uint8, true, false)?;
        self.mark()?.wait()?;
        Ok(memory)
    }

    /// An event that is complete when all work queued on the device so far is done.
    pub fn mark(&self) -> Result<Mark, TchError> {
        match &self.way {
            Backend::Cuda(cuda) => {
                let event = cuda.mark().map_err(TchError::Torch)?;
                Ok(Mark(Some(Arc::new(event))))
            }
            #[cfg(test)]
            Backend::Host(_) | Backend::Failing => Ok(Mark(None)),
        }
    }
}

fn colors(
    samples: &Tensor,
    planes: &Tensor,
    size: i64,
    rows: [f32; 9],
    constants: [f32; 3],
) -> Result<Colors, TchError> {
    let (_, channels, height, width) = planes.size4()?;
    let expected = height * width + 2 * ((height + 1) / 2) * ((width + 1) / 2);
    if size != expected || channels != 3 {
        return Err(TchError::Shape(format!("{size} bytes a frame, expected {expected}")));
    }
    let (samples, planes) = (samples.data_ptr() as u64, planes.data_ptr() as u64);
    Ok(Colors { samples, planes, height: int(height)?, width: int(width)?, rows, constants })
}
