//! Tensors as numbers in memory.

#![allow(unsafe_code)]

use tch::{Device, Kind, TchError, Tensor};

/// The numbers of a contiguous tensor in single precision on the CPU.
///
/// # Errors
/// When it is none.
pub fn numbers(x: &Tensor) -> Result<&[f32], TchError> {
    check(x, Kind::Float)?;
    // SAFETY: the tensor has so many numbers one behind the other, and lives as long as `x`.
    Ok(unsafe { std::slice::from_raw_parts(x.data_ptr().cast::<f32>(), x.numel()) })
}

/// The same, to be written to.
///
/// # Errors
/// When it is none.
pub fn numbers_mut(x: &mut Tensor) -> Result<&mut [f32], TchError> {
    check(x, Kind::Float)?;
    // SAFETY: as above; the caller made the tensor, and nothing else shares its memory.
    Ok(unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast::<f32>(), x.numel()) })
}

/// The bytes of a contiguous tensor of bytes on the CPU.
///
/// # Errors
/// When it is none.
pub fn bytes(x: &Tensor) -> Result<&[u8], TchError> {
    check(x, Kind::Uint8)?;
    // SAFETY: as above.
    Ok(unsafe { std::slice::from_raw_parts(x.data_ptr().cast::<u8>(), x.numel()) })
}

/// The same, to be written to.
///
/// # Errors
/// When it is none.
pub fn bytes_mut(x: &mut Tensor) -> Result<&mut [u8], TchError> {
    check(x, Kind::Uint8)?;
    // SAFETY: as above.
    Ok(unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast::<u8>(), x.numel()) })
}

fn check(x: &Tensor, kind: Kind) -> Result<(), TchError> {
    if x.device() != Device::Cpu || x.kind() != kind || !x.is_contiguous() {
        return Err(TchError::Kind(format!("expected a contiguous tensor of {kind:?}")));
    }
    Ok(())
}
