//! What the user sees of a training run.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::core::span::about;
use crate::train::run::{Progress, RunObserver};

/// A bar on a terminal, lines elsewhere.
pub struct Bar {
    quiet: bool,
    bar: Option<ProgressBar>,
    terminal: bool,
    estimated: bool,
    last_line: Option<Instant>,
}

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);
/// The first steps are slower than the others.
const WARM_STEPS: u64 = 3;

impl Bar {
    /// Says nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Bar { quiet, bar: None, terminal, estimated: false, last_line: None }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl RunObserver for Bar {
    fn note(&mut self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            // Not eprintln!, which panics when nobody reads.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let Progress { step, steps, terms, seconds } = *progress;
        if self.quiet {
            return;
        }
        let left = about(Duration::from_secs_f64(seconds * (steps - step) as f64));
        if !self.estimated && (step >= WARM_STEPS || seconds > 5.0) {
            self.estimated = true;
            self.note(&format!("{} steps at {seconds:.2} s: about {left}", steps - step));
        }
        let steady = match terms.temporal {
            0.0 => String::new(),
            temporal => format!("  temporal {temporal:.4}"),
        };
        let text = format!(
            "content {:.4}  style {:.4}  tv {:.4}{steady}  {left} left",
            terms.content, terms.style, terms.tv
        );
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new(steps);
                // A template that does not parse leaves indicatif's own, which is as good.
                if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}") {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_position(step);
            bar.set_message(text);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            self.note(&format!("step {step}/{steps}  {text}"));
        }
    }
}
