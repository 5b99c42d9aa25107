//! Workaround: a transport stream whose programme changes, or whose tables call its sound by a number that
//! tsdemux does not know.
//!
//! - decodebin (1.22 to 1.26) waits for ever when tsdemux replaces its tracks because a later programme map
//!   (PMT) differs: sound that leaves, commercials, two recordings joined. To see it: `cat a.ts b.ts` of
//!   different tracks through `decodebin ! fakesink`. So the demuxer gets the first programme map, with what
//!   the next few megabytes add to it, wherever there is one.
//! - tsdemux (1.22 to 1.26) leaves out DTS of stream type 0x82 and AAC in "private data" (0x06), as FFmpeg and
//!   cameras write them, and takes AC-3 of AVCHD for E-AC-3. To see it: `ffmpeg -c:a dca x.ts`. The type is
//!   corrected after the first bytes of the sound.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gst::prelude::*;
use gstreamer as gst;

use super::latm;
use super::lpcm::BluRay;

/// How many bytes of a file are searched for tables and for the beginning of each track.
const SEARCHED: u64 = 8 << 20;
/// Size of a transport stream packet, in bytes.
const SIZE: usize = 188;
/// Of what a packet of a table holds.
const PAYLOAD: usize = SIZE - 4;
/// Length of a table, as it says.
const LONGEST: u16 = 1021;
/// The packets of a table have at most so many others between them.
const TABLE_WITHIN: usize = 200;
const SYNC: u8 = 0x47;

/// What sound is, after its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoundCodec {
    Dts,
    Ac3,
    Eac3,
    Aac,
    /// AAC in LATM, with its configuration in the stream.
    Latm,
    Mpeg,
    /// PCM of a Blu-ray disc, if the stream type does not say otherwise.
    BluRay(BluRay),
}

/// The tables that the demuxer gets to see.
#[derive(Debug, Clone)]
struct Tables {
    /// Offset of the first packet, and distance between packets, in bytes.
    first: u64,
    step: u64,
    /// Payloads of the packets in which they lie, one after the other.
    programmes: Vec<u8>,
    map_pid: u16,
    map: Vec<u8>,
    /// How many programmes there are beside the first.
    others: usize,
}

/// Lets a filesrc give its demuxer a transport stream whose tables do not change.
pub fn repair_transport_stream(src: &gst::Element, path: &Path) {
    let Some((tables, _)) = read(path) else { return };
    let (Some(pad), Ok(file)) = (src.static_pad("src"), File::open(path)) else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            tables.put_into(buffer, &file);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Whether a file is a transport stream.
pub fn is_transport_stream(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(2048).read_to_end(&mut head));
    read.is_ok() && rhythm(&head).is_some()
}

/// How many programmes a transport stream has beside the one that is read; 0 of other files.
pub fn further_programmes(path: &Path) -> usize {
    read(path).map_or(0, |(tables, _)| tables.others)
}

/// What the tracks of a transport stream are that hold sound, by their numbers (PID).
pub fn sounds_of(path: &Path) -> BTreeMap<u64, SoundCodec> {
    let sounds = read(path).map(|(_, sounds)| sounds).unwrap_or_default();
    sounds.into_iter().map(|(pid, sound)| (pid.into(), sound)).collect()
}

impl Tables {
    fn put_into(&self, buffer: &mut gst::Buffer, file: &File) {
        let begins = buffer.offset();
        if begins == u64::MAX {
            return;
        }
        let ends = begins.saturating_add(buffer.size() as u64);
        let back = begins.saturating_sub(self.first + SIZE as u64 - 1);
        let mut at = self.first + back / self.step * self.step;
        let mut changes = Vec::new();
        while at < ends {
            let mut head = [0; 4];
            // A packet may begin in the buffer before this one.
            if at + SIZE as u64 > begins && file.read_exact_at(&mut head, at).is_ok() {
                let number = || self.number_in_table(file, head, at);
                changes.extend(self.instead_of(head, number).map(|packet| (at, packet)));
            }
            at += self.step;
        }
        if changes.is_empty() {
            return;
        }
        let Ok(mut bytes) = buffer.make_mut().map_writable() else { return };
        for (at, packet) in changes {
            let (from, to) = (at.max(begins), (at + SIZE as u64).min(ends));
            let within = |time: u64, zero: u64| usize::try_from(time - zero).unwrap_or(usize::MAX);
            let part = packet.get(within(from, at)..within(to, at));
            let place = bytes.get_mut(within(from, begins)..within(to, begins));
            if let (Some(place), Some(part)) = (place, part) {
                place.copy_from_slice(part);
            }
        }
    }

