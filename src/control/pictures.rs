//! Pictures that are sent while the run goes on: each becomes a model of the run, which paints in its style, and a style
//! of all of them, so that they can be mixed.

use std::path::Path;
use std::sync::{Arc, Mutex, TryLockError};

use axum::http::StatusCode;

use super::answer::Refusal;
use super::page;
use crate::core::picture::{self, Picture};
use crate::engine::blend::{Blend, MOST_LIVE};
use crate::engine::model_file::ModelFile;
use crate::engine::predictor::with_style;
use crate::engine::shipped;
use crate::stream::{LiveControls, ModelChoice};
use crate::train::statistics::StyleReader;

/// Longest file, in bytes.
pub(super) const LONGEST: usize = 32 * 1024 * 1024;
/// Most pixels of a picture.
const MOST_PIXELS: u64 = 64_000_000;
/// Most pictures that are kept of those that came; the next takes the place of the oldest one that is not painted.
const MOST: usize = MOST_LIVE;
/// Longest name, in characters.
const LONGEST_NAME: usize = 40;

/// The pictures of a run.
#[derive(Default)]
pub(super) struct Pictures(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// What measures a picture, and the model that predicts its style; read with the first picture.
    tools: Option<(StyleReader, ModelFile)>,
    /// A model with the styles of all pictures, those of the command line first; with a mask there is none.
    all: Option<Arc<ModelFile>>,
    /// Models of the run that paint with it: their numbers and which styles.
    painted: Vec<(usize, Blend)>,
    /// Those that came, oldest first: the number of the model, and of its style in `all`.
    came: Vec<(usize, usize)>,
}

impl Pictures {
    /// Adds the style of a picture to the run; returns its number among the models, and its name. It takes about half a
    /// second.
    ///
    /// # Errors
    /// A refusal that says what is wrong with the picture, or that the run cannot take it now.
    pub fn add(
        &self,
        data: &[u8],
        file: &str,
        controls: &LiveControls,
    ) -> Result<(usize, String), Refusal> {
        let mut known = match self.0.try_lock() {
            Ok(known) => known,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                let text = "another picture is being measured; try again";
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text));
            }
        };
        if let Some(pixels) = picture::pixels(data).filter(|pixels| *pixels > MOST_PIXELS) {
            let (has, most) = (pixels / 1_000_000, MOST_PIXELS / 1_000_000);
            return Err(Refusal::bad(format!(
                "the picture has {has} megapixels; send one of at most {most}"
            )));
        }
        let picture = Picture::decode(data, Path::new(file));
        let picture = picture.map_err(|error| Refusal::bad(error.to_string()))?;
        let failed = |error: anyhow::Error| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}"))
        };
        known.begin(controls).map_err(failed)?;
        known.add(picture, file, controls).map_err(failed)
    }
}

impl Known {
    /// Reads what is needed, and which pictures the run began with.
    fn begin(&mut self, controls: &LiveControls) -> anyhow::Result<()> {
        if self.tools.is_some() {
            return Ok(());
        }
        let Some((choices, predictor)) = controls.models.own() else {
            anyhow::bail!("the run does not paint yet; try again when it does");
        };
        self.tools = Some((StyleReader::new()?, shipped::open(&predictor)?));
        if !controls.monitor.regions().is_empty() {
            return Ok(());
        }
        for (number, choice) in choices.iter().enumerate() {
            let Some(made) = &choice.made else { continue };
            let first = made.description.styles.first();
            let blend = choice.blend.clone().or_else(|| first.map(|style| Blend::only(style)));
            self.all = Some(Arc::clone(made));
            self.painted.extend(blend.map(|blend| (number, blend)));
        }
        Ok(())
    }

    fn add(
        &mut self,
        picture: Picture,
        file: &str,
        controls: &LiveControls,
    ) -> anyhow::Result<(usize, String)> {
        let models = controls.monitor.models();
        let Some((reader, predictor)) = &self.tools else { anyhow::bail!("no model predicts") };
        let styles = self.all.iter().flat_map(|all| all.description.styles.clone());
        let taken: Vec<String> = models.iter().cloned().chain(styles).collect();
        let name = name_of(file, &taken);
        let one = reader.model_of(predictor, picture, &name)?;
        let is_masked = !controls.monitor.regions().is_empty();
        let count = self.all.as_ref().map_or(0, |all| all.description.styles.len());
        let replaced = self.replaced(count, controls);
        let (number, style) = match replaced.and_then(|n| self.came.get(n)) {
            Some(place) => *place,
            None if self.came.len() >= MOST || count >= MOST_LIVE => {
                anyhow::bail!(
                    "{MOST_LIVE} pictures are painted already; choose fewer of them first"
                )
            }
            None => (models.len(), count),
        };
        let joined = match &self.all {
            Some(all) => with_style(all, style, &one),
            None => Some(one.clone()).filter(|_| !is_masked),
        };
        let choice = |number, model: &Arc<ModelFile>, blend: Option<Blend>| {
            let made = Some(Arc::clone(model));
            (number, ModelChoice { model: name.clone(), blend, made })
        };
        let mut painted = self.painted.clone();
        painted.retain(|(of, _)| *of != number);
        painted.push((number, Blend::only(&name)));
        let (choices, all) = match joined.map(Arc::new) {
            Some(all) => {
                let each = painted.iter().map(|(n, blend)| choice(*n, &all, Some(blend.clone())));
                (each.collect(), Some(all))
            }
            None => (vec![choice(number, &Arc::new(one), None)], self.all.clone()),
        };
        let sample = page::sample();
        controls.models.put(&choices, sample.as_ref(), &controls.monitor)?;
        if let Some(n) = replaced {
            self.came.remove(n);
        }
        self.came.push((number, style));
        (self.all, self.painted) = (all, painted);
        Ok((number, name))
    }

    /// Which of those that came gives its place to the next one; none while there is room, or if all are painted.
    fn replaced(&self, styles: usize, controls: &LiveControls) -> Option<usize> {
        if self.came.len() < MOST && styles < MOST_LIVE {
            return None;
        }
        let settings = controls.wanted.get();
        let shares = settings.blend.map(|blend| blend.shares(MOST_LIVE).to_vec());
        let regions = settings.regions.models();
        let is_painted = |(number, style): &(usize, usize)| {
            let share = shares.as_ref().and_then(|shares| shares.get(*style));
            *number == settings.model
                || regions.contains(&Some(*number))
                || share.is_some_and(|share| *share > 0.0)
        };
        self.came.iter().position(|came| !is_painted(came))
    }
}

/// The name of a style: that of the file, without its end and what a list of shares could not hold.
fn name_of(file: &str, taken: &[String]) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_control() || ":,+/\\".contains(c) { ' ' } else { c };
    let name: String = stem.chars().map(plain).take(LONGEST_NAME).collect();
    let name = match name.trim() {
        "" | "none" => "picture",
        name => name,
    };
    let is_free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_is_called_as_its_file_is() {
        let name = |file: &str| name_of(file, &["wave".to_owned(), "wave-2".to_owned()]);
        assert_eq!(name("Große Welle.JPG"), "Große Welle");
        assert_eq!(name("/etc/wave.png"), "wave-3");
        assert_eq!(name("a:0.5,b\n+c.png"), "a 0.5 b  c");
        assert_eq!((name(""), name("none.gif")), ("picture".into(), "picture".into()));
        assert_eq!(name(&"x".repeat(200)).len(), LONGEST_NAME);
    }
}
