//! The muxer of each container, and the timescale of MP4 video tracks.

use crate::core::encoding::Container;

/// The element that writes a container.
pub(super) fn muxer(container: Container) -> &'static str {
    match container {
        Container::Mp4 => "mp4mux",
        Container::Mkv => "matroskamux",
        Container::Mov => "qtmux",
        Container::WebM => "webmmux",
    }
}

/// Timescale (ticks per second) of an MP4's video track. Every frame of a constant rate falls on a tick, and
/// a tick is at most 1/90,000 s long, so that variable rates keep their timestamps. By itself, mp4mux would
/// use a hundredth of a frame duration.
pub(super) fn timescale(rate: Option<(i32, i32)>) -> u32 {
    let n = rate.map_or(1, |(n, _)| n.unsigned_abs().max(1));
    n.saturating_mul(90_000_u32.div_ceil(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_usual_rate_fall_on_a_tick() {
        for (n, d) in [(25, 1), (30, 1), (60, 1), (30_000, 1001), (24_000, 1001), (60_000, 1001)] {
            let ticks = u64::from(timescale(Some((n, d))));
            assert!(ticks >= 90_000 && (ticks * d as u64).is_multiple_of(n as u64), "{n}/{d}");
        }
        assert_eq!(timescale(None), 90_000);
    }
}
