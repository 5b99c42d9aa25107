//! Corrects what matroskamux (GStreamer 1.22 to 1.26) writes wrong, in the finished file; and reads what
//! matroskademux does not report about a track.
//!
//! matroskamux writes tags in the escaped form of pipeline descriptions (`"My\ Title"`), names every track
//! "Audio", "Video" or "Subtitle", and writes no language element if the language is unknown, which Matroska
//! defines as English. All of this is corrected in place, without changing the file's length.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::capture_metadata::texts_of;
use crate::core::truncation::{Element, SEGMENT, element};

const EBML: u32 = 0x1A45_DFA3;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK: u32 = 0xAE;
const NUMBER: u32 = 0xD7;
const CODEC: u32 = 0x86;
const CODEC_DELAY: u32 = 0x56AA;
const PRIVATE: u32 = 0x63A2;
const SOUND: u32 = 0xE1;
const CHANNELS: u32 = 0x9F;
const RATE: u32 = 0xB5;
const NAME: u32 = 0x536E;
const LANGUAGE: u32 = 0x22_B59C;
const TAGS: u32 = 0x1254_C367;
const TAG: u32 = 0x7373;
const SIMPLE_TAG: u32 = 0x67C8;
const TAG_NAME: u32 = 0x45A3;
const TAG_STRING: u32 = 0x4487;
const FLAG_DEFAULT: u32 = 0x88;
const FLAG_FORCED: u32 = 0x55AA;
const INFO: u32 = 0x1549_A966;
const TIME_SCALE: u32 = 0x2A_D7B1;
const DURATION: u32 = 0x4489;
const CLUSTER: u32 = 0x1F43_B675;
const CLUSTER_TIME: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const VOID: u8 = 0xEC;

/// Tables larger than this are taken as damaged.
const LARGEST: u64 = 1 << 26;

/// The first packet of every track is expected among this many packets.
const FIRST_PACKETS: usize = 1000;

