//! MP4 tracks that begin within a packet: the edit list says how much of the first packet is not presented.
//!
//! mp4mux (GStreamer 1.22 to 1.26) writes an edit list for every track, but cannot start it within a packet;
//! the two numbers that say so are changed in the finished file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::core::truncation::boxes;

/// An index longer than this is taken as damaged.
const LARGEST: u64 = 1 << 30;

/// Makes the edit list of track `n + 1` skip the first `leads[n]` of its media.
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
        let id = id_of(&moov, &trak);
        let lead = id.and_then(|id| leads.get(usize::try_from(id).ok()?.checked_sub(1)?));
        let Some(lead) = lead.filter(|lead| !lead.is_zero()) else { continue };
        let mdia = find(&moov, trak.clone(), b"mdia");
        let track = mdia.and_then(|mdia| timescale(&moov, find(&moov, mdia, b"mdhd")));
        let list = find(&moov, trak, b"edts").and_then(|edts| find(&moov, edts, b"elst"));
        if let (Some(movie), Some(track), Some(list)) = (movie, track, list) {
            changed +=
                usize::from(advance_edit_start(&mut moov, list, *lead, movie, track).is_some());
        }
    }
    if changed < leads.iter().filter(|lead| !lead.is_zero()).count() {
        return Err(io::Error::other("a track has no edit list"));
    }
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&moov)
}

/// Moves the start of the last edit `lead` later in the media, and shortens it by as much.
fn advance_edit_start(
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

/// Extends edits so that every frame is shown for its whole duration. mp4mux (1.22 to 1.26) ends a track's
/// edit when decoding ends. With reordered frames at uneven times, that is before the last frames are shown,
/// and players leave these out.
///
/// # Errors
/// When the file is not one that mp4mux writes, or cannot be written.
pub(super) fn extend_edits(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (start, mut moov) = index(&mut file)?;
    let Some(mvhd) = find(&moov, 0..moov.len(), b"mvhd") else { return Ok(()) };
    let Some(scale) = timescale(&moov, Some(mvhd.clone())) else { return Ok(()) };
    let (mut at, mut longest) = (0, 0);
    while let Some(trak) = find(&moov, at..moov.len(), b"trak") {
        at = trak.end;
        longest = longest.max(show_whole_track(&mut moov, &trak, scale).unwrap_or(0));
    }
    if longest > 0 {
        lengthen(&mut moov, &mvhd, 12, longest);
        file.seek(SeekFrom::Start(start))?;
        file.write_all(&moov)?;
    }
    Ok(())
}

/// The same for one track. Returns its new duration in the movie's timescale, if it was changed.
fn show_whole_track(moov: &mut [u8], trak: &Range<usize>, scale: u64) -> Option<u64> {
    let mdia = find(moov, trak.clone(), b"mdia")?;
    let handler = find(moov, mdia.clone(), b"hdlr")?;
    if moov.get(handler.start + 8..handler.start + 12)? != b"vide" {
        return None;
    }
    let ticks = timescale(moov, find(moov, mdia.clone(), b"mdhd"))?;
    let table = find(moov, find(moov, mdia, b"minf")?, b"stbl")?;
    let shown = last_shown(moov, &table)?;
    let list = find(moov, find(moov, trak.clone(), b"edts")?, b"elst")?;
    let wide = *moov.get(list.start)? == 1;
    let width = if wide { 8 } else { 4 };
    let count = usize::try_from(number(moov, list.start + 4, 4)?).ok()?;
    let entry = |n: usize| list.start + 8 + n * (2 * width + 4);
    let last = entry(count.checked_sub(1)?);
    let begins = number(moov, last + width, width)?;
    let length = u128::from(shown.checked_sub(begins)?) * u128::from(scale);
    let length = u64::try_from(length.div_ceil(u128::from(ticks.max(1)))).ok()?;
    if number(moov, last, width)? >= length || last + 2 * width > list.end {
        return None;
    }
    put(moov, last, width, length)?;
    let all = (0..count).map(|n| number(moov, entry(n), width)).sum::<Option<u64>>()?;
    lengthen(moov, &find(moov, trak.clone(), b"tkhd")?, 16, all);
    Some(all)
}

/// End time of the frame that is presented last, in the track's timescale.
fn last_shown(moov: &[u8], table: &Range<usize>) -> Option<u64> {
    let steps = find(moov, table.clone(), b"stts")?;
    let offsets = find(moov, table.clone(), b"ctts");
    // Pairs of a count and a number.
    let runs = |at: &Range<usize>| {
        let runs = moov.get(at.start + 8..at.end).unwrap_or_default().chunks_exact(8);
        runs.map(|run| {
            let word = |n: usize| u32::from_be_bytes([run[n], run[n + 1], run[n + 2], run[n + 3]]);
            (word(0), word(4))
        })
        .collect::<Vec<_>>()
    };
    let later = offsets.as_ref().map(runs).unwrap_or_default();
    let mut later = later.into_iter().flat_map(|(count, later)| (0..count).map(move |_| later));
    let (mut decoded, mut shown) = (0_i64, 0_i64);
    for (count, step) in runs(&steps) {
        for _ in 0..count.min(1 << 28) {
            // The composition offset may be negative.
            let later = later.next().unwrap_or(0) as i32;
            shown = shown.max(decoded + i64::from(later) + i64::from(step));
            decoded += i64::from(step);
        }
    }
    u64::try_from(shown).ok()
}

/// Raises the duration in a header (mvhd or tkhd) to `duration`. `at`: the offset of the duration field in
/// version 0.
fn lengthen(moov: &mut [u8], header: &Range<usize>, at: usize, duration: u64) {
    let wide = moov.get(header.start) == Some(&1);
    // In version 1, the two dates before it take eight bytes each.
    let (at, width) = if wide { (header.start + at + 12, 8) } else { (header.start + at + 4, 4) };
    if number(moov, at, width).is_some_and(|said| said < duration) && at + width <= header.end {
        let _ = put(moov, at, width, duration);
    }
}

/// For each track with an id from 1 on: whether it is enabled, and its alternate group (0: none), of which
/// players play one track. mp4mux (1.22 to 1.26) enables all tracks and writes no groups.
///
/// # Errors
/// When the file is not one that mp4mux writes, or cannot be written.
pub(super) fn set_enabled_and_groups(path: &Path, tracks: &[(bool, u16)]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (start, mut moov) = index(&mut file)?;
    let mut at = 0;
    while let Some(trak) = find(&moov, at..moov.len(), b"trak") {
        at = trak.end;
        let id = id_of(&moov, &trak).and_then(|id| usize::try_from(id).ok()?.checked_sub(1));
        let wanted = id.and_then(|id| tracks.get(id));
        if let (Some((enabled, group)), Some(tkhd)) = (wanted, find(&moov, trak, b"tkhd")) {
            let wide = moov.get(tkhd.start) == Some(&1);
            if let Some(flags) = moov.get_mut(tkhd.start + 3) {
                *flags = *flags & !1 | u8::from(*enabled);
            }
            let at = tkhd.start + if wide { 46 } else { 34 };
            if at + 2 <= tkhd.end {
                let _ = put(&mut moov, at, 2, u64::from(*group));
            }
        }
    }
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&moov)
}

