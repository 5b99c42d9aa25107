//! Keeps live runs live: a shipped model that was named without an extension is replaced by its lite version
//! if it is too slow for the source.

use std::time::Duration;

use anyhow::{Context, Result};

use super::models::{EngineOptions, ModelChoice};
use super::{Observer, RunContext};
use crate::core::stop::StopSignal;
use crate::core::stylizer::StylizeError;
use crate::engine::bench::{self, Job};
use crate::engine::device::{Device, while_trying_algorithms};
use crate::engine::precision::Precision;
use crate::engine::shipped;
use crate::engine::stylizer::NetworkStylizer;

/// Largest share of the frame interval that painting may take. The rest is for decoding and encoding, which
/// use the same CPU cores, and for a machine whose speed varies.
const MAX_SHARE_OF_INTERVAL: f64 = 0.7;
/// Largest number of pixels of the trial picture: enough to use all cores, and quick to paint on slow ones.
const TRIAL_PIXELS: f64 = 100_000.0;

/// What a live source delivers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceRate {
    /// Pixels.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Time between two frames.
    pub interval: Duration,
}

/// An opened model, and its lite version if that may replace it.
struct Candidate {
    choice: ModelChoice,
    named: NetworkStylizer,
    lite: Option<(ModelChoice, NetworkStylizer)>,
}

/// The models of a live run, before the source's size and rate are known.
pub struct Candidates(Vec<Candidate>, (Device, Precision));

/// The chosen models of a live run, and their names for the user.
pub struct ChosenModels {
    /// What paints, in the order in which the models were given.
    pub models: Vec<NetworkStylizer>,
    /// Their names.
    pub names: Vec<String>,
    /// Where they run, and in which arithmetic.
    pub on: (Device, Precision),
}

impl EngineOptions {
    /// Loads models for a live source.
    ///
    /// # Errors
    /// As [`EngineOptions::open`].
    pub fn open_live(
        &self,
        choices: &[ModelChoice],
        observer: &mut dyn Observer,
    ) -> Result<Candidates> {
        let on = self.place(observer)?;
        let mut open = |choice: &ModelChoice| -> Result<Candidate> {
            let is_plain = choice.blend.is_none() && choice.made.is_none();
            let sibling = is_plain.then(|| shipped::lite_of(&choice.model)).flatten();
            let named = self.load(choice, on, observer)?;
            let mut lite = None;
            if let Some(sibling) = sibling {
                let choice = ModelChoice::named(sibling.name, None);
                let model = self.load(&choice, on, observer)?;
                lite = Some((choice, model));
            }
            Ok(Candidate { choice: choice.clone(), named, lite })
        };
        let all: Vec<Candidate> = choices.iter().map(&mut open).collect::<Result<_>>()?;
        self.say_what_paints(all.first().map(|one| &one.named), observer);
        Ok(Candidates(all, on))
    }
}

impl Candidates {
    /// Chooses between models and their lite versions by painting a trial picture, once, before the run. The
    /// first model that has a lite version paints it: all shipped networks of a kind are equally fast. With
    /// a mask every frame is painted by the first `together` models, so all of these paint it. The choice stays
    /// for the whole run, even if the source's size or rate changes.
    ///
    /// # Errors
    /// When the trial cannot be painted.
    pub fn choose(
        self,
        pace: SourceRate,
        together: Option<usize>,
        context: &mut RunContext,
    ) -> Result<ChosenModels> {
        let Candidates(mut all, on) = self;
        let stop = context.stop.clone();
        let trial = while_trying_algorithms(|| trial(&mut all, pace, together, &stop));
        let trial = trial.context("cannot stylize")?;
        let mut chosen = ChosenModels { models: Vec::new(), names: Vec::new(), on };
        for Candidate { choice, named, lite } in all {
            let (choice, model) = match lite.zip(trial.as_ref()) {
                Some(((lite, model), trial)) => {
                    context.observer.note(&trial.in_words(&choice, &lite));
                    if trial.is_fast_enough() { (choice, named) } else { (lite, model) }
                }
                None => (choice, named),
            };
            chosen.names.push(choice.to_string());
            chosen.models.push(model);
        }
        Ok(chosen)
    }
}

