//! A working folder that no longer exists.
//!
//! Workaround: oneMKL (in libtorch 2.11) asks for the working folder while libraries are loaded, before `main`, and
//! ends the process where there is none, with exit code 2 and the words "Intel oneMKL FATAL ERROR: Cannot load
//! …/libtorch_cpu.so". To see it: `mkdir x; cd x; rmdir ../x; nst-stream --version`. So the program goes to the
//! root folder before that, and says what is the matter once it runs.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

static GONE: AtomicBool = AtomicBool::new(false);

/// Whether the folder in which the program was started no longer exists.
pub fn is_gone() -> bool {
    GONE.load(Ordering::Relaxed)
}

extern "C" fn leave() {
    let gone = std::env::current_dir().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if gone && std::env::set_current_dir("/").is_ok() {
        GONE.store(true, Ordering::Relaxed);
    }
}

// SAFETY: the loader calls the functions in this section, all of the C convention, before it initialises libraries,
// on the only thread there is. `leave` needs none of them but libc, which is ready by then.
#[allow(unsafe_code)]
#[used]
#[unsafe(link_section = ".preinit_array")]
static BEFORE_LIBRARIES: extern "C" fn() = leave;
