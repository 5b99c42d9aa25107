//! Device and precision of the network.
//!
//! One binary serves CPU and GPU: libtorch's CUDA part is opened at run time, if it is there.

pub mod gpu;
mod gpu_memory;
mod memory;
pub mod tensor;
pub mod working_folder;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Once, OnceLock};

pub use gpu_memory::GpuMemory;

/// The libtorch this program is built for.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// Why a device or precision is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not the name of a device.
    #[error("'{0}' is not a device: expected auto, cpu, cuda or cuda:N")]
    UnknownDevice(String),
    /// Not the name of a precision.
    #[error("'{0}' is not a precision: expected auto, fp32, bf16 or fp16")]
    UnknownPrecision(String),
    /// CUDA was asked for and is not there.
    #[error("no CUDA device: {0}; `--device cpu` or `auto` runs on the CPU")]
    NoCuda(String),
    /// There are GPUs, but not that many.
    #[error("no device cuda:{index}: this machine has {count}, the first is cuda:0")]
    NoSuchGpu {
        /// The number asked for, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Half precision on the CPU.
    #[error("fp16 needs a GPU: use `--precision bf16` or `fp32` on the CPU")]
    Fp16OnCpu,
}

/// Prepares the process for libtorch. Must be the first thing that `main` does, before other threads start
/// and before any call into libtorch. Opens CUDA ([`open_cuda`]) and makes glibc keep freed memory for the
/// next frame, which saves 10 to 20 % of the time. Later calls do nothing.
///
/// If other threads exist already, it does not change the environment: a GPU then rounds the factors of
/// "fp32" convolutions to 10 bits (TF32), unless `NVIDIA_TF32_OVERRIDE=0` is set.
pub fn prepare() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        memory::keep();
        open_cuda();
    });
}

/// Opens libtorch's CUDA part, where there is one. To be called **before any call into libtorch**,
/// which looks for CUDA once, at its first call, and never again. Later calls of this function do
/// nothing. It never fails; [`resolve`] says why CUDA is missing.
pub fn open_cuda() {
    // The reason is kept for `resolve`.
    let _ = cuda_library();
}

/// The result of opening CUDA; `Err` says why it failed.
fn cuda_library() -> &'static Result<(), String> {
    static OPENED: OnceLock<Result<(), String>> = OnceLock::new();
    OPENED.get_or_init(|| {
        // Without this a GPU rounds the factors of "fp32" convolutions to 10 bits (TF32).
        set_unless_set("NVIDIA_TF32_OVERRIDE", "0");
        let cpu = loaded_library("libtorch_cpu.so")
            .ok_or("libtorch_cpu.so is linked in, not a library of its own")?;
        // Symbolic links may lead to a folder without the CUDA part, so the real path is used.
        let cpu = cpu.canonicalize().unwrap_or(cpu);
        let cuda = cpu.with_file_name("libtorch_cuda.so");
        if !cuda.exists() {
            let folder = cpu.parent().unwrap_or(Path::new("."));
            return Err(format!(
                "no libtorch_cuda.so in '{}' (`{}` brings it)",
                folder.display(),
                what_brings_cuda(folder)
            ));
        }
        open_for_good(&cuda).map_err(|error| format!("cannot open {}: {error}", cuda.display()))
    })
}

/// The command that adds CUDA to the libtorch in this folder: of a package, of a wheel, or of a build.
fn what_brings_cuda(folder: &Path) -> String {
    if folder.ends_with("lib/nst-stream") {
        // The run-time path of the packaged program leads there first (scripts/package.sh).
        format!("sudo pip install --target /usr/local/lib/nst-stream torch=={LIBTORCH_VERSION}")
    } else if folder.iter().any(|part| part == "site-packages" || part == "dist-packages") {
        format!("pip install --force-reinstall torch=={LIBTORCH_VERSION}")
    } else {
        "CUDA=1 make setup".to_owned()
    }
}

/// Sets an environment variable that libtorch reads at its first call, where no other thread can read the
/// environment meanwhile.
fn set_unless_set(name: &str, value: &str) {
    if std::env::var_os(name).is_some() {
        return;
    }
    if !is_alone() {
        tracing::debug!("{name} stays unset: there are other threads already");
        return;
    }
    // SAFETY: setting is unsound while another thread reads the environment other than by std. There is no
    // other, and only this one could start it.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var(name, value);
    }
}

