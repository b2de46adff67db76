//! The element `stratasink`.
//!
//! Owns: properties, chopping of buffers into datagrams, start and end of the
//! sender. Does not own: what happens to a datagram afterwards.
//!
//! Lock order: `settings` before `state`; neither is held while a buffer is
//! chopped or while the sender is started or closed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_base::subclass::prelude::*;
use strata_identity::{KeyPair, PublicKey};
use strata_link::{LinkConfig, LinkError, SendError, Sender, SenderConfig, SenderStats};

use crate::{links, runtime, stats};

/// Seven MPEG-TS packets: the most that fit an Ethernet frame's UDP payload.
const DATAGRAM_BYTES: usize = 7 * 188;
const DEFAULT_LATENCY_MS: u32 = 1_000;
/// How long the end waits for the sender to say goodbye to the receiver.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("stratasink", gst::DebugColorFlags::empty(), Some("Bonded sink")));

/// What was chosen; taken over by the sender at start, links and latency also later.
struct Settings {
    key_file: Option<PathBuf>,
    identity: Option<KeyPair>,
    peer: Option<String>,
    links: Links,
    latency_ms: u32,
}

/// Links as text are looked up at start, when an error can be told.
enum Links {
    Text(String),
    List(Vec<LinkConfig>),
}

impl Links {
    fn list(&self) -> Result<Vec<LinkConfig>, gst::ErrorMessage> {
        match self {
            Self::List(list) => Ok(list.clone()),
            Self::Text(text) => links::parse_links(text)
                .map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("property links: {error}"))),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::List(list) => links::format_links(list),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_file: None,
            identity: None,
            peer: None,
            links: Links::List(Vec::new()),
            latency_ms: DEFAULT_LATENCY_MS,
        }
    }
}

/// The element.
#[derive(Default)]
pub struct StrataSink {
    settings: Mutex<Settings>,
    /// The sender while started.
    state: Mutex<Option<Arc<Sender>>>,
    refused: AtomicU64,
}

impl StrataSink {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> Option<Arc<Sender>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace_sender(&self, sender: Option<Arc<Sender>>) -> Option<Arc<Sender>> {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), sender)
    }

    pub(super) fn set_identity(&self, identity: KeyPair) {
        self.settings().identity = Some(identity);
    }

    pub(super) fn set_peer(&self, peer: PublicKey) {
        self.settings().peer = Some(peer.to_string());
    }

    pub(super) fn set_links(&self, list: Vec<LinkConfig>) -> Result<(), LinkError> {
        if let Some(sender) = self.sender() {
            let _context = runtime::handle().map_err(|_| LinkError::NoRuntime)?.enter();
            sender.set_links(list.clone())?;
        }
        self.settings().links = Links::List(list);
        Ok(())
    }

    pub(super) fn set_latency(&self, latency: Duration) -> Result<(), LinkError> {
        let latency_ms = u32::try_from(latency.as_millis()).map_err(|_| LinkError::Latency(latency.as_millis()))?;
        if let Some(sender) = self.sender() {
            sender.set_latency(latency)?;
        }
        self.settings().latency_ms = latency_ms;
        Ok(())
    }

    pub(super) fn stats(&self) -> Option<SenderStats> {
        self.sender().map(|sender| sender.stats())
    }

    pub(super) fn target_bps(&self) -> Option<u64> {
        self.sender().map(|sender| sender.target_bps())
    }

    pub(super) fn refused_datagrams(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A property cannot answer with an error: a warning message on the bus is the next best.
    fn warn_refused_property(&self, name: &str, error: &dyn std::fmt::Display) {
        gst::element_imp_warning!(self, gst::ResourceError::Settings, ("property {name} stays as it was: {error}"));
    }

    fn set_links_text(&self, text: String) {
        if self.sender().is_none() {
            self.settings().links = Links::Text(text);
            return;
        }
        match links::parse_links(&text) {
            Ok(list) => {
                if let Err(error) = self.set_links(list) {
                    self.warn_refused_property("links", &error);
                }
            }
            Err(error) => self.warn_refused_property("links", &error),
        }
    }

    /// The sender's configuration; each error names the property and what to do.
    fn config(&self) -> Result<SenderConfig, gst::ErrorMessage> {
        let settings = self.settings();
        let identity = match (&settings.identity, &settings.key_file) {
            (Some(identity), _) => identity.clone(),
            (None, Some(path)) => KeyPair::read(path)
                .map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ("property key-file: {error}")))?,
            (None, None) => {
                return Err(gst::error_msg!(
                    gst::ResourceError::Settings,
                    ("property key-file is not set: make a key with `strata-bond keygen FILE` and name the file here")
                ));
            }
        };
        let peer = settings.peer.as_deref().ok_or_else(|| {
            gst::error_msg!(
                gst::ResourceError::Settings,
                ("property peer is not set: give the receiver's public key (64 hexadecimal digits)")
            )
        })?;
        let peer =
            peer.parse().map_err(|error| gst::error_msg!(gst::ResourceError::Settings, ("property peer: {error}")))?;
        let latency = Duration::from_millis(settings.latency_ms.into());
        Ok(SenderConfig { identity, peer, latency, links: settings.links.list()? })
    }

    /// Hands one buffer over in datagrams; a full queue drops, so that the source is never held up.
    fn send(&self, sender: &Sender, mut data: Bytes) -> Result<gst::FlowSuccess, gst::FlowError> {
        while !data.is_empty() {
            let datagram = data.split_to(data.len().min(DATAGRAM_BYTES));
            match sender.send(datagram) {
                Ok(()) => {}
                Err(SendError::Full) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    gst::debug!(CAT, imp = self, "queue full: datagram dropped");
                }
                Err(error @ (SendError::Closed | SendError::Size(_))) => {
                    gst::element_imp_error!(self, gst::ResourceError::Write, ("cannot send: {error}"));
                    return Err(gst::FlowError::Error);
                }
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }
}