const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Corrects tags and names in a finished file, and sets the flags of the tracks after the video track.
///
/// # Errors
/// When it is not a Matroska file, or cannot be written.
pub fn correct_finished_file(path: &Path, flags: &[Flags]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    tables(&mut file, &mut |file, id, at, bytes| {
        let before = bytes.clone();
        match id {
            TRACKS => tracks(bytes, flags),
            TAGS => tags(bytes),
            _ => {}
        }
        if *bytes != before {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(bytes)?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Properties of a Matroska track that matroskademux does not report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrackEntry {
    /// The codec: `S_TEXT/UTF8`.
    pub codec: String,
    /// Codec delay: packets are stored with timestamps later than their presentation by this much
    /// (CodecDelay).
    pub delay: Duration,
    /// Codec private data: what the decoder needs before the first packet.
    pub private: Vec<u8>,
    /// Channels of sound.
    pub channels: u64,
    /// Sample rate of audio, in hertz.
    pub rate: f64,
    /// When, and for which audience, it is played.
    pub flags: Flags,
}

impl TrackEntry {
    /// Whether it is a video track.
    pub fn is_video(&self) -> bool {
        self.codec.starts_with("V_")
    }
}

/// When, and for which audience, a track is played.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// Played unless the user chooses another track.
    pub default: bool,
    /// Played whatever the user chooses: subtitles of speech in a foreign language.
    pub forced: bool,
    /// Ids of the further flag elements ([`ACCESSIBILITY_FLAGS`]) that are set.
    pub more: Vec<u32>,
}

/// Ids of the flags "hearing impaired", "visual impaired", "original language" and "commentary".
const ACCESSIBILITY_FLAGS: [u32; 4] = [0x55AB, 0x55AC, 0x55AE, 0x55AF];
/// Number of spaces appended to a track's name while the file is written. [`correct_finished_file`] replaces them by the
/// flags, none of which matroskamux (1.22 to 1.26) writes.
const ROOM: usize = 32;

/// The name of a track with room behind it (see [`correct_finished_file`]).
pub fn padded_name(name: &str) -> String {
    name.to_owned() + &" ".repeat(ROOM)
}

/// The name without the appended spaces; none if it has none.
fn without_room(name: &[u8]) -> Option<&[u8]> {
    let end = name.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    (name.len() >= end + ROOM).then(|| &name[..end])
}

/// The properties of each track, by track number; empty if the file is not Matroska.
pub fn track_entries(path: &Path) -> BTreeMap<u64, TrackEntry> {
    let mut entries = BTreeMap::new();
    let seen = File::open(path).and_then(|mut file| {
        if head_at(&mut file, 0)?.is_none_or(|head| head.id != EBML) {
            return Ok(());
        }
        tables(&mut file, &mut |_, id, _, bytes| {
            if id != TRACKS {
                return Ok(ControlFlow::Continue(()));
            }
            let all = children(bytes, 0, bytes.len());
            for track in all.iter().filter(|child| child.id == TRACK) {
                let inside = children(bytes, track.inside, track.end);
                let find = |id| inside.iter().find(|child| child.id == id);
                let number = |id| {
                    let bytes = bytes.get(find(id)?.inside..find(id)?.end)?;
                    Some(bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte)))
                };
                if let (Some(n), Some(codec)) = (number(NUMBER), find(CODEC)) {
                    let codec = String::from_utf8_lossy(text(bytes, codec)).into_owned();
                    let delay = Duration::from_nanos(number(CODEC_DELAY).unwrap_or(0));
                    // A delay of several seconds is a damaged number.
                    let delay = if delay > LONGEST_DELAY { Duration::ZERO } else { delay };
                    let bytes_of = |child: &Child| bytes.get(child.inside..child.end);
                    let private = find(PRIVATE).and_then(bytes_of).unwrap_or_default().to_vec();
                    let sound = find(SOUND).map(|sound| children(bytes, sound.inside, sound.end));
                    let of_sound = |id| {
                        let child = sound.iter().flatten().find(|child| child.id == id);
                        child.and_then(bytes_of)
                    };
                    let count =
                        |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
                    let channels = of_sound(CHANNELS).map_or(1, count);
                    let rate = of_sound(RATE).and_then(float).unwrap_or(8000.0);
                    let set = |id| number(id).is_some_and(|value| value != 0);
                    let flags = Flags {
                        default: number(FLAG_DEFAULT).is_none_or(|value| value != 0),
                        forced: set(FLAG_FORCED),
                        more: ACCESSIBILITY_FLAGS.into_iter().filter(|id| set(*id)).collect(),
                    };
                    let entry = TrackEntry { codec, delay, private, channels, rate, flags };
                    entries.insert(n, entry);
                }
            }
            Ok(ControlFlow::Break(()))
        })
    });
    // A file that cannot be read yields no entries.
    seen.map_or_else(|_| BTreeMap::new(), |()| entries)
}

/// How long a file is that says when it ends, and does not begin at 0; none of others.
pub fn length(path: &Path) -> Option<Duration> {
    let begins = begins(path, &BTreeMap::new()).filter(|begins| !begins.is_zero())?;
    let mut file = File::open(path).ok()?;
    let (mut scale, mut ends) = (1e6, None);
    tables(&mut file, &mut |_, id, _, bytes| {
        if id != INFO {
            return Ok(ControlFlow::Continue(()));
        }
        for child in children(bytes, 0, bytes.len()) {
            let contents = bytes.get(child.inside..child.end).unwrap_or_default();
            match child.id {
                TIME_SCALE => {
                    scale = contents.iter().fold(0.0, |n, byte| n * 256.0 + f64::from(*byte));
                }
                DURATION => ends = float(contents),
                _ => {}
            }
        }
        Ok(ControlFlow::Break(()))
    })
    .ok()?;
    let ends = Duration::try_from_secs_f64(ends? * scale / 1e9).ok()?;
    ends.checked_sub(begins)
}

/// Presentation time of the earliest packet of a file with these tracks, from which matroskademux counts;
/// none if the file is not Matroska or has no packet.
pub fn begins(path: &Path, entries: &BTreeMap<u64, TrackEntry>) -> Option<Duration> {
    let times = first_packets(path)?.into_iter().map(|(track, time)| {
        // See `TimeCorrection`.
        let opus = entries.get(&track).filter(|entry| entry.codec == "A_OPUS");
        time - opus.map_or(0, |entry| entry.delay.as_nanos() as i128)
    });
    u64::try_from(times.min()?.max(0)).ok().map(Duration::from_nanos)
}

/// Track number and presentation time, in nanoseconds, of the first packets of a file, in the order in which they are
/// stored; none if it is not Matroska.
fn first_packets(path: &Path) -> Option<Vec<(u64, i128)>> {
    let mut file = File::open(path).ok()?;
    let end = file.metadata().ok()?.len();
    head_at(&mut file, 0).ok()?.filter(|head| head.id == EBML)?;
    let (mut at, mut scale, mut cluster) = (0, 1_000_000, 0);
    let mut packets = Vec::new();
    while at < end && packets.len() < FIRST_PACKETS {
        let Ok(Some(head)) = head_at(&mut file, at) else { break };
        let inside = at + head.length;
        if [SEGMENT, INFO, CLUSTER, BLOCK_GROUP].contains(&head.id) {
            at = inside;
            continue;
        }
        let Some(size) = head.size else { break };
        if [TIME_SCALE, CLUSTER_TIME, SIMPLE_BLOCK, BLOCK].contains(&head.id) {
            let mut bytes = Vec::new();
            // `head_at` has read beyond the head.
            file.seek(SeekFrom::Start(inside)).ok()?;
            Read::by_ref(&mut file).take(size.min(10)).read_to_end(&mut bytes).ok()?;
            let number = bytes.iter().fold(0i128, |n, byte| n << 8 | i128::from(*byte));
            match head.id {
                TIME_SCALE => scale = number,
                CLUSTER_TIME => cluster = number,
                _ => {
                    let Some((track, after)) = block(&bytes) else { break };
                    packets.push((track, (cluster + i128::from(after)) * scale));
                }
            }
        }
        at = inside.saturating_add(size);
    }
    Some(packets)
}

/// Track number of a block, and its presentation time relative to its cluster.
fn block(bytes: &[u8]) -> Option<(u64, i16)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let track = bytes.get(..length).filter(|_| length <= 8)?;
    let track = track.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte)) ^ 1 << (7 * length);
    let after = bytes.get(length..length + 2)?.try_into().ok()?;
    Some((track, i16::from_be_bytes(after)))
}

