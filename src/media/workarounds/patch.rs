//! Patches: bytes of a file that its demuxer reads differently from what is on the disk.

use gst::prelude::*;
use gstreamer as gst;

/// Bytes that replace those at an offset of the file when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    /// Where in the file.
    pub at: u64,
    /// What is read there.
    pub bytes: Vec<u8>,
}

impl Patch {
    /// Applies the patch to the part of it that lies in `buffer`, which knows its offset in the file.
    pub fn apply(&self, buffer: &mut gst::Buffer) {
        let begins = buffer.offset();
        let ends = begins.saturating_add(buffer.size() as u64);
        let (from, to) = (self.at.max(begins), (self.at + self.bytes.len() as u64).min(ends));
        if from < to
            && let Ok(mut map) = buffer.make_mut().map_writable()
        {
            let index = |at: u64, zero: u64| usize::try_from(at - zero).unwrap_or(usize::MAX);
            let old = map.get_mut(index(from, begins)..index(to, begins));
            let new = self.bytes.get(index(from, self.at)..index(to, self.at));
            if let (Some(old), Some(new)) = (old, new) {
                old.copy_from_slice(new);
            }
        }
    }
}

/// Lets whatever reads from `src` (a filesrc) see the file with these changes.
pub(super) fn patch(src: &gst::Element, patches: Vec<Patch>) {
    let Some(pad) = src.static_pad("src").filter(|_| !patches.is_empty()) else { return };
    // Also of buffers that the demuxer pulls.
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            patches.iter().for_each(|patch| patch.apply(buffer));
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_a_buffer_is_changed() {
        gst::init().unwrap();
        for (at, bytes, left) in [
            (102, "12", "ab12efgh"),
            (99, "12", "2bcdefgh"),
            (107, "123", "abcdefg1"),
            (109, "1", "abcdefgh"),
        ] {
            let mut buffer = gst::Buffer::from_slice(b"abcdefgh".to_vec());
            buffer.get_mut().unwrap().set_offset(100);
            Patch { at, bytes: bytes.into() }.apply(&mut buffer);
            assert_eq!(buffer.map_readable().unwrap().as_slice(), left.as_bytes());
        }
    }
}
