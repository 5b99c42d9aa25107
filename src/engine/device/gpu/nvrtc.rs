//! CUDA's run-time compiler, NVRTC, opened on demand from the folder of the loaded libtorch.
//!
//! cudarc would search for it itself, but also under the name of a CUDA toolkit installed on the system. Such
//! a toolkit may be newer than the driver, which then refuses its output; the compiler that comes with
//! libtorch matches libtorch's CUDA.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::super::{loaded_library, open_for_good};

/// Its name, as programs that are made for CUDA 13 ask for it.
const NAME: &str = "libnvrtc.so.13";
/// Prefix of the library that NVRTC loads by itself, and does not find in PyTorch's packages.
const BUILTINS: &str = "libnvrtc-builtins.so.";

type Program = *mut c_void;
type Status = c_int;

/// Compiles a program to PTX.
///
/// # Errors
/// That there is no compiler, or what it says.
pub(super) fn compile(source: &str, options: &[String]) -> Result<String, String> {
    static OPENED: OnceLock<Result<Compiler, String>> = OnceLock::new();
    OPENED.get_or_init(Compiler::open).as_ref().map_err(Clone::clone)?.compile(source, options)
}

/// Where the compiler may be, in the order in which it is looked for: beside libtorch, where NVIDIA's
/// packages of PyTorch have it, and last where the system's loader finds it.
fn places(libtorch: Option<&Path>) -> Vec<PathBuf> {
    let folders = libtorch.into_iter().flat_map(|folder| {
        [
            folder.to_owned(),
            folder.join("../../nvidia/cu13/lib"),
            folder.join("../../nvidia/cuda_nvrtc/lib"),
        ]
    });
    let mut places: Vec<_> = folders.map(|folder| folder.join(NAME)).collect();
    places.extend([NAME, "libnvrtc.so"].map(PathBuf::from));
    places
}

struct Compiler(Library);

impl Compiler {
    fn open() -> Result<Self, String> {
        let libtorch = loaded_library("libtorch_cpu.so").and_then(|path| path.canonicalize().ok());
        let libtorch = libtorch.as_deref().and_then(Path::parent);
        let mut why = None;
        for place in places(libtorch) {
            if place.is_absolute() && !place.exists() {
                continue;
            }
            place.parent().into_iter().for_each(open_builtins);
            // SAFETY: opening runs the initialisers of NVIDIA's library.
            match unsafe { Library::open(Some(&place), RTLD_NOW | RTLD_LOCAL) } {
                Ok(library) => {
                    tracing::debug!("CUDA's compiler: {}", place.display());
                    return Ok(Compiler(library));
                }
                Err(error) => why = why.or(place.is_absolute().then(|| error.to_string())),
            }
        }
        let missing =
            || "no libnvrtc.so.13, CUDA's compiler (package nvidia-cuda-nvrtc)".to_owned();
        Err(why.map_or_else(missing, |why| format!("cannot open CUDA's compiler: {why}")))
    }

    fn compile(&self, source: &str, options: &[String]) -> Result<String, String> {
        let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
        let (source, name) = (text(source)?, text("kernels.cu")?);
        let options: Vec<_> =
            options.iter().map(|option| text(option)).collect::<Result<_, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let count = c_int::try_from(options.len()).map_err(|error| error.to_string())?;
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: these are the functions' types in nvrtc.h; all texts end in zero and outlive the program;
        // texts that are read have the room that was asked for.
        unsafe {
            let create: unsafe extern "C" fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> Status = self.function("nvrtcCreateProgram")?;
            let compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status =
                self.function("nvrtcCompileProgram")?;
            let destroy: unsafe extern "C" fn(*mut Program) -> Status =
                self.function("nvrtcDestroyProgram")?;
            let none = std::ptr::null();
            self.check(create(&mut program, source.as_ptr(), name.as_ptr(), 0, none, none))?;
            let made = match compile(program, count, options.as_ptr()) {
                0 => self.text(program, "nvrtcGetPTX"),
                status => {
                    let log = self.text(program, "nvrtcGetProgramLog").unwrap_or_default();
                    // Of a log of many lines the first one that is an error.
                    let line = log.lines().find(|line| line.contains("error")).map(str::to_owned);
                    self.check(status).map(|()| String::new()).map_err(|why| line.unwrap_or(why))
                }
            };
            destroy(&mut program);
            made
        }
    }

    /// What a pair of functions, `name` and `nameSize`, say of a program.
    ///
    /// # Safety
    /// The program is one of this compiler's.
    unsafe fn text(&self, program: Program, name: &str) -> Result<String, String> {
        let mut size: usize = 0;
        // SAFETY: as in nvrtc.h; the text is written with its closing zero, `size` bytes in all.
        let bytes = unsafe {
            let measure: unsafe extern "C" fn(Program, *mut usize) -> Status =
                self.function(&format!("{name}Size"))?;
            let get: unsafe extern "C" fn(Program, *mut c_char) -> Status = self.function(name)?;
            self.check(measure(program, &mut size))?;
            let mut bytes = vec![0_u8; size];
            self.check(get(program, bytes.as_mut_ptr().cast()))?;
            bytes
        };
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// # Safety
    /// T is the type of the function of this name.
    unsafe fn function<T: Copy>(&self, name: &str) -> Result<T, String> {
        // SAFETY: as the caller says.
        unsafe { self.0.get::<T>(name.as_bytes()) }
            .map(|symbol| *symbol)
            .map_err(|error| error.to_string())
    }

    fn check(&self, status: Status) -> Result<(), String> {
        match status {
            0 => Ok(()),
            status => Err(format!("CUDA's compiler failed with status {status}")),
        }
    }
}

/// Opens the library that the compiler loads by itself, from the folder where both lie.
fn open_builtins(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(BUILTINS) {
            // What cannot be opened is missing when the compiler runs, which says so.
            let _ = open_for_good(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_that_comes_with_libtorch_is_preferred_to_the_systems() {
        let places = places(Some(Path::new("/torch/lib")));
        let at = |wanted: &str| places.iter().position(|place| place == Path::new(wanted));
        let (beside, package) = (
            at("/torch/lib/libnvrtc.so.13"),
            at("/torch/lib/../../nvidia/cu13/lib/libnvrtc.so.13"),
        );
        let (system, toolkit) = (at("libnvrtc.so.13"), at("libnvrtc.so"));
        assert!(beside.is_some() && beside < package && package < system && system < toolkit);
    }
}
