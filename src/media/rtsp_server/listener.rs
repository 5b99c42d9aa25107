//! Connections, sessions and the shared media: gst-rtsp-server and the threads it runs in.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::glib;
use gstreamer as gst;
use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_rtsp_server::{gio, gst_rtsp};

use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{
    RTSP_PERM_MEDIA_FACTORY_ACCESS, RTSP_PERM_MEDIA_FACTORY_CONSTRUCT,
    RTSP_TOKEN_MEDIA_FACTORY_ROLE, RTSPClient, RTSPFilterResult, RTSPMedia, RTSPMediaStatus,
    RTSPServer, RTSPSession, RTSPSessionPool, RTSPThread, RTSPThreadType,
};

use super::factory::{ClientOutput, SharedFactory};
use super::{ClientSessions, ServeAddress, failed};
use crate::core::timeouts::END_RTSP_THREAD;
use crate::media::error::PipelineError;
use crate::media::pipeline::{Event, PipelineRole};

/// A client that neither watches nor sends requests is dropped after this many seconds.
const SESSION_TIMEOUT: u32 = 30;
const MAX_SESSIONS: u32 = 64;
const MAX_CONNECTIONS: usize = 128;
/// Largest body of a request, in bytes; every valid request is smaller.
const MAX_BODY: u32 = 1 << 16;
/// Role (in gst-rtsp-server's terms) of a client with the right password.
const ROLE: &str = "viewer";

/// The listening socket and all connections, served by the thread "rtsp".
pub(super) struct Listener {
    server: RTSPServer,
    sessions: RTSPSessionPool,
    pub listening: glib::Source,
    closed: Arc<ClosedClients>,
    timer: Option<glib::Source>,
    thread: Option<(glib::MainLoop, Running)>,
}

impl Listener {
    /// Binds the port. Clients that connect wait until [`open`](Self::open).
    pub fn build(address: &ServeAddress) -> Result<Self, PipelineError> {
        let at = address.checked()?;
        let server = RTSPServer::new();
        server.set_address(&address.host);
        server.set_service(&address.port.to_string());
        server.set_backlog(64);
        server.set_content_length_limit(MAX_BODY);
        if let Some(threads) = server.thread_pool() {
            threads.set_max_threads(0); // clients are served by the thread that accepts them
        }
        let sessions = RTSPSessionPool::new();
        sessions.set_max_sessions(MAX_SESSIONS);
        server.set_session_pool(Some(&sessions));
        let listening = server
            .create_source(None::<&gio::Cancellable>)
            .map_err(|error| failed(listen_error(at, error.message())))?;
        let closed = Arc::default();
        Ok(Listener { server, sessions, listening, closed, timer: None, thread: None })
    }

    /// Mounts the media at its path, with the password if there is one. Returns the address for clients.
    pub fn mount(&self, address: &ServeAddress, factory: &SharedFactory) -> String {
        if let Some((user, password)) = &address.user {
            self.server.set_auth(Some(&authentication(factory, user, password)));
        }
        let mounts = self.server.mount_points().unwrap_or_default();
        mounts.add_factory(&address.path, factory.clone());
        self.server.set_mount_points(Some(&mounts));
        address.url(u16::try_from(self.server.bound_port()).unwrap_or(address.port))
    }

