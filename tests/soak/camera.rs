//! A camera with faults: gst-rtsp-server, on a port of its own, whose picture flashes and whose sound beeps at the same
//! moments.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer_rtsp_server as server;

use gst::glib;
use gst::prelude::*;
use server::prelude::*;

/// Between two flashes, and how long one is.
pub const EVERY: Duration = Duration::from_secs(2);
const FLASH: Duration = Duration::from_millis(200);

/// Codec and size of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    pub codec: &'static str,
    pub size: (u32, u32),
}

pub const USUAL: Kind = Kind { codec: "h264", size: (160, 96) };
pub const OTHERS: [Kind; 4] = [
    Kind { codec: "h264", size: (96, 96) },
    Kind { codec: "mjpeg", size: (160, 96) },
    Kind { codec: "h264", size: (320, 192) },
    Kind { codec: "h265", size: (160, 96) },
];

/// A running camera; it is gone when dropped.
pub struct Camera {
    context: glib::MainContext,
    main: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
    server: server::RTSPServer,
    faults: Arc<Faults>,
}

/// What is wrong with it.
#[derive(Default)]
struct Faults {
    /// It sends nothing, though its connections stand.
    frozen: AtomicBool,
    /// Of a thousand packets, so many are lost.
    lost: AtomicU32,
    /// Added to the timestamps of its packets.
    jump: AtomicU32,
    sent: AtomicU64,
}

impl Camera {
    /// Starts it at this port, 0 for any.
    pub fn start(port: u16, kind: Kind) -> Self {
        gst::init().unwrap();
        let (context, server) = (glib::MainContext::new(), server::RTSPServer::new());
        server.set_address("127.0.0.1");
        server.set_service(&port.to_string());
        let factory = server::RTSPMediaFactory::new();
        factory.set_launch(&launch(kind));
        factory.set_shared(true);
        let faults = Arc::new(Faults::default());
        let known = Arc::clone(&faults);
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().unwrap();
            let pad = |name: &str| bin.by_name(name).unwrap().static_pad("src").unwrap();
            flash(&pad("flash"));
            beep(&pad("beep"));
            for name in ["pay", "paysound"] {
                disturb(&pad(name), &known);
            }
        });
        server.mount_points().unwrap().add_factory("/cam", factory);
        // A camera that was here a moment ago may not be gone yet.
        let started = Instant::now();
        while server.attach(Some(&context)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "port {port} is taken");
            std::thread::sleep(Duration::from_millis(50));
        }
        let main = glib::MainLoop::new(Some(&context), false);
        let runs = main.clone();
        let thread = std::thread::spawn(move || {
            let _ = runs.context().with_thread_default(|| runs.run());
        });
        Camera { context, main, thread: Some(thread), server, faults }
    }

    pub fn port(&self) -> u16 {
        self.server.bound_port() as u16
    }

    pub fn freeze(&self, frozen: bool) {
        self.faults.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Loses so many of a thousand packets.
    pub fn lose(&self, of_a_thousand: u32) {
        self.faults.lost.store(of_a_thousand, Ordering::Relaxed);
    }

    /// The timestamps of all further packets are later by so many units of 1/90 000 s; they wrap.
    pub fn jump(&self, units: u32) {
        self.faults.jump.fetch_add(units, Ordering::Relaxed);
    }

    /// Packets that it has sent.
    pub fn sent(&self) -> u64 {
        self.faults.sent.load(Ordering::Relaxed)
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

fn launch(kind: Kind) -> String {
    let (width, height) = kind.size;
    let encode = match kind.codec {
        "h264" => {
            "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max=15 \
             ! rtph264pay pt=96 name=pay config-interval=-1"
        }
        "mjpeg" => "jpegenc ! rtpjpegpay pt=26 name=pay",
        "h265" => {
            "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=15 \
             ! rtph265pay pt=96 name=pay config-interval=-1"
        }
        other => panic!("{other}"),
    };
    format!(
        "( videotestsrc is-live=true pattern=black \
           ! video/x-raw,format=I420,width={width},height={height},framerate=15/1 \
           ! identity name=flash ! {encode} ! capsfilter name=pay0 \
           audiotestsrc is-live=true ! audio/x-raw,format=S16LE,rate=48000,channels=1 \
           ! identity name=beep ! audioconvert ! avenc_aac ! aacparse \
           ! rtpmp4gpay pt=97 name=paysound ! capsfilter name=pay1 )"
    )
}

/// Whether a flash is seen at this time of its stream.
fn is_flash(pts: Option<gst::ClockTime>) -> bool {
    pts.is_some_and(|pts| pts.nseconds() % (EVERY.as_nanos() as u64) < FLASH.as_nanos() as u64)
}

fn flash(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        if is_flash(buffer.pts())
            && let Ok(mut bytes) = buffer.make_mut().map_writable()
        {
            let luma = bytes.len() * 2 / 3;
            bytes[..luma].fill(235);
        }
        gst::PadProbeReturn::Ok
    });
}

fn beep(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Ok };
        if !is_flash(buffer.pts())
            && let Ok(mut bytes) = buffer.make_mut().map_writable()
        {
            bytes.fill(0);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets the faults happen to the packets that pass.
fn disturb(pad: &gst::Pad, faults: &Arc<Faults>) {
    let faults = Arc::clone(faults);
    let random = Mutex::new(fastrand::Rng::with_seed(7));
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(types, move |_, info| {
        let lost = faults.lost.load(Ordering::Relaxed);
        let falls = lost > 0 && random.lock().unwrap().u32(0..1000) < lost;
        if faults.frozen.load(Ordering::Relaxed) || falls {
            drop(info.data.take());
            return gst::PadProbeReturn::Handled;
        }
        faults.sent.fetch_add(1, Ordering::Relaxed);
        let jump = faults.jump.load(Ordering::Relaxed);
        if jump == 0 {
            return gst::PadProbeReturn::Ok;
        }
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(packet)) => shift(packet.make_mut(), jump),
            Some(gst::PadProbeData::BufferList(list)) => {
                list.make_mut().foreach_mut(|mut packet, _| {
                    shift(packet.make_mut(), jump);
                    std::ops::ControlFlow::Continue(Some(packet))
                });
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Adds to the timestamp of an RTP packet.
fn shift(packet: &mut gst::BufferRef, units: u32) {
    if let Ok(mut bytes) = packet.map_writable()
        && let Some(time) = bytes.get_mut(4..8)
    {
        let now = u32::from_be_bytes([time[0], time[1], time[2], time[3]]);
        time.copy_from_slice(&now.wrapping_add(units).to_be_bytes());
    }
}
