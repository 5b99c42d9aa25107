//! The media factory of gst-rtsp-server: returns one media, shared by all clients.
//!
//! The media never waits for the source: each stream begins with a unit or packet made at the start
//! ([`InitialData`]), from which gst-rtsp-server learns the parameters for clients. A pad probe keeps it from
//! being sent to clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use gst::glib;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_rtsp_server::gst_rtsp;

use gst_rtsp_server::prelude::*;
use gst_rtsp_server::subclass::prelude::*;

use crate::core::timeouts::{HOLD_KEY_FRAME, JOIN_AT_KEY_FRAME};
use crate::media::clock::LiveClock;
use crate::media::shared_encoder::UnitConsumer;

/// Where units and packets go into the shared media.
#[derive(Default)]
pub(super) struct ClientOutput {
    sources: Mutex<AppSources>,
    changed: Condvar,
}

#[derive(Default)]
struct AppSources {
    units: Option<gst_app::AppSrc>,
    packets: Option<gst_app::AppSrc>,
    /// At least one client is watching.
    open: bool,
    /// The first unit after opening must be a key frame.
    waits_for_key: bool,
    join: ClientJoin,
    newest_packet: Option<gst::ClockTime>,
}

/// A client's first frame must be a key frame: client and key frame wait for each other. Otherwise the client
/// would first receive frames that refer to ones it does not have, and show garbage.
#[derive(Default, PartialEq, Eq)]
enum ClientJoin {
    #[default]
    Nobody,
    /// A client waits for a key frame.
    Client,
    /// A key frame waits for the client to be ready.
    KeyFrame,
}

impl ClientOutput {
    fn lock(&self) -> MutexGuard<'_, AppSources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, units: Option<gst_app::AppSrc>, packets: Option<gst_app::AppSrc>) {
        let mut sources = self.lock();
        (sources.units, sources.packets) = (units, packets);
    }

    /// Opens or closes the output; the first unit after opening is a key frame. While there are no clients
    /// nothing is passed on, so that the first client gets nothing old.
    pub fn open(&self, open: bool) {
        let mut sources = self.lock();
        if open && !sources.open {
            sources.waits_for_key = true;
        }
        sources.open = open;
    }

    /// Requests a key frame and waits for it. The key frame is then held until
    /// [`joined`](ClientOutput::joined) is called. The wait has a short limit, since it blocks the thread
    /// that serves all clients. Returns whether the key frame came in time.
    pub fn join(&self, want_key: impl Fn()) -> bool {
        let mut sources = self.lock();
        sources.join = ClientJoin::Client;
        // Requested only after the state is set; otherwise the key frame could arrive first.
        want_key();
        let still = |sources: &mut AppSources| sources.join == ClientJoin::Client;
        let waited = self.changed.wait_timeout_while(sources, JOIN_AT_KEY_FRAME, still);
        waited.unwrap_or_else(PoisonError::into_inner).0.join == ClientJoin::KeyFrame
    }

    /// The client that called [`join`](ClientOutput::join) is ready for units.
    pub fn joined(&self) {
        self.lock().join = ClientJoin::Nobody;
        self.changed.notify_all();
    }

    /// Passes on an encoded sound packet. A packet whose timestamp does not increase is dropped:
    /// gst-rtsp-server aborts the program if timestamps decrease.
    pub fn packet(&self, packet: &gst::Buffer) {
        let mut sources = self.lock();
        let Some(pts) = packet.pts() else { return };
        if !sources.open || sources.waits_for_key || Some(pts) <= sources.newest_packet {
            return;
        }
        sources.newest_packet = Some(pts);
        let packets = sources.packets.clone();
        drop(sources);
        let mut packet = packet.clone();
        packet.make_mut().set_dts(gst::ClockTime::NONE);
        if let Some(packets) = packets {
            let _ = packets.push_buffer(packet);
        }
    }

    /// Ends the streams; clients are told by RTCP.
    pub fn end(&self) {
        self.open(false);
        let sources = self.lock();
        let (units, packets) = (sources.units.clone(), sources.packets.clone());
        drop(sources);
        for source in units.iter().chain(&packets) {
            let _ = source.end_of_stream();
        }
    }
}

