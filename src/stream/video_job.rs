//! Parameters of a run on a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::encoding::{Container, Encoding};
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

/// A run that paints a part of a longer video: its encoded pictures alone are written, with their exact times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartJob {
    /// Container that they are encoded for.
    pub container: Container,
    /// Frames that are painted first, and left out.
    pub lead: u64,
    /// How many frames there must be after those.
    pub frames: u64,
    /// CRC-32 of the times that they must have; see [`Part::times`](super::parts::plan::Part).
    pub times: u32,
    /// What is subtracted from the times before, nanoseconds.
    pub origin: u64,
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
    /// A part of a longer video.
    pub part: Option<PartJob>,
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
            part: None,
            dump_dot: None,
        }
    }
}
