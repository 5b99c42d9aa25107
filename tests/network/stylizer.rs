//! What the stylizer makes of frames.

use nst_stream::core::frame::{Frame, Layout};
use nst_stream::core::stylizer::{StylizeError, Stylizer};
use nst_stream::engine::color::Converter;
use nst_stream::engine::model::Model;
use nst_stream::engine::precision::Precision;
use nst_stream::engine::stylizer::{NetworkStylizer, StyleMix};

use super::frames::{LAYOUTS, slopes};
use super::{cpu, data, model};

fn stylizer() -> NetworkStylizer {
    NetworkStylizer::new(Model::from_file(&model("small"), cpu(), Precision::Fp32).unwrap())
}

fn painted(mut stylizer: NetworkStylizer, frame: &Frame) -> Frame {
    let mut frames = [frame.clone()];
    stylizer.stylize(&mut frames).unwrap();
    let [frame] = frames;
    frame
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn frames_become_what_the_network_makes_of_their_colours() {
    for layout in LAYOUTS {
        let frame = slopes(layout, 37, 26, 1);
        let converter = Converter::new(frame.info, layout, cpu()).unwrap();
        let samples = converter.upload(std::slice::from_ref(&frame)).unwrap();
        let stylizer = stylizer();
        let rgb = stylizer.model().paint(&converter.to_rgb(&samples).unwrap()).unwrap();
        let mut expected = [frame.clone()];
        let samples = converter.from_rgb(&rgb.clamp(0.0, 255.0)).unwrap();
        converter.download(&samples, &mut expected).unwrap();
        assert_eq!(painted(stylizer, &frame), expected[0], "{layout:?}");
    }
}

#[test]
fn a_batch_is_one_pass_and_equals_its_frames_one_by_one() {
    for layout in LAYOUTS {
        let frames: Vec<_> = (0..3).map(|seed| slopes(layout, 30, 21, seed)).collect();
        let mut stylizer = stylizer();
        let mut together = frames.clone();
        stylizer.stylize(&mut together).unwrap();
        assert_eq!(stylizer.model().passes(), 1);
        for (frame, expected) in frames.iter().zip(&together) {
            let mut alone = [frame.clone()];
            stylizer.stylize(&mut alone).unwrap();
            let difference = alone[0].planes.bytes().iter().zip(expected.planes.bytes().iter());
            assert!(difference.map(|(a, b)| a.abs_diff(*b)).max() <= Some(1), "{layout:?}");
        }
        assert_eq!(stylizer.model().passes(), 4);
    }
}

#[test]
fn preserved_colours_are_the_same_bit_for_bit() {
    for layout in [Layout::I420, Layout::Y444] {
        for scale in [1.0, 0.5] {
            let frame = slopes(layout, 45, 31, 2);
            let mix = StyleMix { preserve_color: true, ..StyleMix::default() };
            let result = painted(stylizer().with_scale(scale).with_mix(mix), &frame);
            let luma = 45 * 31;
            let (before, after) = (frame.planes.bytes(), result.planes.bytes());
            assert_eq!(before[luma..], after[luma..], "{layout:?} at {scale}");
            assert!(mean_difference(&before[..luma], &after[..luma]) > 5.0, "luma is painted");
        }
    }
}

#[test]
fn preserved_luma_is_that_of_the_painted_picture() {
    for layout in [Layout::I420, Layout::Y444] {
        let frame = slopes(layout, 45, 31, 2);
        let mix = StyleMix { preserve_color: true, ..StyleMix::default() };
        let kept = painted(stylizer().with_mix(mix), &frame);
        let all = painted(stylizer(), &frame);
        let luma = 45 * 31;
        assert_eq!(kept.planes.bytes()[..luma], all.planes.bytes()[..luma], "{layout:?}");
    }
}

#[test]
fn a_picture_keeps_its_chroma_but_for_what_rgb_cannot_hold() {
    let frame = slopes(Layout::Rgb, 40, 24, 3);
    let mix = StyleMix { preserve_color: true, ..StyleMix::default() };
    let result = painted(stylizer().with_mix(mix), &frame);
    let (before, after) = (frame.planes.bytes(), result.planes.bytes());
    assert!(mean_difference(before, after) > 5.0, "luma is painted");
    for (a, b) in before.chunks(3).zip(after.chunks(3)) {
        if b.iter().all(|v| (1..=254).contains(v)) {
            // Chroma is made of differences.
            let difference =
                |p: &[u8]| [i16::from(p[0]) - i16::from(p[1]), i16::from(p[2]) - i16::from(p[1])];
            for (a, b) in difference(a).into_iter().zip(difference(b)) {
                assert!(a.abs_diff(b) <= 1, "{a} became {b}");
            }
        }
    }
}

#[test]
fn strength_0_is_the_identity_and_does_not_ask_the_network() {
    for layout in LAYOUTS {
        let frames = [slopes(layout, 24, 18, 4)];
        let mut stylizer = stylizer().with_mix(StyleMix { strength: 0.0, ..StyleMix::default() });
        let mut result = frames.clone();
        stylizer.stylize(&mut result).unwrap();
        assert_eq!((result, stylizer.model().passes()), (frames, 0));
    }
}

#[test]
fn half_the_strength_is_half_way() {
    for layout in LAYOUTS {
        for preserve_color in [false, true] {
            let frame = slopes(layout, 24, 18, 4);
            let mut stylizer = stylizer();
            let mut at = |strength| {
                stylizer.set_mix(StyleMix { strength, preserve_color });
                let mut frames = [frame.clone()];
                stylizer.stylize(&mut frames).unwrap();
                frames[0].planes.bytes().to_vec()
            };
            let (half, full) = (at(0.5), at(1.0));
            for ((before, half), full) in frame.planes.bytes().iter().zip(half).zip(full) {
                let middle = (f64::from(*before) + f64::from(full)) / 2.0;
                assert!((f64::from(half) - middle).abs() <= 1.0, "{before}, {half}, {full}");
            }
        }
    }
}

#[test]
fn a_scale_paints_smaller_and_comes_back_to_full_size() {
    let stylizer_at = |scale| stylizer().with_scale(scale);
    assert_eq!(stylizer_at(0.5).painted_size(1280, 720), (640, 360));
    assert_eq!(stylizer_at(0.3).painted_size(101, 7), (30, 2));
    assert_eq!(stylizer_at(0.01).painted_size(10, 10), (1, 1));
    assert_eq!(stylizer_at(2.0).painted_size(10, 10), (10, 10));
    for layout in LAYOUTS {
        for scale in [0.5, 0.37, 0.01] {
            let frame = slopes(layout, 61, 38, 5);
            let result = painted(stylizer_at(scale), &frame);
            assert_eq!(result.info, frame.info);
            assert_ne!(result.planes, frame.planes);
        }
    }
}

#[test]
fn strokes_grow_and_shrink_with_the_size_at_which_is_painted() {
    let with = |stroke| stylizer().with_stroke(stroke);
    assert_eq!(with(2.0).painted_size(1280, 720), (640, 360));
    assert_eq!(with(0.5).painted_size(1280, 720), (2560, 1440));
    assert_eq!(with(2.0).with_scale(0.5).painted_size(1280, 720), (320, 180));
    assert_eq!(with(0.0).painted_size(10, 10), (10, 10));
    assert_eq!(with(f64::NAN).painted_size(10, 10), (10, 10));
    for layout in LAYOUTS {
        let frame = slopes(layout, 61, 38, 5);
        let small = painted(stylizer().with_scale(0.5), &frame);
        assert_eq!(painted(with(2.0), &frame).planes, small.planes);
        let fine = painted(with(0.5), &frame);
        assert_eq!(fine.info, frame.info);
        assert_ne!(fine.planes, painted(with(1.0), &frame).planes);
    }
}

/// The program 255 − x, whose result at any size is known but for what scaling loses.
#[test]
fn scaling_down_and_up_keeps_a_smooth_picture_in_its_place() {
    let path = data("reference-negative.ts");
    for scale in [0.5, 0.7] {
        let model = Model::open(path.to_str().unwrap(), true, cpu(), Precision::Fp32).unwrap();
        let mut frame = slopes(Layout::Y444, 81, 60, 6);
        frame.planes.bytes_mut()[81 * 60..].fill(128);
        let result = painted(NetworkStylizer::new(model).with_scale(scale), &frame);
        // Black and white are 16 and 235.
        let negative = |(i, b): (usize, &u8)| if i < 81 * 60 { 251 - b } else { *b };
        let expected: Vec<u8> = frame.planes.bytes().iter().enumerate().map(negative).collect();
        let difference = mean_difference(result.planes.bytes(), &expected);
        println!("at {scale}: {difference:.3}");
        assert!(difference < 0.5, "at {scale}: {difference}");
    }
    let model = Model::open(path.to_str().unwrap(), true, cpu(), Precision::Fp32).unwrap();
    let mut frame = slopes(Layout::Y444, 81, 60, 6);
    frame.planes.bytes_mut()[81 * 60..].fill(128);
    let fine = painted(NetworkStylizer::new(model).with_stroke(0.5), &frame);
    let expected = frame.planes.bytes().iter().enumerate();
    let expected =
        expected.map(|(i, b)| if i < 81 * 60 { 251 - b } else { *b }).collect::<Vec<_>>();
    assert!(mean_difference(fine.planes.bytes(), &expected) < 0.5, "finer strokes");
}

#[test]
fn a_batch_of_unlike_frames_is_refused() {
    let unlike = [
        slopes(Layout::I420, 26, 18, 0),
        slopes(Layout::I420, 24, 20, 0),
        slopes(Layout::Y444, 24, 18, 0),
    ];
    for other in unlike {
        let mut batch = [slopes(Layout::I420, 24, 18, 0), other];
        assert!(matches!(stylizer().stylize(&mut batch), Err(StylizeError::MixedBatch)));
    }
    assert!(stylizer().stylize(&mut []).is_ok());
}

#[test]
fn frames_may_change_their_size_and_kind_between_batches() {
    let mut stylizer = stylizer();
    for (layout, width, height) in [
        (Layout::I420, 24, 18),
        (Layout::Y444, 24, 18),
        (Layout::Rgb, 9, 31),
        (Layout::I420, 24, 18),
    ] {
        let frame = slopes(layout, width, height, 7);
        let mut batch = [frame.clone()];
        stylizer.stylize(&mut batch).unwrap();
        assert_eq!(batch[0].info, frame.info);
        assert_ne!(batch[0].planes, frame.planes);
    }
}

#[test]
fn it_computes_on_another_thread_than_it_was_made_on() {
    let frame = slopes(Layout::I420, 24, 18, 8);
    let here = painted(stylizer().with_threads(Some(1)), &frame);
    let stylizer = stylizer().with_threads(Some(1));
    let there = std::thread::spawn(move || painted(stylizer, &frame)).join().unwrap();
    assert_eq!(here, there);
}
