//! Whether a video file ends before it should: what its container says of its own length.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// True when the file is shorter than its container says. False when it is whole, when it does not
/// say, or cannot be read.
pub fn is_cut_off(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let Ok(length) = file.metadata().map(|m| m.len()) else { return false };
    let mut head = [0; 64];
    let Ok(read) = file.read(&mut head) else { return false };
    let wanted = match head.get(..read) {
        Some([b'R', b'I', b'F', b'F', a, b, c, d, ..]) => {
            Some(8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])))
        }
        Some([0x1A, 0x45, 0xDF, 0xA3, ..]) => segment_end(&mut file),
        Some([_, _, _, _, b'f', b't', b'y', b'p', ..]) => boxes_end(&mut file, length),
        _ => None,
    };
    wanted.is_some_and(|wanted| wanted > length)
}

/// True for an MP4 or MOV without an index: nothing in it can be found. Cameras and phones write it
/// last, so what was broken off has none.
pub fn has_no_index(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let Ok(length) = file.metadata().map(|m| m.len()) else { return false };
    let mut names = Vec::new();
    let _ = boxes(&mut file, length, &mut |name| names.push(name));
    names.first() == Some(b"ftyp") && !names.iter().any(|name| name == b"moov" || name == b"moof")
}

/// Where the last box of an MP4 that begins within the file ends.
fn boxes_end(file: &mut File, length: u64) -> Option<u64> {
    boxes(file, length, &mut |_| {})
}

/// The same; `see` is told the name of each box.
fn boxes(file: &mut File, length: u64, see: &mut dyn FnMut([u8; 4])) -> Option<u64> {
    let mut at = 0_u64;
    while at < length {
        let mut head = [0; 16];
        file.seek(SeekFrom::Start(at)).ok()?;
        if file.read(&mut head).ok()? < 8 {
            return Some(at + 8);
        }
        let [a, b, c, d, e, f, g, h, large @ ..] = head;
        see([e, f, g, h]);
        let size = match u32::from_be_bytes([a, b, c, d]) {
            // To the end of the file.
            0 => return None,
            1 => u64::from_be_bytes(large),
            size => size.into(),
        };
        // Not even its own head: this is no box.
        at = at.checked_add(size).filter(|_| size >= 8)?;
    }
    Some(at)
}

/// Where the segment of a Matroska file ends; none when it does not say.
fn segment_end(file: &mut File) -> Option<u64> {
    file.seek(SeekFrom::Start(0)).ok()?;
    let mut head = [0; 256];
    let read = file.read(&mut head).ok()?;
    let head = head.get(..read)?;
    // The EBML head first: its id of four bytes, its size, what is in it.
    let (size, taken) = vint(head.get(4..)?)?;
    let segment = 4 + taken + usize::try_from(size?).ok()?;
    let id = head.get(segment..segment + 4)?;
    let (size, taken) = vint(head.get(segment + 4..)?)?;
    (id == [0x18, 0x53, 0x80, 0x67]).then_some(())?;
    Some((segment + 4 + taken) as u64 + size?)
}

/// A number of variable length (RFC 8794) and its bytes; all ones mean unknown.
fn vint(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    let bytes = bytes.get(..length).filter(|_| length <= 8)?;
    let value = bytes.iter().fold(0, |value: u64, &byte| value << 8 | u64::from(byte));
    let mask = (1 << (7 * length)) - 1;
    Some(((value & mask != mask).then_some(value & mask), length))
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
