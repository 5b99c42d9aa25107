//! One step of training: photos → network → losses → gradients → weights.

use tch::{Device, Kind as Type, TchError, Tensor};

use super::crop::Crop;
use super::dataset::Dataset;
use super::loss::{LossTerms, Losses, StyleTarget};
use super::network::TrainNetwork;
use super::optimizer::OptimizerState;
use super::painter::{Idle, Painter};
use super::random::generator;
use super::recipe::Recipe;
use super::style_pictures::StylePictures;
use super::style_predictor::{StylePredictor, pass_on};
use super::temporal::{Motion, compressed, with_noise};
use super::vgg::Vgg;
use super::video_pairs::VideoPairs;
use crate::engine::architecture::{Architecture, NetworkKind, Normalization};
use crate::engine::model_file::{Description, ModelFile};
use crate::engine::network::luma;

/// A network in training, with everything that one step needs.
#[derive(Debug)]
pub struct Trainer {
    recipe: Recipe,
    network: TrainNetwork,
    /// Its running average, if the recipe asks for one.
    average: Option<TrainNetwork>,
    optimizer: OptimizerState,
    losses: Losses,
    /// The style targets: one for all styles, one for each style of a multi-style network, or one for each
    /// region with styles.
    styles: Vec<StyleTarget>,
    /// The teacher, whose pictures the network also learns from.
    teacher: Option<TrainNetwork>,
    device: Device,
    idle: Idle,
    /// Frames of videos for the temporal loss.
    videos: Option<VideoPairs>,
    /// Makes the network's norms from pictures, if the recipe asks for it; each photo of a batch then has a style
    /// of its own in the network.
    predicting: Option<Predicting>,
}

/// A style predictor in training.
#[derive(Debug)]
struct Predicting {
    predictor: StylePredictor,
    /// Its running average, if the recipe asks for one.
    average: Option<StylePredictor>,
    pictures: StylePictures,
}

