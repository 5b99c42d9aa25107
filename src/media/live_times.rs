//! Puts the timestamps of a live source onto the run's clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::LiveClock;

/// Which track a timestamp belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    Picture = 0,
    Sound = 1,
}

/// How far timestamps may lie from the clock, and from the ones before them, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// In the future: pictures that are sent out of order, and jitter.
    ahead: i64,
    /// The same for the first timestamp of a connection.
    first_ahead: i64,
    /// In the past.
    behind: i64,
    /// Before the newest one of the same track.
    back: i64,
    /// They are of the sender's clock.
    drifts: bool,
}

impl Limits {
    /// Of a stream that is held back by `latency`.
    fn of_a_stream(latency: Duration) -> Self {
        let behind = nanos(Duration::from_secs(10) + latency);
        Limits { ahead: 500_000_000, first_ahead: 0, behind, back: 500_000_000, drifts: true }
    }

    /// Of a source that may deliver faster than in real time.
    const ANY: Limits = Limits {
        ahead: i64::MAX / 4,
        first_ahead: i64::MAX / 4,
        behind: i64::MAX / 4,
        back: 500_000_000,
        drifts: false,
    };
}

/// Nanoseconds that are added to the timestamps of a track.
type Shift = i64;

/// Over such a time the earliest arrival of pictures tells how far the sender's clock is from ours, in nanoseconds:
/// some come late, none comes before it is sent.
const WINDOW: i64 = 10_000_000_000;

/// By what share of the time timestamps are moved at most where the sender's clock runs faster or slower than ours:
/// more than two crystals differ, less than is seen or heard.
const SLEW: f64 = 0.001;

/// The timestamps of one connection. Those of a stream are the sender's: they may begin anywhere, jump or start
/// again; they are then shifted so that the newest is now. Where its clock runs faster or slower than ours they are
/// moved little by little. Picture and sound are shifted and moved alike, so that they stay together. Clones share
/// their state.
#[derive(Clone)]
pub(super) struct LiveTimes {
    clock: LiveClock,
    limits: Limits,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// When the connection was started, for one that waits until then.
    begun: i64,
    /// Of each track its shift, and its newest time on the clock.
    tracks: [Option<(Shift, i64)>; 2],
    on_shift: Option<Box<dyn Fn(Shift) + Send>>,
    drift: Drift,
}

/// How far the sender's clock has drifted from ours. All values are nanoseconds.
#[derive(Default)]
struct Drift {
    /// Added to the timestamps of both tracks.
    moved: Shift,
    /// What it is to become.
    wanted: Shift,
    /// When it was changed.
    at: i64,
    /// How far pictures were ahead of the clock at most when the connection was new.
    usual: Option<i64>,
    /// The same in the present window, and when that began.
    window: Option<(i64, i64)>,
}

impl Drift {
    /// Takes note of a picture that comes now with this time, `moved` included. Returns what to add from now on.
    fn note(&mut self, time: i64, now: i64) {
        let most = (SLEW * (now - self.at).clamp(0, WINDOW) as f64) as i64;
        self.moved += (self.wanted - self.moved).clamp(-most, most);
        self.at = now;
        let ahead = time - now;
        let (furthest, begun) = self.window.get_or_insert((ahead, now));
        *furthest = ahead.max(*furthest);
        if now - *begun < WINDOW {
            return;
        }
        let usual = *self.usual.get_or_insert(*furthest);
        self.wanted = self.moved - (*furthest - usual);
        self.window = None;
    }

    /// The timestamps jump: what was usual is no longer.
    fn jump(&mut self) {
        *self = Drift { moved: self.moved, wanted: self.moved, at: self.at, ..Drift::default() };
    }
}

impl LiveTimes {
    /// Of a source whose timestamps are right.
    pub fn of_a_file(clock: &LiveClock) -> Self {
        LiveTimes { clock: clock.clone(), limits: Limits::ANY, state: Arc::default() }
    }

    /// Of a stream that is held back by `latency`.
    pub fn of_a_stream(clock: &LiveClock, latency: Duration) -> Self {
        let limits = Limits::of_a_stream(latency);
        LiveTimes { clock: clock.clone(), limits, state: Arc::default() }
    }

    /// Time zero of the connection is now; this time on the run's clock.
    pub fn begin(&self) -> Duration {
        let now = self.clock.now();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).begun = nanos(now);
        now
    }

    /// Calls `changed` with the offset of the timestamps from the clock whenever it changes.
    pub fn on_shift(&self, changed: impl Fn(Shift) + Send + 'static) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.on_shift = Some(Box::new(changed));
    }

    /// The time of a frame or packet on the run's clock; now, where it has no timestamp.
    pub fn place(&self, track: Track, pts: Option<Duration>) -> Duration {
        let now = self.clock.now();
        let Some(pts) = pts else { return now };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        duration(state.place(track, nanos(pts), nanos(now), self.limits))
    }
}

