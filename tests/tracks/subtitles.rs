//! Subtitles are copied, as plain text where they have markup.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nst_stream::core::span::Span;
use nst_stream::stream::VideoJob;

use super::common::carphone;
use super::*;

const WORDS: &str = "1\n00:00:00,500 --> 00:00:01,250\nHello <i>world</i> &amp; \"friends\" 1 < 2\n\n\
                     2\n00:00:03,000 --> 00:00:03,900\nLast <b>cue</b>, schön\nsecond line\n";

fn with_words(folder: &Path, name: &str, codec: &str) -> PathBuf {
    let words = folder.join("words.srt");
    std::fs::write(&words, WORDS).unwrap();
    let clip = carphone();
    let inputs = ["-i", clip.to_str().unwrap(), "-i", words.to_str().unwrap()];
    let language = ["-metadata:s:s:0", "language=fra", "-metadata:s:s:0", "title=Sous-titres"];
    make(folder, name, &[&inputs[..], &["-c:v", "copy", "-c:s", codec], &language].concat())
}

/// Begin, end and words of every subtitle, as ffmpeg reads them.
fn cues(path: &Path, track: usize) -> Vec<(f64, f64, String)> {
    let map = format!("0:s:{track}");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    // What stands in the packets: a decoder would read markup.
    let text = succeed(command.args(["-map", &map, "-f", "srt", "-"]));
    let time = |text: &str| {
        let parts: Vec<f64> =
            text.trim().replace(',', ".").split(':').map(|part| part.parse().unwrap()).collect();
        parts[0] * 3600.0 + parts[1] * 60.0 + parts[2]
    };
    let cue = |block: &str| {
        let (_, rest) = block.split_once('\n').unwrap();
        let (times, words) = rest.split_once('\n').unwrap_or((rest, ""));
        let (from, to) = times.split_once("-->").unwrap();
        (time(from), time(to), words.replace('\r', "").trim().to_owned())
    };
    // ffmpeg adds the font of a QuickTime text.
    let font = "<font face=\"Serif\" size=\"7\">";
    let text = text.replace(font, "").replace("</font>", "");
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(|block| cue(block.trim_start())).filter(|cue| !cue.2.is_empty()).collect()
}

fn assert_cues(found: &[(f64, f64, String)], wanted: &[(f64, f64, &str)], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}: {found:?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.2, wanted.2, "{what}");
        assert!((found.0 - wanted.0).abs() <= 0.002, "{what}: {found:?}");
        assert!((found.1 - wanted.1).abs() <= 0.002, "{what}: {found:?}");
    }
}

const PLAIN: [&str; 2] = ["Hello world & \"friends\" 1 < 2", "Last cue, schön\nsecond line"];

#[test]
fn text_comes_out_plain_at_its_times_with_its_language() {
    let folder = tempfile::tempdir().unwrap();
    for (input, codec) in [("in.mkv", "srt"), ("ass.mkv", "ass"), ("in.mp4", "mov_text")] {
        let input = with_words(folder.path(), input, codec);
        let zero = frame_times(&input)[0];
        for name in ["out.mp4", "out.mov", "out.mkv"] {
            let out = folder.path().join(name);
            let notes = convert(&input, &out);
            let what = format!("{codec} to {name}");
            let plain = if codec == "mov_text" {
                // Its writer leaves entities as they are, and so do we.
                [PLAIN[0].replace('&', "&amp;"), PLAIN[1].to_owned()]
            } else {
                PLAIN.map(str::to_owned)
            };
            if codec == "ass" && name == "out.mkv" {
                assert_same(&packets(&input, "s:0"), &packets(&out, "s:0"), 0.0, &what);
                assert_eq!(stream_field(&out, "s:0", "codec_name"), "ass");
            } else {
                let wanted = [(0.5, 1.25, &*plain[0]), (3.0, 3.9, &*plain[1])];
                let wanted = wanted.map(|(from, to, text)| (from - zero, to - zero, text));
                assert_cues(&cues(&out, 0), &wanted, &what);
            }
            if codec == "ass" && name != "out.mkv" {
                assert_noted(&notes, &["subtitle track 1 (ASS)", "plain text"]);
            } else {
                assert!(notes.is_empty(), "{what}: {notes:?}");
            }
            let stream = &probe(&out)["streams"][1];
            let language = tag(stream, "language").unwrap().to_owned();
            assert!(["fra", "fre"].contains(&&*language), "{what}: {language}");
            if name == "out.mkv" && codec != "mov_text" {
                assert_eq!(tag(stream, "title"), Some("Sous-titres"), "{what}");
            }
        }
    }
}

#[test]
fn a_subtitle_that_is_shown_when_the_span_begins_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_words(folder.path(), "in.mkv", "srt");
    let zero = frame_times(&input)[0];
    let span =
        Span { start: Some(Duration::from_secs(1)), duration: Some(Duration::from_millis(2500)) };
    for name in ["out.mp4", "out.mkv"] {
        let out = folder.path().join(name);
        run(&VideoJob { span, ..VideoJob::new(&input, &out) });
        let wanted = [(0.0, 0.25 - zero, PLAIN[0]), (2.0 - zero, 2.5, PLAIN[1])];
        assert_cues(&cues(&out, 0), &wanted, name);
    }
}

#[test]
fn webm_holds_no_subtitles_and_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let input = with_words(folder.path(), "in.mkv", "srt");
    let out = folder.path().join("out.webm");
    let notes = convert(&input, &out);
    assert_noted(&notes, &["subtitle track 1", "left out", "WebM"]);
    assert_eq!(probe(&out)["streams"].as_array().unwrap().len(), 1);
}

#[test]
fn webvtt_that_gstreamer_does_not_know_becomes_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    // As ffmpeg and WebM write it: name and settings of the cue before its text.
    let input = with_words(folder.path(), "vtt.mkv", "webvtt");
    let zero = frame_times(&input)[0];
    for name in ["out.mp4", "out.mkv"] {
        let out = folder.path().join(name);
        let notes = convert(&input, &out);
        assert_noted(&notes, &["subtitle track 1 (WebVTT)", "plain text"]);
        let wanted = [(0.5 - zero, 1.25 - zero, PLAIN[0]), (3.0 - zero, 3.9 - zero, PLAIN[1])];
        assert_cues(&cues(&out, 0), &wanted, name);
    }
}
