//! The frame path as a library, without the program around it.
#![allow(dead_code, clippy::unwrap_used)]

use nst_stream::core::stats::Summary;
use nst_stream::core::stop::StopSignal;
use nst_stream::core::stylizer::Stylizer;
use nst_stream::stream::{Observer, Progress, RunContext, VideoJob, stylize_video};

/// Keeps what is said.
#[derive(Default)]
pub struct Said(pub Vec<String>);

impl Observer for Said {
    fn note(&mut self, text: &str) {
        eprintln!("{text}");
        self.0.push(text.to_owned());
    }
    fn progress(&mut self, _progress: &Progress) {}
}

impl Said {
    pub fn has(&self, words: &str) -> bool {
        self.0.iter().any(|note| note.contains(words))
    }
}

/// Runs a job to its end: the summary, or what is wrong, and what was said.
pub fn route(job: &VideoJob, stylizer: impl Stylizer + 'static) -> (anyhow::Result<Summary>, Said) {
    route_until(job, stylizer, &StopSignal::default())
}

/// The same; `stop` ends it early.
pub fn route_until(
    job: &VideoJob,
    stylizer: impl Stylizer + 'static,
    stop: &StopSignal,
) -> (anyhow::Result<Summary>, Said) {
    let mut said = Said::default();
    let made = stylize_video(job, Box::new(stylizer), &mut RunContext::new(stop, &mut said));
    (made, said)
}
