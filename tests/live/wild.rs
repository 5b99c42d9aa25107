//! Cameras as they are: codecs, lost packets, timestamps that wrap or jump, passwords with special characters.

use std::path::Path;

use crate::camera::Camera;
use crate::common::*;
use crate::program::{self, Live};

const PICTURE: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,\
                       framerate=25/1";
const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25";

/// Cameras: a name, elements of the picture, of the sound, and the sound's codec in an .mkv.
fn cameras() -> Vec<(&'static str, String, &'static str, Option<&'static str>)> {
    let h264 = |more: &str| format!("{PICTURE} ! {H264} ! {more}");
    let tone = "audiotestsrc is-live=true ! audioconvert ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97";
    // 32 bits wrap after three seconds.
    let wraps = u32::MAX - 3 * 90_000;
    vec![
        (
            "H.265 without sound",
            format!(
                "{PICTURE} ! x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h265parse \
                 ! rtph265pay name=pay0 pt=96"
            ),
            "",
            None,
        ),
        ("MJPEG", format!("{PICTURE} ! jpegenc ! rtpjpegpay name=pay0 pt=26"), tone, Some("aac")),
        (
            "G.726",
            h264("rtph264pay name=pay0 pt=96"),
            "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! avenc_g726 bitrate=32000 \
             ! rtpg726pay name=pay1 pt=97",
            // Matroska has no name for it.
            Some("opus"),
        ),
        (
            "a timestamp that wraps",
            h264(&format!("rtph264pay timestamp-offset={wraps} name=pay0 pt=96")),
            tone,
            Some("aac"),
        ),
        (
            "timestamps that jump back",
            h264("rtph264pay pt=96 ! identity name=jumps ! capsfilter name=pay0"),
            tone,
            Some("aac"),
        ),
        (
            "lost packets",
            h264("rtph264pay pt=96 ! identity drop-probability=0.02 ! capsfilter name=pay0"),
            tone,
            Some("aac"),
        ),
        (
            "another stream, of data",
            h264("rtph264pay name=pay0 pt=96"),
            "videotestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=1/1 \
             ! rtpgstpay name=pay1 pt=98",
            None,
        ),
    ]
}

#[test]
fn cameras_of_every_kind_are_recorded_without_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cameras = cameras();
    // Not all at once: the encoders of the cameras share the machine.
    let wrong: Vec<String> = cameras
        .chunks(4)
        .enumerate()
        .flat_map(|(round, some)| {
            std::thread::scope(|scope| {
                let run =
                    |(n, camera)| scope.spawn(move || recorded(folder, 4 * round + n, camera));
                let runs: Vec<_> = some.iter().enumerate().map(run).collect();
                runs.into_iter().filter_map(|run| run.join().unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Records a camera; what is wrong with the file.
fn recorded(
    folder: &Path,
    number: usize,
    (name, picture, sound, codec): &(&str, String, &str, Option<&str>),
) -> Option<String> {
    let camera = Camera::of(&format!("{picture}  {sound}"));
    let out = folder.join(format!("{number}.mkv"));
    let args = ["-i", &camera.url(), "-o", out.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&args);
    live.until_said_times(" dropped", 2);
    let ended = live.interrupt();
    let times = frame_times(&out);
    let gap = times.windows(2).map(|t| t[1] - t[0]).fold(0.0, f64::max);
    let rate = times.len() as f64 / times.last().copied().unwrap_or(1.0);
    let has = stream_field(&out, "a:0", "codec_name");
    println!(
        "{name}: {} frames, {rate:.1} a second, widest gap {gap:.2} s, sound {has}",
        times.len()
    );
    let well = ended.code == Some(130)
        && times.len() > 60
        && gap < 1.5
        && (12.0..35.0).contains(&rate)
        && has == codec.unwrap_or_default();
    (!well).then(|| {
        format!("{name}: {} frames, {rate} a second, {gap} s, {has}: {}", times.len(), ended.stderr)
    })
}

#[test]
fn passwords_with_special_characters_pass_by_basic_and_digest() {
    let password = "p@:/ß%?#&+ ö";
    let written = "p%40%3A%2F%C3%9F%25%3F%23%26%2B%20%C3%B6";
    for camera in [Camera::guarded("me@home", password), Camera::with_digest("me@home", password)] {
        let url = camera.url().replace("rtsp://", &format!("rtsp://me%40home:{written}@"));
        let live = Live::serve(&["-vv", "-i", &url, "--strength", "0"]);
        assert!(program::ffmpeg_frames(&live.served(), 5) >= 5, "{}", live.said());
        let ended = live.interrupt();
        assert!(!ended.stderr.contains(written), "{}", ended.stderr);
    }
}