/// A floating-point number of four or eight bytes.
fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(f32::from_be_bytes).map(f64::from),
        _ => bytes.try_into().ok().map(f64::from_be_bytes),
    }
}

/// Callback for a table: the file, the element's id, the offset and the bytes of its contents.
type See<'a> = dyn FnMut(&mut File, u32, u64, &mut Vec<u8>) -> io::Result<ControlFlow<()>> + 'a;

/// Shows `see` the tables of tracks and tags, and what is said of the whole: which, where its contents begin, and they.
fn tables(file: &mut File, see: &mut See<'_>) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut within) = (0, end);
    while at < within {
        let Some(head) = head_at(file, at)? else { break };
        let inside = at + head.length;
        let size = head.size.map_or(within - inside.min(within), |size| size);
        match head.id {
            SEGMENT => {
                (at, within) = (inside, end.min(inside.saturating_add(size)));
                continue;
            }
            INFO | TRACKS | TAGS if size <= LARGEST && inside + size <= end => {
                let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
                file.seek(SeekFrom::Start(inside))?;
                file.read_exact(&mut bytes)?;
                if see(file, head.id, inside, &mut bytes)?.is_break() {
                    break;
                }
            }
            _ => {}
        }
        at = inside.saturating_add(size);
    }
    Ok(())
}

fn head_at(file: &mut File, at: u64) -> io::Result<Option<Element>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(12);
    Read::by_ref(file).take(12).read_to_end(&mut bytes)?;
    Ok(element(&bytes))
}

/// The child elements in `from..to`, with id, start, start of contents and end.
fn children(bytes: &[u8], from: usize, to: usize) -> Vec<Child> {
    let (mut children, mut at) = (Vec::new(), from);
    while let Some(head) = bytes.get(at..to).and_then(element) {
        let inside = at + usize::try_from(head.length).unwrap_or(usize::MAX);
        let Some(end) = head
            .size
            .and_then(|size| inside.checked_add(usize::try_from(size).ok()?))
            .filter(|end| *end <= to)
        else {
            break;
        };
        children.push(Child { id: head.id, begin: at, inside, end });
        at = end;
    }
    children
}

