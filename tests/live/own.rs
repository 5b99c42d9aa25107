//! The user's own GStreamer descriptions as source and as output.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::common::*;
use crate::program::Live;
use crate::shapes;

/// A folder with this description in it.
fn described(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.pipeline");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_source_of_ones_own_may_change_its_size_and_format() {
    let (wide, narrow) = (shapes::WIDE, shapes::NARROW);
    let (folder, own) = described(&format!(
        "# A wide picture, then a narrow one of another format.\n\
         concat name=one ! appsink name=frames sync=false max-buffers=1 drop=true\n\
         videotestsrc is-live=true pattern=white num-buffers=50 \
         ! video/x-raw,format=I420,width={},height={},framerate=25/1 ! one.\n\
         videotestsrc is-live=true pattern=white num-buffers=75 \
         ! video/x-raw,format=RGB,width={},height={},framerate=25/1 ! one.\n",
        wide.0, wide.1, narrow.0, narrow.1
    ));
    let out = folder.path().join("out.mkv");
    let args = [
        "--pipeline-source",
        own.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
        "--strength",
        "0",
    ];
    let ended = Live::start(&args).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    shapes::check(&out);
}

#[test]
fn an_output_of_ones_own_gets_the_frames_and_is_brought_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let (own, made) = (folder.path().join("own.pipeline"), folder.path().join("made.mp4"));
    let text = format!(
        "appsrc name=frames ! videoconvert ! x264enc tune=zerolatency ! h264parse ! mp4mux \
         ! filesink location=\"{}\"",
        made.display()
    );
    std::fs::write(&own, text).unwrap();
    let args =
        ["-i", "test:160x120@25", "--pipeline-sink", own.to_str().unwrap(), "--strength", "0"];
    let live = Live::start(&args);
    std::thread::sleep(Duration::from_secs(4));
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    // Without its end an MP4 cannot be read at all.
    assert!(frame_times(&made).len() > 25, "{}", ended.stderr);
}

#[test]
fn an_output_of_ones_own_that_is_too_slow_loses_frames_which_are_counted() {
    // Two frames a second of twenty-five.
    let (_folder, own) =
        described("appsrc name=frames ! identity sleep-time=500000 ! fakesink sync=false");
    let own = own.to_str().unwrap();
    let args = ["-i", "test:160x120@25", "--pipeline-sink", own, "--strength", "0", "--json"];
    let live = Live::start(&args);
    live.until_said(" by outputs", 60);
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let (frames, dropped) = (&summary["frames"], &summary["dropped_by_outputs"][0]);
    let (frames, dropped) = (frames.as_u64().unwrap(), dropped.as_u64().unwrap());
    assert!(dropped > frames / 2 && dropped < frames, "{summary}");
    // The test picture is made with 8 bits, whatever the source could make.
    assert!(!ended.stderr.contains("painted"), "{}", ended.stderr);
}

#[test]
fn a_broken_description_gives_one_line_and_exit_code_1() {
    let source: [(&str, &str); 8] = [
        ("videotestsrc ! ! appsink name=frames", "not a GStreamer description"),
        ("", "empty"),
        ("videotestsrc ! appsink name=other", "no element named 'frames'"),
        ("videotestsrc ! fakesink name=frames", "'frames' is a GstFakeSink, not a GstAppSink"),
        (
            "videotestsrc ! nosuchelement ! appsink name=frames",
            "no GStreamer element 'nosuchelement'",
        ),
        ("videotestsrc nosuch=1 ! appsink name=frames", "no property \"nosuch\""),
        ("appsink name=frames", "not a pipeline"),
        ("filesrc location=/no/such/file ! decodebin ! appsink name=frames", "/no/such/file"),
    ];
    let sink: [(&str, &str); 5] = [
        ("appsrc name=frames ! ! fakesink", "not a GStreamer description"),
        ("appsrc name=other ! fakesink", "no element named 'frames'"),
        ("fakesrc name=frames ! fakesink", "'frames' is a GstFakeSrc, not a GstAppSrc"),
        ("appsrc name=frames ! video/x-raw,format=RGB ! fakesink", "cannot agree on a format"),
        ("appsrc name=frames ! filesink location=/no/such/file", "/no/such/file"),
    ];
    let refused = |text: &str, why: &str, args: &dyn Fn(&str) -> Vec<String>| {
        let (_folder, own) = described(text);
        let own = own.to_str().unwrap();
        let args = args(own);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = Live::start(&args).wait();
        ended.is_refused(own);
        assert!(ended.stderr.contains(why), "{text}: {}", ended.stderr);
    };
    let owned = |args: &[&str]| args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    for (text, why) in source {
        let args = |own: &str| owned(&["--pipeline-source", own, "-o", "rtsp://127.0.0.1:0/art"]);
        refused(text, why, &args);
    }
    for (text, why) in sink {
        refused(text, why, &|own: &str| owned(&["-i", "test:", "--pipeline-sink", own]));
    }
    let ended = Live::start(&["-i", "test:", "--pipeline-sink", "/no/such/own.pipeline"]).wait();
    ended.is_refused("/no/such/own.pipeline");
    let ended = Live::start(&["--pipeline-source", "/no/such/own.pipeline"]).wait();
    ended.is_refused("/no/such/own.pipeline");
}
