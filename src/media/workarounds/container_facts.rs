//! What a file says of its tracks that its demuxer (GStreamer 1.22) leaves out or misreads: the index of an
//! MP4 or MOV, the tracks of a Matroska file, and what the sound of a transport stream begins with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use gstreamer as gst;
use gstreamer_video as gst_video;

use super::super::edit_list::{number, parts, timescale};
use super::super::matroska::{self, Flags, TrackEntry, track_entries};
use super::transport::{SoundCodec, sounds_of};
use super::{avi, flv};
use crate::core::truncation::boxes;

/// An index larger than this is taken as damaged.
const LARGEST: u64 = 1 << 28;

/// Facts about a file's tracks that its demuxer does not report; empty for other files.
#[derive(Debug, Clone, Default)]
pub struct ContainerFacts {
    /// MP4 and MOV: by track id.
    tracks: Arc<BTreeMap<u64, Track>>,
    /// Transport stream: sound codecs by packet id (PID).
    sounds: Arc<BTreeMap<u64, SoundCodec>>,
    /// Matroska: by track number.
    matroska: Arc<BTreeMap<u64, TrackEntry>>,
    /// Stream ids of video tracks of one picture beside a film, once they are known.
    stills: Arc<BTreeSet<String>>,
    /// The streams of pictures of an AVI.
    avi: Arc<Vec<avi::Picture>>,
    /// FLV: presentation time of the earliest packet.
    pub(super) begins: Option<gst::ClockTime>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Track {
    /// Its samples are pictures.
    video: bool,
    /// Players show it unless told otherwise.
    enabled: bool,
    pixel_aspect: Option<(i32, i32)>,
    /// Time between two frames, of a track whose duration is read as longer than it is: see `mp4_duration`.
    interval: Option<gst::ClockTime>,
    little_endian: bool,
    /// Where the channels of sound are, as GStreamer's bits.
    positions: Option<u64>,
}

impl ContainerFacts {
    /// Reads the facts of a file.
    pub fn of(path: &Path) -> Self {
        let mut facts = ContainerFacts::default();
        match read(path) {
            Some(tracks) => facts.tracks = Arc::new(tracks),
            None => {
                facts.matroska = Arc::new(track_entries(path));
                if facts.matroska.is_empty() {
                    facts.sounds = Arc::new(sounds_of(path));
                    facts.begins = flv::begins(path);
                    facts.avi = Arc::new(avi::pictures(path));
                }
            }
        }
        facts
    }

    /// The same facts, where these tracks are stills: see [`stills`](super::super::stills).
    pub fn with_stills(self, stills: BTreeSet<String>) -> Self {
        ContainerFacts { stills: Arc::new(stills), ..self }
    }

    /// What Matroska says of a track.
    pub fn of_matroska(&self, id: Option<&str>) -> Option<&TrackEntry> {
        self.matroska.get(&track_number(id)?)
    }

    /// The time from which matroskademux counts in the file at `path` (whose facts these are).
    pub fn matroska_begins(&self, path: &Path) -> gst::ClockTime {
        let begins = matroska::begins(path, &self.matroska).unwrap_or_default();
        gst::ClockTime::try_from(begins).unwrap_or_default()
    }

    /// What an AVI says of the pictures of a pad of avidemux ("video_0").
    pub(super) fn of_avi(&self, pad: &str) -> Option<&avi::Picture> {
        self.avi.get(pad.strip_prefix("video_")?.parse::<usize>().ok()?)
    }

    /// When a track is played; none where the file says nothing of that.
    pub fn flags(&self, id: Option<&str>) -> Option<Flags> {
        let of_movie = |track: &Track| Flags { default: track.enabled, ..Flags::default() };
        let track = self.track(id).map(of_movie);
        track.or_else(|| Some(self.of_matroska(id)?.flags.clone()))
    }

    /// Where as many channels of a track of PCM are, as GStreamer's bits.
    pub fn positions(&self, id: Option<&str>, channels: i32) -> Option<u64> {
        let positions = self.track(id)?.positions?;
        (i64::from(positions.count_ones()) == i64::from(channels)).then_some(positions)
    }

    /// What the packets of a pad of tsdemux ("audio_0_1100") begin with.
    pub(super) fn sound(&self, pad: &str) -> Option<SoundCodec> {
        let pid = pad.rsplit('_').next().and_then(|pid| u64::from_str_radix(pid, 16).ok());
        self.sounds.get(&pid?).copied()
    }

    fn track(&self, id: Option<&str>) -> Option<&Track> {
        self.tracks.get(&track_number(id)?)
    }

    /// Width over height of the pixels of a track.
    pub fn pixel_aspect(&self, id: Option<&str>) -> Option<(i32, i32)> {
        self.track(id)?.pixel_aspect
    }

