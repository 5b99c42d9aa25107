//! Parameters of a run on a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::encoding::Encoding;
use crate::core::rate::FrameRate;
use crate::core::span::Span;

/// Pictures of one size, shown one after another.
#[derive(Debug, Clone)]
pub struct TimedPictures {
    /// The pictures.
    pub files: Vec<PathBuf>,
    /// When the first one is shown.
    pub start: Duration,
    /// When each one ends.
    pub ends: Vec<Duration>,
    /// Frames a second, if the rate is constant.
    pub rate: Option<FrameRate>,
}

/// Input, output and options of a video run.
#[derive(Debug, Clone, Copy)]
pub struct VideoJob<'a> {
    /// What to read: a file, `-`, a folder of pictures or a pattern of their names.
    pub input: &'a Path,
    /// What to write: a file whose ending says the container, `-`, or pictures.
    pub output: &'a Path,
    /// Which part of the input.
    pub span: Span,
    /// Frame rate of pictures.
    pub rate: Option<FrameRate>,
    /// Copy the sound.
    pub audio: bool,
    /// Frames in one network pass.
    pub batch: usize,
    /// How the output is encoded.
    pub encoding: Encoding,
    /// Frames to write instead of those of the input, whose other tracks are copied.
    pub frames: Option<&'a TimedPictures>,
    /// Write the pipelines as Graphviz graphs into this folder.
    pub dump_dot: Option<&'a Path>,
}

impl<'a> VideoJob<'a> {
    /// A run over the whole video, one frame per batch, with default options.
    pub fn new(input: &'a Path, output: &'a Path) -> Self {
        VideoJob {
            input,
            output,
            span: Span::default(),
            rate: None,
            audio: true,
            batch: 1,
            encoding: Encoding::default(),
            frames: None,
            dump_dot: None,
        }
    }
}
