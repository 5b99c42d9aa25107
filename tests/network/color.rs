//! Colours: against the definitions in double precision, and there and back.

use nst_stream::core::frame::{Colorimetry, Frame, Layout, Matrix, Range};
use nst_stream::engine::color::{ColorMatrix, Converter};
use tch::Tensor;

use super::cpu;
use super::frames::{LAYOUTS, chroma_at, chroma_of, decode, encode, frame, info, noise};

const MATRICES: [Matrix; 5] =
    [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020, Matrix::Smpte240m, Matrix::Fcc];
/// Even, odd, and as small as can be.
const SIZES: [(usize, usize); 7] = [(16, 10), (15, 9), (17, 4), (2, 2), (1, 1), (3, 1), (1, 4)];

fn colorimetries() -> impl Iterator<Item = Colorimetry> {
    let ranges = [Range::Limited, Range::Full];
    MATRICES.into_iter().flat_map(move |matrix| ranges.map(|range| Colorimetry { matrix, range }))
}

fn converter(frame: &Frame) -> Converter {
    Converter::new(frame.info, frame.planes.layout(), cpu()).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(t.to_kind(tch::Kind::Double).contiguous().flatten(0, -1)).unwrap()
}

fn assert_close(found: &[f64], expected: &[f64], within: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= within, "{what}: sample {i} is {f}, expected {e}");
    }
}

/// R', G', B' planes of a frame, after the definitions.
fn rgb_of(frame: &Frame) -> Vec<f64> {
    let (w, h) = (frame.info.width, frame.info.height);
    let bytes: Vec<f64> = frame.planes.bytes().iter().map(|&b| b.into()).collect();
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let pixel = |x: usize, y: usize| match frame.planes.layout() {
        Layout::Rgb => [0, 1, 2].map(|c| bytes[(y * w + x) * 3 + c]),
        Layout::Y444 => {
            decode([0, 1, 2].map(|c| bytes[c * w * h + y * w + x]), frame.info.colorimetry)
        }
        Layout::I420 => {
            let chroma = |c: usize| {
                let plane = &bytes[w * h + c * cw * ch..][..cw * ch];
                chroma_at(plane, (cw, ch), x, y)
            };
            decode([bytes[y * w + x], chroma(0), chroma(1)], frame.info.colorimetry)
        }
    };
    (0..3).flat_map(|c| (0..w * h).map(move |i| pixel(i % w, i / w)[c])).collect()
}

/// Samples of a frame from R', G', B' planes, after the definitions.
fn samples_of(rgb: &[f64], layout: Layout, (w, h): (usize, usize), c: Colorimetry) -> Vec<f64> {
    let pixel = |i: usize| [rgb[i], rgb[w * h + i], rgb[2 * w * h + i]];
    if layout == Layout::Rgb {
        return (0..w * h).flat_map(pixel).collect();
    }
    let plane = |p: usize| (0..w * h).map(|i| encode(pixel(i), c)[p]).collect::<Vec<_>>();
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let mut samples = plane(0);
    for p in 1..3 {
        let full = plane(p);
        match layout {
            Layout::Y444 => samples.extend(full),
            _ => samples.extend((0..cw * ch).map(|i| chroma_of(&full, (w, h), i % cw, i / cw))),
        }
    }
    samples
}

#[test]
fn frames_become_the_colours_that_the_standards_say() {
    for layout in LAYOUTS {
        for (w, h) in SIZES {
            for c in colorimetries() {
                let one = frame(layout, info(w, h, c), noise(layout.bytes(w, h), 5));
                let two = frame(layout, info(w, h, c), noise(layout.bytes(w, h), 6));
                let frames = [one, two];
                let converter = converter(&frames[0]);
                let rgb = converter.to_rgb(&converter.upload(&frames).unwrap()).unwrap();
                assert_eq!(rgb.size(), [2, 3, h as i64, w as i64]);
                let expected = [rgb_of(&frames[0]), rgb_of(&frames[1])].concat();
                assert_close(&values(&rgb), &expected, 1e-3, &format!("{layout:?} {w}×{h} {c:?}"));
            }
        }
    }
}

#[test]
fn colours_become_the_samples_that_the_standards_say() {
    for layout in LAYOUTS {
        for (w, h) in SIZES {
            for c in colorimetries() {
                let of = frame(layout, info(w, h, c), vec![0; layout.bytes(w, h)]);
                let bytes = noise(2 * 3 * w * h, 7);
                let rgb: Vec<f32> = bytes.iter().map(|&b| b.into()).collect();
                let rgb = Tensor::from_slice(&rgb).view([2, 3, h as i64, w as i64]);
                let found = values(&converter(&of).from_rgb(&rgb).unwrap());
                let planes: Vec<f64> = bytes.iter().map(|&b| b.into()).collect();
                let expected: Vec<f64> = planes
                    .chunks(3 * w * h)
                    .flat_map(|rgb| samples_of(rgb, layout, (w, h), c))
                    .collect();
                assert_close(&found, &expected, 1e-3, &format!("{layout:?} {w}×{h} {c:?}"));
            }
        }
    }
}

