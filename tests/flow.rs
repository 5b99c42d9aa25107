//! Optical flow on pictures whose motion is known, because the test makes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::f32::consts::PI;

use nst_stream::flow::{
    FlowField, FlowOptions, Pyramid, flow, flow_both, motion_boundaries, occluded, warp,
};

const BOTH: [(&str, FlowOptions); 2] =
    [("live", FlowOptions::LIVE), ("accurate", FlowOptions::ACCURATE)];

/// Luma at a point of the plane.
type Scene<'a> = &'a dyn Fn(f32, f32) -> f32;

/// A texture without end: random values on grids of several sizes, smoothly interpolated. About 20 to 235.
fn texture(x: f32, y: f32) -> f32 {
    let octave = |size: f32, seed: i32| {
        let (x, y) = (x / size, y / size);
        let (left, top) = (x.floor(), y.floor());
        let value = |dx: i32, dy: i32| {
            let (x, y) = (left as i32 + dx, top as i32 + dy);
            let mut n = (x.wrapping_mul(374_761_393))
                ^ y.wrapping_mul(668_265_263)
                ^ seed.wrapping_mul(974_634_777);
            n = (n ^ (n >> 13)).wrapping_mul(1_274_126_177);
            ((n ^ (n >> 16)) & 0xffff) as f32 / 65535.0
        };
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (fx, fy) = (smooth(x - left), smooth(y - top));
        let upper = value(0, 0) + fx * (value(1, 0) - value(0, 0));
        let lower = value(0, 1) + fx * (value(1, 1) - value(0, 1));
        upper + fy * (lower - upper)
    };
    let sum = 0.5 * octave(23.0, 1) + 0.3 * octave(9.0, 2) + 0.2 * octave(4.0, 3);
    20.0 + 215.0 * sum
}

fn picture(width: usize, height: usize, scene: Scene) -> Vec<u8> {
    let pixel = |n: usize| scene((n % width) as f32, (n / width) as f32).round().clamp(0.0, 255.0);
    (0..width * height).map(|n| pixel(n) as u8).collect()
}

fn between(
    first: Scene,
    second: Scene,
    (width, height): (usize, usize),
    options: &FlowOptions,
) -> FlowField {
    let [first, second] = [first, second]
        .map(|scene| Pyramid::new(&picture(width, height, scene), width, height, width, options));
    flow(&first, &second, options)
}

/// Mean distance from what is right, over pixels that are seen in both pictures and lie `margin` from the border.
fn error(field: &FlowField, right: impl Fn(f32, f32) -> (f32, f32), margin: usize) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    for y in margin..field.height - margin {
        for x in margin..field.width - margin {
            let n = y * field.width + x;
            let (u, v) = right(x as f32, y as f32);
            sum += (field.u[n] - u).hypot(field.v[n] - v);
            count += 1;
        }
    }
    sum / count as f32
}

#[test]
fn a_picture_that_is_moved_has_its_shift_everywhere() {
    for (name, options) in BOTH {
        for (u, v) in [(0.0, 0.0), (0.5, -0.25), (3.3, -1.7), (-14.0, 9.0), (24.0, 0.0)] {
            let moved = |x: f32, y: f32| texture(x - u, y - v);
            let field = between(&texture, &moved, (256, 192), &options);
            let error = error(&field, |_, _| (u, v), 28);
            let bound = if name == "live" { 0.25 } else { 0.1 };
            assert!(error < bound, "{name}, ({u}, {v}): {error} pixels");
        }
    }
}

#[test]
fn a_zoom_and_a_turn_are_followed() {
    let (width, height) = (320, 240);
    let centre = (160.0, 120.0);
    for (name, options) in BOTH {
        for (zoom, turn) in [(1.06f32, 0.0f32), (0.95, 0.0), (1.0, 0.05), (1.03, -0.03)] {
            let right = |x: f32, y: f32| {
                let (x, y) = (x - centre.0, y - centre.1);
                let (sin, cos) = turn.sin_cos();
                (zoom * (cos * x - sin * y) - x, zoom * (sin * x + cos * y) - y)
            };
            // The second picture shows at p what the first shows where p came from.
            let second = |x: f32, y: f32| {
                let (x, y) = (x - centre.0, y - centre.1);
                let (sin, cos) = (-turn).sin_cos();
                texture(
                    centre.0 + (cos * x - sin * y) / zoom,
                    centre.1 + (sin * x + cos * y) / zoom,
                )
            };
            let field = between(&texture, &second, (width, height), &options);
            let error = error(&field, right, 16);
            let bound = if name == "live" { 0.3 } else { 0.12 };
            assert!(error < bound, "{name}, zoom {zoom}, turn {turn}: {error} pixels");
        }
    }
}