    /// Frame rate of a track for which qtdemux computes a wrong one.
    pub(super) fn frame_rate(&self, id: Option<&str>) -> Option<gst::Fraction> {
        let interval = self.track(id)?.interval?;
        let seconds = interval.nseconds() as f64 / 1e9;
        gst_video::guess_framerate(interval)
            .or_else(|| gst::Fraction::approximate_f64(1.0 / seconds))
    }

    /// Whether the samples of a track of PCM are little-endian, where qtdemux does not ask.
    pub fn is_little_endian(&self, id: Option<&str>) -> bool {
        self.track(id).is_some_and(|track| track.little_endian)
    }

    /// Whether a video track is not the main picture: a still (cover, thumbnail, title card) beside a film, or a track
    /// that is disabled or not the default beside one that is.
    pub fn is_beside_the_film(&self, id: Option<&str>) -> bool {
        let Some(own) = id else { return false };
        let movie = self.tracks.iter().filter(|(_, track)| track.video);
        let movie = movie.map(|(number, track)| (*number, track.enabled));
        let matroska = self.matroska.iter().filter(|(_, entry)| entry.is_video());
        let videos = movie.chain(matroska.map(|(number, entry)| (*number, entry.flags.default)));
        let stills: BTreeSet<_> =
            self.stills.iter().filter_map(|id| track_number(Some(id))).collect();
        let ranks: BTreeMap<_, _> = videos
            .map(|(number, default)| (number, (!stills.contains(&number), default)))
            .collect();
        match track_number(id).and_then(|number| ranks.get(&number)) {
            Some(own) => ranks.values().any(|other| other > own),
            None => self.stills.contains(own),
        }
    }
}

/// The track number in a stream id: qtdemux names streams by it ("…/001"), matroskademux by number and UID
/// ("…/001:123").
fn track_number(id: Option<&str>) -> Option<u64> {
    id?.rsplit('/').next()?.split(':').next()?.parse().ok()
}

fn read(path: &Path) -> Option<BTreeMap<u64, Track>> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut head = [0; 8];
    file.read_exact(&mut head).ok()?;
    let names: [&[u8]; 5] = [b"ftyp", b"moov", b"mdat", b"wide", b"free"];
    names.contains(&&head[4..]).then_some(())?;
    let mut moov = None;
    let _ = boxes(&mut file, 0..length, &mut |name, contents| {
        if name == *b"moov" {
            moov.get_or_insert(contents);
        }
    });
    let moov = moov.filter(|at| at.end <= length && at.end - at.start <= LARGEST)?;
    let mut bytes = vec![0; usize::try_from(moov.end - moov.start).ok()?];
    file.seek(SeekFrom::Start(moov.start)).ok()?;
    file.read_exact(&mut bytes).ok()?;
    Some(tracks(&bytes))
}

fn tracks(moov: &[u8]) -> BTreeMap<u64, Track> {
    let all = parts(moov, 0..moov.len());
    let traks = all.iter().filter(|(name, _)| name == b"trak");
    traks.filter_map(|(_, at)| track(moov, at.clone())).collect()
}

fn track(moov: &[u8], trak: Range<usize>) -> Option<(u64, Track)> {
    let tkhd = find(moov, trak.clone(), b"tkhd")?;
    let id = number(moov, tkhd.start + if moov.get(tkhd.start) == Some(&1) { 20 } else { 12 }, 4)?;
    let enabled = number(moov, tkhd.start + 1, 3)? & 1 == 1;
    let edited = find(moov, trak.clone(), b"edts").is_some();
    let mdia = find(moov, trak, b"mdia")?;
    let handler =
        find(moov, mdia.clone(), b"hdlr").and_then(|at| moov.get(at.start + 8..at.start + 12));
    let video = handler == Some(b"vide");
    let mdhd = find(moov, mdia.clone(), b"mdhd");
    let stbl = find(moov, mdia, b"minf").and_then(|minf| find(moov, minf, b"stbl"))?;
    let stsd = find(moov, stbl.clone(), b"stsd")?;
    let mut found = Track { video, enabled, ..Track::default() };
    if video && !edited && find(moov, stbl.clone(), b"ctts").is_some() {
        found.interval = interval(moov, stbl, timescale(moov, mdhd)?);
    }
    // Version, flags and a count, then the descriptions.
    if let Some((name, entry)) = parts(moov, stsd.start + 8..stsd.end).into_iter().next() {
        if video {
            // 78 bytes of sizes and names stand before the boxes of a description of pictures.
            let pasp = find(moov, entry.start + 78..entry.end, b"pasp");
            found.pixel_aspect = pasp.and_then(|at| {
                let side = |at| i32::try_from(number(moov, at, 4)?).ok().filter(|n| *n > 0);
                Some((side(at.start)?, side(at.start + 4)?))
            });
        } else if [b"fl32", b"fl64", b"in32", b"in24"].contains(&&name) {
            found.little_endian = is_little_endian(moov, entry.clone());
        }
        if !video {
            found.positions = positions(moov, entry);
        }
    }
    Some((id, found))
}

