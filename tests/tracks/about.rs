//! Tags, chapters and what is attached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nst_stream::span::Span;
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
        convert(&input, &out);
        assert_eq!(size(&out), (176, 144), "{name}");
        assert_eq!(frame_times(&out).len(), 120, "{name}");
        let notes = convert(&attached, &out);
        assert_noted(&notes, &["1 attachment is left out"]);
        assert_eq!(frame_times(&out).len(), 120, "{name}");
    }
}