/// A square of another texture, 80 pixels wide, from (100, 80) on, which moves over the background.
fn with_square(x: f32, y: f32, by: f32) -> f32 {
    let inside = (100.0 + by..180.0 + by).contains(&x) && (80.0..160.0).contains(&y);
    if inside { 255.0 - texture(2000.0 + x - by, y) } else { texture(x, y) }
}

#[test]
fn what_a_moving_object_uncovers_is_found_and_the_rest_is_not() {
    let (width, height, by) = (320usize, 240usize, 12.0f32);
    let before = |x: f32, y: f32| with_square(x, y, 0.0);
    let after = |x: f32, y: f32| with_square(x, y, by);
    for (name, options) in BOTH {
        let [first, second] = [&before as Scene, &after].map(|scene| {
            Pyramid::new(&picture(width, height, scene), width, height, width, &options)
        });
        let (forward, backward) = flow_both(&first, &second, &options);
        // Of the second picture, what the first does not show: the strip that the square has left.
        let hidden = occluded(&backward, &forward);
        let count = |columns: std::ops::Range<usize>, lines: std::ops::Range<usize>| {
            let pixels = lines.clone().flat_map(|y| columns.clone().map(move |x| y * width + x));
            let all = pixels.clone().count();
            pixels.filter(|n| hidden[*n]).count() as f32 / all as f32
        };
        let uncovered = count(100..112, 84..156);
        let square = count(125..175, 95..145);
        let elsewhere = count(220..300, 20..220);
        assert!(uncovered > 0.85, "{name}: {uncovered} of the uncovered strip");
        assert!(square < 0.02 && elsewhere < 0.02, "{name}: {square}, {elsewhere} of what is seen");
        let edges = motion_boundaries(&backward);
        let near = (84..156).filter(|y| (170..205).any(|x| edges[y * width + x])).count();
        assert!(near > 65, "{name}: the square's edge is seen in {near} of 72 lines");
        let inside = backward.u[120 * width + 150];
        assert!((inside + by).abs() < 0.3, "{name}: the square moves by {inside}");
    }
}

#[test]
fn what_leaves_the_picture_is_occluded() {
    let (width, height) = (240, 160);
    let moved = |x: f32, y: f32| texture(x + 10.0, y);
    let options = FlowOptions::ACCURATE;
    let [first, second] = [&texture as Scene, &moved]
        .map(|scene| Pyramid::new(&picture(width, height, scene), width, height, width, &options));
    let (forward, backward) = flow_both(&first, &second, &options);
    let hidden = occluded(&forward, &backward);
    let line = &hidden[80 * width..][..width];
    assert!(line[..7].iter().all(|hidden| *hidden), "the left border goes out of the picture");
    assert!(line[16..220].iter().filter(|hidden| **hidden).count() < 4, "the rest stays");
}

#[test]
fn plain_pictures_do_not_move() {
    for (name, options) in BOTH {
        let field = between(&|_, _| 90.0, &|_, _| 90.0, (200, 120), &options);
        let largest = field.u.iter().chain(&field.v).fold(0.0f32, |most, v| most.max(v.abs()));
        assert!(largest < 1e-3, "{name}: {largest}");
        // A plain half beside a moving one: whatever the plain half does, it is a number and small.
        let half =
            |by: f32| move |x: f32, y: f32| if x < 100.0 { 90.0 } else { texture(x - by, y) };
        let field = between(&half(0.0), &half(4.0), (200, 120), &options);
        assert!(field.u.iter().chain(&field.v).all(|v| v.is_finite() && v.abs() < 12.0), "{name}");
    }
}

