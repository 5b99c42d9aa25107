//! Outputs that take nothing any more, and what only looks like it.

use std::time::Duration;

use crate::common::*;
use crate::program::Live;

/// Takes a frame or two, and then sleeps for an hour.
const BLOCKS: &str = "appsrc name=frames ! identity sleep-time=3600000000 ! fakesink sync=false";

#[test]
fn an_output_that_blocks_is_named_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (own, out) = (folder.path().join("own.pipeline"), folder.path().join("out.mkv"));
    std::fs::write(&own, BLOCKS).unwrap();
    let own = own.to_str().unwrap();
    let args = ["-i", "test:160x120@25", "--pipeline-sink", own, "--strength", "0", "--json"];
    let live = Live::start(&[&args[..], &["-o", out.to_str().unwrap()]].concat());
    live.until_said(&format!("'{own}' failed: it hangs"), 150);
    let ended = live.interrupt();
    // The thread of the output still sleeps.
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(summary["failed_outputs"][0].as_str().unwrap().contains("it hangs"), "{summary}");
    // It has lasted longer than what hangs is waited for.
    assert!(frame_times(&out).last().is_some_and(|last| *last > 10.0), "{}", ended.stderr);
    let alone = Live::start(&args).wait();
    alone.is_refused("it hangs");
}

#[test]
fn an_output_that_waits_for_somebody_to_connect_and_a_suspended_program_do_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let (own, port) = (folder.path().join("own.pipeline"), crate::sent::free_port());
    let text = format!(
        "appsrc name=frames ! videoconvert ! x264enc tune=zerolatency ! mpegtsmux \
         ! srtsink uri=srt://127.0.0.1:{port}?mode=listener wait-for-connection=true"
    );
    std::fs::write(&own, text).unwrap();
    let own = own.to_str().unwrap();
    let live = Live::serve(&["-i", "test:160x120@25", "--pipeline-sink", own, "--strength", "0"]);
    live.served();
    live.signal("STOP");
    std::thread::sleep(Duration::from_secs(13));
    live.signal("CONT");
    live.until_said("has taken no picture for ", 150);
    std::thread::sleep(Duration::from_secs(3));
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hangs"), "{}", ended.stderr);
}
