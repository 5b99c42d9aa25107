//! Models that come while a live run goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::live_monitor::LiveMonitor;
use super::live_settings::Adjustable;
use super::models::{EngineOptions, ModelChoice};
use super::{LiveConfig, Observer, Progress};
use crate::core::frame::Frame;
use crate::engine::device::Device;
use crate::engine::precision::Precision;
use crate::engine::stylizer::NetworkStylizer;

/// Opens models while a run goes on, and hands them to its network. Clones share them.
#[derive(Clone, Default)]
pub struct LiveModels(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// None before the run's own models are open.
    engine: Mutex<Option<Engine>>,
    arrived: Mutex<Vec<(usize, NetworkStylizer)>>,
}

/// How models run.
#[derive(Clone)]
struct Engine {
    options: EngineOptions,
    on: (Device, Precision),
    /// The run's own.
    choices: Vec<ModelChoice>,
    predictor: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveModels {
    pub(super) fn begin(&self, config: &LiveConfig, on: (Device, Precision)) {
        let LiveConfig { models, predictor, engine, .. } = config;
        let (options, choices) = (engine.clone(), models.clone());
        let engine = Engine { options, on, choices, predictor: predictor.clone() };
        *lock(&self.0.engine) = Some(engine);
    }

    /// The models the run began with, in their order, and the one that predicts the styles of pictures; none before
    /// they are open.
    pub fn own(&self) -> Option<(Vec<ModelChoice>, String)> {
        lock(&self.0.engine)
            .as_ref()
            .map(|engine| (engine.choices.clone(), engine.predictor.clone()))
    }

    /// Opens models, and has the run paint with each from its next frame on, under its number: in place of the one that
    /// has it, or as a new one behind the last. `sample` is painted by those that are new there.
    ///
    /// # Errors
    /// When the run does not paint yet, or a model cannot be opened: none of them is taken then.
    pub fn put(
        &self,
        choices: &[(usize, ModelChoice)],
        sample: Option<&Frame>,
        monitor: &LiveMonitor,
    ) -> Result<()> {
        let Some(Engine { options, on, .. }) = lock(&self.0.engine).clone() else {
            bail!("the run does not paint yet; try again when it does");
        };
        let names = monitor.models();
        let mut opened = Vec::new();
        for (number, choice) in choices {
            let mut model = options.load(choice, on, &mut Unheard)?;
            let is_new = names.get(*number) != Some(&choice.to_string());
            let painted = match sample.filter(|_| is_new) {
                Some(sample) => model.samples(sample).pop().flatten(),
                None => monitor.sample(*number),
            };
            opened.push((*number, choice.to_string(), model.own_shares(), painted, model));
        }
        // Before they can be chosen.
        let mut arrived = lock(&self.0.arrived);
        for (number, name, shares, painted, model) in opened {
            arrived.push((number, model));
            monitor.put_model(number, name, shares, painted);
        }
        Ok(())
    }

    /// What has come since the last call.
    pub(super) fn take(&self) -> Vec<(usize, NetworkStylizer)> {
        std::mem::take(&mut *lock(&self.0.arrived))
    }
}

/// Whoever asked gets an answer; the terminal hears nothing.
struct Unheard;

impl Observer for Unheard {
    fn note(&mut self, _text: &str) {}

    fn progress(&mut self, _progress: &Progress) {}
}
