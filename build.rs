//! Tells the linker where libtorch will be found when the program runs, and the program its commit.
//!
//! `.libtorch/lib` holds links into the folder where libtorch was unpacked. The run-time path must
//! name that real folder: libtorch_cpu.so finds its own needs relative to where it really is, and
//! an installed binary must go on working after the clone is gone.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // Set by `make install` and `make package`: a build of one's own would be built anew with every commit.
    println!("cargo:rerun-if-env-changed=NST_COMMIT");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = std::env::var("NST_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
    println!("cargo:rustc-env=NST_VERSION={version}{commit}");
    // Set by torch-sys (its `links` key is "tch"); absent when documentation alone is built.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    let library = Path::new(&lib).join("libtorch_cpu.so");
    println!("cargo:rerun-if-changed={}", library.display());
    let real = library.canonicalize().unwrap_or(library);
    if let Some(folder) = real.parent() {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
    }
}
