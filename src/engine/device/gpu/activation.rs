//! Layers as convolutions leave them.

use tch::{TchError, Tensor};

use super::tasks::Raw;
use super::{Gpu, int};
use crate::engine::layers::channels_last;

/// What a convolution made, N × C × H × W: as it is, or in four parts of half the height and width.
#[derive(Debug)]
pub struct Activation {
    pub(super) tensors: Vec<Tensor>,
    /// The first number of each phase.
    pub(super) first: [i64; 4],
    pub(super) picture: i64,
    pub(super) line: i64,
    pub(super) pixel: i64,
    pub(super) phases: i64,
    pub(super) batch: i64,
    pub(super) channels: i64,
    /// Of a phase.
    pub(super) height: i64,
    pub(super) width: i64,
}

impl Activation {
    /// Of a tensor N × C × H × W.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory; so below.
    pub fn plain(x: &Tensor) -> Result<Self, TchError> {
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

    /// Of a tensor N × 4C × H/2 × W/2: C channels of the upper left pixel of each 2×2, of the upper
    /// right, the lower left, the lower right.
    pub fn within(x: &Tensor) -> Result<Self, TchError> {
        let all = Self::plain(x)?;
        if all.channels % 4 != 0 {
            return Err(TchError::Shape(format!("{} channels of four pixels", all.channels)));
        }
        let channels = all.channels / 4;
        let first = [0, 1, 2, 3].map(|n| n * channels);
        Ok(Activation { first, phases: 4, channels, ..all })
    }

    /// Of four tensors N × C × H/2+1 × W/2+1, in the same order, of kernels of 2×2 that saw a border of
    /// one pixel around: the pixel at a line and column is that of the tensor there, or one further for
    /// those below or to the right.
    pub fn apart(x: &[Tensor; 4]) -> Result<Self, TchError> {
        let one = Self::plain(&x[0])?;
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
