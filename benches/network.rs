//! The shipped network in single precision on the CPU, and beside it the same in libtorch, and its
//! convolutions alone, run one after another on tensors that are already padded: what libtorch takes
//! at the least.

#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use nst_stream::engine::architecture::Architecture;
use nst_stream::engine::device::{self, Device};
use nst_stream::engine::network::Network;
use nst_stream::engine::precision::Precision;
use nst_stream::engine::shipped;
use tch::{Kind, Tensor};

const FLOAT: (Kind, tch::Device) = (Kind::Float, tch::Device::Cpu);

fn picture(width: i64, height: i64) -> Tensor {
    Tensor::rand([1, 3, height, width], FLOAT) * 255
}

fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// A convolution with the tensor it works on.
struct Bare {
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    stride: i64,
}

impl Bare {
    fn run(&self) -> Tensor {
        let s = self.stride;
        self.input.conv2d(&self.weight, Some(&self.bias), [s, s], [0, 0], [1, 1], 1)
    }
}

/// The network's convolutions for pictures of this size.
fn bare(architecture: &Architecture, width: i64, height: i64) -> Vec<Bare> {
    let weights = architecture.parameters();
    let weights = weights.iter().filter(|(name, _)| name.ends_with("conv2d.weight"));
    weights
        .map(|(name, shape)| {
            let (size, border) = (shape[2], shape[2] / 2);
            // What the convolution reads is so many times smaller than the picture.
            let (smaller, stride) = match name.split('.').next() {
                Some("conv2") => (1, 2),
                Some("conv3") => (2, 2),
                Some("conv1" | "deconv2" | "deconv3") => (1, 1),
                Some("deconv1") => (2, 1),
                _ => (4, 1),
            };
            let (h, w) = (height / smaller + 2 * border, width / smaller + 2 * border);
            Bare {
                input: channels_last(&Tensor::rand([1, shape[1], h, w], FLOAT)),
                weight: channels_last(&Tensor::rand([shape[0], shape[1], size, size], FLOAT)),
                bias: Tensor::rand([shape[0]], FLOAT),
                stride,
            }
        })
        .collect()
}

fn best(runs: usize, mut f: impl FnMut()) -> Duration {
    let run = |_| {
        let since = Instant::now();
        f();
        since.elapsed()
    };
    (0..runs).map(run).min().unwrap()
}

fn network(c: &mut Criterion) {
    device::prepare();
    device::set_threads(None);
    let model = shipped::open("mosaic").unwrap();
    let network = Network::new(&model, Device::CPU, Precision::Fp32).unwrap();
    let torch = Network::in_torch(&model, Device::CPU, Precision::Fp32).unwrap();
    let mut group = c.benchmark_group("network");
    group.sample_size(10);
    for (width, height) in [(640, 360), (1280, 720)] {
        let x = picture(width, height);
        let bare = bare(network.architecture(), width, height);
        let all = || bare.iter().map(Bare::run).for_each(drop);
        let whole = || drop(network.forward(&x).unwrap());
        let in_torch = || drop(torch.forward(&x).unwrap());
        group.bench_function(format!("mosaic fp32 {width}x{height}"), |b| b.iter(whole));
        group.bench_function(format!("in libtorch {width}x{height}"), |b| b.iter(in_torch));
        group.bench_function(format!("convolutions alone {width}x{height}"), |b| b.iter(all));
        // Taken in turns, so that a busy machine is busy for both.
        let pairs = (0..5).map(|_| (best(2, whole), best(2, all)));
        let (whole, all) = pairs.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1))).unwrap();
        println!(
            "{width}x{height}: network {whole:.1?}, its convolutions {all:.1?}: ratio {:.3}",
            whole.as_secs_f64() / all.as_secs_f64()
        );
    }
    group.finish();
}

criterion_group!(benches, network);
criterion_main!(benches);
