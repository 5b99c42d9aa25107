//! Regions of a mask, and what paints them.

use std::path::Path;

use serde_json::{Value, json};

use crate::http::{Answer, get, request};
use crate::run::Run;

/// What a picture shows, pixel by pixel, left and right of its middle.
fn halves(jpeg: &[u8]) -> [Vec<u8>; 2] {
    let picture = image::load_from_memory(jpeg).unwrap().to_rgb8();
    let (width, height) = picture.dimensions();
    [0, width / 2]
        .map(|x| image::imageops::crop_imm(&picture, x, 0, width / 2, height).to_image().into_raw())
}

fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

/// What is shown now.
fn shown(run: &Run) -> [Vec<u8>; 2] {
    let path = "/api/v1/picture?after=0";
    // Not the one that was under way.
    (0..3).for_each(|_| drop(get(&run.host, path)));
    halves(&get(&run.host, path).body)
}

fn patch(run: &Run, change: &Value) -> Answer {
    request(&run.host, "PATCH", "/api/v1/settings", &[], &change.to_string())
}

/// A picture that stands still, unpainted on its left (black in the mask), a mosaic on its right; another model is there
/// to be chosen.
fn masked(folder: &Path, args: &[&str]) -> Run {
    let (mask, source) = crate::run::still_in_halves(folder);
    let models = ["-m", "mosaic-lite@white", "-m", "none@black", "-m", "starry-night-lite"];
    let rest = ["--mask", &mask, "--pipeline-source", &source, "--control", "127.0.0.1:0"];
    Run::of(&[&models[..], &rest, args].concat()).ready()
}

#[test]
fn regions_change_their_models_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let run = masked(folder.path(), &[]);
    let settings = || get(&run.host, "/api/v1/settings").json();
    let region = |region: &str, model: &str, strength: f64| json!({"region": region, "model": model, "strength": strength});
    assert_eq!(settings()["model"], "mosaic-lite");
    assert_eq!(
        settings()["regions"],
        json!([region("255", "mosaic-lite", 1.0), region("0", "none", 1.0)])
    );
    let models = get(&run.host, "/api/v1/models").json();
    for (n, name) in ["mosaic-lite", "starry-night-lite"].into_iter().enumerate() {
        assert_eq!(models[n]["name"], name);
        assert_eq!(get(&run.host, models[n]["thumbnail"].as_str().unwrap()).status, 200);
    }
    let [left, right] = halves(&get(&run.host, "/api/v1/regions/0/shape").body);
    assert!(left.iter().all(|value| *value < 20) && right.iter().all(|value| *value > 235));
    assert_eq!(get(&run.host, "/api/v1/regions/2/shape").status, 404);

    let [left, right] = shown(&run);
    let [again, _] = shown(&run);
    assert!(difference(&left, &again) < 1.0, "it stands still");
    let pair = get(&run.host, "/api/v1/picture?pair=true&after=0");
    let [source, _] = halves(&pair.body);
    // The left half of the source; in the pair it is as large.
    let source_left = |of: &[u8]| -> Vec<u8> {
        of.chunks_exact(3 * 96).flat_map(|line| line[..3 * 48].to_vec()).collect()
    };
    assert!(difference(&source_left(&source), &left) < 3.0, "unpainted");

    let change = json!({"regions": [{"region": "black", "model": "starry-night-lite"}]});
    let answer = patch(&run, &change).json();
    assert_eq!(answer["model"], "mosaic-lite + starry-night-lite");
    assert_eq!(answer["regions"][1], region("0", "starry-night-lite", 1.0));
    run.until("it is painted", |run| difference(&shown(run)[0], &left) > 10.0);
    run.until("nothing else has changed", |run| difference(&shown(run)[1], &right) < 1.0);

    // Its own strength, of what all have.
    patch(&run, &json!({"regions": [{"region": "0", "strength": 0}]}));
    run.until("it is as before", |run| difference(&shown(run)[0], &left) < 1.0);
    assert_eq!(settings()["regions"][1], region("0", "starry-night-lite", 0.0));
    assert_eq!(settings()["model"], "mosaic-lite", "what is not seen is not painted");
    assert!(difference(&shown(&run)[1], &right) < 1.0);
    // Video is held steady: of paint that lay there nothing is left.
    patch(&run, &json!({"regions": [{"region": "0", "strength": 1}]}));
    run.until("it is painted again", |run| difference(&shown(run)[0], &left) > 10.0);
    patch(&run, &json!({"regions": [{"region": "0", "model": "none"}]}));
    run.until("it is as before", |run| difference(&shown(run)[0], &left) < 1.0);

    let schemas = &get(&run.host, "/api/v1/openapi.json").json()["components"]["schemas"];
    let keys = |of: &Value| -> std::collections::BTreeSet<String> {
        of.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&schemas["Region"]["properties"]), keys(&settings()["regions"][0]));
    run.ends();
}

