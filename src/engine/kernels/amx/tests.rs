//! Painters of each unit against libtorch in single precision.

use tch::{Kind, Tensor};

use super::OUTPUTS;
use super::convolution::Convolution;
use super::last::Last;
use super::tiles::Unit;
use super::{CacheLine, Shared, half, wide};
use crate::engine::architecture::{Architecture, Normalization, Padding, Upsampling};
use crate::engine::device::{Device, prepare};
use crate::engine::kernels::executor::Executor;
use crate::engine::kernels::norm::Statistics;
use crate::engine::kernels::source::{BorderMode, ConvInput, SourceRows};
use crate::engine::kernels::tests::{lite, model, picture, small};
use crate::engine::layers::pad_reflect;
use crate::engine::model_file::ModelFile;
use crate::engine::network::Network;
use crate::engine::precision::Precision;

/// Units that can run here; the loop can on any processor with AVX2.
fn units() -> Vec<Unit> {
    let avx2 = std::arch::is_x86_feature_detected!("avx2");
    let fma = std::arch::is_x86_feature_detected!("fma");
    Unit::available().into_iter().chain((avx2 && fma).then_some(Unit::Loop)).collect()
}

fn numbers(x: &Tensor) -> Vec<f32> {
    Vec::try_from(x.contiguous().flatten(0, -1)).unwrap()
}

fn paint(executor: &Executor<Unit>, x: &Tensor, threads: usize) -> Tensor {
    let (_, _, height, width) = x.size4().unwrap();
    let mut y = vec![f32::NAN; x.numel()];
    let size = (height as usize, width as usize);
    executor.paint(&numbers(x), size, &mut y, threads).unwrap();
    Tensor::from_slice(&y).reshape(x.size())
}

/// Root of the mean square of the difference, as a share of the second one's deviation.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let root = |x: Tensor| x.square().mean(Kind::Double).sqrt().double_value(&[]);
    let spread = root(b - b.mean(Kind::Float)).max(1.0);
    root(a - b) / spread
}

fn agrees(unit: Unit, model: &ModelFile, shares: Option<&[f32]>, x: &Tensor, within: f64) {
    let mut torch = Network::in_torch(model, Device::CPU, Precision::Fp32).unwrap();
    let mut executor = Executor::new(model, unit).unwrap();
    if let Some(shares) = shares {
        torch.blend(shares).unwrap();
        executor.blend(shares);
    }
    let error = difference(&paint(&executor, x, 2), &torch.forward(x).unwrap());
    let name = model.description.architecture.to_string();
    assert!(error < within, "{unit:?} {name} {:?}: {error}", x.size());
}

#[test]
fn every_unit_paints_what_libtorch_paints() {
    prepare();
    let styles = [0.25, 0.75];
    let variants = [
        (small(), None),
        (Architecture { widths: vec![16, 48, 32], ..small() }, None),
        (Architecture { padding: Padding::Zero, ..small() }, None),
        (Architecture { norm: Normalization::None, ..small() }, None),
        (Architecture { residual_blocks: 0, ..small() }, None),
        (Architecture { residual_blocks: 3, ..small() }, None),
        (Architecture { styles: 2, ..small() }, Some(styles.as_slice())),
        (lite(), None),
        (Architecture { widths: vec![16, 48], ..lite() }, None),
        (Architecture { padding: Padding::Zero, ..lite() }, None),
    ];
    for unit in units() {
        for (architecture, shares) in &variants {
            let model = model(architecture.clone());
            for (height, width) in [(36, 44), (29, 150)] {
                agrees(unit, &model, *shares, &picture(height, width), 0.02);
            }
        }
    }
    if let Some(unit) = Unit::available() {
        // As wide as several strips.
        agrees(unit, &model(small()), None, &picture(37, 1990), 0.02);
    }
}

#[test]
fn small_pictures_are_mirrored_as_often_as_it_takes() {
    prepare();
    for unit in units() {
        let model = model(Architecture { norm: Normalization::None, ..small() });
        for (height, width) in [(1, 1), (1, 30), (30, 1), (2, 3), (5, 4)] {
            agrees(unit, &model, None, &picture(height, width), 0.04);
        }
    }
}

