//! Tensors as bytes: shape, element type and contiguous little-endian data, without libtorch.

use std::fmt;

use half::{bf16, f16};

/// Type of a tensor's elements, those PyTorch has a storage class for (complex and quantized left
/// out: no network here uses them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say all
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

/// Each type with PyTorch's storage class and dtype names.
const NAMES: [(DType, &str, &str); 10] = [
    (DType::F64, "DoubleStorage", "float64"),
    (DType::F32, "FloatStorage", "float32"),
    (DType::F16, "HalfStorage", "float16"),
    (DType::BF16, "BFloat16Storage", "bfloat16"),
    (DType::I64, "LongStorage", "int64"),
    (DType::I32, "IntStorage", "int32"),
    (DType::I16, "ShortStorage", "int16"),
    (DType::I8, "CharStorage", "int8"),
    (DType::U8, "ByteStorage", "uint8"),
    (DType::Bool, "BoolStorage", "bool"),
];

impl DType {
    /// Bytes an element takes: 1, 2, 4 or 8.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether the elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// PyTorch's name of the type, as in `torch.float16`, without the module.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|n| n.0 == self).map_or("unknown", |n| n.2)
    }

    /// PyTorch's storage class, as in `torch.HalfStorage`, without the module.
    pub(super) fn storage_class(self) -> &'static str {
        NAMES.iter().find(|n| n.0 == self).map_or("UntypedStorage", |n| n.1)
    }

    pub(super) fn from_storage_class(class: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.1 == class).map(|n| n.0)
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|n| n.2 == name).map(|n| n.0)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawTensor {
    /// Lengths of the dimensions, outermost first; empty for a single number.
    pub shape: Vec<i64>,
    /// Type of the elements.
    pub dtype: DType,
    /// The elements, little endian, contiguous, row-major: as many as the shape says, times
    /// [`DType::size`] bytes.
    pub data: Vec<u8>,
}

impl RawTensor {
    /// A tensor of `values` in row-major order, rounded to `dtype` (nearest, ties to even; whole
    /// numbers truncated and clamped; `Bool` is true for anything but zero).
    ///
    /// As many values are expected as `shape` has elements; a [`ModelFile`](super::ModelFile)
    /// holding a tensor where they differ is refused by its `check`.
    pub fn from_f32(shape: impl Into<Vec<i64>>, values: &[f32], dtype: DType) -> Self {
        let mut data = Vec::with_capacity(values.len() * dtype.size());
        for &v in values {
            match dtype {
                DType::F64 => data.extend(f64::from(v).to_le_bytes()),
                DType::F32 => data.extend(v.to_le_bytes()),
                DType::F16 => data.extend(f16::from_f32(v).to_le_bytes()),
                DType::BF16 => data.extend(bf16::from_f32(v).to_le_bytes()),
                DType::I64 => data.extend((v as i64).to_le_bytes()),
                DType::I32 => data.extend((v as i32).to_le_bytes()),
                DType::I16 => data.extend((v as i16).to_le_bytes()),
                DType::I8 => data.extend((v as i8).to_le_bytes()),
                DType::U8 => data.push(v as u8),
                DType::Bool => data.push(u8::from(v != 0.0)),
            }
        }
        Self { shape: shape.into(), dtype, data }
    }

    /// The elements as `f32` in row-major order. Exact for `F32`, `F16`, `BF16`, `I16`, `I8`,
    /// `U8` and `Bool`; `F64`, `I64` and `I32` are rounded.
    pub fn to_f32(&self) -> Vec<f32> {
        let data = &self.data;
        match self.dtype {
            DType::F64 => elements(data, |b| f64::from_le_bytes(b) as f32),
            DType::F32 => elements(data, f32::from_le_bytes),
            DType::F16 => elements(data, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => elements(data, |b| bf16::from_le_bytes(b).to_f32()),
            DType::I64 => elements(data, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => elements(data, |b| i32::from_le_bytes(b) as f32),
            DType::I16 => elements(data, |b| i16::from_le_bytes(b).into()),
            DType::I8 => elements(data, |b| i8::from_le_bytes(b).into()),
            DType::U8 => elements(data, |b| u8::from_le_bytes(b).into()),
            DType::Bool => elements(data, |b: [u8; 1]| if b == [0] { 0.0 } else { 1.0 }),
        }
    }

    /// Number of elements the shape names; `None` when a length is negative or they are too many
    /// to count.
    pub fn elements(&self) -> Option<usize> {
        element_count(&self.shape)
    }

    /// Whether no element is NaN or infinite. True of whole numbers.
    pub fn is_finite(&self) -> bool {
        match self.dtype {
            DType::F64 => all(&self.data, |b| f64::from_le_bytes(b).is_finite()),
            DType::F32 => all(&self.data, |b| f32::from_le_bytes(b).is_finite()),
            DType::F16 => all(&self.data, |b| f16::from_le_bytes(b).is_finite()),
            DType::BF16 => all(&self.data, |b| bf16::from_le_bytes(b).is_finite()),
            _ => true,
        }
    }

    /// The tensor in half precision. One that is not floating point, or has a value that half
    /// precision cannot hold (beyond ±65504), stays as it is.
    pub fn to_f16(&self) -> Self {
        if !self.dtype.is_float() || self.dtype == DType::F16 {
            return self.clone();
        }
        let half = Self::from_f32(self.shape.clone(), &self.to_f32(), DType::F16);
        if half.is_finite() { half } else { self.clone() }
    }
}

/// Product of the lengths; `None` when one is negative or the product overflows.
pub(super) fn element_count(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(usize::try_from(d).ok()?))
}

fn elements<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|&bytes| convert(bytes)).collect()
}

fn all<const N: usize>(data: &[u8], is_so: impl Fn([u8; N]) -> bool) -> bool {
    data.as_chunks::<N>().0.iter().all(|&bytes| is_so(bytes))
}