#[test]
fn unknown_regions_and_models_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = masked(folder.path(), &[]);
    let before = get(&run.host, "/api/v1/settings").json();
    let good = json!({"region": "255", "strength": 0.5});
    for (change, says) in [
        (json!({"region": "7", "model": "none"}), "there is no region '7'; there are 255, 0"),
        (json!({"region": "sky", "model": "none"}), "there is no region 'sky'"),
        (
            json!({"region": "0", "model": "wave"}),
            "there is no model 'wave'; there are mosaic-lite, starry-night-lite, none",
        ),
        (json!({"region": "0", "strength": 1.5}), "strength: expected a number from 0 to 1"),
        (json!({"region": "0", "scale": 1}), "unknown field `scale`"),
        (json!({"model": "none"}), "missing field `region`"),
    ] {
        let answer = patch(&run, &json!({"strength": 0.5, "regions": [good, change]}));
        assert_eq!(answer.status, 422);
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
    let answer = patch(&run, &json!({"model": "starry-night-lite"}));
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("each region has its own"), "{}", answer.text());
    assert_eq!(get(&run.host, "/api/v1/settings").json(), before);
    // What was read can be sent back, as scripts do that keep settings.
    assert_eq!(patch(&run, &before).json(), before);
    run.ends();
}

#[test]
fn controllers_steer_regions_by_their_numbers_and_hear_of_them() {
    use rosc::OscType::{Float, Int, String};
    let folder = tempfile::tempdir().unwrap();
    let run = masked(folder.path(), &["--osc", "127.0.0.1:0"]);
    let osc = crate::osc::Sender::to(&run.live.told("osc: "));
    osc.say("/state", vec![]);
    assert_eq!(osc.hears("/region/1/model"), [String("mosaic-lite".to_owned()), Int(1)]);
    assert_eq!(osc.hears("/region/2/model"), [String("none".to_owned()), Int(0)]);
    assert_eq!(osc.hears("/region/2/strength"), [Float(1.0)]);
    osc.say("/region/2/model", vec![String("starry-night-lite".to_owned())]);
    assert_eq!(osc.hears("/region/2/model"), [String("starry-night-lite".to_owned()), Int(2)]);
    osc.say("/region/1/model", vec![Float(0.0)]);
    assert_eq!(osc.hears("/region/1/model"), [String("none".to_owned()), Int(0)]);
    osc.say("/region/2/strength", vec![Float(0.25)]);
    assert_eq!(osc.hears("/region/2/strength"), [Float(0.25)]);
    let regions = get(&run.host, "/api/v1/settings").json()["regions"].clone();
    assert_eq!(regions[0]["model"], "none");
    assert_eq!(
        (&regions[1]["model"], &regions[1]["strength"]),
        (&json!("starry-night-lite"), &json!(0.25))
    );
    // Somebody else's change is heard as well.
    patch(&run, &json!({"regions": [{"region": "white", "model": "mosaic-lite"}]}));
    assert_eq!(osc.hears("/region/1/model"), [String("mosaic-lite".to_owned()), Int(1)]);
    for (address, argument, says) in [
        ("/region/3/model", Int(1), "expected a number from 1 to 2"),
        ("/region/1/model", Int(3), "expected a number from 1 to 2"),
        ("/region/1/model", String("wave".to_owned()), "there is no model 'wave'"),
        ("/region/1/colour", Int(1), "expected /region/N/model or /region/N/strength"),
        ("/next", Int(1), "each region has its own"),
    ] {
        osc.say(address, vec![argument]);
        let said = osc.hears("/error");
        let [String(text)] = &said[..] else { panic!("{said:?}") };
        assert!(text.contains(says), "{address}: {text}");
    }
    run.ends();
}
