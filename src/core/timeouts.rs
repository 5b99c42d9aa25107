//! All time limits of the program, each with its reason.
//!
//! Every wait has a limit here, or is certain to end otherwise (by the user, the end of a file, or a thread
//! that is certain to end).

use std::time::{Duration, Instant};

/// Interval at which the supervisor checks limits and shows progress.
pub const TICK: Duration = Duration::from_millis(100);

/// Interval at which waits that nothing wakes poll the stop signal.
pub const POLL: Duration = Duration::from_millis(50);

/// A file to its first frame, or a track to its first packet: longer than any on a working disk takes.
pub const PREROLL: Duration = Duration::from_secs(60);

/// A file until its tracks are listed: only its head is read, and decoders are found.
pub const LIST_TRACKS: Duration = Duration::from_secs(30);

/// First frame after the whole file has been read: only decoding is left. Demuxers may stop without posting
/// an error (see `Pipeline::wait`).
pub const FIRST_FRAME_AFTER_READING: Duration = Duration::from_secs(5);

/// A further frame after all of a file has been read: one picture of a slow decoder.
pub const FRAME_AFTER_READING: Duration = Duration::from_secs(10);

/// A further frame after the source has failed: what was decoded before that is on its way.
pub const FRAME_AFTER_FAILURE: Duration = Duration::from_secs(2);

/// A further frame of a file while it is being read: a disk that wakes up or a network share that
/// comes back, and a decoder that looks far ahead.
pub const FRAME_OF_A_FILE: Duration = Duration::from_secs(120);

/// A further packet of a part of a longer video: a network share that comes back.
pub const READ_PACKET: Duration = Duration::from_secs(60);

/// A live source to its first picture: a camera that starts, a server that is asked over UDP in vain
/// and then over TCP.
pub const FIRST_LIVE_FRAME: Duration = Duration::from_secs(15);

/// Decoding up to a time that cannot be seeked to: longer than hours of video take.
pub const DECODE_UP_TO: Duration = Duration::from_secs(3600);

/// The sound of a live source that is not yet announced when the first picture is there: it often comes a little
/// later.
pub const LIVE_SOUND_ANNOUNCED: Duration = Duration::from_millis(500);

/// First packet of announced sound, after that.
pub const LIVE_SOUND: Duration = Duration::from_secs(2);

/// Three frames through a hardware encoder, to see that it works.
pub const TRY_ENCODER: Duration = Duration::from_secs(5);

/// A moment of silence through an encoder of sound.
pub const TRY_SOUND_ENCODER: Duration = Duration::from_secs(10);

/// First access unit of an RTSP server's encoder.
pub const FIRST_UNIT: Duration = Duration::from_secs(10);

/// Time that a new RTSP client waits for the key frame it begins with.
pub const JOIN_AT_KEY_FRAME: Duration = Duration::from_millis(200);

/// Time that a key frame is held for the client that asked for it.
pub const HOLD_KEY_FRAME: Duration = Duration::from_millis(50);

/// End of each thread of the RTSP server.
pub const END_RTSP_THREAD: Duration = Duration::from_secs(3);

/// Next byte written by an encoder and its muxer once there are no more frames: on a slow machine, encoders
/// look ahead by minutes of work.
pub const ENCODER_STALLED: Duration = Duration::from_secs(600);

/// A part of a run that has work and finishes no step of it, unless its steps usually take more than a fifth of this:
/// long enough for a machine that is busy with something else, short enough that nobody takes a picture that stands
/// for a live one.
pub const HANGS: Duration = Duration::from_secs(10);

/// The first pass of a network for each megapixel: several times what the slowest machine takes, its choice of
/// algorithms included.
pub const FIRST_PASS_PER_MEGAPIXEL: Duration = Duration::from_secs(60);

/// The first pass of a network for small frames: kernels are compiled on a GPU.
pub const FIRST_PASS: Duration = Duration::from_secs(120);

/// The next byte while a finished file is muxed once more: nothing is computed, only copied.
pub const REMUX_STALLED: Duration = Duration::from_secs(60);

