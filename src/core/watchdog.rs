//! Notices parts of a run that have work and get nothing done: a network pass that hangs, an encoder that stops, a sink
//! that blocks.

use std::collections::VecDeque;
use std::time::Duration;

use super::timeouts::{HANGS, WaitTimer};

/// What a part of a run does at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// It has work.
    pub works: bool,
    /// Steps of its work so far.
    pub steps: u64,
}

/// Number of steps from which the usual duration of one is known.
const KNOWN: usize = 9;

/// A part hangs after this many times the usual duration of a step.
const TIMES: u32 = 5;

/// Watches one part of a run by its heartbeat.
///
/// Durations are those between looks at the part ([`WaitTimer`]), so that neither the limit nor what is usual counts
/// time in which the program was stopped.
#[derive(Debug)]
pub struct Watchdog {
    /// Limit while it is not known how long a step takes.
    first: Duration,
    steps: u64,
    timer: WaitTimer,
    /// The step that is under way began while it was watched.
    whole: bool,
    recent: VecDeque<Duration>,
}

impl Watchdog {
    /// For a part whose first step takes less than `first`.
    pub fn new(first: Duration) -> Self {
        Watchdog {
            first: first.max(HANGS),
            steps: 0,
            timer: WaitTimer::new(),
            whole: false,
            recent: VecDeque::new(),
        }
    }

    /// Takes note of a heartbeat, about every [`TICK`](super::timeouts::TICK). When the part has had work for too long and
    /// has finished no step of it: for how long.
    pub fn hangs(&mut self, heartbeat: Heartbeat) -> Option<Duration> {
        let took = self.timer.waited();
        if !heartbeat.works || heartbeat.steps != self.steps {
            let step = heartbeat.steps != self.steps;
            if step && self.whole {
                self.recent.truncate(KNOWN - 1);
                self.recent.push_front(took);
            }
            self.whole = step || !heartbeat.works;
            self.steps = heartbeat.steps;
            self.timer.renew();
            return None;
        }
        let limit = self.limit();
        (took > limit).then_some(took)
    }

    /// From now on a step may take longer, or shorter, than those before.
    pub fn forget(&mut self) {
        self.recent.clear();
        self.whole = false;
    }

    /// How long a step may take.
    fn limit(&self) -> Duration {
        let mut sorted: Vec<_> = self.recent.iter().collect();
        sorted.sort_unstable();
        match sorted.get(sorted.len() / 2) {
            Some(usual) => HANGS.max(TIMES * **usual),
            None => self.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_times_the_usual_step_is_too_long() {
        let mut dog = Watchdog::new(Duration::from_secs(120));
        assert_eq!(dog.limit(), Duration::from_secs(120), "the first step");
        for seconds in [3, 4, 4, 60, 4] {
            dog.recent.push_front(Duration::from_secs(seconds));
        }
        assert_eq!(
            dog.limit(),
            Duration::from_secs(20),
            "one that took longer is not the usual one"
        );
        dog.recent = [Duration::from_millis(30)].into();
        assert_eq!(dog.limit(), HANGS);
        dog.forget();
        assert_eq!(dog.limit(), Duration::from_secs(120));
    }

    #[test]
    fn only_work_without_a_step_counts() {
        let mut dog = Watchdog::new(Duration::ZERO);
        let second = |dog: &mut Watchdog| dog.timer.add(Duration::from_secs(1));
        for steps in 0..100 {
            second(&mut dog);
            assert_eq!(dog.hangs(Heartbeat { works: true, steps }), None, "it is slow");
        }
        for _ in 0..100 {
            second(&mut dog);
            assert_eq!(dog.hangs(Heartbeat { works: false, steps: 99 }), None, "it has no work");
        }
        let hung = (0..20).find_map(|_| {
            second(&mut dog);
            dog.hangs(Heartbeat { works: true, steps: 99 })
        });
        assert!(hung.is_some_and(|hung| hung > HANGS && hung < 2 * HANGS), "{hung:?}");
    }
}
