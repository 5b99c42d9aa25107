//! Frames that are held steady: scenes whose motion is known, painted by something that flickers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use nst_stream::core::frame::{
    Bytes, Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range,
};
use nst_stream::core::stylizer::{StylizeError, Stylizer};
use nst_stream::steady::Steady;

const WIDTH: usize = 320;
const HEIGHT: usize = 180;

/// Pseudo-random bits of three numbers.
fn noise(a: i64, b: i64, seed: u64) -> u64 {
    let mut x = (a as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add((b as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_add(seed.wrapping_mul(0x1656_67b1_9e37_79f9));
    x ^= x >> 31;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 29)
}

/// Texture at a point: random values at every `cell` pixels, smoothly joined, in 0–1.
fn texture(x: f64, y: f64, cell: f64, seed: u64) -> f64 {
    let (x, y) = (x / cell, y / cell);
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f64| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - left), ease(y - top));
    let at = |dx: i64, dy: i64| {
        (noise(left as i64 + dx, top as i64 + dy, seed) >> 40) as f64 / (1u64 << 24) as f64
    };
    let upper = at(0, 0) * (1.0 - u) + at(1, 0) * u;
    let lower = at(0, 1) * (1.0 - u) + at(1, 1) * u;
    upper * (1.0 - v) + lower * v
}

/// A frame of the scene: luma at each pixel, chroma plain.
fn frame(layout: Layout, luma: impl Fn(usize, usize) -> f64) -> Frame {
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let info = FrameInfo { width: WIDTH, height: HEIGHT, colorimetry };
    let mut bytes = vec![128; layout.bytes(WIDTH, HEIGHT)];
    for n in 0..WIDTH * HEIGHT {
        let value = luma(n % WIDTH, n / WIDTH).round().clamp(0.0, 255.0) as u8;
        match layout {
            Layout::Rgb => bytes[3 * n..3 * n + 3].fill(value),
            Layout::I420 | Layout::Y444 => bytes[n] = value,
        }
    }
    Frame { info, planes: Planes::new(layout, Bytes::from(bytes)), pts: None, duration: None }
}

/// The camera moves over a textured plane by so many pixels a frame.
fn pan(n: usize, (u, v): (f64, f64)) -> Frame {
    frame(Layout::I420, |x, y| {
        let (x, y) = (x as f64 + u * n as f64, y as f64 + v * n as f64);
        40.0 + 120.0 * texture(x, y, 9.0, 1) + 40.0 * texture(x, y, 3.0, 2)
    })
}

/// Paints each frame with strokes of its own: what is seen is under noise that is new in every frame.
struct Flickers {
    frames: u64,
    luma_only: bool,
}

impl Flickers {
    fn new() -> Self {
        Flickers { frames: 0, luma_only: false }
    }
}

impl Stylizer for Flickers {
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        for frame in batch {
            self.frames += 1;
            let seed = 100 + self.frames;
            let luma = if self.luma_only { WIDTH * HEIGHT } else { usize::MAX };
            for (n, byte) in frame.planes.bytes_mut().iter_mut().take(luma).enumerate() {
                let (x, y) = ((n % WIDTH) as f64, (n / WIDTH) as f64);
                let stroke = 60.0 * (texture(x, y, 4.0, seed) - 0.5);
                *byte = (f64::from(*byte) * 0.7 + 40.0 + stroke).clamp(0.0, 255.0) as u8;
            }
        }
        Ok(())
    }
}

fn held(steady: &mut Steady<Flickers>, mut frame: Frame) -> Frame {
    steady.stylize(std::slice::from_mut(&mut frame)).unwrap();
    frame
}

/// The frames as they are painted and as they are held.
fn both(steadiness: f32, frames: Vec<Frame>) -> (Vec<Frame>, Vec<Frame>) {
    let (mut paints, mut holds) = (Flickers::new(), Steady::new(Flickers::new(), steadiness, None));
    let painted = frames.iter().cloned().map(|mut frame| {
        paints.stylize(std::slice::from_mut(&mut frame)).unwrap();
        frame
    });
    let painted = painted.collect();
    (painted, frames.into_iter().map(|frame| held(&mut holds, frame)).collect())
}

