//! Frames of made-up pictures, and a colour conversion written down plainly, in double precision.

use nst_stream::core::frame::{
    Bytes, Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range,
};

pub const LAYOUTS: [Layout; 3] = [Layout::I420, Layout::Y444, Layout::Rgb];
pub const BT709: Colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };

pub fn info(width: usize, height: usize, colorimetry: Colorimetry) -> FrameInfo {
    FrameInfo { width, height, colorimetry }
}

pub fn frame(layout: Layout, info: FrameInfo, bytes: Vec<u8>) -> Frame {
    assert_eq!(bytes.len(), layout.bytes(info.width, info.height));
    Frame { info, planes: Planes::new(layout, Bytes::from(bytes)), pts: None, duration: None }
}

/// A frame of soft slopes with colours, each `seed` another.
pub fn slopes(layout: Layout, width: usize, height: usize, seed: usize) -> Frame {
    let planes = layout.planes(width, height);
    let mut bytes = Vec::new();
    for (plane, (w, h)) in planes.into_iter().enumerate() {
        for y in 0..h {
            bytes.extend((0..w).map(|x| {
                let wave = (x as f64 * 0.13 + seed as f64).sin() * (y as f64 * 0.09).cos();
                let (middle, swing) = if plane == 0 { (120.0, 90.0) } else { (128.0, 40.0) };
                (middle + swing * wave + plane as f64 * 7.0).round() as u8
            }));
        }
    }
    frame(layout, info(width, height, BT709), bytes)
}

/// Numbers that look random, from a linear congruential generator.
pub fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Codes of Y', Cb, Cr of R', G', B' (0–255): the definitions, one after another.
pub fn encode([r, g, b]: [f64; 3], c: Colorimetry) -> [f64; 3] {
    let (kr, kb) = c.matrix.luma_coefficients();
    let (r, g, b) = (r / 255.0, g / 255.0, b / 255.0);
    let y = kr * r + (1.0 - kr - kb) * g + kb * b;
    let (cb, cr) = ((b - y) / (2.0 * (1.0 - kb)), (r - y) / (2.0 * (1.0 - kr)));
    match c.range {
        Range::Limited => [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr],
        Range::Full => [255.0 * y, 128.0 + 255.0 * cb, 128.0 + 255.0 * cr],
    }
}

/// R', G', B' (0–255, clamped) of codes of Y', Cb, Cr.
pub fn decode([y, cb, cr]: [f64; 3], c: Colorimetry) -> [f64; 3] {
    let (kr, kb) = c.matrix.luma_coefficients();
    let (y, cb, cr) = match c.range {
        Range::Limited => ((y - 16.0) / 219.0, (cb - 128.0) / 224.0, (cr - 128.0) / 224.0),
        Range::Full => (y / 255.0, (cb - 128.0) / 255.0, (cr - 128.0) / 255.0),
    };
    let r = y + 2.0 * (1.0 - kr) * cr;
    let b = y + 2.0 * (1.0 - kb) * cb;
    let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
    [r, g, b].map(|v| (v * 255.0).clamp(0.0, 255.0))
}

/// A sample of a plane; beyond its border the outermost repeats.
pub fn at(plane: &[f64], (w, h): (usize, usize), x: i64, y: i64) -> f64 {
    let (x, y) = (x.clamp(0, w as i64 - 1), y.clamp(0, h as i64 - 1));
    plane[y as usize * w + x as usize]
}

/// Linear interpolation of a 4:2:0 plane at a luma sample: chroma lies on columns 0, 2, 4 … and
/// between lines 2k and 2k + 1.
pub fn chroma_at(plane: &[f64], size: (usize, usize), x: usize, y: usize) -> f64 {
    let (x, y) = (x as f64 / 2.0, (y as f64 - 0.5) / 2.0);
    let (x0, y0) = (x.floor(), y.floor());
    let (fx, fy) = (x - x0, y - y0);
    let sample = |dx: i64, dy: i64| at(plane, size, x0 as i64 + dx, y0 as i64 + dy);
    (sample(0, 0) * (1.0 - fx) + sample(1, 0) * fx) * (1.0 - fy)
        + (sample(0, 1) * (1.0 - fx) + sample(1, 1) * fx) * fy
}

/// The 4:2:0 sample of a full-size plane.
pub fn chroma_of(plane: &[f64], size: (usize, usize), cx: usize, cy: usize) -> f64 {
    let (x, y) = (2 * cx as i64, 2 * cy as i64);
    let line = |y| {
        (at(plane, size, x - 1, y) + 2.0 * at(plane, size, x, y) + at(plane, size, x + 1, y)) / 4.0
    };
    // With an odd height the last line has no second one: the border repeats.
    (line(y) + line(y + 1)) / 2.0
}
