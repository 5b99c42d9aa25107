//! Models that cannot be used, the two names of a shipped one, and `nst-stream models`.

use std::fs;
use std::path::Path;
use std::process::Command;

use nst_stream::engine::model_file::{DType, RawTensor};

use super::common::{data, nst, output, psnr, rgb_frames, succeed};
use super::make::{Pickle, entries, legacy_file, pickled, small, zip_file};
use super::{assert_says, folder, refusal, run, works};

fn refused(folder: &Path, model: &str) -> String {
    refusal(folder, 1, &["-m", model, "-i", "cat.png", "-o", "out.png"])
}

#[test]
fn a_model_that_is_not_there_is_refused_with_the_list_of_shipped_ones() {
    let folder = folder();
    assert_says(&refused(folder.path(), "mozaic"), &["'mozaic'", "shipped models are mosaic"]);
    assert_says(&refused(folder.path(), "no/such.pt"), &["'no/such.pt'", "mosaic"]);
    let video = refusal(folder.path(), 1, &["-m", "mozaic", "-i", "clip.mp4", "-o", "out.mp4"]);
    assert_says(&video, &["'mozaic'"]);
}

#[test]
fn a_model_that_is_text_or_a_folder_or_the_loss_network_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("text.pt"), "this is no model\n").unwrap();
    fs::write(folder.path().join("empty.pt"), "").unwrap();
    fs::create_dir(folder.path().join("folder.pt")).unwrap();
    assert_says(&refused(folder.path(), "text.pt"), &["'text.pt' is not a model"]);
    assert_says(&refused(folder.path(), "empty.pt"), &["'empty.pt'"]);
    assert_says(&refused(folder.path(), "folder.pt"), &["'folder.pt'"]);
    assert_says(&refused(folder.path(), "vgg16"), &["'vgg16.safetensors' is not a model"]);
}

#[test]
fn a_model_with_a_wrong_shape_or_a_missing_or_infinite_weight_is_refused_by_its_name() {
    let folder = folder();
    let save = |name: &str, change: &dyn Fn(&mut Vec<super::make::Entry>)| {
        let mut entries = entries(&small());
        change(&mut entries);
        let bytes = zip_file(&pickled(&entries, false), &entries);
        fs::write(folder.path().join(name), bytes).unwrap();
    };
    save("sound.pt", &|_| {});
    works(folder.path(), &["-m", "sound.pt", "-i", "cat.png", "-o", "out.png"]);
    fs::remove_file(folder.path().join("out.png")).unwrap();

    save("shape.pt", &|entries| {
        entries[6].shape = vec![3, 1];
        entries[6].strides = vec![1, 1];
    });
    let shape = refused(folder.path(), "shape.pt");
    assert_says(&shape, &["'shape.pt'", "'in2.weight'", "[3, 1]", "[3]"]);

    save("missing.pt", &|entries| drop(entries.remove(3)));
    assert_says(&refused(folder.path(), "missing.pt"), &["'missing.pt'", "'in1.bias'"]);

    for (name, value) in [("nan.pt", f32::NAN), ("infinite.pt", f32::NEG_INFINITY)] {
        save(name, &|entries| {
            let tensor = RawTensor::from_f32([2], &[0.5, value], DType::F16);
            entries[2].storage = tensor.data;
        });
        let line = refused(folder.path(), name);
        assert_says(&line, &[&format!("'{name}'"), "'in1.weight'", "NaN or infinite"]);
    }
}

/// The file is shown to be a weapon first: Python's own pickle, asked to load it, runs it.
#[test]
fn a_model_that_tries_to_run_code_runs_nothing() {
    let folder = folder();
    let sign = folder.path().join("it-ran");
    let command = format!("echo ran > '{}'", sign.display());
    let pickle = Pickle::new().global("os", "system").raw(b"(").text(&command).raw(b"tR").stop();
    let files = [
        ("bare.pt", pickle.clone()),
        ("zip.pt", zip_file(&pickle, &[])),
        ("legacy.pt", legacy_file(&pickle, &[])),
    ];
    for (name, bytes) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let load = "import pickle; pickle.load(open('bare.pt', 'rb'))";
    let mut python = Command::new("python3");
    python.args(["-c", load]).current_dir(folder.path());
    if python.status().is_ok_and(|status| status.success()) {
        assert!(sign.exists(), "the pickle is harmless, so this test shows nothing");
        fs::remove_file(&sign).unwrap();
    } else {
        eprintln!("no python3 here to show that the pickle does harm");
    }
    for (name, _) in &files {
        let line = refused(folder.path(), name);
        assert_says(&line, &[&format!("'{name}'"), "os.system", "nothing was run"]);
        assert!(!sign.exists(), "{name} has run");
    }
    // Trust is about TorchScript programs; it opens no other door.
    let trusted = ["-m", "zip.pt", "-i", "cat.png", "-o", "out.png", "--trust"];
    let import = ["models", "import", "legacy.pt", "-o", "new.pt"];
    for args in [&trusted[..], &import, &["models", "show", "bare.pt"]] {
        assert_says(&refusal(folder.path(), 1, args), &["os.system", "nothing was run"]);
        assert!(!sign.exists(), "{args:?} has run it");
    }
}