    /// Which packet of its table the one with this head is, none where that cannot be seen.
    fn number_in_table(&self, file: &File, head: [u8; 4], at: u64) -> Option<usize> {
        let (mut number, mut at, mut found) = (0, at, head);
        for _ in 0..TABLE_WITHIN {
            if found[0] == SYNC && pid_of(&found) == pid_of(&head) {
                if found[1] & 0x40 != 0 {
                    return Some(number);
                }
                number += 1;
            }
            at = at.checked_sub(self.step)?;
            file.read_exact_at(&mut found, at).ok()?;
        }
        None
    }

    /// The packet that stands in the place of one with this head, of this number in its table; none where it
    /// stays.
    fn instead_of(&self, head: [u8; 4], number: impl Fn() -> Option<usize>) -> Option<Vec<u8>> {
        let table = match pid_of(&head) {
            _ if head[0] != SYNC => return None,
            0 => &self.programmes,
            pid if pid == self.map_pid => &self.map,
            _ => return None,
        };
        let payload = number().and_then(|number| table.chunks(PAYLOAD).nth(number));
        let mut packet = vec![SYNC, head[1] & 0x7F, head[2], 0x10 | head[3] & 0x0F];
        packet.extend_from_slice(payload.unwrap_or_default());
        packet.resize(SIZE, 0xFF);
        Some(packet)
    }
}

fn pid_of(head: &[u8]) -> u16 {
    u16::from(head[1] & 0x1F) << 8 | u16::from(head[2])
}

/// One track of a programme map.
struct Entry {
    kind: u8,
    pid: u16,
    about: Vec<u8>,
}

fn read(path: &Path) -> Option<(Tables, BTreeMap<u16, SoundCodec>)> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).ok()?;
    // Most files are none, and told by their beginning.
    Read::by_ref(&mut file).take(2048).read_to_end(&mut bytes).ok()?;
    let (first, step) = rhythm(&bytes)?;
    file.take(SEARCHED).read_to_end(&mut bytes).ok()?;
    let (mut programmes, mut map_pid, mut head) = (None, None, None);
    let (mut entries, mut sounds): (Vec<Entry>, BTreeMap<u16, SoundCodec>) = Default::default();
    let packets = (first..bytes.len()).step_by(step).map_while(|at| bytes.get(at..at + SIZE));
    // A table that goes on, and in how many packets the first one lay.
    let (mut unfinished, mut packets_of_map, mut of_first) = (Vec::new(), 0, None);
    let mut others = 0;
    for packet in packets.filter(|packet| packet[0] == SYNC) {
        let Some(payload) = payload(packet) else { continue };
        let pid = pid_of(packet);
        let begins = packet[1] & 0x40 != 0;
        if !begins && Some(pid) != map_pid {
            continue;
        }
        match pid {
            0 if programmes.is_none() => {
                let section = section(payload, 0)?;
                // Programme 0 is the network's own table.
                let listed = section.get(8..section.len() - 4)?.chunks_exact(4);
                let mut found = listed
                    .map(|p| (u16::from(p[0]) << 8 | u16::from(p[1]), pid_of(&p[1..])))
                    .filter(|(number, _)| *number != 0);
                map_pid = found.next().map(|(_, pid)| pid);
                others = found.count();
                programmes = Some(payload.to_vec());
            }
            pid if Some(pid) == map_pid => {
                if begins {
                    let pointer = payload.first().map_or(0, |pointer| usize::from(*pointer));
                    unfinished = vec![0];
                    unfinished.extend(payload.get(1 + pointer..).unwrap_or_default());
                    packets_of_map = 1;
                } else if packets_of_map > 0 {
                    unfinished.extend_from_slice(payload);
                    packets_of_map += 1;
                }
                let Some(section) = section(&unfinished, 2) else { continue };
                let Some((about, listed)) = listed(section) else { continue };
                of_first.get_or_insert((packets_of_map, listed.len()));
                head.get_or_insert_with(|| about.to_vec());
                for entry in listed {
                    if !entries.iter().any(|known| known.pid == entry.pid) {
                        entries.push(entry);
                    }
                }
            }
            _ => {
                if let Some(sound) = sound(payload) {
                    sounds.entry(pid).or_insert(sound);
                }
            }
        }
    }
    for entry in &mut entries {
        let known = sounds.get(&entry.pid);
        let unnamed = entry.kind == 0x06 && entry.about.first().is_none_or(|tag| *tag == 0x0A);
        match known {
            Some(SoundCodec::Dts) if unnamed || entry.kind == 0x82 => entry.kind = 0x8A,
            Some(SoundCodec::Aac) if unnamed => entry.kind = 0x0F,
            Some(SoundCodec::Ac3) if unnamed => entry.kind = 0x81,
            Some(SoundCodec::Mpeg) if unnamed => entry.kind = 0x03,
            _ => {}
        }
    }
    let head = head?;
    let (room, of_first) = of_first?;
    // What later maps add has a place where it needs no more packets than the first one.
    let map = map_of(&head, &entries)
        .filter(|map| map.len().div_ceil(PAYLOAD) <= room)
        .or_else(|| map_of(&head, entries.get(..of_first)?))?;
    let (first, step, map_pid) = (first as u64, step as u64, map_pid?);
    Some((Tables { first, step, programmes: programmes?, map_pid, map, others }, sounds))
}

