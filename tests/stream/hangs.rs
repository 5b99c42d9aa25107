//! A network that hangs: the run ends with its error, and what was painted is finished.

use std::sync::mpsc::channel;

use nst_stream::core::frame::Frame;
use nst_stream::core::stylizer::{StylizeError, Stylizer};
use nst_stream::engine::stylizer::StyleMix;
use nst_stream::stream::{Adjustable, VideoJob};

use super::common::*;
use super::route::route;
use super::threads::{LIMIT, live_of};

/// Paints so many frames, then hangs until the process ends.
struct Hangs(usize);

impl Stylizer for Hangs {
    fn stylize(&mut self, _batch: &mut [Frame]) -> Result<(), StylizeError> {
        match self.0.checked_sub(1) {
            Some(left) => self.0 = left,
            None => loop {
                std::thread::park();
            },
        }
        Ok(())
    }
}

impl Adjustable for Hangs {
    fn adjust(&mut self, _scale: f64, _stroke: f64, _mix: StyleMix) {}
}

#[test]
fn a_network_that_hangs_ends_a_live_run_and_its_files_are_finished() {
    let folder = tempfile::tempdir().unwrap();
    let error = live_of(folder.path(), Hangs(10)).unwrap_err();
    assert!(error.contains("the network hangs"), "{error}");
    for name in ["a.mkv", "b.mp4"] {
        assert_eq!(frame_times(&folder.path().join(name)).len(), 10, "{name}");
    }
}

#[test]
fn a_network_that_hangs_leaves_what_was_made_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (bunny(), folder.path().join("out.mkv"));
    let kept = folder.path().join("out.partial.mkv");
    let (send, ended) = channel();
    std::thread::spawn(move || {
        let (run, _) = route(&VideoJob::new(&input, &output), Hangs(20));
        let _ = send.send(format!("{:#}", run.unwrap_err()));
    });
    let error = ended.recv_timeout(LIMIT).expect("the run does not end");
    assert!(error.contains("20 frames") && error.contains("the network hangs"), "{error}");
    assert_eq!(frame_times(&kept).len(), 20);
    let sound = audio_packets(&kept, "a:0").1 as f64 * 1024.0 / 48000.0;
    assert!((sound - 0.8).abs() < 0.05, "the sound ends with the picture: {sound} s");
}