#[test]
fn buffers_of_one_size_serve_another_and_threads_do_not_matter() {
    prepare();
    let model = model(small());
    for unit in units() {
        let executor = Executor::new(&model, unit).unwrap();
        let x = picture(24, 32);
        let first = paint(&executor, &x, 1);
        assert_ne!(paint(&executor, &picture(40, 52), 3).numel(), first.numel());
        assert_eq!(paint(&executor, &x, 2), first, "{unit:?}");
        assert_eq!(paint(&executor, &x, 3), first, "{unit:?}");
    }
}

#[test]
fn both_units_make_the_same() {
    prepare();
    let Some(unit) = Unit::available() else { return eprintln!("SKIPPED: no AMX") };
    let model = model(small());
    let x = picture(30, 50);
    let [amx, looped] =
        [unit, Unit::Loop].map(|u| paint(&Executor::new(&model, u).unwrap(), &x, 2));
    // The processor adds up in another order, and sums are rounded to 8 bits on the way.
    assert!(difference(&amx, &looped) < 0.01);
}

/// A layer's values as kernels have them, and as libtorch does.
fn layer(channels: i64, height: i64, width: i64) -> (Vec<u16>, Tensor) {
    let x = Tensor::randn([1, channels, height, width], (Kind::Float, tch::Device::Cpu));
    let x = x.to_kind(Kind::BFloat16).to_kind(Kind::Float);
    let values = numbers(&x.permute([0, 2, 3, 1]));
    (values.into_iter().map(half).collect(), x.relu())
}

fn weight(outputs: i64, inputs: i64, size: i64) -> (Vec<f32>, Tensor) {
    let bound = 1.0 / ((inputs * size * size) as f64).sqrt();
    let w = Tensor::randn([outputs, inputs, size, size], (Kind::Float, tch::Device::Cpu)) * bound;
    let w = w.to_kind(Kind::BFloat16).to_kind(Kind::Float);
    (numbers(&w), w)
}

fn expected(x: &Tensor, w: &Tensor, stride: i64, upsample: bool, border: BorderMode) -> Tensor {
    let (_, _, height, width) = x.size4().unwrap();
    let x = match upsample {
        true => x.upsample_nearest2d([2 * height, 2 * width], None, None),
        false => x.shallow_clone(),
    };
    let half = w.size()[2] / 2;
    let x = match border {
        BorderMode::Zero => x.constant_pad_nd([half; 4]),
        _ => pad_reflect(&x, [half; 4]).unwrap(),
    };
    x.conv2d::<Tensor>(w, None, [stride; 2], [0; 2], [1; 2], 1)
}

/// Runs on one thread.
fn alone(run: impl FnOnce() + Send) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run);
}

fn scratch(lines: &mut Vec<CacheLine>, count: usize) -> [Shared<CacheLine>; 1] {
    lines.resize(count, CacheLine::ZERO);
    [Shared::of(lines)]
}

