//! Control over space (Gatys et al. 2017, section 3): a mask whose colours name regions, each with
//! styles of its own.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use image::RgbImage;
use tch::{TchError, Tensor};

use super::Refused;
use crate::train::recipe::StyleSource;

/// A colour of the mask that stands for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color([u8; 3]);

impl FromStr for Color {
    type Err = String;

    /// A grey value, `0` to `255`; `black`, `white`; or `#rrggbb`.
    fn from_str(text: &str) -> Result<Self, String> {
        let hex = |text: &str| {
            let part = |n: usize| u8::from_str_radix(text.get(n..n + 2)?, 16).ok();
            (text.len() == 6).then(|| Some([part(0)?, part(2)?, part(4)?]))?
        };
        let color = match text {
            "black" => Some([0; 3]),
            "white" => Some([255; 3]),
            _ => match text.strip_prefix('#') {
                Some(text) => hex(text),
                None => text.parse().ok().map(|grey: u8| [grey; 3]),
            },
        };
        color.map(Color).ok_or_else(|| {
            format!("'{text}' is no region: expected black, white, a grey value 0–255 or #rrggbb")
        })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [r, g, b] if r == g && g == b => write!(f, "{r}"),
            [r, g, b] => write!(f, "#{r:02x}{g:02x}{b:02x}"),
        }
    }
}

/// A style picture with its weight, and the region it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct StyleAt {
    /// The picture; none where a region keeps to the content alone.
    pub source: Option<StyleSource>,
    /// Its region; none: everywhere.
    pub region: Option<Color>,
}

impl FromStr for StyleAt {
    type Err = String;

    /// `a.jpg`, `a.jpg:0.7`, `a.jpg@white`, `a.jpg:0.7@#ff0000`, `none@0`. A name may hold an `@`:
    /// only a region behind the last one is a region.
    fn from_str(text: &str) -> Result<Self, String> {
        let (picture, region) = match text.rsplit_once('@') {
            Some((picture, region)) => match region.parse() {
                Ok(color) => (picture, Some(color)),
                Err(said) if !PathBuf::from(text).exists() => return Err(said),
                Err(_) => (text, None),
            },
            None => (text, None),
        };
        let source = (picture != "none").then(|| picture.parse()).transpose()?;
        if source.is_none() && region.is_none() {
            return Err("'none' needs a region: none@black".to_owned());
        }
        Ok(StyleAt { source, region })
    }
}

/// Colours of a mask may be off by so much, as JPEG makes them, in levels (Euclidean).
const TOLERANCE: f32 = 40.0;
/// A mask may hold such a share of pixels with colours of no region, as at edges of three.
const STRAY: f64 = 0.005;

/// Where each of the regions lies, 0–1, at the mask's own size: 1 × 1 × height × width each. Between
/// the colours of two regions a pixel belongs to both, in parts: edges may be soft. The parts of a
/// pixel add up to 1.
///
/// # Errors
/// When the mask holds a colour that is no region, or a region has no pixel.
pub fn read(mask: &RgbImage, regions: &[Color]) -> Result<Vec<Tensor>, Refused> {
    let mut known: HashMap<[u8; 3], (Parts, f32)> = HashMap::new();
    let mut strays: HashMap<[u8; 3], usize> = HashMap::new();
    let mut planes = vec![Vec::with_capacity(mask.pixels().len()); regions.len()];
    for pixel in mask.pixels() {
        let (parts, off) = known.entry(pixel.0).or_insert_with(|| nearest(pixel.0, regions));
        if *off > TOLERANCE {
            *strays.entry(pixel.0).or_default() += 1;
        }
        planes.iter_mut().for_each(|plane| plane.push(0.0_f32));
        for &(region, part) in parts.iter() {
            if let Some(last) = planes[region].last_mut() {
                *last += part;
            }
        }
    }
    let pixels = mask.pixels().len() as f64;
    let listed = || regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if strays.values().sum::<usize>() as f64 > STRAY * pixels
        && let Some((color, _)) = strays.into_iter().max_by_key(|(_, count)| *count)
    {
        let color = Color(color);
        return Err(Refused(format!(
            "--mask: no --style is for its region {color}; there are styles for {}; \
             'none@{color}' leaves it as it is",
            listed()
        )));
    }
    let (width, height) = (i64::from(mask.width()), i64::from(mask.height()));
    let mut tensors = Vec::new();
    for (plane, region) in planes.iter().zip(regions) {
        if f64::from(plane.iter().sum::<f32>()) < 1.0 {
            return Err(Refused(format!("--style …@{region}: the mask has no region {region}")));
        }
        let tensor = Tensor::f_from_slice(plane).and_then(|t| t.f_reshape([1, 1, height, width]));
        tensors.push(tensor.map_err(|e: TchError| Refused(e.to_string()))?);
    }
    Ok(tensors)
}