/// Paints the trial picture; none if no model has a lite version, or the run is to end.
fn trial(
    all: &mut [Candidate],
    source: SourceRate,
    together: Option<usize>,
    stop: &StopSignal,
) -> Result<Option<Trial>, StylizeError> {
    let Some(first) = all.iter().position(|candidate| candidate.lite.is_some()) else {
        return Ok(None);
    };
    let tried = match together {
        Some(count) => {
            let count = count.clamp(1, all.len());
            &mut all[..count]
        }
        None => &mut all[first..=first],
    };
    let mut trial = Trial { seconds: 0.0, models: tried.len(), pace: source };
    for candidate in tried {
        if stop.is_set() {
            return Ok(None);
        }
        trial.seconds += seconds(&mut candidate.named, source)?;
    }
    Ok(Some(trial))
}

/// The result of a trial.
struct Trial {
    /// Seconds that a frame takes.
    seconds: f64,
    /// How many models painted it.
    models: usize,
    pace: SourceRate,
}

impl Trial {
    fn is_fast_enough(&self) -> bool {
        self.seconds <= MAX_SHARE_OF_INTERVAL * self.pace.interval.as_secs_f64()
    }

    fn in_words(&self, named: &ModelChoice, lite: &ModelChoice) -> String {
        let SourceRate { width, height, interval } = self.pace;
        let ms = |seconds: f64| (seconds * 1e3).round();
        let (takes, comes) = (ms(self.seconds), ms(interval.as_secs_f64()));
        let kept = self.is_fast_enough();
        let who = match self.models {
            1 if kept => "it takes".to_owned(),
            1 => format!("{named} takes"),
            n => format!("{n} models together take"),
        };
        let fact = format!("{who} {takes} ms per frame at {width}×{height} here");
        match kept {
            true => {
                format!(
                    "painting with {named}: {fact}, and the source delivers one every {comes} ms"
                )
            }
            false => format!(
                "painting with {lite}: {fact}, more than {:.0} of the {comes} ms between two frames of the \
                 source; --model {named}.pt keeps {named}",
                ms(MAX_SHARE_OF_INTERVAL * interval.as_secs_f64())
            ),
        }
    }
}

/// Estimated seconds for a frame of the source, from a smaller picture: the work is proportional to the
/// number of pixels.
fn seconds(stylizer: &mut NetworkStylizer, pace: SourceRate) -> Result<f64, StylizeError> {
    let pixels = (pace.width * pace.height) as f64;
    let factor = (TRIAL_PIXELS / pixels).sqrt().min(1.0);
    // I420 has even sides.
    let side = |length: usize| (((length as f64 * factor) / 2.0).round() as usize * 2).max(2);
    let (width, height) = (side(pace.width), side(pace.height));
    let job = Job { width, height, batch: 1, budget: Duration::ZERO };
    let timing = bench::frames(stylizer, &job)?;
    Ok(timing.map_or(0.0, |timing| timing.seconds * pixels / (width * height) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_keeps_pace_if_it_leaves_time_for_the_rest() {
        let pace = SourceRate { width: 640, height: 360, interval: Duration::from_millis(40) };
        assert!(Trial { seconds: 0.027, models: 1, pace }.is_fast_enough());
        assert!(!Trial { seconds: 0.030, models: 1, pace }.is_fast_enough());
    }

    #[test]
    fn it_says_which_one_paints_and_why() {
        let pace = SourceRate { width: 640, height: 360, interval: Duration::from_millis(40) };
        let name = |model: &str| ModelChoice::named(model, None);
        let say =
            |seconds, models| Trial { seconds, models, pace }.in_words(&name("a"), &name("a-lite"));
        let words = |seconds| say(seconds, 1);
        assert_eq!(
            words(0.01),
            "painting with a: it takes 10 ms per frame at 640×360 here, and the source delivers one every 40 ms"
        );
        assert_eq!(
            words(0.1),
            "painting with a-lite: a takes 100 ms per frame at 640×360 here, more than 28 of the 40 ms \
             between two frames of the source; --model a.pt keeps a"
        );
        let (kept, lite) = (say(0.01, 2), say(0.1, 2));
        assert!(
            kept.starts_with("painting with a: 2 models together take 10 ms per frame"),
            "{kept}"
        );
        assert!(lite.starts_with("painting with a-lite: 2 models together take 100 ms"), "{lite}");
        assert!(lite.contains("more than 28 of the 40 ms"), "{lite}");
    }
}
