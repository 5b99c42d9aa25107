//! Opens models, and how they run: device, precision, threads.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use super::Observer;
use crate::engine::blend::Blend;
use crate::engine::device::{self, Device, DeviceChoice};
use crate::engine::model::Model;
use crate::engine::model_file::{ModelError, ModelFile};
use crate::engine::precision::{Precision, PrecisionChoice};
use crate::engine::shipped;
use crate::engine::stylizer::{NetworkStylizer, StyleMix};

/// How a model runs.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Run a TorchScript program.
    pub trust: bool,
    /// Where the network runs.
    pub device: DeviceChoice,
    /// In which arithmetic.
    pub precision: PrecisionChoice,
    /// On a GPU, use our own kernels instead of libtorch's alone.
    pub gpu_kernels: bool,
    /// CPU threads of the network; all cores when none.
    pub threads: Option<usize>,
    /// Fraction of the frame size at which the network paints, 0–1.
    pub scale: f64,
    /// Factor for the size of brush strokes.
    pub stroke: f64,
    /// Strength and colour preservation.
    pub mix: StyleMix,
}

/// A model, and which of its styles are painted.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelChoice {
    /// File, or name of a shipped one; of one that was made for this run, how it is called.
    pub model: String,
    /// Its styles; none: the first alone.
    pub blend: Option<Blend>,
    /// The model itself, if it was made for this run and is in no file.
    pub made: Option<Arc<ModelFile>>,
}

impl fmt::Display for ModelChoice {
    /// `mosaic`, or `many.pt wave` for a style of a network with several; of one that was made, the style alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.blend, &self.made) {
            (None, _) => f.write_str(&self.model),
            (Some(blend), None) => write!(f, "{} {blend}", self.model),
            (Some(blend), Some(_)) => write!(f, "{blend}"),
        }
    }
}

impl ModelChoice {
    /// A model by its file or name.
    pub fn named(model: impl Into<String>, blend: Option<Blend>) -> Self {
        ModelChoice { model: model.into(), blend, made: None }
    }

    /// Every style of these models as a choice of its own, for live keys to step through; a choice of styles stays.
    ///
    /// # Errors
    /// When a model cannot be read.
    pub fn every_style(models: impl IntoIterator<Item = Self>) -> Result<Vec<Self>> {
        let mut choices = Vec::new();
        for choice in models {
            let read;
            let file = match &choice.made {
                Some(file) => Some(&**file),
                None => match shipped::open(&choice.model) {
                    Ok(file) => {
                        read = file;
                        Some(&read)
                    }
                    // A TorchScript program does not list its styles; it is opened, or refused, later.
                    Err(ModelError::TorchScript { .. }) => None,
                    Err(error) => return Err(error.into()),
                },
            };
            let several = file.map(|file| &file.description);
            let several = several.filter(|d| d.architecture.styles > 1 && choice.blend.is_none());
            let styles = several.map_or_else(Vec::new, |d| d.styles.clone());
            let of = |blend| ModelChoice { blend, ..choice.clone() };
            if styles.is_empty() {
                choices.push(choice.clone());
            }
            choices.extend(styles.iter().map(|style| of(Some(Blend::only(style)))));
        }
        Ok(choices)
    }
}

impl EngineOptions {
    /// Opens models, by file or by name.
    ///
    /// # Errors
    /// When there is no such device or model, or one is damaged.
    pub fn open(
        &self,
        choices: &[ModelChoice],
        observer: &mut dyn Observer,
    ) -> Result<Vec<NetworkStylizer>> {
        let on = self.place(observer)?;
        let open = |choice| self.load(choice, on, observer);
        let models: Vec<NetworkStylizer> = choices.iter().map(open).collect::<Result<_>>()?;
        self.say_what_paints(models.first(), observer);
        Ok(models)
    }

