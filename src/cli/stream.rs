//! `nst-stream --model M --input IN --output OUT`, the command without a name: between files, or live.

use std::path::PathBuf;

use anyhow::Result;

use super::interrupts::Interrupts;
use super::outcome::{PARTIAL, report};
use super::progress::Reporter;
use super::stream_args::StreamArgs;
use super::{Outcome, UsageError};
#[cfg(feature = "media")]
use crate::core::endpoint::RtspUrl;
use crate::core::endpoint::{InputSpec, OutputSpec};
use crate::stream::RunContext;

/// What is read and written, as the user named it.
#[cfg_attr(not(feature = "media"), allow(dead_code))]
enum Route {
    Files(PathBuf, PathBuf),
    Live(InputSpec, Vec<OutputSpec>),
}

impl StreamArgs {
    /// Whether it is a run between files or a live one.
    fn route(&self) -> Result<Route, UsageError> {
        let usage = |option: &str| {
            let option = option.to_owned();
            move |text| UsageError(format!("{option}: {text}"))
        };
        // Clap has made sure that there is one.
        let input = self.input.as_deref().unwrap_or_default();
        let input = match self.own_source() {
            Some(path) => InputSpec::Pipeline(path),
            None => InputSpec::parse(input).map_err(usage("--input"))?,
        };
        let outputs = self.outputs.iter().map(OutputSpec::parse);
        let outputs: Vec<OutputSpec> =
            outputs.collect::<Result<_, _>>().map_err(usage("--output"))?;
        match (input, outputs) {
            #[cfg(feature = "media")]
            (input, mut outputs) if self.live.has_outputs() => {
                outputs.extend(self.live.pipeline_sink.iter().cloned().map(OutputSpec::Pipeline));
                for url in &self.live.push {
                    let url = RtspUrl::parse(url).map_err(usage("--rtsp-push"))?;
                    outputs.push(OutputSpec::Push(url));
                }
                Ok(Route::Live(input, outputs))
            }
            #[cfg(feature = "media")]
            (InputSpec::File(input), outputs)
                if self.live.is_controlled() && outputs.is_empty() =>
            {
                Ok(Route::Live(InputSpec::File(input), outputs))
            }
            (InputSpec::File(input), outputs) if outputs.len() == 1 => {
                match outputs.into_iter().next() {
                    Some(OutputSpec::File(output)) => Ok(Route::Files(input, output)),
                    other => Ok(Route::Live(InputSpec::File(input), other.into_iter().collect())),
                }
            }
            (InputSpec::File(_), outputs)
                if outputs.iter().any(|output| matches!(output, OutputSpec::File(_))) =>
            {
                Err(UsageError("several outputs are for live sources: give one file".to_owned()))
            }
            (input, outputs) => Ok(Route::Live(input, outputs)),
        }
    }
}

/// Repaints a file, or a live source.
///
/// # Errors
/// One line for the user.
pub fn run(args: &StreamArgs, quiet: bool) -> Result<Outcome> {
    match args.route()? {
        #[cfg(feature = "media")]
        Route::Files(..) if args.live.is_looped() => {
            Err(UsageError("--loop is for files that are played live".to_owned()).into())
        }
        #[cfg(feature = "media")]
        Route::Files(..) if args.live.segment.is_some() => {
            Err(UsageError("--segment is for live recordings".to_owned()).into())
        }
        #[cfg(feature = "media")]
        Route::Files(..) if args.live.is_controlled() => Err(UsageError(
            "--control is for live runs: leave out --output to play a file live".to_owned(),
        )
        .into()),
        #[cfg(feature = "media")]
        Route::Files(..) if args.live.osc.is_some() => Err(UsageError(
            "--osc is for live runs: a file is played live with --control and without --output"
                .to_owned(),
        )
        .into()),
        Route::Files(input, output) => {
            let config = args.file_config(input, output)?;
            let interrupts = Interrupts::watch(PARTIAL)?;
            let mut reporter = Reporter::new(quiet, config.engine.scale);
            let mut context = RunContext::new(interrupts.stop(), &mut reporter);
            let result = crate::stream::run(&config, &mut context);
            report(args, result, &mut reporter)
        }
        #[cfg(feature = "media")]
        Route::Live(input, outputs) => super::live::run(args, input, outputs, quiet),
        #[cfg(not(feature = "media"))]
        Route::Live(..) => {
            Err(UsageError("this nst-stream was built without GStreamer: no live video".to_owned())
                .into())
        }
    }
}
