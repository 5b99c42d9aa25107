//! Parts of files: `--start`, `--duration`, `--preview`.

use super::*;
use nst_stream::core::span::Span;
use std::time::Duration;

/// Frames of one grey each, 8 levels brighter than the one before.
const STEPS: &str = "color=black:s=64x64:r=25:d=1,geq=lum='16+8*N':cb=128:cr=128,format=yuv420p";
const H264: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-crf", "5", "-g", "12"];

/// 25 frames made by ffmpeg; where `still`, the eleventh stays on the screen from 0.40 s to 0.64 s.
fn steps(folder: &tempfile::TempDir, name: &str, still: bool, args: &[&str]) -> PathBuf {
    let filter = if still { "select='not(between(n,11,15))'" } else { "null" };
    let source = ["-f", "lavfi", "-i", STEPS, "-vf", filter, "-fps_mode", "vfr"];
    made(folder, name, &[&source, args].concat())
}

fn seconds(at: f64) -> Duration {
    Duration::from_secs_f64(at)
}

/// The part of a file: which frames it has, and when they are shown.
fn part(input: &Path, output: &Path, start: f64, length: f64) -> (Vec<usize>, Vec<f64>) {
    let span = Span { start: Some(seconds(start)), duration: Some(seconds(length)) };
    let job = VideoJob { encoding: QUICK, span, ..VideoJob::new(input, output) };
    let _ = std::fs::remove_file(output);
    let (done, said) = route::route(&job, Identity);
    done.unwrap_or_else(|e| panic!("{}: {e:#} {:?}", input.display(), said.0));
    (yuv_frames(output).iter().map(|frame| number(&frame.y)).collect(), frame_times(output))
}

/// Which frame this brightness belongs to.
fn number(luma: &[u8]) -> usize {
    let mean = luma.iter().map(|v| f64::from(*v)).sum::<f64>() / luma.len() as f64;
    ((mean - 16.0) / 8.0).round() as usize
}

fn assert_times(times: &[f64], expected: &[f64], what: &str) {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() < 0.0021;
    assert!(
        times.len() == expected.len() && times.iter().zip(expected).all(close),
        "{what}: {times:?}, not {expected:?}"
    );
}

#[test]
fn a_span_begins_with_the_frame_that_is_on_the_screen_however_long() {
    let folder = tempfile::tempdir().unwrap();
    let vp9 = ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "5", "-deadline", "realtime"];
    let cases: [(&str, &[&str]); 8] = [
        ("in.mp4", H264),
        ("in.mkv", H264),
        ("in.ts", H264),
        ("in.flv", H264),
        ("in.webm", &vp9),
        ("in.wmv", &["-c:v", "wmv2", "-q:v", "2"]),
        ("in.avi", &["-c:v", "zmbv", "-pix_fmt", "bgr0"]),
        ("in.mov", &["-c:v", "prores_ks"]),
    ];
    for (name, args) in cases {
        let input = steps(&folder, name, true, args);
        let output = folder.path().join("out.mp4");
        let (frames, times) = part(&input, &output, 0.52, 0.3);
        assert_eq!(frames, [10, 16, 17, 18, 19, 20], "{name}");
        assert_times(&times, &[0.0, 0.12, 0.16, 0.2, 0.24, 0.28], name);
        // Nothing but the still, which lasts until the span ends.
        let (frames, _) = part(&input, &output, 0.44, 0.15);
        assert_eq!(frames, [10], "{name}");
        let lasts: f64 = stream_field(&output, "v:0", "duration").parse().unwrap();
        println!("{name}: the still lasts {lasts} s");
        assert!((lasts - 0.15).abs() < 0.02, "{name}: {lasts} s");
        let picture = folder.path().join("out.png");
        let args = ["-m", "mosaic", "--strength", "0", "--overwrite", "--preview", "0.6"];
        let (from, to) = (input.to_str().unwrap(), picture.to_str().unwrap());
        succeed(nst().args(args).args(["-i", from, "-o", to]));
        let shown = image::open(&picture).unwrap().into_luma8();
        let expected = f64::from(8 * 10) * 255.0 / 219.0;
        let mean = shown.iter().map(|v| f64::from(*v)).sum::<f64>() / shown.len() as f64;
        assert!((mean - expected).abs() < 4.0, "{name}: {mean}, not {expected}");
    }
}

