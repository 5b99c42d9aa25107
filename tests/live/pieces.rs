//! Recordings in pieces.

use std::path::{Path, PathBuf};

use crate::camera::Camera;
use crate::common::*;
use crate::program::Live;

/// The numbers that a counting source has drawn as grey levels.
fn levels(path: &Path) -> Vec<u32> {
    let mean = |y: &[u8]| y.iter().map(|y| u32::from(*y)).sum::<u32>() as f64 / y.len() as f64;
    yuv_frames(path).iter().map(|frame| ((mean(&frame.y) - 20.0) / 2.0).round() as u32).collect()
}

/// The pieces in a folder, in order.
fn pieces(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == ending));
    files.sort();
    files
}

/// Waits until so many pieces have their names.
fn wait_for_pieces(folder: &Path, ending: &str, count: usize, live: &Live) {
    let started = std::time::Instant::now();
    let complete = || {
        let partial = |path: &PathBuf| path.to_string_lossy().contains(".partial");
        pieces(folder, ending).iter().filter(|path| !partial(path)).count()
    };
    while complete() < count {
        assert!(started.elapsed().as_secs() < 120, "{:?} {}", pieces(folder, ending), live.said());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// A clip of so many seconds whose n-th frame is of level n mod 100, with sound.
fn counting_clip(path: &Path, seconds: u32) {
    let picture = "color=black:s=64x48:r=25,format=yuv420p,geq=lum='20+2*mod(N,100)':cb=128:cr=128";
    let length = seconds.to_string();
    let tone = ["-f", "lavfi", "-i", "sine=440:r=48000", "-t", &length];
    let codecs = ["-c:v", "libx264", "-qp", "4", "-g", "25", "-c:a", "aac"];
    let inputs = ["-f", "lavfi", "-i", picture];
    ffmpeg(&[&inputs[..], &tone, &codecs, &[path.to_str().unwrap()]].concat());
}

#[test]
#[ignore = "an output drops frames where the machine is too busy to encode: alone, on a quiet machine"]
fn pieces_hold_every_frame_once_and_each_plays_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mkv");
    counting_clip(&clip, 30);
    for (ending, codec) in [("mp4", "aac"), ("mkv", "aac"), ("mov", "aac"), ("webm", "opus")] {
        let (to, whole) =
            (folder.path().join(ending), folder.path().join(format!("whole.{ending}")));
        std::fs::create_dir(&to).unwrap();
        let names = to.join("art-%03d.").display().to_string() + ending;
        let own = folder.path().join("own.pipeline");
        // What the outputs were given, in one file.
        let text = format!(
            "appsrc name=frames max-buffers=500 ! videoconvert ! x264enc tune=zerolatency pass=quant \
             quantizer=4 speed-preset=ultrafast ! matroskamux ! filesink location=\"{}\"",
            whole.display()
        );
        std::fs::write(&own, text).unwrap();
        let camera = Camera::of(&format!(
            "filesrc location={} ! matroskademux name=of of. ! queue ! h264parse \
             ! rtph264pay name=pay0 pt=96 config-interval=-1 \
             of. ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97",
            clip.display()
        ));
        let (url, own) = (camera.url(), own.to_str().unwrap());
        let input = ["-i", &url, "--rtsp-transport", "tcp", "--strength", "0", "--json"];
        let outputs = ["-o", &names, "--segment", "4s", "--quality", "95", "--pipeline-sink", own];
        let live = Live::start(&[&input[..], &outputs].concat());
        wait_for_pieces(&to, ending, 3, &live);
        let ended = live.interrupt();
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(summary["dropped_by_outputs"], serde_json::json!([0, 0]), "{summary}");
        let files = pieces(&to, ending);
        assert!(files.len() >= 3, "{files:?}");
        assert_eq!(files[0].file_name().unwrap(), format!("art-001.{ending}").as_str());
        // When each frame was shown.
        let (times, mut all) = (frame_times(&whole), Vec::new());
        for (n, file) in files.iter().enumerate() {
            let first = frame_times(file)[0];
            assert!(first.abs() < 0.03, "{file:?} begins at {first}");
            let begins = times[all.len()];
            all.extend(levels(file));
            assert_eq!(stream_field(file, "a:0", "codec_name"), codec, "{file:?}");
            // The last one may end before its sound has come.
            let Some(ends) = times.get(all.len()).filter(|_| n + 1 < files.len()) else { continue };
            let sound = audio_length(file);
            assert!(
                (sound - (ends - begins)).abs() < 0.15,
                "{file:?}: {sound} s, {begins} to {ends}"
            );
        }
        assert_eq!(all, levels(&whole), "{ending}: {}", ended.stderr);
    }
}

/// Length of the sound of a file, decoded.
fn audio_length(path: &Path) -> f64 {
    let mut command = std::process::Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    command.args(["-vn", "-ac", "1", "-ar", "48000", "-f", "s16le", "-"]);
    let out = output(&mut command);
    // It may complain about times of samples that are rounded.
    assert!(out.status.success(), "{path:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout.len() as f64 / 2.0 / 48_000.0
}

#[test]
fn pieces_are_counted_on_and_replace_nothing_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("art-00007.mp4");
    std::fs::write(&there, "earlier").unwrap();
    let names = folder.path().join("art-%05d.mp4").display().to_string();
    let camera = Camera::with_sound();
    let args = ["-i", &camera.url(), "-o", &names, "--segment", "2s", "--strength", "0"];
    let live = Live::start(&args);
    wait_for_pieces(folder.path(), "mp4", 3, &live);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "earlier");
    let files = pieces(folder.path(), "mp4");
    let named: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(named[..3], ["art-00007.mp4", "art-00008.mp4", "art-00009.mp4"], "{named:?}");
    assert!(!named.iter().any(|name| name.to_string_lossy().contains("partial")), "{named:?}");
    for file in &files[1..] {
        assert!(index_in_front(file) && frame_times(file).len() > 1, "{file:?}");
        assert_eq!(stream_field(file, "a:0", "codec_name"), "aac", "{file:?}");
    }
}

#[test]
fn pieces_need_a_number_in_their_name_and_a_live_run() {
    let cases: [(&[&str], &str); 5] = [
        (&["-i", "test:", "-o", "art.mp4", "--segment", "10m"], "needs a number in its name"),
        (&["-i", "test:", "-o", "art-%d.mp4"], "give --segment"),
        (&["-i", "test:", "-o", "window:", "--segment", "10m"], "--segment is for recordings"),
        (&["-i", "a.mp4", "-o", "art-%d.mp4", "--segment", "10m"], "live recordings"),
        (&["-i", "test:", "-o", "art-%d.mp4", "--segment", "10"], "90s, 10m, 1h30m"),
    ];
    for (args, why) in cases {
        let ended = Live::start(args).wait();
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(why), "{args:?}: {}", ended.stderr);
    }
}
