//! The index of a finished MP4 goes to the front, so that players on the web start at once.
//!
//! mp4mux (GStreamer 1.22) writes either a file that is playable while it grows or one with its
//! index in front, not both; so a finished file is muxed once more, without encoding.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::error::PipelineError;
use super::pipeline::{Event, Pipeline, Role};

/// Muxes the finished MP4 `from`, which holds one video and `audio_tracks` audio tracks, into `to`.
///
/// # Errors
/// When there is no room, or the file cannot be read; `to` is then removed and `from` untouched.
pub fn index_to_front(from: &Path, to: &Path, audio_tracks: usize) -> Result<(), PipelineError> {
    let scratch = to.with_extension("mdat");
    let result = remux(from, to, &scratch, audio_tracks);
    // mp4mux removes its scratch file itself when all goes well.
    let _ = std::fs::remove_file(&scratch);
    if result.is_err() {
        let _ = std::fs::remove_file(to);
    }
    result
}

fn remux(from: &Path, to: &Path, scratch: &Path, tracks: usize) -> Result<(), PipelineError> {
    let mut description = String::from("mp4mux name=mux faststart=true ! filesink name=file\n");
    let pads = (0..tracks).map(|n| format!("audio_{n}"));
    let pads: Vec<String> = std::iter::once("video_0".to_owned()).chain(pads).collect();
    for pad in &pads {
        // A demuxer for each track: with one for all, the muxer waits for one track while the
        // demuxer waits for room in another, whenever a fragment is longer than a queue.
        description += &format!(
            "filesrc name=src_{pad} ! qtdemux name=demux_{pad} \
             demux_{pad}.{pad} ! queue ! mux.{pad}\n"
        );
    }
    let pipeline = Pipeline::parse(Role::Sink(0), &description)?;
    for pad in &pads {
        pipeline.element(&format!("src_{pad}"))?.set_property("location", from);
    }
    pipeline.element("file")?.set_property("location", to);
    // Beside the output: the system's temporary folder may be small or of memory.
    pipeline.element("mux")?.set_property("faststart-file", scratch);
    let (events, said) = channel();
    pipeline.forward(events);
    pipeline.set_state(gst::State::Playing)?;
    loop {
        match said.recv_timeout(Duration::from_secs(600)) {
            Ok(Event::End(_)) => return Ok(()),
            Ok(Event::Failed(_, error)) => return Err(error),
            Ok(Event::Warning(..)) => {}
            Err(_) => return Err(PipelineError::new("mux", "moving the index took too long")),
        }
    }
}
