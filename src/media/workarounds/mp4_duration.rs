//! Workaround: qtdemux and the duration that an MP4 or MOV states.
//!
//! qtdemux 1.22 ends a track too early if its edit starts late, as in every AAC track with priming and every
//! clip cut without encoding: it adds the start of the edit, a time of the track, to a time of the movie, and
//! compares the sum with the duration of the movie. 1.22 to 1.26 leave out tracks shorter than a fifth of the
//! duration. A movie without a duration has neither problem: every track ends with its own edit list. So the
//! demuxer reads zeros instead of the duration, and other code gets the duration from here.
//!
//! 1.22 also ends a track without an edit list where its duration is over, counted from 0, although pictures that
//! are stored before others are shown after them, and the first one begins later than 0: the last ones are lost. To
//! see it: `ffmpeg -use_editlist 0` or `-movflags frag_keyframe` with B-frames. The demuxer reads a longer duration of
//! such tracks; [`ContainerFacts`](super::ContainerFacts) corrects the frame rate that it computes by it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::super::edit_list::{number, timescale};
use super::patch::Patch;
use crate::core::truncation::{boxes, regular};

/// Added to the duration of a track without an edit list: more than pictures are reordered by.
const REORDERING: u64 = 10;

/// A number in the header of a movie or track, in its units.
struct DurationField {
    /// Where in the file.
    at: Range<u64>,
    units: u64,
    /// Units in a second.
    scale: u64,
}

impl DurationField {
    /// The duration in an `mvhd` or `mdhd` that lies at `header`.
    fn of(file: &mut File, header: &Range<u64>) -> Option<Self> {
        let mut bytes = [0; 32];
        file.seek(SeekFrom::Start(header.start)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        // Version, flags, two dates, units in a second, duration: dates and duration are longer in
        // the second version.
        let field = if bytes[0] == 1 { 24..32 } else { 16..20 };
        let scale = timescale(&bytes, Some(0..bytes.len())).filter(|scale| *scale > 0)?;
        let units = number(&bytes, field.start, field.len())?;
        let begins = header.start + field.start as u64;
        let at = begins..begins + field.len() as u64;
        (at.end <= header.end).then_some(DurationField { at, units, scale })
    }

    fn duration(&self) -> Option<Duration> {
        let nanos = u128::from(self.units) * 1_000_000_000 / u128::from(self.scale);
        u64::try_from(nanos).map(Duration::from_nanos).ok()
    }

    /// The patch that lets this number be read in its place.
    fn replaced(&self, units: u64) -> Option<Patch> {
        let width = usize::try_from(self.at.end - self.at.start).ok()?;
        let bytes = units.to_be_bytes();
        Some(Patch { at: self.at.start, bytes: bytes.get(bytes.len() - width..)?.to_vec() })
    }
}

/// How the durations in an MP4 are to be read, and how long it is, if it says so for certain. None if it is not an MP4,
/// or qtdemux reads it right.
pub(super) fn duration_patches(path: &Path) -> Option<(Vec<Patch>, Option<Duration>)> {
    let mut file = regular(path)?;
    let length = file.metadata().ok()?.len();
    let movie = find(&mut file, 0..length, b"moov")?;
    let movie = movie.start..movie.end.min(length);
    let header = find(&mut file, movie.clone(), b"mvhd")?;
    let whole = DurationField::of(&mut file, &header)?;
    let mut patches: Vec<_> = reordered(&mut file, movie.clone())
        .into_iter()
        .filter_map(|track| track.replaced(track.units + REORDERING * track.scale))
        .collect();
    let fragmented = find(&mut file, movie, b"mvex").is_some();
    // A fragmented file: the duration is that of the first fragment or of all, and qtdemux handles both.
    if fragmented && patches.is_empty() {
        return None;
    }
    patches.extend(whole.replaced(0));
    let duration = whole.duration()?;
    Some((patches, (!fragmented).then_some(duration)))
}

/// The durations of tracks that have no edit list, and whose samples are not stored in the order in which they are
/// shown.
fn reordered(file: &mut File, movie: Range<u64>) -> Vec<DurationField> {
    let mut traks = Vec::new();
    let _ = boxes(file, movie, &mut |name, contents| {
        if name == *b"trak" {
            traks.push(contents);
        }
    });
    let mut found = Vec::new();
    for trak in traks {
        let mut inside = |names: &[&[u8; 4]]| {
            names.iter().try_fold(trak.clone(), |within, name| find(file, within, name))
        };
        if inside(&[b"edts", b"elst"]).is_none()
            && inside(&[b"mdia", b"minf", b"stbl", b"ctts"]).is_some()
            && let Some(header) = inside(&[b"mdia", b"mdhd"])
        {
            found.extend(DurationField::of(file, &header));
        }
    }
    found.retain(|track| track.units > 0 && track.units < 0xF000_0000);
    found
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::edit_list::tests::{of, words};
    use super::*;

    fn patches(file: &[u8]) -> Option<(Vec<Patch>, Option<Duration>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mp4");
        std::fs::write(&path, file).unwrap();
        duration_patches(&path)
    }

    #[test]
    fn the_duration_of_a_movie_is_found_in_both_versions() {
        let old = of(b"mvhd", &words(&[0, 1, 1, 600, 1500, 0, 0, 0, 0]));
        let new = of(b"mvhd", &words(&[1 << 24, 0, 1, 0, 1, 600, 0, 1500, 0]));
        for (header_box, at, width) in [(old, 60, 4), (new, 68, 8)] {
            let parts =
                [of(b"ftyp", &[0; 12]), of(b"moov", &[of(b"free", b""), header_box].concat())];
            let file = parts.concat();
            let found = patches(&file).unwrap();
            let zeros = Patch { at, bytes: vec![0; width] };
            assert_eq!(found, (vec![zeros], Some(Duration::from_millis(2500))));
            for cut in 0..file.len() - 12 {
                assert!(patches(&file[..cut]).is_none(), "of {cut} bytes");
            }
        }
        let fragments = [of(b"mvhd", &words(&[0; 9])), of(b"mvex", b"")].concat();
        assert!(patches(&of(b"moov", &fragments)).is_none());
        assert!(patches(b"no movie").is_none());
    }

    #[test]
    fn a_reordered_track_without_an_edit_list_is_read_as_longer() {
        let mvhd = of(b"mvhd", &words(&[0, 1, 1, 600, 1500, 0, 0, 0, 0]));
        let track = |times: &[u8; 4], edits: &[u8]| {
            let minf = of(b"minf", &of(b"stbl", &of(times, b"")));
            let mdhd = of(b"mdhd", &words(&[0, 1, 1, 1000, 2500, 0, 0, 0]));
            of(b"trak", &[edits, &of(b"mdia", &[mdhd, minf].concat())].concat())
        };
        let edits = of(b"edts", &of(b"elst", b""));
        let count = |track: &[u8], more: &[u8]| {
            patches(&of(b"moov", &[&mvhd, track, more].concat())).map(|(found, _)| found.len())
        };
        assert_eq!(count(&track(b"ctts", b""), b""), Some(2));
        assert_eq!(count(&track(b"ctts", &edits), b""), Some(1));
        assert_eq!(count(&track(b"stts", b""), b""), Some(1));
        let fragments = of(b"mvex", b"");
        assert_eq!(count(&track(b"ctts", b""), &fragments), Some(2));
        assert_eq!(count(&track(b"ctts", &edits), &fragments), None);
        let (found, _) = patches(&of(b"moov", &[mvhd, track(b"ctts", b"")].concat())).unwrap();
        assert_eq!(found[0].bytes, 12_500_u32.to_be_bytes());
    }
}
