//! A line search for the strong Wolfe conditions (Nocedal and Wright 2006, algorithms 3.5 and 3.6):
//! first outwards until a minimum lies within a bracket, then inwards, by cubic interpolation.
//! Constants, bounds and stops are those of PyTorch's `torch.optim.LBFGS` with
//! `line_search_fn="strong_wolfe"`, so that both take the same steps.

use anyhow::Result;
use tch::Tensor;

/// Sufficient decrease (c₁): required share of the decrease that the slope predicts.
const DECREASE: f64 = 1e-4;
/// Curvature condition (c₂): the slope must fall to this share of its first value.
const CURVATURE: f64 = 0.9;
/// A bracket in which no coordinate changes by more than this counts as a point.
pub(super) const SMALLEST: f64 = 1e-9;
/// Evaluations in one search, at most.
const MOST: usize = 25;

/// A place on the line.
#[derive(Debug)]
pub(super) struct LinePoint {
    /// How far along the direction.
    pub at: f64,
    /// Value there.
    pub value: f64,
    /// Slope there: the gradient times the direction.
    pub slope: f64,
    /// Gradient there.
    pub gradient: Tensor,
}

impl LinePoint {
    fn copied(&self) -> Self {
        LinePoint { gradient: self.gradient.shallow_clone(), ..*self }
    }
}

/// Searches from `start` (which is at 0), first at `step`. `reach` is the largest change of a
/// coordinate for a step of 1. Returns the lowest place found: `start` itself when there is none.
pub(super) fn strong_wolfe(
    start: LinePoint,
    step: f64,
    reach: f64,
    mut evaluate: impl FnMut(f64) -> Result<LinePoint>,
) -> Result<LinePoint> {
    let too_high =
        |place: &LinePoint| place.value > start.value + DECREASE * place.at * start.slope;
    let flat = |place: &LinePoint| place.slope.abs() <= -CURVATURE * start.slope;
    let mut before = start.copied();
    let mut now = evaluate(step)?;
    let mut evaluations = 0;
    // Ends of the bracket: the lower one first.
    let [mut low, mut high] = loop {
        if evaluations == MOST {
            break in_order(start.copied(), now);
        }
        if too_high(&now) || (evaluations > 1 && now.value >= before.value) {
            break in_order(before, now);
        }
        if flat(&now) {
            return Ok(now);
        }
        if now.slope >= 0.0 {
            break in_order(before, now);
        }
        let bounds = (now.at + 0.01 * (now.at - before.at), now.at * 10.0);
        let next = evaluate(minimum(&before, &now, bounds))?;
        before = std::mem::replace(&mut now, next);
        evaluations += 1;
    };
    let mut little_progress = false;
    while evaluations < MOST && (high.at - low.at).abs() * reach >= SMALLEST {
        let (least, most) = (low.at.min(high.at), low.at.max(high.at));
        let mut at = minimum(&low, &high, (least, most));
        // A point too close to an end adds no information: the second time it is moved inwards.
        let margin = 0.1 * (most - least);
        if (most - at).min(at - least) < margin {
            if little_progress || at >= most || at <= least {
                let near_most = (at - most).abs() < (at - least).abs();
                at = if near_most { most - margin } else { least + margin };
                little_progress = false;
            } else {
                little_progress = true;
            }
        } else {
            little_progress = false;
        }
        let now = evaluate(at)?;
        evaluations += 1;
        if too_high(&now) || now.value >= low.value {
            [low, high] = in_order(low, now);
        } else {
            if flat(&now) {
                return Ok(now);
            }
            if now.slope * (high.at - low.at) >= 0.0 {
                high = low;
            }
            low = now;
        }
    }
    Ok(low)
}

fn in_order(a: LinePoint, b: LinePoint) -> [LinePoint; 2] {
    if a.value <= b.value { [a, b] } else { [b, a] }
}

/// The minimum of the cubic through two places with their slopes, within bounds; their middle when
/// the cubic has none.
fn minimum(a: &LinePoint, b: &LinePoint, (least, most): (f64, f64)) -> f64 {
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.at - b.at);
    let square = d1 * d1 - a.slope * b.slope;
    let middle = (least + most) / 2.0;
    if square < 0.0 {
        return middle;
    }
    let (a, b) = if a.at <= b.at { (a, b) } else { (b, a) };
    let d2 = square.sqrt();
    let at = b.at - (b.at - a.at) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2));
    // Values that are infinite make it no number.
    if at.is_finite() { at.clamp(least, most) } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches along a function of one number from 0, first at `step`.
    fn search(f: fn(f64) -> (f64, f64), step: f64) -> (f64, usize) {
        let mut evaluations = 0;
        let place = |at: f64| {
            let (value, slope) = f(at);
            LinePoint { at, value, slope, gradient: Tensor::new() }
        };
        let found = strong_wolfe(place(0.0), step, 1.0, |at| {
            evaluations += 1;
            Ok(place(at))
        });
        (found.unwrap().at, evaluations)
    }

    #[test]
    fn a_cubic_is_met_where_it_is_lowest() {
        // x³ - 3x: slopes -3 at 0, 9 at 2; lowest at 1.
        let place = |at: f64| LinePoint {
            at,
            value: at.powi(3) - 3.0 * at,
            slope: 3.0 * at * at - 3.0,
            gradient: Tensor::new(),
        };
        for (a, b) in [(0.0, 2.0), (2.0, 0.0), (0.5, 3.0)] {
            let at = minimum(&place(a), &place(b), (a.min(b), a.max(b)));
            assert!((at - 1.0).abs() < 1e-12, "{a} {b}: {at}");
        }
        let endless = LinePoint { value: f64::INFINITY, ..place(2.0) };
        assert_eq!(minimum(&place(0.0), &endless, (0.0, 2.0)), 1.0);
    }

    #[test]
    fn steps_that_are_far_too_short_or_long_end_where_the_wolfe_conditions_hold() {
        let valley: fn(f64) -> (f64, f64) = |t| ((t - 5.0).powi(4), 4.0 * (t - 5.0).powi(3));
        // Beyond a wall the value is infinite.
        let walled: fn(f64) -> (f64, f64) =
            |t| if t < 7.0 { ((t - 5.0).powi(2), 2.0 * (t - 5.0)) } else { (f64::INFINITY, 0.0) };
        for f in [valley, walled] {
            for step in [1e-3, 1.0, 400.0] {
                let (at, evaluations) = search(f, step);
                let ((v0, s0), (v, s)) = (f(0.0), f(at));
                assert!(v <= v0 + DECREASE * at * s0 && s.abs() <= -CURVATURE * s0, "{step}: {at}");
                assert!(evaluations <= MOST + 1, "{evaluations}");
            }
        }
    }
}
