//! How much memory of a GPU is in use.

use cudarc::driver::{CudaContext, sys};

use super::Device;

/// The memory of a GPU, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuMemory {
    /// What all programs use.
    pub used: usize,
    /// What there is.
    pub size: usize,
}

impl GpuMemory {
    /// That of a device now; none if it is no GPU, or the driver does not tell.
    pub fn of(device: Device) -> Option<Self> {
        let tch::Device::Cuda(index) = device.torch() else { return None };
        // SAFETY: asks the system for the library, whose initialisers run: it is NVIDIA's own.
        #[allow(unsafe_code)]
        if !unsafe { sys::is_culib_present() } {
            return None;
        }
        // The context that libtorch uses, too.
        let (free, size) = CudaContext::new(index).ok()?.mem_get_info().ok()?;
        Some(GpuMemory { used: size.saturating_sub(free), size })
    }
}
