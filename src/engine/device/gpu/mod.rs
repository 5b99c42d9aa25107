//! Our own GPU kernels: everything between the network's convolutions, in one pass each.
//!
//! `kernels.cu` is compiled at run time, by NVRTC, for the device and the type of the numbers; neither
//! building nor starting the program needs CUDA. Tests compile the same source for the CPU (`host`).
//! Kernels are queued behind libtorch's work on the same device, on its default stream.
//!
//! Every function checks its tensors, so that no kernel can access memory outside them.

#![allow(unsafe_code)]

mod activation;
mod cuda;
mod frames;
#[cfg(test)]
mod host;
mod nvrtc;
mod tasks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tch::{Kind, TchError, Tensor};

use super::Device;
use crate::engine::layers::channels_last;
use crate::engine::precision::Precision;
pub use activation::Activation;
pub use frames::Mark;
use tasks::{Apply, Finish, KernelArgs, Moments, ScaleShift, Stem};

/// Channels of the result of [`Gpu::stem`]: R, G and B of four pixels, and zeros.
pub const BLOCK: i64 = 16;
/// Pixels, in each direction, that one position of the input of [`Gpu::finish`] represents.
pub const TILE: i64 = 4;
/// Threads of a block.
const THREADS: usize = 256;
/// Pixels across of a block of `finish`.
const ACROSS: usize = 64;
/// Channels, and shares of the chunks, of a block of `affine`.
const CHANNELS: usize = 32;
const LANES: usize = 8;
/// Largest number of parts of a picture that are summed in parallel: enough for all processors of a large
/// GPU.
const CHUNKS: usize = 528;
/// Pixels that a thread adds up before it looks for more work.
const RUN: usize = 4;

/// The kernels on a device, for one type of numbers.
#[derive(Debug)]
pub struct Gpu {
    way: Backend,
    kind: Kind,
    device: tch::Device,
}

#[derive(Debug)]
enum Backend {
    Cuda(cuda::Cuda),
    #[cfg(test)]
    Host(host::Host),
    /// Every launch fails, as on a device that does not take the kernels.
    #[cfg(test)]
    Failing,
}

/// What lies beyond a picture's border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum BorderMode {
    /// Zeros.
    Zero = 0,
    /// The picture mirrored at the middle of its border pixels.
    Mirror = 1,
    /// The outermost pixels.
    Repeat = 2,
}

/// How the next convolution reads a layer: padding, border and enlargement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Pixels before and behind, each way, of the enlarged picture.
    pub pad: i64,
    /// What the padding shows.
    pub border: BorderMode,
    /// 2: each pixel is repeated 2×2; otherwise 1.
    pub enlarge: i64,
}

impl Gpu {
    /// Opens a GPU, once for each device and precision.
    ///
    /// # Errors
    /// Why there are no kernels: no GPU, no NVRTC, or what CUDA said.
    pub fn open(device: Device, precision: Precision) -> Result<Arc<Self>, String> {
        static OPEN: Mutex<BTreeMap<(usize, String), Arc<Gpu>>> = Mutex::new(BTreeMap::new());
        let tch::Device::Cuda(index) = device.torch() else {
            return Err("not a GPU".to_owned());
        };
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (index, precision.to_string());
        if let Some(gpu) = open.get(&name) {
            return Ok(gpu.clone());
        }
        let way = Backend::Cuda(cuda::Cuda::open(index, precision)?);
        let gpu = Arc::new(Gpu { way, kind: precision.kind(), device: device.torch() });
        open.insert(name, gpu.clone());
        Ok(gpu)
    }

    /// The kernels compiled for the CPU.
    #[cfg(test)]
    pub fn on_host(precision: Precision) -> Arc<Self> {
        let way = Backend::Host(host::Host::open(precision));
        Arc::new(Gpu { way, kind: precision.kind(), device: tch::Device::Cpu })
    }

    /// Kernels whose every launch fails.
    #[cfg(test)]
    pub fn failing(precision: Precision) -> Arc<Self> {
        Arc::new(Gpu { way: Backend::Failing, kind: precision.kind(), device: tch::Device::Cpu })
    }

    /// Whether layers with this number of channels are supported: whole packs, and no more packs than a block
    /// has threads.
    pub fn takes(&self, channels: i64) -> bool {
        let wide = self.wide();
        channels > 0 && channels % wide == 0 && channels / wide <= THREADS as i64
    }

    /// Numbers in a pack of 16 bytes.
    fn wide(&self) -> i64 {
        if self.kind == Kind::Float { 4 } else { 8 }
    }

