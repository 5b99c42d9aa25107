//! The network against PyTorch on the same weights (`scripts/reference.py` made the numbers), and
//! what the stylizer makes of frames.
//!
//! Tests of the GPU run where there is one and say so where there is none; `NST_TEST_DEVICE=cuda`
//! makes its absence a failure, `NST_TEST_DEVICE=cpu` leaves it alone.

// clippy.toml allows these in tests, but does not know the tests' helpers for what they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "network/color.rs"]
mod color;
#[path = "network/frames.rs"]
mod frames;
#[path = "network/stylizer.rs"]
mod stylizer;
#[path = "network/textures.rs"]
mod textures;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nst_stream::core::stylizer::StylizeError;
use nst_stream::engine::checked_network::checked_network;
use nst_stream::engine::device::{self, Device, DeviceChoice};
use nst_stream::engine::model::{Model, OpenError};
use nst_stream::engine::model_file::{ModelError, ModelFile};
use nst_stream::engine::network::Network;
use nst_stream::engine::precision::Precision;
use nst_stream::engine::shipped;
use tch::{Kind, Tensor};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The CPU; every test asks here first, so that CUDA is opened before libtorch is called.
fn cpu() -> Device {
    device::resolve(DeviceChoice::Cpu).unwrap().0
}

/// The first GPU, or a word that there is none.
fn gpu() -> Option<Device> {
    let wanted = std::env::var("NST_TEST_DEVICE").unwrap_or_default();
    match device::resolve(DeviceChoice::Cuda(0)) {
        _ if wanted == "cpu" => None,
        Ok((device, _)) => Some(device),
        Err(error) if wanted.starts_with("cuda") => panic!("{error}"),
        Err(error) => {
            eprintln!("SKIPPED on the GPU: {error}");
            None
        }
    }
}

fn model(name: &str) -> ModelFile {
    match name {
        "small" => ModelFile::open(&data("reference-small.pth")).unwrap(),
        name => shipped::open(name).unwrap(),
    }
}

fn small(precision: Precision) -> Network {
    Network::new(&model("small"), cpu(), precision).unwrap()
}

/// A tensor as threads can share it: name, shape, values.
type Stored = (String, Vec<i64>, Vec<f32>);

/// Pictures (N × 3 × H × W) with what PyTorch makes of them, for one model.
fn reference(name: &str) -> Vec<(String, Tensor, Tensor)> {
    static FILE: OnceLock<Vec<Stored>> = OnceLock::new();
    let _ = cpu();
    let file = FILE.get_or_init(|| {
        let tensors = Tensor::read_safetensors(data("reference.safetensors")).unwrap();
        let values = |t: &Tensor| Vec::<f32>::try_from(t.to_kind(Kind::Float).flatten(0, -1));
        tensors.iter().map(|(k, t)| (k.clone(), t.size(), values(t).unwrap())).collect()
    });
    let find = |key: &str| {
        let (_, shape, values) = file.iter().find(|(k, ..)| k == key).unwrap();
        Tensor::from_slice(values).reshape(shape.as_slice())
    };
    let keys = file.iter().filter_map(|(key, ..)| key.strip_prefix("input/"));
    keys.map(|k| (k.to_owned(), find(&format!("input/{k}")), find(&format!("{name}/{k}"))))
        .collect()
}

/// A picture of soft colours.
fn picture(n: i64, height: i64, width: i64) -> Tensor {
    let _ = cpu();
    let line =
        |length: i64, f: f64| (Tensor::arange(length, (Kind::Float, cpu().torch())) * f).sin();
    let rows = line(height, 0.11).view([1, 1, height, 1]);
    let columns = line(width, 0.07).view([1, 1, 1, width]);
    let shift = Tensor::arange(3 * n, (Kind::Float, cpu().torch())).view([n, 3, 1, 1]) * 5.0;
    (rows * columns * 100.0 + 128.0 + shift).clamp(0.0, 255.0).round()
}

fn bytes(x: &Tensor) -> Tensor {
    x.clamp(0.0, 255.0).round().to_kind(Kind::Uint8)
}

/// Mean and greatest difference, and the share of equal bytes.
fn compare(found: &Tensor, expected: &Tensor) -> (f64, f64, f64) {
    assert_eq!(found.size(), expected.size());
    let found = found.to_device(cpu().torch());
    let difference = (&found - expected).abs();
    let equal = bytes(&found).eq_tensor(&bytes(expected)).to_kind(Kind::Double);
    let value = |t: Tensor| t.double_value(&[]);
    (value(difference.mean(Kind::Double)), value(difference.max()), value(equal.mean(Kind::Double)))
}

