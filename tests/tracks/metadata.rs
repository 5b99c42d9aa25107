//! Tags, chapters and what is attached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nst_stream::core::span::Span;
use nst_stream::stream::VideoJob;

use super::common::{carphone, data, size};
use super::*;

const ABOUT: &str = "\
;FFMETADATA1\ntitle=My \"Title\" – schön\nartist=An Artist\ndate=2021-03-04\n\
comment=A comment of several words\ngenre=Drama\n\
[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1500\ntitle=Opening\n\
[CHAPTER]\nTIMEBASE=1/1000\nSTART=1500\nEND=4000\ntitle=The Rest\n";

fn described(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let about = folder.join("about.txt");
    std::fs::write(&about, ABOUT).unwrap();
    let clip = carphone();
    let inputs = ["-i", clip.to_str().unwrap(), "-i", about.to_str().unwrap()];
    let maps = ["-map", "0:v", "-map_metadata", "1", "-map_chapters", "1", "-c", "copy"];
    make(folder, name, &[&inputs[..], &maps, more].concat())
}

#[test]
fn tags_are_kept_and_outdated_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    for input in ["in.mkv", "in.mp4"] {
        let input = described(folder.path(), input, &["-metadata", "encoder=Old Encoder"]);
        for name in ["out.mp4", "out.mov", "out.mkv", "out.webm"] {
            let out = folder.path().join(name);
            convert(&input, &out);
            let format = &probe(&out)["format"];
            let what = format!("{} to {name}: {format}", input.display());
            assert_eq!(tag(format, "title"), Some("My \"Title\" – schön"), "{what}");
            assert_eq!(tag(format, "artist"), Some("An Artist"), "{what}");
            assert_eq!(tag(format, "comment"), Some("A comment of several words"), "{what}");
            assert_eq!(tag(format, "genre"), Some("Drama"), "{what}");
            // mp4mux writes no zeros: 2021-3-4.
            let date = tag(format, "date").unwrap().replace("-0", "-");
            assert_eq!(date, "2021-3-4", "{what}");
            assert!(!what.contains("Lavf") && !what.contains("Old Encoder"), "{what}");
        }
    }
}

fn chapters(path: &Path) -> Vec<(f64, f64, String)> {
    let time = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let all = probe(path);
    let chapter = |chapter: &Value| {
        let title = tag(chapter, "title").unwrap().to_owned();
        (time(&chapter["start_time"]), time(&chapter["end_time"]), title)
    };
    all["chapters"].as_array().unwrap().iter().map(chapter).collect()
}

#[test]
fn chapters_are_kept_in_matroska_and_missed_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let input = described(folder.path(), "in.mkv", &[]);
    let out = folder.path().join("out.mkv");
    assert!(convert(&input, &out).is_empty());
    let wanted = [(0.0, 1.5, "Opening".to_owned()), (1.5, 4.0, "The Rest".to_owned())];
    assert_eq!(chapters(&out), wanted);
    for name in ["out.mp4", "out.webm"] {
        let notes = convert(&input, &folder.path().join(name));
        assert_noted(&notes, &["2 chapters are left out"]);
    }

    let part = |start: f64, length: f64, name: &str| {
        let out = folder.path().join(name);
        let start = Some(Duration::from_secs_f64(start));
        let duration = Some(Duration::from_secs_f64(length));
        run(&VideoJob { span: Span { start, duration }, ..VideoJob::new(&input, &out) });
        chapters(&out)
    };
    let both = [(0.0, 0.5, "Opening".to_owned()), (0.5, 1.5, "The Rest".to_owned())];
    assert_eq!(part(1.0, 1.5, "both.mkv"), both);
    assert_eq!(part(2.0, 1.0, "one.mkv"), [(0.0, 1.0, "The Rest".to_owned())]);
}

/// The alternate group of each track of an MP4, of which players play one track (0: none).
fn alternate_groups(path: &Path) -> Vec<u16> {
    let bytes = std::fs::read(path).unwrap();
    let headers = (0..bytes.len() - 4).filter(|at| &bytes[*at..*at + 4] == b"tkhd");
    // Version, flags, times, id, duration (0: in four bytes each), eight bytes, and the layer.
    let group = |at: usize| at + 4 + if bytes[at + 4] == 1 { 46 } else { 34 };
    headers.map(|at| u16::from_be_bytes([bytes[group(at)], bytes[group(at) + 1]])).collect()
}

/// Whether each track of a file is played by default, and whether always.
fn flags(path: &Path) -> Vec<(i64, i64)> {
    let of = |stream: &Value, name: &str| stream["disposition"][name].as_i64().unwrap();
    let all = probe(path);
    let streams = all["streams"].as_array().unwrap().iter();
    let others = streams.filter(|stream| stream["codec_type"] != "video");
    others.map(|stream| (of(stream, "default"), of(stream, "forced"))).collect()
}

