//! Frames ↔ RGB tensors, on the network's device.
//!
//! Y'CbCr as ITU-R BT.601-7 (§2.5), BT.709-6 (§3) and BT.2020-2 (table 4) define it, in their
//! common form: with E in 0–1 and luma coefficients Kr, Kg, Kb,
//!
//! ```text
//! Y' = Kr R' + Kg G' + Kb B'    Cb = (B' − Y') / 2(1 − Kb)    Cr = (R' − Y') / 2(1 − Kr)
//! limited range: codes 16 + 219 Y', 128 + 224 C     full range (JFIF): 255 Y', 128 + 255 C
//! ```
//!
//! Chroma of 4:2:0 lies where MPEG-2 and H.264 put it by default ("left"): on every second column
//! of luma, half way between two lines of it. It is enlarged by linear interpolation at those
//! places and reduced with the weights \[1 2 1\]/4 across and \[1 1\]/2 down; beyond the border the
//! outermost sample repeats.

mod matrix;

use std::sync::Arc;

use tch::{Kind, TchError, Tensor};

use super::device::Device;
use super::device::gpu::Gpu;
use super::device::tensor::{UniqueTensor, copied, copy, paste};
use super::threads;
use super::yuv_cpu::CpuConverter;
use crate::core::frame::{Colorimetry, Frame, FrameInfo, Layout, Matrix, Range};
use matrix::Codes;
pub use matrix::ColorMatrix;

/// Converts the frames of one size, layout and colorimetry.
///
/// Below, N is the number of frames, H and W are height and width, S is the number of samples of a
/// frame in the order of its bytes.
#[derive(Debug)]
pub struct Converter {
    info: FrameInfo,
    layout: Layout,
    device: Device,
    /// Matrices (3 × 3) and constants (3 × 1) of both directions.
    to_rgb: (Tensor, Tensor),
    from_rgb: (Tensor, Tensor),
    /// Factor from codes of luma to the scale 0–255.
    luma_scale: f64,
    /// Codes of black and white.
    luma_range: (f64, f64),
    /// Converts in one pass, on a CPU.
    on_cpu: Option<CpuConverter>,
    /// Kernels on a GPU, for 4:2:0.
    kernels: Option<Kernels>,
}

/// A GPU's kernels, with rows and constants of both ways.
#[derive(Debug)]
struct Kernels {
    gpu: Arc<Gpu>,
    to_rgb: ([f32; 9], [f32; 3]),
    from_rgb: ([f32; 9], [f32; 3]),
}

