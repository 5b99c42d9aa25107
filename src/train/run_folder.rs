//! What a run leaves on disk beside its model, in one folder:
//!
//! ```text
//! mosaic.run/
//!     recipe.toml        everything that decided what was made
//!     losses.csv         every step: terms, learning rate, seconds
//!     losses.svg  .png   the same, drawn
//!     previews/          the same photos painted, now and then
//!     evolution.jpg      the previews side by side (the paper's Fig. 3)
//!     checkpoints/       to resume from
//! ```

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::loss::LossTerms;
use super::loss_row::LossRow;
use super::recipe::Recipe;
use crate::engine::model_file::write_atomically;

/// Header line of `losses.csv`.
const HEAD: &str = "step,content,style,tv,total,learning_rate,seconds,temporal";

/// Contents of `recipe.toml`: the recipe, and the files of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    /// Folder of the photographs.
    pub dataset: PathBuf,
    /// How many there were.
    pub photos: usize,
    /// Folder of their masks, where styles are for regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masks: Option<PathBuf>,
    /// Folder of videos for the temporal loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub videos: Option<PathBuf>,
    /// Folder of style pictures, for a network that paints in the style of any picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub styles: Option<PathBuf>,
    /// The model to make.
    pub output: PathBuf,
    /// The loss network, when it is not the shipped one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vgg: Option<PathBuf>,
    /// Licence of the model, an SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Whom the model names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<String>,
    /// Photos of the previews.
    pub previews: Vec<PathBuf>,
    /// Everything else.
    pub recipe: Recipe,
}

