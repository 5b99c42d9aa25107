//! What the API says and does.

use std::io::{BufRead, BufReader, Write};

use nst_stream::engine::model_file::{DType, RawTensor};
use serde_json::json;

use crate::common::{frame_times, size};
use crate::http::{connect, get, request};
use crate::run::Run;

/// Luma of a JPEG, by ffmpeg.
fn decoded(jpeg: &[u8], folder: &std::path::Path) -> (usize, usize, Vec<u8>) {
    let path = folder.join("shown.jpg");
    std::fs::write(&path, jpeg).unwrap();
    let (width, height) = size(&path);
    let picture = image::open(&path).unwrap().to_rgb8();
    (width, height, picture.into_raw())
}

fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

#[test]
fn settings_change_from_the_next_frame_on_and_whoever_watches_hears_of_it() {
    let run = Run::start(&[
        "-m",
        "starry-night-lite",
        "--strength",
        "0.5",
        "-o",
        "rtsp://127.0.0.1:0/art",
    ])
    .ready();
    let state = run.state();
    assert_eq!(state["settings"]["model"], "mosaic-lite");
    assert_eq!(state["settings"]["strength"], 0.5);
    assert_eq!(state["source"]["width"], 96);
    assert_eq!(state["outputs"][0]["state"], "open");
    assert!(state["network"]["frames"].as_u64().unwrap() > 0, "{state}");

    let models = get(&run.host, "/api/v1/models").json();
    assert_eq!(models[1]["name"], "starry-night-lite");
    let thumbnail = get(&run.host, models[1]["thumbnail"].as_str().unwrap());
    assert_eq!(thumbnail.header("content-type"), "image/jpeg");
    let (width, height, starry) = decoded(&thumbnail.body, run.folder.path());
    assert_eq!((width, height), (224, 168));
    let mosaic = get(&run.host, models[0]["thumbnail"].as_str().unwrap());
    let (.., mosaic) = decoded(&mosaic.body, run.folder.path());
    assert!(difference(&starry, &mosaic) > 10.0, "each model has its own");

    // Events: the state now, then at every change.
    let mut events = connect(&run.host);
    write!(events, "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", run.host).unwrap();
    let mut lines = BufReader::new(events).lines().map_while(Result::ok);
    let mut told = || -> serde_json::Value {
        let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned));
        serde_json::from_str(&data.expect("an event")).unwrap()
    };
    assert_eq!(told()["settings"]["model"], "mosaic-lite");

    let change = json!({"model": "starry-night-lite", "strength": 0.8, "scale": 0.5, "stroke": 2.0,
        "steady": 0.25, "preserve_color": true});
    let answer = request(&run.host, "PATCH", "/api/v1/settings", &[], &change.to_string());
    let mut now = change;
    now["blend"] = json!({});
    now["regions"] = json!([]);
    assert_eq!((answer.status, answer.json()), (200, now.clone()));
    assert_eq!(get(&run.host, "/api/v1/settings").json(), now);
    while told()["settings"] != now {}
    // The rest stays.
    request(&run.host, "PATCH", "/api/v1/settings", &[], r#"{"strength": 0.1}"#);
    let now = get(&run.host, "/api/v1/settings").json();
    assert_eq!((&now["strength"], &now["steady"]), (&json!(0.1), &json!(0.25)));
    run.ends();
}