    /// A picture, N × 3 × H × W in single precision, as the first convolution reads it: 2×2 pixels
    /// beside each other as one, N × [`BLOCK`] × H'/2 + `pad` × W'/2 + `pad`, less `middle`. H' and W'
    /// are the picture's height and width, mirrored to multiples of `multiple`; `pad` is even.
    ///
    /// # Errors
    /// When libtorch or CUDA fail; so below.
    pub fn stem(
        &self,
        planes: &Tensor,
        multiple: i64,
        form: Form,
        middle: f32,
    ) -> Result<Tensor, TchError> {
        let (batch, channels, height, width) = planes.size4()?;
        let pad = form.pad;
        let even = multiple > 0 && multiple % 2 == 0 && pad >= 0 && pad % 2 == 0;
        if channels != 3 || batch * height * width == 0 || !even {
            let what = format!(
                "{batch} × {channels} × {height} × {width} to multiples of {multiple}, padded by {pad}"
            );
            return Err(TchError::Shape(what));
        }
        let whole = |length: i64| (length + multiple - 1) / multiple * multiple;
        let (whole_height, whole_width) = (whole(height), whole(width));
        let planes = self.place(&planes.f_contiguous()?, Kind::Float)?;
        let (lines, across) = (whole_height / 2 + pad, whole_width / 2 + pad);
        let to = self.layer(batch, lines, across, BLOCK)?;
        let task = Stem {
            planes: planes.data_ptr() as u64,
            to: to.data_ptr() as u64,
            height: int(height)?,
            width: int(width)?,
            whole_height: int(whole_height)?,
            whole_width: int(whole_width)?,
            pad: int(pad)?,
            border: form.border as i32,
            middle,
        };
        let grid = [(across as usize).div_ceil(THREADS), lines as usize, batch as usize];
        // SAFETY: both tensors are on the device and as large as the task says.
        unsafe { self.launch(&task, grid, [THREADS, 1]) }?;
        to.f_permute([0, 3, 1, 2])
    }

    /// Scale and shift (N × C each) by which an instance norm with this weight and bias (C numbers each)
    /// transforms each channel of each picture.
    pub fn norm(
        &self,
        made: &Activation,
        (weight, bias): (&Tensor, &Tensor),
        epsilon: f64,
    ) -> Result<(Tensor, Tensor), TchError> {
        let raw = self.raw(made)?;
        let Activation { batch, channels, .. } = *made;
        let (weight, bias) = (self.numbers(weight, channels)?, self.numbers(bias, channels)?);
        let packs = (channels / self.wide()) as usize;
        let lanes = THREADS / packs;
        let segment = RUN * lanes;
        let segments = (made.width as usize).div_ceil(segment);
        let chunks = ((made.phases * made.height) as usize * segments).clamp(1, CHUNKS);
        let float = (Kind::Float, self.device);
        let parts = Tensor::f_empty([batch, chunks as i64, 3, channels], float)?;
        let scale = Tensor::f_empty([batch, channels], float)?;
        let shift = scale.f_empty_like()?;
        let task = Moments {
            made: raw,
            parts: parts.data_ptr() as u64,
            chunks: chunks as i32,
            segment: segment as i32,
        };
        // SAFETY: `raw` has checked the layer; the parts have room for the sums of all chunks.
        unsafe { self.launch(&task, [chunks, batch as usize, 1], [packs, lanes]) }?;
        let task = ScaleShift {
            parts: parts.data_ptr() as u64,
            weight: weight.data_ptr() as u64,
            bias: bias.data_ptr() as u64,
            scale: scale.data_ptr() as u64,
            shift: shift.data_ptr() as u64,
            chunks: chunks as i32,
            channels: int(channels)?,
            epsilon: epsilon as f32,
        };
        let grid = [(channels as usize).div_ceil(CHANNELS), batch as usize, 1];
        // SAFETY: all tensors are on the device and as large as the task says.
        unsafe { self.launch(&task, grid, [CHANNELS, LANES]) }?;
        Ok((scale, shift))
    }

    /// What the next convolution reads: times `scale` plus `shift` (C numbers each, or N × C), then
    /// either plus `skip`, a layer of the same size with a border of one pixel around, or 0 where it is
    /// below.
    pub fn apply(
        &self,
        made: &Activation,
        (scale, shift): (&Tensor, &Tensor),
        skip: Option<&Tensor>,
        form: Form,
    ) -> Result<Tensor, TchError> {
        let raw = self.raw(made)?;
        let Activation { batch, channels, .. } = *made;
        let (height, width) = made.size();
        let norms = scale.dim() == 2;
        let count = if norms { batch * channels } else { channels };
        let (scale, shift) = (self.numbers(scale, count)?, self.numbers(shift, count)?);
        let skip = skip.map(channels_last).transpose()?;
        if let Some(skip) = &skip {
            let expected = [batch, channels, height + 2, width + 2];
            if skip.size() != expected {
                let found = skip.size();
                return Err(TchError::Shape(format!("skips {found:?}, expected {expected:?}")));
            }
            let _ = self.place(skip, self.kind)?;
        }
        if form.pad < 0 || !(1..=2).contains(&form.enlarge) {
            return Err(TchError::Shape(format!("no layer can be read as {form:?}")));
        }
        let padded = |length: i64| length * form.enlarge + 2 * form.pad;
        let (lines, across) = (padded(height), padded(width));
        let to = self.layer(batch, lines, across, channels)?;
        let task = Apply {
            made: raw,
            scale: scale.data_ptr() as u64,
            shift: shift.data_ptr() as u64,
            skip: skip.as_ref().map_or(0, |skip| skip.data_ptr() as u64),
            to: to.data_ptr() as u64,
            height: int(lines)?,
            width: int(across)?,
            pad: int(form.pad)?,
            border: form.border as i32,
            enlarge: int(form.enlarge)?,
            norms: i32::from(norms),
        };
        let packs = (channels / self.wide()) as usize;
        let beside = THREADS / packs;
        let grid = [(across as usize).div_ceil(beside), lines as usize, batch as usize];
        // SAFETY: all tensors are on the device and as large as the task says.
        unsafe { self.launch(&task, grid, [packs, beside]) }?;
        to.f_permute([0, 3, 1, 2])
    }