#[test]
fn a_change_of_light_is_no_motion() {
    for (name, options) in BOTH {
        let brighter = |x: f32, y: f32| 0.9 * texture(x - 2.0, y) + 24.0;
        let field = between(&texture, &brighter, (256, 192), &options);
        let error = error(&field, |_, _| (2.0, 0.0), 16);
        assert!(error < 0.35, "{name}: {error} pixels");
    }
}

#[test]
fn any_size_has_a_flow_even_one_pixel() {
    for (name, options) in BOTH {
        for size in [(1, 1), (1, 40), (3, 7), (8, 8), (9, 31), (33, 17), (65, 63), (641, 9)] {
            let field = between(&texture, &|x, y| texture(x - 1.0, y), size, &options);
            assert_eq!((field.width, field.height), size, "{name}");
            assert_eq!((field.u.len(), field.v.len()), (size.0 * size.1, size.0 * size.1));
            assert!(field.u.iter().chain(&field.v).all(|v| v.is_finite()), "{name}: {size:?}");
        }
    }
}

#[test]
fn the_result_is_the_same_with_any_number_of_threads() {
    let moved = |x: f32, y: f32| texture(x - 3.0, y - 2.0);
    for (name, options) in BOTH {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| between(&texture, &moved, (320, 300), &options))
        };
        assert_eq!(with(1), with(3), "{name}");
    }
}

#[test]
fn rows_with_padding_are_read_as_they_lie() {
    let (width, height, stride) = (200, 120, 256);
    let options = FlowOptions::ACCURATE;
    let tight = picture(width, height, &texture);
    let mut padded = vec![7; stride * height];
    for (padded, line) in padded.chunks_mut(stride).zip(tight.chunks(width)) {
        padded[..width].copy_from_slice(line);
    }
    let moved = picture(width, height, &|x, y| texture(x - 2.0, y + 1.0));
    let moved = Pyramid::new(&moved, width, height, width, &options);
    let of = |luma: &[u8], stride| {
        flow(&Pyramid::new(luma, width, height, stride, &options), &moved, &options)
    };
    assert_eq!(of(&tight, width), of(&padded, stride));
}

#[test]
fn warping_the_second_picture_gives_the_first() {
    let (width, height) = (256, 192);
    let moved = |x: f32, y: f32| texture(x - 5.0, y - 3.0);
    let field = between(&texture, &moved, (width, height), &FlowOptions::ACCURATE);
    let floats = |scene: Scene| {
        picture(width, height, scene).iter().map(|p| f32::from(*p)).collect::<Vec<_>>()
    };
    let (first, second) = (floats(&texture), floats(&moved));
    let back = warp(&second, &field);
    let apart = |other: &[f32]| {
        let inner = (16..height - 16).flat_map(|y| (16..width - 16).map(move |x| y * width + x));
        let (sum, count) =
            inner.fold((0.0, 0), |(s, c), n| (s + (first[n] - other[n]).abs(), c + 1));
        sum / count as f32
    };
    assert!(apart(&back) < 1.0, "{} levels", apart(&back));
    assert!(apart(&second) > 10.0, "the pictures differ where nothing is warped");
}

#[test]
fn warping_by_parts_of_a_pixel_keeps_fine_detail() {
    // Waves of four pixels: the mean of two neighbours would keep seven tenths of them.
    let (width, height) = (64, 48);
    let wave = |x: f32, y: f32| 128.0 + 60.0 * (x * PI / 2.0).sin() + 40.0 * (y * PI / 2.0).cos();
    let plane = |dx: f32, dy: f32| -> Vec<f32> {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x as f32, y as f32)));
        pixels.map(|(x, y)| wave(x + dx, y + dy)).collect()
    };
    for (u, v) in [(0.5, 0.5), (3.25, -1.5), (-2.5, 0.0)] {
        let mut field = FlowField::zero(width, height);
        field.u.fill(u);
        field.v.fill(v);
        let (seen, expected) = (warp(&plane(0.0, 0.0), &field), plane(u, v));
        for (x, y) in (8..height - 8).flat_map(|y| (8..width - 8).map(move |x| (x, y))) {
            let n = y * width + x;
            let apart = (seen[n] - expected[n]).abs();
            assert!(apart < 3.0, "({x}, {y}) moved by ({u}, {v}): {apart} levels");
        }
    }
}
