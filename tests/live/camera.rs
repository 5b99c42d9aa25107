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
    /// It sends nothing, though its connections stand.
    frozen: Arc<AtomicBool>,
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

/// From the hundredth RTP packet on, timestamps are 100 s of a clock of 90 kHz lower.
fn jump_back(pad: &gst::Pad) {
    let count = AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if count.fetch_add(1, Ordering::Relaxed) >= 100
            && let Some(packet) = info.buffer_mut()
            && let Ok(mut bytes) = packet.make_mut().map_writable()
        {
            let time = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            bytes[4..8].copy_from_slice(&time.wrapping_sub(100 * 90_000).to_be_bytes());
        }
        gst::PadProbeReturn::Ok
    });
}

impl Camera {
    pub fn with_sound() -> Self {
        Self::start(&format!("( {VIDEO}  {SOUND} )"), None)
    }

    /// At a port of its own, where it can be started again.
    pub fn at(port: u16, user: Option<(&str, &str)>) -> Self {
        Self::built(port, &format!("( {VIDEO}  {SOUND} )"), user, |_| ())
    }

    /// What it sends is made by these elements, which end in payloaders `pay0` and `pay1`.
    pub fn of(elements: &str) -> Self {
        Self::start(&format!("( {elements} )"), None)
    }

    /// Asks for a user by Digest instead of Basic.
    pub fn with_digest(user: &str, password: &str) -> Self {
        let camera = Self::start(&format!("( {VIDEO} )"), Some((user, password)));
        if let Some(auth) = camera.server.auth() {
            auth.set_supported_methods(gstreamer_rtsp::RTSPAuthMethod::Digest);
            let token = server::RTSPToken::builder().field("media.factory.role", "user").build();
            auth.add_digest(user, password, &token);
        }
        camera
    }

    /// Sends nothing until it is told otherwise.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
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

    /// The same, counted from now.
    pub fn wait_for_more_frames(&self, count: u64, said: impl Fn() -> String) {
        self.wait_for_frames(self.frames.load(Ordering::Relaxed) + count, said);
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
        Self::built(0, &format!("( {DRAWN} )"), None, draw)
    }

    fn start(launch: &str, user: Option<(&str, &str)>) -> Self {
        Self::built(0, launch, user, |_| ())
    }

    fn built(
        port: u16,
        launch: &str,
        user: Option<(&str, &str)>,
        draw: fn(&gst_app::AppSrc),
    ) -> Self {
        gst::init().unwrap();
        let context = glib::MainContext::new();
        let server = server::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());
        let factory = server::RTSPMediaFactory::new();
        factory.set_launch(launch);
        factory.set_shared(true);
        let epoch = timecode::Epoch::now();
        let clock = epoch;
        let sound_returns = Arc::new(AtomicBool::new(false));
        let returns = Arc::clone(&sound_returns);
        let frames = Arc::new(AtomicU64::new(0));
        let sent = Arc::clone(&frames);
        let frozen = Arc::new(AtomicBool::new(false));
        let freezes = Arc::clone(&frozen);
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().unwrap();
            if let Some(pad) = bin.by_name("pay0").and_then(|pay| pay.static_pad("sink")) {
                let (sent, freezes) = (Arc::clone(&sent), Arc::clone(&freezes));
                pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                    if freezes.load(Ordering::Relaxed) {
                        drop(info.data.take());
                        return gst::PadProbeReturn::Handled;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                    gst::PadProbeReturn::Ok
                });
            }
            if let Some(pad) = bin.by_name("jumps").and_then(|e| e.static_pad("src")) {
                jump_back(&pad);
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
        // A camera that was here a moment ago may not be gone yet.
        let started = Instant::now();
        while server.attach(Some(&context)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "port {port} is taken");
            std::thread::sleep(Duration::from_millis(50));
        }
        let port = server.bound_port() as u16;
        let runs = main.clone();
        let thread = std::thread::spawn(move || {
            let _ = runs.context().with_thread_default(|| runs.run());
        });
        Camera {
            context,
            main,
            thread: Some(thread),
            server,
            port,
            epoch,
            sound_returns,
            frames,
            frozen,
        }
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
