//! What can change during a live run, and how it changes: cross-fades between models and
//! between scales.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Regions;
use crate::core::frame::Frame;
use crate::core::stylizer::{StylizeError, Stylizer};
use crate::engine::stylizer::{NetworkStylizer, StyleMix};

/// Duration of the cross-fade after a change of the model; half as long after a change of the scale.
const MODEL_FADE: Duration = Duration::from_secs(1);
const SCALE_FADE: Duration = Duration::from_millis(500);

/// Model, scale and mix of a live run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveSettings {
    /// Index of the model among the loaded ones.
    pub model: usize,
    /// Fraction of the frame size at which the network paints.
    pub scale: f64,
    /// Strength and colour preservation.
    pub mix: StyleMix,
    /// How steady video is held, 0–1; see [`Steady`](crate::steady::Steady).
    pub steady: f32,
}

/// The settings the user has chosen; can be changed on any thread, and apply from the next frame on.
#[derive(Debug, Clone)]
pub struct SharedSettings(Arc<Mutex<LiveSettings>>);

impl SharedSettings {
    /// Begins with these settings.
    pub fn new(settings: LiveSettings) -> Self {
        SharedSettings(Arc::new(Mutex::new(settings)))
    }

    /// The current settings.
    pub fn get(&self) -> LiveSettings {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings, and returns the new ones.
    pub fn change(&self, change: impl FnOnce(&mut LiveSettings)) -> LiveSettings {
        let mut settings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut settings);
        *settings
    }
}

/// A stylizer whose scale and mix can be set.
pub trait Adjustable: Stylizer {
    /// Sets scale and mix for the next batches.
    fn adjust(&mut self, scale: f64, mix: StyleMix);
}

impl Adjustable for NetworkStylizer {
    fn adjust(&mut self, scale: f64, mix: StyleMix) {
        self.set_scale(scale);
        self.set_mix(mix);
    }
}

impl<S: Adjustable> Adjustable for Regions<S> {
    fn adjust(&mut self, scale: f64, mix: StyleMix) {
        self.painters().iter_mut().for_each(|painter| painter.adjust(scale, mix));
    }
}

/// Paints with the current settings. After a change of model or scale it cross-fades: both looks are painted,
/// and the rate may halve.
pub struct CrossFade<S> {
    models: Vec<S>,
    wanted: SharedSettings,
    /// Model and scale that are shown, apart from a fade.
    shown: (usize, f64),
    fade: Option<Fade>,
}

#[derive(Debug, Clone, Copy)]
struct Fade {
    to: (usize, f64),
    began: Instant,
    takes: Duration,
}

impl<S: Adjustable> CrossFade<S> {
    /// `models` must not be empty; an index in `wanted` beyond its end means the last one.
    pub fn new(models: Vec<S>, wanted: SharedSettings) -> Self {
        let settings = wanted.get();
        CrossFade { models, wanted, shown: (settings.model, settings.scale), fade: None }
    }

    /// Whether a cross-fade is under way, so that each frame is painted twice.
    pub fn fading(&self) -> bool {
        self.fade.is_some()
    }

    /// Whether the next frame shows, or begins to show, another model or scale.
    pub fn changes(&self, settings: LiveSettings) -> bool {
        self.fading() || (settings.model, settings.scale) != self.shown
    }

    fn paint(
        &mut self,
        (model, scale): (usize, f64),
        mix: StyleMix,
        batch: &mut [Frame],
    ) -> Result<(), StylizeError> {
        let last = self.models.len().saturating_sub(1);
        let Some(stylizer) = self.models.get_mut(model.min(last)) else { return Ok(()) };
        stylizer.adjust(scale, mix);
        stylizer.stylize(batch)
    }

    /// Begins a fade if the settings have changed, and ends one that is complete. Returns the fade and its
    /// progress, 0–1.
    fn advance(&mut self, settings: LiveSettings, now: Instant) -> Option<(Fade, f64)> {
        let target = (settings.model, settings.scale);
        if self.fade.is_none() && target != self.shown {
            let takes = if settings.model == self.shown.0 { SCALE_FADE } else { MODEL_FADE };
            self.fade = Some(Fade { to: target, began: now, takes });
        }
        let fade = self.fade?;
        let share = (now - fade.began).as_secs_f64() / fade.takes.as_secs_f64();
        if share >= 1.0 {
            self.shown = fade.to;
            self.fade = None;
            return None;
        }
        Some((fade, share))
    }
}

