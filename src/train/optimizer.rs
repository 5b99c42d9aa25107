//! Optimizers over tensors, whose whole state can be saved: resuming is exact.

use tch::{TchError, Tensor};

use super::recipe::Optimizer;

/// An optimizer's method and its memory of earlier gradients.
#[derive(Debug)]
pub struct OptimizerState {
    method: Optimizer,
    /// Running mean of gradients (Adam), or velocity (SGD); unused by RMSprop.
    first: Vec<Tensor>,
    /// Running mean of squared gradients; unused by SGD.
    second: Vec<Tensor>,
}

const BETAS: (f64, f64) = (0.9, 0.999);
const MOMENTUM: f64 = 0.9;
const ALPHA: f64 = 0.99;
const EPSILON: f64 = 1e-8;
const WEIGHT_DECAY: f64 = 0.01;

impl OptimizerState {
    /// With no memory, for these parameters.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(method: Optimizer, parameters: &[Tensor]) -> Result<Self, TchError> {
        let zeros = || -> Result<Vec<Tensor>, TchError> {
            parameters.iter().map(|p| p.detach().f_zeros_like()).collect()
        };
        Ok(OptimizerState { method, first: zeros()?, second: zeros()? })
    }

    /// Its state, by name, in the order of the parameters.
    pub fn memory(&self) -> [(&'static str, &[Tensor]); 2] {
        [("first", &self.first), ("second", &self.second)]
    }

    /// Changes the parameters by their gradients. `step` counts from 0; a parameter without a
    /// gradient stays as it is.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn step(&mut self, parameters: &[Tensor], step: u64, rate: f64) -> Result<(), TchError> {
        let gradients: Vec<Tensor> =
            parameters.iter().map(Tensor::f_grad).collect::<Result<_, _>>()?;
        self.step_by(parameters, &gradients, step, rate)
    }

    /// As [`step`](Self::step), by gradients that are given, one for each parameter.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn step_by(
        &mut self,
        parameters: &[Tensor],
        gradients: &[Tensor],
        step: u64,
        rate: f64,
    ) -> Result<(), TchError> {
        let _guard = tch::no_grad_guard();
        for (n, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
            if gradient.defined() {
                let (first, second) = (&mut self.first[n], &mut self.second[n]);
                update(self.method, parameter, gradient, first, second, step, rate)?;
            }
        }
        Ok(())
    }
}

fn update(
    method: Optimizer,
    parameter: &Tensor,
    gradient: &Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
    step: u64,
    rate: f64,
) -> Result<(), TchError> {
    let mut parameter = parameter.shallow_clone();
    match method {
        Optimizer::Adam | Optimizer::AdamW => {
            if method == Optimizer::AdamW {
                let _ = parameter.f_mul_scalar_(1.0 - rate * WEIGHT_DECAY)?;
            }
            // Averages that start at 0 are too small at first; this corrects for it.
            let done = |beta: f64| 1.0 - beta.powf((step + 1) as f64);
            let _ = first.f_lerp_(gradient, 1.0 - BETAS.0)?;
            let part = gradient.f_mul_scalar(1.0 - BETAS.1)?;
            let _ = second.f_mul_scalar_(BETAS.1)?.f_addcmul_(&part, gradient)?;
            let root = second.f_sqrt()?.f_div_scalar_(done(BETAS.1).sqrt())?;
            let root = { root }.f_add_scalar_(EPSILON)?;
            let step = first.f_mul_scalar(-rate / done(BETAS.0))?;
            let _ = parameter.f_addcdiv_(&step, &root)?;
        }
        Optimizer::Sgd => {
            let _ = first.f_mul_scalar_(MOMENTUM)?.f_add_(gradient)?;
            let _ = parameter.f_sub_(&first.f_mul_scalar(rate)?)?;
        }
        Optimizer::RmsProp => {
            let square = gradient.f_square()?;
            let _ = second.f_lerp_(&square, 1.0 - ALPHA)?;
            let root = second.f_sqrt()?.f_add_scalar_(EPSILON)?;
            let _ = parameter.f_sub_(&gradient.f_div(&root)?.f_mul_scalar_(rate)?)?;
        }
    }
    Ok(())
}
