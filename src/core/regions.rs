//! Masks: pictures whose colours mark regions (spatial control, Gatys et al. 2017, section 3).

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use image::RgbImage;

use crate::core::picture::{Picture, PictureError};

/// The colour of a region in a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Color([u8; 3]);

impl FromStr for Color {
    type Err = String;

    /// Parses `black`, `white`, a grey value from `0` to `255`, or `#rrggbb`.
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
            format!(
                "'{text}' is not a region: expected black, white, a grey value 0–255 or #rrggbb"
            )
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

/// Splits `NAME@REGION` into the name (none for `none`) and the region, if there is one. A file name may contain
/// an `@`: an existing file takes precedence, and so does a text with a dot or slash after the last `@`.
///
/// # Errors
/// When what follows the last `@` is not a region, or `none` has no region.
pub fn at(text: &str) -> Result<(Option<&str>, Option<Color>), String> {
    let is_file = Path::new(text).exists();
    let split =
        text.rsplit_once('@').filter(|(_, region)| !is_file && !region.contains(['.', '/']));
    let (name, region) = match split {
        Some((name, region)) => (name, Some(region.parse()?)),
        None => (text, None),
    };
    match (name, region) {
        ("none", None) if !is_file => Err("'none' needs a region: none@black".to_owned()),
        ("none", Some(_)) => Ok((None, region)),
        _ => Ok((Some(name), region)),
    }
}

/// Why a mask cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The picture cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Its colours do not match the regions that were named, or its aspect ratio is wrong.
    #[error("{0}")]
    Refused(String),
}

/// Tolerance of colours, in levels of 255 (Euclidean distance): JPEG changes them.
const TOLERANCE: f32 = 40.0;
/// Share of pixels that may have a colour of no region, as where three regions meet.
const STRAY: f64 = 0.005;
/// Tolerance of the aspect ratio, since sizes are whole numbers.
const SHAPE_TOLERANCE: f64 = 0.01;

/// A mask: a plane of weights from 0 to 1 for each region, at the size of the mask's picture. The weights of a
/// pixel add up to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// As messages call it: `--mask 'sky.png'`.
    name: String,
    /// Colours of its regions, one for each plane.
    colors: Vec<Color>,
    width: usize,
    height: usize,
    planes: Vec<Vec<f32>>,
}

impl Mask {
    /// Reads a mask, with a plane for each of `regions`, in their order; `option` is the option that named them
    /// (`--style`), for messages. A pixel between the colours of two regions belongs to both in part: edges may be
    /// soft.
    ///
    /// # Errors
    /// When the picture cannot be read, has a colour of no region, or a region has no pixel.
    pub fn open(path: &Path, regions: &[Color], option: &str) -> Result<Self, MaskError> {
        let mask = Self::load(path, "--mask", regions, option)?;
        for (plane, region) in mask.planes.iter().zip(regions) {
            if plane.iter().map(|part| f64::from(*part)).sum::<f64>() < 1.0 {
                let text = format!("{option} …@{region}: the mask has no region {region}");
                return Err(MaskError::Refused(text));
            }
        }
        Ok(mask)
    }

    /// Reads one of many masks for the same regions, in which regions may be missing.
    ///
    /// # Errors
    /// When the picture cannot be read or has a colour of no region.
    pub fn open_of_many(path: &Path, regions: &[Color]) -> Result<Self, MaskError> {
        Self::load(path, "--masks", regions, "--style")
    }

    fn load(path: &Path, kind: &str, regions: &[Color], option: &str) -> Result<Self, MaskError> {
        let frame = Picture::open(path)?.on_white().frame;
        let (width, height) = (frame.info.width, frame.info.height);
        let picture =
            RgbImage::from_raw(width as u32, height as u32, frame.planes.bytes().to_vec());
        let name = format!("{kind} '{}'", path.display());
        let planes = read(&picture.unwrap_or_default(), regions, option)
            .map_err(|text| MaskError::Refused(format!("{name}: {text}")))?;
        Ok(Mask { name, colors: regions.to_vec(), width, height, planes })
    }

    /// The colours of its regions, in their order.
    pub fn colors(&self) -> &[Color] {
        &self.colors
    }

