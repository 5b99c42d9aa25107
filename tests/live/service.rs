//! The program as a service: what it tells who has set NOTIFY_SOCKET.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::camera::Camera;
use crate::program::Live;

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Manager { socket, folder }
    }

    /// A run that it has started.
    fn run(&self, args: &[&str]) -> Live {
        let path = self.folder.path().join("notify");
        Live::with_environment(&[("NOTIFY_SOCKET", path.to_str().unwrap())], args)
    }

    /// The next message within this time.
    fn hears(&self, limit: Duration) -> Option<String> {
        let mut message = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).trim().to_owned())
    }

    /// Waits for a message that begins like this; those before it.
    fn until(&self, beginning: &str, live: &Live) -> Vec<String> {
        let (started, mut before) = (Instant::now(), Vec::new());
        loop {
            if let Some(message) = self.hears(Duration::from_millis(100)) {
                if message.starts_with(beginning) {
                    return before;
                }
                before.push(message);
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{before:?} {}", live.said());
        }
    }
}

#[test]
fn a_service_is_ready_with_its_first_frame_and_alive_while_frames_flow_also_without_a_source() {
    let (manager, camera) = (Manager::start(), Camera::with_sound());
    let args = ["-i", &camera.url(), "-o", "rtsp://127.0.0.1:0/art", "--strength", "0"];
    let live = manager.run(&args);
    assert_eq!(manager.until("READY=1", &live), [""; 0], "the first message");
    manager.until("STATUS=in ", &live);
    (0..3).for_each(|_| drop(manager.until("WATCHDOG=1", &live)));
    drop(camera);
    live.until_said("is lost: ", 60);
    manager.until("STATUS=in 0.0 fps", &live);
    (0..3).for_each(|_| drop(manager.until("WATCHDOG=1", &live)));
    live.signal("TERM");
    manager.until("STOPPING=1", &live);
    let ended = live.wait();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
}

#[test]
fn a_service_whose_frames_stand_still_is_not_alive() {
    let manager = Manager::start();
    let own = manager.folder.path().join("own.pipeline");
    // Takes some frames, and then none for as long as the test lasts.
    let text = "appsrc name=frames ! identity sleep-time=3600000000 ! fakesink sync=false";
    std::fs::write(&own, text).unwrap();
    let own = own.to_str().unwrap();
    let live = manager.run(&["-i", "test:160x120@25", "--pipeline-sink", own, "--strength", "0"]);
    manager.until("READY=1", &live);
    manager.until("STATUS=", &live);
    while manager.hears(Duration::from_millis(10)).is_some() {}
    // Its output fails after ten seconds; until then the status goes on.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let message = manager.hears(Duration::from_millis(100));
        assert_ne!(message.as_deref(), Some("WATCHDOG=1"), "{}", live.said());
    }
    live.wait().is_refused("it hangs");
}
