//! Sound is copied packet by packet, or encoded anew in sync.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nst_stream::core::span::Span;
use nst_stream::stream::VideoJob;

use super::common::{carphone, nst, output};
use super::*;

/// The clip with tones, in these codecs.
fn with_tones(folder: &Path, name: &str, codecs: &[&[&str]]) -> PathBuf {
    let clip = carphone();
    let mut args = vec!["-i", clip.to_str().unwrap(), "-f", "lavfi", "-i", TONES, "-map", "0:v"];
    args.extend(codecs.iter().flat_map(|_| ["-map", "1:a"]));
    args.extend(["-c:v", "copy", "-strict", "-2"]);
    let options: Vec<_> =
        (0..codecs.len()).map(|n| (format!("-c:a:{n}"), format!("-sample_fmt:a:{n}"))).collect();
    for ((option, format), codec) in options.iter().zip(codecs) {
        args.push(option);
        args.extend(*codec);
        if codec[0] == "flac" {
            // From version 7 on ffmpeg would write 32 bits, an experiment that libFLAC does not know.
            args.extend([format, "s16"]);
        }
    }
    make(folder, name, &args)
}

/// When tones begin, from the tenth picture on, in seconds.
fn onsets(path: &Path, track: usize) -> Vec<f64> {
    onsets_from(frame_times(path)[10], path, track)
}

fn onsets_from(zero: f64, path: &Path, track: usize) -> Vec<f64> {
    let map = format!("0:a:{track}");
    let mut command = Command::new("ffmpeg");
    // Otherwise ffmpeg counts from the first packet, be it before 0.
    command.args(["-v", "error", "-nostdin", "-copyts", "-i"]).arg(path).args(["-map", &map]);
    // Silence is put in where the track has none, so that a sample's number is its time.
    command.args(["-af", "aresample=48000:async=1:first_pts=0:min_hard_comp=0.001"]);
    command.args(["-ac", "1", "-f", "s16le", "-"]);
    let out = output(&mut command);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let sample = |bytes: &[u8]| i16::from_le_bytes([bytes[0], bytes[1]]).unsigned_abs();
    let samples: Vec<u16> = out.stdout.chunks_exact(2).map(sample).collect();
    let (mut onsets, mut quiet) = (Vec::new(), 48_000);
    for (n, loud) in samples.iter().map(|sample| *sample > 3000).enumerate() {
        if loud && quiet > 9_600 {
            onsets.push(n as f64 / 48_000.0 - zero);
        }
        quiet = if loud { 0 } else { quiet + 1 };
    }
    onsets
}

fn assert_in_sync(before: (&Path, usize), after: (&Path, usize)) {
    assert_onsets(&onsets(before.0, before.1), &onsets(after.0, after.1), after.0);
}

fn assert_onsets(heard: &[f64], hear: &[f64], what: &Path) {
    assert_eq!(heard.len(), hear.len(), "{what:?}: {heard:?} became {hear:?}");
    assert!(heard.len() >= 3, "{heard:?}");
    for (before, now) in heard.iter().zip(hear) {
        let late = (now - before) * 1000.0;
        assert!(late.abs() <= 2.0, "{what:?}: {late:.2} ms late: {heard:?} became {hear:?}");
    }
}

#[test]
fn every_packet_of_every_track_is_copied_into_matroska() {
    let folder = tempfile::tempdir().unwrap();
    let codecs: [&[&str]; 8] = [
        &["aac"],
        &["flac"],
        &["libvorbis"],
        &["eac3"],
        &["ac3"],
        &["pcm_s24le"],
        &["libmp3lame"],
        &["dca"],
    ];
    let input = with_tones(folder.path(), "many.mkv", &codecs);
    let out = folder.path().join("out.mkv");
    assert!(convert(&input, &out).is_empty());
    for (n, codec) in codecs.iter().enumerate() {
        let track = format!("a:{n}");
        let what = codec[0];
        let shift = shift(&input, &out);
        assert_same(&packets(&input, &track), &packets(&out, &track), shift, what);
    }
}

