//! What can change during a live run, and how it changes: cross-fades between models and
//! between scales.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::live_models::LiveModels;
use super::regions::{RegionModels, RegionSettings, Regions};
use crate::core::frame::Frame;
use crate::core::stylizer::{StylizeError, Stylizer};
use crate::engine::blend::LiveBlend;
use crate::engine::stylizer::{NetworkStylizer, StyleMix};

/// Duration of the cross-fade after a change of the model; half as long after a change of the scale.
const MODEL_FADE: Duration = Duration::from_secs(1);
const SCALE_FADE: Duration = Duration::from_millis(500);

/// What paints in a live run, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveSettings {
    /// Index of the model among the loaded ones.
    pub model: usize,
    /// Fraction of the frame size at which the network paints.
    pub scale: f64,
    /// Factor for the size of brush strokes.
    pub stroke: f64,
    /// Strength and colour preservation.
    pub mix: StyleMix,
    /// Shares of the styles of the model's network, until another model is chosen; none: the model's own.
    pub blend: Option<LiveBlend>,
    /// What paints each region of the mask, instead of `model`; empty without a mask.
    pub regions: RegionSettings,
    /// How steady video is held, 0–1; see [`Steady`](crate::steady::Steady).
    pub steady: f32,
}

impl LiveSettings {
    /// Names of the models that paint, of all these; with a mask they are joined: `mosaic + starry-night`.
    pub fn painting(&self, names: &[String]) -> String {
        let numbers =
            if self.regions.is_empty() { vec![self.model] } else { self.regions.painting() };
        let names: Vec<&str> =
            numbers.iter().filter_map(|number| names.get(*number)).map(String::as_str).collect();
        names.join(" + ")
    }
}

/// The settings the user has chosen; can be changed on any thread, and apply from the next frame on. Clones share them.
#[derive(Clone)]
pub struct SharedSettings(Arc<Shared>);

struct Shared {
    settings: Mutex<LiveSettings>,
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn() + Send>;

impl SharedSettings {
    /// Begins with these settings.
    pub fn new(settings: LiveSettings) -> Self {
        let (settings, listeners) = (Mutex::new(settings), Mutex::default());
        SharedSettings(Arc::new(Shared { settings, listeners }))
    }

    /// The current settings.
    pub fn get(&self) -> LiveSettings {
        *self.0.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the settings, and returns the new ones.
    pub fn change(&self, change: impl FnOnce(&mut LiveSettings)) -> LiveSettings {
        let mut settings = self.0.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *settings;
        change(&mut settings);
        if settings.model != before.model && settings.blend == before.blend {
            settings.blend = None;
        }
        let now = *settings;
        drop(settings);
        if now != before {
            let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().for_each(|listener| listener());
        }
        now
    }

    /// Calls `listener` after every change, on the thread that made it; it must be quick.
    pub fn on_change(&self, listener: impl Fn() + Send + 'static) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }
}

/// A stylizer whose scale, stroke and mix can be set.
pub trait Adjustable: Stylizer {
    /// Sets scale, stroke and mix for the next batches.
    fn adjust(&mut self, scale: f64, stroke: f64, mix: StyleMix);

    /// Sets the shares of the styles for the next batches; none: its own.
    fn blend(&mut self, _blend: Option<LiveBlend>) {}

    /// Its styles, each with its own share; none if it has only one.
    fn own_shares(&self) -> Vec<(String, f32)> {
        Vec::new()
    }

    /// Sets what paints each region of a mask for the next batches.
    fn set_regions(&mut self, _regions: RegionSettings) {}

    /// Puts a network into `all`, in place of the one with this number or behind the last.
    fn put(_all: &mut Vec<Self>, _number: usize, _model: NetworkStylizer)
    where
        Self: Sized,
    {
    }

    /// What each of its models makes of a picture; none where it cannot paint it.
    fn samples(&mut self, of: &Frame) -> Vec<Option<Frame>> {
        self.adjust(1.0, 1.0, StyleMix::default());
        self.blend(None);
        let mut batch = [of.clone()];
        let painted = self.stylize(&mut batch).is_ok();
        let [frame] = batch;
        vec![painted.then_some(frame)]
    }
}

impl Adjustable for NetworkStylizer {
    fn adjust(&mut self, scale: f64, stroke: f64, mix: StyleMix) {
        self.set_scale(scale);
        self.set_stroke(stroke);
        self.set_mix(mix);
    }

    fn blend(&mut self, blend: Option<LiveBlend>) {
        self.set_blend(blend);
    }

    fn own_shares(&self) -> Vec<(String, f32)> {
        NetworkStylizer::own_shares(self)
    }

    fn put(all: &mut Vec<Self>, number: usize, model: NetworkStylizer) {
        match all.get_mut(number) {
            Some(place) => *place = model,
            None => all.push(model),
        }
    }
}

impl<S: Adjustable> Adjustable for Regions<S> {
    fn adjust(&mut self, scale: f64, stroke: f64, mix: StyleMix) {
        self.painters().iter_mut().for_each(|painter| painter.adjust(scale, stroke, mix));
    }

    fn put(all: &mut Vec<Self>, number: usize, model: NetworkStylizer) {
        // They are the one that paints.
        if let Some(regions) = all.first_mut() {
            S::put(regions.painters(), number, model);
        }
    }

    fn set_regions(&mut self, regions: RegionSettings) {
        Regions::set_regions(self, regions);
    }

    fn samples(&mut self, of: &Frame) -> Vec<Option<Frame>> {
        self.painters().iter_mut().flat_map(|painter| painter.samples(of)).collect()
    }
}

/// The settings whose change is cross-faded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Faded {
    model: usize,
    regions: RegionModels,
    scale: f64,
    stroke: f64,
}

impl Faded {
    pub(super) fn of(settings: &LiveSettings) -> Self {
        let LiveSettings { model, scale, stroke, regions, .. } = *settings;
        Faded { model, regions: regions.models(), scale, stroke }
    }

