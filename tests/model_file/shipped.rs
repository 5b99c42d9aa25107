//! The models inside the program are what their manifest says.

use nst_stream::engine::architecture::multiply_adds;
use nst_stream::engine::architecture::{Architecture, NetworkKind};
use nst_stream::engine::model_file::{DType, ModelError};
use nst_stream::engine::shipped::{self, ModelRole, StylePicture};
use sha2::{Digest, Sha256};

/// The recipe itself, or that of the last model of which this one is the mean.
fn last_run(recipe: &serde_json::Value) -> &serde_json::Value {
    let parts = recipe.get("average").and_then(|parts| parts.as_array());
    parts.map_or(recipe, |parts| &parts.last().unwrap()["recipe"])
}

const STYLES: [&str; 5] = ["mosaic", "starry-night", "great-wave", "the-scream", "composition-vii"];

#[test]
fn models_open_under_both_names_and_describe_themselves() {
    for style in STYLES {
        for name in [style.to_owned(), format!("{style}.pt")] {
            let model = shipped::open(&name).unwrap();
            let description = &model.description;
            assert_eq!(description.name, style);
            assert_eq!(description.styles, [style]);
            assert_eq!(description.architecture, Architecture::default());
            assert_eq!(description.licence.as_deref(), Some("MIT"));
            assert!(description.source.is_some() && description.credit.is_some());
            assert!(last_run(description.recipe.as_ref().unwrap())["steps"].as_u64() >= Some(200));
            assert_eq!(model.tensors.len(), 62);
            assert!(model.tensors.values().all(|tensor| tensor.dtype == DType::F16));
        }
    }
}

#[test]
fn each_large_model_has_a_small_one_that_does_a_tenth_of_its_arithmetic() {
    let counted = |name: &str| {
        let architecture = shipped::open(name).unwrap().description.architecture;
        (architecture.kind, multiply_adds(&architecture, 640, 360))
    };
    for style in STYLES {
        let ((large, much), (small, little)) = (counted(style), counted(&format!("{style}-lite")));
        assert_eq!((large, small), (NetworkKind::Johnson, NetworkKind::Lite));
        assert!(little < much / 10.0, "{style}: {little} of {much}");
    }
}

#[test]
fn styles_without_a_large_model_are_lite_networks() {
    for name in ["matisse-lite", "udnie-lite", "shipwreck-lite"] {
        let description = shipped::open(name).unwrap().description;
        assert_eq!(description.name, name);
        assert_eq!(description.styles, [name.trim_end_matches("-lite")]);
        let mosaic = shipped::open("mosaic-lite").unwrap().description.architecture;
        assert_eq!(description.architecture, mosaic);
        assert!(shipped::find(name.trim_end_matches("-lite")).is_none());
    }
}

#[test]
fn the_manifest_speaks_of_every_shipped_file_as_it_is() {
    let manifest = shipped::manifest().unwrap();
    assert_eq!(manifest.models.len(), shipped::all().len());
    for (entry, shipped) in manifest.models.iter().zip(shipped::all()) {
        assert_eq!(
            (entry.name.as_str(), entry.file.as_str(), entry.role),
            (shipped.name, shipped.file, shipped.role)
        );
        let sum: String =
            Sha256::digest(shipped.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry.sha256, sum, "{}", shipped.file);
        if shipped.role != ModelRole::Loss {
            let description = shipped::open(shipped.name).unwrap().description;
            assert_eq!(description.licence.as_ref(), Some(&entry.licence));
            assert_eq!(description.credit.as_ref(), Some(&entry.credit));
            let recipe = description.recipe.unwrap();
            let training = entry.training.as_ref().unwrap();
            let recipe = last_run(&recipe);
            let runs = training.commands.iter().filter(|command| command.contains(" train "));
            let steps = runs.map(|command| {
                let (_, steps) = command.split_once("--steps ").unwrap();
                steps.split(' ').next().unwrap().parse::<u64>().unwrap()
            });
            let steps: Vec<u64> = steps.collect();
            assert_eq!(recipe["steps"], *steps.last().unwrap());
            assert_eq!(steps.iter().sum::<u64>(), training.steps);
            assert!(training.steps >= 500, "{}: {steps:?}", entry.name);
            assert_eq!(recipe["batch"], training.batch);
            assert_eq!(recipe["image_size"], training.image_size);
            // Of several sizes the manifest names the smallest.
            let size = &recipe["style_size"];
            assert_eq!(size.get(0).unwrap_or(size), training.style_size);
            assert_eq!(recipe["content_weight"], training.content_weight);
            assert_eq!(recipe["style_weight"], training.style_weight);
        }
    }
}