#[test]
fn what_an_mp4_cannot_hold_becomes_aac_in_sync_and_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let codecs: [&[&str]; 5] = [&["flac"], &["libvorbis"], &["eac3"], &["pcm_s16le"], &["dca"]];
    let input = with_tones(folder.path(), "many.mkv", &codecs);
    for name in ["out.mp4", "out.mov"] {
        let out = folder.path().join(name);
        let notes = convert(&input, &out);
        for (n, codec) in ["FLAC", "Vorbis", "E-AC-3", "PCM", "DTS"].iter().enumerate() {
            let what = format!("audio track {} ({codec})", n + 1);
            assert_noted(&notes, &[&what, "AAC"]);
            assert_eq!(stream_field(&out, &format!("a:{n}"), "codec_name"), "aac", "{name}");
            assert_in_sync((&input, n), (&out, n));
        }
    }
}

#[test]
fn webm_takes_opus_and_vorbis_as_they_are_and_the_rest_as_opus() {
    let folder = tempfile::tempdir().unwrap();
    let codecs: [&[&str]; 3] = [&["libopus"], &["libvorbis"], &["aac"]];
    let input = with_tones(folder.path(), "three.mkv", &codecs);
    let out = folder.path().join("out.webm");
    let notes = convert(&input, &out);
    assert_noted(&notes, &["audio track 3 (AAC)", "WebM", "Opus"]);
    for n in [0, 1] {
        let track = format!("a:{n}");
        let shift = shift(&input, &out);
        assert_same(&packets(&input, &track), &packets(&out, &track), shift, codecs[n][0]);
    }
}

#[test]
fn opus_is_copied_in_time_whenever_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let sound = make(folder.path(), "sound.ogg", &["-f", "lavfi", "-i", TONES, "-c:a", "libopus"]);
    let aac = make(folder.path(), "sound.m4a", &["-f", "lavfi", "-i", TONES, "-c:a", "aac"]);
    let picture = make(
        folder.path(),
        "picture.mkv",
        &["-f", "lavfi", "-i", "testsrc=s=64x64:r=25:d=4", "-c:v", "mpeg4"],
    );
    let [sound, aac, picture] = [&sound, &aac, &picture].map(|path| path.to_str().unwrap());
    // Its first 6.5 ms are not heard.
    for begins in ["0", "0.0065", "0.009", "0.012", "0.040"] {
        let args = ["-i", picture, "-itsoffset", begins, "-i", sound, "-i", aac];
        let maps = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-c", "copy"];
        let input = make(folder.path(), &format!("{begins}.mkv"), &[&args[..], &maps].concat());
        for name in ["out.mkv", "out.webm"] {
            let out = folder.path().join(name);
            convert(&input, &out);
            let (before, after) = (packets(&input, "a:0"), packets(&out, "a:0"));
            let what = format!("from {begins} s on, {name}");
            assert_same(&before, &after, shift(&input, &out), &what);
            assert_in_sync((&input, 1), (&out, 1));
        }
    }
}

#[test]
fn what_becomes_opus_is_in_sync() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_tones(folder.path(), "two.mkv", &[&["libopus"], &["aac"]]);
    let out = folder.path().join("out.webm");
    convert(&input, &out);
    assert_in_sync((&input, 1), (&out, 1));
}

/// Packets of the first sound that are presented after time 0, at least in part.
fn presented(path: &Path) -> Vec<Packet> {
    presented_of(path, "a:0")
}

fn presented_of(path: &Path, stream: &str) -> Vec<Packet> {
    let all = packets(path, stream);
    all.into_iter().filter(|packet| packet.at + packet.duration > 0.0005).collect()
}

#[test]
fn a_track_with_priming_keeps_what_is_presented() {
    let folder = tempfile::tempdir().unwrap();
    let whole = with_tones(folder.path(), "whole.mp4", &[&["aac"]]);
    keeps_what_is_presented(folder.path(), &whole, frame_times(&whole)[10]);
}

