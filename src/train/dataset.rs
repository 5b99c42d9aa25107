//! Photos of a dataset: found in a folder, then decoded and cropped ahead of the training step, on threads of
//! their own.
//!
//! Which photo a step sees, and which crop of it, depends on seed, step and place in the batch
//! alone. Each photo comes once an epoch.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb, RgbImage};
use walkdir::WalkDir;

use super::crop::{Crop, CropOptions};
use super::dataset_error::DatasetError;
use super::masks::Masks;
use super::random::PhotoOrder;
use crate::core::picture::{Picture, PictureError};
use crate::core::regions::Color;

/// Endings of files that are taken for photographs.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Number of crops that wait, per thread.
const AHEAD: usize = 4;

/// The photographs of a folder and all folders in it.
#[derive(Debug, Clone)]
pub struct Dataset {
    folder: PathBuf,
    files: Arc<[PathBuf]>,
    masks: Option<Arc<Masks>>,
}

impl Dataset {
    /// Finds pictures by their extensions, following links; decodes none.
    ///
    /// # Errors
    /// [`DatasetError::Read`], or [`DatasetError::TooFew`] for a batch of this size.
    pub fn open(folder: &Path, batch: usize) -> Result<Self, DatasetError> {
        let files = files_of(folder, "dataset", &ENDINGS)?;
        let found = files.len();
        if found < batch.max(1) {
            return Err(DatasetError::TooFew { folder: folder.to_owned(), found, batch });
        }
        Ok(Dataset { folder: folder.to_owned(), files: files.into(), masks: None })
    }

    /// Adds a mask for each photo: the file in `folder` with the same relative path except for the extension
    /// (`a/cat.jpg`: `a/cat.png`). Its colours are those of `regions`.
    ///
    /// # Errors
    /// [`DatasetError::Read`], or [`DatasetError::NoMask`].
    pub fn with_masks(self, folder: &Path, regions: Vec<Color>) -> Result<Self, DatasetError> {
        let masks = Masks::find(&self.files, &self.folder, folder, regions)?;
        Ok(Dataset { masks: Some(Arc::new(masks)), ..self })
    }

    /// Reads the masks of the crops with these numbers, on `threads` threads, if there are masks.
    ///
    /// # Errors
    /// [`DatasetError::Mask`]: the first that cannot be used.
    pub fn check_masks(
        &self,
        crops: Range<u64>,
        seed: u64,
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<(), DatasetError> {
        let Some(masks) = &self.masks else { return Ok(()) };
        let count = self.len() as u64;
        let mut order = PhotoOrder::new(count, seed);
        // Any two epochs contain every photo.
        let crops = crops.start..crops.end.min(crops.start + 2 * count);
        let wanted: BTreeSet<usize> = crops.map(|number| order.photo(number, 0)).collect();
        masks.check(&self.files, &Vec::from_iter(wanted), threads, stop)
    }

    /// How many photographs there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none; a dataset that could be opened has some.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files, sorted.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// The files in a folder and all folders in it that have one of these endings, sorted. Links are followed.
pub(super) fn files_of(
    folder: &Path,
    what: &'static str,
    endings: &[&str],
) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).follow_links(true) {
        let entry = match entry {
            Ok(entry) => entry,
            // A broken link within is no reason to stop; the folder itself is.
            Err(error) if error.depth() > 0 => continue,
            Err(error) => {
                let reason = error.io_error().map_or("no folder".to_owned(), |e| e.to_string());
                return Err(DatasetError::Read { what, folder: folder.to_owned(), reason });
            }
        };
        let path = entry.path();
        let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let known = ending.is_some_and(|e| endings.contains(&e.as_str()));
        if known && entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    // Folders list their files in any order.
    files.sort_unstable();
    Ok(files)
}

/// Delivers crops in order, made ahead by threads.
#[derive(Debug)]
pub struct CropLoader {
    /// One channel per thread; thread n makes every crop whose number modulo the number of threads is n.
    crops: Vec<Receiver<Result<Crop, DatasetError>>>,
    next: u64,
    unreadable: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl CropLoader {
    /// Starts with crop number `first`, on `threads` threads.
    pub fn new(dataset: &Dataset, cut: CropOptions, first: u64, threads: usize) -> Self {
        let unreadable = Arc::new(Mutex::new(BTreeSet::new()));
        let threads = threads.max(1) as u64;
        let mut crops = Vec::new();
        for thread in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            let worker = Worker {
                dataset: dataset.clone(),
                cut,
                order: PhotoOrder::new(dataset.len() as u64, cut.seed),
                unreadable: Arc::clone(&unreadable),
            };
            let first = first + (thread + threads - first % threads) % threads;
            thread::spawn(move || worker.run(first, threads, &sender));
            crops.push(receiver);
        }
        CropLoader { crops, next: first, unreadable }
    }

