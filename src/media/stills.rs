//! Tells stills among the video tracks of a file: covers, thumbnails and title cards of one picture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use gstreamer as gst;

use super::error::PipelineError;
use super::frame_count::discard;
use super::pipeline::{Pipeline, PipelineRole};
use super::workarounds::{ContainerFacts, open_file, repair_demuxers};
use crate::core::stop::StopSignal;
use crate::core::timeouts::{LIST_TRACKS, WaitTimer};

const DESCRIPTION: &str = include_str!("../../pipelines/source-packets.pipeline");

/// A track of one picture beside a track that already has this many is a still.
const ENOUGH: u64 = 50;

/// The stream ids of the stills among the video tracks of a file, beside at least one track of several pictures. The
/// packets of all tracks are counted until one video track has [`ENOUGH`].
///
/// # Errors
/// When the file cannot be opened. What is damaged is counted as far as it goes.
pub(super) fn stills(path: &Path, stop: &StopSignal) -> Result<BTreeSet<String>, PipelineError> {
    let pipeline = Pipeline::parse(PipelineRole::Source, DESCRIPTION)?;
    open_file(&pipeline.element("src")?, path);
    let parse = pipeline.element("parse")?;
    repair_demuxers(&parse, &ContainerFacts::of(path));
    let counts = Arc::new(Mutex::new(BTreeMap::new()));
    let (of, all) = (Arc::clone(&counts), pipeline.gst().downgrade());
    parse.connect_pad_added(move |_, pad| {
        let Some(all) = all.upgrade() else { return };
        if let Some(sink) = discard(&all) {
            let _ = pad.link(&sink);
        }
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let video = |name: &str| name.starts_with("video/") || name.starts_with("image/");
        if let Some(id) = pad.stream_id()
            && caps.structure(0).is_some_and(|format| video(format.name()))
        {
            count(pad, id.to_string(), &of);
        }
    });
    pipeline.set_state(gst::State::Playing)?;
    let (bus, mut timer) = (pipeline.gst().bus(), WaitTimer::new());
    let enough = || lock(&counts).values().any(|count| *count >= ENOUGH);
    while let Some(bus) = bus.as_ref().filter(|_| !timer.is_over(LIST_TRACKS) && !enough()) {
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        if stop.is_set()
            || bus.timed_pop_filtered(gst::ClockTime::from_mseconds(20), &ends).is_some()
        {
            break;
        }
    }
    let counts = lock(&counts);
    let several = counts.values().any(|count| *count > 1);
    let stills = counts.iter().filter(|(_, count)| several && **count <= 1);
    Ok(stills.map(|(id, _)| id.clone()).collect())
}

type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

fn lock(counts: &Counts) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the packets that pass `pad` under `id`.
fn count(pad: &gst::Pad, id: String, counts: &Counts) {
    lock(counts).insert(id.clone(), 0);
    let counts = Arc::clone(counts);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        // Headers have no time (Theora).
        if info.buffer().is_some_and(|packet| packet.dts_or_pts().is_some()) {
            *lock(&counts).entry(id.clone()).or_default() += 1;
        }
        gst::PadProbeReturn::Ok
    });
}
