//! Recording metadata of a movie: place, time and camera.
//!
//! GStreamer's muxers (1.22 to 1.26) write none of it, and players read it from MP4 boxes that correspond to
//! no tag. So the boxes are passed through the muxer as the text of an otherwise unused tag. In the finished
//! file they replace that tag: as the original boxes in an MP4, or as tags in Matroska.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use super::edit_list::{Part, index, number, parts, put};
use crate::core::encoding::Container;

/// Prefix of the text of the tag; the boxes follow in hexadecimal digits.
const MARK: &str = "nst-stream:recording:";
/// Largest size of the metadata, in bytes; cameras write less.
const LARGEST: usize = 16 * 1024;
/// A box of our own, used in the tag only: the time of the recording, in seconds since 1904.
const CREATED: &[u8; 4] = b"crtm";
/// Keys of the QuickTime metadata that describe the recording.
const KEYS: [&str; 5] = ["com.apple.", "com.android.", "location", "make", "model"];

/// Recording metadata of a movie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CaptureMetadata {
    /// Seconds since 1904; 0: unknown.
    created: u64,
    /// Boxes of `udta`, with their headers.
    boxes: Vec<u8>,
    /// The box `meta` of the movie, with its header.
    meta: Vec<u8>,
    /// The same as names and values for Matroska tags: `LOCATION`, `+52.5+013.4/`.
    texts: Vec<(&'static str, String)>,
}

impl CaptureMetadata {
    /// Reads the metadata of a file; none if it has none.
    pub fn of(path: &Path) -> Option<Self> {
        let (_, moov) = index(&mut File::open(path).ok()?).ok()?;
        let found = CaptureMetadata::read(&moov);
        let size = found.boxes.len() + found.meta.len();
        (found != CaptureMetadata::default() && size <= LARGEST).then_some(found)
    }

    fn read(moov: &[u8]) -> Self {
        let mut found = CaptureMetadata::default();
        for (name, at) in parts(moov, 0..moov.len()) {
            match &name {
                b"mvhd" => found.created = created(moov, &at).unwrap_or(0),
                b"udta" => found.user_data(moov, at),
                b"meta" => found.keyed(moov, at),
                _ => {}
            }
        }
        found
    }

    fn text(&mut self, name: &'static str, text: String) {
        let known = self.texts.iter().any(|(other, _)| *other == name);
        if !known && !text.is_empty() {
            self.texts.push((name, text));
        }
    }

    fn user_data(&mut self, moov: &[u8], udta: Range<usize>) {
        for (name, at) in parts(moov, udta) {
            let inside = moov.get(at.clone()).unwrap_or_default();
            // A length, a language, the text.
            let text = || String::from_utf8_lossy(inside.get(4..).unwrap_or_default()).into_owned();
            match &name {
                b"\xA9xyz" => self.text("LOCATION", text()),
                b"\xA9mak" => self.text("MAKE", text()),
                b"\xA9mod" => self.text("MODEL", text()),
                b"loci" => self.text("LOCATION", place(inside).unwrap_or_default()),
                b"\xA9swr" | b"\xA9fmt" => {}
                b"meta" => {
                    // FFmpeg writes the metadata here.
                    self.keyed(moov, at);
                    continue;
                }
                _ => continue,
            }
            self.boxes.extend(boxed(&name, inside));
        }
    }

    /// QuickTime's metadata: a box of keys, and a value for some of them.
    fn keyed(&mut self, moov: &[u8], meta: Range<usize>) {
        // QuickTime has no version and flags before the boxes, MP4 has four bytes of them.
        let at = [meta.start, meta.start + 4];
        let all = at.map(|start| parts(moov, start..meta.end));
        let is = |all: &&Vec<Part>| all.iter().any(|(name, _)| name == b"hdlr");
        let Some(all) = all.iter().find(is) else { return };
        let find = |wanted: &[u8; 4]| {
            all.iter().find(|(name, _)| name == wanted).map(|(_, at)| at.clone())
        };
        let (Some(hdlr), Some(keys), Some(list)) = (find(b"hdlr"), find(b"keys"), find(b"ilst"))
        else {
            return;
        };
        if moov.get(hdlr.start + 8..hdlr.start + 12) != Some(b"mdta") {
            return;
        }
        // Version, flags, a count; then size, `mdta` and name of each.
        let names = parts(moov, keys.start + 8..keys.end);
        let (mut kept_keys, mut kept_values, mut count) = (Vec::new(), Vec::new(), 0_u32);
        for (number, value) in parts(moov, list) {
            let name = usize::try_from(u32::from_be_bytes(number)).unwrap_or(0).checked_sub(1);
            let Some((kind, name)) = name.and_then(|n| names.get(n)) else { continue };
            let (Some(name), Some(value)) = (moov.get(name.clone()), moov.get(value)) else {
                continue;
            };
            let key = String::from_utf8_lossy(name).into_owned();
            if !KEYS.iter().any(|known| key.starts_with(known)) {
                continue;
            }
            count += 1;
            kept_keys.extend(boxed(kind, name));
            kept_values.extend(boxed(&count.to_be_bytes(), value));
            // A box `data`: its type (1: text), its country, the value.
            let data = value.get(4..8) == Some(b"data") && value.get(8..12) == Some(&[0, 0, 0, 1]);
            let text = value.get(16..).filter(|_| data).unwrap_or_default();
            let text = String::from_utf8_lossy(text).into_owned();
            match key.rsplit('.').next().unwrap_or_default() {
                "ISO6709" | "location" => self.text("LOCATION", text),
                "make" | "manufacturer" => self.text("MAKE", text),
                "model" => self.text("MODEL", text),
                _ => {}
            }
        }
        if count > 0 {
            let head = [&[0; 4], &count.to_be_bytes()[..]].concat();
            let keys = boxed(b"keys", &[head, kept_keys].concat());
            let handler = boxed(b"hdlr", moov.get(hdlr).unwrap_or_default());
            let values = boxed(b"ilst", &kept_values);
            self.meta = boxed(b"meta", &[handler, keys, values].concat());
        }
    }