/// A file written while live, from the end of its frames to the end of the file: its encoder does
/// not look ahead.
pub const FINISH_LIVE_FILE: Duration = Duration::from_secs(60);

/// A connection to an RTSP server: it is accepted within a second, or there is nobody.
pub const CONNECT_TO_RTSP_SERVER: Duration = Duration::from_secs(5);

/// A server's TLS handshake, when it is asked why it could not be opened.
pub const TLS_ANSWER: Duration = Duration::from_secs(3);

/// An answer of an HTTP server, or the next bytes of its stream.
pub const HTTP_ANSWER: Duration = Duration::from_secs(10);

/// Silence after which the last picture of a source is repeated, unless frames come more slowly: outputs go on before
/// anything is known.
pub const REPEAT_PICTURE: Duration = Duration::from_millis(500);

/// How long the last picture of a lost source is shown before a card takes its place.
pub const HOLD_PICTURE: Duration = Duration::from_secs(1);

/// A connection that has lasted this long was a good one: the pauses between attempts begin again.
pub const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Closing a lost connection, before it is left to itself.
pub const CLOSE_LOST: Duration = Duration::from_secs(5);

/// Closing an output, before it is left to itself: an element that hangs cannot be stopped.
pub const CLOSE_OUTPUT: Duration = Duration::from_secs(5);

/// Saying goodbye to a media server.
pub const LEAVE_MEDIA_SERVER: Duration = Duration::from_secs(3);

/// End of the user's own output description, which may write a file, or wait for somebody to connect and
/// never end.
pub const FINISH_OWN_OUTPUT: Duration = Duration::from_secs(10);

/// End of the threads of a stopped run's pipeline; one of them may be blocked in reading a pipe.
pub const CLOSE_STOPPED: Duration = Duration::from_secs(2);

/// Counting the frames of a file that could not be finished: 10 GB from a fast disk.
pub const COUNT_FRAMES: Duration = Duration::from_secs(10);

/// End of the thread that reads the keyboard; if the terminal was closed, its read never returns.
pub const END_KEY_THREAD: Duration = Duration::from_secs(1);

/// Last message to a terminal or pipe that is not read; then the process ends without it.
pub const LAST_MESSAGE: Duration = Duration::from_millis(200);

/// Measures a wait in time during which the program runs: time while it is stopped (Ctrl-Z, a sleeping
/// machine) does not count.
#[derive(Debug)]
pub struct WaitTimer {
    waited: Duration,
    seen: Instant,
}

impl WaitTimer {
    /// Starts measuring.
    pub fn new() -> Self {
        WaitTimer { waited: Duration::ZERO, seen: Instant::now() }
    }

    /// Starts again, after progress.
    pub fn renew(&mut self) {
        *self = WaitTimer::new();
    }

    /// Whether the wait exceeds `limit`; must be called at least about every [`TICK`].
    pub fn is_over(&mut self, limit: Duration) -> bool {
        self.is_over_at(Instant::now(), limit)
    }

    /// How long the wait has lasted; must be called as often.
    pub fn waited(&mut self) -> Duration {
        self.is_over(Duration::MAX);
        self.waited
    }

    /// As if it had lasted longer.
    #[cfg(test)]
    pub(super) fn add(&mut self, time: Duration) {
        self.waited += time;
    }

    fn is_over_at(&mut self, now: Instant, limit: Duration) -> bool {
        // Between two calls lies one tick, or somewhat more on a busy machine; a longer pause is not counted
        // in full.
        self.waited += now.saturating_duration_since(self.seen).min(20 * TICK);
        self.seen = now;
        self.waited > limit
    }
}

impl Default for WaitTimer {
    fn default() -> Self {
        WaitTimer::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_the_program_runs_counts() {
        let mut timer = WaitTimer::new();
        let start = timer.seen;
        let limit = Duration::from_secs(60);
        // It was stopped for an hour.
        assert!(!timer.is_over_at(start + Duration::from_secs(3600), limit));
        let woken = start + Duration::from_secs(3600);
        assert!((1..500).all(|n| !timer.is_over_at(woken + n * TICK, limit)));
        assert!((500..1000).any(|n| timer.is_over_at(woken + n * TICK, limit)));
    }
}