    fn put_into(self, settings: &mut LiveSettings) {
        (settings.model, settings.scale, settings.stroke) = (self.model, self.scale, self.stroke);
        settings.regions = settings.regions.with_models(self.regions);
    }
}

/// Paints with the current settings. After a change of a model, scale or stroke it cross-fades: both are painted, and
/// the rate may halve.
pub struct CrossFade<S> {
    models: Vec<S>,
    arriving: LiveModels,
    wanted: SharedSettings,
    /// What is shown, apart from a fade.
    shown: Faded,
    fade: Option<Fade>,
}

#[derive(Debug, Clone, Copy)]
struct Fade {
    to: Faded,
    began: Instant,
    takes: Duration,
}

impl<S: Adjustable> CrossFade<S> {
    /// `models` must not be empty; an index in `wanted` beyond its end means the last one.
    pub fn new(models: Vec<S>, wanted: SharedSettings) -> Self {
        let shown = Faded::of(&wanted.get());
        CrossFade { models, arriving: LiveModels::default(), wanted, shown, fade: None }
    }

    /// The same, which also takes the models that arrive there.
    #[must_use]
    pub fn with_arriving(self, arriving: LiveModels) -> Self {
        CrossFade { arriving, ..self }
    }

    /// Whether a cross-fade is under way, so that each frame is painted twice.
    pub fn fading(&self) -> bool {
        self.fade.is_some()
    }

    /// Whether the next frame shows, or begins to show, another model, of a region too, scale or stroke.
    pub fn changes(&self, settings: LiveSettings) -> bool {
        self.fading() || Faded::of(&settings) != self.shown
    }

    /// What each model makes of a picture, whatever the settings are; none where it cannot paint it.
    pub fn samples(&mut self, of: &Frame) -> Vec<Option<Frame>> {
        self.models.iter_mut().flat_map(|model| model.samples(of)).collect()
    }

    fn paint(
        &mut self,
        Faded { model, regions, scale, stroke }: Faded,
        settings: &LiveSettings,
        batch: &mut [Frame],
    ) -> Result<(), StylizeError> {
        let last = self.models.len().saturating_sub(1);
        let Some(stylizer) = self.models.get_mut(model.min(last)) else { return Ok(()) };
        stylizer.adjust(scale, stroke, settings.mix);
        // Those of the model that is chosen; one that fades out keeps its last.
        if model == settings.model {
            stylizer.blend(settings.blend);
        }
        stylizer.set_regions(settings.regions.with_models(regions));
        stylizer.stylize(batch)
    }

    /// Begins a fade if the settings have changed, and ends one that is complete. Returns the fade and its
    /// progress, 0–1.
    fn advance(&mut self, settings: LiveSettings, now: Instant) -> Option<(Fade, f64)> {
        let target = Faded::of(&settings);
        if self.fade.is_none() && target != self.shown {
            let models = |of: &Faded| (of.model, of.regions);
            let is_same = models(&target) == models(&self.shown);
            let takes = if is_same { SCALE_FADE } else { MODEL_FADE };
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
            model.adjust(settings.scale, settings.stroke, settings.mix);
            model.warm_up(like)
        })
    }

    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        let settings = self.wanted.get();
        for (number, model) in self.arriving.take() {
            S::put(&mut self.models, number, model);
        }
        let Some((fade, share)) = self.advance(settings, Instant::now()) else {
            return self.paint(self.shown, &settings, batch);
        };
        let mut next = batch.to_vec();
        self.paint(self.shown, &settings, batch)?;
        match self.paint(fade.to, &settings, &mut next) {
            // A larger scale, or a finer stroke: what is shown goes on.
            Err(error @ StylizeError::OutOfMemory { .. }) => {
                tracing::warn!("the settings go back to what they were: {error}");
                self.fade = None;
                self.wanted.change(|settings| self.shown.put_into(settings));
                return Ok(());
            }
            painted => painted?,
        }
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
    use crate::stream::regions::RegionSetting;

    /// Paints everything in one value, and remembers at which scale.
    struct Flat(u8, f64);

    impl Stylizer for Flat {
        fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
            batch.iter_mut().for_each(|f| f.planes.bytes_mut().fill(self.0));
            Ok(())
        }
    }