#[derive(Clone, Copy)]
struct Child {
    id: u32,
    begin: usize,
    inside: usize,
    end: usize,
}

fn tracks(bytes: &mut [u8], flags: &[Flags]) {
    for track in children(bytes, 0, bytes.len()).iter().filter(|child| child.id == TRACK) {
        let inside = children(bytes, track.inside, track.end);
        let known = inside.iter().any(|child| child.id == LANGUAGE);
        let number = inside.iter().find(|child| child.id == NUMBER);
        let number = number.and_then(|child| bytes.get(child.inside..child.end)?.last().copied());
        for name in inside.iter().filter(|child| child.id == NAME) {
            let title = without_room(text(bytes, name)).map(<[u8]>::to_vec);
            if let Some(title) = title {
                let mut new: Vec<(u32, &[u8])> = Vec::new();
                if !title.is_empty() {
                    new.push((NAME, &title));
                }
                if !known {
                    new.push((LANGUAGE, b"und"));
                }
                // The picture is the first one.
                let flags =
                    number.and_then(|number| flags.get(usize::from(number).checked_sub(2)?));
                if let Some(flags) = flags {
                    new.push((FLAG_DEFAULT, if flags.default { &[1] } else { &[0] }));
                    let forced = flags.forced.then_some(FLAG_FORCED);
                    let more = forced.into_iter().chain(flags.more.iter().copied());
                    new.extend(more.map(|id| (id, &[1][..])));
                }
                replace(bytes, *name, &new);
            } else if matches!(text(bytes, name), b"Audio" | b"Video" | b"Subtitle") {
                let language: &[(u32, &[u8])] = if known { &[] } else { &[(LANGUAGE, b"und")] };
                replace(bytes, *name, language);
            }
        }
    }
}

fn tags(bytes: &mut [u8]) {
    for tag in children(bytes, 0, bytes.len()).iter().filter(|child| child.id == TAG) {
        let simple = children(bytes, tag.inside, tag.end);
        for simple in simple.iter().filter(|child| child.id == SIMPLE_TAG) {
            let parts = children(bytes, simple.inside, simple.end);
            let value = parts.iter().find(|part| part.id == TAG_STRING);
            let value = value.map(|part| {
                let text = text(bytes, part);
                unwrapped(text).unwrap_or_else(|| text.to_vec())
            });
            if value
                .as_deref()
                .is_some_and(|value| without_room(value).is_some_and(<[u8]>::is_empty))
            {
                // The title of a track that has none.
                replace(bytes, *simple, &[]);
                continue;
            }
            let recording = value.as_deref().and_then(texts_of);
            if let Some(texts) = recording {
                let one = |(name, text): &(String, String)| {
                    let text = encoded(TAG_STRING, text.as_bytes());
                    [encoded(TAG_NAME, name.as_bytes()), text].concat()
                };
                let all: Vec<Vec<u8>> = texts.iter().map(one).collect();
                let all: Vec<_> = all.iter().map(|one| (SIMPLE_TAG, one.as_slice())).collect();
                replace(bytes, *simple, &all);
                continue;
            }
            for part in parts {
                let text = text(bytes, &part);
                let right = match part.id {
                    // The name that everybody else uses.
                    TAG_NAME if text == b"COMMENTS" => Some(b"COMMENT".to_vec()),
                    TAG_STRING => unwrapped(text)
                        .map(|text| without_room(&text).map(<[u8]>::to_vec).unwrap_or(text)),
                    _ => None,
                };
                if let Some(right) = right {
                    replace(bytes, part, &[(part.id, &right)]);
                }
            }
        }
    }
}

/// The contents of a text, which GStreamer ends as C does.
fn text<'a>(bytes: &'a [u8], of: &Child) -> &'a [u8] {
    let text = &bytes[of.inside..of.end];
    text.strip_suffix(b"\0").unwrap_or(text)
}

