//! The whole program against FFmpeg, on some of the combinations of `make check-formats`.

use super::*;
use std::process::Command;

#[test]
fn frames_times_pictures_and_sound_are_those_that_ffmpeg_decodes() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check_formats.py");
    let mut check = Command::new("python3");
    check.arg(script).args(["--subset", "--program", env!("CARGO_BIN_EXE_nst-stream")]);
    println!("{}", succeed(&mut check));
}
