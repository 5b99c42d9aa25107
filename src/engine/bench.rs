//! Measures a model's speed: the network alone, whole frames, and the machine's peak arithmetic.

use std::time::{Duration, Instant};

use tch::{Kind, TchError, Tensor};

use super::device::Device;
use super::network::Network;
use super::precision::Precision;
use super::stylizer::NetworkStylizer;
use super::{failed_on, guarded};
use crate::core::frame::{Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range};
use crate::core::stylizer::{StylizeError, Stylizer};

/// Least and largest number of measured runs.
const LEAST: usize = 3;
const MOST: usize = 200;
/// Passes queued on a GPU at once, so that it is never idle between them.
const GPU_PASSES: usize = 10;
/// Sides of the square matrices for the peak, tried in order while a product takes less than [`LONG`].
const SIDES: [i64; 5] = [512, 1024, 2048, 4096, 8192];
const LONG: Duration = Duration::from_millis(100);
const PRODUCTS: usize = 5;

/// Parameters of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Size of the pictures, pixels.
    pub width: usize,
    /// Size of the pictures, lines.
    pub height: usize,
    /// Pictures in one pass.
    pub batch: usize,
    /// Approximate duration of each of the two measurements; at least three runs are made, however long they
    /// take.
    pub budget: Duration,
}

/// The median of several passes after warming up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Seconds per pass, which is a whole batch.
    pub seconds: f64,
    /// Number of measured passes.
    pub repeats: usize,
}

/// Measures the network alone: from float tensors on the device (RGB 0–255) to float tensors.
///
/// # Errors
/// [`StylizeError::OutOfMemory`], or [`StylizeError::Failed`].
pub fn network(stylizer: &NetworkStylizer, job: &Job) -> Result<Timing, StylizeError> {
    let model = stylizer.model();
    let device = model.device();
    let Job { width, height, batch, budget } = *job;
    let failed = |e: TchError| failed_on(&e, width, height, batch);
    if !model.fits(width * height * batch) {
        return Err(StylizeError::OutOfMemory { width, height, batch });
    }
    let shape = [batch as i64, 3, height as i64, width as i64];
    let picture = guarded(
        || Tensor::f_rand(shape, (Kind::Float, device.torch())).and_then(|x| x.f_mul_scalar(255.0)),
        |e| e,
    );
    let picture = picture.map_err(failed)?;
    let passes = if device.is_cuda() { GPU_PASSES } else { 1 };
    repeat(budget, || {
        let since = Instant::now();
        for pass in 1..=passes {
            let painted = guarded(|| model.forward(&picture), failed)?;
            // A GPU has finished when a value of the last result has arrived on the CPU.
            if device.is_cuda() && pass == passes {
                painted.f_double_value(&[0, 0, 0, 0]).map_err(failed)?;
            }
        }
        Ok(since.elapsed().as_secs_f64() / passes as f64)
    })
}

/// Measures how long a network that makes textures takes for one of this size.
///
/// # Errors
/// As [`network`].
pub fn textures(network: &Network, job: &Job) -> Result<Timing, StylizeError> {
    let Job { width, height, budget, .. } = *job;
    repeat(budget, || {
        let since = Instant::now();
        let failed = |error: TchError| failed_on(&error, width, height, 1);
        let made = guarded(|| network.texture((width, height), 1), failed)?;
        made.f_double_value(&[0, 0, 0, 0]).map_err(failed)?;
        Ok(since.elapsed().as_secs_f64())
    })
}

/// Measures whole frames, from I420 to I420 in memory, as in a video. None if a side is odd, which I420
/// cannot hold.
///
/// # Errors
/// As [`network`].
pub fn frames(stylizer: &mut NetworkStylizer, job: &Job) -> Result<Option<Timing>, StylizeError> {
    let Job { width, height, batch, budget } = *job;
    if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return Ok(None);
    }
    let mut random = fastrand::Rng::with_seed(1);
    let mut samples = vec![0; Layout::I420.bytes(width, height)];
    random.fill(&mut samples);
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let info = FrameInfo { width, height, colorimetry };
    let frame =
        || Frame { info, planes: Planes::I420(samples.clone().into()), pts: None, duration: None };
    let mut frames: Vec<Frame> = (0..batch).map(|_| frame()).collect();
    repeat(budget, || {
        // Each pass gets the original samples, not painted ones.
        frames.iter_mut().for_each(|frame| frame.planes.bytes_mut().copy_from_slice(&samples));
        let since = Instant::now();
        stylizer.stylize(&mut frames)?;
        Ok(since.elapsed().as_secs_f64())
    })
    .map(Some)
}

/// The device's peak, in multiply-adds per second: the best of several products of square matrices, computed
/// by libtorch's libraries in this precision, with the calling thread's number of threads.
///
/// # Errors
/// libtorch's.
pub fn peak(device: Device, precision: Precision) -> Result<f64, TchError> {
    let mut best: f64 = 0.0;
    for side in SIDES {
        let matrix = || {
            Tensor::f_rand([side, side], (Kind::Float, device.torch()))?.f_to_kind(precision.kind())
        };
        let (a, b) = (matrix()?, matrix()?);
        let product = || -> Result<Duration, TchError> {
            let since = Instant::now();
            let product = tch::no_grad(|| a.f_matmul(&b))?;
            if device.is_cuda() {
                product.f_double_value(&[0, 0])?;
            }
            Ok(since.elapsed())
        };
        // The first product allocates memory and packs the matrices.
        let first = product()?;
        for _ in 0..PRODUCTS {
            let seconds = product()?.as_secs_f64();
            best = best.max((side as f64).powi(3) / seconds);
        }
        if first > LONG {
            break;
        }
    }
    Ok(best)
}

/// Warms up, then measures; `pass` returns the seconds that it took.
fn repeat(
    budget: Duration,
    mut pass: impl FnMut() -> Result<f64, StylizeError>,
) -> Result<Timing, StylizeError> {
    // The first pass chooses algorithms and packs weights, the second allocates memory.
    let since = Instant::now();
    pass()?;
    if since.elapsed() < budget {
        pass()?;
    }
    let since = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < LEAST || (seconds.len() < MOST && since.elapsed() < budget) {
        seconds.push(pass()?);
    }
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    let median = match seconds.len() % 2 {
        1 => seconds[middle],
        _ => (seconds[middle - 1] + seconds[middle]) / 2.0,
    };
    Ok(Timing { seconds: median, repeats: seconds.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_leaves_out_the_warm_passes_and_three_are_measured_at_least() {
        let mut times = [9.0, 9.0, 1.0, 5.0, 2.0].into_iter();
        let mut calls = 0;
        // The two warm passes take no time; then there is none left.
        let timing = repeat(Duration::from_millis(20), || {
            calls += 1;
            if calls == 3 {
                std::thread::sleep(Duration::from_millis(30));
            }
            Ok(times.next().unwrap_or(0.0))
        });
        assert_eq!(timing.unwrap(), Timing { seconds: 2.0, repeats: 3 });
    }

    #[test]
    fn the_peak_is_a_number_of_operations() {
        let peak = peak(Device::CPU, Precision::Fp32).unwrap();
        // Any machine makes a hundred million a second, none on earth 10^16.
        assert!(peak > 1e8 && peak < 1e16, "{peak}");
    }
}