impl Converter {
    /// For frames like these. Of RGB frames the colorimetry is ignored: their luma is that of
    /// BT.601 in full range, as in JPEG.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn new(info: FrameInfo, layout: Layout, device: Device) -> Result<Self, TchError> {
        let colorimetry = match layout {
            Layout::Rgb => Colorimetry { matrix: Matrix::Bt601, range: Range::Full },
            Layout::I420 | Layout::Y444 => info.colorimetry,
        };
        let place = |affine: ColorMatrix| {
            let float = (Kind::Float, device.torch());
            let rows = Tensor::f_from_slice(affine.rows.as_flattened())?.f_view([1, 3, 3])?;
            let constants = Tensor::f_from_slice(&affine.constants)?.f_view([1, 3, 1])?;
            let to = |t: Tensor| t.f_to_dtype_layout(float, false, false);
            Ok::<_, TchError>((to(rows)?, to(constants)?))
        };
        let (to_rgb, from_rgb) =
            (ColorMatrix::to_rgb(colorimetry), ColorMatrix::from_rgb(colorimetry));
        let Codes { black, luma, .. } = Codes::of(colorimetry.range);
        Ok(Converter {
            info,
            layout,
            device,
            luma_scale: 1.0 / luma,
            luma_range: (black, black + 255.0 * luma),
            to_rgb: place(to_rgb)?,
            from_rgb: place(from_rgb)?,
            on_cpu: (!device.is_cuda())
                .then(|| CpuConverter::new(layout, (info.width, info.height), to_rgb, from_rgb)),
            kernels: None,
        })
    }

    /// Uses these GPU kernels, if they support this layout.
    #[must_use]
    pub fn with_kernels(mut self, gpu: Option<&Arc<Gpu>>) -> Self {
        let numbers = |affine: ColorMatrix| {
            let rows: [f64; 9] = std::array::from_fn(|n| affine.rows[n / 3][n % 3]);
            (rows.map(|x| x as f32), affine.constants.map(|x| x as f32))
        };
        let colorimetry = self.info.colorimetry;
        let gpu = gpu.filter(|_| self.layout == Layout::I420).cloned();
        if let Some(gpu) = gpu {
            let to_rgb = numbers(ColorMatrix::to_rgb(colorimetry));
            let from_rgb = numbers(ColorMatrix::from_rgb(colorimetry));
            self.kernels = Some(Kernels { gpu, to_rgb, from_rgb });
            // Of tests, where the CPU runs the kernels.
            self.on_cpu = None;
        }
        self
    }

    /// Whether it is for frames like this one.
    pub fn fits(&self, frame: &Frame) -> bool {
        self.info == frame.info && self.layout == frame.planes.layout()
    }

    /// The bytes of frames that all [fit](Self::fits), N × S, on the device.
    ///
    /// # Errors
    /// When a frame has more or fewer bytes than its layout, or the device lacks memory.
    pub fn upload(&self, frames: &[Frame]) -> Result<Tensor, TchError> {
        // Not made from a slice: libtorch would first fill the memory with zeros on all its threads, which
        // then spin for about as long as a lite network takes.
        let memory = Tensor::f_empty(self.shape(frames), (Kind::Uint8, tch::Device::Cpu))?;
        self.upload_through(frames, memory)
    }

    /// N and S of frames.
    pub(super) fn shape(&self, frames: &[Frame]) -> [i64; 2] {
        [frames.len() as i64, self.layout.bytes(self.info.width, self.info.height) as i64]
    }

    /// The same through the given host memory, N × S bytes. If it is page-locked, the copy to the device may
    /// still be running when this returns.
    pub(super) fn upload_through(
        &self,
        frames: &[Frame],
        mut samples: Tensor,
    ) -> Result<Tensor, TchError> {
        let size = self.layout.bytes(self.info.width, self.info.height);
        for (n, frame) in frames.iter().enumerate() {
            let bytes = frame.planes.bytes();
            if bytes.len() != size {
                let found = bytes.len();
                return Err(TchError::Shape(format!("a frame of {found} bytes, expected {size}")));
            }
            paste(bytes, &mut samples, n * size)?;
        }
        samples.f_to_device_(self.device.torch(), Kind::Uint8, true, false)
    }

    /// R', G', B', N × 3 × H × W in single precision on the scale 0–255, clamped to it: colours
    /// outside of RGB occur in Y'CbCr, but no network has ever seen them.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn to_rgb(&self, samples: &Tensor) -> Result<Tensor, TchError> {
        let (n, _) = samples.size2()?;
        let (h, w) = self.size();
        if let Some(Kernels { gpu, to_rgb: (rows, constants), .. }) = &self.kernels {
            return gpu.read_frames(samples, (h, w), *rows, *constants);
        }
        if let Some(direct) = &self.on_cpu {
            let mut rgb = UniqueTensor::<f32>::new(&[n, 3, h, w])?;
            let samples = copied::<u8>(&samples.f_contiguous()?)?;
            let size = (samples.len() / n.max(1) as usize, 3 * (h * w) as usize);
            let frames = samples.chunks_exact(size.0.max(1));
            let planes = rgb.numbers().chunks_exact_mut(size.1.max(1));
            in_pool(|| frames.zip(planes).for_each(|(frame, rgb)| direct.to_rgb(frame, rgb)))?;
            return Ok(rgb.into_tensor());
        }
        match self.layout {
            Layout::Rgb => {
                let interleaved = samples.f_view([n, h, w, 3])?.f_permute([0, 3, 1, 2])?;
                interleaved.f_to_kind(Kind::Float)
            }
            Layout::Y444 => {
                let codes = samples.f_to_kind(Kind::Float)?.f_view([n, 3, h * w])?;
                let mut rgb = affine(&self.to_rgb, &codes)?.f_view([n, 3, h, w])?;
                rgb.f_clamp_(0.0, 255.0)
            }
            Layout::I420 => {
                let (ch, cw) = ((h + 1) / 2, (w + 1) / 2);
                let luma = samples.f_narrow(1, 0, h * w)?.f_to_kind(Kind::Float)?;
                let luma = luma.f_view([n, 1, h, w])?.f_mul_scalar_(self.luma_scale)?;
                let chroma = samples.f_narrow(1, h * w, 2 * ch * cw)?.f_to_kind(Kind::Float)?;
                // The matrix is applied before the enlargement, which is linear too: a quarter of the work.
                let matrix = (self.to_rgb.0.f_narrow(2, 1, 2)?, self.to_rgb.1.shallow_clone());
                let share = affine(&matrix, &chroma.f_view([n, 2, ch * cw])?)?;
                let share = enlarge(&share.f_view([n, 3, ch, cw])?, h, w)?;
                share.f_add(&luma)?.f_clamp_(0.0, 255.0)
            }
        }
    }

    /// Samples of a frame from R', G', B' (N × 3 × H × W, 0–255): N × S in single precision on the
    /// scale of the codes, not yet rounded.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn from_rgb(&self, rgb: &Tensor) -> Result<Tensor, TchError> {
        let n = rgb.size4()?.0;
        let (h, w) = self.size();
        match self.layout {
            Layout::Rgb => {
                let interleaved = rgb.f_permute([0, 2, 3, 1])?.f_contiguous()?;
                interleaved.f_view([n, h * w * 3])
            }
            Layout::Y444 => {
                let codes = affine(&self.from_rgb, &rgb.f_reshape([n, 3, h * w])?)?;
                codes.f_view([n, 3 * h * w])
            }
            Layout::I420 => {
                let codes = affine(&self.from_rgb, &rgb.f_reshape([n, 3, h * w])?)?;
                let luma = codes.f_narrow(1, 0, 1)?.f_view([n, h * w])?;
                let chroma = reduce(&codes.f_narrow(1, 1, 2)?.f_view([n, 2, h, w])?)?;
                Tensor::f_cat(&[luma, chroma.f_reshape([n, -1])?], 1)
            }
        }
    }

    /// Writes R', G', B' (N × 3 × H × W, clamped to 0–255) into the frames: [`from_rgb`](Self::from_rgb)
    /// and [`download`](Self::download) in one.
    ///
    /// # Errors
    /// When the device or the machine lacks memory.
    pub fn store(&self, rgb: &Tensor, frames: &mut [Frame]) -> Result<(), TchError> {
        let Some(direct) = &self.on_cpu else {
            return fill(&self.bytes(rgb)?, frames);
        };
        let rgb = rgb.f_contiguous()?;
        let mut planes = vec![0.0; 3 * self.info.width * self.info.height];
        for (n, frame) in frames.iter_mut().enumerate() {
            copy(&rgb, n * planes.len(), &mut planes)?;
            in_pool(|| direct.from_rgb(&planes, frame.planes.bytes_mut()))?;
        }
        Ok(())
    }

    /// Whether [`store`](Self::store) writes into frames without a tensor of their samples.
    pub(super) fn stores_directly(&self) -> bool {
        self.on_cpu.is_some()
    }

    /// Samples of a frame from R', G', B' (N × 3 × H × W, clamped to 0–255), rounded: N × S bytes, on the
    /// device.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub(super) fn bytes(&self, rgb: &Tensor) -> Result<Tensor, TchError> {
        if let Some(Kernels { gpu, from_rgb: (rows, constants), .. }) = &self.kernels {
            return gpu.write_frames(rgb, *rows, *constants);
        }
        rounded(&self.from_rgb(&rgb.f_clamp(0.0, 255.0)?)?)
    }

    /// Codes of luma alone from R', G', B' (N × 3 × H × W, 0–255, of any height and width): N × 1 ×
    /// H × W in single precision, not rounded.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn luma(&self, rgb: &Tensor) -> Result<Tensor, TchError> {
        let (n, _, h, w) = rgb.size4()?;
        let row = (self.from_rgb.0.f_narrow(1, 0, 1)?, self.from_rgb.1.f_narrow(1, 0, 1)?);
        affine(&row, &rgb.f_reshape([n, 3, h * w])?)?.f_view([n, 1, h, w])
    }

    /// Combines the luma of another picture (N × 1 × H × W, codes, clamped to those between black and white) with
    /// the colour of `samples`. For Y'CbCr the result is the luma plane alone, so that chroma is never touched; for
    /// RGB it is all samples, each of R', G', B' moved by as much as luma moves. N × L, not rounded.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn with_luma(&self, samples: &Tensor, luma: &Tensor) -> Result<Tensor, TchError> {
        let n = samples.size2()?.0;
        let (black, white) = self.luma_range;
        let luma = luma.f_clamp(black, white)?;
        match self.layout {
            Layout::I420 | Layout::Y444 => luma.f_reshape([n, -1]),
            Layout::Rgb => {
                let rgb = self.to_rgb(samples)?;
                let change = luma.f_sub(&self.luma(&rgb)?)?;
                self.from_rgb(&rgb.f_add(&change)?.f_clamp_(0.0, 255.0)?)
            }
        }
    }

    /// Writes samples (N × L) into the first L bytes of each frame, rounded and clamped to 0–255.
    ///
    /// # Errors
    /// When the device or the machine lacks memory.
    pub fn download(&self, samples: &Tensor, frames: &mut [Frame]) -> Result<(), TchError> {
        fill(&rounded(samples)?, frames)
    }

    /// Height and width.
    pub(super) fn size(&self) -> (i64, i64) {
        // Lossless: a frame of 2^63 lines has no bytes to convert.
        (self.info.height as i64, self.info.width as i64)
    }
}

