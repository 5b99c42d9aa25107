//! Pictures that are sent while the run goes on, and painted in.

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::http::{Answer, exchange, get, request};
use crate::run::Run;

/// A picture of stripes in this colour, and a darker one.
fn stripes(color: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(90, 60, |x, y| match (x / 6 + y / 9) % 2 {
        0 => Rgb(color),
        _ => Rgb(color.map(|c| c / 3)),
    })
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn send(host: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(host, &[head.as_bytes(), body].concat()).unwrap()
}

fn add(run: &Run, name: &str, color: [u8; 3]) -> Value {
    let path = format!("/api/v1/pictures?name={name}");
    let answer = send(&run.host, &path, "image/png", &png(&stripes(color)));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn patch(run: &Run, change: &Value) -> Value {
    request(&run.host, "PATCH", "/api/v1/settings", &[], &change.to_string()).json()
}

/// Mean colour of what is shown now.
fn mean(run: &Run) -> [f64; 3] {
    let answer = get(&run.host, "/api/v1/picture?after=0");
    let picture = image::load_from_memory(&answer.body).unwrap().to_rgb8();
    let sum = |c: usize| picture.pixels().map(|p| f64::from(p[c])).sum::<f64>();
    [0, 1, 2].map(|c| sum(c) / f64::from(picture.width() * picture.height()))
}

/// Red less blue.
fn lean(run: &Run) -> f64 {
    let [red, _, blue] = mean(run);
    red - blue
}

/// The same once no fade is under way.
fn settled(run: &Run) -> f64 {
    let last = std::cell::Cell::new(f64::NAN);
    run.until("it stands", |run| {
        std::thread::sleep(std::time::Duration::from_millis(600));
        let now = lean(run);
        (now - last.replace(now)).abs() < 4.0
    });
    last.get()
}

#[test]
fn pictures_become_models_that_can_be_chosen_and_mixed() {
    let run = Run::start(&["--steady", "0"]).ready();
    let red = add(&run, "red.png", [225, 60, 40]);
    assert_eq!(red, json!({"name": "red", "thumbnail": "/api/v1/models/1/thumbnail"}));
    assert_eq!(get(&run.host, "/api/v1/models/1/thumbnail").status, 200);
    assert_eq!(run.state()["models"], json!(["mosaic-lite", "red"]));
    assert_eq!(run.state()["settings"]["model"], "mosaic-lite", "it is not painted yet");
    assert_eq!(patch(&run, &json!({"model": "red"}))["blend"], json!({}));
    run.until("red", |run| lean(run) > 30.0);
    let all_red = settled(&run);

    assert_eq!(add(&run, "blue.png", [40, 70, 225])["name"], "blue");
    assert_eq!(run.state()["settings"]["blend"], json!({"red": 1.0, "blue": 0.0}));
    run.until("red still", |run| (lean(run) - all_red).abs() < 15.0);
    patch(&run, &json!({"model": "blue"}));
    run.until("blue", |run| lean(run) < -20.0);
    let all_blue = settled(&run);
    patch(&run, &json!({"blend": {"red": 1, "blue": 1}}));
    let between = (all_red * 0.25 + all_blue * 0.75)..(all_red * 0.75 + all_blue * 0.25);
    let between = between.start.min(between.end)..between.start.max(between.end);
    run.until("both", |run| between.contains(&lean(run)));
    // Another file of the same name.
    assert_eq!(add(&run, "red.png", [200, 30, 30])["name"], "red-2");
    let names = json!(["mosaic-lite", "red", "blue", "red-2"]);
    assert_eq!(run.state()["models"], names);
    let listed = get(&run.host, "/api/v1/models").json();
    let listed: Vec<Value> =
        listed.as_array().unwrap().iter().map(|model| model["name"].clone()).collect();
    assert_eq!(json!(listed), names);
    run.ends();
}

fn write(folder: &Path, name: &str, color: [u8; 3]) -> String {
    let path = folder.join(name);
    stripes(color).save(&path).unwrap();
    path.display().to_string()
}

#[test]
fn pictures_join_those_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let a = write(folder.path(), "a.png", [225, 60, 40]);
    let b = write(folder.path(), "b.png", [60, 200, 60]);
    let page = ["-i", "test:96x64@15", "--control", "127.0.0.1:0", "--steady", "0"];
    let run = Run::of(&[&["--style", &a, "--style", &b], &page[..]].concat()).ready();
    assert_eq!(run.state()["models"], json!(["a", "b"]));
    assert_eq!(run.state()["settings"]["blend"], json!({"a": 1.0, "b": 0.0}));
    run.until("painted", |run| lean(run) > 30.0);
    let before = settled(&run);
    add(&run, "c.png", [40, 70, 225]);
    assert_eq!(run.state()["settings"]["blend"], json!({"a": 1.0, "b": 0.0, "c": 0.0}));
    run.until("as before", |run| (lean(run) - before).abs() < 15.0);
    patch(&run, &json!({"blend": {"c": 1}}));
    run.until("the new one", |run| lean(run) < -20.0);
    run.ends();
}

#[test]
fn a_region_can_be_painted_in_a_picture_that_came() {
    let folder = tempfile::tempdir().unwrap();
    let (mask, source) = crate::run::still_in_halves(folder.path());
    let models = ["-m", "mosaic-lite@white", "-m", "none@black", "--mask", &mask];
    let page = ["--pipeline-source", &source, "--control", "127.0.0.1:0", "--steady", "0"];
    let run = Run::of(&[&models[..], &page].concat()).ready();
    add(&run, "red.png", [225, 60, 40]);
    let left = |run: &Run| {
        let answer = get(&run.host, "/api/v1/picture?after=0");
        let picture = image::load_from_memory(&answer.body).unwrap().to_rgb8();
        let (width, height) = picture.dimensions();
        let left = image::imageops::crop_imm(&picture, 0, 0, width / 2, height).to_image();
        left.pixels().map(|p| f64::from(p[0]) - f64::from(p[2])).sum::<f64>()
            / f64::from(left.width() * height)
    };
    let before = left(&run);
    let answer = patch(&run, &json!({"regions": [{"region": "black", "model": "red"}]}));
    assert_eq!(answer["model"], "mosaic-lite + red");
    run.until("painted", |run| left(run) > before + 30.0);
    run.ends();
}

#[test]
fn after_sixteen_the_oldest_that_is_not_painted_makes_room() {
    let run = Run::start(&["--steady", "0"]).ready();
    for n in 0..16u8 {
        add(&run, &format!("p{n}.png"), [225 - 10 * n, 60, 30 + 10 * n]);
    }
    assert_eq!(patch(&run, &json!({"model": "p0"}))["model"], "p0");
    let last = add(&run, "last.png", [40, 70, 225]);
    assert_eq!(last, json!({"name": "last", "thumbnail": "/api/v1/models/2/thumbnail"}));
    let models = run.state()["models"].clone();
    assert_eq!(
        (models.as_array().unwrap().len(), &models[1], &models[2]),
        (17, &json!("p0"), &json!("last"))
    );
    assert_eq!(run.state()["settings"]["blend"].as_object().unwrap().len(), 16);
    patch(&run, &json!({"model": "last"}));
    run.until("the last", |run| lean(run) < -20.0);
    run.ends();
}

#[test]
fn what_is_no_picture_is_refused_in_a_line() {
    let run = Run::start(&[]).ready();
    let path = "/api/v1/pictures?name=wave.jpg";
    let small = png(&stripes([9, 9, 9]));
    let cut = &small[..small.len() / 2];
    let mut bomb = Cursor::new(Vec::new());
    RgbImage::new(1, 1).write_to(&mut bomb, ImageFormat::Bmp).unwrap();
    let mut bomb = bomb.into_inner();
    // Width and height in the header, and no more of it.
    bomb[18..26].copy_from_slice(&[0, 0x40, 0, 0, 0, 0x40, 0, 0]);
    for (kind, body, status, says) in [
        ("image/jpeg", &b"no picture at all"[..], 422, "cannot decode 'wave.jpg'"),
        ("image/png", &[], 422, "cannot decode 'wave.jpg'"),
        ("image/png", cut, 422, "cannot decode 'wave.jpg'"),
        ("image/bmp", &bomb, 422, "268 megapixels"),
        ("application/json", &small, 415, "Content-Type: image/*"),
        ("image/png", &vec![0; (32 << 20) + 1], 413, "bytes at most"),
    ] {
        let answer = send(&run.host, path, kind, body);
        let text = answer.text();
        assert_eq!(answer.status, status, "{text}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
    let unknown = send(&run.host, "/api/v1/pictures?nam=a", "image/png", &small);
    assert_eq!(unknown.status, 422, "{}", unknown.text());
    assert_eq!(run.state()["models"], json!(["mosaic-lite"]));
    run.ends();
}