    /// What computes the networks of these models on this machine.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "media")]
    pub(super) fn arithmetic(
        &self,
        choices: &[ModelChoice],
        observer: &mut dyn Observer,
    ) -> Result<String> {
        let on = self.place(observer)?;
        let mut all = Vec::new();
        for choice in choices {
            all.push(self.load(choice, on, observer)?.model().arithmetic());
        }
        all.dedup();
        Ok(all.join(", "))
    }

    /// On a GPU, notes which kernels are used and which could be.
    pub(super) fn say_what_paints(
        &self,
        model: Option<&NetworkStylizer>,
        observer: &mut dyn Observer,
    ) {
        let Some(model) = model.map(NetworkStylizer::model) else { return };
        if model.device().is_cuda() {
            let place = format!("{} in {}", model.device(), precision_of(model));
            observer.note(&what_paints(&place, self.gpu_kernels, model.in_gpu_kernels()));
        } else if self.gpu_kernels {
            observer.note("--gpu-kernels on has no effect on a CPU");
        }
    }

    /// The device and the precision of the models.
    pub(super) fn place(&self, observer: &mut dyn Observer) -> Result<(Device, Precision)> {
        let (device, note) = device::resolve(self.device)?;
        if let Some(note) = &note {
            // Most machines have no GPU; users of these need no note about it each time.
            match device::driver_present() {
                true => observer.aside(note),
                false => tracing::info!("{note}"),
            }
        }
        let (precision, note) = self.precision.resolve(device)?;
        note.iter().for_each(|note| observer.note(note));
        tracing::info!("{device}, {precision}");
        Ok((device.with_gpu_kernels(self.gpu_kernels), precision))
    }

    /// Opens one model.
    pub(super) fn load(
        &self,
        choice: &ModelChoice,
        (device, precision): (Device, Precision),
        observer: &mut dyn Observer,
    ) -> Result<NetworkStylizer> {
        let model = match &choice.made {
            Some(file) => Model::from_file(file, device, precision)?,
            None => Model::open(&choice.model, self.trust, device, precision)?,
        };
        match &choice.blend {
            None if model.styles().len() > 1 && choice.made.is_none() => observer.note(&format!(
                "'{}' paints {}; --blend chooses and mixes, now it is {}",
                choice.model,
                model.styles().join(", "),
                model.styles()[0]
            )),
            _ => {}
        }
        let stylizer = NetworkStylizer::new(model);
        let stylizer = match &choice.blend {
            Some(blend) => stylizer.with_blend(blend)?,
            None => stylizer,
        };
        Ok(stylizer
            .with_scale(self.scale)
            .with_stroke(self.stroke)
            .with_threads(self.threads)
            .with_mix(self.mix))
    }
}

fn precision_of(model: &Model) -> String {
    let unknown = || "the program's own precision".to_owned();
    model.precision().map_or_else(unknown, |precision| precision.to_string())
}

/// Our own kernels stay optional until BENCHMARKS.md has a table measured with them on such a GPU.
fn what_paints(place: &str, wanted: bool, ours: bool) -> String {
    match (wanted, ours) {
        (_, true) => format!(
            "painting on {place} with nst-stream's own kernels between cuDNN's convolutions; \
             --gpu-kernels off paints with libtorch alone"
        ),
        // The reason has been logged.
        (true, false) => format!("painting on {place} with libtorch (cuDNN) alone"),
        (false, false) => format!(
            "painting on {place} with libtorch (cuDNN); --gpu-kernels on tries nst-stream's own kernels, \
             which may be faster and have not been timed on any GPU yet"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_run_says_which_kernels_paint_and_that_there_are_others() {
        let said = |wanted, ours| what_paints("cuda:0 in fp16", wanted, ours);
        assert!(
            said(false, false).starts_with("painting on cuda:0 in fp16 with libtorch (cuDNN);")
        );
        assert!(said(false, false).contains("--gpu-kernels on"));
        assert!(said(true, true).contains("own kernels"));
        assert!(said(true, true).contains("--gpu-kernels off"));
        assert!(!said(true, false).contains("--gpu-kernels"));
    }
}
