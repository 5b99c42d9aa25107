//! The pictures of the page in docs/browser.md: `WRITE_SCREENSHOTS=docs/browser cargo test --release --test
//! browser -- --ignored screenshots`. Without that variable they are made and thrown away.

use std::time::Duration;

use serde_json::json;

use crate::block_on;
use crate::common::bunny;
use crate::driver::{Browser, Driver};
use crate::run::Run;

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn screenshots_of_desktop_and_phone_light_and_dark() {
    block_on(async {
        let clip = bunny();
        let models = [
            "mosaic-lite",
            "starry-night-lite",
            "great-wave-lite",
            "the-scream-lite",
            "composition-vii-lite",
        ];
        let mut args = vec![
            "-i",
            clip.to_str().unwrap(),
            "--loop",
            "--scale",
            "0.35",
            "--steady",
            "0",
            "--control",
            "127.0.0.1:0",
        ];
        args.extend(["-o", "rtsp://127.0.0.1:0/art"]);
        models.iter().for_each(|model| args.extend(["-m", model]));
        let run = Run::of(&args).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("styles", "return document.querySelectorAll('.style img').length === 5").await;
        let scheme = |name: &'static str| json!({"features": [{"name": "prefers-color-scheme", "value": name}]});
        page.devtools("Emulation.setEmulatedMedia", scheme("dark")).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        keep("desktop-dark", &page).await;
        page.devtools("Emulation.setEmulatedMedia", scheme("light")).await;
        page.press("body", "b").await;
        page.until("the divider", "return !document.getElementById('compare-layer').hidden").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        keep("desktop-light", &page).await;
        page.press("body", "b").await;
        let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1.5, "mobile": true});
        page.devtools("Emulation.setDeviceMetricsOverride", phone).await;
        page.devtools("Emulation.setEmulatedMedia", scheme("dark")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        keep("phone-dark", &page).await;
        // Nothing is wider than the screen.
        let within = "return Array.from(document.querySelectorAll('button, canvas, .card, header p'))\
            .every((part) => part.getBoundingClientRect().right <= 390)";
        assert_eq!(page.run(within).await, true);
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.ends();
    });
}

/// A sky, an oval in the middle, and the ground.
fn mask(folder: &std::path::Path) -> String {
    let path = folder.join("mask.png");
    let region = |x: u32, y: u32| {
        let (across, down) = ((f64::from(x) - 330.0) / 150.0, (f64::from(y) - 190.0) / 150.0);
        let sky = y + x / 10 < 130;
        if across.hypot(down) < 1.0 {
            255
        } else if sky {
            128
        } else {
            0
        }
    };
    image::RgbImage::from_fn(640, 360, |x, y| image::Rgb([region(x, y); 3])).save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn screenshots_of_the_regions_of_a_mask() {
    block_on(async {
        let (clip, folder) = (bunny(), tempfile::tempdir().unwrap());
        let mask = mask(folder.path());
        let mut args = vec!["-i", clip.to_str().unwrap(), "--loop", "--mask", &mask];
        args.extend(["--scale", "0.35", "--steady", "0", "--control", "127.0.0.1:0"]);
        let models = [
            "great-wave-lite@128",
            "none@white",
            "mosaic-lite@black",
            "starry-night-lite",
            "the-scream-lite",
        ];
        models.iter().for_each(|model| args.extend(["-m", model]));
        let run = Run::of(&args).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &run.link).await;
        page.until("models", "return document.querySelectorAll('.choice img').length === 12").await;
        let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
        page.devtools("Emulation.setEmulatedMedia", dark).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        keep("regions", &page).await;
        let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 1.5, "mobile": true});
        page.devtools("Emulation.setDeviceMetricsOverride", phone).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Nothing is wider than the screen.
        let within = "return Array.from(document.querySelectorAll('.choice, .where, .card'))\
            .every((part) => part.getBoundingClientRect().right <= 390)";
        assert_eq!(page.run(within).await, true);
        assert_eq!(page.complaints().await, Vec::<String>::new());
        page.close().await;
        run.ends();
    });
}

async fn keep(name: &str, page: &Browser) {
    let png = page.screenshot().await;
    let picture = image::load_from_memory(&png).unwrap().to_rgb8();
    assert!(picture.width() > 300 && picture.height() > 500);
    let Some(folder) = std::env::var_os("WRITE_SCREENSHOTS") else { return };
    std::fs::create_dir_all(&folder).unwrap();
    let path = std::path::Path::new(&folder).join(format!("{name}.jpg"));
    let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    image::codecs::jpeg::JpegEncoder::new_with_quality(file, 78).encode_image(&picture).unwrap();
}
