//! The server: a thread with a runtime of its own, bounded in connections and in patience.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, oneshot};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::access::Access;
use super::options::{ControlOptions, Token, reachable};
use super::page::sample;
use super::preview::Previews;
use super::routes::router;
use super::shared::Shared;
use super::webrtc::CameTo;
use crate::stream::{LiveControls, LiveStatus, Observer, Progress};

/// Connections at a time; further ones are closed at once.
const CONNECTIONS: usize = 128;
/// For the head of a request, also between two of them: a connection without one is closed.
const HEAD_COMES: Duration = Duration::from_secs(10);
/// For the first words of TLS.
const TLS_BEGINS: Duration = Duration::from_secs(10);
/// For a client to take what is sent: a browser that is suspended takes nothing.
const TAKES: Duration = Duration::from_secs(10);
/// The state is told so often at least: before the source is open nothing else is.
const TOLD_EVERY: Duration = Duration::from_secs(2);
/// Bytes of the head of a request.
const LONGEST_HEAD: usize = 16 * 1024;

/// Serves a live run. Dropping it ends the service.
pub struct ControlServer {
    shared: Arc<Shared>,
    link: String,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlServer {
    /// Serves a run that is steered by `controls`, from now on.
    ///
    /// # Errors
    /// When the address is taken, or the certificate cannot be used.
    pub fn start(options: &ControlOptions, controls: &LiveControls) -> Result<Self> {
        let address = options.address.socket();
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot serve {address}"))?;
        let address = listener.local_addr().unwrap_or(address);
        let tls = options.tls.as_ref().map(|(cert, key)| tls(cert, key)).transpose()?;
        let token = match &options.token {
            None if !options.address.is_loopback() => Some(Token::random()?),
            token => token.clone(),
        };
        let link = link(address, tls.is_some(), token.as_ref(), options.token.is_some());
        let access = Access::new(token, &options.hosts, tls.is_some(), address.port());
        if let Some(sample) = sample() {
            controls.monitor.want_samples(sample);
        }
        let shared = Arc::new(Shared::new(access, controls.clone()));
        let changed = Arc::downgrade(&shared);
        controls.wanted.on_change(move || {
            if let Some(shared) = changed.upgrade() {
                shared.changed();
            }
        });
        Previews::start(&shared).context("cannot start a thread")?;
        let (router, _) = router(Arc::clone(&shared));
        let (end, ended) = oneshot::channel();
        let told = Arc::clone(&shared);
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .build()
            .context("cannot start a runtime")?;
        let serve = move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(listener, router, tls) => {}
                    () = tell(&told) => {}
                    _ = ended => {}
                }
            });
            // Whoever is connected is let go.
            runtime.shutdown_timeout(Duration::from_millis(200));
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(serve)?;
        Ok(ControlServer { shared, link, end: Some(end), thread: Some(thread) })
    }

    /// The address of the page, with a token if that is a new one.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Hears what an observer hears, and passes it on.
    pub fn observer<'a>(&self, inner: &'a mut dyn Observer) -> ControlObserver<'a> {
        ControlObserver { shared: Arc::clone(&self.shared), inner }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        drop(self.end.take());
        self.shared.previews.end();
        if let Some(webrtc) = &self.shared.controls.webrtc {
            webrtc.end();
        }
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The observer of a run that is served.
pub struct ControlObserver<'a> {
    shared: Arc<Shared>,
    inner: &'a mut dyn Observer,
}

impl Observer for ControlObserver<'_> {
    fn note(&mut self, text: &str) {
        self.inner.note(text);
    }

    fn aside(&mut self, text: &str) {
        self.inner.aside(text);
    }

    fn progress(&mut self, progress: &Progress) {
        self.inner.progress(progress);
    }

    fn remuxing(&mut self, name: &str, share: f64) {
        self.inner.remuxing(name, share);
    }

    fn live(&mut self, status: &LiveStatus) {
        self.shared.told(status);
        self.inner.live(status);
    }
}

/// What the user opens. A token of the user's own is not shown.
fn link(address: SocketAddr, https: bool, token: Option<&Token>, own: bool) -> String {
    let scheme = if https { "https" } else { "http" };
    let host = SocketAddr::new(reachable(address.ip()), address.port());
    match token.filter(|_| !own) {
        // Behind the # it is sent to nobody: the page takes it from there.
        Some(token) => format!("{scheme}://{host}/#token={}", token.text()),
        None => format!("{scheme}://{host}/"),
    }
}

/// A certificate chain and its key.
fn tls(cert: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| anyhow!("cannot read the certificate '{}': {error}", cert.display()))?;
    if chain.is_empty() {
        bail!("'{}' holds no certificate (PEM)", cert.display());
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow!("cannot read the key '{}': {error}", key.display()))?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, private).map_err(
            |error| anyhow!("'{}' and '{}' are of no use: {error}", cert.display(), key.display()),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Tells all who watch that the program is alive, for ever.
async fn tell(shared: &Shared) {
    loop {
        tokio::time::sleep(TOLD_EVERY).await;
        shared.changed();
    }
}

/// Accepts connections for ever.
async fn accept(listener: tokio::net::TcpListener, router: Router, tls: Option<TlsAcceptor>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file descriptor is left: others are closed soon.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let Ok(at) = stream.local_addr() else { continue };
        let at = CameTo(at.ip().to_canonical());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(TAKES));
        let (router, tls) = (router.clone(), tls.clone());
        tokio::spawn(async move {
            let _place = place;
            let stream = Box::pin(stream);
            match tls {
                None => serve(stream, router, at).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) =
                        tokio::time::timeout(TLS_BEGINS, tls.accept(stream)).await
                    {
                        serve(stream, router, at).await;
                    }
                }
            }
        });
    }
}

/// Answers the requests of one connection.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, at: CameTo) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(at);
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_COMES)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::trace!("a connection to the control page ended: {error}");
    }
}