#[test]
fn styles_of_one_network_are_mixed_while_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [two, source] = ["two.pt", "source.pipeline"].map(|name| folder.path().join(name));
    let mut model = crate::make::two_styles();
    // Strong enough to be seen.
    let weight = model.tensors.get_mut("deconv3.conv2d.weight").unwrap();
    let values: Vec<f32> = weight.to_f32().iter().map(|value| 60.0 * value).collect();
    *weight = RawTensor::from_f32(weight.shape.clone(), &values, DType::F16);
    model.save(&two).unwrap();
    // A picture that stands still.
    let still = "videotestsrc is-live=true pattern=smpte100 ! video/x-raw,format=I420,width=96,height=64,framerate=15/1 \
                 ! appsink name=frames";
    std::fs::write(&source, still).unwrap();
    let (two, source) = (two.to_str().unwrap(), source.to_str().unwrap());
    let run = Run::of(&[
        "-m",
        two,
        "--pipeline-source",
        source,
        "--control",
        "127.0.0.1:0",
        "--osc",
        "127.0.0.1:0",
        "--steady",
        "0",
    ])
    .ready();
    let patch = |change: serde_json::Value| {
        request(&run.host, "PATCH", "/api/v1/settings", &[], &change.to_string())
    };
    let settings = || get(&run.host, "/api/v1/settings").json();
    assert_eq!(settings()["model"], format!("{two} a"));
    assert_eq!(settings()["blend"], json!({"a": 1.0, "b": 0.0}));
    let shown = || {
        let path = "/api/v1/picture?after=0";
        // Not the one that was under way.
        (0..3).for_each(|_| drop(get(&run.host, path)));
        decoded(&get(&run.host, path).body, run.folder.path()).2
    };
    let only_a = shown();
    assert!(difference(&shown(), &only_a) < 1.0, "it stands still");
    // Only their proportions count.
    assert_eq!(
        patch(json!({"blend": {"a": 1, "b": 3}})).json()["blend"],
        json!({"a": 0.25, "b": 0.75})
    );
    run.until("the mix is seen", |_| difference(&shown(), &only_a) > 5.0);
    let answer = patch(json!({"model": format!("{two} b")})).json();
    assert_eq!(answer["blend"], json!({"a": 0.0, "b": 1.0}), "a model begins with its own style");
    for (change, says) in [
        (json!({"blend": {"c": 1}}), "no style 'c'; there are a, b"),
        (json!({"blend": {"a": 0}}), "one of them above 0"),
        (json!({"blend": {"a": -1, "b": 2}}), "at least 0"),
    ] {
        let answer = patch(change);
        assert_eq!(answer.status, 422);
        assert!(answer.json().to_string().contains(says), "{}", answer.json());
    }
    let osc = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let floats = [rosc::OscType::Float(0.6), rosc::OscType::Float(0.4)].to_vec();
    let message = rosc::OscMessage { addr: "/blend".to_owned(), args: floats };
    let bytes = rosc::encoder::encode(&rosc::OscPacket::Message(message)).unwrap();
    osc.send_to(&bytes, run.live.told("osc: ")).unwrap();
    run.until("OSC has mixed", |_| settings()["blend"] == json!({"a": 0.6, "b": 0.4}));
    run.ends();
}

