//! GPU kernels that are compared with libtorch on the device before they are used.

use std::sync::Arc;

use tch::{Kind, TchError, Tensor};

use super::color::Converter;
use super::device::Device;
use super::device::gpu::Gpu;
use super::model_file::ModelFile;
use super::network::Network;
use super::precision::Precision;
use super::{failed, guarded};
use crate::core::frame::{Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range};

/// The network of a model whose tensors have been [checked](ModelFile::check). On a GPU it uses our own
/// kernels if they are available and give libtorch's results; otherwise libtorch, with a warning that says
/// why.
///
/// # Errors
/// When a tensor is missing or has the wrong number of values, or the device lacks memory.
pub fn checked_network(
    model: &ModelFile,
    device: Device,
    precision: Precision,
) -> Result<Network, TchError> {
    if !device.wants_gpu_kernels() {
        return Network::new(model, device, precision);
    }
    let torchs = Network::in_torch(model, device, precision)?;
    let in_kernels = || -> Result<Network, String> {
        let gpu = Gpu::open(device, precision)?;
        let ours = Network::in_gpu_kernels(model, gpu, device, precision);
        let ours = ours.map_err(|error| super::words(&error))?;
        let ours = ours.ok_or("they lack something that it needs")?;
        check(&ours, &torchs).map(|()| ours)
    };
    // If the kernels fail in any way, libtorch's network is used.
    Ok(match in_kernels() {
        Ok(ours) => ours.with_fallback(torchs),
        Err(why) => {
            tracing::warn!(
                "'{}' is painted without nst-stream's own kernels: {why}",
                torchs.name()
            );
            torchs
        }
    })
}

/// Whether a network in kernels paints the same as libtorch. An untested device, driver or compiler may be
/// faulty; libtorch then paints.
///
/// # Errors
/// What is wrong.
pub(super) fn check(ours: &Network, torchs: &Network) -> Result<(), String> {
    // A size that fills blocks, and one that does not.
    for (height, width) in [(96, 132), (37, 50)] {
        let words = |error: TchError| super::words(&error);
        let x = waves(height, width, torchs.device().torch()).map_err(words)?;
        let paint = |network: &Network| {
            guarded(|| tch::no_grad(|| network.forward_uncounted(&x)), |e| failed(&e, &x))
                .map_err(|error| error.to_string())
        };
        let (ours, theirs) = (paint(ours)?, paint(torchs)?);
        let share = guarded(|| relative_rms_difference(&ours, &theirs), |e| e).map_err(words)?;
        // Half precision differs by about 0.01, wrong results by about 1. NaN is wrong too.
        if share.is_nan() || share > 0.1 {
            return Err(format!(
                "what they paint at {width}×{height} differs from libtorch's by {share:.3} of its contrast"
            ));
        }
    }
    let Some(gpu) = ours.gpu() else { return Ok(()) };
    let levels = guarded(|| colours_apart(gpu, ours.device()), |e| e);
    let levels = levels.map_err(|error| super::words(&error))?;
    // Sums in a different order may round differently at a half.
    if levels.is_nan() || levels > 1.0 {
        return Err(format!(
            "the colours that they convert differ from libtorch's by {levels:.0} levels"
        ));
    }
    Ok(())
}

/// Largest difference from libtorch, in levels, of R, G and B and of the samples converted back.
pub(super) fn colours_apart(gpu: &Arc<Gpu>, device: Device) -> Result<f64, TchError> {
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    // An odd size, so that borders are tested.
    let info = FrameInfo { width: 37, height: 21, colorimetry };
    let mut samples = vec![0; Layout::I420.bytes(info.width, info.height)];
    fastrand::Rng::with_seed(1).fill(&mut samples);
    let frame = Frame { info, planes: Planes::I420(samples.into()), pts: None, duration: None };
    let plain = Converter::new(info, Layout::I420, device)?;
    let kernels = Converter::new(info, Layout::I420, device)?.with_kernels(Some(gpu));
    let samples = plain.upload(&[frame])?;
    let rgb = plain.to_rgb(&samples)?;
    let bytes = |converter: &Converter| converter.bytes(&rgb)?.f_to_kind(Kind::Float);
    let most = |a: &Tensor, b: &Tensor| a.f_sub(b)?.f_abs()?.f_max()?.f_double_value(&[]);
    let (there, back) =
        (most(&kernels.to_rgb(&samples)?, &rgb)?, most(&bytes(&kernels)?, &bytes(&plain)?)?);
    // `max` would ignore NaN.
    Ok(if there > back || there.is_nan() { there } else { back })
}

/// Root mean square of the difference, as a share of b's standard deviation.
pub(super) fn relative_rms_difference(a: &Tensor, b: &Tensor) -> Result<f64, TchError> {
    let number = |x: Tensor| x.f_mean(Kind::Double)?.f_double_value(&[]);
    let difference = number(a.f_sub(b)?.f_square()?)?;
    let spread = number(b.f_sub(&b.f_mean(Kind::Float)?)?.f_square()?)?;
    Ok((difference / spread).sqrt())
}

/// A test picture with edges, plain areas and all colours.
fn waves(height: i64, width: i64, device: tch::Device) -> Result<Tensor, TchError> {
    let axis = |length: i64, shape: [i64; 4]| {
        Tensor::f_arange(length, (Kind::Float, tch::Device::Cpu))?.f_reshape(shape)
    };
    let (y, x) = (axis(height, [1, 1, height, 1])?, axis(width, [1, 1, 1, width])?);
    let color = axis(3, [1, 3, 1, 1])?;
    let slow = ((&x + &y * 2.0) * 0.07 + &color).f_sin()?;
    let sharp = ((&x - &y) * 0.2 + color * 2.0).f_sin()?.f_sign()?;
    (slow * 80.0 + sharp * 40.0 + 127.0).f_to_device(device)
}