fn luma(frame: &Frame) -> &[u8] {
    &frame.planes.bytes()[..WIDTH * HEIGHT]
}

/// Mean absolute difference to `before`, moved by whole pixels, in the middle of the picture.
fn difference(now: &[u8], before: &[u8], (u, v): (i64, i64)) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for y in 40..HEIGHT as i64 - 40 {
        for x in 40..WIDTH as i64 - 40 {
            let at = |x: i64, y: i64| (y as usize) * WIDTH + x as usize;
            sum += f64::from(now[at(x, y)].abs_diff(before[at(x + u, y + v)]));
            count += 1;
        }
    }
    sum / f64::from(count)
}

#[test]
fn what_is_still_stands_still() {
    for layout in [Layout::I420, Layout::Y444, Layout::Rgb] {
        let scene = |n: usize| {
            // Noise of a sensor.
            frame(layout, |x, y| {
                40.0 + 150.0 * texture(x as f64, y as f64, 9.0, 1)
                    + 3.0 * texture(x as f64, y as f64, 1.0, 50 + n as u64)
            })
        };
        let mut steady = Steady::new(Flickers::new(), 1.0, None);
        let frames: Vec<_> = (0..20).map(|n| held(&mut steady, scene(n))).collect();
        for frame in &frames[1..] {
            let pairs = frame.planes.bytes().iter().zip(&**frames[0].planes.bytes());
            let changed = pairs.filter(|(a, b)| a.abs_diff(**b) > 1).count();
            assert!(changed * 1000 < frame.planes.bytes().len(), "{layout:?}: {changed} changed");
        }
    }
}

#[test]
fn paint_moves_with_what_it_lies_on_and_stays_sharp() {
    let (u, v) = (1.3, 0.6);
    let (painted, held) = both(1.0, (0..31).map(|n| pan(n, (u, v))).collect());
    let (first, last) = (luma(&held[0]), luma(&held[30]));
    // After 30 frames the paint lies where the camera has moved it, within a pixel.
    let expected = ((30.0 * u).round() as i64, (30.0 * v).round() as i64);
    let places = (-4..=4).flat_map(|y| (-4..=4).map(move |x| (expected.0 + x, expected.1 + y)));
    let best = places
        .min_by(|a, b| difference(last, first, *a).total_cmp(&difference(last, first, *b)))
        .unwrap();
    assert!((best.0 - expected.0).abs() <= 1 && (best.1 - expected.1).abs() <= 1, "{best:?}");
    // It is that paint, not a mean of many.
    let same = difference(last, first, best);
    let other = difference(luma(&painted[30]), luma(&painted[0]), expected);
    assert!(same < 0.5 * other, "{same} of {other}");
    let detail = |luma: &[u8]| luma.windows(2).map(|p| f64::from(p[0].abs_diff(p[1]))).sum::<f64>();
    let sharp = detail(last) / detail(luma(&painted[30]));
    assert!(sharp > 0.9, "{sharp}");
}

#[test]
fn what_is_uncovered_is_painted_anew_at_once() {
    let square = |n: usize| (60 + 6 * n, 50);
    let scene = |n: usize| {
        let (left, top) = square(n);
        frame(Layout::I420, |x, y| {
            let inside = (left..left + 80).contains(&x) && (top..top + 80).contains(&y);
            match inside {
                true => {
                    let (x, y) = ((x - left) as f64, (y - top) as f64);
                    20.0 + 160.0 * texture(x, y, 6.0, 8)
                }
                false => 90.0 + 150.0 * texture(x as f64, y as f64, 6.0, 9),
            }
        })
    };
    let (painted, held) = both(1.0, (0..20).map(scene).collect());
    let (mut uncovered, mut anew) = (0, 0);
    for n in 1..20 {
        let ((before, top), (now, _)) = (square(n - 1), square(n));
        for y in top..top + 80 {
            for at in (before..now).map(|x| y * WIDTH + x) {
                uncovered += 1;
                anew += usize::from(luma(&held[n])[at].abs_diff(luma(&painted[n])[at]) <= 1);
            }
        }
    }
    assert!(anew * 100 >= uncovered * 95, "{anew} of {uncovered}");
}