    /// The tag that carries the metadata through a muxer, and its text.
    pub fn as_tag(&self, container: Container) -> (&'static str, String) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        if container.is_mp4() {
            let created = boxed(CREATED, &self.created.to_be_bytes());
            let boxes = [&created, &self.boxes, &self.meta].map(|bytes| hex(bytes)).concat();
            ("composer-sortname", format!("{MARK}{boxes}"))
        } else {
            let texts = self.texts.iter().map(|(name, text)| format!("{name}\0{text}\0"));
            ("isrc", format!("{MARK}{}", hex(texts.collect::<String>().as_bytes())))
        }
    }
}

/// Names and values in the text of such a tag in a Matroska file.
pub(super) fn texts_of(tag: &[u8]) -> Option<Vec<(String, String)>> {
    let bytes = unhex(tag.strip_prefix(MARK.as_bytes())?);
    let text = String::from_utf8(bytes).ok()?;
    let mut words = text.split('\0').map(str::to_owned);
    Some(std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect())
}

/// Replaces the tag in a finished MP4 by the boxes that it carries.
///
/// # Errors
/// When the file cannot be read or written.
pub(super) fn put_into(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let (start, moov) = index(&mut file)?;
    let Some(changed) = unpacked(&moov).filter(|changed| changed.len() == moov.len()) else {
        return Ok(());
    };
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&changed)
}

/// The index, of unchanged length, with the boxes that one of its tags carries.
fn unpacked(moov: &[u8]) -> Option<Vec<u8>> {
    let mark = moov.windows(MARK.len()).position(|text| text == MARK.as_bytes())?;
    let digits = unhex(moov.get(mark + MARK.len()..)?);
    // Start offsets of the boxes that enclose the tag, outermost first.
    let (mut around, mut within) = (Vec::new(), 0..moov.len());
    let item = loop {
        let inside = |(_, at): &Part| at.contains(&mark);
        let (name, at) = parts(moov, within).into_iter().find(inside)?;
        if around.last().is_some_and(|(name, _)| name == b"ilst") {
            break at.start - 8..at.end;
        }
        within = if &name == b"meta" { at.start + 4..at.end } else { at.clone() };
        around.push((name, at.start - 8));
    };
    let (mut boxes, mut meta, mut time) = (Vec::new(), Vec::new(), 0);
    for (name, at) in parts(&digits, 0..digits.len()) {
        let inside = digits.get(at)?;
        match &name {
            CREATED => time = number(inside, 0, 8)?,
            b"meta" => meta = boxed(&name, inside),
            _ => boxes.extend(boxed(&name, inside)),
        }
    }
    let mut changed = [moov.get(..item.start)?, moov.get(item.end..)?].concat();
    for (_, at) in &around {
        let size = number(&changed, *at, 4)?.checked_sub(item.len() as u64)?;
        put(&mut changed, *at, 4, size)?;
    }
    let mut added = match around.first().map(|(name, at)| (name, *at))? {
        (b"udta", at) => {
            let size = usize::try_from(number(&changed, at, 4)?).ok()?;
            put(&mut changed, at, 4, (size + boxes.len()) as u64)?;
            let end = at + size;
            changed.splice(end..end, boxes.iter().copied());
            boxes.len()
        }
        _ => {
            let udta = boxed(b"udta", &boxes);
            changed.extend(&udta);
            udta.len()
        }
    };
    changed.extend(&meta);
    added += meta.len();
    let rest = item.len().checked_sub(added + 8)?;
    changed.extend(boxed(b"free", &vec![0; rest]));
    if time > 0 {
        date(&mut changed, time);
    }
    Some(changed)
}

