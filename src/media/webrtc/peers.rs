//! The thread of all connections: their sockets, their packets, their ends.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::config::DtlsCert;
use str0m::format::Codec;
use str0m::media::MediaData;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc, oneshot};

use super::peer::{Peer, PeerOutput, is_key, packet};
use super::publish::{Publishing, VideoCodec};
use super::view::{Unit, View};
use super::{Accepted, MOST_PEERS, PeerRole, Refused};

/// Offers that were answered and whose packets have not come yet.
const MOST_PENDING: usize = 32;
/// An offer that has waited so long makes room for another one.
const PENDING_FOR: Duration = Duration::from_secs(4);
/// Addresses of this machine at which packets are taken.
const MOST_SOCKETS: usize = 8;
/// Packets that wait for the thread.
const PACKETS: usize = 512;
/// Longest packet.
const LONGEST: usize = 2048;
/// A publisher from which nothing has come for so long gives its place to another one.
const REPLACED_AFTER: Duration = Duration::from_secs(3);
/// How often ends are looked for.
const TICK: Duration = Duration::from_millis(250);

/// What the thread is asked for.
pub(super) enum Command {
    /// Answer an offer.
    Accept {
        role: PeerRole,
        offer: String,
        at: IpAddr,
        answer: oneshot::Sender<Result<Accepted, Refused>>,
    },
    /// End a connection.
    Close { role: PeerRole, id: String, done: oneshot::Sender<bool> },
}

/// A packet that has come.
struct Packet {
    to: SocketAddr,
    from: SocketAddr,
    bytes: Vec<u8>,
}

pub(super) struct Peers {
    port: u16,
    view: Arc<View>,
    publishing: Arc<Publishing>,
    certificate: Option<DtlsCert>,
    peers: Vec<Peer>,
    sockets: HashMap<SocketAddr, Arc<UdpSocket>>,
    packets: mpsc::Sender<Packet>,
    come: Option<mpsc::Receiver<Packet>>,
    looked: Instant,
}

impl Peers {
    pub fn new(port: u16, view: Arc<View>, publishing: Arc<Publishing>) -> Self {
        let (packets, come) = mpsc::channel(PACKETS);
        Peers {
            port,
            view,
            publishing,
            certificate: str0m::crypto::from_feature_flags().dtls_provider.generate_certificate(),
            peers: Vec::new(),
            sockets: HashMap::new(),
            packets,
            come: Some(come),
            looked: Instant::now(),
        }
    }

