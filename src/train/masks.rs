//! Masks of a dataset: a picture for each photo, whose colours name regions.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::dataset_error::DatasetError;
use crate::core::picture;
use crate::core::regions::{Color, Mask};

/// Endings of masks; the first that is there is taken.
const ENDINGS: [&str; 4] = ["png", "webp", "jpg", "jpeg"];

/// The masks of a dataset's photos, and the regions that they show.
#[derive(Debug)]
pub(super) struct Masks {
    /// In the order of the photos.
    files: Vec<PathBuf>,
    regions: Vec<Color>,
}

impl Masks {
    /// Finds the mask of each photo: the file in `folder` with the same relative path as the photo in
    /// `dataset`, except for the extension.
    ///
    /// # Errors
    /// [`DatasetError::Read`], or [`DatasetError::NoMask`].
    pub(super) fn find(
        photos: &[PathBuf],
        dataset: &Path,
        folder: &Path,
        regions: Vec<Color>,
    ) -> Result<Self, DatasetError> {
        if let Err(error) = std::fs::read_dir(folder) {
            let (folder, reason) = (folder.to_owned(), error.to_string());
            return Err(DatasetError::Read { what: "masks", folder, reason });
        }
        let mut files = Vec::new();
        let mut without: Vec<(&PathBuf, PathBuf)> = Vec::new();
        for photo in photos {
            let name = folder.join(photo.strip_prefix(dataset).unwrap_or(photo));
            let mut possible = ENDINGS.iter().map(|ending| name.with_extension(ending));
            match possible.find(|mask| mask.is_file()) {
                Some(mask) => files.push(mask),
                None => without.push((photo, name.with_extension(ENDINGS[0]))),
            }
        }
        if let Some((photo, mask)) = without.first() {
            return Err(DatasetError::NoMask {
                photo: (*photo).clone(),
                mask: mask.clone(),
                without: without.len(),
                photos: photos.len(),
            });
        }
        Ok(Masks { files, regions })
    }

    /// The mask of a photo of this size.
    ///
    /// # Errors
    /// [`DatasetError::Mask`].
    pub(super) fn open(
        &self,
        photo: usize,
        (width, height): (usize, usize),
    ) -> Result<Mask, DatasetError> {
        let mask = Mask::open_of_many(&self.files[photo], &self.regions)?;
        mask.check(width, height, "its photo")?;
        Ok(mask)
    }

    /// Reads the masks of these photos in advance, so that an error is reported before training; `stop` ends
    /// it early. A photo that cannot be read is left to the loader, which skips it.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be used.
    pub(super) fn check(
        &self,
        photos: &[PathBuf],
        wanted: &[usize],
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<(), DatasetError> {
        let check = |part: &[usize]| {
            for &photo in part {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(size) = picture::size(&photos[photo]) {
                    self.open(photo, size)?;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let length = wanted.len().div_ceil(threads.max(1)).max(1);
            let parts = wanted.chunks(length).map(|part| scope.spawn(move || check(part)));
            let parts: Vec<_> = parts.collect();
            let gone = || Err(DatasetError::NoneReadable("a thread has ended".to_owned()));
            parts.into_iter().try_for_each(|part| part.join().unwrap_or_else(|_| gone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::Dataset;
    use image::{Rgb, RgbImage};

    /// Three photos and their masks.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for part in ["photos/a", "masks/a"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        for (name, mask, shade) in
            [("0.jpg", "0.png", 0), ("a/1.png", "a/1.png", 255), ("a/2.png", "a/2.webp", 0)]
        {
            RgbImage::new(40, 50).save(folder.path().join("photos").join(name)).unwrap();
            let mask = folder.path().join("masks").join(mask);
            RgbImage::from_pixel(40, 50, Rgb([shade; 3])).save(mask).unwrap();
        }
        folder
    }

    fn masked(folder: &Path) -> Result<Dataset, DatasetError> {
        let regions = ["white", "black"].map(|color| color.parse().unwrap());
        let dataset = Dataset::open(&folder.join("photos"), 1)?;
        dataset.with_masks(&folder.join("masks"), regions.to_vec())
    }

    fn check(dataset: &Dataset, crops: std::ops::Range<u64>) -> Result<(), DatasetError> {
        dataset.check_masks(crops, 1, 2, &AtomicBool::new(false))
    }

    #[test]
    fn photos_without_a_mask_are_counted_and_the_first_is_named() {
        let folder = folder();
        check(&masked(folder.path()).unwrap(), 0..100).unwrap();
        for name in ["0.png", "a/2.webp"] {
            std::fs::remove_file(folder.path().join("masks").join(name)).unwrap();
        }
        let said = masked(folder.path()).unwrap_err().to_string();
        let words = ["photos/0.jpg'", "expected '", "masks/0.png'", "2 of 3 photos have none"];
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
        std::fs::remove_dir_all(folder.path().join("masks")).unwrap();
        let said = masked(folder.path()).unwrap_err().to_string();
        assert!(
            said.contains("cannot read the masks '") && said.contains("No such file"),
            "{said}"
        );
    }

    #[test]
    fn wrong_masks_of_photos_that_come_are_told_by_their_names() {
        let folder = folder();
        let path = folder.path().join("masks/a/1.png");
        RgbImage::from_pixel(40, 50, Rgb([200, 0, 0])).save(&path).unwrap();
        let dataset = masked(folder.path()).unwrap();
        let said = check(&dataset, 0..3).unwrap_err().to_string();
        assert!(
            said.starts_with("--masks ") && said.contains("a/1.png': no --style is for"),
            "{said}"
        );
        assert!(said.contains("region #c80000"), "{said}");
        // One crop is of one photo only: two of three are without fault.
        let faults = (0..3).filter(|n| check(&dataset, *n..n + 1).is_err()).count();
        assert_eq!(faults, 1);
        RgbImage::new(50, 40).save(&path).unwrap();
        let said = check(&dataset, 0..3).unwrap_err().to_string();
        assert!(said.contains("not the shape of its photo (40×50)"), "{said}");
        std::fs::write(&path, b"no picture").unwrap();
        let said = check(&dataset, 0..3).unwrap_err().to_string();
        assert!(said.contains("a/1.png'"), "{said}");
        // The loader says the same, should a mask become wrong later.
        let cut = crate::train::crop::CropOptions {
            size: 32,
            augment: true,
            noise: 0.0,
            exposure: 0.0,
            seed: 1,
        };
        let mut loader = crate::train::dataset::CropLoader::new(&dataset, cut, 0, 1);
        let faults = (0..3).filter(|_| loader.crop().is_err()).count();
        assert_eq!(faults, 1);
    }
}