impl<S: Adjustable> Stylizer for CrossFade<S> {
    fn warm_up(&mut self, like: &[Frame]) -> Result<(), StylizeError> {
        let settings = self.wanted.get();
        self.models.iter_mut().try_for_each(|model| {
            model.adjust(settings.scale, settings.mix);
            model.warm_up(like)
        })
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        let settings = self.wanted.get();
        let Some((fade, share)) = self.advance(settings, Instant::now()) else {
            return self.paint(self.shown, settings.mix, batch);
        };
        let mut next = batch.to_vec();
        self.paint(self.shown, settings.mix, batch)?;
        self.paint(fade.to, settings.mix, &mut next)?;
        for (frame, next) in batch.iter_mut().zip(&next) {
            blend(frame.planes.bytes_mut(), next.planes.bytes(), share);
        }
        Ok(())
    }
}

/// `a` becomes (1 − share)·a + share·b, rounded.
fn blend(a: &mut [u8], b: &[u8], share: f64) {
    // 8 bits of fraction: finer than a step of the samples.
    let share = (share.clamp(0.0, 1.0) * 256.0).round() as u32;
    for (a, b) in a.iter_mut().zip(b) {
        *a = ((u32::from(*a) * (256 - share) + u32::from(*b) * share + 128) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::picture::rgb_frame;

    /// Paints everything in one value, and remembers at which scale.
    struct Flat(u8, f64);

    impl Stylizer for Flat {
        fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
            batch.iter_mut().for_each(|f| f.planes.bytes_mut().fill(self.0));
            Ok(())
        }
    }

    impl Adjustable for Flat {
        fn adjust(&mut self, scale: f64, _mix: StyleMix) {
            self.1 = scale;
        }
    }

    fn settings(model: usize, scale: f64) -> LiveSettings {
        LiveSettings { model, scale, mix: StyleMix::default(), steady: 0.0 }
    }

    fn value(cross_fade: &mut CrossFade<Flat>) -> u8 {
        let mut batch = [rgb_frame(2, 1, vec![0; 6])];
        cross_fade.stylize(&mut batch).unwrap();
        batch[0].planes.bytes()[0]
    }

    #[test]
    fn a_change_of_model_fades_in_and_then_only_the_new_one_paints() {
        let wanted = SharedSettings::new(settings(0, 1.0));
        let mut cross_fade = CrossFade::new(vec![Flat(0, 0.0), Flat(200, 0.0)], wanted.clone());
        assert_eq!(value(&mut cross_fade), 0);
        wanted.change(|settings| settings.model = 1);
        assert!(value(&mut cross_fade) < 100, "it begins with the old picture");
        let fade = cross_fade.fade.as_mut().unwrap();
        fade.began -= MODEL_FADE / 2;
        let middle = value(&mut cross_fade);
        assert!((95..150).contains(&middle), "{middle}");
        cross_fade.fade.as_mut().unwrap().began -= MODEL_FADE;
        assert_eq!(value(&mut cross_fade), 200);
        assert!(cross_fade.fade.is_none());
    }

    #[test]
    fn a_change_of_scale_fades_faster_and_one_fade_follows_the_other() {
        let wanted = SharedSettings::new(settings(0, 1.0));
        let mut cross_fade = CrossFade::new(vec![Flat(7, 0.0), Flat(9, 0.0)], wanted.clone());
        wanted.change(|settings| settings.scale = 0.5);
        value(&mut cross_fade);
        assert_eq!(cross_fade.fade.unwrap().takes, SCALE_FADE);
        wanted.change(|settings| settings.model = 1);
        value(&mut cross_fade);
        assert_eq!(cross_fade.fade.unwrap().to, (0, 0.5), "the first fade is finished first");
        cross_fade.fade.as_mut().unwrap().began -= SCALE_FADE;
        value(&mut cross_fade);
        value(&mut cross_fade);
        assert_eq!(cross_fade.fade.unwrap().to, (1, 0.5));
        assert_eq!(cross_fade.models[0].1, 0.5);
    }

    #[test]
    fn blending_is_exact_at_both_ends() {
        let mut a = [0, 10, 255];
        blend(&mut a, &[255, 20, 0], 0.0);
        assert_eq!(a, [0, 10, 255]);
        blend(&mut a, &[255, 20, 0], 1.0);
        assert_eq!(a, [255, 20, 0]);
        blend(&mut a, &[0, 20, 255], 0.5);
        assert_eq!(a, [128, 20, 128]);
    }
}
