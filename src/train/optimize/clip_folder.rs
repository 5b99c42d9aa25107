//! The folder of a run over the frames of a video: what has been painted stays there, so that a run that ended early
//! can be resumed.
//!
//! ```text
//! painted.frames/
//!     settings.json      what decides how frames are painted
//!     source/00001.png   the frames of the video, at the size at which they are painted
//!     times.json         when each is shown; written once all lie there
//!     pass-01/00001.png  painted frames; of the passes that are done, the last is kept
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use image::imageops::{self, FilterType};
use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

use super::{Sizes, UsageFault};
use crate::engine::model_file::write_atomically;

/// What decides how frames are painted: names of options, and their values in words.
pub type ClipSettings = BTreeMap<String, String>;

/// When the frames of a video are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameTimes {
    /// Frames a second as a fraction; none where the rate varies.
    pub rate: Option<(u32, u32)>,
    /// Start of the first frame.
    pub start: Duration,
    /// End of each frame.
    pub ends: Vec<Duration>,
}

/// The folder of a run.
#[derive(Debug)]
pub struct ClipFolder {
    path: PathBuf,
    times: FrameTimes,
}

const SETTINGS: &str = "settings.json";
const TIMES: &str = "times.json";
const SOURCE: &str = "source";

impl ClipFolder {
    /// The folder of the run that writes `output`: `painted.frames` beside `painted.mp4`.
    pub fn beside(output: &Path) -> PathBuf {
        // A folder of pictures may have a slash at its end.
        let name = output.file_stem().unwrap_or_default().to_string_lossy().replace('%', "");
        output.with_file_name(format!("{name}.frames"))
    }

    /// Begins a run without frames. An earlier run in the folder is replaced if `overwrite`.
    ///
    /// # Errors
    /// When there is one and `overwrite` is not given, or the folder cannot be written.
    pub fn create(path: &Path, settings: &ClipSettings, overwrite: bool) -> Result<Self> {
        let shown = path.display();
        if path.exists() {
            if !path.join(SETTINGS).exists() {
                bail!(
                    "'{shown}' is in the way: frames are to be kept there while they are painted"
                );
            }
            if !overwrite {
                bail!(
                    "'{shown}' holds frames of a run that has not ended: use --resume to continue it, or \
                     --overwrite to begin anew"
                );
            }
            remove(path)?;
        }
        let cannot = || format!("cannot write into '{shown}'");
        fs::create_dir_all(path.join(SOURCE)).with_context(cannot)?;
        let text = serde_json::to_string_pretty(settings)?;
        write_atomically(&path.join(SETTINGS), text.as_bytes()).with_context(cannot)?;
        Ok(ClipFolder { path: path.to_owned(), times: FrameTimes::default() })
    }

    /// Opens the folder of a run to continue it; none if the frames of the video are not all there yet.
    ///
    /// # Errors
    /// When there is no run; a [`UsageFault`] if it has other settings.
    pub fn resume(path: &Path, settings: &ClipSettings) -> Result<Option<Self>> {
        let shown = path.display();
        let Ok(text) = fs::read(path.join(SETTINGS)) else {
            bail!("there is no run to resume: '{shown}' does not exist or is none");
        };
        let damaged =
            |name: &str| format!("'{shown}/{name}' is damaged: begin anew with --overwrite");
        let theirs: ClipSettings =
            serde_json::from_slice(&text).with_context(|| damaged(SETTINGS))?;
        let names = settings.keys().chain(theirs.keys());
        if let Some(name) = names.into_iter().find(|&name| settings.get(name) != theirs.get(name)) {
            let value = |settings: &ClipSettings| {
                settings.get(name).map_or("none", String::as_str).to_owned()
            };
            let (was, is) = (value(&theirs), value(settings));
            return Err(UsageFault(format!(
                "--resume: the run in '{shown}' has another {name}: {was}, not {is}"
            ))
            .into());
        }
        let Ok(text) = fs::read(path.join(TIMES)) else { return Ok(None) };
        let times = serde_json::from_slice(&text).with_context(|| damaged(TIMES))?;
        Ok(Some(ClipFolder { path: path.to_owned(), times }))
    }