#[test]
fn convolutions_of_any_size_stride_and_width_are_libtorchs() {
    prepare();
    let cases = [
        (1, 16, 16, 1, false),
        (3, 16, 48, 2, false),
        (5, 48, 16, 2, false),
        (7, 16, 32, 1, false),
        (9, 32, 16, 1, false),
        (3, 48, 48, 1, false),
        (3, 48, 16, 1, true),
        (1, 32, 32, 1, true),
    ];
    for unit in units() {
        for (size, inputs, outputs, stride, upsample) in cases {
            for border in [BorderMode::Reflect, BorderMode::Zero] {
                for (height, width) in [(11, 37), (7, 70)] {
                    let (numbers_in, x) = layer(inputs, height, width);
                    let (values, w) = weight(outputs, inputs, size);
                    let (o, i) = (outputs as usize, inputs as usize);
                    let conv =
                        Convolution::new(&values, o, i, stride, upsample, border, unit).unwrap();
                    let (scale, shift) = (vec![1.0; i], vec![0.0; i]);
                    let size_in = (height as usize, width as usize);
                    let source = source(&numbers_in, size_in, i, (&scale, &shift));
                    let (h, w_out) = conv.size(size_in);
                    let mut out = vec![0; h * w_out * o];
                    let (mut lines, mut sums) = (Vec::new(), Statistics::default());
                    let scratch = scratch(&mut lines, conv.scratch(size_in));
                    alone(|| conv.run(&ConvInput::Layer(source), &mut out, &mut sums, &scratch));
                    let found: Vec<f32> = out.into_iter().map(wide).collect();
                    let shape = [1, h as i64, w_out as i64, outputs];
                    let found = Tensor::from_slice(&found).reshape(shape).permute([0, 3, 1, 2]);
                    let expected = expected(&x, &w, stride as i64, upsample, border);
                    // Phases' weights are sums, rounded once more.
                    let error = difference(&found, &expected);
                    assert!(error < 4e-3, "{unit:?} {size} {inputs}→{outputs} /{stride}: {error}");
                    let mut affine = (Vec::new(), Vec::new());
                    sums.affine(&vec![1.0; o], &vec![0.0; o], &mut affine);
                    let mean = expected.mean_dim([0, 2, 3].as_slice(), false, Kind::Double);
                    let found = -Tensor::from_slice(&affine.1) / Tensor::from_slice(&affine.0);
                    let error = (found - mean).abs().max().double_value(&[]);
                    assert!(error < 4e-3, "{unit:?} {size} {inputs}→{outputs}: mean {error}");
                }
            }
        }
    }
}

fn source<'a>(
    numbers: &'a [u16],
    (height, width): (usize, usize),
    channels: usize,
    (scale, shift): (&'a [f32], &'a [f32]),
) -> SourceRows<'a, u16> {
    SourceRows {
        numbers,
        height,
        width,
        channels,
        scale,
        shift,
        skip: None,
        linear: false,
        keep: None,
    }
}

#[test]
fn last_convolutions_are_libtorchs_to_the_border() {
    prepare();
    for unit in units() {
        for (size, upsample) in [(9, false), (3, false), (3, true), (5, true), (9, true)] {
            for border in [BorderMode::Reflect, BorderMode::Zero] {
                for (height, width) in [(11, 37), (6, 90)] {
                    let (numbers_in, x) = layer(16, height, width);
                    let (values, w) = weight(3, 16, size);
                    let bias = [1.0, 2.0, 3.0];
                    let last = Last::new(&values, &bias, 16, upsample, border, unit).unwrap();
                    let (scale, shift) = ([1.0; 16], [0.0; 16]);
                    let size_in = (height as usize, width as usize);
                    let source = source(&numbers_in, size_in, 16, (&scale, &shift));
                    let (h, w_out) = last.size(size_in);
                    // Cropped, as pictures are whose sides are no multiples of 4.
                    let (h, w_out) = (h - 1, w_out - 2);
                    let mut out = vec![f32::NAN; OUTPUTS * h * w_out];
                    let mut lines = Vec::new();
                    let scratch = scratch(&mut lines, last.scratch(size_in));
                    alone(|| last.run(&ConvInput::Layer(source), &mut out, (h, w_out), &scratch));
                    let shape = [1, 3, h as i64, w_out as i64];
                    let expected = expected(&x, &w, 1, upsample, border);
                    let expected = expected.narrow(2, 0, shape[2]).narrow(3, 0, shape[3]);
                    let expected = expected + Tensor::from_slice(&bias).view([1, 3, 1, 1]);
                    let found = Tensor::from_slice(&out).reshape(shape);
                    let error = (found - expected).abs().max().double_value(&[]);
                    assert!(error < 0.02, "{unit:?} {size} {upsample} {border:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn what_kernels_lack_is_left_to_libtorch() {
    for unit in units() {
        let narrow = model(Architecture { widths: vec![8, 16, 32], ..small() });
        assert!(Executor::new(&narrow, unit).is_none());
        let transposed = model(Architecture { upsample: Upsampling::Transposed, ..small() });
        assert!(Executor::new(&transposed, unit).is_none());
    }
}