/// The program is 255 − x, so what it makes is known.
#[test]
fn a_torchscript_program_runs_only_when_it_is_trusted() {
    let folder = folder();
    fs::copy(data("reference-negative.ts"), folder.path().join("negative.ts")).unwrap();
    let line = refused(folder.path(), "negative.ts");
    assert_says(&line, &["'negative.ts'", "TorchScript", "--trust"]);

    works(folder.path(), &["-m", "negative.ts", "-i", "cat.png", "-o", "out.png", "--trust"]);
    let pixels = |name: &str| image::open(folder.path().join(name)).unwrap().into_rgb8();
    let (before, after) = (pixels("cat.png"), pixels("out.png"));
    assert_eq!(before.dimensions(), after.dimensions());
    for (b, a) in before.iter().zip(after.iter()) {
        assert_eq!(*a, 255 - *b);
    }
}

#[test]
fn a_shipped_model_has_two_names_and_a_local_file_takes_the_place_of_one() {
    let [here, there] = [folder(), folder()];
    let painted = |folder: &Path, model: &str| {
        works(folder, &["-q", "-m", model, "-i", "cat.png", "-o", "out.png", "--overwrite"]);
        fs::read(folder.join("out.png")).unwrap()
    };
    let shipped = painted(here.path(), "mosaic");
    assert_eq!(painted(here.path(), "mosaic.pt"), shipped);
    assert_eq!(painted(there.path(), "mosaic.pt"), shipped);

    small().save(&there.path().join("mosaic.pt")).unwrap();
    let local = painted(there.path(), "mosaic.pt");
    assert!(local != shipped, "the local file goes first");
    assert_eq!(painted(there.path(), "./mosaic.pt"), local);
    assert_eq!(painted(there.path(), "mosaic"), shipped, "no file is called plain mosaic");
}

