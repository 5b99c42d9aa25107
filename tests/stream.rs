//! The frame path with real clips and the identity stylizer: what comes out is what went in.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "stream/hangs.rs"]
mod hangs;
#[path = "common/route.rs"]
mod route;
#[path = "stream/threads.rs"]
mod threads;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use nst_stream::core::encoding::{EncoderPreset, Encoding, RateControl};
use nst_stream::core::frame::Frame;
use nst_stream::core::span::Span;
use nst_stream::core::stats::Summary;
use nst_stream::core::stop::StopSignal;
use nst_stream::core::stylizer::{Identity, StylizeError, Stylizer};
use nst_stream::stream::VideoJob;

fn identity(job: &VideoJob) -> Summary {
    route::route(job, Identity).0.unwrap()
}

/// As fast as encoders go, where the picture itself is not looked at.
fn quick() -> Encoding {
    Encoding {
        preset: Some(EncoderPreset::Ultrafast),
        rate: RateControl::Quality(75),
        ..Encoding::default()
    }
}

fn assert_same_times(input: &[f64], output: &[f64], tolerance: f64) {
    assert_eq!(input.len(), output.len(), "number of frames");
    for (n, (a, b)) in input.iter().zip(output).enumerate() {
        assert!((a - b).abs() <= tolerance, "frame {n}: {a} s became {b} s");
    }
}

#[test]
fn every_frame_keeps_its_time_and_the_sound_is_copied_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let input = bunny();
    let (times, before) = (frame_times(&input), rgb_frames(&input, 40));
    for name in ["out.mp4", "out.mkv"] {
        let output = folder.path().join(name);
        let summary = identity(&VideoJob::new(&input, &output));
        assert_eq!(summary.frames, 132, "{name}");
        assert!(!summary.interrupted);
        assert_eq!(size(&output), (1280, 720));
        // Matroska counts in milliseconds.
        let tolerance = if name.ends_with("mkv") { 0.0006 } else { 0.0001 };
        assert_same_times(&times, &frame_times(&output), tolerance);
        assert_eq!(audio_packets(&input, "a:0"), audio_packets(&output, "a:0"), "{name}");
        // The picture is the same but for the encoder's loss.
        let after = rgb_frames(&output, 40);
        for n in [0, 20, 39] {
            let psnr = psnr(&before[n], &after[n]);
            assert!(psnr > 34.0, "{name} frame {n}: {psnr} dB");
        }
    }
    assert!(index_in_front(&folder.path().join("out.mp4")));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing else is left behind: {left:?}");
}

#[test]
fn ntsc_times_are_exact() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp4");
    identity(&VideoJob::new(&carphone(), &output));
    assert_same_times(&frame_times(&carphone()), &frame_times(&output), 0.0001);
    assert_eq!(stream_field(&output, "v:0", "r_frame_rate"), "30000/1001");
}

#[test]
fn variable_rate_stays_variable() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("variable.mkv");
    let expression = "setpts='(N*0.04+0.013*mod(N,3)+if(gt(N,30),0.7,0))/TB'";
    ffmpeg(&[
        "-i",
        bikes().to_str().unwrap(),
        "-frames:v",
        "60",
        "-vf",
        expression,
        "-fps_mode",
        "vfr",
        input.to_str().unwrap(),
    ]);
    for name in ["out.mkv", "out.mp4"] {
        let output = folder.path().join(name);
        identity(&VideoJob::new(&input, &output));
        assert_same_times(&frame_times(&input), &frame_times(&output), 0.0006);
    }
}

#[test]
fn odd_sizes_are_kept_to_the_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("odd.mkv");
    ffmpeg(&[
        "-i",
        bikes().to_str().unwrap(),
        "-frames:v",
        "10",
        "-vf",
        "format=yuv444p,crop=327:241:0:0",
        input.to_str().unwrap(),
    ]);
    let output = folder.path().join("out.mp4");
    identity(&VideoJob::new(&input, &output));
    assert_eq!(size(&output), (327, 241));
    let psnr = psnr(&rgb_frames(&input, 1)[0], &rgb_frames(&output, 1)[0]);
    assert!(psnr > 33.0, "{psnr} dB");
}

#[test]
fn a_rotated_phone_clip_comes_out_upright() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("phone.mp4");
    let bikes = bikes();
    let clip = bikes.to_str().unwrap();
    ffmpeg(&["-i", clip, "-t", "1", "-c", "copy", input.to_str().unwrap()]);
    turn(&input, 90);
    let output = folder.path().join("out.mp4");
    identity(&VideoJob::new(&input, &output));
    assert_eq!(size(&output), (272, 640));
}

