//! Tracks that begin or end at other times than the picture.

use std::path::Path;

use super::common::carphone;
use super::*;

/// The clip, and a second input: a tone of four seconds.
fn inputs(clip: &str) -> [&str; 6] {
    ["-i", clip, "-f", "lavfi", "-i", TONES]
}

const BOTH: [&str; 6] = ["-map", "0:v", "-map", "1:a", "-c:a", "aac"];

#[test]
fn the_picture_after_late_edits_is_whole_however_many_key_frames_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let keys =
        ["-c:v", "libx264", "-preset", "ultrafast", "-force_key_frames", "0,1.4,1.8,2.4,3.2"];
    let args = [&inputs(clip.to_str().unwrap())[..], &BOTH, &keys].concat();
    let whole = make(folder.path(), "keys.mp4", &args);
    // Copied from the key frame at 0 on; an edit list hides what comes before 1.31 s.
    let cut = ["-ss", "1.31", "-i", whole.to_str().unwrap(), "-c", "copy"];
    let input = make(folder.path(), "cut.mp4", &cut);
    let out = folder.path().join("out.mp4");
    convert(&input, &out);
    // The one that is shown at 1.31 s, and all after it.
    let times = frame_times(&out);
    assert_eq!(times.len(), 120 - 39);
    assert!((times[80] - (119.0 * 1001.0 / 30000.0 - 1.31)).abs() < 0.001, "{times:?}");
}

#[test]
fn short_sound_and_sound_before_the_picture_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let inputs = inputs(clip.to_str().unwrap());
    let short = ["-c:v", "copy", "-af", "atrim=0:0.5"];
    // A seventh of the movie: qtdemux (1.22) would leave it out.
    let short = make(folder.path(), "short.mp4", &[&inputs[..], &BOTH, &short].concat());
    let late = [&["-itsoffset", "0.7"], &inputs[..], &BOTH, &["-c:v", "copy"]].concat();
    let late_mp4 = make(folder.path(), "late.mp4", &late);
    let late_mkv = make(folder.path(), "late.mkv", &late);
    for input in [short, late_mp4, late_mkv] {
        for name in ["out.mp4", "out.mkv"] {
            let out = folder.path().join(name);
            let notes = convert(&input, &out);
            let what = format!("{} to {name}", input.display());
            assert!(notes.is_empty(), "{what}: {notes:?}");
            let all = packets(&input, "a:0").into_iter();
            let before: Vec<_> = all.filter(|p| p.at + p.duration > 0.0005).collect();
            assert_same(&before, &packets(&out, "a:0"), shift(&input, &out), &what);
            assert_begins_alike(&input, &out, &what);
        }
    }
}

/// The picture is as late after the beginning of the file.
fn assert_begins_alike(before: &Path, after: &Path, what: &str) {
    let (before, after) = (frame_times(before), frame_times(after));
    assert_eq!(before.len(), after.len(), "{what}");
    assert!((before[0] - after[0]).abs() < 0.0011, "{what}: {} became {}", before[0], after[0]);
}