/// Samples as bytes: rounded, and clamped to 0–255.
pub(super) fn rounded(samples: &Tensor) -> Result<Tensor, TchError> {
    samples.f_round()?.f_clamp_(0.0, 255.0)?.f_to_kind(Kind::Uint8)
}

/// Writes bytes (N × L) into the first L bytes of each frame.
///
/// # Errors
/// When a frame is too small, or the machine lacks memory.
pub(super) fn fill(samples: &Tensor, frames: &mut [Frame]) -> Result<(), TchError> {
    let samples = samples.f_to_device(tch::Device::Cpu)?;
    let length = samples.size2()?.1 as usize;
    for (n, frame) in (0..).zip(frames) {
        let room = frame.planes.bytes_mut().get_mut(..length);
        let room = room.ok_or_else(|| TchError::Shape("a frame that is too small".into()))?;
        samples.f_get(n)?.f_copy_data_u8(room, length)?;
    }
    Ok(())
}

/// Runs a task on the engine's thread pool.
fn in_pool(task: impl FnOnce() + Send) -> Result<(), TchError> {
    let pool = threads::pool(threads::count());
    pool.map_err(|error| TchError::Shape(error.to_string()))?.install(task);
    Ok(())
}

/// `matrix · x + constants` for x of N × channels × pixels.
fn affine((matrix, constants): &(Tensor, Tensor), x: &Tensor) -> Result<Tensor, TchError> {
    let (n, _, pixels) = x.size3()?;
    let (_, rows, columns) = matrix.size3()?;
    let matrix = matrix.f_expand([n, rows, columns], false)?;
    constants.f_expand([n, rows, pixels], false)?.f_baddbmm(&matrix, x, 1.0, 1.0)
}