impl Trainer {
    /// Prepares the first step. `styles`: the pictures of the recipe's styles, each at one or several sizes,
    /// 1 × 3 × height × width, RGB 0–255. `init`: a model to start from instead of random weights. `teacher`:
    /// a model to learn from.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(
        recipe: &Recipe,
        vgg: Vgg,
        styles: &[Vec<Tensor>],
        init: Option<&ModelFile>,
        teacher: Option<&ModelFile>,
        device: Device,
        kind: Type,
    ) -> Result<Self, TchError> {
        let network = match init {
            Some(model) => {
                let architecture = architecture(recipe);
                TrainNetwork::with_convolutions_of(model, architecture, device, kind)?
            }
            None => TrainNetwork::random(architecture(recipe), recipe.seed, device, kind)?,
        };
        let losses = Losses::new(vgg, recipe);
        // For each style, its picture at each size.
        let mut pictures: Vec<Vec<(Tensor, f64)>> = Vec::new();
        for (sizes, source) in styles.iter().zip(&recipe.styles) {
            let weight = source.weight / sizes.len() as f64;
            let picture = |picture: &Tensor| {
                let picture = picture.f_to_device(device)?;
                let picture = if recipe.luminance { luma(&picture)? } else { picture };
                Ok((picture, weight))
            };
            pictures.push(sizes.iter().map(picture).collect::<Result<_, TchError>>()?);
        }
        let regions = recipe.regions();
        let groups: Vec<Vec<(Tensor, f64)>> = if recipe.styles_separate {
            pictures
        } else if regions.is_empty() {
            vec![pictures.into_iter().flatten().collect()]
        } else {
            let mut groups: Vec<_> = regions.iter().map(|_| Vec::new()).collect();
            for (sizes, source) in pictures.into_iter().zip(&recipe.styles) {
                let region = regions.iter().position(|region| Some(*region) == source.region);
                groups[region.unwrap_or_default()].extend(sizes);
            }
            // Those without styles come last.
            groups.retain(|group| !group.is_empty());
            groups
        };
        // Those of a predictor's pictures are made in each step.
        let groups = if recipe.predictor > 0 { Vec::new() } else { groups };
        let styles: Result<_, _> = groups.iter().map(|group| losses.style_target(group)).collect();
        let styles = styles?;
        let optimizer = OptimizerState::new(recipe.optimizer, network.parameters())?;
        let average = (recipe.averaging > 0.0).then(|| network.copied()).transpose()?;
        let teacher = teacher.map(|model| TrainNetwork::from_model(model, device, kind));
        Ok(Trainer {
            recipe: recipe.clone(),
            network,
            average,
            optimizer,
            losses,
            styles,
            teacher: teacher.transpose()?,
            device,
            idle: Idle::default(),
            videos: None,
            predicting: None,
        })
    }

    /// Makes the norms by a style predictor, trained on these pictures, each as important as photos are far from it.
    /// `init`: a model to take the predictor from, if it has one.
    ///
    /// # Errors
    /// When a picture cannot be read, or memory is short.
    pub fn with_predictor(
        self,
        mut pictures: StylePictures,
        photos: &Dataset,
        init: Option<&ModelFile>,
    ) -> anyhow::Result<Self> {
        let recipe = &self.recipe;
        pictures.balance(&self.losses, photos, recipe.image_size)?;
        let known = match init {
            Some(model) => StylePredictor::from_model(model, self.device)?,
            None => None,
        };
        let predictor = match known {
            Some(predictor) => predictor,
            None => {
                let sample = pictures.sample(&self.losses)?;
                let norms = self.network.norm_row(0)?;
                StylePredictor::random(&sample, &norms, recipe.predictor, recipe.seed)?
            }
        };
        let average = (recipe.averaging > 0.0).then(|| predictor.copied()).transpose()?;
        let predicting = Some(Predicting { predictor, average, pictures });
        let mut trainer = Trainer { predicting, ..self };
        let trained: Vec<Tensor> = trainer.trained().into_iter().map(|(_, t)| t).collect();
        trainer.optimizer = OptimizerState::new(trainer.recipe.optimizer, &trained)?;
        Ok(trainer)
    }

    /// What the optimizer changes, by name; shares its memory with the trainer.
    fn trained(&self) -> Vec<(String, Tensor)> {
        let (network, predictor) = (&self.network, self.predicting.as_ref().map(|p| &p.predictor));
        trained_of(network, predictor)
    }

    /// The running average of what is trained, if there is one.
    fn averaged(&self) -> Option<Vec<(String, Tensor)>> {
        let predictor = self.predicting.as_ref().and_then(|p| p.average.as_ref());
        Some(trained_of(self.average.as_ref()?, predictor))
    }

    /// Takes every second pair of the temporal loss from videos.
    #[must_use]
    pub fn with_videos(self, videos: Option<VideoPairs>) -> Self {
        Trainer { videos, ..self }
    }

    /// The network of which the model is made: the trained one, or its running average.
    pub fn network(&self) -> &TrainNetwork {
        self.average.as_ref().unwrap_or(&self.network)
    }

    /// All that a run needs to go on, by name; shares its memory with the trainer.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let predicting = self.predicting.as_ref();
        let mut all = named("weight", &self.network, predicting.map(|p| &p.predictor));
        for (part, memory) in self.optimizer.memory() {
            for ((name, _), value) in self.trained().iter().zip(memory) {
                all.push((format!("optimizer/{part}/{name}"), value.shallow_clone()));
            }
        }
        if let Some(average) = &self.average {
            all.extend(named("average", average, predicting.and_then(|p| p.average.as_ref())));
        }
        all
    }

    /// The model as it is now.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn to_model(&self, description: Description) -> Result<ModelFile, TchError> {
        let model = self.network().to_model(description)?;
        match &self.predicting {
            Some(p) => p.average.as_ref().unwrap_or(&p.predictor).model_of(model),
            None => Ok(model),
        }
    }

    /// Makes [`network`](Self::network) paint in the styles of the first pictures, if a predictor makes its norms.
    ///
    /// # Errors
    /// When a picture cannot be read, or libtorch fails.
    pub fn prepare_previews(&self) -> anyhow::Result<()> {
        let Some(Predicting { predictor, average, pictures }) = &self.predicting else {
            return Ok(());
        };
        let styles = self.network.architecture().styles;
        // Far apart in the folder, so that they are by different hands.
        let of = |n: usize| pictures.plain(&self.losses, n * pictures.len() / styles);
        let rows = (0..styles).map(of).collect::<anyhow::Result<Vec<_>>>()?;
        let predictor = average.as_ref().unwrap_or(predictor);
        let norms = tch::no_grad(|| {
            predictor.forward(&Tensor::f_stack(&rows, 0)?.f_to_device(self.device)?)
        })?;
        Ok(self.network().set_norms(&norms)?)
    }

    /// One step on a batch of crops; `step` counts from 0. Returns the batch's loss terms, from
    /// before the step.
    ///
    /// # Errors
    /// When libtorch fails, as for want of memory.
    pub fn step(&mut self, step: u64, crops: &[Crop]) -> anyhow::Result<LossTerms> {
        self.network.zero_grad();
        let predicted = self.predict(step * crops.len() as u64)?;
        let mut terms = LossTerms::default();
        let together = photos_in_a_pass(&self.recipe, self.device.is_cuda()).max(1);
        let passes = crops.chunks(together);
        let first = step * crops.len() as u64;
        let styles = self.network.architecture().styles.max(1) as u64;
        let mut painter = Painter::new(&self.network, &self.idle)?;
        for (n, crops_of_pass) in passes.enumerate() {
            let style = ((first + n as u64) % styles) as usize;
            let share = crops_of_pass.len() as f64 / crops.len() as f64;
            let number = first + (n * together) as u64;
            let noise = generator(self.recipe.seed, "texture", number).u64(..);
            self.network.set_noise(Some(noise));
            terms.add(&self.pass(&mut painter, crops_of_pass, style, share, number)?, share);
        }
        painter.finish()?;
        self.network.set_noise(None);
        if let Some(predicted) = predicted {
            pass_on(&self.network, &predicted)?;
        }
        if terms.is_finite() {
            let rate = self.recipe.rate(step);
            let trained: Vec<Tensor> = self.trained().into_iter().map(|(_, t)| t).collect();
            self.optimizer.step(&trained, step, rate)?;
            self.follow(step)?;
        }
        Ok(terms)
    }

    /// With a predictor: takes a style for each photo of a step, of which the first has this number. Returns the
    /// norms predicted, which wait for their gradients.
    fn predict(&mut self, first: u64) -> anyhow::Result<Option<Tensor>> {
        let Some(Predicting { predictor, pictures, .. }) = &self.predicting else {
            return Ok(None);
        };
        predictor.parameters().for_each(|(_, parameter)| parameter.shallow_clone().zero_grad());
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for n in 0..self.network.architecture().styles as u64 {
            let (statistics, target) = pictures.style(&self.losses, first + n)?;
            rows.push(statistics);
            targets.push(target);
        }
        let predicted = predictor.forward(&Tensor::f_stack(&rows, 0)?.f_to_device(self.device)?)?;
        self.network.set_norms(&predicted)?;
        self.styles = targets;
        Ok(Some(predicted))
    }

    /// Moves the average towards the weights.
    fn follow(&mut self, step: u64) -> Result<(), TchError> {
        let Some(average) = self.averaged() else { return Ok(()) };
        let _guard = tch::no_grad_guard();
        // Early weights are worth little: at first, the average is the plain mean of all weights so far.
        let kept = self.recipe.averaging.min(step as f64 / (step + 1) as f64);
        for ((_, mut average), (_, weight)) in average.into_iter().zip(self.trained()) {
            let _ = average.f_lerp_(&weight, 1.0 - kept)?;
        }
        Ok(())
    }

    /// Adds the gradients of some of a batch's crops, times their share of the batch. `number`: number of the
    /// first crop in the run.
    fn pass(
        &self,
        painter: &mut Painter<'_>,
        crops: &[Crop],
        style: usize,
        share: f64,
        number: u64,
    ) -> Result<LossTerms, TchError> {
        let (photos, noisy) = self.upload(crops)?;
        // The target for comparison with the painted picture; with `luminance`, its brightness.
        let target = |picture: &Tensor| match self.recipe.luminance {
            true => self.losses.content_target(&luma(picture)?),
            false => self.losses.content_target(picture),
        };
        let content = if self.recipe.texture { Vec::new() } else { target(&photos)? };
        let lesson = self.teacher.as_ref().map(|teacher| {
            // The teacher sees the photo without noise; only the learning network sees noise.
            let painted = tch::no_grad(|| teacher.forward(&photos, style))?;
            target(&painted.f_clamp(0.0, 255.0)?)
        });
        let lesson = lesson.transpose()?;
        let painting = painter.paint(&noisy, style)?;
        let guided = match crops {
            [crop] if !crop.regions.is_empty() => Some(self.in_regions(crop)?),
            _ => None,
        };
        let target = guided.as_ref().unwrap_or(&self.styles[style]);
        let mut terms =
            self.losses.backward(&painting.y, &content, lesson.as_deref(), target, share, 1.0)?;
        let painted = painting.y.f_detach()?;
        let middle = painting.middle.as_ref().map(Tensor::f_detach).transpose()?;
        painter.back(painting)?;
        if self.recipe.temporal_weight > 0.0 {
            let painted = (&painted, middle.as_ref());
            terms.temporal = self.temporal(painter, &photos, painted, style, share, number)?;
        }
        Ok(terms)
    }

    /// Adds the gradients of `share` times the temporal loss and returns its value: the moved photos must be
    /// painted like `painted`, moved, and in the middle of the network be what `photos` are there, moved.
    fn temporal(
        &self,
        painter: &mut Painter<'_>,
        photos: &Tensor,
        (painted, middle): (&Tensor, Option<&Tensor>),
        style: usize,
        share: f64,
        number: u64,
    ) -> Result<f64, TchError> {
        let recipe = &self.recipe;
        let (count, _, _, size) = photos.size4()?;
        let shape = (usize::try_from(count).unwrap_or(1), usize::try_from(size).unwrap_or(1));
        let pass = number / shape.0 as u64;
        if let (Some(videos), true) = (&self.videos, pass % 2 == 1) {
            let (before, frames, motion) = self.neighbours(videos, shape.0, number)?;
            let (painted, middle) = painter.paint_only(&before, style)?;
            let painted = (&painted, middle.as_ref());
            return self.compare(
                painter,
                &motion,
                (&before, &frames, &frames),
                painted,
                style,
                share,
            );
        }
        let motion = Motion::random(shape, (recipe.seed, number), self.device)?;
        let seen = motion.seen(photos)?;
        let noisy = with_noise(&seen, recipe.noise as f32, (recipe.seed, number))?;
        let noisy = compressed(&noisy, (recipe.seed, number));
        let noisy = noisy.map_err(|error| TchError::Torch(format!("{error:#}")))?;
        self.compare(painter, &motion, (photos, &seen, &noisy), (painted, middle), style, share)
    }

    /// Frames of videos, the ones after them, and the motion between.
    fn neighbours(
        &self,
        videos: &VideoPairs,
        count: usize,
        number: u64,
    ) -> Result<(Tensor, Tensor, Motion), TchError> {
        let size = i64::from(self.recipe.image_size);
        let (mut frames, mut flows) = ([Vec::new(), Vec::new()], Vec::new());
        for n in 0..count as u64 {
            let pair = videos.pair(self.recipe.seed, number + n);
            let (pair, flow) = pair.map_err(TchError::Torch)?;
            flows.push(flow);
            for (all, frame) in frames.iter_mut().zip(pair) {
                all.push(Tensor::f_from_slice(frame)?.f_to_device(self.device)?);
            }
        }
        let picture = |all: &[Tensor]| {
            let all = Tensor::f_stack(all, 0)?.f_to_kind(Type::Float)?;
            all.f_reshape([-1, size, size, 3])?.f_permute([0, 3, 1, 2])
        };
        let motion = Motion::of_frames(&flows, self.device)?;
        Ok((picture(&frames[0])?, picture(&frames[1])?, motion))
    }

    /// Adds the gradients of `share` times the temporal loss and returns its value. Of the pictures, the first were
    /// `painted` already, with features in the `middle`; the second are what is seen after the motion; the third
    /// are the same as the network gets them.
    fn compare(
        &self,
        painter: &mut Painter<'_>,
        motion: &Motion,
        (before, seen, noisy): (&Tensor, &Tensor, &Tensor),
        (painted, middle): (&Tensor, Option<&Tensor>),
        style: usize,
        share: f64,
    ) -> Result<f64, TchError> {
        let painting = painter.paint(noisy, style)?;
        let mut loss = motion.loss(before, seen, (painted, &painting.y))?;
        if let (Some(features), Some(of_seen)) = (middle, &painting.middle) {
            loss = loss.f_add(&motion.middle_loss(features, of_seen)?)?;
        }
        let loss = loss.f_mul_scalar(self.recipe.temporal_weight)?;
        loss.f_mul_scalar(share)?.f_backward()?;
        painter.back(painting)?;
        loss.f_double_value(&[])
    }

    /// The style targets, restricted to where their regions lie in a crop.
    fn in_regions(&self, crop: &Crop) -> Result<StyleTarget, TchError> {
        let size = i64::from(self.recipe.image_size);
        let mask = |plane: &Vec<f32>| {
            Tensor::f_from_slice(plane)?.f_reshape([1, 1, size, size])?.f_to_device(self.device)
        };
        let masks = crop.regions.iter().map(mask).collect::<Result<Vec<_>, _>>()?;
        // Masks of regions without styles come last, and have no target.
        self.losses.in_regions(self.styles.iter().zip(&masks))
    }

    /// Photos, and what the network sees of them: batch × 3 × size × size.
    fn upload(&self, crops: &[Crop]) -> Result<(Tensor, Tensor), TchError> {
        let size = i64::from(self.recipe.image_size);
        if self.recipe.texture {
            // Only their shape counts.
            let none = [crops.len() as i64, 3, size, size];
            let none = Tensor::f_zeros(none, (Type::Float, self.device))?;
            return Ok((none.shallow_clone(), none));
        }
        let (mut photos, mut noisy) = (Vec::new(), Vec::new());
        for crop in crops {
            let photo = Tensor::f_from_slice(&crop.photo)?.f_to_device(self.device)?;
            let photo = photo.f_to_kind(Type::Float)?;
            let seen = match &crop.noisy {
                Some(noisy) => Tensor::f_from_slice(noisy)?.f_to_device(self.device)?,
                None => photo.shallow_clone(),
            };
            photos.push(photo);
            noisy.push(seen);
        }
        let picture = |all: &[Tensor]| {
            Tensor::f_stack(all, 0)?.f_reshape([-1, size, size, 3])?.f_permute([0, 3, 1, 2])
        };
        Ok((picture(&photos)?, picture(&noisy)?))
    }
}