impl RunFile {
    /// Checks the recipe and its regions.
    ///
    /// # Errors
    /// One line.
    pub fn check(&self) -> std::result::Result<(), String> {
        self.recipe.check()?;
        if self.styles.is_some() != (self.recipe.predictor > 0) {
            return Err("--predictor goes with --styles".to_owned());
        }
        if self.styles.is_some() && (self.masks.is_some() || self.vgg.is_some()) {
            return Err("--styles does not go with --masks or --vgg".to_owned());
        }
        match (&self.masks, self.recipe.regions().is_empty()) {
            (Some(_), true) => Err(Recipe::EACH_ITS_REGION.to_owned()),
            (None, false) => Err("--style …@REGION needs --masks".to_owned()),
            _ if self.videos.is_some() && self.recipe.temporal_weight == 0.0 => {
                Err("--videos needs a --temporal-weight above 0".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A run's folder.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    losses: BufWriter<File>,
}

impl RunFolder {
    /// Begins a run. One that is there already is replaced when `overwrite` is given.
    ///
    /// # Errors
    /// When there is a run already, or the folder cannot be written.
    pub fn create(path: &Path, overwrite: bool, run: &RunFile) -> Result<Self> {
        let shown = path.display();
        if path.join("recipe.toml").exists() {
            if !overwrite {
                bail!(
                    "'{shown}' holds a run already: use --resume '{shown}' to continue it, or --overwrite to replace it"
                );
            }
            // Removes only what a run writes; other files in the folder stay.
            for part in ["checkpoints", "previews"] {
                let _ = fs::remove_dir_all(path.join(part));
            }
            for part in ["recipe.toml", "losses.csv", "losses.svg", "losses.png", "evolution.jpg"] {
                let _ = fs::remove_file(path.join(part));
            }
        }
        let write = || format!("cannot write the run's folder '{shown}'");
        for part in ["checkpoints", "previews"] {
            fs::create_dir_all(path.join(part)).with_context(write)?;
        }
        let text = toml::to_string(run).with_context(write)?;
        write_atomically(&path.join("recipe.toml"), text.as_bytes()).with_context(write)?;
        let mut losses = File::create(path.join("losses.csv")).with_context(write)?;
        writeln!(losses, "{HEAD}").with_context(write)?;
        Ok(RunFolder { path: path.to_owned(), losses: BufWriter::new(losses) })
    }

    /// Reads the `recipe.toml` of a run.
    ///
    /// # Errors
    /// When the folder is none of a run.
    pub fn read(path: &Path) -> Result<RunFile> {
        let file = path.join("recipe.toml");
        let text = fs::read_to_string(&file).with_context(|| {
            format!("'{}' is not a run: cannot read its recipe.toml", path.display())
        })?;
        toml::from_str(&text).with_context(|| format!("'{}' is damaged", file.display()))
    }

    /// Continues a run after `step` steps: later lines of its losses are dropped.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let file = path.join("losses.csv");
        let rows: Vec<LossRow> = read_losses(&file).unwrap_or_default();
        let mut text = format!("{HEAD}\n");
        rows.iter().filter(|row| row.step <= step).for_each(|row| text += &line(row));
        let write = || format!("cannot write '{}'", file.display());
        write_atomically(&file, text.as_bytes()).with_context(write)?;
        let losses = File::options().append(true).open(&file).with_context(write)?;
        Ok(RunFolder { path: path.to_owned(), losses: BufWriter::new(losses) })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where checkpoints lie.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The preview made after so many steps.
    pub fn preview(&self, step: u64) -> PathBuf {
        self.path.join("previews").join(format!("step-{step:08}.jpg"))
    }

    /// The previews there are, the first first.
    pub fn previews(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(self.path.join("previews")).into_iter().flatten().flatten();
        let mut found: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.path();
                let stem = path.file_stem()?.to_str()?;
                Some((stem.strip_prefix("step-")?.parse().ok()?, path))
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// Adds a line to the losses.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, row: &LossRow) -> Result<()> {
        self.losses.write_all(line(row).as_bytes()).context("cannot write losses.csv")
    }

    /// Flushes the losses to the disk.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.losses.flush().context("cannot write losses.csv")
    }

    /// Mean loss terms of so many of the last steps.
    ///
    /// # Errors
    /// When the losses cannot be read.
    pub fn last_terms(&mut self, count: usize) -> Result<LossTerms> {
        self.flush()?;
        let rows = read_losses(&self.path.join("losses.csv"))?;
        let last = &rows[rows.len().saturating_sub(count)..];
        let mut mean = LossTerms::default();
        last.iter().for_each(|row| mean.add(&row.terms, 1.0 / last.len() as f64));
        Ok(mean)
    }

    /// Draws the losses.
    ///
    /// # Errors
    /// When there are none, or the drawing cannot be written.
    pub fn draw(&mut self) -> Result<()> {
        self.flush()?;
        let rows = read_losses(&self.path.join("losses.csv"))?;
        super::plot::draw(&rows, &self.path.join("losses"))
    }
}

/// Numbers are written in full precision, so that runs can be compared bit for bit.
fn line(row: &LossRow) -> String {
    let LossRow { step, terms, rate, seconds } = row;
    let LossTerms { content, style, tv, temporal } = terms;
    format!("{step},{content},{style},{tv},{},{rate},{seconds:.3},{temporal}\n", terms.total())
}

/// Reads `losses.csv`; a last line that was cut off is passed over.
///
/// # Errors
/// When it cannot be read.
pub fn read_losses(path: &Path) -> Result<Vec<LossRow>> {
    let read = || format!("cannot read '{}'", path.display());
    let mut rows = Vec::new();
    for text in BufReader::new(File::open(path).with_context(read)?).lines().skip(1) {
        let text = text.with_context(read)?;
        let numbers: Vec<f64> = text.split(',').filter_map(|n| n.parse().ok()).collect();
        // Runs of earlier versions have no temporal loss.
        if let [step, content, style, tv, _, rate, seconds, ref temporal @ ..] = numbers[..] {
            let temporal = temporal.first().copied().unwrap_or_default();
            let terms = LossTerms { content, style, tv, temporal };
            rows.push(LossRow { step: step as u64, terms, rate, seconds });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipe::RecipePreset;

    fn row(step: u64) -> LossRow {
        let terms =
            LossTerms { content: 0.1 + step as f64, style: 1.0 / 3.0, tv: 1e-9, temporal: 0.5 };
        LossRow { step, terms, rate: 1e-3, seconds: 0.25 }
    }

    fn run() -> RunFile {
        RunFile {
            dataset: "photos".into(),
            photos: 3,
            videos: None,
            styles: None,
            masks: None,
            output: "a.pt".into(),
            vgg: None,
            licence: None,
            credit: None,
            previews: Vec::new(),
            recipe: Recipe::preset(RecipePreset::Default, vec!["a.jpg".parse().unwrap()]),
        }
    }

    #[test]
    fn a_run_is_not_replaced_unasked_and_a_resumed_one_forgets_later_losses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.run");
        let mut made = RunFolder::create(&path, false, &run()).unwrap();
        (1..=5).for_each(|step| made.add(&row(step)).unwrap());
        made.flush().unwrap();
        assert_eq!(RunFolder::read(&path).unwrap(), run());
        let error = RunFolder::create(&path, false, &run()).unwrap_err().to_string();
        assert!(error.contains("--resume") && error.contains("--overwrite"), "{error}");
        let mut resumed = RunFolder::resume(&path, 3).unwrap();
        resumed.add(&row(4)).unwrap();
        resumed.flush().unwrap();
        let rows = read_losses(&path.join("losses.csv")).unwrap();
        assert_eq!(rows, (1..=4).map(row).collect::<Vec<_>>());
        RunFolder::create(&path, true, &run()).unwrap();
        assert_eq!(read_losses(&path.join("losses.csv")).unwrap(), []);
    }

    #[test]
    fn losses_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let mut made = RunFolder::create(folder.path(), false, &run()).unwrap();
        (1..=50).for_each(|step| made.add(&row(step)).unwrap());
        made.draw().unwrap();
        let svg = fs::read_to_string(folder.path().join("losses.svg")).unwrap();
        assert!(svg.contains("style") && svg.contains("polyline"), "{svg}");
        assert!(image::open(folder.path().join("losses.png")).unwrap().width() > 600);
    }
}