    /// Counts the watching clients; calls `want_key` for each new one.
    pub fn watch(
        &self,
        watchers: &Arc<ClientSessions>,
        client_output: &Arc<ClientOutput>,
        want_key: impl Fn() + Send + Sync + 'static,
    ) {
        let connections = Arc::new(AtomicUsize::new(0));
        let want_key = Arc::new(want_key);
        let change = {
            let (watchers, client_output) = (Arc::clone(watchers), Arc::clone(client_output));
            move |session: Option<glib::GString>, watches| {
                if let Some(id) = session {
                    watchers.change(&client_output, id.into(), watches);
                }
            }
        };
        let gone = change.clone();
        self.sessions.connect_session_removed(move |_, session| gone(session.sessionid(), false));
        let (sessions, closed) = (self.sessions.clone(), Arc::clone(&self.closed));
        let client_output = Arc::clone(client_output);
        self.server.connect_client_connected(move |_, client| {
            if connections.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
                close_soon(client);
            }
            let own = Arc::new(Mutex::new(Vec::new()));
            let (left, closed) = (Arc::clone(&connections), Arc::clone(&closed));
            let (pool, all) = (sessions.clone(), Arc::clone(&own));
            client.connect_closed(move |client| {
                left.fetch_sub(1, Ordering::AcqRel);
                closed.keep(client);
                // gst-rtsp-server would keep these sessions until their timeout.
                let own = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
                for session in own {
                    let _ = pool.remove(&session);
                }
            });
            client.connect_new_session(move |_, session: &RTSPSession| {
                session.set_timeout(SESSION_TIMEOUT);
                own.lock().unwrap_or_else(PoisonError::into_inner).push(session.clone());
            });
            let (want_key, waits) = (Arc::clone(&want_key), Arc::clone(&client_output));
            client.connect_pre_play_request(move |_, _| {
                if !waits.join(&*want_key) {
                    tracing::debug!("an RTSP client begins without a key frame");
                }
                gst_rtsp::RTSPStatusCode::Ok
            });
            let (began, ready) = (change.clone(), Arc::clone(&client_output));
            client.connect_play_request(move |_, context| {
                began(context.session().and_then(|s| s.sessionid()), true);
                ready.joined();
            });
            let paused = change.clone();
            client.connect_pause_request(move |_, context| {
                paused(context.session().and_then(|s| s.sessionid()), false);
            });
        });
    }

    /// Starts to serve clients.
    pub fn open(
        mut self,
        media: &RTSPMedia,
        role: PipelineRole,
        events: Sender<Event>,
    ) -> Result<Self, PipelineError> {
        let context = glib::MainContext::new();
        self.listening.attach(Some(&context));
        let (sessions, media) = (self.sessions.clone(), media.clone());
        let (closed, tidies) = (Arc::clone(&self.closed), context.clone());
        let mut told = false;
        let tick = move || {
            sessions.cleanup();
            let closed = Arc::clone(&closed);
            let forget = move || {
                closed.forget(Duration::from_secs(2));
                glib::ControlFlow::Break
            };
            // At low priority: closes that gst-rtsp-server has scheduled run first.
            glib::idle_source_new(None, glib::Priority::LOW, forget).attach(Some(&tidies));
            if media.status() == RTSPMediaStatus::Error && !told {
                told = true;
                let error = failed("the RTP pipeline failed; clients get nothing more");
                let _ = events.send(Event::Failed(role, error));
            }
            glib::ControlFlow::Continue
        };
        let second = Duration::from_secs(1);
        let timer = glib::timeout_source_new(second, None, glib::Priority::DEFAULT, tick);
        timer.attach(Some(&context));
        self.timer = Some(timer);
        let main_loop = glib::MainLoop::new(Some(&context), false);
        self.thread = Some((main_loop.clone(), run("rtsp", main_loop)?));
        Ok(self)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.destroy();
        if let Some(timer) = self.timer.take() {
            timer.destroy();
        }
        let Some((main_loop, thread)) = self.thread.take() else { return };
        // Connections belong to the main loop's thread: they are closed there, then the thread ends.
        let (server, sessions, end) =
            (self.server.clone(), self.sessions.clone(), main_loop.clone());
        main_loop.context().invoke(move || {
            server.client_filter(Some(&mut |_, client| {
                client.close();
                RTSPFilterResult::Remove
            }));
            sessions.filter(Some(&mut |_, _| RTSPFilterResult::Remove));
            end.quit();
        });
        thread.join_within(END_RTSP_THREAD);
        self.closed.forget(Duration::ZERO);
    }
}

/// The one media of all clients, and the thread "rtsp-media" that handles its messages.
pub(super) struct Media {
    pub media: RTSPMedia,
    thread: Option<Running>,
}

impl Media {
    /// Prepares the media, so that clients can use it at any time. The program itself counts as a user, so
    /// the media outlives every client.
    pub fn prepare(factory: &SharedFactory, url: &str) -> Result<Self, PipelineError> {
        let no = || failed("the RTP pipeline does not start");
        let url = gst_rtsp::RTSPUrl::parse(url).1.ok_or_else(no)?;
        let media = factory.media(&url).ok_or_else(no)?;
        let thread = RTSPThread::new(RTSPThreadType::Media).ok_or_else(no)?;
        let running = run("rtsp-media", thread.loop_())?;
        let media = Media { media, thread: Some(running) };
        media.media.prepare(Some(thread)).map_err(|_| no())?;
        Ok(media)
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        let media = self.media.clone();
        // This also ends the main loop of its thread.
        match spawn("rtsp-unprepare", move || drop(media.unprepare())) {
            Ok(unprepare) => unprepare.join_within(END_RTSP_THREAD),
            Err(error) => tracing::warn!("{error}"),
        }
        if let Some(thread) = self.thread.take() {
            thread.join_within(END_RTSP_THREAD);
        }
    }
}

