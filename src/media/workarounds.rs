//! Corrections of bugs in GStreamer's elements, each applied at a pad. Each one documents the affected
//! versions, the bug, and how to reproduce it, and so when it can be removed. If newer GStreamer versions are
//! right, the code asks [`older_than`](super::older_than); all others were still needed with 1.26.
//! Workarounds elsewhere stand beside the code they concern, such as those of muxers in `edit_list` and
//! `matroska`; `grep -rn "1\.22 to" src/media` finds all.

use std::path::Path;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::matroska;

mod avi;
mod caps;
mod colorimetry;
mod container_facts;
mod deinterlacer;
mod flv;
mod fourcc;
mod latm;
mod lengths;
mod lpcm;
mod matroska_segments;
mod mp4_duration;
mod patch;
mod picture_times;
mod transport;

pub(super) use avi::may_reorder;
pub(super) use caps::{complete, complete_on, repair_demuxers, usual_positions};
pub(super) use colorimetry::{change_caps, prefer_colorimetry};
pub(super) use container_facts::ContainerFacts;
pub(super) use deinterlacer::one_frame_for_each;
pub(super) use fourcc::is_unnamed;
pub(super) use lengths::keep_lengths;
pub(super) use matroska_segments::{count_from, count_picture_from};
pub(super) use picture_times::complete_picture_times;
pub(super) use transport::{further_programmes, is_transport_stream};

/// Lets a filesrc read a file as its demuxer should see it: an MP4 without its duration, an AVI whose ADPCM has
/// blocks of any size, a transport stream with tables that do not change. Returns how long an MP4 says that it is,
/// and a Matroska file that begins late: its demuxer says when it ends.
pub(super) fn open_file(src: &gst::Element, path: &Path) -> Option<Duration> {
    src.set_property("location", path);
    transport::repair_transport_stream(src, path);
    patch::patch(src, avi::patches(path));
    let Some((duration_patches, duration)) = mp4_duration::duration_patches(path) else {
        return matroska::length(path);
    };
    patch::patch(src, duration_patches);
    duration.filter(|duration| !duration.is_zero())
}