#[test]
fn tracks_are_played_when_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let words = folder.path().join("words.srt");
    std::fs::write(&words, "1\n00:00:01,000 --> 00:00:02,000\nHello\n").unwrap();
    let clip = carphone();
    let sound = ["-f", "lavfi", "-i", "sine=d=4"];
    let inputs = ["-i", clip.to_str().unwrap(), "-i", words.to_str().unwrap()];
    let maps = "-map 0:v -map 2:a -map 2:a -map 1 -map 1 -c:v copy -c:a aac -disposition:a:0 0 \
                -disposition:a:1 default -disposition:s:0 forced -disposition:s:1 0 \
                -metadata:s:a:1 title=Comments";
    let maps: Vec<&str> = maps.split_whitespace().collect();
    let input = make(folder.path(), "in.mkv", &[&inputs[..], &sound, &maps].concat());
    let wanted = [(0, 0), (1, 0), (0, 1), (0, 0)];
    assert_eq!(flags(&input), wanted);
    let out = folder.path().join("out.mkv");
    convert(&input, &out);
    assert_eq!(flags(&out), wanted);
    let streams = probe(&out)["streams"].clone();
    assert_eq!(tag(&streams[2], "title"), Some("Comments"));
    assert!(tag(&streams[1], "title").is_none() && tag(&streams[3], "title").is_none());
    let mp4 = folder.path().join("out.mp4");
    convert(&input, &mp4);
    assert_eq!(flags(&mp4)[..2], wanted[..2]);
    let groups = alternate_groups(&mp4);
    assert!(groups[0] == 0 && groups[1] > 0 && groups[1] == groups[2], "{groups:?}");
    convert(&mp4, &out);
    assert_eq!(flags(&out)[..2], wanted[..2]);
}

#[test]
fn where_when_and_with_which_camera_a_film_was_recorded_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let copy = ["-i", clip.to_str().unwrap(), "-c", "copy", "-metadata"];
    let when = "creation_time=2021-06-01T10:20:30Z";
    let place = "location=+52.5200+013.4050/";
    let phone =
        make(folder.path(), "phone.mp4", &[&copy[..], &[when, "-metadata", place]].concat());
    let make_of = "com.apple.quicktime.make=Apple";
    let keys = [make_of, "-metadata", when, "-movflags", "use_metadata_tags"];
    let keys = make(folder.path(), "keys.mov", &[&copy[..], &keys].concat());
    for name in ["out.mp4", "out.mov", "out.mkv"] {
        let out = folder.path().join(name);
        convert(&phone, &out);
        let format = &probe(&out)["format"];
        let said = |names: &[&str]| names.iter().find_map(|name| tag(format, name));
        assert!(said(&["location", "LOCATION"]).unwrap().starts_with("+52.52"), "{format}");
        assert!(said(&["creation_time"]).unwrap().starts_with("2021-06-01T10:20:30"), "{format}");
        convert(&keys, &out);
        let format = &probe(&out)["format"];
        let camera = [tag(format, "com.apple.quicktime.make"), tag(format, "MAKE")];
        assert!(camera.contains(&Some("Apple")), "{format}");
        assert!(!format.to_string().contains("nst-stream:"), "{format}");
    }
}

#[test]
fn a_cover_is_not_the_picture_and_attachments_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let cover = make(
        folder.path(),
        "cover.png",
        &["-f", "lavfi", "-i", "color=red:s=300x300", "-frames:v", "1"],
    );
    let clip = carphone();
    let maps = ["-i", cover.to_str().unwrap(), "-i", clip.to_str().unwrap()];
    let maps = [&maps[..], &["-map", "0", "-map", "1", "-c", "copy"]].concat();
    let covered = ["-disposition:v:0", "attached_pic"];
    let input = make(folder.path(), "covered.mp4", &[&maps[..], &covered].concat());
    let licence = data("../../LICENSE");
    let attached = ["-attach", licence.to_str().unwrap(), "-metadata:s:t", "mimetype=text/plain"];
    let attached = described(folder.path(), "attached.mkv", &attached);
    for name in ["out.mkv", "out.mp4"] {
        let out = folder.path().join(name);
        let notes = convert(&input, &out);
        let lost = notes.iter().any(|note| note == "1 cover is left out");
        let covers = probe(&out)["streams"].as_array().unwrap().len();
        assert!(lost != (covers == 2), "{name}: {notes:?}");
        assert_eq!(size(&out), (176, 144), "{name}");
        assert_eq!(frame_times(&out).len(), 120, "{name}");
        let notes = convert(&attached, &out);
        assert_noted(&notes, &["1 attachment is left out"]);
        assert_eq!(frame_times(&out).len(), 120, "{name}");
    }
}
