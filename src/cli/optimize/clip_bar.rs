//! What the user sees while the frames of a video are optimized.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::core::span::about;
use crate::train::optimize::clip::{ClipObserver, ClipProgress};

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// A bar on a terminal, lines elsewhere.
pub(super) struct ClipBar {
    quiet: bool,
    frames: usize,
    passes: u32,
    bar: Option<ProgressBar>,
    terminal: bool,
    last_line: Option<Instant>,
}

impl ClipBar {
    /// For so many frames, painted so often; says nothing when `quiet`.
    pub(super) fn new(quiet: bool, frames: usize, passes: u32) -> Self {
        let terminal = std::io::stderr().is_terminal();
        ClipBar { quiet, frames, passes, bar: None, terminal, last_line: None }
    }

    /// Removes the bar.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl ClipObserver for ClipBar {
    fn note(&mut self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            // Not eprintln!, which panics when nobody reads.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn progress(&mut self, progress: &ClipProgress) {
        if self.quiet {
            return;
        }
        let ClipProgress { pass, frames, step, terms, left } = *progress;
        let pass =
            if self.passes > 1 { format!("pass {pass}/{}  ", self.passes) } else { String::new() };
        let text = format!(
            "{pass}step {step}  content {:.4}  style {:.4}  temporal {:.4}  {} left",
            terms.content,
            terms.style,
            terms.temporal,
            about(left)
        );
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(self.frames as u64);
                // A template that does not parse leaves indicatif's own, which is as good.
                if let Ok(style) =
                    ProgressStyle::with_template("{bar:30} {pos}/{len} frames  {msg}")
                {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_position(frames as u64);
            bar.set_message(text);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            self.note(&format!("{frames}/{} frames  {text}", self.frames));
        }
    }
}
