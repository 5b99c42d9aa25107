//! Painters of each level against libtorch.

use tch::{Kind, Tensor};

use super::Level;
use super::executor::Executor;
use crate::engine::architecture::{Architecture, Normalization, OutputLayer, Padding, Upsampling};
use crate::engine::device::{Device, default_threads, prepare};
use crate::engine::model_file::ModelFile;
use crate::engine::network::Network;
use crate::engine::precision::Precision;
pub(super) use crate::engine::random_model as model;

/// Levels that can run here; the widest one is tested on any processor.
fn levels() -> Vec<Level> {
    let mut levels = Level::available();
    if !levels.is_empty() {
        levels.push(Level::Twice);
    }
    levels
}

pub(super) fn small() -> Architecture {
    Architecture { widths: vec![32, 32, 64], residual_blocks: 2, ..Architecture::default() }
}

/// Widths that fill the vectors of every level, and the tiles of AMX.
pub(super) fn lite() -> Architecture {
    let kind = crate::engine::architecture::NetworkKind::Lite;
    Architecture { kind, widths: vec![32, 64], residual_blocks: 2, ..Architecture::default() }
}

pub(super) fn picture(height: i64, width: i64) -> Tensor {
    Tensor::rand([1, 3, height, width], (Kind::Float, tch::Device::Cpu)) * 255
}

/// What a level makes of a picture, and what libtorch does.
fn both(model: &ModelFile, level: Level, shares: Option<&[f32]>, x: &Tensor) -> (Tensor, Tensor) {
    let mut torch = Network::in_torch(model, Device::CPU, Precision::Fp32).unwrap();
    let mut executor = Executor::new(model, level).unwrap();
    if let Some(shares) = shares {
        torch.blend(shares).unwrap();
        executor.blend(shares);
    }
    let (_, _, height, width) = x.size4().unwrap();
    let mut y = vec![f32::NAN; x.numel()];
    let numbers = Vec::<f32>::try_from(x.flatten(0, -1)).unwrap();
    let size = (height as usize, width as usize);
    executor.paint(&numbers, size, &mut y, default_threads()).unwrap();
    (Tensor::from_slice(&y).reshape(x.size()), torch.forward(x).unwrap())
}

/// Largest difference, as a share of the largest value.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).abs().max() / b.abs().max()).double_value(&[])
}

#[test]
fn every_level_paints_what_libtorch_paints() {
    prepare();
    let styles = [0.25, 0.75];
    // Widths that leave a vector over, as those of the shipped lite networks.
    let odd = |architecture: Architecture, widths: &[i64]| {
        let widths = widths.to_vec();
        Architecture { widths, ..architecture }
    };
    let variants = [
        (odd(small(), &[16, 48, 48]), None),
        (odd(lite(), &[16, 48]), None),
        (small(), None),
        (Architecture { padding: Padding::Zero, ..small() }, None),
        (Architecture { norm: Normalization::None, ..small() }, None),
        (Architecture { residual_blocks: 0, ..small() }, None),
        (Architecture { residual_blocks: 3, ..small() }, None),
        (Architecture { styles: 2, ..small() }, Some(styles.as_slice())),
        (lite(), None),
        (Architecture { padding: Padding::Zero, ..lite() }, None),
    ];
    for level in levels() {
        for (architecture, shares) in &variants {
            let name = architecture.to_string();
            let model = model(architecture.clone());
            // Wider than a task's tiles and narrower, with and without a rest.
            for (height, width) in [(36, 44), (61, 450), (130, 37)] {
                let (ours, torchs) = both(&model, level, *shares, &picture(height, width));
                let error = difference(&ours, &torchs);
                assert!(error < 2e-4, "{level:?} {name} {height}×{width}: {error}");
            }
        }
    }
}

#[test]
fn small_pictures_are_mirrored_as_often_as_it_takes() {
    prepare();
    for level in levels() {
        for architecture in [small(), lite()] {
            let model = model(Architecture { norm: Normalization::None, ..architecture });
            for (height, width) in [(1, 1), (1, 30), (30, 1), (2, 3), (5, 4)] {
                let (ours, torchs) = both(&model, level, None, &picture(height, width));
                let error = difference(&ours, &torchs);
                assert!(error < 2e-4, "{level:?} {height}×{width}: {error}");
            }
        }
    }
}

#[test]
fn buffers_of_one_size_serve_another_and_threads_do_not_matter() {
    prepare();
    let model = model(small());
    for level in levels() {
        let executor = Executor::new(&model, level).unwrap();
        let x: Vec<f32> = (0..3 * 40 * 52).map(|n| (n * 37 % 251) as f32).collect();
        let paint = |height: usize, width: usize, threads| {
            let count = 3 * height * width;
            let mut y = vec![f32::NAN; count];
            executor.paint(&x[..count], (height, width), &mut y, threads).unwrap();
            y
        };
        let first = paint(24, 32, 1);
        assert_ne!(paint(40, 52, 3).len(), first.len());
        assert_eq!(paint(24, 32, 2), first);
    }
}

#[test]
fn what_kernels_lack_is_left_to_libtorch() {
    for level in levels() {
        let narrow = model(Architecture { widths: vec![12, 16, 32], ..small() });
        assert!(Executor::new(&narrow, level).is_none());
        let transposed = model(Architecture { upsample: Upsampling::Transposed, ..small() });
        assert!(Executor::new(&transposed, level).is_none());
        let tanh = model(Architecture { output: OutputLayer::Tanh, ..small() });
        assert!(Executor::new(&tanh, level).is_some());
    }
}

#[test]
fn pictures_of_a_batch_are_painted_as_each_alone() {
    prepare();
    let network = Network::new(&model(small()), Device::CPU, Precision::Fp32).unwrap();
    // More than are painted at a time, twice, so that buffers come back.
    for (height, width) in [(36, 44), (61, 90)] {
        let x = Tensor::rand([5, 3, height, width], (Kind::Float, tch::Device::Cpu)) * 255;
        let batch = network.forward(&x).unwrap();
        for n in 0..5 {
            assert_eq!(network.forward(&x.narrow(0, n, 1)).unwrap(), batch.narrow(0, n, 1), "{n}");
        }
    }
}

#[test]
#[should_panic(expected = "enough(scratch")]
fn a_kernel_does_not_begin_with_less_scratch_than_it_needs() {
    use super::last::Last;
    use super::source::{BorderMode, SourceRows};
    // The sizes are compared before any instruction of the level runs.
    let last =
        Last::new(&[0.0; 3 * 16 * 9], &[0.0; 3], 16, false, BorderMode::Reflect, Level::Avx2);
    let (numbers, channel) = (vec![0.0; 8 * 8 * 16], [0.0; 16]);
    let source = SourceRows {
        numbers: &numbers,
        height: 8,
        width: 8,
        channels: 16,
        scale: &channel,
        shift: &channel,
        skip: None,
        linear: false,
        keep: None,
    };
    let mut short = vec![0.0; last.scratch() - 1];
    last.run(&source, &mut [0.0; 3 * 8 * 8], (8, 8), &[super::Shared::of(&mut short)]);
}