/// Whether the calling thread is the only one of the process; no where the system does not say.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Opens a library with its symbols visible to all, for the rest of the process's life.
fn open_for_good(path: &Path) -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: opening runs the library's initialisers. It is the counterpart of the libtorch_cpu.so
    // that is linked in, from the same folder, made to be loaded after it; no symbol is taken from
    // it here.
    #[allow(unsafe_code)]
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
    // It has registered itself with libtorch_cpu.so, so it must never be closed.
    std::mem::forget(library);
    Ok(())
}

/// Path of a library loaded into this process, without calling into the library.
pub(super) fn loaded_library(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    // A line ends in the path, which may hold spaces but begins with the first slash.
    let paths = maps.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..])));
    paths.filter(|path| path.file_name().is_some_and(|n| n == name)).map(Path::to_owned).next()
}

/// Number of GPUs that libtorch can use; `Err` says why there are none.
pub(super) fn gpu_count() -> Result<usize, String> {
    cuda_library().clone()?;
    if !driver_present() {
        return Err("no NVIDIA driver is loaded".to_owned());
    }
    match usize::try_from(tch::Cuda::device_count()) {
        Ok(0) | Err(_) => {
            Err("the NVIDIA driver shows no GPU, or is too old for CUDA 13".to_owned())
        }
        Ok(count) => Ok(count),
    }
}

/// How many GPUs the network can run on.
pub fn cuda_devices() -> usize {
    gpu_count().unwrap_or_default()
}

/// Whether an NVIDIA driver is loaded.
pub fn driver_present() -> bool {
    ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"]
        .iter()
        .any(|p| Path::new(p).exists())
}

/// Which device is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU by number, from 0.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) if index.bytes().all(|b| b.is_ascii_digit()) => index
                .parse()
                .map(Self::Cuda)
                .map_err(|_| DeviceError::UnknownDevice(text.to_owned())),
            _ => Err(DeviceError::UnknownDevice(text.to_owned())),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// An available device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    torch: tch::Device,
    /// GPU only: use our own kernels.
    gpu_kernels: bool,
}

impl Device {
    /// The CPU, which is always there.
    pub const CPU: Self = Self { torch: tch::Device::Cpu, gpu_kernels: false };

    /// The device as `tch` names it.
    pub fn torch(&self) -> tch::Device {
        self.torch
    }

    /// The same device, with or without our own kernels between libtorch's convolutions. Has no effect on a
    /// CPU.
    #[must_use]
    pub fn with_gpu_kernels(self, wanted: bool) -> Self {
        Device { gpu_kernels: wanted && self.is_cuda(), ..self }
    }

    /// Whether our own kernels are to be used, where possible.
    pub fn wants_gpu_kernels(&self) -> bool {
        self.gpu_kernels
    }

    /// Whether it is a GPU.
    pub fn is_cuda(&self) -> bool {
        self.torch.is_cuda()
    }
}

impl fmt::Display for Device {
    /// `cpu`, `cuda:0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.torch {
            tch::Device::Cuda(index) => write!(f, "cuda:{index}"),
            _ => f.write_str("cpu"),
        }
    }
}

/// Finds the device. The note, where there is one, says why `Auto` became the CPU.
///
/// # Errors
/// [`DeviceError::NoCuda`], with the reason, or [`DeviceError::NoSuchGpu`] when a GPU is wanted
/// that is not there. `Auto` and `Cpu` never fail.
pub fn resolve(choice: DeviceChoice) -> Result<(Device, Option<String>), DeviceError> {
    let gpu = |index| Device { torch: tch::Device::Cuda(index), gpu_kernels: false };
    match (choice, gpu_count()) {
        (DeviceChoice::Cpu, _) => Ok((Device::CPU, None)),
        (DeviceChoice::Auto, Ok(_)) => Ok((gpu(0), None)),
        (DeviceChoice::Auto, Err(why)) => {
            Ok((Device::CPU, Some(format!("no CUDA device: {why}; using the CPU"))))
        }
        (DeviceChoice::Cuda(index), Ok(count)) if index < count => Ok((gpu(index), None)),
        (DeviceChoice::Cuda(index), Ok(count)) => Err(DeviceError::NoSuchGpu { index, count }),
        (DeviceChoice::Cuda(_), Err(why)) => Err(DeviceError::NoCuda(why)),
    }
}

