//! A media server: gst-rtsp-server that takes what is sent to it (RECORD).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_rtsp_server as server;

use gst::glib;
use gst::prelude::*;
use server::prelude::*;

/// A running server; it is gone when dropped.
pub struct MediaServer {
    main: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
    server: server::RTSPServer,
    port: u16,
    /// Decoded pictures, and packets of sound.
    came: Arc<[AtomicUsize; 2]>,
    /// Clients that are connected.
    clients: Arc<AtomicUsize>,
}

/// Streams come in any order: decodebin finds out what each of them is.
const STREAMS: [&str; 2] = [
    "decodebin name=depay0 ! fakesink name=first sync=false",
    "decodebin name=depay1 ! fakesink name=second sync=false",
];

impl MediaServer {
    /// For pictures alone, or with sound; open to all, or to who knows the password.
    pub fn start(sound: bool, user: Option<(&str, &str)>) -> Self {
        Self::start_at(0, sound, user)
    }

    /// The same at this port.
    pub fn start_at(port: u16, sound: bool, user: Option<(&str, &str)>) -> Self {
        gst::init().unwrap();
        let context = glib::MainContext::new();
        let server = server::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());
        let factory = server::RTSPMediaFactory::new();
        factory.set_launch(&format!("( {} )", STREAMS[..1 + usize::from(sound)].join(" ")));
        factory.set_transport_mode(server::RTSPTransportMode::RECORD);
        factory.set_latency(0);
        let came: Arc<[AtomicUsize; 2]> = Arc::default();
        let counts = Arc::clone(&came);
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().unwrap();
            for sink in ["first", "second"].into_iter().filter_map(|name| bin.by_name(name)) {
                let counts = Arc::clone(&counts);
                let pad = sink.static_pad("sink").unwrap();
                pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
                    let caps = pad.current_caps().unwrap();
                    let sound = caps.structure(0).unwrap().name().starts_with("audio/");
                    counts[usize::from(sound)].fetch_add(1, Ordering::Relaxed);
                    gst::PadProbeReturn::Ok
                });
            }
        });
        if let Some(user) = user {
            super::camera::ask_for(user, &server, &factory);
        }
        server.mount_points().unwrap().add_factory("/art", factory);
        let clients: Arc<AtomicUsize> = Arc::default();
        let connected = Arc::clone(&clients);
        server.connect_client_connected(move |_, client| {
            connected.fetch_add(1, Ordering::Relaxed);
            let left = Arc::clone(&connected);
            client.connect_closed(move |_| {
                left.fetch_sub(1, Ordering::Relaxed);
            });
        });
        let main = glib::MainLoop::new(Some(&context), false);
        server.attach(Some(&context)).unwrap();
        let port = server.bound_port() as u16;
        let runs = main.clone();
        let thread = std::thread::spawn(move || {
            let _ = runs.context().with_thread_default(|| runs.run());
        });
        MediaServer { main, thread: Some(thread), server, port, came, clients }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where to send to, perhaps with `user:password@`.
    pub fn url(&self, user: &str) -> String {
        format!("rtsp://{user}127.0.0.1:{}/art", self.port)
    }

    /// Waits until so many pictures (and packets of sound) have come.
    pub fn wait_for(&self, pictures: usize, packets: usize) {
        let started = Instant::now();
        let came = || [0, 1].map(|n: usize| self.came[n].load(Ordering::Relaxed));
        while came()[0] < pictures || came()[1] < packets {
            assert!(started.elapsed() < Duration::from_secs(60), "only {:?} came", came());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }
}

impl Drop for MediaServer {
    fn drop(&mut self) {
        let server = self.server.clone();
        let (done, waits) = std::sync::mpsc::channel();
        self.main.context().invoke(move || {
            // Clients are told, as when a server is switched off.
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
