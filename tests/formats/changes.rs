//! Pictures that change their size in mid-stream.

use super::*;

/// Black on the left and white on the right, a second of it.
fn half_white(folder: &tempfile::TempDir, name: &str, size: &str, encoder: &[&str]) -> PathBuf {
    let source = format!(
        "color=black:s={size}:r=25:d=1,format=yuv420p,geq=lum='16+219*gte(X,W/2)':cb=128:cr=128"
    );
    made(folder, name, &[&["-f", "lavfi", "-i", &source, "-c:v"], encoder].concat())
}

/// One after another, copied.
fn joined(folder: &tempfile::TempDir, name: &str, parts: &[&Path]) -> PathBuf {
    let list: String = parts.iter().map(|part| format!("file '{}'\n", part.display())).collect();
    let names = folder.path().join("list");
    std::fs::write(&names, list).unwrap();
    made(folder, name, &["-f", "concat", "-safe", "0", "-i", names.to_str().unwrap(), "-c", "copy"])
}

/// Every frame is black on the left and white on the right, whatever size it came in.
fn assert_whole(path: &Path, what: &str) {
    let (width, height) = size(path);
    let frames = yuv_frames(path);
    for (n, frame) in frames.iter().enumerate() {
        let row = &frame.y[width * height / 2..][..width];
        let bright = row.iter().filter(|v| **v > 180).count();
        let dark = row.iter().filter(|v| **v < 60).count();
        let halves = bright.abs_diff(width / 2) < 6 && dark.abs_diff(width / 2) < 6;
        assert!(
            halves && row[4] < 60 && row[width - 4] > 180,
            "{what}, frame {n}: {bright} {dark}"
        );
    }
}

#[test]
fn a_size_that_changes_in_mid_stream_is_fitted_into_the_first_and_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let h264 = ["libx264", "-preset", "ultrafast", "-bf", "0"];
    let sizes = ["160x120", "320x240"];
    let stream = sizes.map(|size| half_white(&folder, &format!("{size}.ts"), size, &h264));
    let vp8 = sizes.map(|size| half_white(&folder, &format!("{size}.webm"), size, &["libvpx"]));
    for name in ["in.mp4", "in.mkv", "in.ts", "in.webm"] {
        let parts = if name == "in.webm" { &vp8 } else { &stream };
        for first in [0, 1] {
            let order = [&parts[first], &parts[1 - first], &parts[first]].map(PathBuf::as_path);
            let input = joined(&folder, name, &order);
            for output in ["out.mp4", "out.y4m"] {
                let what = format!("{name} of {} first into {output}", sizes[first]);
                let output = folder.path().join(output);
                let _ = std::fs::remove_file(&output);
                let (done, said) = converted(&input, &output, QUICK);
                let is = size(&output);
                assert_eq!(format!("{}x{}", is.0, is.1), sizes[first], "{what}");
                println!("{what}: {} frames", done.frames);
                assert!((73..=76).contains(&done.frames), "{what}: {} frames", done.frames);
                assert_eq!(frame_times(&output).len() as u64, done.frames, "{what}");
                assert_whole(&output, &what);
                let notes = said.0.iter().filter(|note| note.contains("picture changes"));
                assert_eq!(notes.count(), 1, "{what}: {:?}", said.0);
            }
        }
    }
}

#[test]
fn a_transport_stream_whose_programme_map_changes_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["programme_changes.ts", "sound_leaves.ts"] {
        let (input, output) = (data(name), folder.path().join("out.mkv"));
        let _ = std::fs::remove_file(&output);
        let (done, _) = converted(&input, &output, QUICK);
        assert_eq!(done.frames as usize, frame_times(&input).len(), "{name}");
        assert_eq!(frame_times(&output).len() as u64, done.frames, "{name}");
        assert_eq!(stream_field(&output, "a:0", "codec_name"), "aac", "{name}");
    }
}

#[test]
fn a_shape_that_changes_gets_black_bars() {
    let folder = tempfile::tempdir().unwrap();
    let white = |size: &str| {
        let source = format!("color=white:s={size}:r=25:d=1");
        let name = format!("{size}.webm");
        made(&folder, &name, &["-f", "lavfi", "-i", &source, "-c:v", "libvpx"])
    };
    let (wide, narrow) = (white("160x120"), white("60x120"));
    let input = joined(&folder, "in.webm", &[&wide, &narrow]);
    let output = folder.path().join("out.mkv");
    converted(&input, &output, QUICK);
    assert_eq!(size(&output), (160, 120));
    let frames = yuv_frames(&output);
    let bright = |frame: &Yuv| frame.y[160 * 60..][..160].iter().filter(|v| **v > 180).count();
    assert_eq!(bright(&frames[0]), 160);
    let narrow = frames.last().unwrap();
    assert!(bright(narrow).abs_diff(60) < 6, "{} columns", bright(narrow));
    assert!(narrow.y[160 * 60 + 80] > 180 && narrow.y[160 * 60] < 40, "in the middle");
}

#[test]
fn h264_that_changes_its_size_and_shape_keeps_every_frame_and_its_time() {
    let folder = tempfile::tempdir().unwrap();
    // 15 frames of 160×96, then 15 of 128×128.
    let input = data("size_change.mkv");
    for name in ["out.mp4", "out.webm"] {
        let output = folder.path().join(name);
        let (_, said) = converted(&input, &output, QUICK);
        assert_eq!(size(&output), (160, 96), "{name}");
        assert_same_times(&frame_times(&input), &frame_times(&output), 0.0011, name);
        let words = "picture changes from 160×96 to 128×128 at 0.60 s: fitted into 160×96";
        assert!(said.has(words), "{name}: {:?}", said.0);
    }
}

#[test]
fn the_program_neither_crashes_nor_complains_of_its_own_elements() {
    let folder = tempfile::tempdir().unwrap();
    let parts = ["320x240", "160x120"]
        .map(|size| half_white(&folder, &format!("{size}.webm"), size, &["libvpx"]));
    let input = joined(&folder, "in.webm", &[&parts[0], &parts[1], &parts[0]]);
    let output = folder.path().join("out.mp4");
    let (input, path) = (input.to_str().unwrap(), output.to_str().unwrap());
    let args = ["-m", "mosaic", "--strength", "0", "-i", input, "-o", path];
    let ended = nst().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(!said.contains("CRITICAL") && !said.contains("WARNING **"), "{said}");
    assert!(said.contains("picture changes"), "{said}");
    assert_eq!(size(&output), (320, 240));
}

/// Recordings of television: of the first the sound ends, of the second the programme changes.
#[test]
fn a_transport_stream_whose_tables_change_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sound_leaves.ts", "programme_changes.ts"] {
        let input = data(name);
        let output = folder.path().join("out.mp4");
        let (done, said) = converted(&input, &output, QUICK);
        let frames = rgb_frames(&input, 1000).len();
        assert_eq!(done.frames as usize, frames, "{name}: {:?}", said.0);
        assert_eq!(frame_times(&output).len(), frames, "{name}");
    }
}