#[test]
fn a_track_that_begins_within_a_packet_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let whole = with_tones(folder.path(), "whole.mp4", &[&["aac"]]);
    // Its edit list begins 7.3 ms before the end of a packet, and in the middle of a picture.
    let args = ["-ss", "1.01", "-i", whole.to_str().unwrap(), "-c", "copy"];
    let cut = make(folder.path(), "cut.mp4", &args);
    // ffmpeg begins with the picture after the one that is shown at 1.01 s, and shows it too early.
    keeps_what_is_presented(folder.path(), &cut, 40.0 * 1001.0 / 30000.0 - 1.01);
}

/// `tenth`: when the tenth picture is shown.
fn keeps_what_is_presented(folder: &Path, input: &Path, tenth: f64) {
    let before = &presented(input);
    for name in ["out.mp4", "out.mov", "out.mkv"] {
        let out = folder.join(name);
        convert(input, &out);
        let pictures = frame_times(&out);
        // Matroska has no times before 0: there all begins as much later as the sound does earlier.
        let later = if name == "out.mkv" { (-before[0].at).max(0.0) } else { 0.0 };
        let late = (pictures[10] - tenth - later) * 1000.0;
        assert!(late.abs() < 1.1, "{name}: the picture is {late} ms late");
        let what = format!("{} to {name}", input.display());
        assert_same(before, &packets(&out, "a:0"), later, &what);
        let heard = onsets_from(tenth, input, 0);
        assert_onsets(&heard, &onsets_from(pictures[10], &out, 0), &out);
    }
}

#[test]
fn sound_that_begins_late_begins_late() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, sound) = (carphone(), with_tones(folder.path(), "sound.mp4", &[&["aac"]]));
    for input in ["late.mp4", "late.mkv"] {
        let input = make(
            folder.path(),
            input,
            &[
                "-i",
                clip.to_str().unwrap(),
                "-itsoffset",
                "0.5",
                "-i",
                sound.to_str().unwrap(),
                "-map",
                "0:v",
                "-map",
                "1:a",
                "-c",
                "copy",
            ],
        );
        for name in ["out.mp4", "out.mov", "out.mkv"] {
            let out = folder.path().join(name);
            convert(&input, &out);
            let before = presented(&input);
            let after = packets(&out, "a:0");
            // The priming packet of an MP4 is not presented, that of a Matroska file is.
            let from = before.len() - after.len();
            assert!(from <= 1, "{} of {}", after.len(), before.len());
            let what = format!("{} to {name}", input.display());
            assert_same(&before[from..], &after, shift(&input, &out), &what);
            assert!(after[0].at > 0.47, "{}", after[0].at);
        }
    }
}

#[test]
fn a_transport_stream_stays_in_sync() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_tones(folder.path(), "adts.ts", &[&["aac"], &["mp2"]]);
    for name in ["out.mp4", "out.mkv"] {
        let out = folder.path().join(name);
        convert(&input, &out);
        for n in [0, 1] {
            let (before, after) =
                (packets(&input, &format!("a:{n}")), packets(&out, &format!("a:{n}")));
            assert!(before.len() - after.len() <= 2, "{} of {}", after.len(), before.len());
            // ffmpeg counts from another beginning in a transport stream: what is right is known.
            let onsets = onsets(&out, n);
            assert_eq!(onsets.len(), 4, "{name}: {onsets:?}");
            for (n, onset) in onsets.iter().enumerate() {
                let late = (onset - (n as f64 + 0.25 - 10.0 * 1001.0 / 30000.0)) * 1000.0;
                assert!(late.abs() <= 2.0, "{name}: {late:.2} ms late: {onsets:?}");
            }
        }
    }
}

#[test]
fn a_span_takes_its_packets_along() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_tones(folder.path(), "whole.mp4", &[&["aac"]]);
    let span = Span {
        start: Some(Duration::from_millis(1010)),
        duration: Some(Duration::from_millis(1500)),
    };
    let inside: Vec<Packet> = presented(&input)
        .into_iter()
        .map(|packet| Packet { at: packet.at - 1.01, ..packet })
        .filter(|packet| packet.at + packet.duration > 0.0005 && packet.at < 1.4995)
        .collect();
    for name in ["out.mp4", "out.mkv"] {
        let out = folder.path().join(name);
        run(&VideoJob { span, ..VideoJob::new(&input, &out) });
        // Matroska has no times before 0: there all begins as much later as the sound does earlier.
        let later = if name == "out.mkv" { -inside[0].at } else { 0.0 };
        assert_same(&inside, &packets(&out, "a:0"), later, name);
        // The first picture is the one that is shown at 1.01 s.
        assert!((frame_times(&out)[0] - later).abs() < 0.001, "{name}");
    }
}