    /// Serves connections until `ends`.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut units: mpsc::Receiver<Unit>,
        ends: Arc<Notify>,
    ) {
        let Some(mut packets) = self.come.take() else { return };
        loop {
            let wake = tokio::time::Instant::from_std(self.turn());
            tokio::select! {
                biased;
                () = ends.notified() => break,
                Some(unit) = units.recv() => self.peers.iter_mut().for_each(|peer| {
                    if peer.role == PeerRole::Viewer {
                        peer.send(&unit);
                    }
                }),
                Some(packet) = packets.recv() => self.receive(&packet),
                Some(command) = commands.recv() => self.obey(command).await,
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.peers.iter_mut().for_each(Peer::close);
        self.turn();
    }

    /// Lets every connection do what is due; when the next one is.
    fn turn(&mut self) -> Instant {
        let now = Instant::now();
        let Peers { peers, sockets, view, publishing, .. } = self;
        let (mut opened, mut key_needed) = (false, None);
        let mut told = |peer: &Peer, output: PeerOutput| match output {
            PeerOutput::Send(packet) => {
                if let Some(socket) = sockets.get(&packet.source) {
                    // What the system does not take now is lost, as on the network.
                    let _ = socket.try_send_to(&packet.contents, packet.destination);
                }
            }
            PeerOutput::Opened => {
                opened = true;
                if peer.role == PeerRole::Publisher {
                    publishing.begin(peer.has_sound());
                }
            }
            PeerOutput::WantsKey => view.want_key(),
            PeerOutput::Data(data) => {
                if !published(publishing, *data) {
                    key_needed = Some(peer.id.clone());
                }
            }
        };
        for peer in peers.iter_mut().filter(|peer| peer.due <= now) {
            guarded(peer, |peer| peer.turn(now, &mut told));
        }
        if let Some(id) = key_needed {
            peers.iter_mut().filter(|peer| peer.id == id).for_each(Peer::ask_for_key);
        }
        if opened || now.duration_since(self.looked) >= TICK {
            self.look(now, opened);
        }
        let due = self.peers.iter().map(|peer| peer.due).min();
        due.unwrap_or(now + TICK).min(now + TICK)
    }

    /// Forgets who has gone, and tells how many watch.
    fn look(&mut self, now: Instant, opened: bool) {
        self.looked = now;
        let publishes = |peer: &Peer| peer.role == PeerRole::Publisher && peer.is_open();
        let published = self.publishing.is_connected();
        self.peers.retain(|peer| !peer.is_over(now));
        if published && !self.peers.iter().any(publishes) {
            self.publishing.gone();
        }
        let viewers = self.open(PeerRole::Viewer);
        if !self.view.watched_by(viewers) {
            let viewers = self.peers.iter_mut().filter(|peer| peer.role == PeerRole::Viewer);
            viewers.for_each(Peer::close);
        }
        if opened {
            self.view.want_key();
        }
    }

    fn open(&self, role: PeerRole) -> usize {
        self.peers.iter().filter(|peer| peer.role == role && peer.is_open()).count()
    }

    fn receive(&mut self, come: &Packet) {
        let Some(input) = packet(&come.bytes, come.from, come.to) else { return };
        let mine = |peer: &&mut Peer| peer.local == come.to && peer.accepts(&input);
        let Some(peer) = self.peers.iter_mut().find(mine) else { return };
        guarded(peer, |peer| peer.take(input));
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Accept { role, offer, at, answer } => {
                let accepted = self.accept(role, &offer, at).await;
                let _ = answer.send(accepted);
            }
            Command::Close { role, id, done } => {
                let mut peers = self.peers.iter_mut();
                let peer = peers.find(|peer| peer.role == role && peer.id == id);
                let found = peer.map(Peer::close).is_some();
                let _ = done.send(found);
                if found {
                    self.turn();
                    self.look(Instant::now(), false);
                }
            }
        }
    }

    async fn accept(
        &mut self,
        role: PeerRole,
        offer: &str,
        at: IpAddr,
    ) -> Result<Accepted, Refused> {
        self.make_room(role)?;
        let full = |text: &str| Refused::Full(text.to_owned());
        let certificate = self.certificate.clone();
        let certificate = certificate.ok_or_else(|| full("no certificate can be made"))?;
        let local = self.listen(at).await?;
        let id = new_id().map_err(|error| full(&format!("no random number: {error}")))?;
        let accept = || Peer::accept(id.clone(), role, offer, local, &certificate);
        // What str0m does not expect in an offer ends that offer, and nothing else.
        let accepted = catch_unwind(AssertUnwindSafe(accept));
        let broken = |_| Refused::Offer("this is no offer that can be answered".to_owned());
        let (peer, answer) = accepted.map_err(broken)??;
        self.peers.push(peer);
        Ok(Accepted { id, answer })
    }

    /// Sees to it that there is room for another peer.
    fn make_room(&mut self, role: PeerRole) -> Result<(), Refused> {
        let full = |text: &str| Err(Refused::Full(text.to_owned()));
        if role == PeerRole::Publisher {
            if self.publishing.wanted().is_none() {
                let text = "this run takes no pictures: start it with --input whip:";
                return Err(Refused::Publisher(text.to_owned()));
            }
            let publishes = |peer: &&mut Peer| peer.role == role && peer.is_open();
            if let Some(before) = self.peers.iter_mut().find(publishes) {
                if before.silent_for() < REPLACED_AFTER {
                    let text = "somebody else's picture is being painted; one at a time";
                    return Err(Refused::Publisher(text.to_owned()));
                }
                before.close();
                self.publishing.gone();
            }
        }
        if self.open(PeerRole::Viewer) + self.open(PeerRole::Publisher) >= MOST_PEERS {
            return full("as many browsers are connected as this run serves; try again later");
        }
        let pending = self.peers.iter().filter_map(|peer| Some((peer.pending_since()?, &peer.id)));
        let (count, oldest) = (pending.clone().count(), pending.min_by_key(|(since, _)| *since));
        if let Some((since, id)) = oldest.filter(|_| count >= MOST_PENDING) {
            if since.elapsed() < PENDING_FOR {
                return full("too many connections begin at once; try again");
            }
            let id = id.clone();
            self.peers.retain(|peer| peer.id != id);
        }
        Ok(())
    }

    /// The socket at this address, and its port.
    async fn listen(&mut self, at: IpAddr) -> Result<SocketAddr, Refused> {
        if let Some(address) = self.sockets.keys().find(|address| address.ip() == at) {
            return Ok(*address);
        }
        if self.sockets.len() >= MOST_SOCKETS {
            return Err(Refused::Full("too many addresses of this machine are asked".to_owned()));
        }
        let opened = match UdpSocket::bind((at, self.port)).await {
            Ok(socket) => Ok(socket),
            Err(_) => UdpSocket::bind((at, 0)).await,
        };
        let socket = opened.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = socket.map_err(|error| {
            Refused::Full(format!("no UDP socket at {at} can be opened: {error}"))
        })?;
        let socket = Arc::new(socket);
        self.sockets.insert(address, Arc::clone(&socket));
        let packets = self.packets.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; LONGEST];
            loop {
                // Errors are those of packets sent before, to whoever has gone.
                let Ok((length, from)) = socket.recv_from(&mut bytes).await else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                let come = Packet { to: address, from, bytes: bytes[..length].to_vec() };
                let _ = packets.try_send(come);
            }
        });
        Ok(address)
    }
}

/// Lets a connection work; one in which something unexpected happens ends alone.
fn guarded(peer: &mut Peer, work: impl FnOnce(&mut Peer)) {
    if catch_unwind(AssertUnwindSafe(|| work(peer))).is_err() {
        tracing::warn!("a WebRTC connection has failed and is ended");
        peer.fail();
    }
}

/// Hands on what a publisher sends; false if a key frame is needed.
fn published(publishing: &Publishing, data: MediaData) -> bool {
    let pts = std::time::Duration::from(data.time);
    let codec = match data.params.spec().codec {
        Codec::Opus => {
            publishing.sound(data.data, pts);
            return true;
        }
        Codec::H264 => VideoCodec::H264,
        Codec::Vp8 => VideoCodec::Vp8,
        _ => return true,
    };
    let key = is_key(&data);
    publishing.picture(codec, data.data, pts, key)
}

/// A name that nobody can guess.
fn new_id() -> std::io::Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
