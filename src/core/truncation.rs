//! Detects truncated video files by the length that their container states; readers of MP4 boxes and Matroska
//! elements for this and other modules.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Whether the file is shorter than its container states. False when it is complete, states no length, or
/// cannot be read.
pub fn is_cut_off(path: &Path) -> bool {
    let Some(mut file) = regular(path) else { return false };
    let Ok(length) = file.metadata().map(|m| m.len()) else { return false };
    let mut head = [0; 64];
    let Ok(read) = file.read(&mut head) else { return false };
    let wanted = match head.get(..read) {
        Some([b'R', b'I', b'F', b'F', a, b, c, d, ..]) => {
            Some(8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])))
        }
        Some([b'F', b'L', b'V', 1, ..]) => last_tag_end(&mut file, length),
        Some([0x1A, 0x45, 0xDF, 0xA3, ..]) => segment_end(&mut file),
        Some([_, _, _, _, b'f', b't', b'y', b'p', ..]) => {
            boxes(&mut file, 0..length, &mut |_, _| {})
        }
        _ => None,
    };
    wanted.is_some_and(|wanted| wanted > length)
}

/// Where the last tag of an FLV ends, and the size stated after it.
fn last_tag_end(file: &mut File, length: u64) -> Option<u64> {
    let mut file = std::io::BufReader::new(file);
    // The head, which says how long it is, and the size of the tag before the first.
    let mut head = [0; 9];
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_exact(&mut head).ok()?;
    let mut at = u64::from(u32::from_be_bytes([head[5], head[6], head[7], head[8]])) + 4;
    file.seek(SeekFrom::Start(at)).ok()?;
    while at < length {
        let mut tag = [0; 11];
        if file.read_exact(&mut tag).is_err() {
            return Some(at + 11);
        }
        let size = u64::from(u32::from_be_bytes([0, tag[1], tag[2], tag[3]]));
        // Sound, picture or script: anything else is damage.
        matches!(tag[0] & 0x1F, 8 | 9 | 18).then_some(())?;
        file.seek_relative(i64::try_from(size).ok()? + 4).ok()?;
        at += 11 + size + 4;
    }
    Some(at)
}

/// Opens a regular file; none for anything else, since opening a named pipe waits for its writer.
pub(crate) fn regular(path: &Path) -> Option<File> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    File::open(path).ok()
}

/// Whether an MP4 or MOV has no index (moov), without which it cannot be played. Cameras and phones write it
/// last, so an interrupted recording has none.
pub fn has_no_index(path: &Path) -> bool {
    let Some(mut file) = regular(path) else { return false };
    let Ok(length) = file.metadata().map(|m| m.len()) else { return false };
    let mut names = Vec::new();
    let _ = boxes(&mut file, 0..length, &mut |name, _| names.push(name));
    // Pictures (HEIF, AVIF) have "meta" in its place.
    let index = |name: &[u8; 4]| [b"moov", b"moof", b"meta"].contains(&name);
    names.first() == Some(b"ftyp") && !names.iter().any(index)
}

/// Walks the boxes of an MP4 within a range of the file, calling `see` with each name and the range of its
/// contents. Returns where the last box ends; none if something in the range is not a box.
pub(crate) fn boxes(
    file: &mut File,
    within: Range<u64>,
    see: &mut dyn FnMut([u8; 4], Range<u64>),
) -> Option<u64> {
    let (mut at, end) = (within.start, within.end);
    while at < end {
        let mut head = [0; 16];
        file.seek(SeekFrom::Start(at)).ok()?;
        if file.read(&mut head).ok()? < 8 {
            return Some(at + 8);
        }
        let [a, b, c, d, e, f, g, h, large @ ..] = head;
        let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
            // To the end of the file.
            0 => (8, end - at),
            1 => (16, u64::from_be_bytes(large)),
            size => (8, size.into()),
        };
        // Not even its own head: this is no box.
        let next = at.checked_add(size).filter(|_| size >= header)?;
        see([e, f, g, h], at + header..next);
        at = next;
    }
    Some(at)
}

