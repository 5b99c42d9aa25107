//! Paints each region of a mask with a model of its own, or leaves it unpainted.

use std::ops::Range;

use crate::core::frame::{Frame, FrameInfo, Layout};
use crate::core::regions::Mask;
use crate::core::stylizer::{StylizeError, Stylizer};

/// Most regions that are painted by models.
pub const MOST_REGIONS: usize = 16;

/// What paints a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionSetting {
    /// Number of the model among the loaded ones; none: it stays unpainted.
    pub model: Option<usize>,
    /// How much of the style to apply, 0–1, of what the model applies.
    pub strength: f32,
}

impl Default for RegionSetting {
    fn default() -> Self {
        RegionSetting { model: None, strength: 1.0 }
    }
}

/// The model of each region; none behind the last.
pub type RegionModels = [Option<usize>; MOST_REGIONS];

/// What paints each region of a mask; empty without a mask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RegionSettings {
    count: usize,
    each: [RegionSetting; MOST_REGIONS],
}

impl RegionSettings {
    /// Regions with these models, or none, each at full strength; those beyond [`MOST_REGIONS`] are left out.
    pub fn of(models: &[Option<usize>]) -> Self {
        let mut settings =
            RegionSettings { count: models.len().min(MOST_REGIONS), ..Self::default() };
        settings.each.iter_mut().zip(models).for_each(|(region, model)| region.model = *model);
        settings
    }

    /// The regions, in the order of the command line.
    pub fn each(&self) -> &[RegionSetting] {
        &self.each[..self.count]
    }

    /// The regions, to change them.
    pub fn each_mut(&mut self) -> &mut [RegionSetting] {
        &mut self.each[..self.count]
    }

    /// Without a mask there is no region.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The model of each region.
    pub fn models(&self) -> RegionModels {
        self.each.map(|region| region.model)
    }

    /// The same regions with these models.
    #[must_use]
    pub fn with_models(mut self, models: RegionModels) -> Self {
        self.each.iter_mut().zip(models).for_each(|(region, model)| region.model = model);
        self
    }

    /// Numbers of the models that paint a region, each once, from the lowest.
    pub fn painting(&self) -> Vec<usize> {
        let painted = self.each().iter().filter(|region| region.strength > 0.0);
        let mut models: Vec<usize> = painted.filter_map(|region| region.model).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// The part of `mask` that stays unpainted; none if all is painted.
    pub fn unpainted(&self, mask: &Mask) -> Option<Mask> {
        let stays = |n: usize| self.each().get(n).is_none_or(|region| region.model.is_none());
        (0..mask.colors().len()).any(stays).then(|| mask.part(stays))
    }
}

/// Paints whole frames with each of the models that paint a region (a network's statistics are those of the whole
/// picture), and mixes the results by the mask's weights.
pub struct Regions<S> {
    mask: Mask,
    painters: Vec<S>,
    settings: RegionSettings,
    /// Weights for the current frame size; kept while it does not change.
    weights: Option<Weights>,
    /// Copies of the batch that models paint on; kept, so that no frame allocates.
    copies: Vec<Vec<Frame>>,
}

impl<S: Stylizer> Regions<S> {
    /// `settings` says for each region of `mask` which of `painters` paints it.
    pub fn new(mask: Mask, painters: Vec<S>, settings: RegionSettings) -> Self {
        Regions { mask, painters, settings, weights: None, copies: Vec::new() }
    }

    /// Changes what paints the regions from the next batch on.
    pub fn set_regions(&mut self, settings: RegionSettings) {
        self.settings = settings;
    }

    /// All of its stylizers.
    #[cfg(feature = "media")]
    pub(super) fn painters(&mut self) -> &mut Vec<S> {
        &mut self.painters
    }
}

impl<S: Stylizer> Stylizer for Regions<S> {
    fn check(&self, width: usize, height: usize) -> Result<(), StylizeError> {
        Ok(self.mask.check(width, height, "the picture")?)
    }

    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        self.painters.iter_mut().try_for_each(|painter| painter.warm_up(like))
    }

