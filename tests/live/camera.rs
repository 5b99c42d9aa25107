//! A network camera: gst-rtsp-server with a live source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as server;

use gst::glib;
use gst::prelude::*;
use server::prelude::*;

use crate::timecode;

/// A running camera; it is gone when dropped.
pub struct Camera {
    context: glib::MainContext,
    main: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
    server: server::RTSPServer,
    port: u16,
    epoch: timecode::Epoch,
    sound_returns: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
}

const VIDEO: &str = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 \
    ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96";
const SMALL: &str = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=25/1 \
    ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96";
const SOUND: &str = "audiotestsrc is-live=true ! audioconvert ! avenc_aac ! aacparse \
    ! rtpmp4gpay name=pay1 pt=97";
const TIMECODE: &str = "appsrc name=frames is-live=true format=time do-timestamp=true \
    ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 quantizer=10 \
    ! rtph264pay name=pay0 pt=96";

const DRAWN: &str = "appsrc name=drawn is-live=true format=time do-timestamp=true \
    ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 quantizer=10 \
    ! rtph264pay name=pay0 pt=96 config-interval=-1";
const STOPPING_SOUND: &str = "audiotestsrc is-live=true ! identity name=sound ! audioconvert \
    ! avenc_aac ! aacparse ! rtpmp4gpay name=pay1 pt=97";

/// Lets no sound through between the 4th and the 8th second, or from the 4th on.
fn stop_after_some_seconds(sound: &gst::Element, returns: Arc<AtomicBool>) {
    let started = Instant::now();
    let pad = sound.static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| match started.elapsed().as_secs() {
        0..4 => gst::PadProbeReturn::Ok,
        8.. if returns.load(Ordering::Relaxed) => gst::PadProbeReturn::Ok,
        _ => gst::PadProbeReturn::Drop,
    });
}

impl Camera {
    pub fn with_sound() -> Self {
        Self::start(&format!("( {VIDEO}  {SOUND} )"), None)
    }

    /// Small, with sound that goes through these elements, the last a payloader.
    pub fn with_sound_by(elements: &str) -> Self {
        Self::start(&format!("( {SMALL}  audiotestsrc is-live=true ! {elements} name=pay1 )"), None)
    }

    /// Waits until it has sent so many pictures to a run, of which `said` is what it has said.
    pub fn wait_for_frames(&self, count: u64, said: impl Fn() -> String) {
        let started = Instant::now();
        loop {
            let sent = self.frames.load(Ordering::Relaxed);
            if sent >= count {
                return;
            }
            let waited = started.elapsed();
            assert!(waited < Duration::from_secs(90), "it sends {sent} pictures: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its picture is the time, in blocks.
    pub fn with_timecode() -> Self {
        Self::start(&format!("( {TIMECODE} )"), None)
    }

    pub fn guarded(user: &str, password: &str) -> Self {
        Self::start(&format!("( {VIDEO} )"), Some((user, password)))
    }

    /// Its sound stops after some seconds; `pausing` lets it come back later.
    pub fn whose_sound_stops(pausing: bool) -> Self {
        let camera = Self::start(&format!("( {VIDEO}  {STOPPING_SOUND} )"), None);
        camera.sound_returns.store(pausing, Ordering::Relaxed);
        camera
    }

    /// Its picture is what `draw` pushes.
    pub fn drawn_by(draw: fn(&gst_app::AppSrc)) -> Self {
        Self::built(&format!("( {DRAWN} )"), None, draw)
    }

    fn start(launch: &str, user: Option<(&str, &str)>) -> Self {
        Self::built(launch, user, |_| ())
    }

    fn built(launch: &str, user: Option<(&str, &str)>, draw: fn(&gst_app::AppSrc)) -> Self {
        gst::init().unwrap();
        let context = glib::MainContext::new();
        let server = server::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service("0");
        let factory = server::RTSPMediaFactory::new();
        factory.set_launch(launch);
        factory.set_shared(true);
        let epoch = timecode::Epoch::now();
        let clock = epoch;
        let sound_returns = Arc::new(AtomicBool::new(false));
        let returns = Arc::clone(&sound_returns);
        let frames = Arc::new(AtomicU64::new(0));
        let sent = Arc::clone(&frames);
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().unwrap();
            if let Some(pad) = bin.by_name("pay0").and_then(|pay| pay.static_pad("sink")) {
                let sent = Arc::clone(&sent);
                pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                    sent.fetch_add(1, Ordering::Relaxed);
                    gst::PadProbeReturn::Ok
                });
            }
            if let Some(frames) = bin.by_name("frames").and_downcast::<gst_app::AppSrc>() {
                timecode::draw_into(&frames, clock);
            }
            if let Some(drawn) = bin.by_name("drawn").and_downcast::<gst_app::AppSrc>() {
                draw(&drawn);
            }
            if let Some(sound) = bin.by_name("sound") {
                stop_after_some_seconds(&sound, Arc::clone(&returns));
            }
        });
        if let Some(user) = user {
            ask_for(user, &server, &factory);
        }
        server.mount_points().unwrap().add_factory("/cam", factory);
        let main = glib::MainLoop::new(Some(&context), false);
        server.attach(Some(&context)).unwrap();
        let port = server.bound_port() as u16;
        let runs = main.clone();
        let thread = std::thread::spawn(move || {
            let _ = runs.context().with_thread_default(|| runs.run());
        });
        Camera { context, main, thread: Some(thread), server, port, epoch, sound_returns, frames }
    }

    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/cam", self.port)
    }

    pub fn epoch(&self) -> timecode::Epoch {
        self.epoch
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        let server = self.server.clone();
        let (done, waits) = std::sync::mpsc::channel();
        self.context.invoke(move || {
            // Clients are told, as when a camera is switched off.
            server.client_filter(Some(&mut |_: &server::RTSPServer, _: &server::RTSPClient| {
                server::RTSPFilterResult::Remove
            }));
            let _ = done.send(());
        });
        let _ = waits.recv_timeout(Duration::from_secs(5));
        self.main.quit();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Lets nobody in but this user, with this password.
pub fn ask_for(
    (user, password): (&str, &str),
    server: &server::RTSPServer,
    factory: &server::RTSPMediaFactory,
) {
    let auth = server::RTSPAuth::new();
    let token = server::RTSPToken::builder().field("media.factory.role", "user").build();
    auth.add_basic(&server::RTSPAuth::make_basic(user, password), &token);
    server.set_auth(Some(&auth));
    factory.add_role_from_structure(
        &gst::Structure::builder("user")
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build(),
    );
}