impl UnitConsumer for ClientOutput {
    /// Hands on an encoded picture.
    fn unit(&self, unit: &gst::Buffer) {
        let mut sources = self.lock();
        let delta = unit.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if !delta && sources.join == ClientJoin::Client {
            sources.join = ClientJoin::KeyFrame;
            self.changed.notify_all();
            let still = |sources: &mut AppSources| sources.join == ClientJoin::KeyFrame;
            let waited = self.changed.wait_timeout_while(sources, HOLD_KEY_FRAME, still);
            sources = waited.unwrap_or_else(PoisonError::into_inner).0;
            // Otherwise the client has joined, and the next one may be waiting already.
            if sources.join == ClientJoin::KeyFrame {
                sources.join = ClientJoin::Nobody;
            }
        }
        if !sources.open || (sources.waits_for_key && delta) {
            return;
        }
        sources.waits_for_key = false;
        let units = sources.units.clone();
        // The lock is released first: a push under the lock could wait for a thread that waits for the lock.
        drop(sources);
        if let Some(units) = units {
            let _ = units.push_buffer(unit.clone());
        }
    }

    /// A key frame waits for the client that has asked for it.
    fn may_wait(&self) -> bool {
        true
    }
}

/// Initial data of one stream of the media: its caps, and a buffer from which gst-rtsp-server learns its
/// parameters.
pub(super) struct InitialData {
    caps: gst::Caps,
    buffer: gst::Buffer,
}

impl InitialData {
    pub fn new(caps: gst::Caps, mut buffer: gst::Buffer) -> Self {
        let writable = buffer.make_mut();
        writable.set_pts(gst::ClockTime::ZERO);
        writable.set_dts(gst::ClockTime::NONE);
        InitialData { caps, buffer }
    }
}

/// All a factory needs to know.
pub(super) struct MediaDescription {
    /// The payloaders, in `gst-launch` syntax.
    pub description: String,
    pub clock: LiveClock,
    pub client_output: Arc<ClientOutput>,
    pub video: InitialData,
    pub audio: Option<InitialData>,
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct SharedFactory {
        pub(super) description: OnceLock<MediaDescription>,
        media: OnceLock<gst_rtsp_server::RTSPMedia>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SharedFactory {
        const NAME: &'static str = "NstSharedFactory";
        type Type = super::SharedFactory;
        type ParentType = gst_rtsp_server::RTSPMediaFactory;
    }

    impl ObjectImpl for SharedFactory {}

    impl RTSPMediaFactoryImpl for SharedFactory {
        /// The same key for every URL that leads here. (By default, port and query are part of the key, so
        /// that a client could have any number of medias built.)
        fn gen_key(&self, _url: &gst_rtsp::RTSPUrl) -> Option<glib::GString> {
            Some("live".into())
        }

        /// Builds and configures the media at the first call, and returns the same one ever after.
        fn construct(&self, url: &gst_rtsp::RTSPUrl) -> Option<gst_rtsp_server::RTSPMedia> {
            if let Some(media) = self.media.get() {
                return Some(media.clone());
            }
            let media = self.parent_construct(url)?;
            self.parent_configure(&media);
            let _ = self.media.set(media.clone());
            Some(media)
        }

        /// Does nothing: the media was configured when it was built and is already running.
        fn configure(&self, _media: &gst_rtsp_server::RTSPMedia) {}

        fn create_element(&self, _url: &gst_rtsp::RTSPUrl) -> Option<gst::Element> {
            let description = self.description.get()?;
            let lines =
                description.description.lines().filter(|l| !l.trim_start().starts_with('#'));
            let text = lines.collect::<Vec<_>>().join("\n");
            let bin = gst::parse::bin_from_description(&text, false).ok()?;
            let source = |name, initial: &InitialData| {
                let source = bin.by_name(name).and_downcast::<gst_app::AppSrc>()?;
                prime(&source, initial);
                Some(source)
            };
            let units = source("units", &description.video);
            let packets = description.audio.as_ref().and_then(|audio| source("packets", audio));
            description.client_output.set(units, packets);
            Some(bin.upcast())
        }

        fn create_pipeline(&self, media: &gst_rtsp_server::RTSPMedia) -> Option<gst::Pipeline> {
            let pipeline = self.parent_create_pipeline(media)?;
            // With the run's clock and base time, timestamps mean the same here as in the encoder.
            self.description.get()?.clock.apply_to(&pipeline);
            media.connect_prepared(drop_initial_data);
            pipeline.connect_deep_element_added(|_, _, element| set_rtcp_caps(element));
            Some(pipeline)
        }
    }
}

glib::wrapper! {
    /// A factory whose one media gets its data through a [`ClientOutput`].
    pub struct SharedFactory(ObjectSubclass<imp::SharedFactory>)
        @extends gst_rtsp_server::RTSPMediaFactory;
}

impl SharedFactory {
    pub(super) fn new(description: MediaDescription) -> Self {
        let factory: Self = glib::Object::new();
        let _ = factory.imp().description.set(description);
        factory.set_shared(true);
        factory.set_suspend_mode(gst_rtsp_server::RTSPSuspendMode::None);
        // No multicast: it would send to the whole network what was meant for one address.
        factory.set_protocols(gst_rtsp::RTSPLowerTrans::UDP | gst_rtsp::RTSPLowerTrans::TCP);
        factory.set_publish_clock_mode(gst_rtsp_server::RTSPPublishClockMode::None);
        // A key frame is a burst of packets: the socket must hold one.
        factory.set_buffer_size(1 << 20);
        factory
    }

