//! The playlist of a live HLS stream (RFC 8216).

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gstreamer::glib;

/// Segments that the playlist names; players begin three before its end.
const WINDOW: usize = 6;

/// Segments that stay after they have left the playlist: players that are late still ask for them.
const KEPT: usize = 6;

/// A segment, which is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Name of its file.
    pub name: String,
    pub duration: Duration,
    /// When its first picture was taken.
    pub begins: SystemTime,
}

/// What the playlist says.
#[derive(Debug, Default)]
pub(super) struct Playlist {
    segments: VecDeque<Segment>,
    /// Segments that have left the playlist and still have a file.
    earlier: VecDeque<String>,
    /// The number of the first segment.
    sequence: u64,
    /// The longest segment so far, in whole seconds; it must not change while a stream runs, but for a longer one.
    longest: u64,
    ended: bool,
}

impl Playlist {
    /// Adds a segment. Returns the name of one that may be removed.
    pub fn add(&mut self, segment: Segment) -> Option<String> {
        let seconds = segment.duration.as_secs_f64().round().max(2.0) as u64;
        self.longest = self.longest.max(seconds);
        self.segments.push_back(segment);
        if self.segments.len() > WINDOW {
            self.sequence += 1;
            self.earlier.extend(self.segments.pop_front().map(|segment| segment.name));
        }
        (self.earlier.len() > KEPT).then(|| self.earlier.pop_front()).flatten()
    }

    /// No further segment comes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The playlist as it stands in its file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n",
            self.longest, self.sequence
        );
        for Segment { name, duration, begins } in &self.segments {
            if let Some(date) = date(*begins) {
                let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{date}");
            }
            let _ = writeln!(text, "#EXTINF:{:.3},\n{name}", duration.as_secs_f64());
        }
        if self.ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }
}

/// A time as ISO 8601 has it, to the millisecond: `2026-11-29T10:00:00.000Z`.
fn date(time: SystemTime) -> Option<String> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let seconds = glib::DateTime::from_unix_utc(i64::try_from(since.as_secs()).ok()?).ok()?;
    let text = seconds.format("%Y-%m-%dT%H:%M:%S").ok()?;
    Some(format!("{text}.{:03}Z", since.subsec_millis()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_names_the_newest_segments_with_their_dates() {
        let mut playlist = Playlist::default();
        let segment = |n: u64| Segment {
            name: format!("live-{n:05}.ts"),
            duration: Duration::from_millis(2000 + n),
            begins: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123 + 2000 * n),
        };
        let removed: Vec<_> = (0..14).filter_map(|n| playlist.add(segment(n))).collect();
        assert_eq!(removed, ["live-00000.ts", "live-00001.ts"]);
        let text = playlist.text();
        let head = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:8\n\
                    #EXT-X-INDEPENDENT-SEGMENTS\n\
                    #EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:36.123Z\n#EXTINF:2.008,\nlive-00008.ts\n";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.ends_with("live-00013.ts\n") && text.matches("#EXTINF").count() == 6,
            "{text}"
        );
        playlist.end();
        assert!(playlist.text().ends_with("#EXT-X-ENDLIST\n"));
    }
}
