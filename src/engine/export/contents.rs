//! What all export formats share: blending of styles, metadata, tensors, errors.

use std::io;

use crate::engine::blend::{self, Blend};
use crate::engine::model_file::{DType, ModelFile, RawTensor};

/// Why a model cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A style was asked for that the model does not have.
    #[error("'{model}' has no style '{style}': it paints {known}")]
    NoStyle {
        /// The model's name.
        model: String,
        /// The style.
        style: String,
        /// The styles it has.
        known: String,
    },
    /// The weights exceed what the format can hold.
    #[error(
        "its weights take {mib} MiB, an ONNX file holds 2048; `--to torchscript` has no such limit"
    )]
    TooLarge {
        /// Size of the file it would be, MiB.
        mib: usize,
    },
    /// A model that predicts no styles.
    #[error("'{model}' has no style predictor; any-lite has one")]
    NoPredictor {
        /// The model's name.
        model: String,
    },
    /// The library that writes the format refused.
    #[error("cannot write it: {0}")]
    Write(#[from] io::Error),
}

/// A single-style model that always paints this mixture of the model's styles. For a model with one style
/// only the name is checked.
///
/// # Errors
/// [`ExportError::NoStyle`].
pub fn blended(model: &ModelFile, blend: &Blend) -> Result<ModelFile, ExportError> {
    let description = &model.description;
    let shares = blend.shares(&description.styles).map_err(|style| ExportError::NoStyle {
        model: description.name.clone(),
        style,
        known: description.styles.join(", "),
    })?;
    let mut mixed = model.clone();
    if description.architecture.styles == 1 {
        return Ok(mixed);
    }
    mixed.description.styles = vec![blend.to_string()];
    mixed.description.architecture.styles = 1;
    for (name, shape) in mixed.description.architecture.parameters() {
        if let Some(tensor) = mixed.tensors.get_mut(&name)
            && tensor.shape.len() == 2
        {
            let channels = shape.iter().product::<i64>() as usize;
            let row = blend::mixed(&tensor.to_f32(), channels, &shares);
            *tensor = RawTensor::from_f32(shape, &row, DType::F32);
        }
    }
    Ok(mixed)
}

/// Metadata of the exported file, as names and texts: name, styles, licence, credit and source where known,
/// and the whole description as JSON under `nst-stream.json`.
pub(super) fn metadata(model: &ModelFile) -> io::Result<Vec<(&'static str, String)>> {
    let description = &model.description;
    let mut pairs = vec![
        ("name", description.name.clone()),
        ("styles", description.styles.join(", ")),
        ("architecture", description.architecture.to_string()),
    ];
    let more = [
        ("licence", &description.licence),
        ("credit", &description.credit),
        ("source", &description.source),
    ];
    pairs.extend(more.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    pairs.push(("nst-stream.json", serde_json::to_string(description)?));
    Ok(pairs)
}

/// The tensor of this name, which a checked model has.
pub(super) fn tensor<'a>(model: &'a ModelFile, name: &str) -> io::Result<&'a RawTensor> {
    let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("'{name}' is missing"));
    model.tensors.get(name).ok_or_else(missing)
}

/// The tensor in single precision.
pub(super) fn single(tensor: &RawTensor) -> RawTensor {
    RawTensor::from_f32(tensor.shape.clone(), &tensor.to_f32(), DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::architecture::Architecture;
    use crate::engine::model_file::Description;

    fn two_styles() -> ModelFile {
        let architecture = Architecture {
            widths: vec![1, 1, 2],
            residual_blocks: 0,
            styles: 2,
            ..Default::default()
        };
        let mut description = Description::new("pair", architecture);
        description.styles = vec!["a".to_owned(), "b".to_owned()];
        let tensors = description.architecture.parameters().into_iter().map(|(name, shape)| {
            let count = shape.iter().product::<i64>() as usize;
            let values: Vec<f32> = (0..count).map(|n| n as f32).collect();
            (name, RawTensor::from_f32(shape, &values, DType::F16))
        });
        ModelFile { tensors: tensors.collect(), description: description.clone() }
    }

    #[test]
    fn a_blend_is_one_style_with_the_mean_of_the_norms() {
        let blend = "a:1,b:3".parse().unwrap();
        let mixed = blended(&two_styles(), &blend).unwrap();
        mixed.check("mixed").unwrap();
        assert_eq!(mixed.description.styles, ["a:1,b:3"]);
        // [[0, 1], [2, 3]], a quarter and three quarters.
        assert_eq!(mixed.tensors["in3.weight"].to_f32(), [1.5, 2.5]);
        assert_eq!(mixed.tensors["conv3.conv2d.bias"], two_styles().tensors["conv3.conv2d.bias"]);
    }

    #[test]
    fn a_style_that_is_not_there_is_named_with_those_that_are() {
        let error = blended(&two_styles(), &Blend::only("c")).unwrap_err();
        assert_eq!(error.to_string(), "'pair' has no style 'c': it paints a, b");
    }
}