    fn max_batch(&self, info: &FrameInfo, frame_bytes: usize) -> Option<usize> {
        // Each of them has a copy of the batch.
        let bytes = frame_bytes * (1 + self.painters.len());
        self.painters.iter().filter_map(|painter| painter.max_batch(info, bytes)).min()
    }

    fn preferred_batch(&self) -> usize {
        self.painters.iter().map(Stylizer::preferred_batch).max().unwrap_or(1)
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        let Some((first, rest)) = batch.split_first() else { return Ok(()) };
        if !rest.iter().all(|frame| frame.batches_with(first)) {
            return Err(StylizeError::MixedBatch);
        }
        let (info, layout) = (first.info, first.planes.layout());
        let weights = match self.weights.take().filter(|weights| weights.fit(info, layout)) {
            Some(weights) => weights,
            None => {
                self.check(info.width, info.height)?;
                Weights::new(&self.mask, info, layout)
            }
        };
        let mut painting = self.settings.painting();
        painting.retain(|model| *model < self.painters.len());
        let shares = self.shares(&painting);
        // If no region shows the unpainted frame, the last model paints on the frames themselves.
        let shows_source = shares.iter().any(|share| share.painted < WHOLE);
        let copies = if shows_source { painting.len() } else { painting.len().saturating_sub(1) };
        self.copies.resize_with(copies.max(self.copies.len()), Vec::new);
        for (n, model) in painting.iter().enumerate() {
            let Some(painter) = self.painters.get_mut(*model) else { continue };
            match self.copies[..copies].get_mut(n) {
                Some(sheet) => {
                    copy(batch, sheet);
                    painter.stylize(sheet)?;
                }
                None => painter.stylize(batch)?,
            }
        }
        for (n, frame) in batch.iter_mut().enumerate().filter(|_| copies > 0) {
            let sheets: Vec<&[u8]> =
                self.copies[..copies].iter().map(|sheet| &sheet[n].planes.bytes()[..]).collect();
            weights.mix(frame.planes.bytes_mut(), &sheets, &shares);
        }
        self.weights = Some(weights);
        Ok(())
    }
}

impl<S> Regions<S> {
    /// What each region shows, where these models paint.
    fn shares(&self, painting: &[usize]) -> Vec<Share> {
        let share = |region: &RegionSetting| {
            let sheet = painting.iter().position(|model| Some(*model) == region.model);
            let strength = region.strength.clamp(0.0, 1.0) * f32::from(WHOLE);
            let painted = if sheet.is_some() { strength.round() as u16 } else { 0 };
            Share { sheet: sheet.unwrap_or_default(), painted }
        };
        self.settings.each().iter().map(share).collect()
    }
}

/// What a region shows: so much of a sheet, in units of 1/[`WHOLE`], and the frame itself for the rest. A sheet that is
/// not there is the frame itself.
struct Share {
    sheet: usize,
    painted: u16,
}

/// Copies `batch` to `sheet`, and reuses its memory where that is large enough.
fn copy(batch: &[Frame], sheet: &mut Vec<Frame>) {
    sheet.truncate(batch.len());
    for (frame, copy) in batch.iter().zip(sheet.iter_mut()) {
        match frame.planes.layout() == copy.planes.layout() {
            true => {
                let bytes = copy.planes.bytes_mut().vec_mut();
                bytes.clear();
                bytes.extend_from_slice(frame.planes.bytes());
                copy.info = frame.info;
            }
            false => *copy = frame.clone(),
        }
    }
    let there = sheet.len();
    sheet.extend(batch[there..].iter().cloned());
}

/// Weight of a whole pixel: 8 bits of fraction, finer than a sample's step, and sums fit in 16 bits.
const WHOLE: u16 = 256;

/// Pixels that are mixed at a time, so that the sums stay in the first-level cache.
const BLOCK: usize = 1024;

/// The parts of a mask for frames of one size and layout, in units of 1/[`WHOLE`].
struct Weights {
    info: FrameInfo,
    layout: Layout,
    /// At the size of the frame.
    full: Vec<Vec<u16>>,
    /// At half the size, for subsampled chroma.
    half: Vec<Vec<u16>>,
}

