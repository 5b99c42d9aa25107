//! The network with a GPU's kernels, which the CPU runs here, against libtorch alone.

use std::sync::Arc;

use tch::{Kind, Tensor};

use crate::core::frame::{Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range};
use crate::core::stylizer::{PendingBatch, StylizeError, Stylizer};
use crate::engine::architecture::{
    Architecture, NetworkKind as Family, Normalization, OutputLayer, Padding, Upsampling,
};
use crate::engine::color::Converter;
use crate::engine::device::gpu::{Activation, BorderMode, Form, Gpu};
use crate::engine::device::{Device, prepare};
use crate::engine::layers::channels_last;
use crate::engine::model::Model;
use crate::engine::model_file::{DType, ModelFile, RawTensor};
use crate::engine::network::Network;
use crate::engine::precision::Precision;
use crate::engine::random_model;
use crate::engine::stylizer::{NetworkStylizer, StyleMix};

const CPU: tch::Device = tch::Device::Cpu;

fn small() -> Architecture {
    Architecture { widths: vec![8, 24, 32], residual_blocks: 2, ..Architecture::default() }
}

fn lite() -> Architecture {
    let widths = vec![16, 48];
    Architecture { kind: Family::Lite, widths, residual_blocks: 2, ..Architecture::default() }
}

fn picture(batch: i64, height: i64, width: i64) -> Tensor {
    Tensor::rand([batch, 3, height, width], (Kind::Float, CPU)) * 255
}

/// The root mean square of the difference, as a share of b's standard deviation.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    crate::engine::checked_network::relative_rms_difference(a, b).unwrap()
}

fn both(model: &ModelFile, gpu: &Arc<Gpu>, precision: Precision) -> (Network, Network) {
    let ours = Network::in_gpu_kernels(model, gpu.clone(), Device::CPU, precision).unwrap();
    (ours.unwrap(), Network::in_torch(model, Device::CPU, precision).unwrap())
}

#[test]
fn kernels_paint_what_libtorch_paints() {
    prepare();
    let gpu = Gpu::on_host(Precision::Fp32);
    let shares: &[f32] = &[0.25, 0.75];
    for (architecture, shares) in [
        (small(), None),
        (lite(), None),
        (Architecture { padding: Padding::Zero, ..small() }, None),
        (Architecture { padding: Padding::Zero, ..lite() }, None),
        (Architecture { norm: Normalization::None, ..small() }, None),
        (Architecture { norm: Normalization::None, padding: Padding::Zero, ..small() }, None),
        (Architecture { upsample: Upsampling::Transposed, ..small() }, None),
        (Architecture { output: OutputLayer::Tanh, ..small() }, None),
        (Architecture { residual_blocks: 0, ..small() }, None),
        (Architecture { luminance: true, ..small() }, None),
        (Architecture { styles: 2, ..small() }, Some(shares)),
    ] {
        let name = architecture.to_string();
        let (mut ours, mut torchs) = both(&random_model(architecture), &gpu, Precision::Fp32);
        if let Some(shares) = shares {
            ours.blend(shares).unwrap();
            torchs.blend(shares).unwrap();
        }
        for (batch, height, width) in [(2, 36, 44), (1, 21, 70), (1, 50, 15)] {
            let x = picture(batch, height, width);
            let error = apart(&ours.forward(&x).unwrap(), &torchs.forward(&x).unwrap());
            assert!(error < 2e-4, "{name} {height}×{width}: {error}");
        }
        assert_eq!(crate::engine::checked_network::check(&ours, &torchs), Ok(()));
    }
}

#[test]
fn small_pictures_are_mirrored_as_often_as_it_takes() {
    prepare();
    let gpu = Gpu::on_host(Precision::Fp32);
    for architecture in [small(), lite()] {
        let bare = Architecture { norm: Normalization::None, ..architecture };
        let (ours, torchs) = both(&random_model(bare), &gpu, Precision::Fp32);
        for (height, width) in [(1, 1), (1, 30), (30, 1), (2, 3), (5, 4)] {
            let x = picture(1, height, width);
            let (ours, torchs) = (ours.forward(&x).unwrap(), torchs.forward(&x).unwrap());
            let error = (ours - &torchs).abs().max().double_value(&[]);
            let largest = torchs.abs().max().double_value(&[]);
            assert!(error < 2e-4 * largest, "{height}×{width}: {error} of {largest}");
        }
    }
}

