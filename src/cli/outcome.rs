//! How a run of the main command ended, for the user.

use std::time::Duration;

use anyhow::{Result, bail};

use super::progress::Reporter;
use super::stream_args::StreamArgs;
use super::{Outcome, UsageError};
use crate::core::span::about;
use crate::core::stats::Summary;
use crate::core::stylizer::StylizeError;
use crate::stream::Observer;

/// Prints how a run ended: `summary` as JSON if asked for, and as one line to stderr.
///
/// # Errors
/// Those of the run; [`UsageError`] where the arguments are to blame. Outputs that failed while others went on.
pub(super) fn report(
    args: &StreamArgs,
    result: Result<Summary>,
    reporter: &mut Reporter,
) -> Result<Outcome> {
    reporter.finish();
    let summary = result.map_err(as_usage_error)?;
    reporter.finish_well();
    if args.json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    }
    reporter.note(&text_of(&summary));
    if !summary.failed_outputs.is_empty() {
        bail!("{}", summary.failed_outputs.join("; "));
    }
    Ok(if summary.interrupted { Outcome::Interrupted } else { Outcome::Done })
}

/// Turns the error of a mask that does not fit into a [`UsageError`].
fn as_usage_error(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<StylizeError>() {
        Some(StylizeError::Mask(_)) => UsageError(format!("{error:#}")).into(),
        _ => error,
    }
}

fn text_of(summary: &Summary) -> String {
    let took = about(Duration::from_secs_f64(summary.wall_s));
    if summary.frames == 0 && summary.interrupted {
        return format!("{}: interrupted before the first frame", summary.output);
    }
    if summary.frames == 0 && summary.speed.is_none() {
        return format!("nothing was written: '{}' gave no picture", summary.input);
    }
    if let Some(delay) = summary.delay_p50_s {
        let late: u64 = summary.dropped_by_outputs.iter().sum();
        let late = if late > 0 { format!(", {late} by outputs") } else { String::new() };
        return format!(
            "{}: {} frames in {took} ({:.1} fps, {} dropped{late}, delay {:.0} ms)",
            summary.output,
            summary.frames,
            summary.fps,
            summary.dropped,
            delay * 1000.0
        );
    }
    let stopped = if summary.interrupted { ", interrupted" } else { "" };
    let Some(speed) = summary.speed else {
        return match summary.frames {
            1 => format!("{}: {took}", summary.output),
            n => format!("{}: {n} pictures in {took}{stopped}", summary.output),
        };
    };
    format!(
        "{}: {} frames in {took}{stopped} ({:.1} fps, {speed:.2}× real time)",
        summary.output, summary.frames, summary.fps
    )
}

/// The message of a second Ctrl-C about what remains of a video.
pub(super) const PARTIAL: &str = "what was painted is in a partial file";