/// What is trained of a network and its predictor, by name; shares their memory.
fn trained_of(network: &TrainNetwork, predictor: Option<&StylePredictor>) -> Vec<(String, Tensor)> {
    let Some(predictor) = predictor else {
        let all = network.names().iter().zip(network.parameters());
        return all.map(|(name, value)| (name.clone(), value.shallow_clone())).collect();
    };
    let own = |(name, value): (&str, &Tensor)| (name.to_owned(), value.shallow_clone());
    network.convolutions().map(own).chain(predictor.parameters().map(own)).collect()
}

/// Weights of a network and its predictor with what else belongs to them, as a checkpoint has them, by name; shares
/// their memory.
pub(super) fn named(
    of: &str,
    network: &TrainNetwork,
    predictor: Option<&StylePredictor>,
) -> Vec<(String, Tensor)> {
    let weights = trained_of(network, predictor).into_iter();
    let mut all: Vec<_> = weights.map(|(name, value)| (format!("{of}/{name}"), value)).collect();
    let statistics = network.statistics();
    all.extend(statistics.map(|(name, v)| (format!("statistic/{name}"), v.shallow_clone())));
    let constants = predictor.into_iter().flat_map(StylePredictor::constants);
    all.extend(constants.map(|(name, value)| (name.to_owned(), value.shallow_clone())));
    all
}