    /// Adds the next frame of the video, reduced or enlarged to `size` pixels (shorter side); none: its own, at
    /// most [`DEFAULT_SIZE`](Sizes::DEFAULT_SIZE).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(
        &mut self,
        frame: &RgbImage,
        (start, end): (Duration, Duration),
        size: Option<u32>,
    ) -> Result<()> {
        if self.times.ends.is_empty() {
            self.times.start = start;
        }
        // There is no gap between frames.
        if let Some(before) = self.times.ends.last_mut() {
            *before = start;
        }
        self.times.ends.push(end);
        let (width, height) = working_size(frame.dimensions(), size);
        let path = self.source(self.len() - 1);
        match (width, height) == frame.dimensions() {
            true => write_picture(frame, &path),
            false => write_picture(
                &imageops::resize(frame, width, height, FilterType::CatmullRom),
                &path,
            ),
        }
    }

    /// Notes that all frames of the video are there.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn complete(&mut self, rate: Option<(u32, u32)>) -> Result<()> {
        self.times.rate = rate;
        let text = serde_json::to_string(&self.times)?;
        let cannot = || format!("cannot write into '{}'", self.path.display());
        write_atomically(&self.path.join(TIMES), text.as_bytes()).with_context(cannot)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When the frames are shown.
    pub fn times(&self) -> &FrameTimes {
        &self.times
    }

    /// How many frames the video has.
    pub fn len(&self) -> usize {
        self.times.ends.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A frame of the video. Frames count from 0, files from 1.
    pub fn source(&self, n: usize) -> PathBuf {
        self.path.join(SOURCE).join(format!("{:05}.png", n + 1))
    }

    /// A painted frame, there or not. Passes count from 1.
    pub(super) fn painted(&self, pass: u32, n: usize) -> PathBuf {
        self.path.join(format!("pass-{pass:02}")).join(format!("{:05}.png", n + 1))
    }

    /// Keeps a painted frame.
    pub(super) fn save(&self, pass: u32, n: usize, picture: &RgbImage) -> Result<()> {
        let path = self.painted(pass, n);
        if let Some(folder) = path.parent() {
            let cannot = || format!("cannot write into '{}'", folder.display());
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        write_picture(picture, &path)
    }

    /// The pass of `passes` that is not done: the last with a frame.
    pub(super) fn current_pass(&self, passes: u32) -> u32 {
        let begun = |pass: &u32| (0..self.len()).any(|n| self.painted(*pass, n).exists());
        (1..=passes).rev().find(begun).unwrap_or(1)
    }

    /// Removes the frames of a pass that is not needed any more.
    pub(super) fn remove_pass(&self, pass: u32) {
        // What cannot be removed only takes room.
        let _ = fs::remove_dir_all(self.path.join(format!("pass-{pass:02}")));
    }

    /// The painted frames from the first one on, up to the first that is missing, each of the last pass that painted
    /// it.
    pub fn newest(&self, passes: u32) -> Vec<PathBuf> {
        let newest =
            |n| (1..=passes).rev().map(|pass| self.painted(pass, n)).find(|path| path.exists());
        (0..self.len()).map_while(newest).collect()
    }

    /// Removes the folder.
    ///
    /// # Errors
    /// When a part cannot be removed.
    pub fn remove(self) -> Result<()> {
        remove(&self.path)
    }
}

/// Removes what a run writes, and the folder if nothing else is in it.
fn remove(path: &Path) -> Result<()> {
    let cannot = || format!("cannot remove '{}'", path.display());
    for entry in fs::read_dir(path).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == SOURCE || name.starts_with("pass-") {
            fs::remove_dir_all(entry.path()).with_context(cannot)?;
        } else if name == SETTINGS || name == TIMES {
            fs::remove_file(entry.path()).with_context(cannot)?;
        }
    }
    let _ = fs::remove_dir(path);
    Ok(())
}

/// The size at which a frame is painted: even, as video codecs want it.
fn working_size((width, height): (u32, u32), size: Option<u32>) -> (u32, u32) {
    let own = width.min(height).max(1);
    let size = size.unwrap_or(own.min(Sizes::DEFAULT_SIZE));
    let scaled = |side: u32| {
        let half = f64::from(side) * f64::from(size) / f64::from(own) / 2.0;
        2 * (half.round() as u32).max(1)
    };
    (scaled(width), scaled(height))
}

fn write_picture(picture: &RgbImage, path: &Path) -> Result<()> {
    let cannot = || format!("cannot write '{}'", path.display());
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).with_context(cannot)?;
    write_atomically(path, bytes.get_ref()).with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_painted_at_even_sizes() {
        assert_eq!(working_size((1920, 1080), Some(320)), (568, 320));
        assert_eq!(working_size((1920, 1080), None), (910, 512));
        assert_eq!(working_size((177, 144), None), (178, 144));
        assert_eq!(working_size((640, 272), None), (640, 272));
    }

    #[test]
    fn a_run_goes_on_with_its_own_settings_only_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = ClipFolder::beside(&folder.path().join("out.mp4"));
        assert_eq!(path, folder.path().join("out.frames"));
        let settings = |steps: &str| -> ClipSettings {
            [("--steps".to_owned(), steps.to_owned())].into_iter().collect()
        };
        assert!(ClipFolder::resume(&path, &settings("5")).is_err());
        let mut run = ClipFolder::create(&path, &settings("5"), false).unwrap();
        let frame = RgbImage::from_pixel(20, 10, image::Rgb([1, 2, 3]));
        let ms = Duration::from_millis;
        run.add(&frame, (ms(40), ms(80)), None).unwrap();
        run.add(&frame, (ms(90), ms(120)), None).unwrap();
        assert!(ClipFolder::resume(&path, &settings("5")).unwrap().is_none());
        run.complete(Some((25, 1))).unwrap();
        let times = FrameTimes { rate: Some((25, 1)), start: ms(40), ends: vec![ms(90), ms(120)] };
        let run = ClipFolder::resume(&path, &settings("5")).unwrap().unwrap();
        assert_eq!((run.times(), run.len()), (&times, 2));
        let other = ClipFolder::resume(&path, &settings("6")).unwrap_err();
        assert!(other.is::<UsageFault>() && other.to_string().contains("--steps: 5, not 6"));
        assert!(ClipFolder::create(&path, &settings("5"), false).is_err());

        run.save(1, 0, &frame).unwrap();
        run.save(1, 1, &frame).unwrap();
        run.save(2, 1, &frame).unwrap();
        assert_eq!(run.current_pass(3), 2);
        assert_eq!(run.newest(3), [run.painted(1, 0), run.painted(2, 1)]);
        run.remove_pass(1);
        assert_eq!(run.newest(3), Vec::<PathBuf>::new());
        run.remove().unwrap();
        assert!(!path.exists());
    }
}
