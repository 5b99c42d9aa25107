//! The page by WebRTC: what plays, and a camera that is painted.

use std::time::Duration;

use serde_json::json;

use crate::block_on;
use crate::driver::{Browser, Driver, PICTURE};
use crate::run::Run;

/// Frames that the video has shown.
const FRAMES: &str =
    "return document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames";

async fn frames(page: &Browser) -> f64 {
    page.run(FRAMES).await.as_f64().unwrap()
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn the_video_plays_with_its_sound_and_single_pictures_stand_in_for_it() {
    block_on(async {
        let run = Run::with_sound();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("the video", "return !document.getElementById('video').hidden").await;
        page.until("a picture", PICTURE).await;
        let before = frames(&page).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let shown = frames(&page).await - before;
        assert!((30.0..75.0).contains(&shown), "{shown} frames in 4 s of 15 a second");
        assert_eq!(run.state()["viewers"], 1);
        // Sound: packets come, and it can be turned on.
        page.until("sound", "return !document.getElementById('sound').hidden").await;
        page.click("#sound").await;
        page.until("it is on", "return !document.getElementById('video').muted").await;

        // Before and after is made of single pictures.
        page.press("body", "b").await;
        page.until("the divider", "return !document.getElementById('compare-layer').hidden").await;
        assert_eq!(page.run("return document.getElementById('video').hidden").await, true);
        page.press("body", "b").await;
        page.until("the video again", "return !document.getElementById('video').hidden").await;
        assert_eq!(page.complaints().await, Vec::<String>::new());

        // A page that asks for none gets single pictures, and whoever leaves is no viewer any more.
        page.go(&format!("{}?webrtc=off", run.link)).await;
        page.until("a picture", PICTURE).await;
        assert_eq!(page.run("return document.getElementById('video').hidden").await, true);
        run.until("the viewer has left", |run| run.state()["viewers"] == 0);
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.ends();
    });
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn a_camera_is_painted_leaves_and_comes_back() {
    block_on(async {
        let run = Run::of(&[
            "-m",
            "mosaic-lite",
            "--steady",
            "0",
            "--size",
            "160x120",
            "--fps",
            "10",
            "-i",
            "whip:",
            "--control",
            "127.0.0.1:0",
        ]);
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("the button", "return !document.getElementById('camera').hidden").await;
        page.click("#camera").await;
        page.until("the video", "return !document.getElementById('video').hidden").await;
        let state = run.state();
        assert_eq!(
            state["publisher"],
            json!({"connected": true, "width": 160, "height": 120, "fps": 10})
        );
        assert_eq!(
            (&state["source"]["width"], &state["source"]["height"]),
            (&json!(160), &json!(120))
        );
        let before = frames(&page).await;
        page.until("it moves", &format!("return (() => {{ {FRAMES} }})() > {}", before + 20.0))
            .await;
        assert!(painted(&run) > 8.0, "{}", painted(&run));

        page.click("#camera").await;
        run.until("it is missed", |run| run.state()["source"]["state"] == "lost");
        assert_eq!(run.state()["publisher"]["connected"], false);
        page.click("#camera").await;
        run.until("it is back", |run| run.state()["source"]["state"] == "open");
        run.until("frames flow", |run| run.state()["ready"] == true);
        assert_eq!(run.state()["source"]["losses"], 1);
        let before = frames(&page).await;
        page.until("it moves", &format!("return (() => {{ {FRAMES} }})() > {}", before + 10.0))
            .await;
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.until("it is missed again", |run| run.state()["publisher"]["connected"] == false);
        run.ends();
    });
}

/// How far what is painted is from the source, in levels of 255.
fn painted(run: &Run) -> f64 {
    let pair = crate::http::get(&run.host, "/api/v1/picture?pair=true");
    let pair = image::load_from_memory(&pair.body).unwrap().to_luma8();
    let half = pair.width() / 2;
    let sum: u64 = (0..pair.height())
        .flat_map(|y| (0..half).map(move |x| (x, y)))
        .map(|(x, y)| u64::from(pair[(x, y)].0[0].abs_diff(pair[(x + half, y)].0[0])))
        .sum();
    sum as f64 / f64::from(half * pair.height())
}
