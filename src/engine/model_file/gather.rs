//! Copies a tensor's numbers out of its storage into row-major order.

use super::DType;
use super::RawTensor;
use super::tensor::element_count;
use super::value::View;

/// Gathers the tensors of one file. Together they may be several times as large as the file, since tensors
/// may share a storage, but not without limit: with strides of zero, a small file could describe a huge
/// tensor.
#[derive(Debug)]
pub(super) struct TensorGatherer {
    /// Bytes that may still be allocated.
    left: usize,
}

impl TensorGatherer {
    pub(super) const fn new(file_length: usize) -> Self {
        Self { left: file_length.saturating_mul(4).saturating_add(1 << 20) }
    }

    /// The tensor that `view` describes in `storage`; or an error message that completes a sentence beginning
    /// with its name.
    pub(super) fn gather(
        &mut self,
        view: &View<'_>,
        storage: &[u8],
    ) -> Result<RawTensor, &'static str> {
        let dtype = view.dtype;
        let (window, count) = window(view, storage)
            .and_then(|window| Some((window, element_count(&view.shape)?)))
            .ok_or("reaches past the end of its numbers")?;
        let length = count.checked_mul(dtype.size());
        self.left =
            length.and_then(|length| self.left.checked_sub(length)).ok_or("is too large")?;
        let copied = match contiguous(view, window, count) {
            Some(slice) => Some(slice.to_vec()),
            None => strided(view, window, count),
        };
        let data = copied.ok_or("reaches past the end of its numbers")?;
        Ok(RawTensor { shape: view.shape.clone(), dtype, data })
    }
}

/// The part of the storage that the view may use.
fn window<'s>(view: &View<'_>, storage: &'s [u8]) -> Option<&'s [u8]> {
    let size = view.storage.dtype.map_or(1, DType::size) as u64;
    let start = view.storage.window.checked_mul(size)?;
    let end = start.checked_add(view.storage.length.checked_mul(size)?)?;
    storage.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// The elements as they lie, where they lie in row-major order already.
fn contiguous<'s>(view: &View<'_>, window: &'s [u8], count: usize) -> Option<&'s [u8]> {
    let mut expected = 1_i64;
    for (&length, &stride) in view.shape.iter().zip(&view.strides).rev() {
        if length != 1 && stride != expected {
            return None;
        }
        expected = expected.checked_mul(length)?;
    }
    let size = view.dtype.size();
    let start = usize::try_from(view.offset).ok()?.checked_mul(size)?;
    window.get(start..start.checked_add(count.checked_mul(size)?)?)
}

/// The elements picked one by one; `None` when one lies outside the window.
fn strided(view: &View<'_>, window: &[u8], count: usize) -> Option<Vec<u8>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let size = view.dtype.size();
    // Lengths and strides as positions in the window. A dimension of one element is never stepped
    // along, whatever its stride.
    let mut dimensions = Vec::with_capacity(view.shape.len());
    let mut last = usize::try_from(view.offset).ok()?.checked_mul(size)?;
    let first = last;
    for (&length, &stride) in view.shape.iter().zip(&view.strides) {
        let length = usize::try_from(length).ok()?;
        if length > 1 {
            let stride = usize::try_from(stride).ok()?.checked_mul(size)?;
            last = last.checked_add(stride.checked_mul(length - 1)?)?;
            dimensions.push((length, stride));
        }
    }
    window.get(last..last.checked_add(size)?)?; // the farthest one, before memory is set aside
    let mut data = Vec::with_capacity(count.checked_mul(size)?);
    let mut index = vec![0; dimensions.len()];
    let mut at = first;
    for _ in 0..count {
        data.extend_from_slice(window.get(at..at + size)?);
        for (i, &(length, stride)) in index.iter_mut().zip(&dimensions).rev() {
            *i += 1;
            at += stride;
            if *i < length {
                break;
            }
            at -= stride * length;
            *i = 0;
        }
    }
    Some(data)
}