fn psnr(found: &Tensor, expected: &Tensor) -> f64 {
    let clamped = |t: &Tensor| t.to_device(cpu().torch()).clamp(0.0, 255.0);
    let square = (clamped(found) - clamped(expected)).square().mean(Kind::Double);
    10.0 * (255.0_f64.powi(2) / square.double_value(&[])).log10()
}

/// The bounds, over all pictures of a model; each picture by itself keeps the first two.
fn agrees_with_pytorch(name: &str, device: Device) {
    let network = checked_network(&model(name), device, Precision::Fp32).unwrap();
    let (mut equal, mut pixels) = (0.0, 0.0);
    for (key, input, expected) in reference(name) {
        let output = network.forward(&input.to_device(device.torch())).unwrap();
        let (mean, max, same) = compare(&output, &expected);
        println!("{name} {key} on {device}: mean {mean:.1e}, max {max:.1e}, equal {same:.5}");
        assert!(mean <= 1e-3 && max <= 0.1, "{name} {key}: mean {mean}, max {max}");
        equal += same * expected.numel() as f64;
        pixels += expected.numel() as f64;
    }
    assert!(equal / pixels >= 0.999, "{name}: {equal} of {pixels} bytes are equal");
}

#[test]
fn the_shipped_network_agrees_with_pytorch() {
    agrees_with_pytorch("mosaic", cpu());
}

#[test]
fn a_narrow_network_agrees_with_pytorch() {
    agrees_with_pytorch("small", cpu());
}

#[test]
fn a_gpu_agrees_with_pytorch_in_single_and_half_precision() {
    let Some(gpu) = gpu() else { return };
    agrees_with_pytorch("mosaic", gpu);
    agrees_with_pytorch("small", gpu);
    for (name, precision) in
        [("mosaic", Precision::Fp16), ("small", Precision::Fp16), ("mosaic", Precision::Bf16)]
    {
        let network = checked_network(&model(name), gpu, precision).unwrap();
        for (key, input, expected) in reference(name) {
            let output = network.forward(&input.to_device(gpu.torch())).unwrap();
            let psnr = psnr(&output, &expected);
            println!("{name} {key} on {gpu} in {precision}: PSNR {psnr:.1} dB");
            let least = if precision == Precision::Fp16 { 40.0 } else { 28.0 };
            // In pictures of a few pixels one value decides; they need only be no noise.
            let least = if expected.numel() < 1000 { 20.0 } else { least };
            assert!(psnr > least, "{name} {key} in {precision}: {psnr} dB");
        }
    }
}

#[test]
fn bfloat16_is_close_to_single_precision() {
    let x = picture(1, 64, 96);
    for name in ["mosaic", "small"] {
        let exact =
            Network::new(&model(name), cpu(), Precision::Fp32).unwrap().forward(&x).unwrap();
        let rough =
            Network::new(&model(name), cpu(), Precision::Bf16).unwrap().forward(&x).unwrap();
        assert_eq!(rough.kind(), Kind::Float);
        let psnr = psnr(&rough, &exact);
        println!("{name}: bf16 against fp32: PSNR {psnr:.1} dB");
        assert!(psnr > 30.0, "{name}: {psnr} dB");
    }
}

#[test]
fn bfloat16_on_matrix_units_is_closer_to_single_precision_than_libtorchs() {
    if !device::cpu_has_matrices() {
        return eprintln!("SKIPPED: this CPU multiplies no matrices of bfloat16 (AMX)");
    }
    for name in ["mosaic", "starry-night"] {
        let model = model(name);
        let exact = Network::new(&model, cpu(), Precision::Fp32).unwrap();
        let ours = Network::new(&model, cpu(), Precision::Bf16).unwrap();
        let torchs = Network::in_torch(&model, cpu(), Precision::Bf16).unwrap();
        for (key, x) in photos() {
            let exact = exact.forward(&x).unwrap();
            let [ours, torchs] = [&ours, &torchs].map(|n| psnr(&n.forward(&x).unwrap(), &exact));
            println!("{name}, {key}: PSNR {ours:.1} dB, libtorch's {torchs:.1} dB");
            assert!(ours > 40.0 && ours > torchs - 1.0, "{name}, {key}: {ours}, {torchs}");
        }
    }
}

/// A photo whole and in parts.
fn photos() -> Vec<(&'static str, Tensor)> {
    let _ = cpu();
    let photo = image::open(data("chelsea.png")).unwrap().to_rgb8();
    let (width, height) = (i64::from(photo.width()), i64::from(photo.height()));
    let photo = Tensor::from_slice(photo.as_raw()).reshape([height, width, 3]);
    let photo = photo.permute([2, 0, 1]).unsqueeze(0).to_kind(Kind::Float);
    let part = |y, x| photo.narrow(2, y, height / 2).narrow(3, x, width / 2).contiguous();
    vec![
        ("left above", part(0, 0)),
        ("right below", part(height / 2, width / 2)),
        ("whole", photo.contiguous()),
    ]
}