#[allow(unsafe_code, reason = "written by a macro of glib")]
mod subclass {
    use super::{StrataSink, glib};
    use gstreamer::subclass::prelude::*;

    #[glib::object_subclass]
    impl ObjectSubclass for StrataSink {
        const NAME: &'static str = "GstStrataSink";
        type Type = crate::sink::StrataSink;
        type ParentType = gstreamer_base::BaseSink;
    }
}

impl ObjectImpl for StrataSink {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("key-file")
                    .nick("Key file")
                    .blurb("File with this end's Ed25519 private key (PKCS#8 PEM, mode 0600), as `strata-bond keygen` writes it")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("peer")
                    .nick("Peer")
                    .blurb("Public key of the receiver, 64 hexadecimal digits; nobody else is talked to")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("links")
                    .nick("Links")
                    .blurb("Links to send over, separated by commas: [ID=]HOST:PORT[@INTERFACE]; ID is 0 to 15 and defaults to the position. Can be changed while playing: links that stay are not disturbed")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt::builder("latency")
                    .nick("Latency")
                    .blurb("Milliseconds from sending to release at the receiver, fixed; the larger of both ends' holds")
                    .minimum(20)
                    .maximum(30_000)
                    .default_value(DEFAULT_LATENCY_MS)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Counters since the start, with an array of links; target-bps is the bitrate that can be sustained now. Empty while stopped")
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let text = || value.get::<Option<String>>().ok().flatten();
        match pspec.name() {
            "key-file" => self.settings().key_file = text().map(PathBuf::from),
            "peer" => self.settings().peer = text(),
            "links" => self.set_links_text(text().unwrap_or_default()),
            "latency" => {
                let latency_ms: u32 = value.get().expect("GObject checks the type of the value");
                if let Err(error) = self.set_latency(Duration::from_millis(latency_ms.into())) {
                    self.warn_refused_property("latency", &error);
                }
            }
            name => gst::warning!(CAT, imp = self, "there is no property {name} to set"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "key-file" => self.settings().key_file.as_ref().map(|path| path.display().to_string()).to_value(),
            "peer" => self.settings().peer.to_value(),
            "links" => self.settings().links.text().to_value(),
            "latency" => self.settings().latency_ms.to_value(),
            _ => stats::sender_structure(self.stats().as_ref(), self.refused_datagrams()).to_value(),
        }
    }
}

impl GstObjectImpl for StrataSink {}

impl ElementImpl for StrataSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Strata bonded sink",
                "Sink/Network",
                "Sends a stream over several links at once, encrypted and repaired",
                "The Strata authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            vec![
                gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &caps)
                    .expect("the template's name, direction and caps are valid"),
            ]
        });
        &TEMPLATES
    }
}

impl BaseSinkImpl for StrataSink {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let config = self.config()?;
        let handle =
            runtime::handle().map_err(|error| gst::error_msg!(gst::ResourceError::NoSpaceLeft, ("{error}")))?;
        let _context = handle.enter();
        let sender =
            Sender::start(config).map_err(|error| gst::error_msg!(gst::ResourceError::OpenWrite, ("{error}")))?;
        self.refused.store(0, Ordering::Relaxed);
        self.replace_sender(Some(Arc::new(sender)));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let Some(sender) = self.replace_sender(None) else { return Ok(()) };
        let closed = runtime::run(async move { tokio::time::timeout(CLOSE_LIMIT, sender.close()).await.is_ok() });
        if closed != Ok(true) {
            gst::warning!(CAT, imp = self, "the sender did not close within {CLOSE_LIMIT:?}");
        }
        Ok(())
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let sender = self.sender().ok_or(gst::FlowError::Flushing)?;
        let map = buffer.map_readable().map_err(|_| {
            gst::element_imp_error!(self, gst::ResourceError::Read, ("a buffer's memory cannot be read"));
            gst::FlowError::Error
        })?;
        self.send(&sender, Bytes::copy_from_slice(&map))
    }
}