impl Weights {
    fn new(mask: &Mask, info: FrameInfo, layout: Layout) -> Self {
        let FrameInfo { width, height, .. } = info;
        let full = whole(&mask.sized(width, height));
        let half = match layout {
            Layout::I420 => whole(&mask.sized(width.div_ceil(2), height.div_ceil(2))),
            Layout::Y444 | Layout::Rgb => Vec::new(),
        };
        Weights { info, layout, full, half }
    }

    fn fit(&self, info: FrameInfo, layout: Layout) -> bool {
        (self.info, self.layout) == (info, layout)
    }

    /// Mixes `sheets` into a frame: each region as its share says.
    fn mix(&self, frame: &mut [u8], sheets: &[&[u8]], shares: &[Share]) {
        let pixels = self.info.width * self.info.height;
        let mut plane = |at: Range<usize>, weights: &[Vec<u16>], samples: usize| {
            let sheets: Vec<_> = sheets.iter().map(|sheet| &sheet[at.clone()]).collect();
            mix(&mut frame[at], &sheets, weights, shares, samples);
        };
        match self.layout {
            Layout::Rgb => plane(0..3 * pixels, &self.full, 3),
            Layout::Y444 => {
                (0..3).for_each(|n| plane(n * pixels..(n + 1) * pixels, &self.full, 1));
            }
            Layout::I420 => {
                let chroma = self.half.first().map_or(0, Vec::len);
                plane(0..pixels, &self.full, 1);
                plane(pixels..pixels + chroma, &self.half, 1);
                plane(pixels + chroma..pixels + 2 * chroma, &self.half, 1);
            }
        }
    }
}

/// Converts weights that add up to 1 to integers that add up to [`WHOLE`] exactly.
fn whole(planes: &[Vec<f32>]) -> Vec<Vec<u16>> {
    let pixels = planes.first().map_or(0, Vec::len);
    let mut sums = vec![(0.0, 0); pixels];
    let weights = |(n, plane): (usize, &Vec<f32>)| {
        let last = n + 1 == planes.len();
        let weight = |((sum, so_far), part): (&mut (f32, u16), &f32)| {
            *sum += part;
            // The running sum is rounded: what one region loses, the next one gains.
            let up_to = match last {
                true => WHOLE,
                false => ((*sum * f32::from(WHOLE)).round() as u16).clamp(*so_far, WHOLE),
            };
            up_to - std::mem::replace(so_far, up_to)
        };
        sums.iter_mut().zip(plane).map(weight).collect()
    };
    planes.iter().enumerate().map(weights).collect()
}

/// Replaces each sample of `out` by the mean of what the regions show of it and of `sheets`, rounded; each weight counts
/// for `samples` samples.
fn mix(out: &mut [u8], sheets: &[&[u8]], weights: &[Vec<u16>], shares: &[Share], samples: usize) {
    let mut sums = [0; 3 * BLOCK];
    let (mut painted, mut rest) = ([0; BLOCK], [0; BLOCK]);
    for (n, out) in out.chunks_mut(samples * BLOCK).enumerate() {
        let sums = &mut sums[..out.len()];
        let pixels = n * BLOCK..n * BLOCK + out.len() / samples;
        // Half a step, since the division below rounds down.
        sums.fill(WHOLE / 2);
        for (weights, share) in weights.iter().zip(shares) {
            let weights = &weights[pixels.clone()];
            let sheet =
                sheets.get(share.sheet).map(|sheet| &sheet[samples * n * BLOCK..][..out.len()]);
            match (sheet, share.painted) {
                (None, _) | (_, 0) => add(sums, out, weights, samples),
                (Some(sheet), WHOLE) => add(sums, sheet, weights, samples),
                (Some(sheet), part) => {
                    let parts = painted.iter_mut().zip(&mut rest).zip(weights);
                    for ((painted, rest), weight) in parts {
                        // At most 256 · 256 + 128.
                        *painted = ((u32::from(*weight) * u32::from(part) + 128) >> 8) as u16;
                        *rest = weight - *painted;
                    }
                    add(sums, sheet, &painted[..weights.len()], samples);
                    add(sums, out, &rest[..weights.len()], samples);
                }
            }
        }
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = (*sum >> 8) as u8);
    }
}

