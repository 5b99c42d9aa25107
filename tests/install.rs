//! The installed program needs nothing of the clone it was built from.
//!
//! People build, install and throw the clone away, or run the program from a service with hardly
//! any environment. So the binary carries its models, and libtorch is looked for in the folder where
//! it was unpacked, not through links in the clone. Where the process may, the clone is hidden under
//! an empty folder while the program runs, in a mount namespace that nobody else sees.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{data, output, succeed};

fn clone() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `cargo install` does behind its build, which would take minutes: the program goes into a bin folder.
fn install(root: &Path) -> PathBuf {
    let program = root.join("bin/nst-stream");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_nst-stream"), &program).unwrap();
    program
}

/// An empty environment but for home and path, and a folder that has nothing to do with the clone.
fn bare(program: impl AsRef<std::ffi::OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command
}

/// Paints a small picture and asks for what else the program carries.
fn paints_and_knows_its_models(run: &dyn Fn(&[&str]) -> Command, home: &Path) {
    let painted = home.join("out.png");
    let _ = fs::remove_file(&painted);
    succeed(&mut run(&["-m", "mosaic", "-i", "cat.png", "-o", "out.png"]));
    let [before, after] =
        [&home.join("cat.png"), &painted].map(|path| image::open(path).unwrap().into_rgb8());
    assert_eq!(before.dimensions(), after.dimensions());
    assert!(common::psnr(&before, &after) < 20.0, "it is painted");

    let models = succeed(&mut run(&["models"]));
    assert!(models.contains("mosaic") && models.contains("vgg16, 15.3 MB"), "{models}");
    // The network that training measures with: there, and known for what it is.
    let vgg = output(&mut run(&["models", "show", "vgg16"]));
    let said = String::from_utf8([vgg.stdout, vgg.stderr].concat()).unwrap();
    assert!(said.contains("vgg16") && !said.contains("no such file"), "{said}");
}

/// Whether this process may hide the clone from a program.
fn may_hide() -> bool {
    let mut attempt = Command::new("unshare");
    attempt.args(["-m", "sh", "-c", "mount -t tmpfs none \"$0\" && test ! -e \"$0/Cargo.toml\""]);
    attempt.arg(clone()).output().is_ok_and(|out| out.status.success())
}

#[test]
fn an_installed_program_runs_anywhere_after_the_clone_is_gone() {
    let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let program = install(root.path());
    fs::copy(data("chelsea.png"), home.path().join("cat.png")).unwrap();

    let libraries = succeed(bare("ldd", home.path()).arg(&program));
    assert!(libraries.contains("libtorch_cpu.so => /"), "{libraries}");
    assert!(!libraries.contains("not found"), "{libraries}");
    let below = format!("=> {}/", clone().display());
    assert!(!libraries.contains(&below), "a library lies in the clone:\n{libraries}");

    let run = |args: &[&str]| {
        let mut command = bare(&program, home.path());
        command.args(args);
        command
    };
    paints_and_knows_its_models(&run, home.path());

    if !may_hide() {
        eprintln!("SKIPPED: this process may not mount, so the clone stayed in sight");
        return;
    }
    let hidden = |args: &[&str]| {
        let script = "mount -t tmpfs none \"$0\" && test ! -e \"$0/Cargo.toml\" && exec \"$@\"";
        let mut command = bare("unshare", home.path());
        command.args(["-m", "sh", "-c", script]).arg(clone()).arg(&program).args(args);
        command
    };
    paints_and_knows_its_models(&hidden, home.path());
    assert!(clone().join("Cargo.toml").exists(), "outside nothing was hidden");
}

/// What Cargo.toml says is what cargo and rustup go by, and setup.sh checks it: it is to be true of everything
/// that Cargo.lock pins.
#[test]
fn the_stated_rust_version_is_enough_for_every_dependency() {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(clone()).args(["metadata", "--locked", "--offline", "--format-version", "1"]);
    let text = succeed(cargo.args(["--filter-platform", &platform]));
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let version = |package: &serde_json::Value| -> Vec<u32> {
        let text = package["rust_version"].as_str().unwrap_or("0");
        let mut parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
        // 1.94 is 1.94.0.
        parts.resize(3, 0);
        parts
    };
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "{} packages", packages.len());
    let own = packages.iter().find(|package| package["name"] == "nst-stream").unwrap();
    for package in packages {
        let (name, needed) = (&package["name"], version(package));
        assert!(needed <= version(own), "{name} needs Rust {needed:?}");
    }
    let readme = fs::read_to_string(clone().join("README.md")).unwrap();
    let stated = own["rust_version"].as_str().unwrap();
    assert!(readme.contains(&format!(" {stated} or newer")), "README does not name Rust {stated}");
}
