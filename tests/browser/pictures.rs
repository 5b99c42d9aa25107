//! Pictures dropped onto the page.

use serde_json::json;

use crate::block_on;
use crate::driver::{Browser, Driver, PICTURE};
use crate::run::Run;

/// Makes a picture of stripes in a colour, and has it dropped, as the event `how` of the window.
fn drop_script(name: &str, [light, dark]: [&str; 2], how: &str) -> String {
    format!(
        "const canvas = Object.assign(document.createElement('canvas'), {{width: 90, height: 60}});\
         const context = canvas.getContext('2d');\
         for (let n = 0; n < 12; n++) {{ context.fillStyle = n % 2 ? '{dark}' : '{light}'; context.fillRect(8 * n, 0, 8, 60); }}\
         return new Promise((done) => canvas.toBlob((blob) => {{\
            const data = new DataTransfer();\
            data.items.add(new File([blob], '{name}', {{type: 'image/png'}}));\
            const event = {how};\
            dispatchEvent(event);\
            done(event.defaultPrevented);\
         }}))"
    )
}

const RED: [&str; 2] = ["#e13c28", "#4b140d"];
const BLUE: [&str; 2] = ["#2846e1", "#0d174b"];
const DROP: &str = "new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true})";
const ENTER: &str =
    "new DragEvent('dragenter', {dataTransfer: data, bubbles: true, cancelable: true})";
const PASTE: &str =
    "new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})";

/// Red less blue of the picture that is shown.
const LEAN: &str = "(() => { const canvas = document.getElementById('picture');\
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;\
    let sum = 0; for (let n = 0; n < data.length; n += 4) sum += data[n] - data[n + 2];\
    return sum / (data.length / 4); })()";

#[test]
#[ignore = "needs Chromium; make test runs it"]
fn a_picture_that_is_dropped_onto_the_page_is_painted_in() {
    block_on(async {
        let run = Run::start(&["--steady", "0"]).ready();
        let driver = Driver::start();
        let page = Browser::open(&driver, &format!("{}?webrtc=off", run.link)).await;
        let other = Browser::open(&driver, &format!("{}?webrtc=off", run.link)).await;
        page.until("a picture", PICTURE).await;
        page.until("models", "return document.querySelectorAll('.style').length === 1").await;
        page.run(&drop_script("red.png", RED, ENTER)).await;
        let shown = "return document.getElementById('drop').classList.contains('shown')";
        assert_eq!(page.run(shown).await, true);
        assert_eq!(page.run(&drop_script("red.png", RED, DROP)).await, true);
        assert_eq!(page.run(shown).await, false);
        let named = |names: &[&str]| {
            let texts =
                "Array.from(document.querySelectorAll('.style .name'), (name) => name.textContent)";
            format!("return JSON.stringify({texts}) === '{}'", json!(names))
        };
        page.until("the style", &named(&["mosaic-lite", "red"])).await;
        page.until("it is chosen", "return document.querySelector('input[value=red]').checked")
            .await;
        page.until("it is painted", &format!("return {LEAN} > 30")).await;
        page.until(
            "its thumbnail",
            "return document.querySelectorAll('.style img')[1]?.naturalWidth > 0",
        )
        .await;
        // Whoever else watches sees it come.
        other.until("the style", &named(&["mosaic-lite", "red"])).await;

        page.run(&drop_script("blue.png", BLUE, PASTE)).await;
        page.until("the style", &named(&["mosaic-lite", "red", "blue"])).await;
        page.until("blue", &format!("return {LEAN} < -20")).await;
        // In the order of the list of styles.
        let labels =
            "Array.from(document.querySelectorAll('#blend label'), (label) => label.textContent)";
        page.until("sliders", &format!("return {labels}.join() === 'red,blue'")).await;
        run.until("blue alone", |run| {
            run.state()["settings"]["blend"] == json!({"red": 0.0, "blue": 1.0})
        });

        assert_eq!(page.complaints().await, Vec::<String>::new());
        // What is no picture is refused in words.
        page.run(
            "const data = new DataTransfer(); data.items.add(new File(['no picture'], 'notes.txt', {type: 'text/plain'}));\
             dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}))",
        )
        .await;
        let says = "return document.getElementById('toast').textContent.includes(\"cannot decode 'notes.txt'\")";
        page.until("a refusal", says).await;
        page.close().await;
        other.close().await;
        run.ends();
    });
}
