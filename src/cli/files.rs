//! The main command between files, pictures and pipes: what is checked before anything is opened.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::UsageError;
use super::regions::{self, ModelSelection};
use super::stream_args::{Batch, StreamArgs};
use crate::core::encoding::Container;
use crate::core::picture;
use crate::core::span::Span;
use crate::stream::{Config, InputKind, OutputKind, Pictures};

impl StreamArgs {
    /// Refuses combinations of input, output and options that do not fit.
    fn check_input_and_output(
        &self,
        source: &InputKind,
        target: &OutputKind,
    ) -> Result<(), UsageError> {
        let usage = |text: &str| Err(UsageError(text.to_owned()));
        let is_file = matches!(source, InputKind::File(_) | InputKind::Animation(_));
        match (source, target) {
            (_, OutputKind::Stdout) if self.json => usage(
                "--json prints to stdout, where '--output -' sends the video: give one of them",
            ),
            (_, OutputKind::Stdout) if std::io::stdout().is_terminal() => usage(
                "--output -: stdout is a terminal; send it into a program (… | ffplay -) or a file",
            ),
            (InputKind::Stdin, _) if std::io::stdin().is_terminal() => usage(
                "--input -: stdin is a terminal; send YUV4MPEG2 into it \
                 (ffmpeg -i FILE -f yuv4mpegpipe - | …)",
            ),
            _ if self.preview.is_some() && !is_file => {
                usage("--preview needs a video file as input")
            }
            (InputKind::Pictures(_) | InputKind::Stdin | InputKind::Y4m(_), _)
                if target.is_picture() =>
            {
                usage(
                    "the input gives many pictures: write to a folder (out/) or to numbered pictures (out/%05d.png)",
                )
            }
            (
                InputKind::File(_) | InputKind::Animation(_) | InputKind::Stdin | InputKind::Y4m(_),
                _,
            ) if self.fps.is_some() => {
                usage("--fps is for pictures and cameras: a video has its own rate")
            }
            (
                InputKind::Pictures(Pictures::Folder(a)),
                OutputKind::Pictures(Pictures::Folder(b)),
            ) if same_file(a, b) => {
                Err(UsageError(format!("'{}' is both input and output", a.display())))
            }
            _ => Ok(()),
        }
    }

    /// The configuration of a run between files, pictures and pipes.
    ///
    /// # Errors
    /// [`UsageError`] when options contradict each other or the files they name.
    pub(super) fn file_config(&self, input: PathBuf, output: PathBuf) -> Result<Config> {
        let usage = |text: String| Err(UsageError(text).into());
        let ModelSelection { models, mask, regions, .. } = regions::select(self.painters(), false)?;
        if mask.is_none() && models.len() > 1 {
            return usage(
                "several models are for live sources or for the regions of a --mask: give one --model"
                    .to_owned(),
            );
        }
        let (source, target) = (InputKind::of(&input), OutputKind::of(&output));
        self.check_input_and_output(&source, &target)?;
        if let Some(said) = name_fault(&output, &target) {
            return usage(format!("cannot write '{}': {said}", output.display()));
        }
        let encoding = self.encoding.encoding();
        match (self.encoding.given(), Container::from_path(&output)) {
            (_, Some(container)) => {
                encoding.codec_in(container).map_err(|e| UsageError(format!("--codec: {e}")))?;
            }
            (Some(option), None) => return usage(format!("{option} is for video files")),
            (None, None) => {}
        }
        if self.preview.is_some() && !target.is_picture() {
            return usage("--preview makes a picture: give an --output of .png or .jpg".to_owned());
        }
        let parts =
            [("--start", self.start), ("--duration", self.duration), ("--preview", self.preview)];
        if let Some((option, _)) = parts.iter().find(|(_, time)| time.is_some())
            && matches!(source, InputKind::File(_))
            && picture::is_picture(&input)
        {
            return usage(format!("{option} is for videos; '{}' is a picture", input.display()));
        }
        if let Some((option, _)) = parts[..2].iter().find(|(_, time)| time.is_some())
            && matches!(source, InputKind::Animation(_))
            && target.is_picture()
        {
            return usage(format!(
                "{option} is for videos; --preview TIME paints one frame of them"
            ));
        }
        if self.no_audio && target.is_picture() {
            return usage("--no-audio is for videos: a picture has no sound".to_owned());
        }
        if same_file(&input, &output) {
            return usage(format!("'{}' is both input and output", input.display()));
        }
        Ok(Config {
            models,
            mask,
            regions,
            engine: self.engine(),
            steady: self.steadiness(),
            input,
            output,
            overwrite: self.overwrite,
            batch: match self.batch {
                Batch::Auto => None,
                Batch::Of(n) => Some(n),
            },
            rate: self.fps,
            audio: !self.no_audio,
            span: Span { start: self.start, duration: self.duration },
            preview: self.preview,
            encoding,
            #[cfg(feature = "media")]
            part: None,
            dump_dot: self.dump_dot.clone(),
        })
    }
}

/// What is wrong with the name of an output.
pub(super) fn name_fault(output: &Path, target: &OutputKind) -> Option<&'static str> {
    match target {
        OutputKind::Stdout | OutputKind::Y4m(_) | OutputKind::Pictures(Pictures::Folder(_)) => None,
        OutputKind::Pictures(Pictures::Numbered(_)) => {
            let known = picture::format_for_output(output).is_some();
            (!known).then_some("numbered pictures end in .png or .jpg")
        }
        OutputKind::File(_) if target.is_picture() => None,
        OutputKind::File(_) if Container::from_path(output).is_some() => None,
        OutputKind::File(_) => Some(
            "its name must end in .mp4, .mov, .mkv or .webm, or in .png or .jpg for a picture; a folder for \
             pictures ends in /",
        ),
    }
}

/// Whether both paths name the same file, also through links.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}
