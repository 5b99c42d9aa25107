//! L-BFGS: a quasi-Newton method that estimates curvature from its last steps (Nocedal and Wright 2006,
//! algorithm 7.5), with a line search for the strong Wolfe conditions.
//! Gatys et al. 2016 found it to give better pictures than gradient descent.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use tch::{TchError, Tensor};

use super::line_search::{LinePoint, SMALLEST, strong_wolfe};

/// Steps that are remembered; each takes the memory of two pictures.
pub const HISTORY: usize = 20;
/// A gradient without a component above this counts as zero.
const NO_GRADIENT: f64 = 1e-7;
/// Steps along which the gradient grows by less than this say nothing of the curvature.
const NO_CURVATURE: f64 = 1e-10;

/// A function of a tensor: its value, and its gradient in the tensor's shape.
pub type Function<'a> = dyn FnMut(&Tensor) -> Result<(f64, Tensor)> + 'a;

/// What is remembered of a step.
#[derive(Debug)]
struct Pair {
    /// By how much the tensor changed.
    step: Tensor,
    /// By how much the gradient changed.
    change: Tensor,
    /// 1 / (step · change)
    rho: f64,
}

/// A minimization on its way.
#[derive(Debug)]
pub struct Lbfgs {
    x: Tensor,
    value: f64,
    gradient: Tensor,
    pairs: VecDeque<Pair>,
    history: usize,
    /// Internal factor of value and gradient.
    scale: f64,
}

impl Lbfgs {
    /// Begins at `x`, of any shape and floating type, remembering so many steps. Evaluates the
    /// function once.
    ///
    /// # Errors
    /// The function's own, libtorch's, or that the value is no number.
    pub fn new(x: &Tensor, history: usize, function: &mut Function<'_>) -> Result<Self> {
        let x = x.f_detach_copy()?;
        let (value, gradient) = function(&x)?;
        ensure!(value.is_finite(), "the loss at the start is not finite");
        // A loss of about 1 has a gradient of a millionth for each pixel: enlarged, so that the first
        // step is not lost in the pixels' own precision. A power of two rounds nothing.
        let steepest = largest(&gradient)?;
        let small = steepest > 0.0 && steepest < 1.0;
        let scale = if small { (-steepest.log2()).ceil().clamp(0.0, 100.0).exp2() } else { 1.0 };
        let (value, gradient) = (value * scale, gradient.f_mul_scalar(scale)?);
        let (pairs, history) = (VecDeque::new(), history.max(1));
        Ok(Lbfgs { x, value, gradient, pairs, history, scale })
    }

    /// The current position; its value is never above that of the start.
    pub fn x(&self) -> &Tensor {
        &self.x
    }

    /// The function's value there.
    pub fn value(&self) -> f64 {
        self.value / self.scale
    }

    /// Makes one step: a direction, and a search along it. Returns `false` if the value cannot be lowered any
    /// more within the precision of the arithmetic.
    ///
    /// # Errors
    /// The function's own error, or libtorch's; the position is then unchanged.
    pub fn step(&mut self, function: &mut Function<'_>) -> Result<bool> {
        let moved = self.attempt(function)?;
        if moved || self.pairs.is_empty() {
            return Ok(moved);
        }
        // The remembered steps may no longer apply here: try once more along the gradient.
        self.pairs.clear();
        self.attempt(function)
    }

    fn attempt(&mut self, function: &mut Function<'_>) -> Result<bool> {
        let _guard = tch::no_grad_guard();
        if largest(&self.gradient)? <= NO_GRADIENT {
            return Ok(false);
        }
        let direction = self.direction()?;
        let slope = dot(&self.gradient, &direction)?;
        if slope > -SMALLEST || !slope.is_finite() {
            return Ok(false);
        }
        let reach = largest(&direction)?;
        // Nothing is known of the scale yet: a step that changes no coordinate by more than 1.
        // (PyTorch's changes all together by 1, which single precision cannot tell from none in
        // the pixels of a picture.)
        let length = if self.pairs.is_empty() { 1.0 / reach.max(1.0) } else { 1.0 };
        let gradient = self.gradient.shallow_clone();
        let start = LinePoint { at: 0.0, value: self.value, slope, gradient };
        let (x, scale) = (&self.x, self.scale);
        let found = strong_wolfe(start, length, reach, |at| {
            let (value, gradient) = function(&moved(x, &direction, at)?)?;
            let (value, gradient) = (value * scale, gradient.f_mul_scalar(scale)?);
            let slope = dot(&gradient, &direction)?;
            // Beyond what numbers can hold: too far.
            let value = if value.is_nan() { f64::INFINITY } else { value };
            Ok(LinePoint { at, value, slope, gradient })
        })?;
        if found.at * reach <= SMALLEST || found.value >= self.value {
            return Ok(false);
        }
        let step = direction.f_mul_scalar(found.at)?;
        let change = found.gradient.f_sub(&self.gradient)?;
        self.x = moved(&self.x, &direction, found.at)?;
        (self.value, self.gradient) = (found.value, found.gradient);
        let curvature = dot(&step, &change)?;
        if curvature > NO_CURVATURE {
            if self.pairs.len() == self.history {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { step, change, rho: 1.0 / curvature });
        }
        Ok(true)
    }