#[test]
fn models_are_listed_and_shown() {
    let folder = folder();
    for args in [&["models"][..], &["models", "list"]] {
        let list = succeed(nst().current_dir(folder.path()).args(args));
        assert_says(&list, &["NAME", "johnson 32-64-128, 5 blocks", "MIT", "vgg16", "CC-BY-4.0"]);
        assert!(list.lines().any(|line| line.starts_with("mosaic ")), "{list}");
        // A lite model paints the style of its large sibling, under the same name.
        for line in list.lines().skip(1).take_while(|line| !line.is_empty()) {
            let mut cells = line.split_whitespace();
            let (name, style) = (cells.next().unwrap(), cells.next().unwrap());
            match name {
                "gallery" => assert!(line.contains(" 8 styles (--blend) "), "{line}"),
                _ => assert_eq!(name.trim_end_matches("-lite"), style, "{line}"),
            }
        }
    }
    let all = succeed(nst().args(["models", "list", "--json"]));
    let all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
    let of = |name: &str| all.iter().find(|model| model["name"] == name).unwrap();
    assert_eq!(of("mosaic")["styles"], serde_json::json!(["mosaic"]));
    assert_eq!(of("mosaic")["architecture"], "johnson 32-64-128, 5 blocks");
    assert_eq!(of("any-lite")["role"], "any");
    assert_eq!(of("vgg16")["licence"], "CC-BY-4.0");
    assert_eq!(of("gallery")["styles"].as_array().unwrap().len(), 8);
    assert_says(
        &succeed(nst().args(["models", "show", "gallery"])),
        &["the-scream, composition-vii"],
    );
    let text = succeed(nst().args(["models", "show", "mosaic"]));
    assert_says(&text, &["1,679,235", "float16", "MIT", "\"style_weight\": 1.0"]);
    let json = succeed(nst().args(["models", "show", "mosaic.pt", "--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["description"]["name"], "mosaic");
    assert_eq!(json["parameters"], 1_679_235);
    assert_eq!(json["tensors"].as_array().unwrap().len(), 62);
    assert_eq!(json["tensors"][0]["shape"], serde_json::json!([32, 3, 9, 9]));
}

#[test]
fn an_imported_model_says_what_it_is_told_paints_as_its_original_and_can_be_imported_again() {
    let folder = folder();
    let (work, original) = (folder.path(), data("reference-small.pth"));
    let original = original.to_str().unwrap();
    let told = ["--name", "Probe", "--style", "Große Welle", "--licence", "MIT", "--credit", "Me"];
    let import = |file: &str, to: &str, more: &[&str]| {
        let args = [&["models", "import", file, "-o", to], more].concat();
        succeed(nst().current_dir(work).args(args))
    };
    assert_says(&import(original, "one.pt", &told), &["one.pt", "8-16-32", "62 tensors"]);
    let shown = succeed(nst().current_dir(work).args(["models", "show", "one.pt"]));
    assert_says(&shown, &["Probe", "Große Welle", "MIT", "Me", "float16", "108,771"]);

    import("one.pt", "two.pt", &["--name", "Probe"]);
    assert_eq!(fs::read(work.join("one.pt")).unwrap(), fs::read(work.join("two.pt")).unwrap());
    let line = refusal(work, 1, &["models", "import", original, "-o", "two.pt"]);
    assert_says(&line, &["'two.pt'", "--overwrite"]);
    import(original, "two.pt", &["--overwrite"]);
    let shown = succeed(nst().current_dir(work).args(["models", "show", "two.pt"]));
    assert_says(&shown, &["name          two"]);

    for (model, to) in [(original, "a.png"), ("one.pt", "b.png")] {
        works(work, &["-m", model, "-i", "cat.png", "-o", to, "--precision", "fp32"]);
    }
    let frame = |name: &str| rgb_frames(&work.join(name), 1).remove(0);
    // Half precision moves the weights by 2⁻¹¹ at most.
    let close = psnr(&frame("a.png"), &frame("b.png"));
    assert!(close > 45.0, "{close} dB");
    let far = psnr(&frame("a.png"), &frame("cat.png"));
    assert!(far < 25.0, "painted it is another picture: {far} dB");
}

#[test]
fn an_import_of_what_is_no_model_or_into_no_folder_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("text.pth"), "no weights\n").unwrap();
    let import =
        |file: &str, to: &str| refusal(folder.path(), 1, &["models", "import", file, "-o", to]);
    assert_says(&import("text.pth", "new.pt"), &["'text.pth' is not a model"]);
    assert_says(&import("none.pth", "new.pt"), &["'none.pth'", "No such file"]);
    let original = data("reference-small.pth");
    assert_says(&import(original.to_str().unwrap(), "none/new.pt"), &["'none/new.pt'"]);
    let shown = refusal(folder.path(), 1, &["models", "show", "mozaic"]);
    assert_says(&shown, &["'mozaic'", "shipped models are mosaic"]);
}

/// Whether libtorch finds a GPU here.
fn has_gpu() -> bool {
    let report = succeed(nst().args(["probe", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    !report["engine"]["cuda"].as_str().unwrap().starts_with("none")
}

fn driver_present() -> bool {
    ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"]
        .iter()
        .any(|p| Path::new(p).exists())
}

#[test]
fn without_a_gpu_cuda_is_refused_auto_takes_the_cpu_and_says_so_and_fp16_has_no_place() {
    let folder = folder();
    let base = ["-m", "mosaic", "-i", "cat.png", "-o", "out.png"];
    let on_cpu = [&base[..], &["--device", "cpu", "--precision", "fp16"]].concat();
    assert_says(&refusal(folder.path(), 1, &on_cpu), &["fp16", "--precision bf16", "fp32"]);
    if has_gpu() {
        eprintln!("SKIPPED: this machine has a GPU, so nothing falls back");
        return;
    }
    for device in ["cuda", "cuda:1"] {
        let line = refusal(folder.path(), 1, &[&base[..], &["--device", device]].concat());
        assert_says(&line, &["no CUDA device: ", "--device cpu", "auto"]);
    }
    let auto = [&base[..], &["--device", "auto", "-v"]].concat();
    let said = works(folder.path(), &auto);
    assert_says(&said, &["no CUDA device: ", "using the CPU", "cpu, "]);
    // Who has no driver need not hear of it each time.
    let said = works(folder.path(), &[&base[..], &["--overwrite"]].concat());
    assert!(driver_present() || !said.contains("CUDA"), "{said}");
    assert!(folder.path().join("out.png").exists());
    let out = output(nst().args(["probe"]));
    assert_says(&String::from_utf8(out.stdout).unwrap(), &["cuda", "none: "]);
    let out = run(folder.path(), &[&base[..], &["--overwrite", "--precision", "bf16"]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}
