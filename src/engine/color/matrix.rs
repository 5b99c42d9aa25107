//! The matrices between R', G', B' and Y', Cb, Cr.

use crate::core::frame::{Colorimetry, Range};

/// Rows of a 3 × 3 matrix and a constant for each: `out = rows · in + constants`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColorMatrix {
    /// The matrix, row by row.
    pub rows: [[f64; 3]; 3],
    /// Added to each row's result.
    pub constants: [f64; 3],
}

impl ColorMatrix {
    /// From R', G', B' on the scale 0–255 to codes of Y', Cb, Cr.
    pub fn from_rgb(colorimetry: Colorimetry) -> Self {
        let (kr, kb) = colorimetry.matrix.luma_coefficients();
        let kg = 1.0 - kr - kb;
        let Codes { black, luma, chroma } = Codes::of(colorimetry.range);
        let (cb, cr) = (chroma / (2.0 * (1.0 - kb)), chroma / (2.0 * (1.0 - kr)));
        ColorMatrix {
            rows: [
                [luma * kr, luma * kg, luma * kb],
                [-cb * kr, -cb * kg, cb * (1.0 - kb)],
                [cr * (1.0 - kr), -cr * kg, -cr * kb],
            ],
            constants: [black, 128.0, 128.0],
        }
    }

    /// From codes of Y', Cb, Cr to R', G', B' on the scale 0–255.
    pub fn to_rgb(colorimetry: Colorimetry) -> Self {
        let (kr, kb) = colorimetry.matrix.luma_coefficients();
        let kg = 1.0 - kr - kb;
        let Codes { black, luma, chroma } = Codes::of(colorimetry.range);
        let (y, cb, cr) = (1.0 / luma, 2.0 * (1.0 - kb) / chroma, 2.0 * (1.0 - kr) / chroma);
        let rows = [[y, 0.0, cr], [y, -cb * kb / kg, -cr * kr / kg], [y, cb, 0.0]];
        ColorMatrix { rows, constants: rows.map(|[y, b, r]| -black * y - 128.0 * (b + r)) }
    }
}

/// How sample codes of a range map to the scale 0–255.
pub(super) struct Codes {
    /// Code of black.
    pub black: f64,
    /// Codes of luma per level of 0–255.
    pub luma: f64,
    /// The same of chroma.
    pub chroma: f64,
}

impl Codes {
    pub fn of(range: Range) -> Self {
        match range {
            Range::Limited => Codes { black: 16.0, luma: 219.0 / 255.0, chroma: 224.0 / 255.0 },
            Range::Full => Codes { black: 0.0, luma: 1.0, chroma: 1.0 },
        }
    }
}