    impl Adjustable for Flat {
        fn adjust(&mut self, scale: f64, _stroke: f64, _mix: StyleMix) {
            self.1 = scale;
        }
    }

    fn settings(model: usize, scale: f64) -> LiveSettings {
        let mix = StyleMix::default();
        let regions = RegionSettings::default();
        LiveSettings { model, scale, stroke: 1.0, mix, blend: None, regions, steady: 0.0 }
    }

    #[test]
    fn shares_of_styles_end_with_the_model_they_are_of() {
        let wanted = SharedSettings::new(settings(0, 1.0));
        let blend = LiveBlend::of(&[1.0, 3.0]).ok();
        assert_eq!(wanted.change(|settings| settings.blend = blend).blend, blend);
        assert_eq!(wanted.change(|settings| settings.scale = 0.5).blend, blend);
        assert_eq!(wanted.change(|settings| settings.model = 1).blend, None);
        let both = wanted.change(|settings| (settings.model, settings.blend) = (0, blend));
        assert_eq!(both.blend, blend);
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
        let to = |model| Faded::of(&settings(model, 0.5));
        assert_eq!(cross_fade.fade.unwrap().to, to(0), "the first fade is finished first");
        cross_fade.fade.as_mut().unwrap().began -= SCALE_FADE;
        value(&mut cross_fade);
        value(&mut cross_fade);
        assert_eq!(cross_fade.fade.unwrap().to, to(1));
        assert_eq!(cross_fade.models[0].1, 0.5);
    }

    /// Shows the number of the model of its first region.
    struct OneRegion(RegionSettings);

    impl Stylizer for OneRegion {
        fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
            let RegionSetting { model, strength } = self.0.each()[0];
            let value = 100.0 * model.map_or(0.0, |model| model as f32) * strength;
            batch.iter_mut().for_each(|f| f.planes.bytes_mut().fill(value as u8));
            Ok(())
        }
    }

    impl Adjustable for OneRegion {
        fn adjust(&mut self, _scale: f64, _stroke: f64, _mix: StyleMix) {}

        fn set_regions(&mut self, regions: RegionSettings) {
            self.0 = regions;
        }
    }

    #[test]
    fn a_change_of_a_regions_model_fades_in_and_of_its_strength_acts_at_once() {
        let regions = RegionSettings::of(&[Some(0)]);
        let wanted = SharedSettings::new(LiveSettings { regions, ..settings(0, 1.0) });
        let mut cross_fade = CrossFade::new(vec![OneRegion(regions)], wanted.clone());
        let shows = |cross_fade: &mut CrossFade<OneRegion>| {
            let mut batch = [rgb_frame(2, 1, vec![0; 6])];
            cross_fade.stylize(&mut batch).unwrap();
            batch[0].planes.bytes()[0]
        };
        assert_eq!(shows(&mut cross_fade), 0);
        wanted.change(|settings| settings.regions.each_mut()[0].model = Some(2));
        assert!(cross_fade.changes(wanted.get()) && shows(&mut cross_fade) < 100);
        let fade = cross_fade.fade.as_mut().unwrap();
        assert_eq!(fade.takes, MODEL_FADE);
        fade.began -= MODEL_FADE;
        assert_eq!(shows(&mut cross_fade), 200);
        wanted.change(|settings| settings.regions.each_mut()[0].strength = 0.5);
        assert!(!cross_fade.changes(wanted.get()));
        assert_eq!(shows(&mut cross_fade), 100);
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(wanted.get().painting(&names), "c");
    }

    /// Paints in one value; has no memory for strokes below 1.
    struct Small(u8, f64);

    impl Stylizer for Small {
        fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
            if self.1 < 1.0 {
                return Err(StylizeError::OutOfMemory { width: 2, height: 1, batch: 1 });
            }
            batch.iter_mut().for_each(|f| f.planes.bytes_mut().fill(self.0));
            Ok(())
        }
    }

    impl Adjustable for Small {
        fn adjust(&mut self, _scale: f64, stroke: f64, _mix: StyleMix) {
            self.1 = stroke;
        }
    }

    #[test]
    fn settings_that_memory_does_not_allow_are_taken_back_and_the_run_goes_on() {
        let wanted = SharedSettings::new(settings(0, 1.0));
        let told: Arc<Mutex<Vec<f64>>> = Arc::default();
        let (heard, of) = (Arc::clone(&told), wanted.clone());
        wanted.on_change(move || heard.lock().unwrap().push(of.get().stroke));
        let mut cross_fade = CrossFade::new(vec![Small(9, 1.0)], wanted.clone());
        wanted.change(|settings| settings.stroke = 0.5);
        for _ in 0..3 {
            let mut batch = [rgb_frame(2, 1, vec![0; 6])];
            cross_fade.stylize(&mut batch).unwrap();
            assert_eq!(batch[0].planes.bytes()[0], 9);
        }
        assert_eq!(wanted.get().stroke, 1.0);
        assert_eq!(*told.lock().unwrap(), [0.5, 1.0], "whoever shows the settings is told");
        assert_eq!(cross_fade.samples(&rgb_frame(2, 1, vec![0; 6])).len(), 1);
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
