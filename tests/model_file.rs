//! The model file: what is written can be read, by PyTorch too; published files can be read; what
//! is no model is refused with a word that helps.

// clippy.toml allows these in tests, but does not know the tests' helpers for what they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "model_file/hostile.rs"]
mod hostile;
#[path = "model_file/imports.rs"]
mod imports;
#[path = "model_file/make.rs"]
mod make;
#[path = "model_file/refused.rs"]
mod refused;
#[path = "model_file/shipped.rs"]
mod shipped;

use std::fs;
use std::path::Path;
use std::process::Command;

use make::small;
use nst_stream::engine::architecture::{Architecture, NetworkKind};
use nst_stream::engine::model_file::{DType, Description, ModelError, ModelFile, RawTensor};

#[test]
fn the_published_network_has_its_published_names_and_shapes() {
    let list = Architecture::default().parameters();
    let named = |i: usize| (list[i].0.as_str(), list[i].1.as_slice());
    assert_eq!(list.len(), 62);
    assert_eq!(named(0), ("conv1.conv2d.weight", &[32, 3, 9, 9][..]));
    assert_eq!(named(1), ("conv1.conv2d.bias", &[32][..]));
    assert_eq!(named(2), ("in1.weight", &[32][..]));
    assert_eq!(named(4), ("conv2.conv2d.weight", &[64, 32, 3, 3][..]));
    assert_eq!(named(8), ("conv3.conv2d.weight", &[128, 64, 3, 3][..]));
    assert_eq!(named(12), ("res1.conv1.conv2d.weight", &[128, 128, 3, 3][..]));
    assert_eq!(named(14), ("res1.in1.weight", &[128][..]));
    assert_eq!(named(16), ("res1.conv2.conv2d.weight", &[128, 128, 3, 3][..]));
    assert_eq!(named(51), ("res5.in2.bias", &[128][..]));
    assert_eq!(named(52), ("deconv1.conv2d.weight", &[64, 128, 3, 3][..]));
    assert_eq!(named(54), ("in4.weight", &[64][..]));
    assert_eq!(named(56), ("deconv2.conv2d.weight", &[32, 64, 3, 3][..]));
    assert_eq!(named(60), ("deconv3.conv2d.weight", &[3, 32, 9, 9][..]));
    assert_eq!(named(61), ("deconv3.conv2d.bias", &[3][..]));
    assert_eq!(Architecture::default().parameter_count(), 1_679_235);
}

#[test]
fn a_saved_model_is_read_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pt");
    let mut model = small();
    model.description.recipe = Some(serde_json::json!({ "steps": 1500, "tv_weight": 1e-4 }));
    model.description.licence = Some("MIT".to_owned());
    model.description.source = Some("drawn \"here\"\nand there".to_owned());
    model.description.credit = Some("Großmutter".to_owned());
    model.save(&path).unwrap();
    assert_eq!(ModelFile::open(&path).unwrap(), model);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["small.pt"], "nothing is left beside it");
}

#[test]
fn the_same_model_gives_the_same_bytes_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.pt", "two.pt"].map(|name| folder.path().join(name));
    small().save(&one).unwrap();
    small().save(&two).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
}

#[test]
fn every_record_is_stored_and_aligned() {
    let bytes = small().to_bytes("small").unwrap();
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    assert_eq!(zip.len(), 30 + 4);
    for i in 0..zip.len() {
        let record = zip.by_index(i).unwrap();
        assert_eq!(record.compression(), zip::CompressionMethod::Stored);
        assert_eq!(record.data_start() % 64, 0, "{}", record.name());
    }
    let mut json = String::new();
    let mut record = zip.by_name("archive/nst-stream.json").unwrap();
    std::io::Read::read_to_string(&mut record, &mut json).unwrap();
    assert!(json.starts_with("{\n  \"format\": 1,\n  \"name\": \"small\",\n"), "{json}");
}