    /// A mask of one plane: those of some regions, chosen by their numbers, added up.
    #[must_use]
    pub fn part(&self, is_part: impl Fn(usize) -> bool) -> Self {
        let (mut plane, mut colors) = (vec![0.0; self.width * self.height], Vec::new());
        for (n, of_region) in self.planes.iter().enumerate().filter(|(n, _)| is_part(*n)) {
            plane.iter_mut().zip(of_region).for_each(|(sum, weight)| *sum += weight);
            colors.extend(self.colors.get(n));
        }
        Mask { name: self.name.clone(), colors, planes: vec![plane], ..*self }
    }

    /// The size of its picture, in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Checks the aspect ratio against that of `what` (`the photo`), whose size is given in pixels.
    ///
    /// # Errors
    /// [`MaskError::Refused`], which names both sizes.
    pub fn check(&self, width: usize, height: usize, what: &str) -> Result<(), MaskError> {
        let shape = |width: usize, height: usize| width as f64 / height.max(1) as f64;
        if (shape(self.width, self.height) / shape(width, height) - 1.0).abs() <= SHAPE_TOLERANCE {
            return Ok(());
        }
        Err(MaskError::Refused(format!(
            "{}: it is {}×{} pixels, which is not the shape of {what} ({width}×{height})",
            self.name, self.width, self.height
        )))
    }

    /// The planes at another size, with weights that still add up to 1: area means where it is smaller, linear
    /// interpolation where it is larger.
    pub fn sized(&self, width: usize, height: usize) -> Vec<Vec<f32>> {
        if (width, height) == (self.width, self.height) {
            return self.planes.clone();
        }
        let (across, down) = (shares(self.width, width), shares(self.height, height));
        let sized = |plane: &Vec<f32>| {
            let mut narrow = Vec::with_capacity(width * self.height);
            for line in plane.chunks_exact(self.width) {
                narrow.extend(across.iter().map(|(from, shares)| {
                    line[*from..].iter().zip(shares).map(|(part, share)| part * share).sum::<f32>()
                }));
            }
            let mut all = vec![0.0; width * height];
            for (line, (from, shares)) in all.chunks_exact_mut(width).zip(&down) {
                for (row, share) in narrow.chunks_exact(width).skip(*from).zip(shares) {
                    line.iter_mut().zip(row).for_each(|(sum, part)| *sum += share * part);
                }
            }
            all
        };
        self.planes.iter().map(sized).collect()
    }
}

/// For each of `to` samples, the samples of `from` that it is computed from: the index of the first, and the
/// weights of it and of those after it.
fn shares(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let step = from as f64 / to as f64;
    let last = from.saturating_sub(1);
    let area = |n: usize| {
        let (begin, end) = (n as f64 * step, (n + 1) as f64 * step);
        let first = (begin as usize).min(last);
        let behind = (end.ceil() as usize).clamp(first + 1, from.max(1));
        let part = |i: usize| ((i + 1) as f64).min(end) - (i as f64).max(begin);
        (first, (first..behind).map(|i| (part(i).max(0.0) / step) as f32).collect())
    };
    let between = |n: usize| {
        let middle = ((n as f64 + 0.5) * step - 0.5).clamp(0.0, last as f64);
        let share = middle.fract() as f32;
        (middle as usize, vec![1.0 - share, share])
    };
    (0..to).map(|n| if from >= to { area(n) } else { between(n) }).collect()
}

/// The weights of each region, 0 to 1, at the mask's own size.
fn read(mask: &RgbImage, regions: &[Color], option: &str) -> Result<Vec<Vec<f32>>, String> {
    let mut known: HashMap<[u8; 3], (ModelShares, f32)> = HashMap::new();
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
        return Err(format!(
            "no {option} is for its region {color}; there are {}s for {}; 'none@{color}' \
             leaves it as it is",
            option.trim_start_matches('-'),
            listed()
        ));
    }
    Ok(planes)
}

/// The one or two regions of a pixel, with their weights.
type ModelShares = Vec<(usize, f32)>;

