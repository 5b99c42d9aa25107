//! Video frames as they travel from the decoder to the encoder.
//!
//! A frame is a set of 8-bit planes with its size, colorimetry and timestamp. Frames of video stay YUV all the
//! way (half the bytes of RGB, and preserved colours are exact); still pictures are RGB, since subsampled chroma
//! costs them visible quality.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Least time between two frames of a live run, a tick of Matroska, RTMP and FLV: closer ones would get the same
/// time there.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// Which RGB→Y'CbCr matrix the samples were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matrix {
    /// ITU-R BT.601 (standard definition), also SMPTE 170M.
    Bt601,
    /// ITU-R BT.709 (high definition).
    Bt709,
    /// ITU-R BT.2020 non-constant luminance (ultra high definition).
    Bt2020,
    /// SMPTE 240M (early high definition).
    Smpte240m,
    /// FCC 47 CFR 73.682.
    Fcc,
}

impl Matrix {
    /// The luma coefficients (Kr, Kb); Kg = 1 − Kr − Kb.
    pub fn luma_coefficients(self) -> (f64, f64) {
        match self {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
            Matrix::Smpte240m => (0.212, 0.087),
            Matrix::Fcc => (0.30, 0.11),
        }
    }
}

/// Range of the sample values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// Luma 16–235, chroma 16–240 ("video", "TV" range).
    Limited,
    /// 0–255 ("full", "PC" range).
    Full,
}

/// How Y'CbCr samples relate to R'G'B'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Colorimetry {
    /// The matrix.
    pub matrix: Matrix,
    /// The range of sample values.
    pub range: Range,
}

/// Size and colorimetry: what frames of one batch have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameInfo {
    /// Width in pixels.
    pub width: usize,
    /// Height in lines.
    pub height: usize,
    /// Colorimetry of the planes (ignored for RGB).
    pub colorimetry: Colorimetry,
}

/// How the bytes of a frame are laid out: one contiguous block, planes one after another, rows
/// without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Y at full size, then U and V at half width and height (rounded up).
    I420,
    /// Y, U and V, each at full size.
    Y444,
    /// Interleaved R, G, B.
    Rgb,
}

impl Layout {
    /// Width and height of each plane in samples; the RGB "plane" has three samples per pixel.
    pub fn planes(self, width: usize, height: usize) -> Vec<(usize, usize)> {
        match self {
            Layout::I420 => {
                let chroma = (width.div_ceil(2), height.div_ceil(2));
                vec![(width, height), chroma, chroma]
            }
            Layout::Y444 => vec![(width, height); 3],
            Layout::Rgb => vec![(3 * width, height)],
        }
    }

    /// Size of a whole frame, in bytes.
    pub fn bytes(self, width: usize, height: usize) -> usize {
        self.planes(width, height).iter().map(|(w, h)| w * h).sum()
    }
}

/// The samples of a frame, in one of the layouts of [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planes {
    /// 4:2:0, the usual output of decoders.
    I420(Bytes),
    /// 4:4:4, for video with an odd width or height.
    Y444(Bytes),
    /// Still pictures.
    Rgb(Bytes),
}

impl Planes {
    /// Samples in a given layout, from a block of bytes.
    pub fn new(layout: Layout, bytes: Bytes) -> Self {
        match layout {
            Layout::I420 => Planes::I420(bytes),
            Layout::Y444 => Planes::Y444(bytes),
            Layout::Rgb => Planes::Rgb(bytes),
        }
    }

    /// The layout of the samples.
    pub fn layout(&self) -> Layout {
        match self {
            Planes::I420(_) => Layout::I420,
            Planes::Y444(_) => Layout::Y444,
            Planes::Rgb(_) => Layout::Rgb,
        }
    }

    /// All samples.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Planes::I420(b) | Planes::Y444(b) | Planes::Rgb(b) => b,
        }
    }

    /// All samples, mutable.
    pub fn bytes_mut(&mut self) -> &mut Bytes {
        match self {
            Planes::I420(b) | Planes::Y444(b) | Planes::Rgb(b) => b,
        }
    }

    /// The block of samples, taken out of the frame.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Planes::I420(b) | Planes::Y444(b) | Planes::Rgb(b) => b,
        }
    }
}