    /// The descent direction: minus the gradient times the estimated inverse Hessian (algorithm 7.4, the two
    /// loops).
    fn direction(&self) -> Result<Tensor, TchError> {
        let mut direction = self.gradient.f_neg()?;
        let Some(last) = self.pairs.back() else { return Ok(direction) };
        let mut factors = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let factor = dot(&pair.step, &direction)? * pair.rho;
            direction = moved(&direction, &pair.change, -factor)?;
            factors.push(factor);
        }
        let scale = 1.0 / (last.rho * dot(&last.change, &last.change)?);
        direction = direction.f_mul_scalar(scale)?;
        for (pair, factor) in self.pairs.iter().zip(factors.into_iter().rev()) {
            let back = dot(&pair.change, &direction)? * pair.rho;
            direction = moved(&direction, &pair.step, factor - back)?;
        }
        Ok(direction)
    }
}

/// `x + at · direction`
fn moved(x: &Tensor, direction: &Tensor, at: f64) -> Result<Tensor, TchError> {
    x.f_add(&direction.f_mul_scalar(at)?)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64, TchError> {
    a.f_reshape([-1])?.f_dot(&b.f_reshape([-1])?)?.f_double_value(&[])
}

/// The largest absolute value.
fn largest(x: &Tensor) -> Result<f64, TchError> {
    x.f_abs()?.f_max()?.f_double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// Value and gradient by automatic differentiation.
    fn of(f: impl Fn(&Tensor) -> Tensor) -> impl FnMut(&Tensor) -> Result<(f64, Tensor)> {
        move |x| {
            tch::with_grad(|| {
                let x = x.detach().set_requires_grad(true);
                let y = f(&x);
                y.backward();
                Ok((y.double_value(&[]), x.grad()))
            })
        }
    }

    /// Steps until nothing is gained: where, and how many.
    fn minimize(start: &Tensor, history: usize, function: &mut Function<'_>) -> (Tensor, usize) {
        let mut lbfgs = Lbfgs::new(start, history, function).unwrap();
        let mut steps = 0;
        while lbfgs.step(function).unwrap() {
            steps += 1;
            assert!(steps < 20_000);
        }
        (lbfgs.x().copy(), steps)
    }

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        // Nocedal and Wright's start; the minimum is at (1, 1).
        let rosenbrock = |x: &Tensor| {
            let (a, b) = (x.get(0), x.get(1));
            (&b - a.square()).square() * 100.0 + (&a - 1.0).square()
        };
        for (x, y) in [(-1.2, 1.0), (1.2, 1.2), (-3.0, -4.0)] {
            let start = Tensor::from_slice(&[x, y]);
            let (end, steps) = minimize(&start, 10, &mut of(rosenbrock));
            let error = (end - 1.0).abs().max().double_value(&[]);
            // The valley is so flat that a slope of 1e-9, where it stops, is as near as this.
            assert!(error < 1e-4, "{x} {y}: {error} after {steps}");
            // Newton's method takes about 20, gradient descent thousands.
            assert!(steps < 80, "{steps}");
        }
    }

    #[test]
    fn a_quadratic_is_solved_though_its_curvatures_differ_a_thousandfold() {
        // Σ k (x_k − k)² / 2, with curvatures k from 1 to 1000 over 60 coordinates, in 3 rows.
        let scale = Tensor::linspace(0, 3, 60, (Kind::Double, Device::Cpu));
        let scale = (scale * 10f64.ln()).exp().reshape([3, 20]);
        let wanted = Tensor::arange(60, (Kind::Double, Device::Cpu)).reshape([3, 20]);
        let f = |x: &Tensor| ((x - &wanted).square() * &scale).sum(Kind::Double) * 0.5;
        let start = Tensor::zeros([3, 20], (Kind::Double, Device::Cpu));
        let (end, steps) = minimize(&start, 20, &mut of(f));
        let error = (end - &wanted).abs().max().double_value(&[]);
        assert!(error < 1e-4, "{error} after {steps}");
        // The memory counts: with one step alone many more are needed.
        let (_, forgetful) = minimize(&start, 1, &mut of(f));
        // torch.optim.LBFGS, as exact and with the same memory, takes 730, with one step 1867.
        assert!(steps < forgetful && steps < 730, "{steps} {forgetful}");
    }

    #[test]
    fn the_scale_of_the_function_makes_no_difference() {
        // In single precision about 100, as pixels are: steps of a millionth would be lost.
        let start = Tensor::from_slice(&[90.0_f32, 110.0, 130.0]);
        let bowl =
            |scale: f64| of(move |x: &Tensor| ((x - 100.0).square() * scale).sum(Kind::Float));
        let (large, steps) = minimize(&start, 5, &mut bowl(1.0));
        for scale in [1e-4, 1e-8] {
            let (small, taken) = minimize(&start, 5, &mut bowl(scale));
            assert!(
                small.allclose(&large, 0.0, 1e-2, false) && taken <= steps + 3,
                "{small} {taken}"
            );
        }
    }

    #[test]
    fn it_never_climbs_and_an_error_leaves_it_where_it_was() {
        let wavy = |x: &Tensor| (x.square() * 0.1 + (x * 3.0).cos()).sum(Kind::Double);
        let start = Tensor::from_slice(&[7.0, -5.0, 2.5]);
        let mut function = of(wavy);
        let mut lbfgs = Lbfgs::new(&start, 5, &mut function).unwrap();
        let mut value = lbfgs.value();
        while lbfgs.step(&mut function).unwrap() {
            assert!(lbfgs.value() < value);
            value = lbfgs.value();
        }
        let mut lbfgs = Lbfgs::new(&start, 5, &mut function).unwrap();
        assert!(lbfgs.step(&mut |_| anyhow::bail!("stopped")).is_err());
        assert_eq!(*lbfgs.x(), start);
        assert!(Lbfgs::new(&start, 5, &mut |x| Ok((f64::NAN, x.copy()))).is_err());
    }
}
