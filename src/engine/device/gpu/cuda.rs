//! The kernels on an NVIDIA GPU, through the driver that libtorch uses, too.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaStream, DriverError, LaunchConfig, PushKernelArg, sys,
};
use cudarc::nvrtc::Ptx;

use super::nvrtc;
use super::tasks::{KernelArgs, NAMES};
use crate::engine::precision::Precision;

const SOURCE: &str = include_str!("kernels.cu");

#[derive(Debug)]
pub(super) struct Cuda {
    stream: Arc<CudaStream>,
    functions: Vec<CudaFunction>,
}

impl Cuda {
    /// Compiles the kernels for the `index`th GPU.
    pub(super) fn open(index: usize, precision: Precision) -> Result<Self, String> {
        // SAFETY: asks the system for the library, whose initialisers run: it is NVIDIA's own.
        if !unsafe { cudarc::driver::sys::is_culib_present() } {
            return Err("no libcuda.so, the driver's library".to_owned());
        }
        let driver = |error: DriverError| error.to_string();
        let context = CudaContext::new(index).map_err(driver)?;
        let (major, minor) = context.compute_capability().map_err(driver)?;
        let (number, oldest) = target(precision);
        if 10 * major + minor < oldest {
            return Err(format!("the device has compute capability {major}.{minor}"));
        }
        let module = context.load_module(compile(number, oldest)?).map_err(driver)?;
        let functions = NAMES.iter().map(|name| module.load_function(name));
        let functions = functions.collect::<Result<_, _>>().map_err(driver)?;
        // libtorch's current stream: nothing here asks it for another.
        Ok(Cuda { stream: context.default_stream(), functions })
    }

    /// An event that is complete when all work queued on the stream so far is done.
    pub(super) fn mark(&self) -> Result<CudaEvent, String> {
        // Whoever waits sleeps, and leaves its core to the encoder.
        let flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;
        self.stream.record_event(Some(flags)).map_err(|error| error.to_string())
    }

    /// # Safety
    /// As [`Gpu::launch`](super::Gpu::launch).
    pub(super) unsafe fn launch<T: KernelArgs>(
        &self,
        task: &T,
        [x, y, z]: [u32; 3],
        [across, down]: [u32; 2],
    ) -> Result<(), String> {
        let function = self.functions.get(T::INDEX).ok_or("not compiled")?;
        let config =
            LaunchConfig { grid_dim: (x, y, z), block_dim: (across, down, 1), shared_mem_bytes: 0 };
        let mut builder = self.stream.launch_builder(function);
        builder.arg(task);
        // SAFETY: the task is the kernel's one parameter; the rest is as the caller says.
        let done = unsafe { builder.launch(config) };
        done.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// The kernels' NUMBER, and the oldest devices it is for, times 10: the oldest that CUDA 13 knows, and the
/// first with bfloat16. The driver makes of it what the device is.
fn target(precision: Precision) -> (i32, i32) {
    match precision {
        Precision::Fp32 => (0, 75),
        Precision::Fp16 => (1, 75),
        Precision::Bf16 => (2, 80),
    }
}

/// The kernels as PTX.
fn compile(number: i32, oldest: i32) -> Result<Ptx, String> {
    let options = [
        format!("-DNUMBER={number}"),
        format!("--gpu-architecture=compute_{oldest}"),
        "--std=c++17".to_owned(),
    ];
    nvrtc::compile(SOURCE, &options).map(Ptx::from_src)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LD_LIBRARY_PATH=…/nvidia/cu13/lib cargo test -- --ignored cuda`: no GPU is needed.
    #[test]
    #[ignore = "needs CUDA's compiler"]
    fn cudas_compiler_takes_the_kernels() {
        for precision in [Precision::Fp32, Precision::Fp16, Precision::Bf16] {
            let (number, oldest) = target(precision);
            let code = compile(number, oldest).unwrap().to_src();
            for name in NAMES {
                assert!(code.contains(&format!(".entry {name}(")), "{precision} {name}");
            }
        }
    }
}
