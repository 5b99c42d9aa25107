//! Tensors as numbers in the CPU's memory.
//!
//! A tensor may share its memory with any number of others (shallow clones, views), and libtorch changes
//! memory that the borrow checker does not see. So references into a tensor's memory are given only if no
//! other tensor shares it: for a [`UniqueTensor`]. The numbers of any other tensor are [copied](copy).

#![allow(unsafe_code)]

use std::marker::PhantomData;

use tch::{Device, Kind, TchError, Tensor};

/// An element type for which every bit pattern is a valid value.
pub trait Number: Copy + Send + sealed::Number {}

impl Number for f32 {}
impl Number for u8 {}

mod sealed {
    pub trait Number {
        const KIND: tch::Kind;
    }

    impl Number for f32 {
        const KIND: tch::Kind = tch::Kind::Float;
    }

    impl Number for u8 {
        const KIND: tch::Kind = tch::Kind::Uint8;
    }
}

/// A contiguous tensor that shares its memory with no other.
#[derive(Debug)]
pub struct UniqueTensor<T> {
    tensor: Tensor,
    numbers: PhantomData<T>,
}

impl<T: Number> UniqueTensor<T> {
    /// A new one, of arbitrary contents.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(shape: &[i64]) -> Result<Self, TchError> {
        let tensor = Tensor::f_empty(shape, (T::KIND, Device::Cpu))?;
        check(&tensor, T::KIND)?;
        Ok(UniqueTensor { tensor, numbers: PhantomData })
    }

    /// Its numbers.
    pub fn numbers(&mut self) -> &mut [T] {
        let (first, count) = (self.tensor.data_ptr().cast::<T>(), self.tensor.numel());
        if count == 0 {
            return &mut [];
        }
        // SAFETY: a contiguous tensor of this type has so many numbers one behind the other. libtorch has
        // allocated them for this tensor alone, which has never left this value.
        unsafe { std::slice::from_raw_parts_mut(first, count) }
    }

    /// Gives up uniqueness: the tensor may be shared from now on.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }
}

/// Copies `to.len()` numbers of a contiguous tensor on the CPU, starting with number `first`.
///
/// # Errors
/// If the tensor has another type, or too few numbers.
pub fn copy<T: Number>(x: &Tensor, first: usize, to: &mut [T]) -> Result<(), TchError> {
    check(x, T::KIND)?;
    within(x, first, to.len())?;
    // SAFETY: the tensor is contiguous and has these numbers. `to` does not overlap its memory: only a
    // `UniqueTensor` gives references into a tensor's memory, and `x` is not one.
    unsafe {
        let from = x.data_ptr().cast::<T>().cast_const().add(first);
        std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
    }
    Ok(())
}

/// Copies numbers into a contiguous tensor on the CPU, starting at number `first`.
///
/// # Errors
/// If the tensor has another type, or too few numbers.
pub fn paste<T: Number>(from: &[T], x: &mut Tensor, first: usize) -> Result<(), TchError> {
    check(x, T::KIND)?;
    within(x, first, from.len())?;
    // SAFETY: as in `copy`, the other way.
    unsafe {
        let to = x.data_ptr().cast::<T>().add(first);
        std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
    }
    Ok(())
}

/// All numbers of a contiguous tensor on the CPU.
///
/// # Errors
/// As [`copy`]'s, or when memory is short.
pub fn copied<T: Number + Default>(x: &Tensor) -> Result<Vec<T>, TchError> {
    check(x, T::KIND)?;
    let mut numbers = Vec::new();
    let short = |_| TchError::Torch("not enough memory to copy a tensor".to_owned());
    numbers.try_reserve_exact(x.numel()).map_err(short)?;
    // SAFETY: there is room for all of them, and all are written.
    unsafe {
        let from = x.data_ptr().cast::<T>().cast_const();
        std::ptr::copy_nonoverlapping(from, numbers.as_mut_ptr(), x.numel());
        numbers.set_len(x.numel());
    }
    Ok(numbers)
}

fn within(x: &Tensor, first: usize, count: usize) -> Result<(), TchError> {
    match first.checked_add(count).is_some_and(|end| end <= x.numel()) {
        true => Ok(()),
        false => Err(TchError::Shape(format!("{count} numbers from {first} on, of {}", x.numel()))),
    }
}

fn check(x: &Tensor, kind: Kind) -> Result<(), TchError> {
    if x.device() != Device::Cpu || x.kind() != kind || !x.is_contiguous() {
        return Err(TchError::Kind(format!("expected a contiguous tensor of {kind:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_a_tensor_stays_what_it_was_when_an_alias_changes_it() {
        let mut fresh = UniqueTensor::<f32>::new(&[2, 3]).unwrap();
        fresh.numbers().copy_from_slice(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let tensor = fresh.into_tensor();
        let mut alias = tensor.shallow_clone();
        let numbers = copied::<f32>(&tensor).unwrap();
        let _ = alias.f_add_scalar_(10.0).unwrap();
        assert_eq!(numbers, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let mut some = [0.0; 2];
        copy(&tensor, 4, &mut some).unwrap();
        assert_eq!(some, [14.0, 15.0]);
    }

    #[test]
    fn no_numbers_are_read_that_are_not_there() {
        let tensor = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
        assert!(copied::<u8>(&tensor).is_err());
        assert!(copied::<f32>(&tensor.transpose(0, 1)).is_err());
        for (first, count) in [(0, 7), (6, 1), (usize::MAX, 1)] {
            assert!(copy(&tensor, first, &mut vec![0.0; count]).is_err(), "{first} {count}");
            let mut tensor = tensor.shallow_clone();
            assert!(paste(&vec![0.0; count], &mut tensor, first).is_err(), "{first} {count}");
        }
        assert!(copied::<f32>(&tensor.narrow(0, 0, 0)).unwrap().is_empty());
        assert!(UniqueTensor::<u8>::new(&[0, 3]).unwrap().numbers().is_empty());
        assert!(UniqueTensor::<u8>::new(&[-1]).is_err());
    }
}
