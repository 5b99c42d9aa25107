//! The page of a live run in a real browser: headless Chromium, driven by chromedriver.
//!
//! `make test` runs these where the system has both; `$BROWSER_FOR_TESTS` names another Chromium.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "browser/driver.rs"]
mod driver;
#[path = "control/http.rs"]
#[allow(dead_code)]
mod http;
#[path = "browser/pictures.rs"]
mod pictures;
#[path = "live/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "browser/regions.rs"]
mod regions;
#[path = "control/run.rs"]
#[allow(dead_code)]
mod run;
#[path = "browser/screenshots.rs"]
mod screenshots;
#[path = "browser/webrtc.rs"]
mod webrtc;

use serde_json::json;

use driver::{Browser, Driver, PICTURE, difference};
use run::{Run, files};

/// Runs what is asynchronous.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn the_picture_moves_and_a_click_on_a_style_changes_it_without_an_error() {
    block_on(async {
        let run = Run::start(&["-m", "starry-night-lite", "--steady", "0"]).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("a picture", PICTURE).await;
        let first = page.pixels().await;
        page.until_pixels("they move", |now| difference(&first, now) > 1.0).await;
        page.until("thumbnails", "return document.querySelectorAll('.style img').length === 2")
            .await;
        // On a picture that stands still: what changes is the style.
        let mosaic = page.mean_of_pictures().await;
        page.click("#style-list label:nth-child(2)").await;
        page.until("the choice is sent", "return document.querySelector('#style-list input:checked').value === 'starry-night-lite'").await;
        run.until("the program has it", |run| {
            run.state()["settings"]["model"] == "starry-night-lite"
        });
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let starry = page.mean_of_pictures().await;
        assert!(difference(&mosaic, &starry) > 5.0, "{}", difference(&mosaic, &starry));
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.ends();
    });
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn open_shows_the_page_in_the_browser_of_the_desktop() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    // xdg-open starts what $BROWSER names; this one keeps what it shows after some seconds.
    let [browser, shot] = ["browser", "shot.png"].map(|name| folder.path().join(name));
    let chromium = std::env::var("BROWSER_FOR_TESTS").unwrap_or_else(|_| "chromium".to_owned());
    let script = format!(
        "#!/bin/sh\nexec {chromium} --headless --no-sandbox --disable-dev-shm-usage --disable-gpu \
         --user-data-dir={} --window-size=1000,900 --timeout=8000 --screenshot={} \"$@\"\n",
        folder.path().join("profile").display(),
        shot.display()
    );
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["-m", "mosaic-lite", "-i", "test:96x64@15", "--control", "127.0.0.1:0", "--open"];
    let run = Run::spawn(common::nst().args(args).env("BROWSER", &browser));
    run.until("the browser has shown the page", |_| image::open(&shot).is_ok());
    let colours: std::collections::HashSet<_> =
        image::open(&shot).unwrap().to_rgb8().pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 500, "{} colours: no picture in it", colours.len());
    run.ends();
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn sliders_keys_and_the_divider_act_and_a_reload_comes_back_to_the_same_state() {
    block_on(async {
        let run = Run::start(&["-m", "starry-night-lite", "--steady", "0"]).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("a picture", PICTURE).await;
        page.until(
            "settings",
            "return document.getElementById('strength-value').textContent === '100 %'",
        )
        .await;

        // Before and after: the left half is the source, the right half is painted.
        page.press("body", "b").await;
        page.until("the divider", "return !document.getElementById('compare-layer').hidden").await;
        let (left, right) = page.against_pair().await;
        assert!(left < 6.0 && right < 6.0, "left {left}, right {right} away from source and paint");
        page.press("#divider", "\u{e010}").await; // End: all of it is the source
        page.until("it moves", "return document.getElementById('divider').value === '100'").await;
        page.press("body", "b").await;
        page.until("no divider", "return document.getElementById('compare-layer').hidden").await;

        // A slider by its keys: Home is its beginning.
        page.press("#strength", "\u{e011}").await;
        run.until("strength 0", |run| run.state()["settings"]["strength"] == 0.0);
        page.press("#colours", " ").await;
        run.until("colours kept", |run| run.state()["settings"]["preserve_color"] == true);
        page.press("body", "n").await;
        run.until("the next model", |run| run.state()["settings"]["model"] == "starry-night-lite");
        page.press("body", "+").await;
        run.until("a step", |run| run.state()["settings"]["strength"] == 0.1);
        page.press("#stroke", "\u{e010}").await;
        run.until("the widest stroke", |run| run.state()["settings"]["stroke"] == 4.0);

        let shown = "return ['strength-value', 'stroke-value', 'scale-value', 'steady-value']\
            .map((name) => document.getElementById(name).textContent)\
            .concat(document.getElementById('colours').checked, document.querySelector('#style-list input:checked').value)";
        page.until(
            "all is shown",
            "return document.getElementById('stroke-value').textContent === '× 4.00'",
        )
        .await;
        let before = page.run(shown).await;
        assert_eq!(before, json!(["10 %", "× 4.00", "100 %", "0 %", true, "starry-night-lite"]));
        page.reload().await;
        page.until(
            "settings",
            "return document.getElementById('stroke-value').textContent === '× 4.00'",
        )
        .await;
        page.until("styles", "return document.querySelector('#style-list input:checked')").await;
        assert_eq!(page.run(shown).await, before);
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.ends();
    });
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn two_browsers_agree_and_one_that_is_frozen_holds_up_nothing() {
    block_on(async {
        let run = Run::start(&["-m", "starry-night-lite", "-o", "rtsp://127.0.0.1:0/art"]).ready();
        let (driver, other) = (Driver::start(), Driver::start());
        let page = Browser::open(&driver, &run.link).await;
        let second = Browser::open(&other, &run.link).await;
        for page in [&page, &second] {
            page.until("styles", "return document.querySelectorAll('.style').length === 2").await;
        }
        page.press("body", "n").await;
        second.until("the other sees it", "return document.querySelector('#style-list input:checked')?.value === 'starry-night-lite'").await;
        second.press("#steady", "\u{e011}").await;
        page.until(
            "and the other way",
            "return document.getElementById('steady-value').textContent === '0 %'",
        )
        .await;

        second.freeze(true).await;
        let frames = || run.state()["outputs"][0]["frames"].as_u64().unwrap();
        let before = frames();
        run.until("frames flow", |_| frames() > before + 60);
        page.press("body", "p").await;
        run.until("it answers", |run| run.state()["settings"]["model"] == "mosaic-lite");
        second.freeze(false).await;
        second.until("it catches up", "return document.querySelector('#style-list input:checked').value === 'mosaic-lite'").await;
        for page in [page, second] {
            assert_eq!(page.complaints().await, Vec::<String>::new());
            page.close().await;
        }
        run.ends();
    });
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn snapshots_download_recordings_run_and_a_lost_connection_is_shown_and_retried() {
    block_on(async {
        let run = Run::start(&[]).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("a picture", PICTURE).await;
        page.click("#snapshot").await;
        run.until("it is saved", |run| run.files(".png").len() == 1);
        let name = run.files(".png").remove(0);
        page.until(
            "the page has it",
            "return document.getElementById('toast').textContent.startsWith('Saved')",
        )
        .await;
        run.until("it is downloaded", |_| files(page.downloads(), ".png") == [name.clone()]);
        let saved = std::fs::read(run.folder.path().join(&name)).unwrap();
        assert_eq!(std::fs::read(page.downloads().join(&name)).unwrap(), saved);
        page.click("#record").await;
        page.until(
            "it records",
            "return document.getElementById('record').getAttribute('aria-pressed') === 'true'",
        )
        .await;
        run.until("frames", |run| run.state()["outputs"][0]["frames"].as_u64() > Some(15));
        page.until("it is not busy", "return !document.getElementById('record').disabled").await;
        page.click("#record").await;
        run.until("it is recorded", |run| run.files(".mp4").len() == 1);
        assert_eq!(page.complaints().await, Vec::<String>::new());

        // The program ends, and another one takes its place.
        let address = run.host.clone();
        run.ends();
        page.until(
            "it is shown",
            "return document.getElementById('notice').textContent.includes('Connection lost')",
        )
        .await;
        let again =
            Run::of(&["-m", "starry-night-lite", "-i", "test:96x64@15", "--control", &address])
                .ready();
        page.until("it is back", "return document.querySelector('#style-list input')?.value === 'starry-night-lite' && document.getElementById('notice').hidden").await;
        page.close().await;
        again.ends();
    });
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn the_link_signs_in_and_leaves_no_token_in_the_address() {
    block_on(async {
        let run = Run::of(&["-m", "mosaic-lite", "-i", "test:96x64@15", "--control", "0.0.0.0:0"]);
        let port = run.host.rsplit(':').next().unwrap();
        let token = run.link.split('#').nth(1).unwrap();
        let plain = format!("http://127.0.0.1:{port}/");
        let driver = Driver::start();
        let page = Browser::open(&driver, &plain).await;
        page.until("it asks", "return document.getElementById('sign-in').open").await;
        page.press("#token", "wrong-token").await;
        page.click("#sign-in button").await;
        page.until(
            "it says so",
            "return document.getElementById('sign-in-error').textContent.includes('not the token')",
        )
        .await;
        page.go("about:blank").await;
        page.go(&format!("{plain}#{token}")).await;
        page.until("a picture", PICTURE).await;
        assert_eq!(
            page.run(
                "return [location.href, document.cookie, document.getElementById('sign-in').open]"
            )
            .await,
            json!([plain, "", false])
        );
        page.reload().await;
        page.until("it is still signed in", PICTURE).await;
        page.close().await;
        run.ends();
    });
}