#[test]
fn colours_are_stored_rounded_and_clamped_to_what_is_between_black_and_white() {
    for layout in LAYOUTS {
        for (w, h) in SIZES {
            for c in colorimetries() {
                let of = frame(layout, info(w, h, c), vec![0; layout.bytes(w, h)]);
                // A network's values: a third of them are below black or above white.
                let values: Vec<f32> =
                    noise(2 * 3 * w * h, 8).iter().map(|&b| f32::from(b) * 1.5 - 60.3).collect();
                let rgb = Tensor::from_slice(&values).view([2, 3, h as i64, w as i64]);
                let mut frames = [of.clone(), of.clone()];
                converter(&of).store(&rgb, &mut frames).unwrap();
                let clamped: Vec<f64> =
                    values.iter().map(|&v| f64::from(v).clamp(0.0, 255.0)).collect();
                for (stored, rgb) in frames.iter().zip(clamped.chunks(3 * w * h)) {
                    let found: Vec<f64> = stored.planes.bytes().iter().map(|&b| b.into()).collect();
                    let expected = samples_of(rgb, layout, (w, h), c);
                    // Half a step is rounding.
                    assert_close(&found, &expected, 0.501, &format!("{layout:?} {w}×{h} {c:?}"));
                }
            }
        }
    }
}

/// Bytes of a frame after going to RGB and back.
fn there_and_back(frame: &Frame) -> Vec<u8> {
    let converter = converter(frame);
    let mut frames = [frame.clone()];
    let rgb = converter.to_rgb(&converter.upload(&frames).unwrap()).unwrap();
    frames[0].planes.bytes_mut().fill(1);
    converter.download(&converter.from_rgb(&rgb).unwrap(), &mut frames).unwrap();
    let [frame] = frames;
    frame.planes.into_bytes().to_vec()
}

#[test]
fn colours_within_rgb_come_back_as_they_were() {
    for c in colorimetries() {
        // Codes of colours that exist, rounded as an encoder does.
        let rgb = noise(3 * 500, 9);
        let pixels = rgb.chunks(3).map(|p| encode([p[0], p[1], p[2]].map(f64::from), c));
        let codes: Vec<[u8; 3]> = pixels.map(|p| p.map(|v| v.round() as u8)).collect();
        let planes = (0..3).flat_map(|p| codes.iter().map(move |code| code[p])).collect();
        let frame = frame(Layout::Y444, info(25, 20, c), planes);
        for (found, expected) in there_and_back(&frame).iter().zip(frame.planes.bytes().iter()) {
            // Rounding may have pushed a code just outside of RGB, where it is clamped.
            assert!(found.abs_diff(*expected) <= 1, "{c:?}: {found}, expected {expected}");
        }
    }
}

#[test]
fn grey_stays_grey() {
    for c in colorimetries() {
        let levels = if c.range == Range::Full { 0..=255 } else { 16..=235_u8 };
        for level in levels {
            for layout in [Layout::I420, Layout::Y444] {
                let mut bytes = vec![128; layout.bytes(5, 3)];
                bytes[..15].fill(level);
                let frame = frame(layout, info(5, 3, c), bytes.clone());
                assert_eq!(there_and_back(&frame), bytes, "{layout:?} {c:?} {level}");
            }
        }
    }
}

#[test]
fn black_white_and_the_primaries_have_their_published_codes() {
    // BT.709, limited range: 16, 235; red 63, 102, 240; green 173, 42, 26; blue 32, 240, 118.
    let c = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let codes = |rgb: [f64; 3]| {
        let ColorMatrix { rows, constants } = ColorMatrix::from_rgb(c);
        let row = |i: usize| rows[i].iter().zip(rgb).map(|(a, b)| a * b).sum::<f64>();
        [0, 1, 2].map(|i| (row(i) + constants[i]).round() as u8)
    };
    assert_eq!(codes([0.0; 3]), [16, 128, 128]);
    assert_eq!(codes([255.0; 3]), [235, 128, 128]);
    assert_eq!(codes([255.0, 0.0, 0.0]), [63, 102, 240]);
    assert_eq!(codes([0.0, 255.0, 0.0]), [173, 42, 26]);
    assert_eq!(codes([0.0, 0.0, 255.0]), [32, 240, 118]);
}

#[test]
fn a_frame_of_the_wrong_length_is_an_error() {
    let whole = frame(Layout::I420, info(8, 8, super::frames::BT709), vec![0; 96]);
    let mut cut = whole.clone();
    cut.planes = nst_stream::core::frame::Planes::new(Layout::I420, vec![0; 95].into());
    assert!(converter(&whole).upload(&[whole.clone(), cut]).is_err());
}
