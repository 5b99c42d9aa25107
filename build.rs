//! Tells the linker where libtorch will be found when the program runs.
//!
//! `.libtorch/lib` holds links into the folder where libtorch was unpacked. The run-time path must
//! name that real folder: libtorch_cpu.so finds its own needs relative to where it really is, and
//! an installed binary must go on working after the clone is gone.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // Set by torch-sys (its `links` key is "tch"); absent when documentation alone is built.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    let library = Path::new(&lib).join("libtorch_cpu.so");
    println!("cargo:rerun-if-changed={}", library.display());
    let real = library.canonicalize().unwrap_or(library);
    if let Some(folder) = real.parent() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
