//! Paints one part.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::plan::{Fingerprint, JobFolder, JobPlan};
use crate::core::span::Span;
use crate::core::stats::Summary;
use crate::engine::shipped;
use crate::stream::video_job::PartJob;
use crate::stream::{Config, RunContext, run};

/// What would compute the network of a run on this machine.
///
/// # Errors
/// When there is no such device or model.
pub fn arithmetic(config: &Config, context: &mut RunContext) -> Result<String> {
    config.engine.arithmetic(&config.models, context.observer)
}

/// Paints a part of a job with `config`, the run that its plan describes; sets what is to be read and written. Nothing
/// stays of a part that was stopped. A part that is complete is left as it is: none.
///
/// # Errors
/// When the source or a model has changed, this machine would compute something else, or the run fails.
pub fn render(
    mut config: Config,
    (folder, plan, sum): (&JobFolder, &JobPlan, &str),
    index: usize,
    context: &mut RunContext,
) -> Result<Option<Summary>> {
    let Some(part) = plan.parts.get(index) else {
        bail!("there is no part {index}: the last is part {}", plan.parts.len().saturating_sub(1));
    };
    if folder.fault(index, plan, sum).is_none() {
        return Ok(None);
    }
    plan.source.check(&Fingerprint::of_video(&config.input)?)?;
    for (choice, model) in config.models.iter().zip(&plan.models) {
        let now = shipped::bytes(&choice.model)?;
        model.check(&Fingerprint::of_model(&choice.model, &now))?;
    }
    let arithmetic = config.engine.arithmetic(&config.models, context.observer)?;
    if let Some(wanted) = plan.arithmetic.as_ref().filter(|wanted| **wanted != arithmetic) {
        bail!(
            "this machine would paint part {index} with {arithmetic}, the job's is {wanted}, and the pictures would \
             differ: render it on another machine, or split the job with --any-machine"
        );
    }
    folder.forget(index)?;
    let base = config.span.start.unwrap_or_default();
    let ends = part.end.map(|end| Duration::from_nanos(end - part.lead_start));
    let rest = || Some(config.span.duration?.saturating_sub(Duration::from_nanos(part.lead_start)));
    config.span = Span {
        // The first part begins as the run does, at whatever time its first frame has.
        start: match index {
            0 => config.span.start,
            _ => Some(base + Duration::from_nanos(part.lead_start)),
        },
        duration: match index {
            0 => part.end.map(Duration::from_nanos).or(config.span.duration),
            _ => ends.or_else(rest),
        },
    };
    let origin = if index == 0 { 0 } else { part.lead_start };
    config.output = folder.packets(index);
    config.overwrite = true;
    config.part = Some(PartJob {
        container: plan.container,
        lead: part.lead_frames,
        frames: part.frames,
        times: part.times,
        origin: part.lead_start - origin,
    });
    let summary = run(&config, context).with_context(|| format!("part {index}"))?;
    if !summary.interrupted {
        folder.complete(index, sum, summary.frames, &arithmetic)?;
    }
    Ok(Some(summary))
}
