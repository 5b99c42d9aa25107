//! Regions of a mask on the page.

use serde_json::{Value, json};

use crate::block_on;
use crate::driver::{Browser, Driver, PICTURE, difference};
use crate::run::{Run, still_in_halves};

/// Samples of the left and of the right half of the picture that is shown.
async fn halves(page: &Browser) -> [Vec<f64>; 2] {
    let script = "const canvas = document.getElementById('picture');\
        const half = canvas.width / 2;\
        return [0, half].map((x) => Array.from(\
            canvas.getContext('2d').getImageData(x, 0, half, canvas.height).data.filter((_, n) => n % 7 === 0)));";
    let found = page.run(script).await;
    [0, 1].map(|side| {
        let values = found[side].as_array().unwrap();
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    })
}

async fn until_halves(page: &Browser, what: &str, is: impl Fn(&[Vec<f64>; 2]) -> bool) {
    let started = std::time::Instant::now();
    while !is(&halves(page).await) {
        assert!(started.elapsed().as_secs() < 60, "not in time: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn another_model_for_a_region_changes_the_pixels_of_that_region_only() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (mask, source) = still_in_halves(folder.path());
        let models = ["-m", "none@black", "-m", "mosaic-lite@white", "-m", "starry-night-lite"];
        let rest = ["--mask", &mask, "--pipeline-source", &source, "--control", "127.0.0.1:0"];
        let run = Run::of(&[&models[..], &rest, &["--steady", "0"]].concat()).ready();
        let driver = Driver::start();
        // Single pictures: of what stands still each is the same.
        let page = Browser::open(&driver, &format!("{}?webrtc=off", run.link)).await;
        page.until("a picture", PICTURE).await;
        page.until(
            "models",
            "return document.querySelectorAll('.region .choice img').length === 4",
        )
        .await;
        let texts = "return Array.from(document.querySelectorAll('.region'), (region) =>\
            [region.querySelector('b').textContent, region.querySelector('.painter').textContent])";
        let at_first = json!([["Black", "unpainted"], ["White", "mosaic-lite"]]);
        assert_eq!(page.run(texts).await, at_first);
        let hidden = "return document.getElementById('styles').hidden";
        assert_eq!(page.run(hidden).await, true, "no one style is chosen");
        let shapes =
            "return Array.from(document.querySelectorAll('.shape'), (shape) => shape.naturalWidth)";
        page.until(
            "shapes",
            &format!("return (() => {{ {shapes} }})().every((width) => width === 96)"),
        )
        .await;

        let [left, right] = halves(&page).await;
        until_halves(&page, "it stands still", |[now, _]| difference(&left, now) < 0.5).await;
        page.click(".region:nth-child(1) .choice:nth-child(2)").await;
        until_halves(&page, "it is painted", |[now, _]| difference(&left, now) > 10.0).await;
        let [_, other] = halves(&page).await;
        assert!(difference(&right, &other) < 0.5, "the other region stays");
        assert_eq!(run.state()["settings"]["regions"][0]["model"], "starry-night-lite");

        // A key, as on the terminal: after the last model comes none.
        page.press("body", "1").await;
        until_halves(&page, "it is as before", |[now, _]| difference(&left, now) < 0.5).await;
        assert_eq!(page.run(texts).await, at_first);

        // A slider by its keys: Home is its beginning.
        page.press("#region-strength-1", "\u{e011}").await;
        until_halves(&page, "unpainted", |[_, now]| difference(&right, now) > 10.0).await;
        let [now, _] = halves(&page).await;
        // Colours of its last column are those of the next, too: JPEG has half as many.
        assert!(difference(&left, &now) < 1.0, "the other region stays");
        run.until("strength 0", |run| run.state()["settings"]["regions"][1]["strength"] == 0.0);
        page.reload().await;
        page.until(
            "it comes back to the same",
            "return document.getElementById('region-strength-1')?.value === '0'",
        )
        .await;
        // The list of models comes by itself.
        page.until(
            "models",
            "return document.querySelectorAll('.region .choice img').length === 4",
        )
        .await;
        let checked = "return Array.from(document.querySelectorAll('.region input:checked'), (input) => input.value)";
        assert_eq!(page.run(checked).await, json!(["none", "mosaic-lite"]));
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.ends();
    });
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn without_a_mask_the_page_has_no_regions() {
    block_on(async {
        let run = Run::start(&[]).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("styles", "return document.querySelectorAll('.style').length === 1").await;
        let shown = "return ['regions', 'region-keys', 'styles', 'style-keys'].map((name) => document.getElementById(name).hidden)";
        page.until(
            "settings",
            "return document.getElementById('strength-value').textContent === '100 %'",
        )
        .await;
        let hidden: Value = page.run(shown).await;
        assert_eq!(hidden, json!([true, true, false, false]));
        page.close().await;
        run.ends();
    });
}
