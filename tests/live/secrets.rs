//! User and password appear nowhere: not in logs, errors or graphs.

use std::time::Duration;

use crate::PASSWORD;
use crate::camera::Camera;
use crate::media_server::MediaServer;
use crate::program::{self, Live};

/// As it would stand in an Authorization header: `me:` and the password.
const BASIC: &str = "bWU6czNjcjN0LXdvcmQ=";

#[test]
fn neither_logs_nor_graphs_hold_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::guarded("me", PASSWORD);
    let server = MediaServer::start(false, Some(("me", PASSWORD)));
    let who = format!("me:{PASSWORD}@");
    let input = camera.url().replace("rtsp://", &format!("rtsp://{who}"));
    let output = format!("rtsp://{who}127.0.0.1:0/art");
    let live = Live::start(&[
        "-vv",
        "-i",
        &input,
        "-o",
        &output,
        "--rtsp-push",
        &server.url(&who),
        "--strength",
        "0",
        "--json",
        "--dump-dot",
        folder.path().to_str().unwrap(),
    ]);
    server.wait_for(25, 0);
    let url = live.served().replace("rtsp://", &format!("rtsp://{who}"));
    assert!(program::can_watch(&url));
    std::thread::sleep(Duration::from_secs(1));
    let ended = live.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let mut texts = vec![("what it says".to_owned(), ended.stdout + &ended.stderr)];
    for name in ["source.dot", "output-1.dot", "output-2.dot"] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.starts_with("digraph"), "{name}");
        texts.push((name.to_owned(), text));
    }
    let elements = [("source.dot", "rtspsrc"), ("output-2.dot", "rtspclientsink")];
    for (name, element) in elements {
        let (_, text) = texts.iter().find(|(n, _)| n == name).unwrap();
        assert!(text.to_lowercase().contains(element), "{name} shows {element}");
    }
    for (name, text) in &texts {
        for secret in [PASSWORD, BASIC] {
            let at = text.find(secret);
            assert!(at.is_none(), "{name}: …{}", &text[at.unwrap().saturating_sub(200)..]);
        }
    }
}
