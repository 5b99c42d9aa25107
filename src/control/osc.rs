//! Open Sound Control: `--osc ADDRESS:PORT`. MIDI controllers (through a bridge), TouchDesigner, Resolume and others steer
//! a live run by messages over UDP, and hear what has become of each setting.
//!
//! Addresses are the words of the API: `/strength 0.5`, `/model starry-night-lite`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rosc::{OscMessage, OscPacket, OscType, decoder, encoder};

use super::options::OscAddress;
use super::settings::{EACH_REGION, RegionChange, Settings, SettingsChange, UNPAINTED};
use crate::stream::{LiveControls, LiveRequest};

/// Longest packet that is read, in bytes: nested bundles of this length need little stack.
const LONGEST: usize = 4096;
/// Messages of one packet that are carried out.
const MOST_MESSAGES: usize = 256;
/// How often changes are told, and how soon the end of the run is noticed.
const TICK: Duration = Duration::from_millis(30);
/// Senders that are told of changes: those who sent the newest messages.
const MOST_SENDERS: usize = 8;

/// Takes messages on a thread of its own. Dropping it ends the service.
pub struct OscServer {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OscServer {
    /// Steers `controls` by what comes to this address, from now on.
    ///
    /// # Errors
    /// When the address is taken, or is not this machine's.
    pub fn start(address: &OscAddress, controls: &LiveControls) -> Result<Self> {
        let address = address.socket();
        let opened = UdpSocket::bind(address);
        let socket = opened.with_context(|| format!("cannot listen for OSC at {address}"))?;
        socket.set_read_timeout(Some(TICK))?;
        let address = socket.local_addr().unwrap_or(address);
        let ends = Arc::new(AtomicBool::new(false));
        let (answer, answers) = channel();
        let end = Arc::clone(&ends);
        let mut osc =
            Osc { socket, controls: controls.clone(), senders: VecDeque::new(), answer, answers };
        let work = move || {
            while !end.load(Ordering::Acquire) {
                osc.turn();
            }
        };
        let thread = std::thread::Builder::new().name("osc".into()).spawn(work)?;
        Ok(OscServer { address, ends, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OscServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Osc {
    socket: UdpSocket,
    controls: LiveControls,
    senders: VecDeque<Heard>,
    /// What the run answers, on its own threads.
    answer: Sender<(SocketAddr, OscMessage)>,
    answers: Receiver<(SocketAddr, OscMessage)>,
}

/// Somebody who has sent something, and the values that they were told last.
struct Heard {
    address: SocketAddr,
    told: Vec<OscMessage>,
}

impl Osc {
    /// Takes a packet if one comes soon, and tells of changes.
    fn turn(&mut self) {
        let mut bytes = [0; LONGEST + 1];
        // An error of a socket for UDP is that of an earlier packet, which nobody took.
        if let Ok((length, from)) = self.socket.recv_from(&mut bytes) {
            let packet = bytes.get(..length).filter(|_| length <= LONGEST);
            match packet.map(decoder::decode_udp) {
                Some(Ok((_, packet))) => self.hear(packet, from),
                Some(Err(error)) => tracing::debug!("OSC from {from} is not understood: {error}"),
                None => tracing::debug!("OSC from {from} is longer than {LONGEST} bytes"),
            }
        }
        self.tell();
    }

    fn hear(&mut self, packet: OscPacket, from: SocketAddr) {
        let mut messages = Vec::new();
        unpack(packet, &mut messages);
        let known = self.senders.iter().position(|heard| heard.address == from);
        let heard = known.and_then(|n| self.senders.remove(n));
        self.senders.push_front(heard.unwrap_or(Heard { address: from, told: Vec::new() }));
        self.senders.truncate(MOST_SENDERS);
        for message in messages {
            if let Err(text) = self.carry_out(&message, from) {
                self.send(from, message_of("/error", vec![OscType::String(text)]));
            }
            // They are told the value even where it has not changed: a fader out of range goes back.
            if let Some(heard) = self.senders.front_mut() {
                let address = if message.addr == "/style" { "/model" } else { &message.addr };
                heard.told.retain(|told| told.addr != address && message.addr != "/state");
            }
        }
    }

    fn carry_out(&self, message: &OscMessage, from: SocketAddr) -> Result<(), String> {
        let name = message.addr.as_str();
        let number = || number_in(name, message);
        let mut change = SettingsChange::default();
        match name {
            "/strength" => change.strength = Some(number()?),
            "/scale" => change.scale = Some(number()?),
            "/stroke" => change.stroke = Some(number()?),
            "/steady" => change.steady = Some(number()?),
            "/blend" => change.blend = Some(self.blend(message)?),
            "/preserve_color" => change.preserve_color = Some(number()? != 0.0),
            _ if name.starts_with("/region/") => change.regions = Some(vec![self.region(message)?]),
            "/model" | "/style" => match message.args.first() {
                Some(OscType::String(model)) => change.model = Some(model.clone()),
                _ => change.model = Some(self.model(number()?)?),
            },
            "/next" | "/previous" | "/snapshot" if !is_pressed(message) => {}
            "/next" => self.step(1)?,
            "/previous" => self.step(-1)?,
            "/snapshot" => {
                let (answer, from) = (self.answer.clone(), from);
                self.controls.snapshot.ask_for(move |saved| {
                    let name = saved.map(|path| {
                        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
                    });
                    let _ = answer.send((from, answered("/snapshot", vec![], name)));
                });
            }
            "/recording" => self.record(number()? != 0.0, from)?,
            "/state" => {}
            _ => return Err(format!("{name}: there is no such address; docs/browser.md has them")),
        }
        change.apply(&self.controls)
    }

    /// The name of the model with this number, from 1.
    fn model(&self, number: f64) -> Result<String, String> {
        let models = self.controls.monitor.models();
        let found = models.get((number - 1.0).max(0.0) as usize).filter(|_| number >= 1.0);
        found.cloned().ok_or_else(|| {
            format!("model: expected a number from 1 to {}, or a name", models.len().max(1))
        })
    }

    /// The shares of the styles of the model that paints, in their order.
    fn blend(&self, message: &OscMessage) -> Result<BTreeMap<String, f64>, String> {
        let styles = self.controls.monitor.styles(self.controls.wanted.get().model);
        if styles.is_empty() || styles.len() != message.args.len() {
            let names: Vec<_> = styles.into_iter().map(|(name, _)| name).collect();
            return Err(match names.len() {
                0 => "blend: this model has one style".to_owned(),
                n => format!("blend: expected {n} numbers, the shares of {}", names.join(", ")),
            });
        }
        let share = |(n, (name, _)): (usize, (String, f32))| {
            Ok((name, number_of(&message.args[n]).ok_or("blend: expected numbers")?))
        };
        styles.into_iter().enumerate().map(share).collect()
    }

    /// `/region/NUMBER/model` and `/region/NUMBER/strength`, with numbers from 1.
    fn region(&self, message: &OscMessage) -> Result<RegionChange, String> {
        let names = self.controls.monitor.regions();
        let rest = message.addr.trim_start_matches("/region/");
        let (number, what) = rest.split_once('/').unwrap_or((rest, ""));
        let number = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let name =
            number.and_then(|number| names.get(number)).ok_or_else(|| match names.len() {
                0 => "region: this run has no --mask".to_owned(),
                count => format!("region: expected a number from 1 to {count}"),
            })?;
        let mut change = RegionChange { region: name.clone(), ..RegionChange::default() };
        match (what, message.args.first()) {
            ("model", Some(OscType::String(model))) => change.model = Some(model.clone()),
            ("model", _) => {
                let number = number_in("model", message)?;
                let none = number == 0.0;
                change.model = Some(if none { UNPAINTED.to_owned() } else { self.model(number)? });
            }
            ("strength", _) => change.strength = Some(number_in("strength", message)?),
            _ => return Err("region: expected /region/N/model or /region/N/strength".to_owned()),
        }
        Ok(change)
    }

    fn step(&self, by: isize) -> Result<(), String> {
        if !self.controls.wanted.get().regions.is_empty() {
            return Err(EACH_REGION.to_owned());
        }
        let models = self.controls.monitor.models().len().max(1) as isize;
        self.controls.wanted.change(|settings| {
            settings.model = (settings.model as isize + by).rem_euclid(models) as usize;
        });
        Ok(())
    }

    fn record(&self, on: bool, from: SocketAddr) -> Result<(), String> {
        let answer = self.answer.clone();
        let answer = Box::new(move |name| {
            let on = vec![OscType::Int(i32::from(on))];
            let _ = answer.send((from, answered("/recording", on, name)));
        });
        let request = match on {
            true => LiveRequest::StartRecording(answer),
            false => LiveRequest::StopRecording(answer),
        };
        match self.controls.monitor.ask(request) {
            true => Ok(()),
            false => Err("recording: too much is asked at once; try again".to_owned()),
        }
    }

    /// Tells all who are heard what they have not been told yet.
    fn tell(&mut self) {
        while let Ok((to, message)) = self.answers.try_recv() {
            self.send(to, message);
        }
        let values = values(&self.controls);
        let mut news = Vec::new();
        for heard in &mut self.senders {
            for value in values.iter().filter(|value| !heard.told.contains(value)) {
                news.push((heard.address, value.clone()));
            }
            heard.told.clone_from(&values);
        }
        news.into_iter().for_each(|(to, message)| self.send(to, message));
    }

    fn send(&self, to: SocketAddr, message: OscMessage) {
        if let Ok(bytes) = encoder::encode(&OscPacket::Message(message)) {
            // Whoever has gone hears nothing.
            let _ = self.socket.send_to(&bytes, to);
        }
    }
}

/// The settings as messages; the model with its number, from 1.
fn values(controls: &LiveControls) -> Vec<OscMessage> {
    let number = controls.wanted.get().model as i32 + 1;
    let Settings { model, strength, scale, stroke, steady, preserve_color, blend, regions } =
        Settings::of(controls);
    let models = controls.monitor.models();
    let styles = controls.monitor.styles(controls.wanted.get().model);
    let share = |(name, _): &(String, f32)| {
        OscType::Float(blend.get(name).copied().unwrap_or_default() as f32)
    };
    let shares = (!styles.is_empty()).then(|| styles.iter().map(share).collect());
    let of = |address: &str, value: f64| message_of(address, vec![OscType::Float(value as f32)]);
    let mut values = vec![
        of("/strength", strength),
        of("/scale", scale),
        of("/stroke", stroke),
        of("/steady", steady),
        message_of("/preserve_color", vec![OscType::Int(i32::from(preserve_color))]),
    ];
    values.extend(shares.map(|shares| message_of("/blend", shares)));
    if regions.is_empty() {
        values.push(message_of("/model", vec![OscType::String(model), OscType::Int(number)]));
    }
    for (n, region) in regions.into_iter().enumerate() {
        let number = models.iter().position(|model| *model == region.model);
        let number = number.map_or(0, |number| number as i32 + 1);
        let model = vec![OscType::String(region.model), OscType::Int(number)];
        values.push(message_of(&format!("/region/{}/model", n + 1), model));
        values.push(of(&format!("/region/{}/strength", n + 1), region.strength));
    }
    values
}

fn message_of(address: &str, args: Vec<OscType>) -> OscMessage {
    OscMessage { addr: address.to_owned(), args }
}

/// What the run answers: the name of a file, or why there is none.
fn answered(address: &str, mut args: Vec<OscType>, name: Result<String, String>) -> OscMessage {
    match name {
        Ok(name) => {
            args.push(OscType::String(name));
            message_of(address, args)
        }
        Err(why) => message_of("/error", vec![OscType::String(why)]),
    }
}

/// The messages of a packet in their order; those of bundles at once, whatever their time.
fn unpack(packet: OscPacket, into: &mut Vec<OscMessage>) {
    match packet {
        OscPacket::Message(message) if into.len() < MOST_MESSAGES => into.push(message),
        OscPacket::Message(_) => {}
        OscPacket::Bundle(bundle) => bundle.content.into_iter().for_each(|p| unpack(p, into)),
    }
}

/// The first value, which must be a number, or true or false.
fn number_in(name: &str, message: &OscMessage) -> Result<f64, String> {
    let number = message.args.first().and_then(number_of);
    number.ok_or_else(|| format!("{}: expected a number", name.trim_start_matches('/')))
}

fn number_of(value: &OscType) -> Option<f64> {
    let number = match value {
        OscType::Float(value) => f64::from(*value),
        OscType::Double(value) => *value,
        OscType::Int(value) => f64::from(*value),
        OscType::Long(value) => *value as f64,
        OscType::Bool(value) => f64::from(u8::from(*value)),
        _ => return None,
    };
    // 0.8 as 32 bits is a little more than 0.8.
    number.is_finite().then(|| (number * 1e6).round() / 1e6)
}

/// Buttons send 1 when they are pressed, and 0 when they are let go.
fn is_pressed(message: &OscMessage) -> bool {
    message.args.is_empty() || number_in("", message).is_ok_and(|value| value != 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::stylizer::StyleMix;
    use crate::stream::{LiveSettings, RegionSettings};

    /// A run that is steered, and somebody who sends.
    fn steered() -> (OscServer, LiveControls, UdpSocket) {
        let settings = LiveSettings {
            model: 0,
            scale: 1.0,
            stroke: 1.0,
            mix: StyleMix::default(),
            blend: None,
            regions: RegionSettings::default(),
            steady: 0.0,
        };
        let controls = LiveControls::new(settings);
        let osc = OscServer::start(&"127.0.0.1:0".parse().unwrap(), &controls).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(osc.address()).unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        (osc, controls, sender)
    }

    fn send(sender: &UdpSocket, address: &str, args: Vec<OscType>) {
        let packet = OscPacket::Message(message_of(address, args));
        sender.send(&encoder::encode(&packet).unwrap()).unwrap();
    }

    fn hears(sender: &UdpSocket, address: &str) -> Vec<OscType> {
        let mut bytes = [0; 2048];
        loop {
            let length = sender.recv(&mut bytes).unwrap();
            let (_, packet) = decoder::decode_udp(&bytes[..length]).unwrap();
            let OscPacket::Message(message) = packet else { panic!("a bundle") };
            if message.addr == address {
                return message.args;
            }
        }
    }

    #[test]
    fn values_are_taken_in_any_type_and_told_back() {
        let (_osc, controls, sender) = steered();
        // Whoever is new is told all values.
        send(&sender, "/state", vec![]);
        assert_eq!(hears(&sender, "/preserve_color"), [OscType::Int(0)]);
        send(&sender, "/strength", vec![OscType::Double(0.25)]);
        assert_eq!(hears(&sender, "/strength"), [OscType::Float(0.25)]);
        assert_eq!(controls.wanted.get().mix.strength, 0.25);
        send(&sender, "/stroke", vec![OscType::Int(2)]);
        assert_eq!(hears(&sender, "/stroke"), [OscType::Float(2.0)]);
        send(&sender, "/preserve_color", vec![OscType::Bool(true)]);
        assert_eq!(hears(&sender, "/preserve_color"), [OscType::Int(1)]);
        // Somebody else's change is heard as well.
        controls.wanted.change(|settings| settings.steady = 0.5);
        assert_eq!(hears(&sender, "/steady"), [OscType::Float(0.5)]);
    }

    #[test]
    fn what_is_not_understood_is_answered_and_the_fader_goes_back() {
        let (_osc, controls, sender) = steered();
        for (address, args, word) in [
            ("/strength", vec![OscType::Float(1.5)], "from 0 to 1"),
            ("/strength", vec![OscType::Float(f32::NAN)], "expected a number"),
            ("/strength", vec![], "expected a number"),
            ("/model", vec![OscType::Int(9)], "model: expected a number from 1"),
            ("/model", vec![OscType::String("no-such".to_owned())], "there is no such model"),
            ("/colour", vec![OscType::Int(1)], "there is no such address"),
        ] {
            send(&sender, address, args);
            let told = hears(&sender, "/error");
            let [OscType::String(text)] = told.as_slice() else { panic!("{told:?}") };
            assert!(text.contains(word), "{text}");
        }
        send(&sender, "/strength", vec![OscType::Float(7.0)]);
        assert_eq!(hears(&sender, "/strength"), [OscType::Float(1.0)]);
        assert_eq!(controls.wanted.get().mix.strength, 1.0);
    }

    #[test]
    fn packets_that_mean_no_good_do_no_harm() {
        let (_osc, controls, sender) = steered();
        let before = controls.wanted.get();
        fastrand::seed(7);
        let garbage =
            || -> Vec<u8> { (0..fastrand::usize(..1400)).map(|_| fastrand::u8(..)).collect() };
        let mut packets: Vec<Vec<u8>> = (0..300).map(|_| garbage()).collect();
        // Bundles within bundles, as deep as a packet goes; the innermost is cut off or whole.
        for length in [20, 400, 4000, 4096, 8000, 60_000] {
            let mut nested = Vec::new();
            while nested.len() + 20 <= length {
                let rest = (length - nested.len() - 20) as u32 / 20 * 20;
                nested.extend_from_slice(b"#bundle\0\0\0\0\0\0\0\0\x01");
                nested.extend_from_slice(&rest.to_be_bytes());
            }
            packets.push(nested);
        }
        packets.push([b"/strength\0\0\0,".as_slice(), &[b'['; 4000], b"\0\0\0\0"].concat());
        packets.push([b"/strength\0\0\0,b\0\0".as_slice(), &[0xff; 4]].concat());
        packets.push(b"/strength\0\0\0,f\0\0\x3f".to_vec());
        packets.push(b"/str\xff\xfe\0\0,f\0\0\x3f\0\0\0".to_vec());
        packets.push(Vec::new());
        for packets in packets.chunks(20) {
            for packet in packets {
                let _ = sender.send(packet);
            }
            // Its answer comes when they have been read: a socket holds only so many.
            send(&sender, "/state", vec![]);
            assert_eq!(hears(&sender, "/strength"), [OscType::Float(1.0)]);
        }
        assert_eq!(controls.wanted.get(), before);
    }
}