#[test]
fn what_is_not_understood_is_refused_with_what_to_do_and_changes_nothing() {
    let run = Run::start(&[]).ready();
    let before = get(&run.host, "/api/v1/settings").json();
    let refused = |body: &str, status: u16, word: &str| {
        let answer = request(&run.host, "PATCH", "/api/v1/settings", &[], body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(word), "{body}: {error}");
    };
    refused(r#"{"strength": 1.1}"#, 422, "strength: expected a number from 0 to 1");
    refused(r#"{"strength": 0.5, "scale": 0}"#, 422, "scale: expected a number from 0.01 to 1");
    refused(r#"{"stroke": 9}"#, 422, "from 0.25 to 4");
    refused(r#"{"steady": -0.1}"#, 422, "steady");
    refused(r#"{"steady": "much"}"#, 422, "much");
    refused(r#"{"model": "no-such"}"#, 422, "mosaic-lite");
    refused(r#"{"stenght": 1}"#, 422, "unknown field `stenght`");
    refused(r#"{"strength": 1"#, 400, "EOF");
    refused(r#"{"regions": [{"region": "0"}]}"#, 422, "this run has no --mask");
    refused("[]", 422, "expected struct");
    assert_eq!(get(&run.host, "/api/v1/settings").json(), before);
    let form = request(&run.host, "PATCH", "/api/v1/settings", &["Content-Type: text/plain"], "");
    assert_eq!(form.status, 415, "{}", form.text());
    assert_eq!(get(&run.host, "/api/v1/nothing").status, 404);
    assert_eq!(request(&run.host, "PUT", "/api/v1/settings", &[], "{}").status, 405);
    assert_eq!(get(&run.host, "/api/v1/models/7/thumbnail").status, 404);
    assert_eq!(get(&run.host, "/api/v1/picture?after=x").status, 422);
    run.ends();
}

#[test]
fn the_picture_moves_and_a_pair_shows_source_and_paint_of_one_instant() {
    let run = Run::start(&["--strength", "1"]).ready();
    let first = get(&run.host, "/api/v1/picture");
    assert_eq!((first.status, first.header("content-type")), (200, "image/jpeg".to_owned()));
    let number: u64 = first.header("x-picture").parse().unwrap();
    let (width, height, early) = decoded(&first.body, run.folder.path());
    assert_eq!((width, height), (96, 64), "no larger than it is");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let later = get(&run.host, &format!("/api/v1/picture?after={number}"));
    assert!(later.header("x-picture").parse::<u64>().unwrap() > number);
    let (.., late) = decoded(&later.body, run.folder.path());
    assert!(difference(&early, &late) > 0.5, "it moves");

    let halves = |strength: &str| {
        let change = format!(r#"{{"strength": {strength}, "steady": 0}}"#);
        request(&run.host, "PATCH", "/api/v1/settings", &[], &change);
        // Frames that were painted before are still on their way.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let seen: u64 = get(&run.host, "/api/v1/picture").header("x-picture").parse().unwrap();
        let pair = get(&run.host, &format!("/api/v1/picture?pair=true&after={seen}"));
        let (width, _, rgb) = decoded(&pair.body, run.folder.path());
        assert_eq!(width, 192);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for row in rgb.chunks_exact(3 * 192) {
            left.extend_from_slice(&row[..3 * 96]);
            right.extend_from_slice(&row[3 * 96..]);
        }
        difference(&left, &right)
    };
    let (painted, plain) = (halves("1"), halves("0"));
    assert!(painted > 15.0 && plain < 4.0, "painted {painted}, at strength 0 {plain}");
    run.ends();
}

#[test]
fn a_snapshot_is_saved_as_the_key_does_and_returned() {
    let run = Run::start(&[]).ready();
    let answer = request(&run.host, "POST", "/api/v1/snapshot", &[], "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let names = run.files(".png");
    assert_eq!(names.len(), 1);
    assert_eq!(
        answer.header("content-disposition"),
        format!("attachment; filename=\"{}\"", names[0])
    );
    assert_eq!(std::fs::read(run.folder.path().join(&names[0])).unwrap(), answer.body);
    assert_eq!(size(&run.folder.path().join(&names[0])), (96, 64));
    run.ends();
}

#[test]
fn recordings_begin_and_end_while_the_run_goes_on() {
    let run = Run::start(&["-o", "whole.mkv"]).ready();
    let start = || request(&run.host, "POST", "/api/v1/recording", &[], "");
    let stop = || request(&run.host, "DELETE", "/api/v1/recording", &[], "");
    assert_eq!(stop().status, 409, "there is none");
    for number in 1..=2 {
        let begun = start();
        assert_eq!(begun.status, 201, "{}", begun.text());
        let name = begun.json()["name"].as_str().unwrap().to_owned();
        assert_eq!(start().status, 409, "there is one");
        assert_eq!(run.state()["recording"]["name"], name.as_str());
        run.until("it has frames", |run| {
            run.state()["outputs"][number]["frames"].as_u64() > Some(12)
        });
        assert!(!run.files(".mp4").contains(&name), "no half-written file has its final name");
        assert_eq!(stop().json()["name"], name.as_str());
        run.until("it has its name", |run| run.files(".mp4").contains(&name));
        let times = frame_times(&run.folder.path().join(&name));
        assert!(times.len() > 10 && times[0].abs() < 0.001, "{times:?}");
        assert!(times.windows(2).all(|t| t[1] > t[0]), "{times:?}");
        run.until("it is told", |run| run.state()["outputs"][number]["state"] == "finished");
    }
    // One that goes on is finished with the run.
    let name = start().json()["name"].as_str().unwrap().to_owned();
    run.until("it has frames", |run| run.state()["outputs"][3]["frames"].as_u64() > Some(10));
    let folder = run.folder.path().to_owned();
    let Run { live, folder: kept, .. } = run;
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(frame_times(&folder.join(&name)).len() > 10);
    assert!(frame_times(&folder.join("whole.mkv")).len() > 36);
    assert!(crate::run::files(&folder, "").iter().all(|name| !name.contains("partial")));
    drop(kept);
}

#[test]
fn the_description_lists_what_is_there_and_no_more() {
    let run = Run::start(&[]).ready();
    let document = get(&run.host, "/api/v1/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    for path in
        ["state", "settings", "models", "events", "snapshot", "recording", "picture", "session"]
    {
        assert!(paths.contains_key(&format!("/api/v1/{path}")), "{path}");
    }
    // Every operation answers with a status that it names, and every other method is refused.
    for (path, operations) in paths {
        let asked = path.replace("{number}", "0");
        for method in ["get", "post", "patch", "put", "delete"] {
            // A stream never ends, and a snapshot is tested elsewhere.
            if path.ends_with("/events") && method == "get" {
                continue;
            }
            let status = request(&run.host, &method.to_uppercase(), &asked, &[], "").status;
            match &operations[method]["responses"] {
                serde_json::Value::Null => assert_eq!(status, 405, "{method} {path}"),
                responses => assert!(
                    responses.get(status.to_string()).is_some(),
                    "{method} {path} answers {status}, which is not described: {responses}"
                ),
            }
        }
    }
    // What the state holds is what its description says.
    let schemas = &document["components"]["schemas"];
    let described = |name: &str, value: &serde_json::Value| {
        let keys = |value: &serde_json::Value| -> Vec<String> {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&schemas[name]["properties"]), keys(value), "{name}");
    };
    let state = run.state();
    described("State", &state);
    described("Settings", &state["settings"]);
    described("Source", &state["source"]);
    described("Network", &state["network"]);
    described("Delay", &state["delay"]);
    run.ends();
}
