//! Reading numbers and slices off a byte string, never past its end.

use super::error::Fault;

/// A place in a byte string. Slices it hands out borrow from the string: nothing is allocated, so
/// a length claimed by the file costs nothing until the bytes are known to be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A cursor into `bytes` at `at`, which may lie past the end: then nothing can be taken.
    pub(super) const fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Fault> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let taken = end.and_then(|end| Some((end, self.bytes.get(self.at..end)?)));
        let (end, slice) = taken.ok_or_else(|| Fault::damaged("it ends early"))?;
        self.at = end;
        Ok(slice)
    }

    /// The bytes up to the next line feed, which is taken too but not returned.
    pub(super) fn line(&mut self) -> Result<&'a [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&b| b == b'\n');
        let length = length.ok_or_else(|| Fault::damaged("it ends early"))?;
        let line = self.take(length as u64)?;
        self.at += 1;
        Ok(line)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let slice = self.take(N as u64)?;
        slice.try_into().map_err(|_| Fault::damaged("it ends early"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}
