//! Threads of a run that end before the run does.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use nst_stream::core::encoding::{Encoding, StreamEncoding};
use nst_stream::core::endpoint::{InputSpec, OutputSpec};
use nst_stream::core::frame::Frame;
use nst_stream::core::stats::Summary;
use nst_stream::core::stop::StopSignal;
use nst_stream::core::stylizer::{StylizeError, Stylizer};
use nst_stream::engine::stylizer::StyleMix;
use nst_stream::media::live::LiveOptions;
use nst_stream::stream::{
    Adjustable, LiveControls, LiveJob, LiveSettings, RegionSettings, RunContext, VideoJob,
    stylize_live,
};

use super::common::*;
use super::route::{Said, route};

/// Longer than any of these runs takes to begin and to end, where the machine is busy too.
pub const LIMIT: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Fails,
    Panics,
}

/// Fails or panics after so many frames.
struct Dies(usize, How);

impl Stylizer for Dies {
    fn stylize(&mut self, _batch: &mut [Frame]) -> Result<(), StylizeError> {
        match (self.0.checked_sub(1), self.1) {
            (Some(left), _) => self.0 = left,
            (None, How::Fails) => return Err(StylizeError::Failed("no luck".into())),
            (None, How::Panics) => panic!("no luck"),
        }
        Ok(())
    }
}

impl Adjustable for Dies {
    fn adjust(&mut self, _scale: f64, _stroke: f64, _mix: StyleMix) {}
}

/// A live run from a source with a picture and sound, which go on without each other, into two files.
pub fn live_of(folder: &Path, network: impl Adjustable + 'static) -> Result<Summary, String> {
    let own = folder.join("own.pipeline");
    let source = "videotestsrc is-live=true ! video/x-raw,width=96,height=64,framerate=25/1 \
                  ! appsink name=frames audiotestsrc is-live=true ! fakesink";
    std::fs::write(&own, source).unwrap();
    let job = LiveJob {
        input: InputSpec::Pipeline(own),
        outputs: ["a.mkv", "b.mp4"].map(|name| OutputSpec::File(folder.join(name))).into(),
        options: LiveOptions::default(),
        adapt: false,
        mask: None,
        overwrite: false,
        segment: None,
        encoding: Encoding::default(),
        dump_dot: None,
        streams: StreamEncoding { key_interval: Duration::from_secs(2), bitrate: None },
    };
    let (send, ended) = channel();
    std::thread::spawn(move || {
        let controls = LiveControls::new(LiveSettings {
            model: 0,
            scale: 1.0,
            stroke: 1.0,
            mix: StyleMix::default(),
            blend: None,
            regions: RegionSettings::default(),
            steady: 0.0,
        });
        let (mut said, stop) = (Said::default(), StopSignal::default());
        let mut context = RunContext::new(&stop, &mut said);
        let models = |_, _: &mut RunContext| Ok(vec![network]);
        let ended = stylize_live(&job, models, &controls, &mut context);
        let _ = send.send(ended.map_err(|error| format!("{error:#}")));
    });
    match ended.recv_timeout(LIMIT) {
        Ok(ended) => ended,
        Err(RecvTimeoutError::Timeout) => panic!("the run does not end"),
        Err(RecvTimeoutError::Disconnected) => panic!("the run panicked"),
    }
}

#[test]
fn a_network_that_dies_ends_a_live_run_and_its_files_are_finished() {
    for how in [How::Fails, How::Panics] {
        let folder = tempfile::tempdir().unwrap();
        let error = live_of(folder.path(), Dies(10, how)).unwrap_err();
        assert!(error.contains("no luck"), "{how:?}: {error}");
        for name in ["a.mkv", "b.mp4"] {
            assert_eq!(frame_times(&folder.path().join(name)).len(), 10, "{how:?}: {name}");
        }
    }
}

#[test]
fn a_network_that_panics_leaves_what_was_made_of_a_file_and_the_sound_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (bunny(), folder.path().join("out.mkv"));
    let (run, _) = route(&VideoJob::new(&input, &output), Dies(20, How::Panics));
    let error = format!("{:#}", run.unwrap_err());
    assert!(error.contains("20 frames") && error.contains("panicked: no luck"), "{error}");
    let kept = folder.path().join("out.partial.mkv");
    assert_eq!(frame_times(&kept).len(), 20);
    let sound = audio_packets(&kept, "a:0").1 as f64 * 1024.0 / 48000.0;
    assert!((sound - 0.8).abs() < 0.05, "{sound} s");
}