#[test]
fn after_a_cut_the_first_frame_is_as_it_is_painted() {
    let scene = |n: usize| match n {
        0..6 => pan(n, (1.0, 0.0)),
        _ => frame(Layout::I420, |x, y| 200.0 - 150.0 * texture(x as f64, y as f64, 14.0, 77)),
    };
    let (painted, held) = both(1.0, (0..12).map(scene).collect());
    assert!(held[6] == painted[6], "the first after the cut");
    assert!(held[5] != painted[5] && held[7] != painted[7], "those about it are held");
}

#[test]
fn a_light_that_fades_is_followed() {
    let scene = |n: usize| {
        frame(Layout::I420, |x, y| {
            let light = 1.0 - n as f64 / 50.0;
            30.0 + light * 180.0 * texture(x as f64, y as f64, 9.0, 1)
        })
    };
    let (painted, held) = both(1.0, (0..40).map(scene).collect());
    let mean = |frame: &Frame| {
        luma(frame).iter().map(|l| f64::from(*l)).sum::<f64>() / (WIDTH * HEIGHT) as f64
    };
    let (first, last) = (mean(&painted[0]), mean(&painted[39]));
    let behind = (mean(&held[39]) - last).abs();
    assert!(behind < 0.2 * (first - last), "{behind} of {}", first - last);
}

#[test]
fn kept_colours_and_unpainted_frames_are_left_as_they_are() {
    struct Nothing;
    impl Stylizer for Nothing {
        fn stylize(&mut self, _: &mut [Frame]) -> Result<(), StylizeError> {
            Ok(())
        }
    }
    let mut nothing = Steady::new(Nothing, 1.0, None);
    let mut luma_only = Steady::new(Flickers { frames: 0, luma_only: true }, 1.0, None);
    for n in 0..5 {
        let source = pan(n, (1.3, 0.6));
        let mut frame = source.clone();
        nothing.stylize(std::slice::from_mut(&mut frame)).unwrap();
        assert!(frame == source, "frame {n}");
        let held = held(&mut luma_only, source.clone());
        let chroma = WIDTH * HEIGHT..;
        assert!(held.planes.bytes()[chroma.clone()] == source.planes.bytes()[chroma], "frame {n}");
    }
}

#[test]
fn no_steadiness_leaves_frames_as_they_are_painted() {
    let (painted, held) = both(0.0, (0..5).map(|n| pan(n, (1.0, 1.0))).collect());
    assert!(painted == held);
    let (painted, held) = both(1.0, vec![pan(0, (0.0, 0.0))]);
    assert!(painted == held, "the first frame");
}

#[test]
fn a_new_size_begins_anew_and_the_smallest_frames_are_left_alone() {
    let mut steady = Steady::new(Flickers::new(), 1.0, None);
    held(&mut steady, pan(0, (0.0, 0.0)));
    for (width, height) in [(33, 17), (16, 16), (15, 40), (1, 1), (64, 48)] {
        for layout in [Layout::I420, Layout::Y444, Layout::Rgb] {
            let bytes: Vec<u8> = (0..layout.bytes(width, height)).map(|n| (7 * n) as u8).collect();
            let info = FrameInfo { width, height, ..pan(0, (0.0, 0.0)).info };
            let planes = Planes::new(layout, Bytes::from(bytes));
            let frame = Frame { info, planes, pts: None, duration: None };
            for _ in 0..3 {
                assert_eq!(
                    held(&mut steady, frame.clone()).planes.bytes().len(),
                    layout.bytes(width, height)
                );
            }
        }
    }
}