/// The two regions between whose colours a colour lies, and its distance from the line between them.
fn nearest(color: [u8; 3], regions: &[Color]) -> (ModelShares, f32) {
    let vector = |c: [u8; 3]| c.map(f32::from);
    let dot = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let minus = |a: [f32; 3], b: [f32; 3]| [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    let c = vector(color);
    let mut best: (ModelShares, f32) = (Vec::new(), f32::INFINITY);
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

    fn mask(width: usize, height: usize, planes: Vec<Vec<f32>>) -> Mask {
        let (name, colors) = ("--mask 'mask.png'".to_owned(), colors(&["0", "128", "255"]));
        Mask { name, colors, width, height, planes }
    }

    fn near(a: &[f32], b: &[f32]) {
        let close = a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02);
        assert!(a.len() == b.len() && close, "{a:?} {b:?}");
    }

    #[test]
    fn names_and_regions_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("me@7");
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(at("mosaic@#ff8000"), Ok((Some("mosaic"), Some(Color([255, 128, 0])))));
        assert_eq!(at("a@b.pt"), Ok((Some("a@b.pt"), None)));
        assert_eq!(at("me@home/a.pt@white"), Ok((Some("me@home/a.pt"), Some(Color([255; 3])))));
        assert_eq!(at("me@7/a.pt"), Ok((Some("me@7/a.pt"), None)));
        assert_eq!(at("none@0"), Ok((None, Some(Color([0; 3])))));
        assert_eq!(at(file), Ok((Some(file), None)), "a file goes first");
        for bad in ["none", "a.jpg@300", "a.jpg@#ff", "mosaic@sky", "mosaic@"] {
            assert!(at(bad).is_err(), "{bad}");
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
        let planes = |regions: &[&str]| read(&mask, &colors(regions), "--style").unwrap();
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
        let said = read(&mask, &colors(&["black", "white"]), "--style").unwrap_err();
        assert!(said.contains("no --style is for its region #fa0a0a") && !said.contains('\n'));
        let said = read(&mask, &colors(&["black"]), "--model").unwrap_err();
        assert!(said.contains("no --model is for") && said.contains("models for 0;"), "{said}");
        (0..8).for_each(|x| mask.put_pixel(x, 0, Rgb([255, 0, 0])));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        mask.save(&path).unwrap();
        let regions = colors(&["0", "#ff0000", "#0000ff"]);
        let said = Mask::open(&path, &regions, "--style").unwrap_err().to_string();
        assert!(said.contains("the mask has no region #0000ff"), "{said}");
        assert!(Mask::open(&path, &regions[..2], "--style").is_ok());
        let of_many = Mask::open_of_many(&path, &regions).unwrap();
        assert!(of_many.sized(4, 4)[2].iter().all(|part| *part == 0.0));
        let said = Mask::open_of_many(&path, &regions[..1]).unwrap_err().to_string();
        assert!(said.contains("mask.png': no --style is for its region #ff0000"), "{said}");
    }

    #[test]
    fn smaller_masks_are_means_and_larger_ones_smooth() {
        let mask = mask(4, 2, vec![vec![0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]]);
        near(&mask.sized(4, 2)[0], &[0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        near(&mask.sized(2, 1)[0], &[0.25, 1.0]);
        near(&mask.sized(3, 1)[0], &[0.125, 0.75, 1.0]);
        let larger = mask.sized(8, 2).remove(0);
        near(&larger[..8], &[0.0, 0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn weights_add_up_to_one_at_any_size_and_so_do_those_of_a_part() {
        let left: Vec<f32> = (0..7 * 5).map(|n| (n % 7) as f32 / 6.0).collect();
        let middle: Vec<f32> = left.iter().map(|part| 0.3 * (1.0 - part)).collect();
        let right: Vec<f32> =
            left.iter().zip(&middle).map(|(left, middle)| 1.0 - left - middle).collect();
        let mask = mask(7, 5, vec![left.clone(), middle, right.clone()]);
        for (width, height) in [(7, 5), (3, 2), (1, 1), (20, 3), (2, 11), (640, 457)] {
            let planes = mask.sized(width, height);
            assert_eq!(planes.len(), 3);
            for n in 0..width * height {
                let sum: f32 = planes.iter().map(|plane| plane[n]).sum();
                assert!((sum - 1.0).abs() < 1e-5, "{width}×{height}: {sum}");
            }
        }
        let part = mask.part(|n| n != 1);
        assert_eq!((part.planes.len(), part.colors), (1, colors(&["0", "255"])));
        let both: Vec<f32> = left.iter().zip(&right).map(|(a, b)| a + b).collect();
        near(&part.planes[0], &both);
    }

    #[test]
    fn the_shape_may_be_off_by_what_whole_pixels_make() {
        let mask = mask(320, 180, vec![vec![1.0; 320 * 180]]);
        assert!(mask.check(1280, 720, "it").is_ok() && mask.check(427, 240, "it").is_ok());
        let said = mask.check(180, 320, "the photo").unwrap_err().to_string();
        let words = "--mask 'mask.png': it is 320×180 pixels, which is not the shape of the photo (180×320)";
        assert_eq!(said, words);
    }
}
