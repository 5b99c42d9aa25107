//! The settings of a run as they are read and changed from outside, over HTTP and OSC. Words are those of the command line.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::core::regions::Color;
use crate::engine::blend::LiveBlend;
use crate::stream::{LiveControls, LiveSettings, RegionSetting, RegionSettings};

/// What can be changed while the run goes on.
#[derive(Serialize, ToSchema, Clone, PartialEq, Debug)]
pub(super) struct Settings {
    /// Name of the model that paints, as in `/api/v1/models`; with a mask those of all regions, joined by ` + `.
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
    /// The styles of the model's network in its order, each with its share, which sum up to 1; empty if it has only
    /// one.
    pub blend: IndexMap<String, f64>,
    /// What paints each region of the mask, in the order of the command line; empty without a mask.
    pub regions: Vec<Region>,
}

/// What paints a region of the mask.
#[derive(Serialize, ToSchema, Clone, PartialEq, Debug)]
pub(super) struct Region {
    /// Its colour in the mask, as `--model …@COLOUR` names it: a grey value, or `#rrggbb`.
    pub region: String,
    /// Name of the model that paints it, as in `/api/v1/models`, or `none`.
    pub model: String,
    /// How much of the style to apply there, 0–1, of what `strength` applies everywhere.
    pub strength: f64,
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
    /// Shares of the styles of the model's network, at or above 0, of any sum; those left out get none. Another model
    /// begins with its own.
    pub blend: Option<BTreeMap<String, f64>>,
    /// What paints these regions of the mask; others stay.
    pub regions: Option<Vec<RegionChange>>,
}

/// What paints a region of the mask from now on; what is left out stays.
#[derive(Deserialize, ToSchema, Default, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionChange {
    /// Its colour in the mask: black, white, a grey value or `#rrggbb`.
    pub region: String,
    /// Name of the model that paints it, as in `/api/v1/models`, or `none`.
    pub model: Option<String>,
    /// How much of the style to apply there, 0–1.
    #[schema(minimum = 0, maximum = 1)]
    pub strength: Option<f64>,
}

/// Why there is no one model to choose.
pub(super) const EACH_REGION: &str = "model: with a mask each region has its own; change regions";
/// What leaves a region unpainted, as on the command line.
pub(super) const UNPAINTED: &str = "none";

impl Settings {
    /// Those of a run now.
    pub fn of(controls: &LiveControls) -> Self {
        let settings = controls.wanted.get();
        let LiveSettings { model, scale, stroke, mix, blend, regions, steady } = settings;
        let models = controls.monitor.models();
        let styles = controls.monitor.styles(model);
        let count = styles.len();
        let share = |(n, (name, own)): (usize, (String, f32))| {
            let share = blend.as_ref().and_then(|blend| blend.shares(count).get(n).copied());
            (name, rounded(f64::from(share.unwrap_or(own)), 1000.0))
        };
        Settings {
            model: settings.painting(&models),
            strength: rounded(f64::from(mix.strength), 1000.0),
            scale: rounded(scale, 1000.0),
            stroke: rounded(stroke, 1000.0),
            steady: rounded(f64::from(steady), 1000.0),
            preserve_color: mix.preserve_color,
            blend: styles.into_iter().enumerate().map(share).collect(),
            regions: regions_of(&regions, controls.monitor.regions(), &models),
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
        let before = controls.wanted.get();
        let model = match &self.model {
            // What was read may be sent back.
            Some(name) if before.regions.is_empty() => Some(number_of(name, controls)?),
            Some(name) if *name != before.painting(&controls.monitor.models()) => {
                return Err(EACH_REGION.to_owned());
            }
            _ => None,
        };
        let of = model.unwrap_or(before.model);
        let blend = self.blend.as_ref().filter(|blend| !blend.is_empty());
        let blend = blend.map(|blend| blend_of(blend, of, controls)).transpose()?;
        let regions = self.regions.iter().flatten();
        let regions =
            regions.map(|region| region.check(controls)).collect::<Result<Vec<_>, _>>()?;
        controls.wanted.change(|settings| {
            for (number, model, strength) in regions {
                let Some(region) = settings.regions.each_mut().get_mut(number) else { continue };
                region.model = model.unwrap_or(region.model);
                region.strength = strength.unwrap_or(region.strength);
            }
            settings.blend = blend.or(settings.blend);
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

/// Number of a region, its model and its strength, where they change.
type CheckedRegion = (usize, Option<Option<usize>>, Option<f32>);

impl RegionChange {
    fn check(&self, controls: &LiveControls) -> Result<CheckedRegion, String> {
        let RegionChange { region, model, strength } = self;
        let names = controls.monitor.regions();
        if names.is_empty() {
            return Err("regions: this run has no --mask".to_owned());
        }
        // `white` is the same as 255.
        let color = region.parse::<Color>().map(|color| color.to_string());
        let number = names.iter().position(|name| Ok(name) == color.as_ref()).ok_or_else(|| {
            format!("regions: there is no region '{region}'; there are {}", names.join(", "))
        })?;
        if strength.is_some_and(|strength| !(0.0..=1.0).contains(&strength)) {
            return Err("regions: strength: expected a number from 0 to 1".to_owned());
        }
        let models = controls.monitor.models();
        let of_name = |name: &String| match models.iter().position(|known| known == name) {
            Some(number) => Ok(Some(number)),
            None if name == UNPAINTED => Ok(None),
            None => Err(format!(
                "regions: there is no model '{name}'; there are {}, {UNPAINTED}",
                models.join(", ")
            )),
        };
        let model = model.as_ref().map(of_name).transpose()?;
        Ok((number, model, strength.map(|strength| strength as f32)))
    }
}

fn regions_of(settings: &RegionSettings, names: Vec<String>, models: &[String]) -> Vec<Region> {
    let region = |(region, setting): (String, &RegionSetting)| Region {
        region,
        model: match setting.model {
            Some(number) => models.get(number).cloned().unwrap_or_default(),
            None => UNPAINTED.to_owned(),
        },
        strength: rounded(f64::from(setting.strength), 1000.0),
    };
    names.into_iter().zip(settings.each()).map(region).collect()
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

/// These shares of the styles of a model.
fn blend_of(
    blend: &BTreeMap<String, f64>,
    model: usize,
    controls: &LiveControls,
) -> Result<LiveBlend, String> {
    let styles = controls.monitor.styles(model);
    let names: Vec<_> = styles.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return Err("blend: this model has one style".to_owned());
    }
    if let Some(unknown) = blend.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("blend: no style '{unknown}'; there are {}", names.join(", ")));
    }
    let weights: Vec<f64> =
        names.iter().map(|name| blend.get(*name).copied().unwrap_or(0.0)).collect();
    LiveBlend::of(&weights).map_err(|expected| format!("blend: {expected}"))
}

/// Rounded to so many parts of one.
pub(super) fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
