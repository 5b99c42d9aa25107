//! Tensors as the kernels see them.

use tch::{Device, Kind, TchError, Tensor};

/// The numbers of a contiguous tensor in single precision on the CPU.
///
/// # Errors
/// When it is none.
pub fn numbers(x: &Tensor) -> Result<&[f32], TchError> {
    check(x)?;
    // SAFETY: the tensor has so many numbers one behind the other, and lives as long as `x`.
    Ok(unsafe { std::slice::from_raw_parts(x.data_ptr().cast::<f32>(), x.numel()) })
}

/// The same, to be written to.
///
/// # Errors
/// When it is none.
pub fn numbers_mut(x: &mut Tensor) -> Result<&mut [f32], TchError> {
    check(x)?;
    // SAFETY: as above; the caller made the tensor, and nothing else shares its memory.
    Ok(unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast::<f32>(), x.numel()) })
}

fn check(x: &Tensor) -> Result<(), TchError> {
    if x.device() != Device::Cpu || x.kind() != Kind::Float || !x.is_contiguous() {
        return Err(TchError::Kind("kernels take contiguous single precision".to_owned()));
    }
    Ok(())
}