/// Sets the creation time of a movie and its tracks.
fn date(moov: &mut [u8], time: u64) {
    let mut headers = Vec::new();
    for (name, at) in parts(moov, 0..moov.len()) {
        match &name {
            b"mvhd" => headers.push(at),
            b"trak" => {
                for (name, at) in parts(moov, at) {
                    match &name {
                        b"tkhd" => headers.push(at),
                        b"mdia" => headers.extend(
                            parts(moov, at)
                                .into_iter()
                                .filter(|(name, _)| name == b"mdhd")
                                .map(|(_, at)| at),
                        ),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    for at in headers {
        let width = if moov.get(at.start) == Some(&1) { 8 } else { 4 };
        // Versions, flags, then when it was made.
        if at.start + 4 + width <= at.end {
            let _ = put(moov, at.start + 4, width, time);
        }
    }
}

fn created(moov: &[u8], mvhd: &Range<usize>) -> Option<u64> {
    let wide = *moov.get(mvhd.start)? == 1;
    number(moov, mvhd.start + 4, if wide { 8 } else { 4 })
}

/// ISO 6709 location (`+52.5200+013.4050/`) from a 3GPP `loci` box: version, flags, a language, a name, a
/// role, then longitude and latitude.
fn place(loci: &[u8]) -> Option<String> {
    let rest = loci.get(6..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let degrees = |at| Some(f64::from(number(rest, at, 4)? as u32 as i32) / 65536.0);
    let (east, north) = (degrees(end + 2)?, degrees(end + 6)?);
    Some(format!("{north:+08.4}{east:+09.4}/"))
}

fn boxed(name: &[u8; 4], contents: &[u8]) -> Vec<u8> {
    let size = u32::try_from(contents.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], name, contents].concat()
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks_exact(2).map_while(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn movie() -> Vec<u8> {
        let mvhd = boxed(b"mvhd", &[[0; 4], 99_u32.to_be_bytes(), [0; 4]].concat());
        let xyz = boxed(b"\xA9xyz", b"\0\x12\x15\xC7+52.5200+013.4050/");
        let key = |name: &str| boxed(b"mdta", name.as_bytes());
        let keys = [key("encoder"), key("com.apple.quicktime.make")].concat();
        let keys = boxed(b"keys", &[&[0, 0, 0, 0, 0, 0, 0, 2], &keys[..]].concat());
        let value = |n: u32, text: &str| {
            let head = [0, 0, 0, 1, 0, 0, 0, 0];
            boxed(&n.to_be_bytes(), &boxed(b"data", &[&head, text.as_bytes()].concat()))
        };
        let list = boxed(b"ilst", &[value(1, "Lavf"), value(2, "Apple")].concat());
        let hdlr = boxed(b"hdlr", b"\0\0\0\0\0\0\0\0mdta");
        [mvhd, boxed(b"udta", &xyz), boxed(b"meta", &[hdlr, keys, list].concat())].concat()
    }

    #[test]
    fn what_a_movie_says_of_its_recording_takes_the_place_of_the_tag() {
        let found = CaptureMetadata::read(&movie());
        let said = [("LOCATION", "+52.5200+013.4050/"), ("MAKE", "Apple")];
        assert_eq!(found.created, 99);
        assert!(found.texts.iter().map(|(name, text)| (*name, text.as_str())).eq(said));
        assert!(!found.meta.windows(4).any(|text| text == b"Lavf"));

        let (_, text) = found.as_tag(Container::Mkv);
        let texts = texts_of(text.as_bytes()).unwrap();
        assert!(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).eq(said));

        let (_, text) = found.as_tag(Container::Mp4);
        let data = boxed(b"data", &[&[0; 8], text.as_bytes()].concat());
        let list = boxed(b"ilst", &[boxed(b"soco", &data), boxed(b"\xA9nam", b"x")].concat());
        let meta = boxed(b"meta", &[vec![0; 4], list].concat());
        let made = [boxed(b"mvhd", &[0; 12]), boxed(b"udta", &meta)].concat();
        let changed = unpacked(&made).unwrap();
        assert_eq!(changed.len(), made.len());
        assert_eq!(CaptureMetadata::read(&changed), found);
        assert!(changed.windows(4).any(|name| name == b"\xA9nam"));
        assert!(unpacked(&changed).is_none());
        for cut in 0..made.len() {
            unpacked(&made[..cut]);
            CaptureMetadata::read(&movie()[..cut.min(movie().len())]);
        }
    }
}
