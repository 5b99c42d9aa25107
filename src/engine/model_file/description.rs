//! What a model file says about itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ModelError;
use super::error::printable;
use crate::engine::architecture::{Architecture, NetworkKind};

/// Where a model comes from and what it does, kept as the record `nst-stream.json` inside the
/// model file: `unzip -p mosaic.pt '*/nst-stream.json'` shows it.
///
/// Readers skip unknown fields, so a release may add fields without a new format number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this description: 1. A higher one is refused.
    #[serde(default = "current_format")]
    pub format: u32,
    /// Short name of the model, as in `mosaic`.
    #[serde(default)]
    pub name: String,
    /// The network the weights are for.
    pub architecture: Architecture,
    /// Names of the styles, in the order of the norms' rows.
    #[serde(default)]
    pub styles: Vec<String>,
    /// How it was trained: losses, weights, layers, sizes, optimizer, as the trainer wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Value>,
    /// Licence of the weights, best as an SPDX expression: `MIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Where the model comes from, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whom to name: artist, photographers, authors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<String>,
}

const fn current_format() -> u32 {
    Description::FORMAT
}

impl Description {
    /// The format this release reads and writes.
    pub const FORMAT: u32 = 1;

    /// A description that says no more than a bare state dict can: its name, which is also the
    /// name of its only style, and its architecture.
    pub fn new(name: impl Into<String>, architecture: Architecture) -> Self {
        let name = name.into();
        Self {
            format: Self::FORMAT,
            styles: vec![name.clone()],
            name,
            architecture,
            recipe: None,
            licence: None,
            source: None,
            credit: None,
        }
    }

    /// Reads the record of the file known as `file`.
    pub(super) fn from_json(file: &str, json: &[u8]) -> Result<Self, ModelError> {
        let bad = |reason: String| ModelError::Description { file: file.to_owned(), reason };
        let value: Value =
            serde_json::from_slice(json).map_err(|e| bad(printable(&e.to_string())))?;
        // The format first: a later one may have changed everything else.
        let format = value.get("format").and_then(Value::as_u64).unwrap_or(Self::FORMAT.into());
        if format > u64::from(Self::FORMAT) {
            return Err(ModelError::Newer { file: file.to_owned(), format });
        }
        if let Some(kind) = value.pointer("/architecture/kind").and_then(Value::as_str)
            && NetworkKind::ALL.iter().all(|known| known.name() != kind)
        {
            let known = NetworkKind::ALL.map(NetworkKind::name).join(", ");
            let kind = printable(kind);
            return Err(bad(format!("the architecture '{kind}' is unknown, known is {known}")));
        }
        let description: Self =
            serde_json::from_value(value).map_err(|e| bad(printable(&e.to_string())))?;
        match description.architecture.fault() {
            Some(reason) => Err(bad(reason)),
            None => Ok(description),
        }
    }
}
