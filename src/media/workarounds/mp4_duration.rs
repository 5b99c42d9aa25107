//! Workaround: qtdemux and the duration that an MP4 or MOV states.
//!
//! qtdemux 1.22 ends a track too early if its edit starts late, as in every AAC track with priming and every
//! clip cut without encoding: it adds the start of the edit, a time of the track, to a time of the movie, and
//! compares the sum with the duration of the movie. 1.22 to 1.26 leave out tracks shorter than a fifth of the
//! duration. A movie without a duration has neither problem: every track ends with its own edit list. So the
//! demuxer reads zeros instead of the duration, and other code gets the duration from here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::super::edit_list::{number, timescale};
use super::patch::Patch;
use crate::core::truncation::{boxes, regular};

/// What the header of a movie says of its length.
struct Header {
    /// Where in the file.
    at: Range<u64>,
    duration: Duration,
}

impl Header {
    /// None if the file is not an MP4, states no duration, or states it in a second place too.
    fn of(path: &Path) -> Option<Self> {
        let mut file = regular(path)?;
        let length = file.metadata().ok()?.len();
        let movie = find(&mut file, 0..length, b"moov")?;
        let movie = movie.start..movie.end.min(length);
        if find(&mut file, movie.clone(), b"mvex").is_some() {
            // A fragmented file: the duration is that of the first fragment or of all, and qtdemux handles
            // both.
            return None;
        }
        let header = find(&mut file, movie, b"mvhd")?;
        let mut bytes = [0; 32];
        file.seek(SeekFrom::Start(header.start)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        // Version, flags, two dates, units in a second, duration: dates and duration are longer in
        // the second version.
        let duration = if bytes[0] == 1 { 24..32 } else { 16..20 };
        let scale = timescale(&bytes, Some(0..bytes.len()))?;
        let units = number(&bytes, duration.start, duration.len())?;
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(scale.max(1));
        let begins = header.start + duration.start as u64;
        let at = begins..begins + duration.len() as u64;
        let inside = at.end <= header.end && scale > 0;
        let duration = u64::try_from(nanos).map(Duration::from_nanos).ok();
        duration.filter(|_| inside).map(|duration| Header { at, duration })
    }
}

/// Where the contents of the first box of this name lie.
fn find(file: &mut File, within: Range<u64>, wanted: &[u8; 4]) -> Option<Range<u64>> {
    let mut found = None;
    // What comes after it may be damaged.
    let _ = boxes(file, within, &mut |name, contents| {
        if name == *wanted {
            found.get_or_insert(contents);
        }
    });
    found
}

/// The patch that hides the duration in an MP4's header, and that duration.
pub(super) fn without_duration(path: &Path) -> Option<(Patch, Duration)> {
    let Header { at, duration } = Header::of(path)?;
    let bytes = vec![0; usize::try_from(at.end - at.start).ok()?];
    Some((Patch { at: at.start, bytes }, duration))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::edit_list::tests::{of, words};
    use super::*;

    fn header(file: &[u8]) -> Option<Header> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mp4");
        std::fs::write(&path, file).unwrap();
        Header::of(&path)
    }

    #[test]
    fn the_duration_of_a_movie_is_found_in_both_versions() {
        let old = of(b"mvhd", &words(&[0, 1, 1, 600, 1500, 0, 0, 0, 0]));
        let new = of(b"mvhd", &words(&[1 << 24, 0, 1, 0, 1, 600, 0, 1500, 0]));
        for (header_box, at) in [(old, 60..64), (new, 68..76)] {
            let parts =
                [of(b"ftyp", &[0; 12]), of(b"moov", &[of(b"free", b""), header_box].concat())];
            let file = parts.concat();
            let found = header(&file).unwrap();
            assert_eq!((found.duration, found.at), (Duration::from_millis(2500), at));
            for cut in 0..file.len() - 12 {
                assert!(header(&file[..cut]).is_none(), "of {cut} bytes");
            }
        }
        let fragments = [of(b"mvhd", &words(&[0; 9])), of(b"mvex", b"")].concat();
        assert!(header(&of(b"moov", &fragments)).is_none());
        assert!(header(b"no movie").is_none());
    }
}
