//! The kernels on the CPU, for tests: the same source, compiled by the C++ compiler.

use std::ffi::c_void;
use std::path::Path;
use std::process::Command;

use libloading::{Library, Symbol};

use super::tasks::KernelArgs;
use crate::engine::precision::Precision;

/// What a launch gets: the task, the grid, the block.
type Run = unsafe extern "C" fn(*const c_void, Index, Index);

#[repr(C)]
#[derive(Clone, Copy)]
struct Index(u32, u32, u32);

#[derive(Debug)]
pub(super) struct Host {
    library: Library,
    /// The kernels' shared memory is static here: only one launch at a time.
    one: std::sync::Mutex<()>,
}

impl Host {
    /// # Panics
    /// When there is no C++ compiler, or it finds fault.
    pub(super) fn open(precision: Precision) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine/device/gpu");
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("kernels.so");
        let number = match precision {
            Precision::Fp32 => 0,
            Precision::Fp16 => 1,
            Precision::Bf16 => 2,
        };
        let kernels = sources.join("kernels.cu");
        let done = Command::new(std::env::var_os("CXX").unwrap_or("c++".into()))
            .args(["-std=c++20", "-O1", "-shared", "-fPIC"])
            .arg(format!("-DNUMBER={number}"))
            .arg(format!("-DKERNELS=\"{}\"", kernels.display()))
            .arg(sources.join("host.cpp"))
            .arg("-o")
            .arg(&library)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // SAFETY: made just now of our own source.
        Host { library: unsafe { Library::new(library) }.unwrap(), one: std::sync::Mutex::new(()) }
    }

    /// # Safety
    /// As [`Gpu::launch`](super::Gpu::launch).
    pub(super) unsafe fn launch<T: KernelArgs>(
        &self,
        task: &T,
        [x, y, z]: [u32; 3],
        [across, down]: [u32; 2],
    ) -> Result<(), String> {
        let _one = self.one.lock().unwrap();
        let name = format!("run_{}", T::NAME);
        // SAFETY: host.cpp declares all of them so.
        let run: Symbol<'_, Run> =
            unsafe { self.library.get(name.as_bytes()) }.map_err(|error| error.to_string())?;
        // SAFETY: as the caller says.
        unsafe { run(std::ptr::from_ref(task).cast(), Index(x, y, z), Index(across, down, 1)) };
        Ok(())
    }
}