    /// The media that all clients share, unlocked.
    ///
    /// `gst_rtsp_media_factory_construct` returns it locked in GStreamer 1.26 (seen in 1.26.2) and unlocked
    /// in 1.22. No function tells which, and a media that stays locked serves nobody. This function never
    /// takes the lock.
    pub(super) fn media(&self, url: &gst_rtsp::RTSPUrl) -> Option<gst_rtsp_server::RTSPMedia> {
        self.imp().construct(url)
    }
}

/// Makes an appsrc begin with its initial data.
fn prime(source: &gst_app::AppSrc, initial: &InitialData) {
    source.set_caps(Some(&initial.caps));
    let (buffer, done) = (initial.buffer.clone(), AtomicBool::new(false));
    let callbacks = gst_app::AppSrcCallbacks::builder()
        .need_data(move |source, _| {
            if !done.swap(true, Ordering::AcqRel) {
                let _ = source.push_buffer(buffer.clone());
            }
        })
        .build();
    source.set_callbacks(callbacks);
}

/// gst-rtsp-server creates an appsrc for the RTCP reports of TCP clients without setting its caps. GStreamer
/// then prints a warning to stderr when a UDP client reports too. This sets the caps.
fn set_rtcp_caps(element: &gst::Element) {
    if let Some(reports) = element.downcast_ref::<gst_app::AppSrc>()
        && reports.caps().is_none()
    {
        reports.set_caps(Some(&gst::Caps::builder("application/x-rtcp").build()));
    }
}

/// Drops the initial data (timestamp zero): gst-rtsp-server blocks each stream behind it until a client
/// plays. A client that took it as current would show all later frames too late.
fn drop_initial_data(media: &gst_rtsp_server::RTSPMedia) {
    for stream in (0..media.n_streams()).filter_map(|i| media.stream(i)) {
        let rtp = stream.srcpad().and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
        let name = format!("send_rtp_src_{}", stream.index());
        let Some(pad) = rtp.and_then(|rtp| rtp.static_pad(&name)) else { continue };
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(kinds, |_, info| {
            let pts = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => buffer.pts(),
                Some(gst::PadProbeData::BufferList(list)) => list.get(0).and_then(|b| b.pts()),
                _ => None,
            };
            match pts {
                Some(gst::ClockTime::ZERO) => gst::PadProbeReturn::Handled,
                _ => gst::PadProbeReturn::Remove,
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_of_many_clients_that_join_one_after_another_gets_its_key_frame() {
        gst::init().unwrap();
        let (output, stop) = (ClientOutput::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    output.unit(&gst::Buffer::new());
                    std::thread::yield_now();
                }
            });
            let late = (0..300).filter(|_| {
                let came = output.join(|| ());
                output.joined();
                !came
            });
            let late = late.count();
            stop.store(true, Ordering::Release);
            assert_eq!(late, 0, "clients without a key frame");
        });
    }
}
