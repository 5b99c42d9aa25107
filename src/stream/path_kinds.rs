//! Kinds of inputs and outputs, told by the path and by what exists there.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::core::animation::is_animated;
use crate::core::picture;
use crate::core::rate::FrameRate;
use crate::core::sequence::{Pattern, pictures_in};
use crate::core::span::Span;

/// Many pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pictures {
    /// All of a folder.
    Folder(PathBuf),
    /// Numbered ones: `frames/%04d.png`.
    Numbered(Pattern),
}

/// Kind of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputKind {
    /// A file that a decoder opens, or a picture.
    File(PathBuf),
    /// An animated picture: a video without sound.
    Animation(PathBuf),
    /// A file of YUV4MPEG2.
    Y4m(PathBuf),
    /// YUV4MPEG2 from stdin.
    Stdin,
    /// Pictures, one frame each.
    Pictures(Pictures),
}

impl InputKind {
    /// The kind of input that a path names; looks at the file system.
    pub fn of(path: &Path) -> Self {
        if path == Path::new("-") {
            return InputKind::Stdin;
        }
        if path.is_dir() {
            return InputKind::Pictures(Pictures::Folder(path.to_owned()));
        }
        // If a file of exactly this name exists, percent signs in it are no pattern.
        match Pattern::parse(path).filter(|_| !path.exists()) {
            Some(pattern) => InputKind::Pictures(Pictures::Numbered(pattern)),
            None if is_y4m(path) => InputKind::Y4m(path.to_owned()),
            None if is_animated(path) => InputKind::Animation(path.to_owned()),
            None => InputKind::File(path.to_owned()),
        }
    }

    /// Whether the frames come from separate picture files.
    pub fn is_pictures(&self) -> bool {
        matches!(self, InputKind::Pictures(_))
    }
}

/// Kind of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    /// A video file, or one picture.
    File(PathBuf),
    /// A file of YUV4MPEG2.
    Y4m(PathBuf),
    /// YUV4MPEG2 to stdout.
    Stdout,
    /// Pictures, one a frame.
    Pictures(Pictures),
}

impl OutputKind {
    /// The kind of an output path. It is a folder if it ends in a slash, or exists as a folder and has no
    /// file extension.
    pub fn of(path: &Path) -> Self {
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if path == Path::new("-") {
            OutputKind::Stdout
        } else if slash || (path.is_dir() && path.extension().is_none()) {
            OutputKind::Pictures(Pictures::Folder(path.to_owned()))
        } else if let Some(pattern) = Pattern::parse(path) {
            OutputKind::Pictures(Pictures::Numbered(pattern))
        } else if has_ending(path, "y4m") {
            OutputKind::Y4m(path.to_owned())
        } else {
            OutputKind::File(path.to_owned())
        }
    }

