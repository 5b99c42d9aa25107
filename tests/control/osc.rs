//! The run as it is steered by OSC.

use std::net::UdpSocket;
use std::time::Duration;

use rosc::{OscMessage, OscPacket, OscTime, OscType, decoder, encoder};

use crate::common::nst;
use crate::http::get;
use crate::run::Run;

/// A controller.
pub struct Sender(UdpSocket);

impl Sender {
    pub fn to(address: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Sender(socket)
    }

    fn send(&self, packet: &OscPacket) {
        self.0.send(&encoder::encode(packet).unwrap()).unwrap();
    }

    pub fn say(&self, address: &str, args: Vec<OscType>) {
        self.send(&message(address, args));
    }

    /// The next message to this address.
    pub fn hears(&self, address: &str) -> Vec<OscType> {
        let mut bytes = [0; 2048];
        loop {
            let length = self.0.recv(&mut bytes).unwrap();
            let (_, packet) = decoder::decode_udp(&bytes[..length]).unwrap();
            let OscPacket::Message(message) = packet else { panic!("a bundle") };
            if message.addr == address {
                return message.args;
            }
        }
    }
}

fn message(address: &str, args: Vec<OscType>) -> OscPacket {
    OscPacket::Message(OscMessage { addr: address.to_owned(), args })
}

#[test]
fn controllers_steer_the_run_and_all_hear_of_it() {
    let run = Run::start(&["-m", "starry-night-lite", "--osc", "127.0.0.1:0"]).ready();
    let address = run.live.told("osc: ");
    let (fader, other) = (Sender::to(&address), Sender::to(&address));
    other.send(&message("/state", vec![]));
    let first = vec![OscType::String("mosaic-lite".to_owned()), OscType::Int(1)];
    assert_eq!(other.hears("/model"), first);

    let both = vec![
        message("/style", vec![OscType::Int(2)]),
        message("/strength", vec![OscType::Float(0.5)]),
    ];
    let timetag = OscTime { seconds: 0, fractional: 1 };
    fader.send(&OscPacket::Bundle(rosc::OscBundle { timetag, content: both }));
    let second = vec![OscType::String("starry-night-lite".to_owned()), OscType::Int(2)];
    assert_eq!(fader.hears("/model"), second);
    assert_eq!(other.hears("/model"), second);
    let settings = get(&run.host, "/api/v1/settings").json();
    assert_eq!(settings["model"], "starry-night-lite");
    assert_eq!(settings["strength"], 0.5);

    // A button is pressed, and let go.
    fader.send(&message("/snapshot", vec![OscType::Float(1.0)]));
    fader.send(&message("/snapshot", vec![OscType::Float(0.0)]));
    let saved = fader.hears("/snapshot");
    let names = run.files(".png");
    assert_eq!(saved, [OscType::String(names[0].clone())]);
    assert_eq!(names.len(), 1, "{names:?}");
    fader.send(&message("/recording", vec![OscType::Int(1)]));
    assert_eq!(fader.hears("/recording")[0], OscType::Int(1));
    fader.send(&message("/recording", vec![OscType::Int(0)]));
    assert_eq!(fader.hears("/recording")[0], OscType::Int(0));
    fader.send(&message("/recording", vec![OscType::Int(0)]));
    let [OscType::String(text)] = &fader.hears("/error")[..] else { panic!("no reason") };
    assert!(text.contains("nothing is being recorded"), "{text}");
    run.ends();
}

#[test]
fn osc_is_for_live_runs_and_for_an_address_that_is_free() {
    let refused = |args: &[&str], code: i32, word: &str| {
        let out = nst().args(["-m", "mosaic-lite", "--osc"]).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    };
    let listens = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = listens.local_addr().unwrap().to_string();
    refused(&[&address, "-i", "test:96x64", "-o", "rtsp://127.0.0.1:0/art"], 1, &address);
    refused(&["9000", "-i", "in.mp4", "-o", "out.mp4"], 2, "--osc is for live runs");
    refused(&["9000x", "-i", "test:"], 2, "127.0.0.1:9000");
}
