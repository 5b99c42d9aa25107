//! `nst-stream models export`.

use std::fs;

use super::{assert_says, files, folder, refusal, run};

#[test]
fn a_shipped_model_becomes_a_file_of_each_format() {
    let folder = folder();
    for (format, begins) in
        [("onnx", &b"\x08\x08"[..]), ("torchscript", b"PK"), ("safetensors", b"")]
    {
        let out = run(folder.path(), &["models", "export", "mosaic", "--to", format, "-o", "out"]);
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        assert_says(
            &String::from_utf8(out.stdout).unwrap(),
            &["out: ", format, "johnson 32-64-128"],
        );
        let bytes = fs::read(folder.path().join("out")).unwrap();
        assert!(bytes.len() > 3_000_000 && bytes.starts_with(begins), "{format}");
        // Who made it, whose it is, and that no half of it is left beside it.
        let contains = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(contains("the nst-stream authors") && contains("MIT"), "{format}");
        assert_eq!(files(folder.path()).len(), 3, "{format}");
        fs::remove_file(folder.path().join("out")).unwrap();
    }
}

#[test]
fn what_is_there_is_kept_unless_it_may_be_replaced() {
    let folder = folder();
    let args = ["models", "export", "mosaic", "--to", "onnx", "-o", "cat.png"];
    assert_says(&refusal(folder.path(), 1, &args), &["'cat.png' already exists", "--overwrite"]);
    let out = run(folder.path(), &[&args[..], &["--overwrite"]].concat());
    assert_eq!(out.status.code(), Some(0));
    assert!(fs::read(folder.path().join("cat.png")).unwrap().starts_with(b"\x08\x08"));
}

#[test]
fn what_cannot_be_exported_is_refused_with_words() {
    let folder = folder();
    let refused = |more: &[&str]| {
        let args = [&["models", "export"][..], more, &["-o", "out.onnx"]].concat();
        refusal(folder.path(), 1, &args)
    };
    assert_says(&refused(&["mozaic", "--to", "onnx"]), &["'mozaic'", "shipped models are mosaic"]);
    assert_says(&refused(&["cat.png", "--to", "onnx"]), &["'cat.png' is not a model"]);
    assert_says(&refused(&["vgg16", "--to", "onnx"]), &["not a style model"]);
    let style = refused(&["mosaic", "--to", "onnx", "--blend", "wave"]);
    assert_says(&style, &["'mosaic' has no style 'wave'", "mosaic"]);
    let program = super::data("reference-negative.ts");
    let said = refused(&[program.to_str().unwrap(), "--to", "onnx"]);
    assert_says(&said, &["reference-negative.ts' is a TorchScript program"]);
    assert!(!said.contains("--trust"), "{said}");
    let nowhere = ["models", "export", "mosaic", "--to", "onnx", "-o", "none/out.onnx"];
    assert_says(&refusal(folder.path(), 1, &nowhere), &["'none/out.onnx'", "No such file"]);
}

#[test]
fn formats_are_known_by_their_names() {
    let folder = folder();
    let args = ["models", "export", "mosaic", "--to", "coreml", "-o", "out"];
    let out = run(folder.path(), &args);
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8(out.stderr).unwrap();
    assert_says(&said, &["'coreml'", "--to", "onnx, torchscript, safetensors"]);
}
