//! A library that stands between the program and the C library, to see and to hold up what it does with
//! files (shim.c).
#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::succeed;

/// Compiled into a folder; the path of the library.
fn compiled(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/shim.c");
    let library = folder.join("shim.so");
    let compiler = std::env::var_os("CC").unwrap_or("cc".into());
    let mut compile = Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    succeed(&mut compile);
    library
}

/// Holds up a program where it writes into files whose names end in something, until it is let go.
pub struct Hold {
    folder: tempfile::TempDir,
    variables: [(&'static str, PathBuf); 3],
}

impl Hold {
    pub fn at(ending: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (library, hold) = (compiled(folder.path()), folder.path().join("hold"));
        std::fs::write(&hold, "").unwrap();
        let variables =
            [("LD_PRELOAD", library), ("SHIM_HOLD", hold), ("SHIM_AT", PathBuf::from(ending))];
        Hold { folder, variables }
    }

    pub fn holds(&self, command: &mut Command) {
        command.envs(self.variables.iter().cloned());
    }

    /// For a shell.
    pub fn in_words(&self) -> String {
        let words =
            self.variables.iter().map(|(name, value)| format!("{name}={}", value.display()));
        words.collect::<Vec<_>>().join(" ")
    }

    pub fn lets_go(&self) {
        std::fs::remove_file(self.folder.path().join("hold")).unwrap();
    }
}

/// Which files of a folder a program writes back to the disk ("fsync"), and which names it gives
/// ("rename"), in order; the folder itself is ".".
pub fn stored(folder: &Path, command: &mut Command) -> Vec<String> {
    let own = tempfile::tempdir().unwrap();
    let log = own.path().join("log");
    command.env("LD_PRELOAD", compiled(own.path())).env("SHIM_LOG", &log);
    succeed(command);
    let folder = folder.canonicalize().unwrap();
    let name = |path: &str| match Path::new(path).strip_prefix(&folder) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => path.to_owned(),
    };
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines = log.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(what, path)| format!("{what} {}", name(path))).collect()
}