/// Containers that only know in which order frames are decoded, and streams without one.
#[test]
fn a_span_is_exact_where_nothing_says_when_frames_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mpeg4 = ["-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "12"];
    let mpeg2 = ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-g", "12"];
    let cases: [(&str, &[&str]); 6] = [
        ("mpeg4.avi", &mpeg4),
        ("mpeg2.avi", &mpeg2),
        ("h264.avi", H264),
        ("in.h264", H264),
        ("in.m2v", &mpeg2),
        ("in.ivf", &["-c:v", "libvpx", "-b:v", "2M", "-auto-alt-ref", "0"]),
    ];
    for (name, args) in cases {
        let input = steps(&folder, name, false, args);
        let output = folder.path().join("out.mp4");
        for start in [0.4, 0.52] {
            let (frames, times) = part(&input, &output, start, 0.2);
            let first = (start * 25.0_f64).round() as usize;
            assert_eq!(frames, (first..first + 5).collect::<Vec<_>>(), "{name} from {start}");
            assert_times(&times, &[0.0, 0.04, 0.08, 0.12, 0.16], name);
        }
        let span = Span { start: Some(seconds(9.0)), duration: None };
        let job = VideoJob { encoding: QUICK, span, ..VideoJob::new(&input, &output) };
        let error = route::route(&job, Identity).0.map(drop).unwrap_err();
        assert!(format!("{error:#}").contains("there is nothing at 9.000 s"), "{name}: {error:#}");
    }
}

#[test]
fn a_span_counts_from_where_the_file_begins() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["in.ts", "in.flv", "in.mkv"] {
        let sound =
            ["-f", "lavfi", "-i", "sine=r=44100:d=1", "-c:a", "aac", "-map", "1:v", "-map", "0:a"];
        let video = ["-f", "lavfi", "-i", STEPS];
        let args =
            [&sound[..4], &video, &sound[4..], H264, &["-output_ts_offset", "1000"]].concat();
        let input = made(&folder, name, &args);
        let output = folder.path().join("out.mp4");
        let (frames, times) = part(&input, &output, 0.4, 0.4);
        // Sound may begin a packet before the picture, and the file with it.
        assert!((9..=10).contains(&frames[0]) && frames.last() == Some(&19), "{name}: {frames:?}");
        assert!(times[0] < 0.001, "{name}: {times:?}");
        let of_sound = |field| stream_field(&output, "a:0", field).parse::<f64>().unwrap();
        assert!(of_sound("start_time").abs() < 0.05, "{name}: {}", of_sound("start_time"));
        assert!((of_sound("duration") - 0.4).abs() < 0.06, "{name}: {}", of_sound("duration"));
    }
}

#[test]
fn a_decoder_that_fails_after_the_end_of_a_span_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    // av1dec (1.22) fails, half of the time, when nothing more is wanted.
    let av1: &[&str] = &["-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "10", "-g", "100"];
    let input = steps(&folder, "in.mkv", false, av1);
    for _ in 0..8 {
        let (frames, _) = part(&input, &folder.path().join("out.mkv"), 0.2, 0.4);
        assert_eq!(frames, (5..15).collect::<Vec<_>>());
    }
}

#[test]
fn a_seek_that_goes_too_far_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    // tsdemux (1.22) guesses positions: to 0.32 s it went to the end.
    let args: &[&str] = &["-c:v", "libx264", "-bf", "3", "-g", "50", "-crf", "5"];
    let input = steps(&folder, "in.ts", false, args);
    for first in [3, 5, 8, 12, 20] {
        let start = first as f64 / 25.0;
        let (frames, _) = part(&input, &folder.path().join("out.mkv"), start, 0.12);
        assert_eq!(frames, (first..first + 3).collect::<Vec<_>>(), "from {start}");
    }
}
