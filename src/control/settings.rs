//! The settings of a run as they are read and changed from outside, over HTTP and OSC. Words are those of the command line.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::stream::{LiveControls, LiveSettings};

/// What can be changed while the run goes on.
#[derive(Serialize, ToSchema, Clone, PartialEq, Debug)]
pub(super) struct Settings {
    /// Name of the model that paints, as in `/api/v1/models`.
    pub model: String,
    /// How much of the style to apply, 0–1.
    pub strength: f64,
    /// Fraction of the frame size at which the network paints, 0.01–1.
    pub scale: f64,
    /// Factor for the size of brush strokes, 0.25–4.
    pub stroke: f64,
    /// How steady video is held, 0–1.
    pub steady: f64,
    /// Keep the colours of the source.
    pub preserve_color: bool,
}

/// Settings to change; what is left out stays.
#[derive(Deserialize, ToSchema, Default, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsChange {
    /// Name of the model that paints, as in `/api/v1/models`.
    pub model: Option<String>,
    /// How much of the style to apply, 0–1.
    #[schema(minimum = 0, maximum = 1)]
    pub strength: Option<f64>,
    /// Fraction of the frame size at which the network paints, 0.01–1.
    #[schema(minimum = 0.01, maximum = 1)]
    pub scale: Option<f64>,
    /// Factor for the size of brush strokes, 0.25–4.
    #[schema(minimum = 0.25, maximum = 4)]
    pub stroke: Option<f64>,
    /// How steady video is held, 0–1.
    #[schema(minimum = 0, maximum = 1)]
    pub steady: Option<f64>,
    /// Keep the colours of the source.
    pub preserve_color: Option<bool>,
}

impl Settings {
    /// Those of a run now.
    pub fn of(controls: &LiveControls) -> Self {
        let LiveSettings { model, scale, stroke, mix, steady } = controls.wanted.get();
        Settings {
            model: controls.monitor.models().get(model).cloned().unwrap_or_default(),
            strength: rounded(f64::from(mix.strength), 1000.0),
            scale: rounded(scale, 1000.0),
            stroke: rounded(stroke, 1000.0),
            steady: rounded(f64::from(steady), 1000.0),
            preserve_color: mix.preserve_color,
        }
    }
}

impl SettingsChange {
    /// Changes the settings of a run: all that are given, or none.
    ///
    /// # Errors
    /// When a value is out of its range, or there is no such model: a line that says what is expected.
    pub fn apply(&self, controls: &LiveControls) -> Result<(), String> {
        let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(value) if !(low..=high).contains(&value) => {
                Err(format!("{name}: expected a number from {low} to {high}"))
            }
            value => Ok(value),
        };
        let strength = within("strength", self.strength, 0.0, 1.0)?;
        let scale = within("scale", self.scale, 0.01, 1.0)?;
        let stroke = within("stroke", self.stroke, 0.25, 4.0)?;
        let steady = within("steady", self.steady, 0.0, 1.0)?;
        let model = self.model.as_ref().map(|name| number_of(name, controls)).transpose()?;
        controls.wanted.change(|settings| {
            settings.model = model.unwrap_or(settings.model);
            settings.scale = scale.unwrap_or(settings.scale);
            settings.stroke = stroke.unwrap_or(settings.stroke);
            settings.steady = steady.map_or(settings.steady, |steady| steady as f32);
            let mix = &mut settings.mix;
            mix.strength = strength.map_or(mix.strength, |strength| strength as f32);
            mix.preserve_color = self.preserve_color.unwrap_or(mix.preserve_color);
        });
        Ok(())
    }
}

fn number_of(name: &str, controls: &LiveControls) -> Result<usize, String> {
    let models = controls.monitor.models();
    models.iter().position(|known| known == name).ok_or_else(|| {
        format!(
            "model: there is no such model; those of this run are {} (--model gives more)",
            models.join(", ")
        )
    })
}

/// Rounded to so many parts of one.
pub(super) fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
