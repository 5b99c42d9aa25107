//! The last steps of a written file: tags are corrected (Matroska) or the index is moved to the front (MP4),
//! the file is flushed to the disk, and it gets its final name.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;

use super::Observer;
use super::partial::PartialFile;
use super::supervisor::{Stage, Supervisor};
use crate::core::encoding::Container;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{REMUX_STALLED, WaitTimer};
use crate::media::remux::{Remux, RemuxFiles, Track};
use crate::media::{Event, PipelineError, PipelineRole, matroska};

/// Completes a file whose muxer has finished.
///
/// The file is already complete and playable. If a step here fails, or the run is ended at once meanwhile, it
/// gets its final name as it is.
///
/// # Errors
/// When it cannot be renamed; it then stays where it is.
pub(super) fn finish(
    partial: PartialFile,
    container: Container,
    layout: &[Track],
    supervisor: &Supervisor,
    observer: &mut dyn Observer,
) -> Result<()> {
    if !container.is_mp4() {
        let flags: Vec<_> = layout.iter().map(Track::flags).collect();
        if let Err(error) = matroska::correct_finished_file(partial.path(), &flags) {
            tracing::warn!("the tags of the file stay as they are: {error}");
        }
        return commit(partial, None, supervisor.signal());
    }
    let front = match partial.sibling() {
        Ok(front) => front,
        Err(error) => {
            let name = partial.target().display();
            observer.note(&format!("the index stays at the end of '{name}': {error}"));
            return commit(partial, None, supervisor.signal());
        }
    };
    let files = RemuxFiles::new(partial.path(), front.path(), layout);
    let (given_up, whole) = (files.clone(), Names::of(&partial));
    let at_once = supervisor.signal().clean_up(move || {
        given_up.give_up();
        whole.rename("; its index is at its end")
    });
    let name = partial.target().display().to_string();
    let remuxed = Remux::start(files, container, supervisor.events()).and_then(|remux| {
        let result = supervisor.supervise(Remuxing {
            remux: &remux,
            name: &name,
            observer,
            written: 0,
            patience: WaitTimer::new(),
        });
        remux.finish(result)
    });
    if !at_once.cancel() {
        // The clean-up has already renamed it.
        return Ok(());
    }
    match remuxed {
        Ok(()) => commit(front, Some(partial), supervisor.signal()),
        Err(error) => {
            observer.note(&format!("the index stays at the end of '{name}': {error}"));
            commit(partial, None, supervisor.signal())
        }
    }
}

/// Gives a complete file its final name, even if the run is ended at once meanwhile; `other` is not needed
/// after that.
///
/// # Errors
/// When it cannot be renamed; it then stays where it is.
pub(super) fn commit(
    file: PartialFile,
    other: Option<PartialFile>,
    stop: &StopSignal,
) -> Result<()> {
    let (whole, unneeded) = (Names::of(&file), other.as_ref().map(|file| file.path().to_owned()));
    let at_once = stop.clean_up(move || {
        let renamed = whole.rename("");
        if let (Some(_), Some(unneeded)) = (&renamed, unneeded) {
            let _ = std::fs::remove_file(unneeded);
        }
        renamed
    });
    let result = file.commit();
    if at_once.cancel() { Ok(result?) } else { Ok(()) }
}

/// The partial and the final name of a complete file.
struct Names(PathBuf, PathBuf);

impl Names {
    fn of(file: &PartialFile) -> Self {
        Names(file.path().to_owned(), file.target().to_owned())
    }

    /// Renames the file at once; returns a note about it.
    fn rename(&self, more: &str) -> Option<String> {
        let Names(from, to) = self;
        std::fs::rename(from, to).ok()?;
        Some(format!("'{}' is complete{more}", to.display()))
    }
}

/// The stage in which a finished file is remuxed.
struct Remuxing<'a> {
    remux: &'a Remux,
    name: &'a str,
    observer: &'a mut dyn Observer,
    written: u64,
    patience: WaitTimer,
}

impl Stage for Remuxing<'_> {
    type End = Result<(), PipelineError>;

    fn handle(&mut self, event: Event) -> ControlFlow<Self::End> {
        match event {
            Event::End(PipelineRole::Remux) => ControlFlow::Break(Ok(())),
            Event::Failed(PipelineRole::Remux, error) => ControlFlow::Break(Err(error)),
            _ => ControlFlow::Continue(()),
        }
    }

    fn stop_at_once(&mut self) -> Self::End {
        Err(PipelineError::stopped())
    }

    fn tick(&mut self) -> ControlFlow<Self::End> {
        let written = self.remux.written();
        if written != self.written {
            self.written = written;
            self.patience.renew();
        }
        if self.patience.is_over(REMUX_STALLED) {
            return ControlFlow::Break(Err(Remux::stalled()));
        }
        self.observer.remuxing(self.name, self.remux.share());
        ControlFlow::Continue(())
    }
}