#[test]
fn a_span_is_cut_exactly_and_the_sound_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp4");
    let span = Span { start: Some(Duration::from_secs(2)), duration: Some(Duration::from_secs(1)) };
    let whole = bunny();
    let summary = identity(&VideoJob { span, ..VideoJob::new(&whole, &output) });
    assert_eq!(summary.frames, 25);
    let times = frame_times(&output);
    assert!(times[0].abs() < 0.001, "starts at {}", times[0]);
    let psnr = psnr(&rgb_frames(&whole, 51)[50], &rgb_frames(&output, 1)[0]);
    assert!(psnr > 34.0, "the first frame is that of 2 s: {psnr} dB");
    let sound: f64 = stream_field(&output, "a:0", "duration").parse().unwrap();
    assert!((sound - 1.0).abs() < 0.05, "sound of {sound} s");
}

/// Asks for the end with its n-th frame.
struct StopsAt(u64, StopSignal);

impl Stylizer for StopsAt {
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        self.0 = self.0.saturating_sub(batch.len() as u64);
        if self.0 == 0 && !self.1.is_set() {
            self.1.interrupt();
        }
        Ok(())
    }
}

#[test]
fn told_to_stop_it_finishes_what_is_made_and_the_sound_ends_with_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.mp4", "out.mkv"] {
        let (output, stop) = (folder.path().join(name), StopSignal::default());
        let input = bunny();
        let job = VideoJob { encoding: quick(), ..VideoJob::new(&input, &output) };
        let (made, _) = route::route_until(&job, StopsAt(25, stop.clone()), &stop);
        let summary = made.unwrap();
        assert!(summary.interrupted);
        assert_eq!(summary.frames, 25, "what was begun is finished, nothing more is begun");
        let times = frame_times(&output);
        assert_eq!(times.len() as u64, summary.frames);
        let end = times.last().unwrap() + 0.04;
        let packets = audio_packets(&output, "a:0").1;
        let sound = packets as f64 * 1024.0 / 48000.0;
        assert!((sound - end).abs() < 0.05, "{name}: picture {end} s, sound {sound} s");
    }
}

/// Fails at its n-th batch.
struct Fails(usize);

impl Stylizer for Fails {
    fn stylize(&mut self, _batch: &mut [Frame]) -> Result<(), StylizeError> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| StylizeError::Failed("no luck".into()))?;
        Ok(())
    }
}

#[test]
fn a_failing_network_leaves_what_was_made_under_a_partial_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mp4");
    let input = bunny();
    let job = VideoJob { encoding: quick(), ..VideoJob::new(&input, &output) };
    let (run, _) = route::route(&job, Fails(20));
    let error = format!("{:#}", run.unwrap_err());
    assert!(error.contains("20 frames") && error.contains("no luck"), "{error}");
    assert!(!output.exists());
    assert_eq!(frame_times(&folder.path().join("out.partial.mp4")).len(), 20);

    let output = folder.path().join("none.mp4");
    let (run, _) = route::route(&VideoJob::new(&input, &output), Fails(0));
    assert!(format!("{:#}", run.unwrap_err()).contains("no luck"));
    assert!(!output.exists() && !folder.path().join("none.partial.mp4").exists());
}

#[test]
fn a_batch_holds_frames_in_order() {
    struct Batches(Arc<Mutex<Vec<usize>>>);
    impl Stylizer for Batches {
        fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
            self.0.lock().unwrap().push(batch.len());
            assert!(batch.windows(2).all(|w| w[0].pts < w[1].pts));
            Ok(())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mkv");
    let input = carphone();
    let batches = Arc::new(Mutex::new(Vec::new()));
    let job = VideoJob { batch: 7, ..VideoJob::new(&input, &output) };
    route::route(&job, Batches(Arc::clone(&batches))).0.unwrap();
    let batches = batches.lock().unwrap();
    assert_eq!(batches.iter().sum::<usize>(), 120);
    assert!(batches[..17].iter().all(|n| *n == 7) && batches[17] == 1, "{batches:?}");
    assert_eq!(frame_times(&output).len(), 120);
}

#[test]
fn sound_that_the_container_cannot_hold_is_encoded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("pcm.mkv");
    let bunny = bunny();
    ffmpeg(&[
        "-i",
        bunny.to_str().unwrap(),
        "-t",
        "2",
        "-c:v",
        "copy",
        "-c:a",
        "pcm_s16le",
        input.to_str().unwrap(),
    ]);
    let output = folder.path().join("out.mp4");
    identity(&VideoJob::new(&input, &output));
    assert_eq!(stream_field(&output, "a:0", "codec_name"), "aac");
    let output = folder.path().join("out.mkv");
    identity(&VideoJob::new(&input, &output));
    assert_eq!(audio_packets(&input, "a:0").0, audio_packets(&output, "a:0").0);
}