/// Where the segment of a Matroska file ends; none if its size is unknown.
fn segment_end(file: &mut File) -> Option<u64> {
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut head = [0; 256];
    let read = file.read(&mut head).ok()?;
    let head = head.get(..read)?;
    // A head that says what kind of file it is, then the segment.
    let first = element(head)?;
    let at = first.length.checked_add(first.size?)?;
    let segment = element(head.get(usize::try_from(at).ok()?..)?)?;
    (segment.id == SEGMENT).then_some(())?;
    at.checked_add(segment.length)?.checked_add(segment.size?)
}

/// Id of the segment, the root element of a Matroska file.
pub(crate) const SEGMENT: u32 = 0x1853_8067;

/// The header of an EBML element (RFC 8794).
pub(crate) struct Element {
    /// Element id, with its marker bits.
    pub id: u32,
    /// Size of the contents in bytes; none if unknown (up to the end of the parent).
    pub size: Option<u64>,
    /// Size of the header in bytes.
    pub length: u64,
}

/// Reads the header of an element.
pub(crate) fn element(bytes: &[u8]) -> Option<Element> {
    let of_id = bytes.first()?.leading_zeros() as usize + 1;
    let id = (of_id <= 4).then(|| bytes.get(..of_id))??;
    let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let rest = &bytes[of_id..];
    let of_size = rest.first()?.leading_zeros() as usize + 1;
    let size = (of_size <= 8).then(|| rest.get(..of_size))??;
    let size = size.iter().fold(0, |size, byte| size << 8 | u64::from(*byte));
    let mask = (1 << (7 * of_size)) - 1;
    let size = (size & mask != mask).then_some(size & mask);
    Some(Element { id, size, length: (of_id + of_size) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_off(bytes: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        is_cut_off(file.path())
    }

    #[test]
    fn an_mp4_whose_last_box_goes_beyond_its_end_is_cut_off() {
        let mut whole = b"\0\0\0\x10ftypisom\0\0\0\0".to_vec();
        whole.extend(b"\0\0\0\x0cmdatDATA");
        assert!(!cut_off(&whole));
        assert!(cut_off(&whole[..whole.len() - 1]));
        assert!(cut_off(&whole[..20]));
        // A box of 64-bit size, and one that goes to the end.
        let large = [&whole[..16], b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x14DATA"].concat();
        assert!(!cut_off(&large) && cut_off(&large[..large.len() - 1]));
        assert!(!cut_off(&[&whole[..16], b"\0\0\0\0mdatDATA"].concat()));
        let picture = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(picture.path(), [&whole[..], b"\0\0\0\x0cmetaDATA"].concat()).unwrap();
        assert!(!has_no_index(picture.path()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &whole).unwrap();
        assert!(has_no_index(file.path()));
        std::fs::write(file.path(), [&whole[..], b"\0\0\0\x0cmoovDATA"].concat()).unwrap();
        assert!(!has_no_index(file.path()));
        // Garbage is not cut off, and ends.
        assert!(!cut_off(&[&whole[..16], b"\0\0\0\x03xxxxDATA"].concat()));
        assert!(!cut_off(b"") && !cut_off(b"text"));
    }

    #[test]
    fn an_flv_whose_last_tag_goes_beyond_its_end_is_cut_off() {
        let head = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
        let tag = b"\x09\0\0\x02\0\0\0\0\0\0\0AB\0\0\0\x0d";
        let whole = [&head[..], tag, tag].concat();
        assert!(!cut_off(&whole));
        for cut in head.len() + tag.len() + 1..whole.len() {
            assert!(cut_off(&whole[..cut]), "{cut}");
        }
        assert!(!cut_off(&[&whole[..], b"\0\0\0\x02garbage...."].concat()));
    }

    #[test]
    fn matroska_and_avi_say_how_long_they_are() {
        let ebml = [0x1A, 0x45, 0xDF, 0xA3, 0x82, 1, 2];
        let segment = [0x18, 0x53, 0x80, 0x67, 0x84, 1, 2, 3, 4];
        let whole = [&ebml[..], &segment].concat();
        assert!(!cut_off(&whole) && cut_off(&whole[..15]));
        let live = [&ebml[..], &[0x18, 0x53, 0x80, 0x67, 0x01], &[0xFF; 7], b"more"].concat();
        assert!(!cut_off(&live));
        assert!(!cut_off(b"RIFF\x04\0\0\0AVI "));
        assert!(cut_off(b"RIFF\x05\0\0\0AVI "));
    }
}