#[test]
fn a_track_that_nobody_knows_does_not_cost_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_tones(folder.path(), "strange.mkv", &[&["flac"], &["aac"]]);
    let mut bytes = std::fs::read(&input).unwrap();
    let at = bytes.windows(6).position(|window| window == b"A_FLAC").unwrap();
    bytes[at..at + 6].copy_from_slice(b"A_ODD1");
    std::fs::write(&input, bytes).unwrap();
    for name in ["out.mp4", "out.mkv"] {
        let out = folder.path().join(name);
        let notes = convert(&input, &out);
        assert_noted(&notes, &["left out"]);
        assert_eq!(frame_times(&out).len(), 120, "{name}");
        assert_eq!(stream_field(&out, "a:0", "codec_name"), "aac", "{name}");
        let shift = shift(&input, &out);
        assert_same(&presented_of(&input, "a:1"), &packets(&out, "a:0"), shift, name);
    }
}

#[test]
fn no_audio_leaves_the_sound_out_and_the_subtitles_in() {
    let folder = tempfile::tempdir().unwrap();
    let sound = with_tones(folder.path(), "sound.mkv", &[&["aac"]]);
    let words = folder.path().join("words.srt");
    std::fs::write(&words, "1\n00:00:01,000 --> 00:00:02,000\nHello\n").unwrap();
    let args = ["-i", sound.to_str().unwrap(), "-i", words.to_str().unwrap(), "-c", "copy"];
    let input = make(folder.path(), "in.mkv", &args);
    let out = folder.path().join("out.mkv");
    let mut command = nst();
    command.args(["-m", "mosaic", "--strength", "0", "--scale", "0.1", "--duration", "1.2"]);
    command.args(["--no-audio", "-i"]).arg(&input).arg("-o").arg(&out);
    succeed(&mut command);
    let kinds: Vec<String> = probe(&out)["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["codec_type"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["video", "subtitle"]);

    let mut picture = nst();
    picture.args(["-m", "mosaic", "--no-audio", "-i"]).arg(&input).args(["-o", "x.png"]);
    let refused = super::common::output(&mut picture);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--no-audio"));
}

/// Sets the CodecDelay of the only sound of a Matroska file, in nanoseconds: in its place (ffmpeg writes
/// one from version 6 on), or in that of the language, which is as long.
fn set_codec_delay(path: &Path, delay: u32) {
    let mut bytes = std::fs::read(path).unwrap();
    let find = |wanted: &[u8]| bytes.windows(wanted.len()).rposition(|w| w == wanted);
    let there = find(&[0x56, 0xAA, 0x84]);
    let at = there.or_else(|| find(b"\x22\xB5\x9C\x83und")).expect("a place for the delay");
    bytes[at..at + 3].copy_from_slice(&[0x56, 0xAA, 0x84]);
    bytes[at + 3..at + 7].copy_from_slice(&delay.to_be_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn sound_that_matroska_stores_late_is_presented_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_tones(folder.path(), "delayed.mkv", &[&["aac"]]);
    for name in ["out.mp4", "out.mkv", "out.webm"] {
        let out = folder.path().join(name);
        let heard = [0, 40_000_000].map(|delay| {
            set_codec_delay(&input, delay);
            convert(&input, &out);
            onsets(&out, 0)
        });
        assert!(heard[0].len() >= 3 && heard[0].len() == heard[1].len(), "{name}: {heard:?}");
        for (plain, delayed) in heard[0].iter().zip(&heard[1]) {
            let earlier = (plain - delayed) * 1000.0;
            assert!((earlier - 40.0).abs() <= 2.0, "{name}: {earlier} ms earlier: {heard:?}");
        }
    }
}