#[test]
fn in_half_precision_the_kernels_round_no_more_than_libtorch() {
    prepare();
    let gpu = Gpu::on_host(Precision::Bf16);
    // Not the lite one: oneDNN 3.7's convolution of 8×8 at stride 4 is wrong in bf16 where there is AMX.
    let model = random_model(small());
    let (ours, torchs) = both(&model, &gpu, Precision::Bf16);
    let exact = Network::in_torch(&model, Device::CPU, Precision::Fp32).unwrap();
    let x = picture(1, 48, 60);
    let exact = exact.forward(&x).unwrap();
    let [ours, torchs] = [ours, torchs].map(|n| apart(&n.forward(&x).unwrap(), &exact));
    assert!(ours < torchs && ours > 0.0, "{ours}, libtorch {torchs}");
}

#[test]
fn a_network_that_paints_something_else_is_found_out() {
    prepare();
    let gpu = Gpu::on_host(Precision::Fp32);
    let (ours, _) = both(&random_model(small()), &gpu, Precision::Fp32);
    let mut other = random_model(small());
    let weight = other.tensors.get_mut("deconv3.conv2d.weight").unwrap();
    let numbers: Vec<f32> = weight.to_f32().iter().map(|x| x * 1.5).collect();
    let shape = weight.shape.clone();
    *weight = RawTensor::from_f32(shape, &numbers, DType::F32);
    let torchs = Network::in_torch(&other, Device::CPU, Precision::Fp32).unwrap();
    let why = crate::engine::checked_network::check(&ours, &torchs).unwrap_err();
    assert!(why.contains("differs from libtorch's"), "{why}");
    assert!(crate::engine::checked_network::colours_apart(&gpu, Device::CPU).unwrap() <= 1.0);
}

#[test]
fn statistics_and_sums_are_those_of_each_picture_far_from_zero_too() {
    prepare();
    for (precision, bound) in [(Precision::Fp32, 1e-5), (Precision::Fp16, 2e-3)] {
        let gpu = Gpu::on_host(precision);
        // As many channels as leave threads of a block over, and pixels as leave parts of lines over.
        let x = (Tensor::rand([2, 48, 23, 131], (Kind::Float, CPU)) * 3 + 60)
            + Tensor::arange(2, (Kind::Float, CPU)).reshape([2, 1, 1, 1]) * 7;
        let x = x.to_kind(precision.kind());
        let (weight, bias) =
            (Tensor::rand([48], (Kind::Float, CPU)), Tensor::rand([48], (Kind::Float, CPU)));
        let made = Activation::from_tensor(&x).unwrap();
        let (scale, shift) = gpu.norm(&made, (&weight, &bias), 1e-5).unwrap();
        let double = x.to_kind(Kind::Double);
        let mean = double.mean_dim([2, 3].as_slice(), false, Kind::Double);
        let expected = &weight / (double.var_dim([2, 3].as_slice(), false, false) + 1e-5).sqrt();
        let wrong = (&scale / &expected - 1.0).abs().max().double_value(&[]);
        assert!(wrong < 1e-4, "{precision}: {wrong}");
        let wrong = (&shift - (&bias - mean * &expected)).abs().max().double_value(&[]);
        assert!(wrong < 2e-3, "{precision}: {wrong}");
        // Normalized, plus what was kept, with a border of zeros.
        let form = Form { pad: 1, border: BorderMode::Zero, enlarge: 1 };
        let kept = Tensor::rand([2, 48, 25, 133], (Kind::Float, CPU)).to_kind(precision.kind());
        let seen = gpu.apply(&made, (&scale, &shift), Some(&kept), form).unwrap();
        let shape = [2, 48, 1, 1];
        let inner = x.to_kind(Kind::Float) * scale.reshape(shape) + shift.reshape(shape);
        let inner = inner + kept.to_kind(Kind::Float).narrow(2, 1, 23).narrow(3, 1, 131);
        let expected = inner.constant_pad_nd([1, 1, 1, 1]);
        let wrong = (seen.to_kind(Kind::Float) - expected).abs().max().double_value(&[]);
        assert!(wrong < bound, "{precision}: {wrong}");
    }
}

