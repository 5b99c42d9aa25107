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

/// On a machine whose processors are taken by others, all limits are longer by this factor.
const STARVED: u32 = 5;

/// Share of the time for which threads of the program wait for a processor, beyond which it is starved.
const WAITS: f64 = 0.5;

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
    /// How long the step has taken, and how long threads had waited for processors, when it was first suspicious.
    suspected: Option<(Duration, Duration)>,
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
            suspected: None,
        }
    }

    /// Takes note of a heartbeat, about every [`TICK`](super::timeouts::TICK). When the part has had work for too long and
    /// has finished no step of it: for how long.
    pub fn hangs(&mut self, heartbeat: Heartbeat) -> Option<Duration> {
        self.hangs_while(heartbeat, &waited_for_processors)
    }

    fn hangs_while(
        &mut self,
        heartbeat: Heartbeat,
        waited_for_processors: &dyn Fn() -> Duration,
    ) -> Option<Duration> {
        let took = self.timer.waited();
        if !heartbeat.works || heartbeat.steps != self.steps {
            let step = heartbeat.steps != self.steps;
            // Of several steps at once each took less than that.
            if step && (self.whole || heartbeat.steps > self.steps + 1) {
                self.recent.truncate(KNOWN - 1);
                self.recent.push_front(took);
            }
            self.whole = step || !heartbeat.works;
            self.steps = heartbeat.steps;
            self.timer.renew();
            self.suspected = None;
            return None;
        }
        let limit = self.limit();
        if took > limit / 2 && self.suspected.is_none() {
            self.suspected = Some((took, waited_for_processors()));
        }
        if took <= limit {
            return None;
        }
        let starved = self.suspected.is_some_and(|(since, waited)| {
            let waits = waited_for_processors().saturating_sub(waited);
            waits.as_secs_f64() > WAITS * took.saturating_sub(since).as_secs_f64()
        });
        (!starved || took > STARVED * limit).then_some(took)
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

/// How long the threads of this process were ready to run and had no processor, together; zero where the system does not
/// say (`/proc/self/task/*/schedstat`, second number).
fn waited_for_processors() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn threads_that_wait_for_a_processor_are_seen() {
        let (cores, done) =
            (thread::available_parallelism().unwrap().get(), AtomicBool::new(false));
        let before = waited_for_processors();
        thread::scope(|scope| {
            for _ in 0..3 * cores {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            thread::sleep(Duration::from_millis(400));
            // Two of three wait, for as many cores as there are.
            let waited = waited_for_processors().saturating_sub(before);
            done.store(true, Ordering::Relaxed);
            assert!(waited > Duration::from_millis(200), "{waited:?}");
        });
    }

    #[test]
    fn a_program_without_processors_gets_more_time() {
        let work = Heartbeat { works: true, steps: 0 };
        let second = Duration::from_secs(1);
        let hung = |waits: Duration| {
            let (mut waited, mut dog) = (Duration::ZERO, Watchdog::new(Duration::ZERO));
            (1..100).find(|_| {
                dog.timer.add(second);
                waited += waits;
                dog.hangs_while(work, &|| waited).is_some()
            })
        };
        let usual = hung(Duration::ZERO).unwrap();
        assert_eq!(hung(second / 4), Some(usual), "a busy machine");
        assert!(hung(second).unwrap() >= 4 * usual, "a starved one");
    }

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
    fn steps_that_are_faster_than_looks_say_how_long_one_takes() {
        let mut dog = Watchdog::new(Duration::from_secs(120));
        assert_eq!(dog.hangs(Heartbeat { works: true, steps: 20 }), None);
        assert_eq!(dog.limit(), HANGS);
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