/// A thread that is joined with a time limit: calls into gst-rtsp-server may never return, and the run must
/// end all the same.
struct Running {
    name: &'static str,
    handle: JoinHandle<()>,
    /// Disconnected when the thread has ended.
    over: Mutex<Receiver<()>>,
}

impl Running {
    fn join_within(self, limit: Duration) {
        let over = self.over.into_inner().unwrap_or_else(PoisonError::into_inner);
        if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let (name, seconds) = (self.name, limit.as_secs());
            tracing::warn!("the thread '{name}' did not end within {seconds} s; it is abandoned");
        } else {
            let _ = self.handle.join();
        }
    }
}

fn spawn(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<Running, PipelineError> {
    let (alive, over) = channel();
    let work = move || {
        let _alive: Sender<()> = alive;
        work();
    };
    let handle = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| failed(format!("cannot start a thread: {error}")))?;
    Ok(Running { name, handle, over: Mutex::new(over) })
}

/// Runs a loop in a thread of its own, until it is quit.
fn run(name: &'static str, main_loop: glib::MainLoop) -> Result<Running, PipelineError> {
    spawn(name, move || {
        let context = main_loop.context();
        let _ = context.with_thread_default(|| main_loop.run());
    })
}

/// Closes a new connection, after its "client-connected" signal has been handled.
fn close_soon(client: &RTSPClient) {
    let client = client.clone();
    let close = move || {
        client.close();
        glib::ControlFlow::Break
    };
    let context = glib::MainContext::ref_thread_default();
    glib::idle_source_new(None, glib::Priority::HIGH, close).attach(Some(&context));
}

/// Closed connections, kept in memory a little longer. If sending to a client fails, gst-rtsp-server (1.22;
/// harmless elsewhere) schedules its closing without holding a reference: the memory could be reused by then.
#[derive(Default)]
struct ClosedClients(Mutex<Vec<(Instant, RTSPClient)>>);

impl ClosedClients {
    fn keep(&self, client: &RTSPClient) {
        self.lock().push((Instant::now(), client.clone()));
    }

    fn forget(&self, older_than: Duration) {
        // Dropped after the lock is released: dropping a client may run callbacks.
        let _old: Vec<_> = self.lock().extract_if(.., |c| c.0.elapsed() >= older_than).collect();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, RTSPClient)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requires user and password, by basic or digest authentication.
fn authentication(
    factory: &SharedFactory,
    user: &str,
    password: &str,
) -> gst_rtsp_server::RTSPAuth {
    let role = gst::Structure::builder(ROLE)
        .field(RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
        .field(RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
        .build();
    factory.add_role_from_structure(&role);
    let token =
        gst_rtsp_server::RTSPToken::builder().field(RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE).build();
    let auth = gst_rtsp_server::RTSPAuth::new();
    // A set of flags in C, an enumeration in Rust: BASIC = 1, DIGEST = 2.
    auth.set_supported_methods(gst_rtsp::RTSPAuthMethod::__Unknown(3));
    auth.set_realm(Some("nst-stream"));
    auth.add_basic(&gst_rtsp_server::RTSPAuth::make_basic(user, password), &token);
    auth.add_digest(user, password, &token);
    auth
}

/// Why listening at `at` fails; GStreamer's message if the system gives no reason.
fn listen_error(at: SocketAddr, message: &str) -> String {
    let (ip, port) = (at.ip(), at.port());
    match TcpListener::bind(at).map_err(|error| error.kind()) {
        Err(ErrorKind::AddrInUse) => {
            format!("cannot serve at {at}: port {port} is taken; choose another, or 0 for any")
        }
        Err(ErrorKind::AddrNotAvailable) => {
            format!("cannot serve at {at}: {ip} is not an address of this machine")
        }
        Err(ErrorKind::PermissionDenied) => {
            format!("cannot serve at {at}: no permission for port {port}; choose one above 1023")
        }
        _ => format!("cannot serve at {at}: {message}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_never_returns_is_waited_for_with_a_limit() {
        let (release, released) = channel::<()>();
        let stuck = spawn("stuck", move || released.recv().unwrap_or_default()).unwrap();
        let quick = spawn("quick", || ()).unwrap();
        stuck.join_within(Duration::from_millis(20));
        quick.join_within(Duration::from_secs(60));
        drop(release);
    }
}