#[test]
fn what_does_not_fit_a_kernel_is_refused() {
    prepare();
    let gpu = Gpu::on_host(Precision::Fp32);
    let form = Form { pad: 1, border: BorderMode::Mirror, enlarge: 1 };
    let float = (Kind::Float, CPU);
    let two = (Tensor::ones([8], float), Tensor::ones([8], float));
    let layer =
        |channels: i64| Activation::from_tensor(&Tensor::ones([1, channels, 4, 4], float)).unwrap();
    let apply =
        |made: &Activation, skip: Option<&Tensor>| gpu.apply(made, (&two.0, &two.1), skip, form);
    assert!(apply(&layer(8), None).is_ok());
    assert!(apply(&layer(6), None).unwrap_err().to_string().contains("no kernel"));
    assert!(apply(&layer(12), None).unwrap_err().to_string().contains("8 numbers for 12"));
    let small = Tensor::ones([1, 8, 4, 4], float);
    assert!(apply(&layer(8), Some(&small)).unwrap_err().to_string().contains("skips"));
    let half = Activation::from_tensor(&Tensor::ones([1, 8, 4, 4], (Kind::Half, CPU))).unwrap();
    assert!(apply(&half, None).unwrap_err().to_string().contains("Half"));
    assert!(gpu.stem(&Tensor::ones([1, 4, 4, 4], float), 4, form, 0.0).is_err());
    let wide = Form { pad: 2, ..form };
    let rgb = Tensor::ones([1, 3, 4, 4], float);
    assert!(gpu.stem(&rgb, 4, wide, 0.0).is_ok());
    for multiple in [0, -2, 3] {
        assert!(gpu.stem(&rgb, multiple, wide, 0.0).is_err(), "{multiple}");
    }
    assert!(gpu.stem(&Tensor::ones([0, 3, 4, 4], float), 4, wide, 0.0).is_err());
    let last = channels_last(&Tensor::ones([1, 48, 2, 2], float)).unwrap();
    assert_eq!(gpu.finish(&last, (7, 8), [0.0; 3]).unwrap().size(), [1, 3, 7, 8]);
    for size in [(9, 8), (0, 8), (7, -1)] {
        assert!(gpu.finish(&last, size, [0.0; 3]).is_err(), "{size:?}");
    }
    assert!(!gpu.takes(0) && !gpu.takes(2048) && gpu.takes(1024));
}

/// Frames that differ, of any size.
fn frames(count: u64, width: usize, height: usize) -> Vec<Frame> {
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let info = FrameInfo { width, height, colorimetry };
    let frame = |n| {
        let mut samples = vec![0; Layout::I420.bytes(width, height)];
        fastrand::Rng::with_seed(n).fill(&mut samples);
        Frame { info, planes: Planes::I420(samples.into()), pts: None, duration: None }
    };
    (0..count).map(frame).collect()
}

