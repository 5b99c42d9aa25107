//! Tracks of an MP4 that begin within a packet: the edit list says how much of it is not presented.
//!
//! mp4mux (GStreamer 1.22 to 1.26) writes an edit list for every track, but cannot begin one within a
//! packet; the two numbers that say so are changed in the finished file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::cut_off::boxes;

/// Longer indexes than this are none.
const LARGEST: u64 = 1 << 30;

/// Hides the first `leads[n]` of the track with the id `n + 1`.
///
/// # Errors
/// When the file is not one that mp4mux writes, or cannot be written; it is then unchanged.
pub(super) fn hide_leads(path: &Path, leads: &[Duration]) -> io::Result<()> {
    if leads.iter().all(Duration::is_zero) {
        return Ok(());
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (start, mut moov) = index(&mut file)?;
    let movie = timescale(&moov, find(&moov, 0..moov.len(), b"mvhd"));
    let mut changed = 0;
    let mut at = 0;
    while let Some(trak) = find(&moov, at..moov.len(), b"trak") {
        at = trak.end;
        let id = find(&moov, trak.clone(), b"tkhd").and_then(|tkhd| {
            let version = *moov.get(tkhd.start)?;
            number(&moov, tkhd.start + if version == 1 { 20 } else { 12 }, 4)
        });
        let lead = id.and_then(|id| leads.get(usize::try_from(id).ok()?.checked_sub(1)?));
        let Some(lead) = lead.filter(|lead| !lead.is_zero()) else { continue };
        let mdia = find(&moov, trak.clone(), b"mdia");
        let track = mdia.and_then(|mdia| timescale(&moov, find(&moov, mdia, b"mdhd")));
        let list = find(&moov, trak, b"edts").and_then(|edts| find(&moov, edts, b"elst"));
        if let (Some(movie), Some(track), Some(list)) = (movie, track, list) {
            changed += usize::from(shorten(&mut moov, list, *lead, movie, track).is_some());
        }
    }
    if changed < leads.iter().filter(|lead| !lead.is_zero()).count() {
        return Err(io::Error::other("a track has no edit list"));
    }
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&moov)
}

/// Begins the last edit later in its track, by `lead`.
fn shorten(
    moov: &mut [u8],
    list: Range<usize>,
    lead: Duration,
    movie: u64,
    track: u64,
) -> Option<()> {
    let wide = *moov.get(list.start)? == 1;
    let width = if wide { 8 } else { 4 };
    let count = usize::try_from(number(moov, list.start + 4, 4)?).ok()?;
    let entry = list.start + 8 + count.checked_sub(1)? * (2 * width + 4);
    if entry + 2 * width > list.end {
        return None;
    }
    let units = |scale: u64| {
        let nanos = lead.as_nanos() * u128::from(scale);
        u64::try_from((nanos + 500_000_000) / 1_000_000_000).ok()
    };
    let length = number(moov, entry, width)?.saturating_sub(units(movie)?);
    let begins = number(moov, entry + width, width)? + units(track)?;
    put(moov, entry, width, length)?;
    put(moov, entry + width, width, begins)
}

/// Where the contents of the index lie in the file, and what they are.
fn index(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut found = None;
    // What it says is of the last box; the index may stand before a damaged one.
    let _ = boxes(file, 0..end, &mut |name, contents| {
        if name == *b"moov" {
            found.get_or_insert(contents);
        }
    });
    let found = found.filter(|at| at.end <= end && at.end - at.start <= LARGEST);
    let found = found.ok_or_else(|| io::Error::other("it has no index"))?;
    let length = usize::try_from(found.end - found.start).map_err(io::Error::other)?;
    let mut moov = vec![0; length];
    file.seek(SeekFrom::Start(found.start))?;
    file.read_exact(&mut moov)?;
    Ok((found.start, moov))
}

/// The contents of the first box of this name in a range.
fn find(bytes: &[u8], within: Range<usize>, name: &[u8; 4]) -> Option<Range<usize>> {
    let mut at = within.start;
    while at + 8 <= within.end {
        let size = usize::try_from(number(bytes, at, 4)?).ok()?;
        if size < 8 || size > within.end - at {
            return None;
        }
        if bytes.get(at + 4..at + 8)? == name {
            return Some(at + 8..at + size);
        }
        at += size;
    }
    None
}

/// The units in a second, of mvhd or mdhd.
pub(super) fn timescale(bytes: &[u8], header: Option<Range<usize>>) -> Option<u64> {
    let header = header?;
    let version = *bytes.get(header.start)?;
    number(bytes, header.start + if version == 1 { 20 } else { 12 }, 4)
}

/// An unsigned number, big endian.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn put(bytes: &mut [u8], at: usize, width: usize, number: u64) -> Option<()> {
    let number = number.to_be_bytes();
    bytes.get_mut(at..at + width)?.copy_from_slice(&number[8 - width..]);
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// A box.
    pub fn of(name: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        let size = u32::try_from(contents.len() + 8).unwrap();
        [&size.to_be_bytes()[..], name, contents].concat()
    }

    /// Numbers as a box holds them.
    pub fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn movie() -> Vec<u8> {
        let trak = |id, elst: &[u32]| {
            let mdhd = of(b"mdhd", &words(&[0, 0, 0, 48_000]));
            let tkhd = of(b"tkhd", &words(&[0, 0, 0, id]));
            let edts = of(b"edts", &of(b"elst", &words(elst)));
            of(b"trak", &[tkhd, edts, of(b"mdia", &mdhd)].concat())
        };
        let mvhd = of(b"mvhd", &words(&[0, 0, 0, 1000]));
        let late = [0, 2, 500, u32::MAX, 65536, 2000, 0, 65536];
        let traks = [trak(1, &[0, 1, 3000, 0, 65536]), trak(2, &late)].concat();
        let moov = of(b"moov", &[mvhd, traks].concat());
        [of(b"ftyp", b"isom"), of(b"mdat", b"moov"), moov].concat()
    }

    #[test]
    fn the_edit_of_the_media_begins_later_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mp4");
        let before = movie();
        std::fs::write(&path, &before).unwrap();
        let lead = Duration::from_nanos(21_333_333);
        hide_leads(&path, &[Duration::ZERO, lead]).unwrap();
        let after = std::fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..before.len()).filter(|n| before[*n] != after[*n]).collect();
        let text = words(&[2000 - 21, 1024, 65536]);
        assert!(after.windows(12).any(|window| window == text), "{changed:?}");
        assert!(changed.len() <= 4, "{changed:?}");
    }

    #[test]
    fn what_is_no_mp4_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mp4");
        let lead = [Duration::from_millis(5)];
        let whole = movie();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(hide_leads(&path, &lead).is_err(), "of {cut} bytes");
            assert_eq!(std::fs::read(&path).unwrap(), &whole[..cut]);
        }
        assert!(hide_leads(&path, &[Duration::ZERO, Duration::ZERO, lead[0]]).is_err());
    }
}
