//! `stratasink` to `stratasrc` over loopback: what goes in comes out.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::sync::mpsc;
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};
use gststrata::{StrataSink, StrataSrc};
use strata_identity::KeyPair;
use strata_link::LinkConfig;

const LIMIT: Duration = Duration::from_secs(30);

fn init() {
    gst::init().unwrap();
    gststrata::plugin_register_static().unwrap();
}

/// Bytes that look like a transport stream's packets and are all different.
fn packets(count: u32) -> Vec<u8> {
    let packet = |number: u32| {
        let mut packet = vec![0x47u8];
        packet.extend(number.to_be_bytes());
        packet.extend((0..183u32).map(|index| (number.wrapping_mul(31).wrapping_add(index)) as u8));
        packet
    };
    (0..count).flat_map(packet).collect()
}

struct Receiving {
    pipeline: gst::Pipeline,
    source: StrataSrc,
    received: mpsc::Receiver<(Vec<u8>, gst::BufferFlags)>,
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

fn receive(worker: &KeyPair, device: &KeyPair) -> Receiving {
    let source = StrataSrc::new();
    source.set_identity(worker.clone());
    source.set_allow(device.public());
    source.set_listen("127.0.0.1:0".parse().unwrap());
    source.set_property("latency", 200u32);
    let (sender, received) = mpsc::channel();
    let sink = AppSink::builder().sync(false).build();
    let callbacks = AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().unwrap();
        sender.send((buffer.map_readable().unwrap().to_vec(), buffer.flags())).unwrap();
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
    source.link(&sink).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    Receiving { pipeline, source, received }
}

#[test]
fn bytes_arrive_as_they_were_sent_and_the_session_is_marked() {
    init();
    let (worker, device) = (KeyPair::generate(), KeyPair::generate());
    let receiving = receive(&worker, &device);
    let address = receiving.source.stats().unwrap().local_address;

    let sink = StrataSink::new();
    sink.set_identity(device);
    sink.set_peer(worker.public());
    sink.set_latency(Duration::from_millis(200)).unwrap();
    sink.set_links(vec![LinkConfig { id: 0, name: "lo".into(), remote: address, interface: None }]).unwrap();
    sink.set_property("sync", false);
    let input = AppSrc::builder().format(gst::Format::Time).build();
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([input.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
    input.link(&sink).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let deadline = Instant::now() + LIMIT;
    let is_up =
        || sink.stats().is_some_and(|stats| stats.links.iter().any(|link| link.state == strata_link::LinkState::Up));
    while !is_up() {
        assert!(Instant::now() < deadline, "the link does not come up: {:?}", sink.stats());
        std::thread::sleep(Duration::from_millis(10));
    }

    let sent = packets(700);
    // Buffers of odd sizes: a frame's packets, as multiplexers write them.
    for chunk in sent.chunks(188 * 23) {
        input.push_buffer(gst::Buffer::from_slice(chunk.to_vec())).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut got = Vec::new();
    let mut first_flags = None;
    while got.len() < sent.len() {
        let (bytes, flags) = receiving.received.recv_timeout(LIMIT).expect("the rest arrives");
        first_flags.get_or_insert(flags);
        got.extend(bytes);
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    assert!(first_flags.unwrap().contains(gst::BufferFlags::RESYNC | gst::BufferFlags::DISCONT));
    assert_eq!(sink.refused_datagrams(), 0);
    let stats: gst::Structure = sink.property("stats");
    assert_eq!(stats.get::<u64>("bytes-in").unwrap(), sent.len() as u64);
    let stats: gst::Structure = receiving.source.property("stats");
    assert_eq!(stats.get::<u64>("lost").unwrap(), 0);
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(sink.stats().is_none());
}

#[test]
fn a_source_without_input_stops_at_once() {
    init();
    let receiving = receive(&KeyPair::generate(), &KeyPair::generate());
    let (done, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        drop(receiving);
        done.send(()).unwrap();
    });
    stopped.recv_timeout(LIMIT).expect("unlock interrupts the wait");
}

fn start_error(element: &gst::Element) -> String {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_state(gst::State::Null).unwrap();
    let message = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error message");
    let gst::MessageView::Error(error) = message.view() else { unreachable!() };
    error.error().message().to_owned()
}

#[test]
fn a_mistake_in_a_property_is_named_with_its_remedy() {
    init();
    let make = |name: &str, properties: &[(&str, &str)]| {
        let element = gst::ElementFactory::make(name).build().unwrap();
        for (property, value) in properties {
            element.set_property(property, *value);
        }
        element
    };
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("device.key");
    let key = KeyPair::generate();
    key.write_new(&key_file).unwrap();
    let key_file = key_file.to_str().unwrap();
    let public = key.public().to_string();
    let secret = "11".repeat(32);
    for (name, properties, part) in [
        ("stratasink", vec![], "key-file is not set"),
        ("stratasink", vec![("key-file", "/nonexistent.key")], "/nonexistent.key"),
        ("stratasink", vec![("key-file", key_file)], "peer is not set"),
        ("stratasink", vec![("key-file", key_file), ("peer", "abc")], "abc"),
        ("stratasink", vec![("key-file", key_file), ("peer", &public), ("links", "nowhere")], "HOST:PORT"),
        ("stratasrc", vec![], "neither property key-file nor key"),
        ("stratasrc", vec![("key", "xyz")], "property key is not"),
        ("stratasrc", vec![("key", &secret)], "allow is not set"),
        ("stratasrc", vec![("key", &secret), ("allow", &public), ("listen", "here")], "“here” is not an address"),
    ] {
        let message = start_error(&make(name, &properties));
        assert!(message.contains(part), "{name} {part}: {message}");
        assert!(!message.contains(&secret) && !message.contains("xyz"));
    }
}

#[test]
fn a_port_in_use_is_named() {
    init();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let source = StrataSrc::new();
    source.set_identity(KeyPair::generate());
    source.set_allow(KeyPair::generate().public());
    source.set_listen(address);
    let message = start_error(source.upcast_ref());
    assert!(message.contains(&address.to_string()) && message.contains("in use"), "{message}");
}
