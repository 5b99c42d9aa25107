//! The loop of steps at one size, of a picture as of a frame.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use tch::Tensor;

use super::method::Minimizer;
use super::objective::Objective;
use super::{OptimizeConfig, Stopped};
use crate::train::loss::LossTerms;

/// Steps over which the fall of the loss is measured.
const WINDOW: usize = 10;

/// When the steps at a size end.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepLimit {
    /// After so many steps, at the latest.
    pub steps: u64,
    /// Once the loss falls by less than this share of itself within ten steps; 0: never.
    pub tolerance: f64,
}

/// What the steps at a size led to.
#[derive(Debug)]
pub(super) struct Descent {
    /// The picture with the lowest loss.
    pub picture: Tensor,
    /// Its loss terms.
    pub terms: LossTerms,
    /// Those of the start.
    pub start: LossTerms,
    /// Steps made.
    pub steps: u64,
    /// How often loss and gradient were computed.
    pub evaluations: u64,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

/// Called before the first step and after each: their number, recent seconds per step, and the state.
pub(super) type EachStep<'a> = dyn FnMut(u64, f64, &Minimizer<'_>) -> Result<()> + 'a;

/// Lowers an objective, from `start` on. `stop` is checked before every evaluation.
pub(super) fn descend(
    config: &OptimizeConfig,
    objective: &Objective<'_>,
    start: &Tensor,
    limit: StepLimit,
    stop: &AtomicBool,
    each: &mut EachStep<'_>,
) -> Result<Descent> {
    let mut minimizer = Minimizer::new(config, objective, start)?;
    let start = *minimizer.terms();
    each(0, 0.0, &minimizer)?;
    let (mut steps, mut seconds, mut interrupted) = (0, 0.0, false);
    let mut losses = vec![start.total()];
    while steps < limit.steps && !has_settled(&losses, limit.tolerance) {
        let began = Instant::now();
        match minimizer.step(steps, &|| stop.load(Ordering::Relaxed)) {
            Ok(true) => {}
            // Nothing to gain any more.
            Ok(false) => break,
            Err(error) if error.is::<Stopped>() => {
                interrupted = true;
                break;
            }
            Err(error) => return Err(error),
        }
        let took = began.elapsed().as_secs_f64();
        seconds = if steps == 0 { took } else { 0.8 * seconds + 0.2 * took };
        steps += 1;
        losses.push(minimizer.terms().total());
        each(steps, seconds, &minimizer)?;
    }
    Ok(Descent {
        picture: objective.picture(minimizer.best())?,
        terms: *minimizer.terms(),
        start,
        steps,
        evaluations: minimizer.evaluations(),
        interrupted,
    })
}

/// Whether the last ten steps lowered the loss by less than a share of it.
fn has_settled(losses: &[f64], tolerance: f64) -> bool {
    let Some(before) = losses.len().checked_sub(WINDOW + 1).map(|n| losses[n]) else {
        return false;
    };
    losses.last().is_some_and(|now| tolerance > 0.0 && before - now < tolerance * before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_has_settled_when_ten_steps_lower_it_by_less_than_the_tolerance() {
        let falling: Vec<f64> = (0..=WINDOW).map(|n| 1.0 - 0.01 * n as f64).collect();
        assert!(has_settled(&falling, 0.11) && !has_settled(&falling, 0.09));
        assert!(!has_settled(&falling[..WINDOW], 0.5) && !has_settled(&falling, 0.0));
        // What was lowered before counts no more.
        let settled: Vec<f64> = [vec![9.0], vec![1.0; WINDOW + 1]].concat();
        assert!(has_settled(&settled, 1e-9));
    }
}