#[test]
fn the_table_of_figures_for_people_is_that_of_the_manifest() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/models/README.md");
    let readme = std::fs::read_to_string(file).unwrap();
    let (_, table) = readme.split_once("| `border` mean, levels | `border` contrast |\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let models = shipped::manifest().unwrap().models;
    // The styles of the gallery follow in a table of their own.
    let (_, gallery) = readme.split_once("### One network, eight styles\n").unwrap();
    let gallery = gallery.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let gallery = gallery.take_while(|line| line.starts_with('|'));
    let mut rows = table.lines().skip(1).chain(gallery);
    for entry in models.iter().filter(|entry| entry.role == ModelRole::Style) {
        let names = [
            "style_distance",
            "style_distance_relu4_1",
            "patch_distance",
            "readability",
            "border_mean",
            "border_contrast",
        ];
        let measured: Vec<_> = match &entry.styles[..] {
            [_] => vec![(entry.name.clone(), &entry.figures)],
            styles => {
                let name = |style: &StylePicture| style.name.clone().unwrap();
                styles.iter().map(|style| (name(style), &style.figures)).collect()
            }
        };
        for (name, figures) in measured {
            let figure = |name: &str| figures[name].trim_end_matches(" levels").to_owned();
            let row = format!("| {name} | {} |", names.map(figure).join(" | "));
            assert_eq!(rows.next(), Some(row.as_str()));
        }
        assert!(
            readme.contains(&format!("- `{}`: {}.\n", entry.name, entry.figures["weakness"])),
            "{}",
            entry.name
        );
    }
    assert_eq!(rows.next(), None);
}

#[test]
fn the_gallery_has_every_style_that_a_lite_model_has() {
    let gallery = shipped::open("gallery").unwrap().description;
    let lite = shipped::all().iter().filter(|shipped| shipped.role == ModelRole::Style);
    let mut lite: Vec<&str> =
        lite.filter_map(|shipped| shipped.name.strip_suffix("-lite")).collect();
    let mut styles: Vec<&str> = gallery.styles.iter().map(String::as_str).collect();
    let manifest = shipped::manifest().unwrap();
    let pictures = &manifest.entry("gallery").unwrap().styles;
    assert_eq!(pictures.iter().map(|p| p.name.as_deref().unwrap()).collect::<Vec<_>>(), styles);
    lite.sort_unstable();
    styles.sort_unstable();
    assert_eq!(styles, lite);
    let mosaic = shipped::open("mosaic-lite").unwrap().description.architecture;
    assert_eq!(gallery.architecture, Architecture { styles: 8, ..mosaic });
}

#[test]
fn any_lite_predicts_styles_for_a_lite_network() {
    let any = shipped::open("any-lite").unwrap().description.architecture;
    assert!(any.predictor.is_some());
    let painted = Architecture { predictor: None, ..any };
    assert_eq!(painted, shipped::open("mosaic-lite").unwrap().description.architecture);
}

#[test]
fn the_loss_network_is_there_but_is_no_model_to_paint_with() {
    let vgg = shipped::find("vgg16").unwrap();
    assert_eq!(vgg.role, ModelRole::Loss);
    assert_eq!(shipped::find("vgg16.safetensors").unwrap().bytes.len(), 15_277_752);
    assert_eq!(&vgg.bytes[8..24], br#"{"__metadata__":"#);
    assert_eq!(
        shipped::open("vgg16").unwrap_err().to_string(),
        "'vgg16.safetensors' is not a model: it is the loss network of training, not a style model"
    );
}

#[test]
fn a_name_that_is_nothing_lists_what_there_is() {
    let error = shipped::open("mozaic").unwrap_err();
    assert!(matches!(error, ModelError::NotFound { .. }));
    assert_eq!(
        error.to_string(),
        "no model 'mozaic': no such file, and the shipped models are mosaic, \
         mosaic-lite, starry-night, starry-night-lite, great-wave, great-wave-lite, the-scream, \
         the-scream-lite, composition-vii, composition-vii-lite, matisse-lite, \
         udnie-lite, shipwreck-lite, gallery, any-lite"
    );
    assert!(shipped::find("Mosaic").is_none());
}

#[test]
fn a_file_goes_before_a_shipped_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.pt");
    super::make::small().save(&path).unwrap();
    let model = shipped::open(path.to_str().unwrap()).unwrap();
    assert_eq!(model, super::make::small());
    let error = shipped::open(folder.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(error.ends_with("it is a folder or device, not a file"), "{error}");
}
