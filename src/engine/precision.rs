//! The arithmetic in which the network is computed.

use std::fmt;
use std::str::FromStr;

use super::device::{Device, DeviceError, cpu_has_bf16};

/// Arithmetic of the network's convolutions. Statistics of the instance norms are taken in single
/// precision in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single: 24 bits of mantissa.
    Fp32,
    /// bfloat16: 8 bits of mantissa, the range of single. On a CPU with AMX, our own
    /// [kernels](super::network) compute in it. On other CPUs, where these kernels are faster in single
    /// precision than libtorch in bf16, they compute in single precision.
    Bf16,
    /// IEEE half: 11 bits of mantissa, up to 65504.
    Fp16,
}

impl Precision {
    /// The type of the tensors.
    pub fn kind(self) -> tch::Kind {
        match self {
            Self::Fp32 => tch::Kind::Float,
            Self::Bf16 => tch::Kind::BFloat16,
            Self::Fp16 => tch::Kind::Half,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

/// Which precision is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// The fastest that the device computes in hardware: fp16 on a GPU, bf16 on a CPU that has it,
    /// else fp32.
    #[default]
    Auto,
    /// This one.
    Exactly(Precision),
}

impl FromStr for PrecisionChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "fp32" => Ok(Self::Exactly(Precision::Fp32)),
            "bf16" => Ok(Self::Exactly(Precision::Bf16)),
            "fp16" => Ok(Self::Exactly(Precision::Fp16)),
            _ => Err(DeviceError::UnknownPrecision(text.to_owned())),
        }
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(precision) => precision.fmt(f),
        }
    }
}

impl PrecisionChoice {
    /// The precision on a device. The note, where there is one, warns of a slow choice.
    ///
    /// # Errors
    /// [`DeviceError::Fp16OnCpu`].
    pub fn resolve(self, device: Device) -> Result<(Precision, Option<String>), DeviceError> {
        let bf16_cpu = cpu_has_bf16();
        match self {
            Self::Auto if device.is_cuda() => Ok((Precision::Fp16, None)),
            Self::Auto if bf16_cpu => Ok((Precision::Bf16, None)),
            Self::Auto => Ok((Precision::Fp32, None)),
            Self::Exactly(Precision::Fp16) if !device.is_cuda() => Err(DeviceError::Fp16OnCpu),
            Self::Exactly(Precision::Bf16) if !device.is_cuda() && !bf16_cpu => {
                let note = "this CPU has no bf16 instructions: bf16 is slower than fp32 on it";
                Ok((Precision::Bf16, Some(note.to_owned())))
            }
            Self::Exactly(precision) => Ok((precision, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_have_names() {
        for text in ["auto", "fp32", "bf16", "fp16"] {
            assert_eq!(text.parse::<PrecisionChoice>().unwrap().to_string(), text);
        }
        assert!("fp64".parse::<PrecisionChoice>().is_err());
    }

    #[test]
    fn half_precision_on_the_cpu_is_refused() {
        let fp16 = PrecisionChoice::Exactly(Precision::Fp16);
        assert_eq!(fp16.resolve(Device::CPU), Err(DeviceError::Fp16OnCpu));
    }

    #[test]
    fn bfloat16_on_a_cpu_without_it_is_allowed_with_a_note() {
        let bf16 = PrecisionChoice::Exactly(Precision::Bf16);
        let (precision, note) = bf16.resolve(Device::CPU).unwrap();
        assert_eq!((precision, note.is_none()), (Precision::Bf16, cpu_has_bf16()));
        let (auto, note) = PrecisionChoice::Auto.resolve(Device::CPU).unwrap();
        assert_eq!(auto, if cpu_has_bf16() { Precision::Bf16 } else { Precision::Fp32 });
        assert_eq!(note, None);
    }
}
