//! The records of a PyTorch zip, read in place.
//!
//! The `zip` crate writes our files, but reading is done here: it must refuse two records of one
//! name (the crate keeps the last), records that overlap and compressed ones, spend no more than
//! linear time and memory on any bytes, and hand out slices instead of copies. PyTorch uses a
//! small part of the format, so that is little code. Zip64 is not needed: a model file is at most
//! 1 GiB.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::error::{Fault, printable};

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
/// Length of the end record without its comment, and the longest comment.
const END_LENGTH: usize = 22;
const LONGEST_COMMENT: usize = 0xFFFF;

/// The records of a zip by name.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    records: BTreeMap<&'a str, &'a [u8]>,
}

/// Whether the bytes begin as a zip does.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(LOCAL)
}

impl<'a> Archive<'a> {
    /// Reads the directory and checks every record: stored, whole, apart from the others, and
    /// with the checksum it should have.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Fault> {
        let (mut directory, count) = find_directory(bytes)?;
        // A count that lies runs into the end of the directory, so nothing is reserved by it.
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(Record::read(&mut directory, bytes)?);
        }
        // This is checked first: the code in such an archive is compressed, and "TorchScript program" is the
        // more useful message.
        if found.iter().any(|record| is_program(record.name)) {
            return Err(Fault::TorchScript);
        }
        if let Some(record) = found.iter().find(|record| record.compressed) {
            return Err(Fault::Compressed(printable(record.name)));
        }
        found.sort_by_key(|record| record.start);
        // Checked before any checksum is computed: with overlapping records, a small file could cause hours
        // of computation.
        if found.windows(2).any(|pair| pair[0].end() > pair[1].start) {
            return Err(Fault::damaged("two of its records overlap"));
        }
        let mut records = BTreeMap::new();
        for record in found {
            let name = record.name;
            // torch.save can be told to leave the checksums out: they are zero then.
            if record.crc != 0 && crc32(record.data) != record.crc {
                let name = printable(name);
                return Err(Fault::damaged(format!("the checksum of its record '{name}' differs")));
            }
            if records.insert(name, record.data).is_some() {
                let name = printable(name);
                return Err(Fault::damaged(format!("it has two records called '{name}'")));
            }
        }
        Ok(Self { records })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.records.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.records.keys().copied()
    }
}

/// A record, checked as far as the directory goes.
struct Record<'a> {
    name: &'a str,
    crc: u32,
    compressed: bool,
    /// Where its local header begins, from the start of the file.
    start: usize,
    /// Bytes of the local header, name and padding included.
    header: usize,
    data: &'a [u8],
}

impl<'a> Record<'a> {
    const fn end(&self) -> usize {
        self.start.saturating_add(self.header).saturating_add(self.data.len())
    }

    /// Takes the next entry off the directory and finds its data in `bytes`.
    fn read(directory: &mut Cursor<'a>, bytes: &'a [u8]) -> Result<Self, Fault> {
        if directory.take(4)? != CENTRAL {
            return Err(Fault::damaged("its list of records is broken"));
        }
        directory.take(4)?; // versions
        let flags = directory.u16()?;
        let method = directory.u16()?;
        directory.take(4)?; // time and date
        let crc = directory.u32()?;
        let packed = directory.u32()?;
        let length = directory.u32()?;
        let name_length = directory.u16()?;
        let after = u64::from(directory.u16()?) + u64::from(directory.u16()?);
        directory.take(8)?; // disk, attributes
        let start = directory.u32()? as usize;
        let name = text(directory.take(name_length.into())?)?;
        directory.take(after)?; // extra fields, comment

        let compressed = method != 0;
        let broken = || Fault::damaged(format!("its record '{}' is broken", printable(name)));
        // Bit 0: encrypted. A stored record is as long packed as unpacked.
        if flags & 1 != 0 || (!compressed && packed != length) {
            return Err(broken());
        }
        let mut local = Cursor::at(bytes, start);
        if local.take(4)? != LOCAL {
            return Err(broken());
        }
        // The rest of the local header repeats the directory, or holds zeros with the values after the data;
        // only the lengths of the name and of its padding matter.
        local.take(22)?;
        let local_name = local.u16()?;
        let padding = local.u16()?;
        if local.take(local_name.into())? != name.as_bytes() {
            return Err(broken());
        }
        local.take(padding.into())?;
        let header = local.position() - start;
        let data = local.take(packed.into())?;
        Ok(Self { name, crc, compressed, start, header, data })
    }
}

/// Whether the record is one that only TorchScript archives have.
fn is_program(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(_, rest)| rest == "constants.pkl" || rest.starts_with("code/"))
}

/// The directory and how many entries it has, found by the end record: the last thing in the
/// file, with a comment after it that is nearly always empty.
fn find_directory(bytes: &[u8]) -> Result<(Cursor<'_>, u16), Fault> {
    let last = bytes.len().checked_sub(END_LENGTH).ok_or_else(no_end)?;
    let first = last.saturating_sub(LONGEST_COMMENT);
    for at in (first..=last).rev() {
        let mut end = Cursor::at(bytes, at);
        if end.take(4)? != END {
            continue;
        }
        end.take(6)?; // disks, entries on this one
        let count = end.u16()?;
        let length = u64::from(end.u32()?);
        let start = end.u32()? as usize;
        if usize::from(end.u16()?) != last - at {
            continue; // a comment of another length: these four bytes stand there by chance
        }
        let directory = Cursor::at(bytes, start).take(length)?;
        return Ok((Cursor::new(directory), count));
    }
    Err(no_end())
}

fn no_end() -> Fault {
    Fault::damaged("it ends early")
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    str::from_utf8(bytes).map_err(|_| Fault::damaged("the name of a record is not UTF-8"))
}

/// CRC-32 as zip has it (reflected, polynomial 0xEDB88320).
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    let crc =
        data.iter().fold(u32::MAX, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8));
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