    /// True when it is one still picture.
    pub fn is_picture(&self) -> bool {
        matches!(self, OutputKind::File(path) if picture::format_for_output(path).is_some())
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

/// Whether a file begins like YUV4MPEG2. A named pipe, which cannot be read twice, is not opened.
fn is_y4m(path: &Path) -> bool {
    let mut head = Vec::new();
    path.is_file()
        && File::open(path).is_ok_and(|file| file.take(10).read_to_end(&mut head).is_ok())
        && head == b"YUV4MPEG2 "
}

impl Pictures {
    /// The existing files in order, and a note for the user, if any.
    ///
    /// # Errors
    /// When there are none, or the folder cannot be read.
    pub fn files(&self) -> Result<(Vec<PathBuf>, Option<String>)> {
        match self {
            Pictures::Folder(folder) => {
                let name = folder.display();
                let files = pictures_in(folder).with_context(|| format!("cannot read '{name}'"))?;
                if files.is_empty() {
                    bail!("cannot read '{name}': there is no picture in this folder");
                }
                Ok((files, None))
            }
            Pictures::Numbered(pattern) => {
                let name = pattern.folder().display();
                let found = pattern.sequence().with_context(|| format!("cannot read '{name}'"))?;
                let files: Vec<_> = found.numbers.iter().map(|n| pattern.path(*n)).collect();
                let Some(last) = found.numbers.last() else {
                    let example = pattern.path(1);
                    bail!(
                        "cannot read '{}': there is no picture of such a name",
                        example.display()
                    );
                };
                let note = found.behind_gap.map(|next| {
                    let (missing, next) = (pattern.path(last + 1), pattern.path(next));
                    let (missing, next) = (missing.display(), next.display());
                    format!(
                        "'{missing}' is missing: the sequence ends before it; '{next}' and later pictures are left out"
                    )
                });
                Ok((files, note))
            }
        }
    }

    /// The pattern of pictures that are named by number.
    pub fn pattern(&self) -> Pattern {
        match self {
            Pictures::Folder(folder) => Pattern::in_folder(folder),
            Pictures::Numbered(pattern) => pattern.clone(),
        }
    }

    /// The output files for the pictures `inputs`: in a folder each keeps its name, a pattern keeps the
    /// numbers of a pattern, and otherwise they are numbered from 1.
    pub fn made_of(&self, source: &InputKind, inputs: &[PathBuf]) -> Vec<PathBuf> {
        let numbered_from_1 = |n: usize| self.pattern().path(n as u64 + 1);
        let name = |(n, input): (usize, &PathBuf)| match (self, source) {
            (Pictures::Folder(folder), _) => {
                // Not with_extension: `a.b.jpg` becomes `a.b.png`.
                let stem = input.file_stem().unwrap_or_default().to_string_lossy();
                folder.join(format!("{stem}.png"))
            }
            (Pictures::Numbered(to), InputKind::Pictures(Pictures::Numbered(from))) => {
                let name = input.file_name().unwrap_or_default().to_string_lossy();
                from.number_of(&name).map_or_else(|| numbered_from_1(n), |number| to.path(number))
            }
            _ => numbered_from_1(n),
        };
        inputs.iter().enumerate().map(name).collect()
    }

    /// The pattern of the numbered output pictures, and the last number. `made`: the output files, if the
    /// input is pictures; otherwise the output has `frames` pictures. None if the outputs keep names that are
    /// not numbers.
    pub(super) fn numbered(
        &self,
        source: &InputKind,
        made: Option<&[PathBuf]>,
        frames: u64,
    ) -> Option<(Pattern, u64)> {
        let pattern = match (self, source) {
            (_, InputKind::Pictures(Pictures::Folder(_)))
                if matches!(self, Pictures::Folder(_)) =>
            {
                return None;
            }
            (Pictures::Folder(folder), InputKind::Pictures(Pictures::Numbered(from))) => {
                from.in_other_folder(folder)
            }
            _ => self.pattern(),
        };
        let Some(made) = made else { return Some((pattern, frames)) };
        let numbers = made.iter().filter_map(|path| {
            path.file_name().and_then(|name| name.to_str()).and_then(|name| pattern.number_of(name))
        });
        let last = numbers.max()?;
        Some((pattern, last))
    }

    /// The folder that contains the pictures.
    pub fn folder(&self) -> PathBuf {
        self.pattern().folder().to_owned()
    }
}

/// The files that are shown in `span`.
pub(super) fn part_of(files: Vec<PathBuf>, rate: FrameRate, span: Span) -> Result<Vec<PathBuf>> {
    let (first, count) = rate.frames_of(span);
    let all = files.len();
    let from = usize::try_from(first).unwrap_or(usize::MAX);
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    if from >= all {
        return Err(anyhow!(nothing_there(span, rate.time_of(all as u64))));
    }
    Ok(files.into_iter().skip(from).take(count).collect())
}

/// The message when no frame lies in `span`.
pub(super) fn nothing_there(span: Span, end: Duration) -> String {
    let start = span.start.unwrap_or_default().as_secs_f64();
    format!("there is nothing at {start:.3} s: it ends at {:.3} s", end.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_told_by_its_name_and_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("50%d.mp4"), "a file").unwrap();
        std::fs::write(at("raw"), "YUV4MPEG2 W2 H2\n").unwrap();
        assert_eq!(InputKind::of(Path::new("-")), InputKind::Stdin);
        assert_eq!(InputKind::of(Path::new("./-")), InputKind::File("./-".into()));
        let all = Pictures::Folder(folder.path().to_owned());
        assert_eq!(InputKind::of(folder.path()), InputKind::Pictures(all));
        assert_eq!(InputKind::of(&at("50%d.mp4")), InputKind::File(at("50%d.mp4")));
        assert!(InputKind::of(&at("%d.png")).is_pictures());
        assert_eq!(InputKind::of(&at("raw")), InputKind::Y4m(at("raw")));
    }

    #[test]
    fn what_is_made_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let folder_of = |text: &str| OutputKind::Pictures(Pictures::Folder(text.into()));
        let here = folder.path().join("here");
        std::fs::create_dir(&here).unwrap();
        assert_eq!(OutputKind::of(Path::new("-")), OutputKind::Stdout);
        assert_eq!(OutputKind::of(Path::new("new/")), folder_of("new/"));
        assert_eq!(OutputKind::of(&here), OutputKind::Pictures(Pictures::Folder(here.clone())));
        assert_eq!(OutputKind::of(Path::new("a.Y4M")), OutputKind::Y4m("a.Y4M".into()));
        assert_eq!(OutputKind::of(Path::new("new")), OutputKind::File("new".into()));
        assert!(OutputKind::of(Path::new("a.JPG")).is_picture());
        assert!(!OutputKind::of(Path::new("%d.jpg")).is_picture());
    }

    #[test]
    fn a_folder_keeps_names_and_a_pattern_keeps_numbers() {
        let inputs = ["in/x7.a.jpg", "in/x8.a.jpg"].map(PathBuf::from);
        let named = |source: &str, target: &str| {
            let OutputKind::Pictures(target) = OutputKind::of(Path::new(target)) else { panic!() };
            let made = target.made_of(&InputKind::of(Path::new(source)), &inputs);
            made.iter().map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named("in/x%d.a.jpg", "out/"), ["out/x7.a.png", "out/x8.a.png"]);
        assert_eq!(named("in/x%d.a.jpg", "out/%03d.jpg"), ["out/007.jpg", "out/008.jpg"]);
        assert_eq!(named("in", "out/%03d.jpg"), ["out/001.jpg", "out/002.jpg"]);
    }
}