/// Number of photos per pass of a step, on a GPU or on the CPU.
///
/// Instance norm and Gram matrices belong to single pictures, so on the CPU a batch is painted one picture at
/// a time and gradients are added: the same result with less memory, and faster, since one picture's data
/// stays in the caches. A GPU needs many pictures at once to be busy. Batch norm needs the whole batch; a
/// multi-style network takes one style per pass, and photos with masks have different targets.
pub fn photos_in_a_pass(recipe: &Recipe, on_gpu: bool) -> usize {
    let one_by_one =
        !on_gpu || recipe.styles_separate || recipe.predictor > 0 || !recipe.regions().is_empty();
    if one_by_one && recipe.norm != Normalization::Batch { 1 } else { recipe.batch }
}

/// The network that a recipe trains. With a predictor it is not that of the model: its norms are those of the
/// styles of a step.
pub fn architecture(recipe: &Recipe) -> Architecture {
    Architecture {
        kind: recipe.arch,
        widths: match recipe.arch {
            NetworkKind::Johnson => vec![recipe.width, recipe.width * 2, recipe.width * 4],
            NetworkKind::Lite => vec![recipe.width, recipe.width * 3],
            NetworkKind::Texture => vec![recipe.width; Recipe::SCALES],
        },
        residual_blocks: recipe.residual_blocks,
        norm: recipe.norm,
        output: recipe.output_layer,
        upsample: recipe.upsample,
        padding: recipe.padding,
        styles: match recipe.predictor {
            0 if recipe.styles_separate => recipe.styles.len(),
            0 => 1,
            // One for each photo of a step.
            _ => recipe.batch,
        },
        luminance: recipe.luminance,
        predictor: None,
        photo: !recipe.texture,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::recipe::RecipePreset;

    fn trainer(kind: Type) -> (Trainer, Vec<Crop>) {
        trainer_of(kind, 0.0)
    }

    fn trainer_of(kind: Type, averaging: f64) -> (Trainer, Vec<Crop>) {
        let styles = vec!["a.jpg".parse().unwrap()];
        let recipe = Recipe {
            width: 8,
            residual_blocks: 1,
            image_size: 48,
            batch: 2,
            averaging,
            ..Recipe::preset(RecipePreset::Default, styles)
        };
        let vgg = Vgg::shipped(Device::Cpu, kind).unwrap();
        let values = |n: usize| (0..48 * 48 * 3).map(|i| ((i * (97 + n)) % 251) as u8).collect();
        let style = Tensor::from_slice(&Vec::<u8>::from_iter(values(9)));
        let style = style.reshape([1, 48, 48, 3]).permute([0, 3, 1, 2]).to_kind(Type::Float);
        let trainer =
            Trainer::new(&recipe, vgg, &[vec![style]], None, None, Device::Cpu, kind).unwrap();
        let crops =
            (0..2).map(|n| Crop { photo: values(n), noisy: None, regions: Vec::new() }).collect();
        (trainer, crops)
    }

    /// Gradients of all parameters in a row.
    fn gradients(trainer: &Trainer) -> Tensor {
        let all = trainer.network.parameters().iter().map(|p| p.grad().reshape([-1]));
        Tensor::cat(&all.collect::<Vec<_>>(), 0)
    }

    #[test]
    fn pictures_one_by_one_give_the_gradients_of_the_whole_batch() {
        let (mut trainer, crops) = trainer(Type::Float);
        let one_by_one = trainer.step(0, &crops).unwrap();
        let ours = gradients(&trainer).copy();
        let (mut fresh, _) = self::trainer(Type::Float);
        fresh.network.zero_grad();
        let mut painter = Painter::new(&fresh.network, &fresh.idle).unwrap();
        let whole = fresh.pass(&mut painter, &crops, 0, 1.0, 0).unwrap();
        painter.finish().unwrap();
        let theirs = gradients(&fresh);
        assert!((one_by_one.total() / whole.total() - 1.0).abs() < 1e-5);
        let error = (&ours - &theirs).abs().max().double_value(&[]);
        assert!(error < 1e-3 * theirs.abs().max().double_value(&[]), "{error}");
    }

    #[test]
    fn with_a_temporal_weight_what_is_painted_learns_to_move_with_its_photo() {
        let measured = |weight: f64| {
            let (mut trainer, crops) = self::trainer(Type::Float);
            trainer.recipe.temporal_weight = weight;
            for step in 0..20 {
                trainer.step(step, &crops).unwrap();
            }
            // By the same motions, whatever it was trained with.
            trainer.recipe.temporal_weight = 1.0;
            let (photos, noisy) = trainer.upload(&crops).unwrap();
            let mut painter = Painter::new(&trainer.network, &trainer.idle).unwrap();
            let (painted, middle) = painter.paint_only(&noisy, 0).unwrap();
            let painted = (&painted, middle.as_ref());
            trainer.temporal(&mut painter, &photos, painted, 0, 1.0, 1000).unwrap()
        };
        let (without, with) = (measured(0.0), measured(1000.0));
        assert!(with < 0.7 * without, "{without} {with}");
    }

    #[test]
    fn the_model_is_the_running_average_of_the_weights() {
        let (mut trainer, crops) = self::trainer_of(Type::Float, 0.6);
        let weight = |network: &TrainNetwork| network.parameters()[0].detach().copy();
        let mut expected = weight(&trainer.network);
        for step in 0..4 {
            trainer.step(step, &crops).unwrap();
            // The mean of the first ones, until it would keep more than 0.6 of itself.
            let kept = [0.0, 0.5, 0.6, 0.6][step as usize];
            expected = expected * kept + weight(&trainer.network) * (1.0 - kept);
        }
        assert!(weight(trainer.network()).allclose(&expected, 1e-5, 1e-7, false));
        assert!(!weight(&trainer.network).allclose(&expected, 1e-5, 1e-7, false));
    }

    #[test]
    fn bfloat16_measures_what_single_precision_does_but_for_its_rounding() {
        let ((mut single, crops), (mut half, _)) = (trainer(Type::Float), trainer(Type::BFloat16));
        let (a, b) = (single.step(0, &crops).unwrap(), half.step(0, &crops).unwrap());
        for (a, b) in [(a.content, b.content), (a.style, b.style)] {
            assert!((a / b - 1.0).abs() < 0.03, "{a} {b}");
        }
        // The direction is what counts: the angle between the two gradients is small.
        let (a, b) = (gradients(&single), gradients(&half));
        let dot = |a: &Tensor, b: &Tensor| (a * b).sum(Type::Double).double_value(&[]);
        let cosine = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
        assert!(cosine > 0.98, "{cosine}");
    }
}