/// Whether the CPU multiplies bfloat16 numbers in hardware.
pub fn cpu_has_bf16() -> bool {
    cpu_has(&["avx512_bf16", "amx_bf16"])
}

/// Whether the CPU multiplies matrices of bfloat16 (AMX).
pub fn cpu_has_matrices() -> bool {
    cpu_has(&["amx_bf16"])
}

fn cpu_has(flags: &[&str]) -> bool {
    cpu_field("flags").is_some_and(|found| found.split(' ').any(|flag| flags.contains(&flag)))
}

/// A field of the first processor in /proc/cpuinfo.
pub(super) fn cpu_field(name: &str) -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let mut fields = info.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// Sets how many threads libtorch computes with **on the calling thread**: OpenMP keeps the number
/// for each thread apart, so this is called by the thread that computes. `None` takes as many as
/// the process may use, where containers' limits count and libtorch would not see them.
pub fn set_threads(threads: Option<usize>) {
    let threads = threads.unwrap_or_else(default_threads).clamp(1, 4096);
    // Lossless: at most 4096.
    tch::set_num_threads(threads as i32);
}

/// From now on, for the whole process, cuDNN benchmarks its algorithms at each size that is new to a thread.
/// It keeps the choice that it made first for a size, so call this before the first pass. Worth it for a
/// video; for one picture it takes longer than it saves. Has no effect on a CPU.
pub fn try_algorithms() {
    tch::Cuda::cudnn_set_benchmark(true);
}

/// Runs `work` while cuDNN may benchmark its algorithms, but not afterwards. Its choices for the sizes of
/// `work` on this thread are kept. A size that appears later, such as after a change of scale in a live run,
/// is not benchmarked and delays no frame.
pub fn while_trying_algorithms<T>(work: impl FnOnce() -> T) -> T {
    tch::Cuda::cudnn_set_benchmark(true);
    let done = work();
    tch::Cuda::cudnn_set_benchmark(false);
    done
}

/// How many threads compute when nothing else is asked for.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_installation_is_told_what_brings_cuda() {
        for (folder, how) in [
            ("/usr/lib/nst-stream", "sudo pip install --target /usr/local/lib/nst-stream torch=="),
            ("/opt/venv/lib/python3.12/site-packages/torch/lib", "pip install --force"),
            ("/home/me/.cache/nst-stream/libtorch-2.11.0/torch/lib", "CUDA=1 make setup"),
        ] {
            let said = what_brings_cuda(Path::new(folder));
            assert!(said.starts_with(how), "{folder}: {said}");
        }
    }

    #[test]
    fn devices_have_names() {
        for (text, choice) in [
            ("auto", DeviceChoice::Auto),
            ("cpu", DeviceChoice::Cpu),
            ("cuda", DeviceChoice::Cuda(0)),
            ("cuda:3", DeviceChoice::Cuda(3)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
        for text in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:+1", "CPU", "cpu:0"] {
            assert_eq!(
                text.parse::<DeviceChoice>(),
                Err(DeviceError::UnknownDevice(text.to_owned()))
            );
        }
    }

    #[test]
    fn the_cpu_is_always_there_and_auto_never_fails() {
        assert_eq!(resolve(DeviceChoice::Cpu), Ok((Device::CPU, None)));
        let (device, note) = resolve(DeviceChoice::Auto).unwrap();
        assert_eq!(device.is_cuda(), note.is_none(), "{note:?}");
    }

    #[test]
    fn a_gpu_that_is_not_there_is_refused_with_the_reason() {
        let error = resolve(DeviceChoice::Cuda(1000)).unwrap_err().to_string();
        assert!(error.starts_with("no CUDA device: ") || error.contains("cuda:1000"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn the_environment_is_left_alone_when_there_are_other_threads() {
        // The test harness is one.
        assert!(!is_alone());
        set_unless_set("NST_STREAM_TEST_VARIABLE", "0");
        assert_eq!(std::env::var_os("NST_STREAM_TEST_VARIABLE"), None);
    }

    #[test]
    fn libtorch_is_found_without_asking_it() {
        let path = loaded_library("libtorch_cpu.so").unwrap();
        assert!(path.is_file(), "{path:?}");
        assert_eq!(loaded_library("libnone.so"), None);
    }
}