    /// The upper left H × W pixels of what the last convolution made, N × 48 × lines × columns, a place
    /// for 4×4 pixels: line, then R, G or B, then column of the pixel. N × 3 × H × W in single precision,
    /// plus `bias`.
    pub fn finish(
        &self,
        made: &Tensor,
        (height, width): (i64, i64),
        bias: [f32; 3],
    ) -> Result<Tensor, TchError> {
        let (batch, channels, lines, columns) = made.size4()?;
        let fits = (1..=TILE * lines).contains(&height) && (1..=TILE * columns).contains(&width);
        if channels != 3 * TILE * TILE || batch == 0 || !fits {
            let what = format!("{channels} × {lines} × {columns} for {height} × {width} pixels");
            return Err(TchError::Shape(what));
        }
        let from = self.place(&channels_last(made)?, self.kind)?;
        let planes = Tensor::f_empty([batch, 3, height, width], (Kind::Float, self.device))?;
        let task = Finish {
            from: from.data_ptr() as u64,
            planes: planes.data_ptr() as u64,
            lines: int(lines)?,
            columns: int(columns)?,
            height: int(height)?,
            width: int(width)?,
            bias,
        };
        let (lines, tile) = (height as usize, TILE as usize);
        let grid = [(width as usize).div_ceil(ACROSS), lines.div_ceil(tile), batch as usize];
        // SAFETY: both tensors are on the device and as large as the task says.
        unsafe { self.launch(&task, grid, [ACROSS, tile]) }?;
        Ok(planes)
    }

    /// A layer that is to be written: N × H × W × C.
    fn layer(
        &self,
        batch: i64,
        height: i64,
        width: i64,
        channels: i64,
    ) -> Result<Tensor, TchError> {
        self.place(
            &Tensor::f_empty([batch, height, width, channels], (self.kind, self.device))?,
            self.kind,
        )
    }

    /// The same tensor, which a kernel may read: of this type, on the device, on a multiple of 16 bytes.
    fn place(&self, x: &Tensor, kind: Kind) -> Result<Tensor, TchError> {
        if x.kind() != kind
            || x.device() != self.device
            || !(x.data_ptr() as usize).is_multiple_of(16)
        {
            let (kind, device) = (x.kind(), x.device());
            return Err(TchError::Kind(format!("{kind:?} on {device:?} for a kernel's numbers")));
        }
        Ok(x.shallow_clone())
    }

    /// Checks that `x` has `count` numbers in single precision.
    fn numbers(&self, x: &Tensor, count: i64) -> Result<Tensor, TchError> {
        if x.numel() as i64 != count {
            return Err(TchError::Shape(format!("{} numbers for {count}", x.numel())));
        }
        self.place(&x.f_contiguous()?, Kind::Float)
    }

    /// # Safety
    /// What the task points to is on the device and as large as the kernel expects.
    unsafe fn launch<T: KernelArgs>(
        &self,
        task: &T,
        grid: [usize; 3],
        block: [usize; 2],
    ) -> Result<(), TchError> {
        // What CUDA takes at most, along the second and third side.
        if grid[1].max(grid[2]) > 65_535 {
            return Err(TchError::Shape(format!("a picture too large for a kernel: {grid:?}")));
        }
        let (grid, block) = (grid.map(|n| n as u32), block.map(|n| n as u32));
        match &self.way {
            // SAFETY: as the caller says.
            Backend::Cuda(cuda) => unsafe { cuda.launch(task, grid, block) },
            #[cfg(test)]
            // SAFETY: as the caller says.
            Backend::Host(host) => unsafe { host.launch(task, grid, block) },
            #[cfg(test)]
            Backend::Failing => Err("CUDA_ERROR_INVALID_VALUE".to_owned()),
        }
        .map_err(|error| TchError::Torch(format!("kernel '{}': {error}", T::NAME)))
    }
}

fn int(x: i64) -> Result<i32, TchError> {
    i32::try_from(x).map_err(|_| TchError::Shape(format!("{x} pixels are too many for a kernel")))
}