/// The one or two regions that a pixel belongs to, and how much to each.
type Parts = Vec<(usize, f32)>;

/// Between which two regions' colours a colour lies, and how far off their line.
fn nearest(color: [u8; 3], regions: &[Color]) -> (Parts, f32) {
    let vector = |c: [u8; 3]| c.map(f32::from);
    let dot = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let minus = |a: [f32; 3], b: [f32; 3]| [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    let c = vector(color);
    let mut best: (Parts, f32) = (Vec::new(), f32::INFINITY);
    let mut shortest = f32::INFINITY;
    for (i, a) in regions.iter().enumerate() {
        let a = vector(a.0);
        // A region's own colour needs no second one.
        let off = dot(minus(c, a), minus(c, a)).sqrt();
        if off < best.1 {
            (best, shortest) = ((vec![(i, 1.0)], off), 0.0);
        }
        for (j, b) in regions.iter().enumerate().skip(i + 1) {
            let line = minus(vector(b.0), a);
            let length = dot(line, line).sqrt();
            let t = (dot(minus(c, a), line) / (length * length).max(1.0)).clamp(0.0, 1.0);
            let foot = [a[0] + t * line[0], a[1] + t * line[1], a[2] + t * line[2]];
            let off = dot(minus(c, foot), minus(c, foot)).sqrt();
            // Of regions in a row (three greys) the neighbours count, not the outer two.
            if off < best.1 - 1.0 || (off < best.1 + 1.0 && length < shortest) {
                (best, shortest) = ((vec![(i, 1.0 - t), (j, t)], off), length);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    fn colors(texts: &[&str]) -> Vec<Color> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn styles_name_their_regions() {
        let style: StyleAt = "dir/a.jpg:0.7@#ff8000".parse().unwrap();
        assert_eq!(style.region, Some(Color([255, 128, 0])));
        assert_eq!(style.source.unwrap().weight, 0.7);
        assert_eq!("a.jpg".parse::<StyleAt>().unwrap().region, None);
        assert_eq!("none@white".parse::<StyleAt>().unwrap().source, None);
        for bad in ["none", "a.jpg@300", "a.jpg@#ff", "a.jpg@sky"] {
            assert!(bad.parse::<StyleAt>().is_err(), "{bad}");
        }
        let shown = colors(&["7", "#010203"]).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown, ["7", "#010203"]);
    }

    #[test]
    fn edges_between_regions_belong_to_both() {
        let mut mask = RgbImage::from_pixel(5, 1, Rgb([0; 3]));
        for (x, grey) in [(1, 64), (2, 128), (3, 192), (4, 255)] {
            mask.put_pixel(x, 0, Rgb([grey; 3]));
        }
        let planes = |regions: &[&str]| -> Vec<Vec<f32>> {
            let read = read(&mask, &colors(regions)).unwrap();
            read.iter().map(|t| Vec::try_from(t.reshape([-1])).unwrap()).collect()
        };
        let near = |a: &[f32], b: &[f32]| {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02), "{a:?} {b:?}");
        };
        let two = planes(&["black", "white"]);
        near(&two[0], &[1.0, 0.75, 0.5, 0.25, 0.0]);
        near(&two[1], &[0.0, 0.25, 0.5, 0.75, 1.0]);
        let three = planes(&["black", "white", "128"]);
        near(&three[0], &[1.0, 0.5, 0.0, 0.0, 0.0]);
        near(&three[1], &[0.0, 0.0, 0.0, 0.5, 1.0]);
        near(&three[2], &[0.0, 0.5, 1.0, 0.5, 0.0]);
    }

    #[test]
    fn unknown_and_missing_regions_are_named() {
        let mut mask = RgbImage::from_pixel(8, 8, Rgb([0; 3]));
        (0..8).for_each(|x| mask.put_pixel(x, 0, Rgb([250, 10, 10])));
        let said = read(&mask, &colors(&["black", "white"])).unwrap_err().to_string();
        assert!(said.contains("no --style is for its region #fa0a0a") && !said.contains('\n'));
        let said = read(&mask, &colors(&["0", "#ff0000", "#0000ff"])).unwrap_err().to_string();
        assert!(said.contains("the mask has no region #0000ff"), "{said}");
        assert!(read(&mask, &colors(&["0", "#ff0000"])).is_ok());
    }
}