    /// The next crop.
    ///
    /// # Errors
    /// [`DatasetError::NoneReadable`] or [`DatasetError::Mask`].
    pub fn crop(&mut self) -> Result<Crop, DatasetError> {
        let thread = (self.next % self.crops.len() as u64) as usize;
        self.next += 1;
        let gone = || Err(DatasetError::NoneReadable("the decoding thread has ended".to_owned()));
        self.crops[thread].recv().unwrap_or_else(|_| gone())
    }

    /// Photographs that could not be decoded so far, each once.
    pub fn unreadable(&self) -> Vec<PathBuf> {
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        unreadable.iter().cloned().collect()
    }
}

struct Worker {
    dataset: Dataset,
    cut: CropOptions,
    order: PhotoOrder,
    unreadable: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Worker {
    /// Makes crops until the receiver is dropped.
    fn run(mut self, first: u64, stride: u64, sender: &SyncSender<Result<Crop, DatasetError>>) {
        let mut number = first;
        while sender.send(self.crop(number)).is_ok() {
            number += stride;
        }
    }

    /// The crop with this number. An unreadable photo is replaced by the next one in the epoch's order, so
    /// that crops do not depend on how often a run was interrupted.
    fn crop(&mut self, number: u64) -> Result<Crop, DatasetError> {
        let mut last = String::new();
        for shift in 0..self.dataset.len() as u64 {
            let n = self.order.photo(number, shift);
            let file = &self.dataset.files[n];
            match decode(file) {
                Ok(photo) => {
                    let masks = self.dataset.masks.as_ref();
                    let size = (photo.width() as usize, photo.height() as usize);
                    let mask = masks.map(|masks| masks.open(n, size)).transpose()?;
                    return Ok(self.cut.crop(photo, mask.as_ref(), number));
                }
                Err(error) => {
                    last = error.to_string();
                    let mut all = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
                    if all.insert(file.clone()) {
                        tracing::warn!("skipped: {last}");
                    }
                }
            }
        }
        Err(DatasetError::NoneReadable(last))
    }
}

/// A photo as it is displayed: EXIF orientation applied, grey converted to RGB, transparency on white.
///
/// # Errors
/// When it cannot be read or decoded.
pub fn decode(file: &Path) -> Result<RgbImage, PictureError> {
    Ok(pixels(Picture::open(file)?))
}

/// The pixels of a picture, on white.
pub(super) fn pixels(picture: Picture) -> RgbImage {
    let picture = picture.on_white();
    let (width, height) = (picture.frame.info.width as u32, picture.frame.info.height as u32);
    let pixels = picture.frame.planes.bytes().to_vec();
    ImageBuffer::from_raw(width, height, pixels).unwrap_or_default()
}

/// A photograph with its shorter side at `size` pixels, for previews and measurements.
///
/// # Errors
/// When it cannot be read or decoded.
pub fn resized(file: &Path, size: u32) -> Result<ImageBuffer<Rgb<u8>, Vec<u8>>, PictureError> {
    Ok(scaled(decode(file)?, size))
}

/// A picture with its shorter side at `size` pixels.
pub(super) fn scaled(picture: RgbImage, size: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let scale = f64::from(size) / f64::from(width.min(height).max(1));
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let (w, h) = (scaled(width), scaled(height));
    match (w, h) == (width, height) {
        true => picture,
        false => imageops::resize(&picture, w, h, FilterType::CatmullRom),
    }
}

/// A picture at exactly this size, whatever its shape.
///
/// # Errors
/// When it cannot be read or decoded.
pub fn resized_to(file: &Path, width: u32, height: u32) -> Result<RgbImage, PictureError> {
    let photo = decode(file)?;
    Ok(match photo.dimensions() == (width, height) {
        true => photo,
        false => imageops::resize(&photo, width, height, FilterType::CatmullRom),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: CropOptions =
        CropOptions { size: 32, augment: true, noise: 6.0, exposure: 1.0, seed: 1 };

    /// A folder of pictures in different formats, one of them grey, one damaged.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("train2014/more");
        std::fs::create_dir_all(&deep).unwrap();
        for (n, name) in
            ["a.jpg", "b.png", "train2014/c.JPEG", "train2014/more/d.webp"].into_iter().enumerate()
        {
            let picture = RgbImage::from_fn(50, 40, |x, y| Rgb([x as u8, y as u8, n as u8 * 60]));
            picture.save(folder.path().join(name)).unwrap();
        }
        image::GrayImage::from_pixel(40, 60, image::Luma([200]))
            .save(folder.path().join("grey.png"))
            .unwrap();
        std::fs::write(deep.join("damaged.jpg"), b"not a picture").unwrap();
        std::fs::write(folder.path().join("readme.txt"), b"no picture").unwrap();
        folder
    }

    fn crops(dataset: &Dataset, first: u64, count: usize, threads: usize) -> Vec<Crop> {
        let mut loader = CropLoader::new(dataset, CUT, first, threads);
        (0..count).map(|_| loader.crop().unwrap()).collect()
    }

    #[test]
    fn pieces_do_not_depend_on_threads_or_on_where_a_run_began() {
        let folder = folder();
        let dataset = Dataset::open(folder.path(), 2).unwrap();
        assert_eq!(dataset.len(), 6);
        let all = crops(&dataset, 0, 20, 1);
        assert!(all.iter().all(|crop| crop.photo.len() == 32 * 32 * 3));
        let noisy = all[3].noisy.as_ref().unwrap();
        let noise = noisy.iter().zip(&all[3].photo).map(|(n, &p)| (n - f32::from(p)).abs());
        let mean = noise.sum::<f32>() / noisy.len() as f32;
        assert!(mean > 0.0 && mean < 6.0, "{mean}");
        assert_eq!(crops(&dataset, 0, 20, 3), all);
        assert_eq!(crops(&dataset, 7, 13, 2), all[7..]);
    }

    #[test]
    fn unreadable_pictures_are_skipped_and_counted_once() {
        let folder = folder();
        let dataset = Dataset::open(folder.path(), 2).unwrap();
        let mut loader = CropLoader::new(&dataset, CUT, 0, 1);
        for _ in 0..24 {
            loader.crop().unwrap();
        }
        let unreadable = loader.unreadable();
        assert_eq!(unreadable.len(), 1);
        assert!(unreadable[0].ends_with("damaged.jpg"));
    }

    #[test]
    fn too_few_none_and_no_folder_are_told_apart() {
        let folder = folder();
        let error = Dataset::open(folder.path(), 7).unwrap_err().to_string();
        assert!(error.contains("holds 6 pictures") && error.contains("a batch needs 7"), "{error}");
        let error = Dataset::open(&folder.path().join("none"), 1).unwrap_err().to_string();
        assert!(error.contains("none': No such file"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        std::fs::write(empty.path().join("x.jpg"), b"").unwrap();
        let dataset = Dataset::open(empty.path(), 1).unwrap();
        let error = CropLoader::new(&dataset, CUT, 0, 1).crop().unwrap_err().to_string();
        assert!(error.contains("no picture of the dataset can be decoded"), "{error}");
    }
}