/// One picture of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Size and colorimetry.
    pub info: FrameInfo,
    /// The samples.
    pub planes: Planes,
    /// Presentation time from the start of the stream (running time); none for a still picture.
    pub pts: Option<Duration>,
    /// Duration, if the container states one.
    pub duration: Option<Duration>,
}

impl Frame {
    /// Whether two frames can share a batch: same size, layout and colorimetry.
    pub fn batches_with(&self, other: &Frame) -> bool {
        self.info == other.info && self.planes.layout() == other.planes.layout()
    }
}

/// A block of bytes that returns to its [`FramePool`] when dropped, so that frames do not allocate.
#[derive(Debug)]
pub struct Bytes {
    data: Vec<u8>,
    pool: Option<Arc<FreeBlocks>>,
}

impl From<Vec<u8>> for Bytes {
    fn from(data: Vec<u8>) -> Self {
        Bytes { data, pool: None }
    }
}

impl Bytes {
    /// The block as a `Vec`, for readers that find its size while they read.
    pub fn vec_mut(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }
}

impl Clone for Bytes {
    /// A copy that belongs to no pool.
    fn clone(&self) -> Self {
        self.data.clone().into()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for Bytes {}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl AsMut<[u8]> for Bytes {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.put(std::mem::take(&mut self.data));
        }
    }
}

/// Unused blocks, at most `keep` of them.
#[derive(Debug)]
struct FreeBlocks {
    blocks: Mutex<Vec<Vec<u8>>>,
    keep: usize,
}

impl FreeBlocks {
    fn put(&self, block: Vec<u8>) {
        // A panic elsewhere leaves the list whole, so a poisoned lock is still good.
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() < self.keep {
            blocks.push(block);
        }
    }
}

/// Provides blocks of bytes and takes them back for reuse.
#[derive(Clone, Debug)]
pub struct FramePool(Arc<FreeBlocks>);

impl FramePool {
    /// A pool that keeps at most `keep` unused blocks.
    pub fn new(keep: usize) -> Self {
        FramePool(Arc::new(FreeBlocks { blocks: Mutex::new(Vec::new()), keep }))
    }

    /// A block of exactly `size` bytes, with arbitrary contents.
    pub fn take(&self, size: usize) -> Bytes {
        let block = self.0.blocks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut data = block.unwrap_or_default();
        data.resize(size, 0);
        Bytes { data, pool: Some(Arc::clone(&self.0)) }
    }

    /// Number of unused blocks in the pool.
    pub fn idle(&self) -> usize {
        self.0.blocks.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sizes_round_chroma_up() {
        assert_eq!(Layout::I420.planes(5, 3), vec![(5, 3), (3, 2), (3, 2)]);
        assert_eq!(Layout::I420.bytes(5, 3), 15 + 12);
        assert_eq!(Layout::Y444.bytes(5, 3), 45);
        assert_eq!(Layout::Rgb.bytes(5, 3), 45);
    }

    #[test]
    fn a_block_comes_back_to_its_pool_and_no_more_are_kept_than_asked() {
        let pool = FramePool::new(2);
        let blocks: Vec<_> = (0..3).map(|_| pool.take(10)).collect();
        let first = blocks[0].as_ptr();
        assert_eq!(pool.idle(), 0);
        drop(blocks);
        assert_eq!(pool.idle(), 2);
        let again = [pool.take(10), pool.take(8)];
        assert!(again.iter().any(|b| b.as_ptr() == first), "memory is used again");
        assert_eq!(again[1].len(), 8);
    }

    #[test]
    fn a_clone_belongs_to_no_pool() {
        let pool = FramePool::new(4);
        let block = pool.take(4);
        drop(block.clone());
        assert_eq!(pool.idle(), 0);
        drop(block);
        assert_eq!(pool.idle(), 1);
    }
}