/// N × C × ⌈height/2⌉ × ⌈width/2⌉ → N × C × height × width: samples between samples, laid side by
/// side. That takes a third of the time of torch's own interpolations.
fn enlarge(chroma: &Tensor, height: i64, width: i64) -> Result<Tensor, TchError> {
    let (n, c, ch, cw) = chroma.size4()?;
    // One line more above and below and one column more to the right: border samples repeat.
    let bordered = chroma.f_replication_pad2d([0, 1, 1, 1])?;
    let lines = |first| bordered.f_narrow(2, first, ch);
    // Down, a line of luma is a quarter of the way from its chroma line to the next or last one.
    let upper = lines(1)?.f_lerp(&lines(0)?, 0.25)?;
    let lower = lines(1)?.f_lerp(&lines(2)?, 0.25)?;
    let high = Tensor::f_stack(&[upper, lower], 3)?.f_view([n, c, 2 * ch, cw + 1])?;
    // Across, every second column lies on one of chroma, the others half way between two.
    let on = high.f_narrow(3, 0, cw)?;
    let between = on.f_lerp(&high.f_narrow(3, 1, cw)?, 0.5)?;
    let full = Tensor::f_stack(&[on, between], 4)?.f_view([n, c, 2 * ch, 2 * cw])?;
    full.f_narrow(2, 0, height)?.f_narrow(3, 0, width)
}

/// N × C × H × W → N × C × ⌈H/2⌉ × ⌈W/2⌉.
fn reduce(chroma: &Tensor) -> Result<Tensor, TchError> {
    let (_, _, h, w) = chroma.size4()?;
    let even = match (h % 2, w % 2) {
        (0, 0) => chroma.shallow_clone(),
        (down, across) => chroma.f_replication_pad2d([0, across, 0, down])?,
    };
    let every_second = |t: &Tensor, dim, first| t.f_slice(dim, first, None, 2);
    let down = every_second(&even, 2, 0)?.f_add(&every_second(&even, 2, 1)?)?;
    let (on, right) = (every_second(&down, 3, 0)?, every_second(&down, 3, 1)?);
    let columns = on.size4()?.3;
    let left = Tensor::f_cat(&[on.f_narrow(3, 0, 1)?, right.f_narrow(3, 0, columns - 1)?], 3)?;
    // Half for the two lines, quarters for [1 2 1].
    on.f_mul_scalar(2.0)?.f_add_(&right)?.f_add_(&left)?.f_mul_scalar_(0.125)
}