/// Offset of the first packet and distance between packets, in bytes; none if this is not a transport stream.
fn rhythm(bytes: &[u8]) -> Option<(usize, usize)> {
    let fits = |first: usize, step: usize| {
        let at = |n: usize| bytes.get(first + n * step);
        (0..4).all(|n| at(n) == Some(&SYNC)) && (4..8).all(|n| at(n).is_none_or(|b| *b == SYNC))
    };
    [188, 192, 204]
        .into_iter()
        .find_map(|step| (0..step).find(|first| fits(*first, step)).map(|first| (first, step)))
}

fn payload(packet: &[u8]) -> Option<&[u8]> {
    match packet.get(3)? >> 4 & 3 {
        1 => packet.get(4..),
        3 => packet.get(5 + usize::from(*packet.get(4)?)..),
        _ => None,
    }
}

/// The section of a table that begins and ends in this payload.
fn section(payload: &[u8], table: u8) -> Option<&[u8]> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = usize::from(section.get(1)? & 0x0F) << 8 | usize::from(*section.get(2)?);
    let section = section.get(..3 + length)?;
    (section.len() >= 16 && section[0] == table).then_some(section)
}

/// A programme map as far as its tracks, and its tracks.
fn listed(section: &[u8]) -> Option<(&[u8], Vec<Entry>)> {
    let end = section.len() - 4;
    let about = usize::from(section.get(10)? & 0x0F) << 8 | usize::from(*section.get(11)?);
    let head = section.get(..12 + about).filter(|head| head.len() <= end)?;
    let (mut entries, mut at) = (Vec::new(), head.len());
    while let Some(entry) = section.get(at..at + 5).filter(|_| at + 5 <= end) {
        let length = usize::from(entry[3] & 0x0F) << 8 | usize::from(entry[4]);
        let about = section.get(at + 5..at + 5 + length)?.to_vec();
        entries.push(Entry { kind: entry[0], pid: pid_of(entry), about });
        at += 5 + length;
    }
    Some((head, entries))
}

/// The payload of packets with a programme map of these tracks; none where there are too many.
fn map_of(head: &[u8], entries: &[Entry]) -> Option<Vec<u8>> {
    let mut section = head.to_vec();
    for entry in entries {
        let length = u16::try_from(entry.about.len()).ok()?;
        let [pid, length] = [entry.pid | 0xE000, length | 0xF000].map(u16::to_be_bytes);
        section.extend([entry.kind, pid[0], pid[1], length[0], length[1]]);
        section.extend_from_slice(&entry.about);
    }
    let length = u16::try_from(section.len() + 1).ok().filter(|length| *length <= LONGEST)?;
    let length = length | 0xB000;
    section.get_mut(1..3)?.copy_from_slice(&length.to_be_bytes());
    let check = crc(&section);
    section.extend(check.to_be_bytes());
    Some([&[0], &section[..]].concat())
}

/// The checksum of MPEG-2's tables.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 }
        })
    })
}

