//! What the user sees of a run: an estimate, a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::span::about;
use crate::stream::{Observer, Progress};

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The first pass is slower than the others: memory is found, weights are unpacked.
const WARM_PASSES: u64 = 2;

/// Writes to stderr.
pub struct Reporter {
    quiet: bool,
    scale: f64,
    bar: Option<ProgressBar>,
    terminal: bool,
    estimated: bool,
    last_line: Instant,
}

impl Reporter {
    /// A reporter for a run at this scale.
    pub fn new(quiet: bool, scale: f64) -> Self {
        Reporter {
            quiet,
            scale,
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            estimated: false,
            last_line: Instant::now(),
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            // Not eprintln!, which panics when the reader has gone away (`2>&1 | head`).
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, frames: u64, total: Option<u64>, text: String) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let shape = match total {
                Some(_) => "{bar:30} {pos}/{len} frames  {msg}",
                None => "{spinner} {pos} frames  {msg}",
            };
            // A template that does not parse leaves indicatif's own, which is as good.
            if let Ok(style) = ProgressStyle::with_template(shape) {
                bar.set_style(style);
            }
            bar
        });
        if total.is_some_and(|total| frames > total) {
            // The container's count was an estimate.
            bar.set_length(frames);
        }
        bar.set_position(frames);
        bar.set_message(text);
    }
}

impl Observer for Reporter {
    fn note(&mut self, text: &str) {
        self.say(text);
    }

    fn progress(&mut self, progress: &Progress) {
        let (stats, total) = (progress.stats, progress.total);
        if self.quiet || stats.passes() == 0 {
            return;
        }
        let per_frame = stats.last_pass();
        if !self.estimated && (stats.passes() >= WARM_PASSES || per_frame.as_secs_f64() > 3.0) {
            self.estimated = true;
            if let Some(text) = total.and_then(|total| estimate(total, per_frame, self.scale)) {
                self.say(&text);
            }
        }
        let frames = stats.frames();
        let fps = frames as f64 / stats.elapsed().as_secs_f64();
        let left = total.map(|total| {
            Duration::from_secs_f64(total.saturating_sub(frames) as f64 / fps.max(1e-9))
        });
        let mut text = format!("{fps:.1} fps");
        if let Some(left) = left {
            text += &format!(", {} left", about(left));
        }
        if self.terminal {
            self.draw(frames, total, text);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let of = total.map_or_else(String::new, |total| format!("/{total}"));
            self.say(&format!("{frames}{of} frames, {text}"));
        }
    }
}

/// "1320 frames at 0.3 s: about 7 minutes; --scale 0.5: 2 minutes"; none when it is soon over.
fn estimate(frames: u64, per_frame: Duration, scale: f64) -> Option<String> {
    let seconds = per_frame.as_secs_f64() * frames as f64;
    if seconds < 3.0 {
        return None;
    }
    let all = about(Duration::from_secs_f64(seconds));
    let mut text = format!("{frames} frames at {:.2} s: about {all}", per_frame.as_secs_f64());
    if seconds > 20.0 && scale >= 0.5 {
        // The network's work goes with the number of pixels.
        let half = about(Duration::from_secs_f64(seconds / 4.0));
        text += &format!("; --scale {}: {half}", scale / 2.0);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_names_what_half_the_size_would_take() {
        let text = estimate(1320, Duration::from_millis(300), 1.0).unwrap();
        assert_eq!(text, "1320 frames at 0.30 s: about 7 minutes; --scale 0.5: 2 minutes");
        assert_eq!(estimate(10, Duration::from_millis(10), 1.0), None);
        let small = estimate(1320, Duration::from_millis(300), 0.25).unwrap();
        assert!(!small.contains("--scale"), "{small}");
    }
}