/// The text without the quotes and escapes that GStreamer added; none if it has none.
fn unwrapped(text: &[u8]) -> Option<Vec<u8>> {
    let inside = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let (mut plain, mut at) = (Vec::with_capacity(inside.len()), 0);
    while let Some(byte) = inside.get(at) {
        match (byte, inside.get(at + 1..at + 4)) {
            (b'\\', Some(octal)) if octal.iter().all(|digit| (b'0'..=b'7').contains(digit)) => {
                let code = octal.iter().fold(0, |code, digit| code * 8 + u32::from(digit - b'0'));
                plain.push(u8::try_from(code).ok()?);
                at += 4;
            }
            (b'\\', _) => {
                plain.push(*inside.get(at + 1)?);
                at += 2;
            }
            (byte, _) => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    std::str::from_utf8(&plain).is_ok().then_some(plain)
}

/// Replaces `old` by these elements if they fit; the rest of the space becomes a Void element.
fn replace(bytes: &mut [u8], old: Child, new: &[(u32, &[u8])]) {
    let room = old.end - old.begin;
    // A Void element takes at least two bytes; if one byte remains, the last size is written one byte longer.
    for wider in [0, 1] {
        let mut written = Vec::with_capacity(room);
        for (n, (id, contents)) in new.iter().enumerate() {
            let last = n + 1 == new.len();
            written.extend(id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0));
            written.extend(size(contents.len(), if last { wider } else { 0 }));
            written.extend_from_slice(contents);
        }
        let left = room.checked_sub(written.len());
        match left {
            Some(0) => {}
            Some(left) if left >= 2 => {
                written.push(VOID);
                // Its size takes as many bytes as leave room for just that.
                let natural = |width| size(left - 1 - width, 0).len();
                let width = (1..left).find(|&width| natural(width) <= width).unwrap_or(1);
                let contents = left - 1 - width;
                written.extend(size(contents, width - natural(width).min(width)));
                written.resize(room, 0);
            }
            _ => continue,
        }
        bytes[old.begin..old.end].copy_from_slice(&written);
        return;
    }
}

/// An element with these contents.
fn encoded(id: u32, contents: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0);
    id.chain(size(contents.len(), 0)).chain(contents.iter().copied()).collect()
}

