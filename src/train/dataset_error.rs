//! Why there are no photographs, or no masks, to train on.

use std::path::PathBuf;

use crate::core::regions::MaskError;

/// Why there are no photographs to train on.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A folder cannot be read.
    #[error("cannot read the {what} '{}': {reason}", folder.display())]
    Read {
        /// Of what: `dataset`, `masks`, `videos`.
        what: &'static str,
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        reason: String,
    },
    /// Fewer photos than a step needs.
    #[error(
        "the dataset '{}' holds {found} pictures (.jpg, .png, .webp), a batch needs {batch}; \
         give a folder with more, or a smaller --batch",
        folder.display()
    )]
    TooFew {
        /// The folder.
        folder: PathBuf,
        /// How many there are.
        found: usize,
        /// How many a step needs.
        batch: usize,
    },
    /// None can be decoded.
    #[error("no picture of the dataset can be decoded; the last: {0}")]
    NoneReadable(String),
    /// A folder for videos holds none.
    #[error(
        "the folder '{}' holds no videos (.mp4, .mkv, .mov, .webm, .avi, .ts, …); give --videos a folder with some",
        .0.display()
    )]
    NoVideos(PathBuf),
    /// No video can be used.
    #[error("none of the {found} videos can be used; the first, {first}")]
    NoVideoReadable {
        /// How many there are.
        found: usize,
        /// The first, and why.
        first: String,
    },
    /// Photos have no mask.
    #[error(
        "no mask for '{}': expected '{}' (or .webp, .jpg, .jpeg); {without} of {photos} photos have \
         none",
        photo.display(), mask.display()
    )]
    NoMask {
        /// The first of them.
        photo: PathBuf,
        /// What its mask would be called.
        mask: PathBuf,
        /// How many have none.
        without: usize,
        /// How many photos there are.
        photos: usize,
    },
    /// A mask cannot be used.
    #[error(transparent)]
    Mask(#[from] MaskError),
}
