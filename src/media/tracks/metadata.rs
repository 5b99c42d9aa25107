//! Tags and chapters: which of the source's are kept in a repainted file.

use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;

use super::super::matroska::padded_name;
use crate::core::span::Span;

/// What describes the old file, not the work in it. Covers stay in an MP4, other attachments do not.
const OUTDATED: [&str; 21] = [
    "codec",
    "video-codec",
    "audio-codec",
    "subtitle-codec",
    "container-format",
    "bitrate",
    "nominal-bitrate",
    "minimum-bitrate",
    "maximum-bitrate",
    "encoder",
    "encoder-version",
    "encoded-by",
    "duration",
    "image-orientation",
    "has-crc",
    "channel-mode",
    "language-code",
    "language-name",
    "application-name",
    "attachment",
    "private-qt-tag",
];

/// Comments in which muxing programs leave notes for themselves; compared without case.
const OUTDATED_COMMENTS: [&str; 13] = [
    "DURATION",
    "ENCODER",
    "ENCODING_TOOL",
    "HANDLER_NAME",
    "VENDOR_ID",
    "MAJOR_BRAND",
    "MINOR_VERSION",
    "COMPATIBLE_BRANDS",
    "BPS",
    "NUMBER_OF_FRAMES",
    "NUMBER_OF_BYTES",
    "SOURCE_ID",
    "WAVEFORMATEXTENSIBLE_CHANNEL_MASK",
];

/// The tags of a file that are still true after repainting.
pub(super) fn kept_tags(tags: &gst::TagListRef) -> gst::TagList {
    let mut kept = gst::TagList::new();
    let Some(writable) = kept.get_mut() else { return kept };
    writable.set_scope(gst::TagScope::Global);
    for (name, values) in tags.iter_generic() {
        if OUTDATED.contains(&name.as_str()) {
            continue;
        }
        for value in values {
            let comment = value.get::<&str>().ok().filter(|_| name == "extended-comment");
            if comment.is_some_and(is_outdated) {
                continue;
            }
            // A tag that this GStreamer does not accept is left out.
            let _ = writable.add_value(name, value, gst::TagMergeMode::Append);
        }
    }
    kept
}

fn is_outdated(comment: &str) -> bool {
    let key = comment.split('=').next().unwrap_or_default();
    // "BPS-eng" and "_STATISTICS_TAGS" are mkvmerge's.
    let key = key.split('-').next().unwrap_or_default().to_ascii_uppercase();
    key.starts_with("_STATISTICS") || OUTDATED_COMMENTS.contains(&key.as_str())
}

/// The track's own tags that are kept: language and title. With `room` the title is padded, to make room for
/// flags that matroskamux does not write.
pub(super) fn of_track(tags: Option<&gst::TagListRef>, room: bool) -> Option<gst::TagList> {
    let none = gst::TagList::new();
    let tags = tags.unwrap_or(&none);
    let mut kept = gst::TagList::new();
    let writable = kept.get_mut()?;
    writable.set_scope(gst::TagScope::Stream);
    for name in ["language-code", "language-name", "title"] {
        if let Some(value) = tags.generic(name)
            && value.get::<&str>().is_ok_and(|text| text != "und")
        {
            let _ = writable.add_value(name, &value, gst::TagMergeMode::Replace);
        }
    }
    if room {
        let title = tags.generic("title").and_then(|title| title.get::<String>().ok());
        let title = padded_name(&title.unwrap_or_default());
        let _ = writable.add_value("title", &title.to_send_value(), gst::TagMergeMode::Replace);
    }
    (kept.n_tags() > 0).then_some(kept)
}

/// How many attachments there are besides covers.
pub(super) fn attachments(tags: &gst::TagListRef) -> usize {
    tags.size_by_name("attachment")
}

/// How many covers there are.
pub(super) fn covers(tags: &gst::TagListRef) -> usize {
    tags.size_by_name("image") + tags.size_by_name("preview-image")
}

/// The chapters within `span`, with times relative to its start, and their number.
pub(super) fn chapters(
    toc: &gst::TocRef,
    span: Span,
    whole: Option<Duration>,
) -> (gst::Toc, usize) {
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let start = nanos(span.start.unwrap_or_default());
    let part = TimeRange { start, length: span.of(whole).map_or(i64::MAX, nanos) };
    let mut kept = gst::Toc::new(toc.scope());
    let mut count = 0;
    if let Some(writable) = kept.get_mut() {
        for entry in toc.entries() {
            if let Some(entry) = part.of(&entry, &mut count) {
                writable.append_entry(entry);
            }
        }
    }
    (kept, count)
}

struct TimeRange {
    start: i64,
    length: i64,
}

impl TimeRange {
    fn of(&self, entry: &gst::TocEntryRef, count: &mut usize) -> Option<gst::TocEntry> {
        let (from, to) = entry.start_stop_times()?;
        let inside = |time: i64| time.saturating_sub(self.start).clamp(0, self.length);
        // -1: until the next, or the end.
        let to = if to < 0 { i64::MAX } else { to };
        let (begins, ends) = (inside(from), inside(to));
        if begins >= ends {
            return None;
        }
        let mut kept = gst::TocEntry::new(entry.entry_type(), entry.uid());
        let writable = kept.get_mut()?;
        writable.set_start_stop_times(begins, ends);
        writable.set_tags(entry.tags());
        *count += usize::from(entry.entry_type() == gst::TocEntryType::Chapter);
        for sub in entry.sub_entries() {
            if let Some(sub) = self.of(&sub, count) {
                writable.append_sub_entry(sub);
            }
        }
        Some(kept)
    }
}

/// Passes tags and chapters to a muxer.
pub(in super::super) fn write(
    mux: &gst::Element,
    tags: Option<&gst::TagList>,
    toc: Option<&gst::Toc>,
) {
    if let (Some(tags), Some(setter)) = (tags, mux.dynamic_cast_ref::<gst::TagSetter>()) {
        setter.merge_tags(tags, gst::TagMergeMode::ReplaceAll);
    }
    // Only Matroska's muxer has this property; by default it writes the current time.
    if let Some(tags) = tags.filter(|_| mux.has_property("creation-time"))
        && let Some(date) = tags.get::<gst::tags::DateTime>()
        && let Ok(date) = date.get().to_g_date_time()
    {
        mux.set_property("creation-time", date);
    }
    if let (Some(toc), Some(setter)) = (toc, mux.dynamic_cast_ref::<gst::TocSetter>()) {
        setter.set_toc(Some(toc));
    }
}
