//! What the user sees of a run: an estimate, a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

#[cfg(feature = "media")]
use super::service::Service;
use crate::core::span::about;
#[cfg(feature = "media")]
use crate::stream::LiveStatus;
use crate::stream::{Observer, Progress};

/// Interval of plain lines, where stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Passes before the estimate: the first is slower than the others (memory, unpacking of weights).
const WARM_PASSES: u64 = 2;

/// Shows notes, progress and status on stderr.
pub struct Reporter {
    quiet: bool,
    scale: f64,
    bar: Option<ProgressBar>,
    terminal: bool,
    estimated: bool,
    last_line: Instant,
    /// Notes to print once the run makes progress.
    asides: Vec<String>,
    /// Counters of the last status, for rates.
    #[cfg_attr(not(feature = "media"), allow(dead_code))]
    last: Option<(Instant, u64, u64)>,
    /// Whether the status line is on the terminal.
    line: bool,
    #[cfg(feature = "media")]
    service: Option<Service>,
}

impl Reporter {
    /// A reporter for a run at this scale (for the estimate).
    pub fn new(quiet: bool, scale: f64) -> Self {
        Reporter {
            quiet,
            scale,
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            estimated: false,
            last_line: Instant::now(),
            asides: Vec::new(),
            last: None,
            line: false,
            #[cfg(feature = "media")]
            service: Service::of_environment(),
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            // While keys are watched the terminal is raw: a new line does not begin at the left.
            None if self.line => write_out(&format!("\r\x1b[K{text}\r\n")),
            None if self.terminal => write_out(&format!("{text}\r\n")),
            None => write_out(&format!("{text}\n")),
        }
    }

    fn say_asides(&mut self) {
        std::mem::take(&mut self.asides).iter().for_each(|text| self.say(text));
    }

    /// Removes the bar and prints pending notes, after a successful run.
    pub fn finish_well(&mut self) {
        self.finish();
        self.say_asides();
    }

    /// Removes the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if std::mem::take(&mut self.line) {
            write_out("\r\x1b[K");
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

    fn aside(&mut self, text: &str) {
        self.asides.push(text.to_owned());
    }

    fn progress(&mut self, progress: &Progress) {
        let (stats, total) = (progress.stats, progress.total);
        if self.quiet || stats.passes() == 0 {
            return;
        }
        self.say_asides();
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

    fn remuxing(&mut self, name: &str, share: f64) {
        if self.quiet {
            return;
        }
        let text =
            format!("moving the index of '{name}' to the front: {:.0} %", (share * 100.0).floor());
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        } else if self.terminal {
            write_out(&format!("\r\x1b[K{text}"));
            self.line = true;
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            self.say(&text);
        }
    }

    #[cfg(feature = "media")]
    fn live(&mut self, status: &LiveStatus) {
        self.say_asides();
        if let Some(service) = &mut self.service {
            service.flows(status.delivered);
        }
        let now = Instant::now();
        let rates = self.last.map_or((0.0, 0.0), |(at, captured, sent)| {
            let seconds = (now - at).as_secs_f64().max(1e-3);
            let rate = |n: u64, before: u64| n.saturating_sub(before) as f64 / seconds;
            (rate(status.captured, captured), rate(status.sent, sent))
        });
        // Rates over some seconds: half a second of a slow network is a frame or none.
        if self.last.is_none_or(|(at, ..)| now - at >= Duration::from_secs(3)) {
            self.last = Some((now, status.captured, status.sent));
            let text = status_line(status, rates);
            if let Some(service) = &self.service {
                service.status(&text);
            }
            if self.quiet {
                return;
            }
            if self.terminal {
                write_out(&format!("\r\x1b[K{text}"));
                self.line = true;
            } else if self.last_line.elapsed() >= LINE_EVERY {
                self.last_line = now;
                self.say(&text);
            }
        }
    }

    #[cfg(feature = "media")]
    fn stopping(&mut self) {
        if let Some(service) = &self.service {
            service.stopping();
        }
    }
}

/// To stderr; not by eprint!, which panics when the reader has gone away (`2>&1 | head`).
fn write_out(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// "in 30.0 fps, out 12.1 fps, 532 dropped, delay 110/160 ms, lost once, 4 s, mosaic"
#[cfg(feature = "media")]
fn status_line(status: &LiveStatus, rates: (f64, f64)) -> String {
    let mut text =
        format!("in {:.1} fps, out {:.1} fps, {} dropped", rates.0, rates.1, status.dropped);
    let late: u64 = status.dropped_by_outputs.iter().sum();
    if late > 0 {
        text += &format!(", {late} by outputs");
    }
    if let Some((half, most)) = status.delay {
        text += &format!(", delay {}/{} ms", half.as_millis(), most.as_millis());
    }
    match (status.losses.now, status.losses.count) {
        (Some(now), 1) => text += &format!(", no signal for {:.0} s", now.as_secs_f64()),
        (Some(now), count) => {
            text += &format!(", no signal for {:.0} s (loss {count})", now.as_secs_f64());
        }
        (None, 0) => {}
        (None, count) => {
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
            text += &format!(", lost {times}, {:.0} s", status.losses.total.as_secs_f64());
        }
    }
    let settings = &status.settings;
    if !status.painting.is_empty() {
        text += &format!(", {}", status.painting);
    }
    if settings.mix.strength < 1.0 {
        text += &format!(" at {:.0} %", settings.mix.strength * 100.0);
    }
    if settings.mix.preserve_color {
        text += ", colours kept";
    }
    if settings.steady > 0.0 {
        text += ", held steady";
    }
    if settings.scale < 1.0 {
        text += &format!(", scale {}", settings.scale);
    }
    match status.clients {
        None => text,
        Some(1) => text + ", 1 client",
        Some(n) => text + &format!(", {n} clients"),
    }
}

/// "1320 frames at 0.3 s: about 7 minutes; --scale 0.5: 2 minutes"; none if it takes less than 3 s.
fn estimate(frames: u64, per_frame: Duration, scale: f64) -> Option<String> {
    let seconds = per_frame.as_secs_f64() * frames as f64;
    if seconds < 3.0 {
        return None;
    }
    let all = about(Duration::from_secs_f64(seconds));
    let mut text = format!("{frames} frames at {:.2} s: about {all}", per_frame.as_secs_f64());
    if seconds > 20.0 && scale >= 0.5 {
        // The network's work is proportional to the number of pixels.
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