/// The largest difference between samples.
fn largest(a: &[Frame], b: &[Frame]) -> u8 {
    assert_eq!(a.len(), b.len());
    let pairs =
        a.iter().zip(b).flat_map(|(a, b)| a.planes.bytes().iter().zip(b.planes.bytes().iter()));
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn colours_are_those_of_a_cpu() {
    prepare();
    let gpu = Gpu::on_host(Precision::Fp32);
    for (width, height) in [(64, 48), (37, 21), (1, 1), (2, 1), (1, 4), (3, 3)] {
        let given = frames(2, width, height);
        let plain = Converter::new(given[0].info, Layout::I420, Device::CPU).unwrap();
        let kernels = Converter::new(given[0].info, Layout::I420, Device::CPU).unwrap();
        let kernels = kernels.with_kernels(Some(&gpu));
        let samples = plain.upload(&given).unwrap();
        let rgb = plain.to_rgb(&samples).unwrap();
        let wrong = (kernels.to_rgb(&samples).unwrap() - &rgb).abs().max().double_value(&[]);
        assert!(wrong < 1e-3, "{width}×{height}: {wrong}");
        // Some beyond what there is.
        let rgb = rgb * 1.2 - 20.0;
        let (mut a, mut b) = (given.clone(), given.clone());
        plain.store(&rgb, &mut a).unwrap();
        kernels.store(&rgb, &mut b).unwrap();
        // Sums in another order may fall to the other side of a half.
        assert!(largest(&a, &b) <= 1, "{width}×{height}");
    }
}

#[test]
fn batches_that_are_begun_ahead_become_the_same_frames() {
    prepare();
    let gpu = Gpu::on_host(Precision::Fp32);
    let model = random_model(Architecture { output: OutputLayer::Tanh, ..small() });
    let (ours, torchs) = both(&model, &gpu, Precision::Fp32);
    let stylizer = |network| NetworkStylizer::new(Model::Network(Box::new(network)));
    let (mut ours, mut torchs) = (stylizer(ours), stylizer(torchs));
    let whole = StyleMix::default();
    for (mix, scale) in [
        (whole, 1.0),
        (whole, 0.5),
        (StyleMix { preserve_color: true, ..whole }, 1.0),
        (StyleMix { strength: 0.3, ..whole }, 1.0),
        (StyleMix { strength: 0.0, ..whole }, 1.0),
    ] {
        for stylizer in [&mut ours, &mut torchs] {
            stylizer.set_mix(mix);
            stylizer.set_scale(scale);
        }
        let given = frames(6, 44, 36);
        let mut expected = given.clone();
        let mut painted = Vec::new();
        let mut under_way: Option<PendingBatch> = None;
        for (batch, expected) in given.chunks(2).zip(expected.chunks_mut(2)) {
            torchs.stylize(expected).unwrap();
            let begun = ours.begin(batch.to_vec()).unwrap();
            if let Some(earlier) = under_way.replace(begun) {
                painted.extend(earlier.finish().unwrap());
            }
        }
        painted.extend(under_way.unwrap().finish().unwrap());
        assert!(largest(&painted, &expected) <= 1, "{mix:?} {scale}");
        let mut alone = given.clone();
        ours.stylize(&mut alone[..2]).unwrap();
        assert_eq!(largest(&alone[..2], &painted[..2]), 0, "{mix:?} {scale}");
    }
    let mut mixed = frames(1, 44, 36);
    mixed.extend(frames(1, 36, 44));
    assert!(matches!(ours.begin(mixed), Err(StylizeError::MixedBatch)));
    assert!(matches!(ours.begin(Vec::new()), Ok(PendingBatch::Done(batch)) if batch.is_empty()));
}

#[test]
fn a_stylizer_whose_kernels_fail_goes_on_with_libtorch() {
    prepare();
    let model = random_model(Architecture { styles: 2, ..small() });
    for precision in [Precision::Fp32, Precision::Bf16] {
        let shares = [0.25, 0.75];
        let torchs = || {
            let mut network = Network::in_torch(&model, Device::CPU, precision).unwrap();
            network.blend(&shares).unwrap();
            network
        };
        let stylizer = |network| NetworkStylizer::new(Model::Network(Box::new(network)));
        let mut expected = frames(2, 36, 20);
        stylizer(torchs()).stylize(&mut expected).unwrap();
        let failing = || {
            let gpu = Gpu::failing(precision);
            let ours = Network::in_gpu_kernels(&model, gpu, Device::CPU, precision).unwrap();
            let torchs = Network::in_torch(&model, Device::CPU, precision).unwrap();
            let mut ours = ours.unwrap().with_fallback(torchs);
            // Both have to know of it.
            ours.blend(&shares).unwrap();
            stylizer(ours)
        };
        let mut ours = failing();
        assert!(ours.model().in_gpu_kernels());
        let mut painted = frames(2, 36, 20);
        ours.stylize(&mut painted).unwrap();
        assert!(!ours.model().in_gpu_kernels(), "it does not try them again");
        assert_eq!(largest(&painted, &expected), 0, "{precision}");
        let PendingBatch::Done(painted) = failing().begin(frames(2, 36, 20)).unwrap() else {
            panic!()
        };
        assert_eq!(largest(&painted, &expected), 0, "{precision}, begun");
        // With nothing behind them, the failure is one of the run.
        let alone =
            Network::in_gpu_kernels(&model, Gpu::failing(precision), Device::CPU, precision);
        let error = stylizer(alone.unwrap().unwrap()).stylize(&mut painted.clone()).unwrap_err();
        assert!(matches!(error, StylizeError::Failed(_)), "{error}");
    }
}