#[test]
fn a_batch_is_one_pass_and_equals_its_pictures_one_by_one() {
    // For unusual widths oneDNN may take another algorithm for several pictures than for one.
    let cases = [
        ("mosaic", Precision::Fp32, 1e-4),
        ("mosaic", Precision::Bf16, 1e-4),
        ("small", Precision::Fp32, 1e-3),
    ];
    for (name, precision, within) in cases {
        let network = Network::new(&model(name), cpu(), precision).unwrap();
        let x = picture(3, 45, 70);
        let together = network.forward(&x).unwrap();
        assert_eq!(network.passes(), 1);
        for n in 0..3 {
            let alone = network.forward(&x.narrow(0, n, 1)).unwrap();
            let (_, max, _) = compare(&together.narrow(0, n, 1), &alone);
            println!("{name} in {precision}, picture {n}: {max:.1e}");
            assert!(max <= within, "{name} in {precision}, picture {n}: {max}");
        }
        assert_eq!(network.passes(), 4);
    }
}

#[test]
fn a_margin_is_the_mirrored_picture_and_is_cut_off() {
    for kernels in [true, false] {
        let model = shipped::open("mosaic-lite").unwrap();
        let network = match kernels {
            true => Network::new(&model, cpu(), Precision::Fp32).unwrap(),
            false => Network::in_torch(&model, cpu(), Precision::Fp32).unwrap(),
        };
        let x = picture(2, 30, 43);
        let larger = network.forward(&x.reflection_pad2d([8; 4])).unwrap();
        let expected = larger.narrow(2, 8, 30).narrow(3, 8, 43);
        let found = network.forward_with_margin(&x, 8).unwrap();
        let apart = (&found - expected).abs().max().double_value(&[]);
        assert!(apart < 1e-3, "{kernels}: {apart}");
        assert_eq!(found.size(), x.size());
        // A line is mirrored to and fro.
        let line = network.forward_with_margin(&picture(1, 1, 5), 8).unwrap();
        assert_eq!(line.size(), [1, 3, 1, 5]);
        assert_eq!(line.isfinite().all().int64_value(&[]), 1);
    }
}

#[test]
fn no_size_is_too_small() {
    let network = small(Precision::Fp32);
    for height in 1..=17 {
        for width in [1, 2, 3, 4, 5, 8, 13, 16] {
            let y = network.forward(&picture(1, height, width)).unwrap();
            assert_eq!(y.size(), [1, 3, height, width]);
            assert_eq!(y.isfinite().all().int64_value(&[]), 1, "{width}×{height}");
        }
    }
}

#[test]
fn what_is_no_picture_is_an_error_and_no_crash() {
    let network = small(Precision::Fp32);
    let float = (Kind::Float, cpu().torch());
    for shape in [vec![1, 3, 0, 8], vec![1, 3, 8, 0], vec![1, 4, 8, 8], vec![3, 8, 8]] {
        let error = network.forward(&Tensor::zeros(&shape, float)).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn too_little_memory_is_an_error_that_says_the_size() {
    let network = small(Precision::Fp32);
    // One number, seen as 10^12 pixels.
    let x = Tensor::zeros([1, 1, 1, 1], (Kind::Float, cpu().torch()));
    let x = x.expand([2, 3, 1_000_000, 1_000_000], false);
    match network.forward(&x) {
        Err(StylizeError::OutOfMemory { width, height, batch }) => {
            assert_eq!((width, height, batch), (1_000_000, 1_000_000, 2));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_is_refused_without_trust_and_runs_with_it() {
    let path = data("reference-negative.ts");
    let path = path.to_str().unwrap();
    let open = |trust| Model::open(path, trust, cpu(), Precision::Fp32);
    match open(false) {
        Err(OpenError::Model(error @ ModelError::TorchScript { .. })) => {
            assert!(error.to_string().contains("--trust"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let model = open(true).unwrap();
    let x = picture(2, 13, 21);
    let (_, max, _) = compare(&model.forward(&x).unwrap(), &(255.0 - &x));
    assert_eq!((max, model.passes(), model.precision()), (0.0, 1, None));
}

#[test]
fn trust_changes_nothing_for_a_plain_model_or_a_file_that_is_none() {
    let open = |name: &str| Model::open(name, true, cpu(), Precision::Fp32);
    assert!(matches!(open("mosaic").unwrap(), Model::Network(_)));
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let error = open(readme.to_str().unwrap()).unwrap_err();
    assert!(matches!(error, OpenError::Model(ModelError::NotAModel { .. })), "{error}");
}