/// What begins in a packet, if it is sound.
fn sound(payload: &[u8]) -> Option<SoundCodec> {
    payload.starts_with(&[0, 0, 1]).then_some(())?;
    let data = payload.get(9 + usize::from(*payload.get(8)?)..)?;
    match *data.get(..4)? {
        [0x7F, 0xFE, 0x80, 0x01] => Some(SoundCodec::Dts),
        [0x0B, 0x77, ..] => {
            Some(if data.get(5)? >> 3 <= 10 { SoundCodec::Ac3 } else { SoundCodec::Eac3 })
        }
        [0xFF, second, ..] if second & 0xF6 == 0xF0 => Some(SoundCodec::Aac),
        [0xFF, second, ..] if second & 0xE0 == 0xE0 && second & 0x06 != 0 => Some(SoundCodec::Mpeg),
        _ if latm::is_known(data) => Some(SoundCodec::Latm),
        // Private data.
        _ if payload.get(3) == Some(&0xBD) => BluRay::read(data).map(SoundCodec::BluRay),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn packet(pid: u16, payload: &[u8]) -> Vec<u8> {
        let pid = (pid | 0x4000).to_be_bytes();
        let mut packet = vec![SYNC, pid[0], pid[1], 0x10];
        packet.extend_from_slice(payload);
        packet.resize(SIZE, 0xFF);
        packet
    }

    fn map(version: u8, entries: &[(u8, u16)]) -> Vec<u8> {
        let head = [2, 0xB0, 0, 0, 1, 0xC1 | version << 1, 0, 0, 0xE1, 0, 0xF0, 0];
        let entries: Vec<Entry> =
            entries.iter().map(|&(kind, pid)| Entry { kind, pid, about: Vec::new() }).collect();
        map_of(&head, &entries).unwrap()
    }

    fn stream() -> Vec<u8> {
        let mut programmes = vec![0, 0xB0, 13, 0, 1, 0xC1, 0, 0, 0, 1, 0xF0, 0];
        let check = crc(&programmes);
        programmes.extend(check.to_be_bytes());
        let dts = [&[0, 0, 1, 0xBD, 0, 0, 0x80, 0, 0][..], &[0x7F, 0xFE, 0x80, 0x01]].concat();
        [
            packet(0, &[&[0], &programmes[..]].concat()),
            packet(0x1000, &map(0, &[(0x1B, 256), (0x82, 257)])),
            packet(257, &dts),
            packet(0x1000, &map(1, &[(0x1B, 256)])),
            packet(0x1000, &map(2, &[(0x1B, 256), (0x0F, 258)])),
        ]
        .concat()
    }

    #[test]
    fn a_programme_map_never_changes_and_calls_sound_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ts");
        std::fs::write(&path, stream()).unwrap();
        gst::init().unwrap();
        let (tables, sounds) = read(&path).unwrap();
        assert_eq!(sounds.get(&257), Some(&SoundCodec::Dts));
        let wanted = map(0, &[(0x1B, 256), (0x8A, 257), (0x0F, 258)]);
        // However the file is cut into buffers.
        for size in [50, 188, 189, 940] {
            let file = File::open(&path).unwrap();
            let mut whole = Vec::new();
            for (n, part) in stream().chunks(size).enumerate() {
                let mut buffer = gst::Buffer::from_mut_slice(part.to_vec());
                buffer.get_mut().unwrap().set_offset((n * size) as u64);
                tables.put_into(&mut buffer, &file);
                whole.extend_from_slice(&buffer.map_readable().unwrap());
            }
            let maps: Vec<&[u8]> =
                whole.chunks(SIZE).filter(|p| pid_of(p) == 0x1000).map(|p| &p[4..]).collect();
            assert_eq!(maps.len(), 3);
            assert!(maps.iter().all(|map| map.starts_with(&wanted)), "in parts of {size}");
        }
    }

    #[test]
    fn a_programme_map_may_be_longer_than_a_packet() {
        gst::init().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ts");
        let tracks = |dts: u8| -> Vec<(u8, u16)> {
            let kind = |pid| if pid == 257 { dts } else { 0x0F };
            (257..317).map(|pid| (kind(pid), pid)).collect()
        };
        let long = map(0, &tracks(0x82));
        assert!(long.len() > PAYLOAD && long.len() < 2 * PAYLOAD);
        let rest = |pid: u16, payload: &[u8]| {
            let mut packet = packet(pid, payload);
            packet[1] &= !0x40;
            packet
        };
        let short = stream();
        let (programmes, dts) = (&short[..SIZE], &short[2 * SIZE..3 * SIZE]);
        let parts = [
            programmes.to_vec(),
            packet(0x1000, &long[..PAYLOAD]),
            dts.to_vec(),
            rest(0x1000, &long[PAYLOAD..]),
            dts.to_vec(),
        ];
        let whole = [&parts.concat()[..], &parts.concat()].concat();
        std::fs::write(&path, &whole).unwrap();
        let (tables, _) = read(&path).unwrap();
        let wanted = map(0, &tracks(0x8A));
        assert_eq!(tables.map, wanted);
        let file = File::open(&path).unwrap();
        // Also from the middle of a table on.
        for begins in [0, 3 * SIZE, 5 * SIZE] {
            let mut buffer = gst::Buffer::from_mut_slice(whole[begins..].to_vec());
            buffer.get_mut().unwrap().set_offset(begins as u64);
            tables.put_into(&mut buffer, &file);
            let bytes = buffer.map_readable().unwrap();
            let maps: Vec<u8> = bytes
                .chunks(SIZE)
                .filter(|p| pid_of(p) == 0x1000)
                .flat_map(|p| p[4..].to_vec())
                .collect();
            let last = &maps[maps.len() - 2 * PAYLOAD..];
            assert!(last.starts_with(&wanted), "from {begins} on");
            if begins == 3 * SIZE {
                assert!(maps.starts_with(&wanted[PAYLOAD..]));
            }
        }
    }

    #[test]
    fn what_is_no_transport_stream_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ts");
        let whole = stream();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let _ = read(&path);
        }
        std::fs::write(&path, [b'G'; 3000]).unwrap();
        assert!(read(&path).is_none());
    }
}
