//! Files that are played live are decoded as well as those that are not.

use std::path::{Path, PathBuf};

use crate::common::*;
use crate::program::Live;

/// A clip made by ffmpeg.
fn made(folder: &Path, name: &str, source: &str, args: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let input = ["-f", "lavfi", "-i", source, "-t", "6"];
    ffmpeg(&[&input, args, &[path.to_str().unwrap()]].concat());
    path
}

/// What a live output gets of a file that is played, and what was said.
fn played(input: &Path) -> (PathBuf, String) {
    let (output, own) = (input.with_extension("out.mkv"), input.with_extension("pipeline"));
    let text = format!(
        "appsrc name=frames ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast \
         pass=quant quantizer=5 ! matroskamux ! filesink location=\"{}\"",
        output.display()
    );
    std::fs::write(&own, text).unwrap();
    let (input, own) = (input.to_str().unwrap(), own.to_str().unwrap());
    let ended = Live::start(&["-i", input, "--pipeline-sink", own, "--strength", "0"]).wait();
    assert_eq!(ended.code, Some(0), "{input}: {}", ended.stderr);
    (output, ended.stderr)
}

#[test]
fn a_file_that_is_played_live_gets_the_repairs_of_one_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::thread::scope(|scope| {
        scope.spawn(|| interlaced_video_becomes_progressive(folder));
        scope.spawn(|| what_is_transparent_is_shown_on_black(folder));
        scope.spawn(|| what_says_it_is_transparent_and_is_not_is_opaque(folder));
        scope.spawn(|| a_size_that_changes_is_fitted_in(folder));
    });
}

fn interlaced_video_becomes_progressive(folder: &Path) {
    // A bar that moves fast: its edges are torn where two fields are shown as one frame.
    let bar = "color=black:s=640x240:r=50,format=yuv420p,\
         geq=lum='16+219*between(mod(X-N*12,640),0,60)':cb=128:cr=128,tinterlace=interleave_top";
    let args = ["-c:v", "libx264", "-flags", "+ilme+ildct", "-top", "1"];
    let input = made(folder, "interlaced.mkv", bar, &args);
    let torn = |path: &Path| {
        let frame = &yuv_frames(path)[10];
        let lines: Vec<&[u8]> = frame.y.chunks_exact(640).collect();
        let differ = |pair: &[&[u8]]| {
            pair[0].iter().zip(pair[1]).filter(|(a, b)| a.abs_diff(**b) > 100).count()
        };
        lines.windows(2).map(differ).sum::<usize>()
    };
    assert!(torn(&input) > 2000, "the clip itself is torn: {}", torn(&input));
    let (output, said) = played(&input);
    assert!(said.contains("interlaced"), "{said}");
    assert!(torn(&output) < 200, "{} places are torn", torn(&output));
}

fn what_is_transparent_is_shown_on_black(folder: &Path) {
    let half = "color=white:s=160x120:r=25,format=yuva420p,\
         geq=lum=235:cb=128:cr=128:a='255*gte(X,W/2)'";
    let input = made(folder, "clear.webm", half, &["-c:v", "libvpx", "-auto-alt-ref", "0"]);
    let (output, said) = played(&input);
    assert!(said.contains("painted on black"), "{said}");
    let frame = &yuv_frames(&output)[5];
    let row = &frame.y[160 * 60..][..160];
    assert!(row[20] < 40 && row[140] > 200, "{} and {}", row[20], row[140]);
}

fn what_says_it_is_transparent_and_is_not_is_opaque(folder: &Path) {
    let args = ["-c:v", "libvpx", "-pix_fmt", "yuv420p", "-metadata:s:v:0", "alpha_mode=1"];
    let input = made(folder, "opaque.webm", "color=white:s=160x120:r=25", &args);
    let (output, said) = played(&input);
    assert!(said.contains("decoded as opaque"), "{said}");
    assert!(yuv_frames(&output)[5].y.iter().all(|v| *v > 200));
}

fn a_size_that_changes_is_fitted_in(folder: &Path) {
    let part = |size: &str| {
        let source = format!("color=white:s={size}:r=25");
        made(folder, &format!("{size}.webm"), &source, &["-c:v", "libvpx"])
    };
    let parts = ["160x120", "320x240"].map(part);
    let list = parts.map(|part| format!("file '{}'\n", part.display())).concat();
    let (names, input) = (folder.join("list"), folder.join("changes.webm"));
    std::fs::write(&names, list).unwrap();
    let args = ["-f", "concat", "-safe", "0", "-i", names.to_str().unwrap(), "-c", "copy"];
    ffmpeg(&[&args[..], &[input.to_str().unwrap()]].concat());
    let (output, said) = played(&input);
    assert!(said.contains("picture changes"), "{said}");
    assert_eq!(size(&output), (160, 120));
    assert!(yuv_frames(&output).last().unwrap().y.iter().all(|v| *v > 200));
}

#[test]
fn a_file_that_is_played_live_begins_with_its_first_picture() {
    let folder = tempfile::tempdir().unwrap();
    let brighter = "color=black:s=64x48:r=2,format=yuv420p,geq=lum='40+15*N':cb=128:cr=128";
    let input = made(folder.path(), "brighter.mkv", brighter, &["-c:v", "libx264", "-crf", "5"]);
    let (output, _) = played(&input);
    let first = &yuv_frames(&output)[0].y;
    let mean = first.iter().map(|y| u32::from(*y)).sum::<u32>() / first.len() as u32;
    assert!(mean < 48, "the first picture is {mean}, not 40");
}
