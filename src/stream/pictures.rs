//! Pictures → pictures, each like a still picture: its own size, opacity and profile are kept.
//!
//! Reading, painting and writing run at the same time, on three threads.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use super::still::write_picture;
use super::{Observer, Progress, RunContext};
use crate::core::picture::{Picture, PictureError};
use crate::core::sequence::Pattern;
use crate::core::stats::{Stats, Summary};
use crate::core::stylizer::Stylizer;

/// Pictures that wait at each step.
const WAITING: usize = 2;

/// Stylizes pictures; `pairs` are input and output files. Unreadable inputs are skipped and counted.
///
/// # Errors
/// When none can be read, the network fails or one cannot be written; those before it are kept.
pub fn stylize_pictures(
    (input, output): (&Path, &Path),
    pairs: &[(PathBuf, PathBuf)],
    stylizer: &mut dyn Stylizer,
    context: &mut RunContext,
) -> Result<Summary> {
    let RunContext { stop, stats, observer } = context;
    let (stop, stats, observer) = (&*stop, &**stats, &mut **observer);
    let (read, opened) = sync_channel(WAITING);
    let (painted, to_write) = sync_channel::<(Picture, &Path)>(WAITING);
    let total = Some(pairs.len() as u64);
    let mut unreadable = 0;
    let (failure, written) = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            for (from, to) in pairs {
                // Nobody takes any more pictures after a failure or Ctrl-C.
                if read.send((from.as_path(), to.as_path(), Picture::open(from))).is_err() {
                    break;
                }
            }
        });
        let writer = scope.spawn(move || write_all(&to_write, stats));
        let mut failure = None;
        for (from, to, picture) in &opened {
            if stop.is_set() {
                break;
            }
            let mut picture = match picture {
                Ok(picture) => picture,
                Err(error) => {
                    unreadable += 1;
                    left_out(&error, observer);
                    continue;
                }
            };
            let since = std::time::Instant::now();
            let frame = std::slice::from_mut(&mut picture.frame);
            if let Err(error) = stylizer.stylize(frame) {
                let text = format!("cannot stylize '{}'", from.display());
                failure = Some(anyhow::Error::from(error).context(text));
                break;
            }
            stats.stylized(1, since.elapsed());
            // The writer ends early only when it fails, which it tells below.
            if painted.send((picture, to)).is_err() {
                break;
            }
            observer.progress(&Progress { stats, total });
        }
        drop((opened, painted));
        (failure, reader.join().and(writer.join()))
    });
    let Ok((frames, write_failure)) = written else {
        bail!("a thread that reads or writes pictures panicked")
    };
    let interrupted = stop.is_interrupted();
    if let Some(failure) = failure.or(write_failure) {
        return Err(match frames {
            0 => failure,
            _ => failure.context(format!("stopped after {frames} pictures, which are kept")),
        });
    }
    if frames == 0 && !interrupted {
        let text = format!("none of the {unreadable} pictures can be read");
        return Err(anyhow!(text).context(format!("cannot decode '{}'", input.display())));
    }
    if unreadable > 0 {
        observer.note(&format!("{unreadable} of {} pictures could not be read", pairs.len()));
    }
    let wall = stats.elapsed().as_secs_f64();
    Ok(Summary {
        input: input.display().to_string(),
        output: output.display().to_string(),
        frames,
        fps: frames as f64 / wall,
        wall_s: wall,
        network_s: stats.network().as_secs_f64(),
        first_frame_s: stats.first_out().map(|time| time.as_secs_f64()),
        interrupted,
        ..Summary::default()
    })
}

fn left_out(error: &PictureError, observer: &mut dyn Observer) {
    observer.note(&format!("{error}; skipped"));
}

/// Writes the pictures received; returns how many, and the error that ended it early.
fn write_all(pictures: &Receiver<(Picture, &Path)>, stats: &Stats) -> (u64, Option<anyhow::Error>) {
    let mut written = 0;
    for (picture, path) in pictures {
        if let Err(error) = write_into_folder(&picture, path) {
            return (written, Some(error));
        }
        stats.first_frame_out();
        written += 1;
    }
    (written, None)
}

/// Pairs each input with its output, if the names allow it.
///
/// # Errors
/// When two would have one name, or one would replace an input.
pub fn pairs(inputs: Vec<PathBuf>, outputs: Vec<PathBuf>) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut seen = std::collections::HashMap::new();
    let real = |path: &Path| {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        folder.join(path.file_name().unwrap_or_default())
    };
    let read: std::collections::HashSet<PathBuf> = inputs.iter().map(|path| real(path)).collect();
    for (input, output) in inputs.iter().zip(&outputs) {
        if read.contains(&real(output)) {
            bail!("'{}' is both input and output", output.display());
        }
        if let Some(other) = seen.insert(output, input) {
            let (other, input, output) = (other.display(), input.display(), output.display());
            bail!("'{other}' and '{input}' would both become '{output}'");
        }
    }
    Ok(inputs.into_iter().zip(outputs).collect())
}

/// Writes a picture, and makes its folder first where that is missing.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_into_folder(picture: &Picture, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists()) {
        let cannot = || format!("cannot make the folder '{}'", folder.display());
        std::fs::create_dir(folder).with_context(cannot)?;
    }
    write_picture(picture, path)
}

/// After writing numbered pictures up to `last`, removes the rest of a longer, earlier sequence, but none of
/// the `inputs`. Files behind a gap in the numbers belong to another sequence and stay.
///
/// # Errors
/// When a picture cannot be removed.
pub(super) fn remove_rest(
    pattern: &Pattern,
    last: u64,
    inputs: &[PathBuf],
    observer: &mut dyn Observer,
) -> Result<()> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let inputs: std::collections::HashSet<PathBuf> = inputs.iter().map(|path| real(path)).collect();
    let rest = pattern.rest(last);
    let rest: Vec<_> = rest.into_iter().take_while(|path| !inputs.contains(&real(path))).collect();
    for path in &rest {
        let cannot = || format!("cannot remove '{}'", path.display());
        std::fs::remove_file(path).with_context(cannot)?;
    }
    if let [first, ..] = rest.as_slice() {
        let (count, first) = (rest.len(), first.display());
        observer.note(&match count {
            1 => format!("removed '{first}', left over from a longer sequence"),
            _ => format!(
                "removed {count} pictures from '{first}' on, left over from a longer sequence"
            ),
        });
    }
    Ok(())
}