/// The id of a track.
fn id_of(moov: &[u8], trak: &Range<usize>) -> Option<u64> {
    let tkhd = find(moov, trak.clone(), b"tkhd")?;
    let version = *moov.get(tkhd.start)?;
    number(moov, tkhd.start + if version == 1 { 20 } else { 12 }, 4)
}

/// The offset and the contents of the index (moov) of a file.
pub(super) fn index(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut found = None;
    // The result of `boxes` concerns the last box; the index may come before a damaged one.
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

/// The timescale (units per second) of an mvhd or mdhd box.
pub(super) fn timescale(bytes: &[u8], header: Option<Range<usize>>) -> Option<u64> {
    let header = header?;
    let version = *bytes.get(header.start)?;
    number(bytes, header.start + if version == 1 { 20 } else { 12 }, 4)
}

/// A box: its name, and the range of its contents.
pub(super) type Part = ([u8; 4], Range<usize>);

/// Names and contents of the complete boxes in a range.
pub(super) fn parts(bytes: &[u8], within: Range<usize>) -> Vec<Part> {
    let (mut found, mut at) = (Vec::new(), within.start);
    while at + 8 <= within.end {
        let size = number(bytes, at, 4).and_then(|size| usize::try_from(size).ok());
        let name = bytes.get(at + 4..at + 8).and_then(|name| name.try_into().ok());
        let (Some(size), Some(name)) = (size, name) else { break };
        if size < 8 || size > within.end - at {
            break;
        }
        found.push((name, at + 8..at + size));
        at += size;
    }
    found
}

/// An unsigned number, big endian.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + width)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Writes an unsigned number, big endian.
pub(super) fn put(bytes: &mut [u8], at: usize, width: usize, number: u64) -> Option<()> {
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