/// Encodes an element size in the fewest bytes that hold it, plus `more`.
fn size(size: usize, more: usize) -> Vec<u8> {
    let mut width = 1;
    while width < 8 && size as u64 >= (1 << (7 * width)) - 1 {
        width += 1;
    }
    let width = (width + more).min(8);
    let marked = size as u64 | 1 << (7 * width);
    marked.to_be_bytes()[8 - width..].to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(id: u32, contents: &[u8]) -> Vec<u8> {
        let id = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0);
        id.chain(size(contents.len(), 0)).chain(contents.iter().copied()).collect()
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        let simple = children(bytes, 0, bytes.len())[0];
        let simple = children(bytes, simple.inside, simple.end)[0];
        let parts = children(bytes, simple.inside, simple.end);
        assert_eq!(parts.last().unwrap().end, simple.end, "nothing is left over");
        let text = |c: &Child| String::from_utf8(bytes[c.inside..c.end].to_vec()).unwrap();
        parts.iter().filter(|c| c.id != u32::from(VOID)).map(text).collect()
    }

    #[test]
    fn a_file_begins_with_its_earliest_packet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mkv");
        let packet = |track: u8, after: i16| {
            [&[0x80 | track][..], &after.to_be_bytes(), &[0x80], b"contents"].concat()
        };
        let group = of(BLOCK_GROUP, &of(BLOCK, &packet(2, -21)));
        let of_cluster = [of(CLUSTER_TIME, &[0x01, 0x00]), of(SIMPLE_BLOCK, &packet(1, 0)), group];
        // A cluster of a live recording says nothing of its size.
        let cluster = [&CLUSTER.to_be_bytes()[..], &[0xFF], &of_cluster.concat()].concat();
        let info = of(INFO, &of(TIME_SCALE, &[0x1E, 0x84, 0x80]));
        let whole = [of(EBML, &[]), of(SEGMENT, &[info, cluster].concat())].concat();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(begins(&path, &BTreeMap::new()), Some(Duration::from_millis((256 - 21) * 2)));
        let delay = Duration::from_micros(6500);
        let opus = TrackEntry { codec: "A_OPUS".to_owned(), delay, ..TrackEntry::default() };
        let found = begins(&path, &BTreeMap::from([(2, opus)]));
        assert_eq!(found, Some(Duration::from_micros(463_500)));
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            begins(&path, &BTreeMap::new());
        }
        assert_eq!(begins(folder.path(), &BTreeMap::new()), None);
        // The end that it states is no length.
        let info = [of(TIME_SCALE, &[0x1E, 0x84, 0x80]), of(DURATION, &1000f32.to_be_bytes())];
        let cluster = of(CLUSTER, &of_cluster.concat());
        let segment = [of(INFO, &info.concat()), cluster].concat();
        std::fs::write(&path, [of(EBML, &[]), of(SEGMENT, &segment)].concat()).unwrap();
        assert_eq!(length(&path), Some(Duration::from_millis((1000 - 235) * 2)));
    }

    #[test]
    fn tags_are_written_as_they_are_read() {
        let long = "x ".repeat(200);
        let wrapped = format!("\"{}\"", long.replace(' ', "\\ "));
        for (name, written, right) in [
            ("TITLE", "\"My\\ Title\"", ["TITLE", "My Title"]),
            ("COMMENTS", "\"\\303\\274\\ \\\"x\\\"\"", ["COMMENT", "ü \"x\""]),
            ("COMMENTS\0", "plain", ["COMMENT", "plain"]),
            ("DATE", "\"a\\ b\"\0", ["DATE", "a b"]),
            ("TITLE", &wrapped, ["TITLE", &long]),
            ("TITLE", "\"", ["TITLE", "\""]),
        ] {
            let parts = [of(TAG_NAME, name.as_bytes()), of(TAG_STRING, written.as_bytes())];
            let mut bytes = of(TAG, &of(SIMPLE_TAG, &parts.concat()));
            tags(&mut bytes);
            assert_eq!(texts(&bytes), right);
        }
    }

    #[test]
    fn a_track_without_a_language_is_of_no_known_one() {
        for (name, languages) in [("Audio", 1), ("Subtitle", 1), ("Video", 1), ("Mine", 0)] {
            let mut bytes = of(TRACK, &of(NAME, name.as_bytes()));
            tracks(&mut bytes, &[]);
            let track = children(&bytes, 0, bytes.len())[0];
            let inside = children(&bytes, track.inside, track.end);
            assert_eq!(inside.iter().filter(|c| c.id == LANGUAGE).count(), languages, "{name}");
            assert_eq!(inside.last().unwrap().end, track.end, "{name}");
        }
    }

    #[test]
    fn flags_are_written_into_the_room_behind_a_name() {
        let flags = Flags { default: false, forced: true, more: ACCESSIBILITY_FLAGS.to_vec() };
        for (title, rest) in [("", 0), ("Commentary", 1)] {
            let name = of(NAME, padded_name(title).as_bytes());
            let mut bytes = of(TRACK, &[of(NUMBER, &[2]), name].concat());
            tracks(&mut bytes, std::slice::from_ref(&flags));
            let track = children(&bytes, 0, bytes.len())[0];
            let inside = children(&bytes, track.inside, track.end);
            assert_eq!(inside.last().unwrap().end, track.end);
            let find = |id| inside.iter().find(|c| c.id == id).map(|c| text(&bytes, c).to_vec());
            assert_eq!(inside.iter().filter(|c| c.id == NAME).count(), rest);
            assert_eq!(find(FLAG_DEFAULT), Some(Vec::new()), "a zero, read as the end of a text");
            assert_eq!(find(FLAG_FORCED), Some(vec![1]));
            assert!(ACCESSIBILITY_FLAGS.iter().all(|id| find(*id) == Some(vec![1])));
            assert_eq!(find(LANGUAGE), Some(b"und".to_vec()));
        }
    }

    #[test]
    fn bytes_of_any_kind_are_borne() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.mkv");
        let mut random = 1u32;
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (random >> 24) as u8
                })
                .collect();
            tags(&mut bytes.clone());
            tracks(&mut bytes.clone(), &[Flags::default()]);
            std::fs::write(&path, [&[0x18, 0x53, 0x80, 0x67, 0xFF], &bytes[..]].concat()).unwrap();
            correct_finished_file(&path, &[Flags::default()]).unwrap();
        }
    }
}
