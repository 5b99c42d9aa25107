//! The models that are part of the program, so that it paints without a download.
//!
//! `models/manifest.toml` states the origin of each; the bytes (about 38 MB) are embedded in the executable
//! and not copied until a model is opened.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::model_file::{ModelError, ModelFile};

/// What a shipped model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelRole {
    /// A network that paints: a model file.
    Style,
    /// A network with a style predictor, which paints in the style of any picture: a model file.
    Any,
    /// The network that training measures pictures with: safetensors, not a model file.
    Loss,
}

/// A shipped model.
#[derive(Clone, Copy)]
pub struct Shipped {
    /// Its short name, as in `mosaic`.
    pub name: &'static str,
    /// Name of its file, as in `mosaic.pt`.
    pub file: &'static str,
    /// What it is for.
    pub role: ModelRole,
    /// The file's bytes.
    pub bytes: &'static [u8],
}

impl fmt::Debug for Shipped {
    /// Without the bytes, which would fill the screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, file, role, bytes } = self;
        write!(f, "Shipped {{ {name}, {file}, {role:?}, {} bytes }}", bytes.len())
    }
}

static SHIPPED: [Shipped; 16] = [
    Shipped {
        name: "mosaic",
        file: "mosaic.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/mosaic.pt"),
    },
    Shipped {
        name: "mosaic-lite",
        file: "mosaic-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/mosaic-lite.pt"),
    },
    Shipped {
        name: "starry-night",
        file: "starry-night.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/starry-night.pt"),
    },
    Shipped {
        name: "starry-night-lite",
        file: "starry-night-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/starry-night-lite.pt"),
    },
    Shipped {
        name: "great-wave",
        file: "great-wave.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/great-wave.pt"),
    },
    Shipped {
        name: "great-wave-lite",
        file: "great-wave-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/great-wave-lite.pt"),
    },
    Shipped {
        name: "the-scream",
        file: "the-scream.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/the-scream.pt"),
    },
    Shipped {
        name: "the-scream-lite",
        file: "the-scream-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/the-scream-lite.pt"),
    },
    Shipped {
        name: "composition-vii",
        file: "composition-vii.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/composition-vii.pt"),
    },
    Shipped {
        name: "composition-vii-lite",
        file: "composition-vii-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/composition-vii-lite.pt"),
    },
    Shipped {
        name: "matisse-lite",
        file: "matisse-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/matisse-lite.pt"),
    },
    Shipped {
        name: "udnie-lite",
        file: "udnie-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/udnie-lite.pt"),
    },
    Shipped {
        name: "shipwreck-lite",
        file: "shipwreck-lite.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/shipwreck-lite.pt"),
    },
    Shipped {
        name: "gallery",
        file: "gallery.pt",
        role: ModelRole::Style,
        bytes: include_bytes!("../../models/gallery.pt"),
    },
    Shipped {
        name: "any-lite",
        file: "any-lite.pt",
        role: ModelRole::Any,
        bytes: include_bytes!("../../models/any-lite.pt"),
    },
    Shipped {
        name: "vgg16",
        file: "vgg16.safetensors",
        role: ModelRole::Loss,
        bytes: include_bytes!("../../models/vgg16.safetensors"),
    },
];

/// Every shipped model, the loss network among them.
pub fn all() -> &'static [Shipped] {
    &SHIPPED
}

/// The shipped model of this name or file name: both `mosaic` and `mosaic.pt` find the same.
pub fn find(name: &str) -> Option<&'static Shipped> {
    all().iter().find(|shipped| shipped.name == name || shipped.file == name)
}

/// The lite model that may replace a shipped model named without an extension: `mosaic-lite` for `mosaic`.
/// None for `mosaic.pt`, or if a file of that name exists.
pub fn lite_of(name: &str) -> Option<&'static Shipped> {
    let named = find(name).filter(|shipped| shipped.name == name)?;
    if Path::new(name).is_file() {
        return None;
    }
    all().iter().find(|shipped| shipped.name.strip_suffix("-lite") == Some(named.name))
}