#[test]
fn saving_rounds_to_half_precision_unless_that_would_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pt");
    let mut model = small();
    let f32s = |values: &[f32]| RawTensor::from_f32([2], values, DType::F32);
    model.tensors.insert("in1.weight".to_owned(), f32s(&[1.000_1, -2.5]));
    model.tensors.insert("in1.bias".to_owned(), f32s(&[70_000.0, 0.1]));
    model.save(&path).unwrap();
    let read = ModelFile::open(&path).unwrap();
    assert_eq!(read.tensors["in1.weight"].dtype, DType::F16);
    assert_eq!(read.tensors["in1.weight"].to_f32(), [1.0, -2.5]);
    assert_eq!(read.tensors["in1.bias"], f32s(&[70_000.0, 0.1]));
}

#[test]
fn a_model_that_is_wrong_is_not_written_over_one_that_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pt");
    small().save(&path).unwrap();
    let mut wrong = small();
    wrong.tensors.remove("in1.bias");
    assert!(matches!(wrong.save(&path), Err(ModelError::Missing { .. })));
    assert_eq!(ModelFile::open(&path).unwrap(), small());

    let nowhere = folder.path().join("missing/small.pt");
    let error = small().save(&nowhere).unwrap_err().to_string();
    assert!(error.starts_with("cannot write the model '"), "{error}");
}

#[test]
fn numbers_of_every_type_become_f32_and_back() {
    use DType::*;
    let values = [0.0, 1.0, 2.0, 100.0];
    for dtype in [F64, F32, F16, BF16, I64, I32, I16, I8, U8] {
        let tensor = RawTensor::from_f32([2, 2], &values, dtype);
        assert_eq!(tensor.data.len(), 4 * dtype.size(), "{dtype}");
        assert_eq!(tensor.to_f32(), values, "{dtype}");
        assert_eq!(tensor.elements(), Some(4));
    }
    assert_eq!(RawTensor::from_f32([4], &values, Bool).to_f32(), [0.0, 1.0, 1.0, 1.0]);
    assert_eq!(RawTensor::from_f32([], &[3.0], I16).data, [3, 0]);
    assert!(!RawTensor::from_f32([1], &[f32::NAN], BF16).is_finite());
    assert!(!RawTensor::from_f32([1], &[1e39_f64 as f32], F64).is_finite());
    assert_eq!(RawTensor { shape: vec![1 << 62, 4], dtype: U8, data: vec![] }.elements(), None);
}

#[test]
fn a_description_may_say_more_than_this_release_knows() {
    let json = r#"{"format": 1, "architecture": {"kind": "johnson", "widths": [2, 3, 4],
        "residual_blocks": 1, "gates": 7}, "colour_of_the_frame": "gold"}"#;
    let description: Description = serde_json::from_str(json).unwrap();
    assert_eq!(description.architecture, small().description.architecture);
    assert_eq!(description.architecture.kind, NetworkKind::Johnson);
    assert_eq!((description.name.as_str(), description.styles.len()), ("", 0));
}

/// PyTorch itself opens what we write, without general unpickling. `python3` must have torch, as
/// Debian's python3-torch gives it; NST_PYTHON names another interpreter.
#[test]
fn pytorch_opens_our_file_as_it_is() {
    let python = std::env::var("NST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_torch = Command::new(&python).args(["-c", "import torch"]).output();
    if !has_torch.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no torch, so PyTorch did not judge our file");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.pt");
    small().save(&path).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check_model.py");
    let output = Command::new(&python).arg(script).arg(&path).output().unwrap();
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    let first = "conv1.conv2d.weight [2, 3, 9, 9] float16";
    assert_eq!(text.lines().next(), Some(first), "{text}");
    assert!(text.contains("\"name\": \"small\""), "{text}");
    let count = small().description.architecture.parameter_count();
    assert!(text.ends_with(&format!("30 tensors, {count} values\n")), "{text}");
}