/// The mean time from a frame to the next one, without the first frame, as qtdemux computes it.
fn interval(moov: &[u8], stbl: Range<usize>, scale: u64) -> Option<gst::ClockTime> {
    let stts = find(moov, stbl, b"stts")?;
    let runs = moov.get(stts.start + 8..stts.end)?.chunks_exact(8);
    let runs = runs.map(|run| (number(run, 0, 4).unwrap_or(0), number(run, 4, 4).unwrap_or(0)));
    let first = runs.clone().next()?.1;
    let (frames, units) = runs.fold((0, 0_u64), |(frames, units), (count, each)| {
        (frames + count, units.saturating_add(count.saturating_mul(each)))
    });
    let (frames, units) = (frames.checked_sub(1)?, units.checked_sub(first).filter(|n| *n > 0)?);
    let nanos = u128::from(units) * 1_000_000_000 / u128::from(frames * scale).max(1);
    u64::try_from(nanos).ok().map(gst::ClockTime::from_nseconds)
}

/// What an `enda` within a description of sound says; it may lie in a `wave`.
fn is_little_endian(moov: &[u8], entry: Range<usize>) -> bool {
    let version = number(moov, entry.start + 8, 2);
    let fixed = match version {
        Some(1) => 44,
        Some(2) => 64,
        _ => 28,
    };
    let inside = entry.start + fixed..entry.end;
    let wave = find(moov, inside.clone(), b"wave");
    let enda = wave.and_then(|wave| find(moov, wave, b"enda"));
    let enda = enda.or_else(|| find(moov, inside, b"enda"));
    enda.and_then(|at| number(moov, at.start, 2)) == Some(1)
}

/// Where a `chan` within a description of sound says that its channels are.
fn positions(moov: &[u8], entry: Range<usize>) -> Option<u64> {
    let bytes = moov.get(entry)?;
    let at = bytes.windows(4).position(|name| name == b"chan")? + 4;
    // Version and flags, layout (0x10000: as bits), the bits.
    let bits = number(bytes, at + 8, 4).filter(|_| number(bytes, at + 4, 4) == Some(0x1_0000))?;
    // Before left and right side GStreamer has a second LFE.
    (bits < 1 << 11).then_some(bits & 0x1FF | (bits & 0x600) << 1)
}

fn find(bytes: &[u8], within: Range<usize>, name: &[u8; 4]) -> Option<Range<usize>> {
    parts(bytes, within).into_iter().find(|(found, _)| found == name).map(|(_, at)| at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::edit_list::tests::{of, words};
    use super::*;

    fn trak(id: u32, flags: u32, handler: &[u8; 4], entry: &[u8]) -> Vec<u8> {
        let tkhd = of(b"tkhd", &words(&[flags, 0, 0, id]));
        let hdlr = of(b"hdlr", &[&words(&[0, 0])[..], handler].concat());
        let stsd = of(b"stsd", &[&words(&[0, 1])[..], entry].concat());
        let stbl = of(b"stbl", &stsd);
        let mdia = of(b"mdia", &[hdlr, of(b"minf", &stbl)].concat());
        of(b"trak", &[tkhd, mdia].concat())
    }

    #[test]
    fn a_cover_is_told_from_the_film_and_pcm_says_its_order() {
        let picture =
            |aspect: &[u32]| of(b"mp4v", &[&[0; 78][..], &of(b"pasp", &words(aspect))].concat());
        let enda = of(b"wave", &of(b"enda", &[0, 1]));
        let mut sound = vec![0; 44];
        sound[9] = 1;
        let sound = of(b"fl32", &[sound, enda].concat());
        let moov = [
            trak(1, 1, b"vide", &picture(&[1, 1])),
            trak(2, 1, b"vide", &picture(&[12, 11])),
            trak(3, 1, b"soun", &sound),
            trak(4, 0, b"vide", &picture(&[1, 1])),
        ]
        .concat();
        let facts = ContainerFacts { tracks: Arc::new(tracks(&moov)), ..ContainerFacts::default() };
        let id = |n: u32| Some(format!("abc/{n:03}"));
        let beside = |facts: &ContainerFacts| {
            [1, 2, 3, 4].map(|n| facts.is_beside_the_film(id(n).as_deref()))
        };
        assert_eq!(beside(&facts), [false, false, false, true]);
        let facts = facts.with_stills(id(1).into_iter().collect());
        assert_eq!(beside(&facts), [true, false, false, true]);
        assert_eq!(facts.pixel_aspect(id(2).as_deref()), Some((12, 11)));
        assert!(facts.is_little_endian(id(3).as_deref()));
        for cut in 0..moov.len() {
            tracks(&moov[..cut]);
        }
    }
}
