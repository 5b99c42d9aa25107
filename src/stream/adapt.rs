//! `--adapt`: which scale lets the network keep the source's rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Each step reduces the area to about 0.7 (1/√2): a change is visible, but not abrupt.
const SCALES: [f64; 9] = [1.0, 0.84, 0.71, 0.59, 0.5, 0.42, 0.35, 0.3, 0.25];
/// At most one change in this time.
const BETWEEN_CHANGES: Duration = Duration::from_secs(5);
/// The scale goes down if a frame takes more than this share of the frame interval …
const TOO_SLOW: f64 = 0.95;
/// … and up only if a frame at the larger scale would take less than this share; otherwise the scale would
/// oscillate.
const ROOM: f64 = 0.7;
/// Number of latest steps whose median counts, and the least number needed. Steps that take long for a
/// passing reason (the first one, a machine that is busy for a moment) do not move the median.
const WINDOW: usize = 9;
const LEAST: usize = 5;

/// Chooses among fixed scales by how long steps take.
#[derive(Debug)]
pub struct Adapter {
    /// Upper limit of the scale.
    highest: f64,
    scale: f64,
    changed: Option<Instant>,
    /// Seconds that the last steps at the current scale took, oldest first.
    steps: VecDeque<f64>,
}

impl Adapter {
    /// Begins at the scale the user asked for, which is the highest it will take.
    pub fn new(highest: f64) -> Self {
        let steps = VecDeque::with_capacity(WINDOW);
        Adapter { highest, scale: highest, changed: None, steps }
    }

    /// A step took `took` while frames come every `interval`: the new scale, if it should change.
    pub fn step(&mut self, took: Duration, interval: Duration, now: Instant) -> Option<f64> {
        if self.steps.len() == WINDOW {
            self.steps.pop_front();
        }
        self.steps.push_back(took.as_secs_f64());
        let just_changed = self.changed.is_some_and(|at| now - at < BETWEEN_CHANGES);
        if self.steps.len() < LEAST || just_changed {
            return None;
        }
        let share = self.median() / interval.as_secs_f64().max(1e-6);
        // The network's work is proportional to the number of pixels.
        let would = |scale: f64| share * (scale / self.scale).powi(2);
        let allowed = |scale: &&f64| **scale <= self.highest;
        let next = if share > TOO_SLOW {
            let mut smaller = SCALES.iter().filter(|s| **s < self.scale);
            let smallest = smaller.clone().next_back();
            smaller.find(|s| would(**s) <= TOO_SLOW).or(smallest).copied()
        } else {
            let larger = SCALES.iter().filter(allowed).chain([&self.highest]);
            larger
                .filter(|s| **s > self.scale && would(**s) < ROOM)
                .copied()
                .fold(None, |best: Option<f64>, s| Some(best.map_or(s, |b| b.max(s))))
        }?;
        self.scale = next;
        self.changed = Some(now);
        // Times at the old scale say nothing about the new one.
        self.steps.clear();
        Some(next)
    }

    fn median(&self) -> f64 {
        let mut steps: Vec<f64> = self.steps.iter().copied().collect();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    /// Runs a network whose full-size step takes `full` for `seconds`, and counts changes.
    fn run(adapter: &mut Adapter, full: f64, seconds: f64, start: &mut Instant) -> (f64, usize) {
        let (mut changes, mut elapsed) = (0, 0.0);
        while elapsed < seconds {
            let took = Duration::from_secs_f64(full * adapter.scale.powi(2));
            let step = took.max(FRAME);
            *start += step;
            elapsed += step.as_secs_f64();
            changes += usize::from(adapter.step(took, FRAME, *start).is_some());
        }
        (adapter.scale, changes)
    }

    #[test]
    fn a_slow_network_gets_a_smaller_picture_that_it_can_keep_up_with() {
        let (mut adapter, mut now) = (Adapter::new(1.0), Instant::now());
        let (scale, changes) = run(&mut adapter, 0.150, 30.0, &mut now);
        assert_eq!(scale, 0.5);
        assert_eq!(changes, 1, "it went there at once and stayed");
    }

    #[test]
    fn it_grows_again_when_there_is_room_but_never_beyond_what_was_asked() {
        let (mut adapter, mut now) = (Adapter::new(0.84), Instant::now());
        run(&mut adapter, 0.2, 20.0, &mut now);
        assert!(adapter.scale < 0.5);
        let (scale, changes) = run(&mut adapter, 0.01, 30.0, &mut now);
        assert_eq!(scale, 0.84);
        assert!(changes <= 6, "{changes} changes in 30 s");
    }

    #[test]
    fn a_hopeless_network_ends_at_the_smallest_scale() {
        let (mut adapter, mut now) = (Adapter::new(1.0), Instant::now());
        assert_eq!(run(&mut adapter, 30.0, 200.0, &mut now).0, 0.25);
    }

    #[test]
    fn just_fast_enough_does_not_swing() {
        let (mut adapter, mut now) = (Adapter::new(1.0), Instant::now());
        let (_, changes) = run(&mut adapter, 0.037, 60.0, &mut now);
        assert_eq!(changes, 0);
        let (_, changes) = run(&mut adapter, 0.045, 60.0, &mut now);
        assert_eq!(changes, 1);
    }

    /// Runs steps of these milliseconds, one after another, and gives what was changed to.
    fn changes(adapter: &mut Adapter, steps: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let mut now = Instant::now();
        let step = |took| {
            let took = Duration::from_millis(took);
            now += took.max(FRAME);
            adapter.step(took, FRAME, now)
        };
        steps.into_iter().filter_map(step).collect()
    }

    #[test]
    fn steps_that_take_long_for_a_reason_of_their_own_change_nothing() {
        // The first two: a GPU tries its algorithms, memory is found.
        let first = [3000, 500].into_iter().chain([10; 200]);
        assert!(changes(&mut Adapter::new(1.0), first).is_empty());
        // One in ten, however long.
        let some = (0..400).map(|n| if n % 10 == 4 { 2000 } else { 10 });
        assert!(changes(&mut Adapter::new(1.0), some).is_empty());
        // Three in a row, and one short step in a slow network.
        let burst = (0..400).map(|n| if n % 50 / 3 == 5 { 900 } else { 10 });
        assert!(changes(&mut Adapter::new(1.0), burst).is_empty());
        let mut slow = Adapter::new(1.0);
        assert_eq!(changes(&mut slow, [150; 10]), [0.5]);
        let dips = (0..400).map(|n| if n % 10 == 4 { 0 } else { 37 });
        assert!(changes(&mut slow, dips).is_empty(), "it does not grow for a step of no time");
    }

    #[test]
    fn a_step_at_the_old_scale_does_not_count_at_the_new_one() {
        let mut adapter = Adapter::new(1.0);
        assert_eq!(changes(&mut adapter, [150; 5]), [0.5]);
        assert!(changes(&mut adapter, [37; 300]).is_empty());
    }
}
