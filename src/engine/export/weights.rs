//! The state dict as a safetensors file.

use std::collections::HashMap;
use std::io;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, serialize};

use super::contents::{metadata, single, tensor};
use crate::engine::model_file::{DType, ModelFile, RawTensor};

/// The weights under their published names and as they are stored; what is known of the model as
/// metadata, `format` among it, which Python's readers look for.
pub(super) fn to_bytes(model: &ModelFile) -> io::Result<Vec<u8>> {
    let parameters = model.description.architecture.parameters();
    let stored = parameters.into_iter().map(|(name, _)| {
        let raw = tensor(model, &name)?;
        let kind = dtype(raw);
        // A type that the format has no name for does not get past a model's check.
        let raw = if kind.is_some() { raw.clone() } else { single(raw) };
        Ok((name, raw, kind.unwrap_or(Dtype::F32)))
    });
    let stored = stored.collect::<io::Result<Vec<(String, RawTensor, Dtype)>>>()?;
    let views = stored.iter().map(|(name, raw, kind)| {
        let shape = raw.shape.iter().map(|&length| length as usize).collect();
        let view = TensorView::new(*kind, shape, &raw.data).map_err(io::Error::other)?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<io::Result<Vec<_>>>()?;
    let mut about: HashMap<String, String> =
        metadata(model)?.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    about.insert("format".to_owned(), "pt".to_owned());
    serialize(views, &Some(about)).map_err(io::Error::other)
}

fn dtype(raw: &RawTensor) -> Option<Dtype> {
    match raw.dtype {
        DType::F64 => Some(Dtype::F64),
        DType::F32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}