fn add(sums: &mut [u16], values: &[u8], weights: &[u16], samples: usize) {
    if samples == 1 {
        let all = sums.iter_mut().zip(values).zip(weights);
        all.for_each(|((sum, value), weight)| *sum += u16::from(*value) * weight);
        return;
    }
    let all = sums.chunks_exact_mut(samples).zip(values.chunks_exact(samples)).zip(weights);
    for ((sums, values), weight) in all {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += u16::from(*value) * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::{Colorimetry, Matrix, Planes, Range};
    use image::{Rgb, RgbImage};

    /// Paints everything in one value, and counts.
    struct Flat(u8, usize);

    impl Stylizer for Flat {
        fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
            batch.iter_mut().for_each(|f| f.planes.bytes_mut().fill(self.0));
            self.1 += batch.len();
            Ok(())
        }
    }

    /// Black on the left, white on the right, grey between.
    fn mask(greys: &[u8], height: u32, regions: &[&str]) -> Mask {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let picture =
            RgbImage::from_fn(greys.len() as u32, height, |x, _| Rgb([greys[x as usize]; 3]));
        picture.save(&path).unwrap();
        let regions: Vec<_> = regions.iter().map(|region| region.parse().unwrap()).collect();
        Mask::open(&path, &regions, "--model").unwrap()
    }

    fn frame(layout: Layout, width: usize, height: usize) -> Frame {
        let colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };
        let bytes: Vec<u8> =
            (0..layout.bytes(width, height)).map(|n| (n * 37 % 251) as u8).collect();
        Frame {
            info: FrameInfo { width, height, colorimetry },
            planes: Planes::new(layout, bytes.into()),
            pts: None,
            duration: None,
        }
    }

    #[test]
    fn a_region_shows_what_its_own_stylizer_made_and_one_without_any_stays() {
        let greys = [0, 0, 0, 0, 255, 255, 255, 255];
        for layout in [Layout::I420, Layout::Y444, Layout::Rgb] {
            let before = frame(layout, 8, 4);
            let painters = vec![Flat(10, 0), Flat(200, 0)];
            let settings = RegionSettings::of(&[Some(0), Some(1)]);
            let mut two = Regions::new(mask(&greys, 4, &["0", "255"]), painters, settings);
            let settings = RegionSettings::of(&[Some(0), None]);
            let painters = vec![Flat(200, 0)];
            let mut one = Regions::new(mask(&greys, 4, &["255", "0"]), painters, settings);
            // Twice: the second time nothing is made anew.
            for _ in 0..2 {
                let (mut both, mut right) = (vec![before.clone(); 2], vec![before.clone(); 2]);
                two.stylize(&mut both).unwrap();
                one.stylize(&mut right).unwrap();
                for (both, right) in both.iter().zip(&right) {
                    let (mut at, both, right) = (0, both.planes.bytes(), right.planes.bytes());
                    for (width, height) in layout.planes(8, 4) {
                        for n in at..at + width * height {
                            let is_left = (n - at) % width < width / 2;
                            assert_eq!(both[n], if is_left { 10 } else { 200 }, "{layout:?} {n}");
                            let came = before.planes.bytes()[n];
                            assert_eq!(
                                right[n],
                                if is_left { came } else { 200 },
                                "{layout:?} {n}"
                            );
                        }
                        at += width * height;
                    }
                }
            }
            assert_eq!((two.painters[0].1, two.painters[1].1, one.painters[0].1), (4, 4, 4));
        }
    }

    #[test]
    fn a_soft_edge_is_a_mixture_and_what_is_alike_stays_exact() {
        let mask = mask(&[0, 64, 128, 255], 2, &["0", "255"]);
        let settings = RegionSettings::of(&[Some(0), Some(1)]);
        let mut regions = Regions::new(mask, vec![Flat(0, 0), Flat(200, 0)], settings);
        let mut batch = [frame(Layout::Y444, 4, 2)];
        regions.stylize(&mut batch).unwrap();
        let line = &batch[0].planes.bytes()[..4];
        let near = line.iter().zip([0, 50, 100, 200]).all(|(a, b)| a.abs_diff(b) <= 1);
        assert!(near && line[0] == 0 && line[3] == 200, "{line:?}");
        regions.painters[0].0 = 200;
        regions.stylize(&mut batch).unwrap();
        assert!(batch[0].planes.bytes().iter().all(|value| *value == 200));
    }

    #[test]
    fn regions_change_their_models_and_strengths_and_only_models_that_are_seen_paint() {
        let mask = mask(&[0, 0, 128, 128, 255, 255], 2, &["0", "128", "255"]);
        let mut settings = RegionSettings::of(&[Some(0), None, Some(1)]);
        let painters = vec![Flat(100, 0), Flat(200, 0), Flat(50, 0)];
        let mut regions = Regions::new(mask, painters, settings);
        let mut line = |settings: RegionSettings| {
            regions.set_regions(settings);
            let mut batch = [frame(Layout::Y444, 6, 2)];
            batch[0].planes.bytes_mut().fill(20);
            regions.stylize(&mut batch).unwrap();
            let painted: Vec<usize> = regions.painters.iter().map(|painter| painter.1).collect();
            (batch[0].planes.bytes()[..6].to_vec(), painted)
        };
        assert_eq!(line(settings), (vec![100, 100, 20, 20, 200, 200], vec![1, 1, 0]));
        settings.each_mut()[1] = RegionSetting { model: Some(2), strength: 0.5 };
        settings.each_mut()[2].model = Some(0);
        assert_eq!(line(settings), (vec![100, 100, 35, 35, 100, 100], vec![2, 1, 1]));
        // All by one model: it paints on the frame itself.
        settings = RegionSettings::of(&[Some(1); 3]);
        assert_eq!(line(settings), (vec![200; 6], vec![2, 2, 1]));
        settings = RegionSettings::of(&[None; 3]);
        assert_eq!(line(settings), (vec![20; 6], vec![2, 2, 1]));
        // What has no strength is not painted.
        settings = RegionSettings::of(&[Some(0), Some(1), Some(1)]);
        settings.each_mut()[0].strength = 0.0;
        assert_eq!(line(settings), (vec![20, 20, 200, 200, 200, 200], vec![2, 3, 1]));
    }

    #[test]
    fn weights_add_up_to_a_whole_whatever_is_rounded() {
        let parts: Vec<f32> = (0..1000).map(|n| n as f32 / 999.0).collect();
        let third: Vec<f32> = parts.iter().map(|part| (1.0 - part) / 3.0).collect();
        let weights = whole(&[third.clone(), parts.clone(), third.clone(), third.clone()]);
        for n in 0..1000 {
            assert_eq!(weights.iter().map(|plane| plane[n]).sum::<u16>(), WHOLE);
            assert!((f32::from(weights[1][n]) / 256.0 - parts[n]).abs() <= 1.0 / 256.0, "{n}");
        }
    }

    #[test]
    fn another_size_takes_the_mask_anew_and_another_shape_is_refused() {
        let settings = RegionSettings::of(&[Some(0), Some(1)]);
        let painters = vec![Flat(1, 0), Flat(9, 0)];
        let mut regions = Regions::new(mask(&[0, 255], 2, &["0", "255"]), painters, settings);
        for (layout, side) in [(Layout::I420, 6), (Layout::Rgb, 6), (Layout::Rgb, 50)] {
            let mut batch = [frame(layout, side, side)];
            regions.stylize(&mut batch).unwrap();
            let bytes = batch[0].planes.bytes();
            assert_eq!((bytes[0], bytes[bytes.len() - 1]), (1, 9), "{layout:?} {side}");
        }
        let painted = regions.painters[0].1;
        let said = regions.stylize(&mut [frame(Layout::Rgb, 60, 50)]).unwrap_err().to_string();
        assert!(
            said.contains("2×2 pixels, which is not the shape of the picture (60×50)"),
            "{said}"
        );
        assert_eq!(regions.painters[0].1, painted, "nothing is painted");
    }
}
