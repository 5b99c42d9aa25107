//! One interface for L-BFGS and Adam, which counts evaluations and keeps the best picture.

use anyhow::{Result, bail, ensure};
use tch::Tensor;

use super::lbfgs::{HISTORY, Lbfgs};
use super::objective::Objective;
use super::{Method, OptimizeConfig, Stopped};
use crate::train::loss::LossTerms;
use crate::train::optimizer::OptimizerState;
use crate::train::recipe::Optimizer;

/// Minimizes the loss of a picture.
pub(super) struct Minimizer<'a> {
    painting: &'a Objective<'a>,
    config: &'a OptimizeConfig,
    state: State,
    /// Loss terms of the best picture.
    terms: LossTerms,
    evaluations: u64,
}

enum State {
    Lbfgs(Lbfgs),
    Adam { x: Tensor, memory: OptimizerState, best: Tensor },
}

impl<'a> Minimizer<'a> {
    /// Starts at a picture, whose loss is computed.
    pub(super) fn new(
        config: &'a OptimizeConfig,
        painting: &'a Objective<'a>,
        start: &Tensor,
    ) -> Result<Self> {
        let x = painting.variable(start)?;
        let mut terms = LossTerms::default();
        let state = match config.method {
            Method::Lbfgs => State::Lbfgs(Lbfgs::new(&x, HISTORY, &mut |x| {
                let (measured, gradient) = painting.gradient(x)?;
                terms = measured;
                Ok((measured.total(), gradient))
            })?),
            Method::Adam => {
                terms = painting.measure(&x)?;
                ensure!(terms.is_finite(), "the loss at the start is not finite");
                let x = x.f_detach_copy()?;
                let memory = OptimizerState::new(Optimizer::Adam, std::slice::from_ref(&x))?;
                State::Adam { best: x.f_detach_copy()?, x, memory }
            }
        };
        Ok(Minimizer { painting, config, state, terms, evaluations: 1 })
    }

    /// One step; `step` counts from 0 at each size. `false` when there is nothing to gain.
    pub(super) fn step(&mut self, step: u64, stopped: &dyn Fn() -> bool) -> Result<bool> {
        let (painting, evaluations) = (self.painting, &mut self.evaluations);
        let mut evaluate = |x: &Tensor| -> Result<(LossTerms, Tensor)> {
            if stopped() {
                return Err(Stopped.into());
            }
            *evaluations += 1;
            Ok(painting.gradient(x)?)
        };
        match &mut self.state {
            State::Lbfgs(lbfgs) => {
                let mut measured: Vec<LossTerms> = Vec::new();
                let moved = lbfgs.step(&mut |x| {
                    let (terms, gradient) = evaluate(x)?;
                    measured.push(terms);
                    Ok((terms.total(), gradient))
                })?;
                // The accepted position is one of the measured ones.
                let taken = measured.iter().find(|terms| terms.total() == lbfgs.value());
                self.terms = *taken.unwrap_or(&self.terms);
                Ok(moved)
            }
            State::Adam { x, memory, best } => {
                let (terms, gradient) = evaluate(x)?;
                if !terms.is_finite() {
                    bail!("the loss became NaN or infinite: lower --learning-rate");
                }
                if terms.total() < self.terms.total() {
                    self.terms = terms;
                    *best = x.f_detach_copy()?;
                }
                let rate = self.config.recipe.rate(step);
                memory.step_by(std::slice::from_ref(x), &[gradient], step, rate)?;
                Ok(true)
            }
        }
    }

    /// The current state of the optimized variable.
    pub(super) fn now(&self) -> &Tensor {
        match &self.state {
            State::Lbfgs(lbfgs) => lbfgs.x(),
            State::Adam { x, .. } => x,
        }
    }

    /// Where the loss was lowest.
    pub(super) fn best(&self) -> &Tensor {
        match &self.state {
            State::Lbfgs(lbfgs) => lbfgs.x(),
            State::Adam { best, .. } => best,
        }
    }

    /// The lowest loss's terms.
    pub(super) fn terms(&self) -> &LossTerms {
        &self.terms
    }

    /// How often loss and gradient were computed.
    pub(super) fn evaluations(&self) -> u64 {
        self.evaluations
    }
}