/// Opens a model by path or by the name of a shipped one. A file goes first, so one called
/// `mosaic.pt` in the working folder takes the place of the shipped `mosaic.pt`.
///
/// # Errors
///
/// [`ModelError::NotFound`], which lists the shipped models, when it is neither; otherwise what
/// is wrong with the model.
pub fn open(name_or_path: &str) -> Result<ModelFile, ModelError> {
    let path = Path::new(name_or_path);
    if path.is_file() {
        return ModelFile::open(path);
    }
    match find(name_or_path) {
        Some(Shipped { role: ModelRole::Style | ModelRole::Any, file, bytes, .. }) => {
            ModelFile::from_bytes(file, bytes)
        }
        Some(Shipped { role: ModelRole::Loss, file, .. }) => Err(ModelError::NotAModel {
            file: (*file).to_owned(),
            reason: "it is the loss network of training, not a style model".to_owned(),
        }),
        // A folder, or a file that cannot be accessed: the system's error is the more useful one.
        None if path.exists() => ModelFile::open(path),
        None => {
            let styles = all().iter().filter(|shipped| shipped.role != ModelRole::Loss);
            let names: Vec<&str> = styles.map(|shipped| shipped.name).collect();
            let (name, shipped) = (name_or_path.escape_debug().to_string(), names.join(", "));
            Err(ModelError::NotFound { name, shipped })
        }
    }
}

/// The bytes of a model's file, by path or by the name of a shipped one.
///
/// # Errors
/// As [`open`].
pub fn bytes(name_or_path: &str) -> Result<Cow<'static, [u8]>, ModelError> {
    let path = Path::new(name_or_path);
    match find(name_or_path).filter(|_| !path.is_file()) {
        Some(shipped) => Ok(Cow::Borrowed(shipped.bytes)),
        None => match std::fs::read(path) {
            Ok(bytes) => Ok(Cow::Owned(bytes)),
            // The error that opening gives is the more useful one.
            Err(_) => open(name_or_path).map(|_| Cow::Owned(Vec::new())),
        },
    }
}

/// The manifest: provenance of every shipped model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// One entry a model, in the order of [`all`].
    #[serde(rename = "model")]
    pub models: Vec<Entry>,
}

impl Manifest {
    /// The entry of a model.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.name == name)
    }
}

/// Where a shipped model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its short name.
    pub name: String,
    /// Name of its file in `models/`.
    pub file: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// What it is for.
    pub role: ModelRole,
    /// One line about it.
    pub about: String,
    /// Licence of the weights, an SPDX expression.
    pub licence: String,
    /// Whom to name.
    pub credit: String,
    /// Where it was taken from, when it is not our own work.
    pub source: Option<String>,
    /// The pictures it learned from: one for each of its styles, in their order; of a model for the style of any
    /// picture, one entry for all.
    #[serde(rename = "style", default)]
    pub styles: Vec<StylePicture>,
    /// How it was trained.
    pub training: Option<Training>,
    /// Things measured, in words; of a model with several styles, see [`StylePicture::figures`].
    #[serde(default)]
    pub figures: BTreeMap<String, String>,
}

/// A style picture and its rights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StylePicture {
    /// Name of the style, in a model with several.
    pub name: Option<String>,
    /// Its file in `models/`, when it may be passed on.
    pub picture: Option<String>,
    /// Who made it, and when.
    pub author: String,
    /// Its licence, or `public domain`.
    pub licence: String,
    /// Things measured of this style, in a model with several.
    #[serde(default)]
    pub figures: BTreeMap<String, String>,
}

/// How a model was trained. The model's own description holds the whole recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The program that trained it.
    pub tool: String,
    /// The command lines; each continues from the result of the one before.
    pub commands: Vec<String>,
    /// The model given to `--init` in the first command, in words.
    pub init: Option<String>,
    /// Name of the shipped loss network.
    pub loss_network: String,
    /// The photographs, in words.
    pub photos: String,
    /// Optimizer steps, in all.
    pub steps: u64,
    /// Photographs a step.
    pub batch: u64,
    /// Side of the square cut out of each photograph, pixels.
    pub image_size: u64,
    /// Shorter side of the style picture as training saw it, pixels; of several sizes the smallest.
    pub style_size: u64,
    /// Weight of the content loss in the last run.
    pub content_weight: f64,
    /// Weight of the style loss.
    pub style_weight: f64,
    /// Weight of the total variation.
    pub tv_weight: f64,
    /// How long it took.
    pub time: String,
    /// On which machine.
    pub machine: String,
}

/// Reads the manifest inside the program.
///
/// # Errors
///
/// When it is not as [`Manifest`] wants it, which a test keeps from happening.
pub fn manifest() -> Result<Manifest, toml::de::Error> {
    toml::from_str(include_str!("../../models/manifest.toml"))
}
