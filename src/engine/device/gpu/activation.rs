//! Outputs of convolutions, in the layouts in which they are computed.

use tch::{TchError, Tensor};

use super::tasks::Raw;
use super::{Gpu, int};
use crate::engine::layers::channels_last;

/// Output of a convolution, N × C × H × W: one tensor, or four phases of half the height and width.
#[derive(Debug)]
pub struct Activation {
    pub(super) tensors: Vec<Tensor>,
    /// Index of the first number of each phase. (`picture`, `line`, `pixel`: strides, in numbers.)
    pub(super) first: [i64; 4],
    pub(super) picture: i64,
    pub(super) line: i64,
    pub(super) pixel: i64,
    pub(super) phases: i64,
    pub(super) batch: i64,
    pub(super) channels: i64,
    /// Height and width of one phase.
    pub(super) height: i64,
    pub(super) width: i64,
}

impl Activation {
    /// From a tensor N × C × H × W.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory; so below.
    pub fn from_tensor(x: &Tensor) -> Result<Self, TchError> {
        let (batch, channels, height, width) = x.size4()?;
        let (line, pixel) = (width * channels, channels);
        let tensors = vec![channels_last(x)?];
        let (first, phases, picture) = ([0; 4], 1, height * line);
        Ok(Activation {
            tensors,
            first,
            picture,
            line,
            pixel,
            phases,
            batch,
            channels,
            height,
            width,
        })
    }

    /// From a tensor N × 4C × H/2 × W/2: first C channels for the upper left pixel of each 2×2, then the
    /// upper right, the lower left, the lower right.
    pub fn from_channel_phases(x: &Tensor) -> Result<Self, TchError> {
        let all = Self::from_tensor(x)?;
        if all.channels % 4 != 0 {
            return Err(TchError::Shape(format!("{} channels of four pixels", all.channels)));
        }
        let channels = all.channels / 4;
        let first = [0, 1, 2, 3].map(|n| n * channels);
        Ok(Activation { first, phases: 4, channels, ..all })
    }

    /// From four tensors N × C × (H/2+1) × (W/2+1), in the same order, made by 2×2 kernels on a picture with
    /// a border of one pixel. For lower pixels the row is one further, for right ones the column.
    pub fn from_separate_phases(x: &[Tensor; 4]) -> Result<Self, TchError> {
        let one = Self::from_tensor(&x[0])?;
        if x.iter().any(|other| other.size() != x[0].size()) || one.height < 2 || one.width < 2 {
            return Err(TchError::Shape("four parts of different sizes".to_owned()));
        }
        let tensors = x.iter().map(channels_last).collect::<Result<_, _>>()?;
        let first = [0, one.pixel, one.line, one.line + one.pixel];
        let (height, width) = (one.height - 1, one.width - 1);
        Ok(Activation { tensors, first, phases: 4, height, width, ..one })
    }

    /// Height and width of the whole.
    pub(super) fn size(&self) -> (i64, i64) {
        let scale = if self.phases == 4 { 2 } else { 1 };
        (self.height * scale, self.width * scale)
    }
}

impl Gpu {
    /// A layer's numbers, checked.
    pub(super) fn raw(&self, made: &Activation) -> Result<Raw, TchError> {
        let Activation { channels, height, width, phases, batch, .. } = *made;
        if !self.takes(channels) || batch * height * width == 0 {
            let what = format!("{batch} × {channels} × {height} × {width}");
            return Err(TchError::Shape(format!("no kernel for a layer of {what}")));
        }
        let furthest = (batch - 1) * made.picture
            + (height - 1) * made.line
            + (width - 1) * made.pixel
            + channels;
        let mut from = [0; 4];
        for (n, from) in from.iter_mut().enumerate().take(phases as usize) {
            let tensor = made.tensors.get(n).or(made.tensors.first());
            let tensor = tensor.ok_or_else(|| TchError::Shape("an empty layer".to_owned()))?;
            let _ = self.place(tensor, self.kind)?;
            let first = made.first[n];
            let even = [first, made.picture, made.line, made.pixel].map(|step| step % self.wide());
            if (first + furthest) as usize > tensor.numel() || even != [0; 4] {
                return Err(TchError::Shape(format!("{made:?}")));
            }
            *from = tensor.data_ptr() as u64 + first as u64 * self.kind.elt_size_in_bytes() as u64;
        }
        Ok(Raw {
            from,
            picture: made.picture,
            line: made.line,
            pixel: int(made.pixel)?,
            phases: int(phases)?,
            height: int(height)?,
            width: int(width)?,
            channels: int(channels)?,
        })
    }
}