impl State {
    fn place(&mut self, track: Track, pts: i64, now: i64, limits: Limits) -> i64 {
        let pts = pts + self.begun + self.drift.moved;
        let (shift, new) = shift(&self.tracks, track, pts, now, limits);
        let newest = self.tracks[track as usize].filter(|_| !new).map_or(0, |(_, newest)| newest);
        self.tracks[track as usize] = Some((shift, newest.max(pts + shift)));
        if new && let Some(changed) = &self.on_shift {
            changed(self.begun + shift);
        }
        match (new, track) {
            _ if !limits.drifts => {}
            (true, _) => self.drift.jump(),
            (false, Track::Picture) => self.drift.note(pts + shift, now),
            (false, Track::Sound) => {}
        }
        pts + shift
    }
}

/// The shift of a timestamp, and whether it is a new one.
fn shift(
    tracks: &[Option<(Shift, i64)>; 2],
    track: Track,
    pts: i64,
    now: i64,
    limits: Limits,
) -> (Shift, bool) {
    let (own, other) = (tracks[track as usize], tracks[1 - track as usize]);
    let ahead = if own.or(other).is_none() { limits.first_ahead } else { limits.ahead };
    let earliest = own.map_or(0, |(_, newest)| newest - limits.back).max(now - limits.behind);
    let fits = |shift: &Shift| (earliest..=now + ahead).contains(&(pts + shift));
    let known = [own, other].into_iter().flatten().map(|(shift, _)| shift);
    match known.chain([0]).find(fits) {
        Some(shift) => (shift, false),
        None => (now - pts, true),
    }
}

fn nanos(time: Duration) -> i64 {
    // Half of what fits, so that sums of two fit.
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where timestamps go, in milliseconds; each with its track and the time at which it comes.
    fn placed(times: &[(Track, i64, i64)]) -> Vec<i64> {
        let (mut tracks, limits) = ([None, None], Limits::of_a_stream(Duration::ZERO));
        let place = |(track, pts, now): &(Track, i64, i64)| {
            let (pts, now) = (pts * 1_000_000, now * 1_000_000);
            let (shift, _) = shift(&tracks, *track, pts, now, limits);
            tracks[*track as usize] = Some((shift, pts + shift));
            (pts + shift) / 1_000_000
        };
        times.iter().map(place).collect()
    }

    use Track::{Picture as P, Sound as A};

    #[test]
    fn timestamps_that_fit_the_clock_stay() {
        let times = [(P, 4900, 5000), (A, 4800, 5000), (P, 4940, 5040), (A, 5010, 5040)];
        assert_eq!(placed(&times), [4900, 4800, 4940, 5010]);
    }

    #[test]
    fn a_stream_that_began_at_another_time_is_shifted_with_its_sound() {
        // A transport stream, 700 ms ahead of its clock; then hours away.
        assert_eq!(
            placed(&[(P, 5700, 5000), (A, 5900, 5000), (P, 5740, 5040)]),
            [5000, 5200, 5040]
        );
        let hours = 3_600_000;
        let times = [(A, 90 * hours, 5000), (P, 90 * hours - 30, 5010), (P, 90 * hours + 10, 5050)];
        assert_eq!(placed(&times), [5000, 4970, 5010]);
    }

    #[test]
    fn an_hour_with_a_clock_that_runs_fast_or_slow_keeps_delay_and_sound() {
        let limits = Limits::of_a_stream(Duration::ZERO);
        for parts_per_million in [200, -200, 40] {
            let mut state = State::default();
            let mut random = fastrand::Rng::with_seed(1);
            let (mut last, mut ahead, mut apart) = (None, (i64::MAX, i64::MIN), 0);
            for n in 0..90_000i64 {
                let pts = 7_000_000_000 + n * 40_000_000;
                // Sent by the sender's clock; it takes 5 to 25 ms.
                let sent = 90_000_000_000 + n * (40_000_000 - 40 * parts_per_million);
                let now = sent + random.i64(5_000_000..25_000_000);
                let sound = state.place(A, pts, now, limits);
                let picture = state.place(P, pts, now, limits);
                apart = apart.max((sound - picture).abs());
                let by = last.replace(picture).map_or(40_000_000, |last| picture - last);
                assert!(
                    (by - 40_000_000).abs() < 100_000,
                    "{parts_per_million}: frame {n} by {by}"
                );
                ahead = (ahead.0.min(picture - sent), ahead.1.max(picture - sent));
            }
            assert!(ahead.1 - ahead.0 < 20_000_000, "{parts_per_million}: {ahead:?}");
            assert!(
                apart < 100_000,
                "{parts_per_million}: the sound is {apart} ns beside the picture"
            );
        }
    }

    #[test]
    fn timestamps_that_jump_go_on_from_now() {
        // 32 bits of RTP at 90 kHz are 47722 s.
        let wrap = 47_721_858;
        let times = [(P, wrap, 5000), (P, 0, 5040), (A, 20, 5050), (P, 40, 5080)];
        assert_eq!(placed(&times), [5000, 5040, 5060, 5080]);
        assert_eq!(
            placed(&[(P, 5000, 5000), (P, 900_000, 5040), (P, 5080, 5080)]),
            [5000, 5040, 5080]
        );
    }
}
