//! The element `stratasrc`.
//!
//! Owns: properties, gathering of datagrams into buffers, start and end of the
//! receiver. Does not own: order, repair and timing of the datagrams.
//!
//! Lock order: `settings` before `state` before `carried`; none is held while
//! waiting for a datagram or while the receiver is bound or closed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_base::prelude::*;
use gstreamer_base::subclass::base_src::CreateSuccess;
use gstreamer_base::subclass::prelude::*;
use strata_identity::{KeyPair, PublicKey};
use strata_link::{Datagram, Receiver, ReceiverConfig};
use tokio::sync::watch;

use super::SourceStats;
use crate::{runtime, stats};

const DEFAULT_LATENCY_MS: u32 = 1_000;
const DEFAULT_LISTEN: &str = "[::]:15000";
/// A buffer holds at most this much: a burst is handed on in a few steps, without hoarding memory.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long the end waits for the receiver to say goodbye to the sender.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("stratasrc", gst::DebugColorFlags::empty(), Some("Bonded source")));

/// What was chosen; taken over by the receiver at start.
struct Settings {
    key_file: Option<PathBuf>,
    key: Option<String>,
    identity: Option<KeyPair>,
    allow: Option<String>,
    listen: String,
    latency_ms: u32,
    gather_ms: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_file: None,
            key: None,
            identity: None,
            allow: None,
            listen: DEFAULT_LISTEN.to_owned(),
            latency_ms: DEFAULT_LATENCY_MS,
            gather_ms: 0,
        }
    }
}

/// The element.
pub struct StrataSrc {
    settings: Mutex<Settings>,
    /// The receiver while started.
    state: Mutex<Option<Arc<Receiver>>>,
    /// A datagram that was fetched already but begins a buffer of its own.
    carried: Mutex<Option<Datagram>>,
    /// Whether `create` must return at once.
    unlocked: watch::Sender<bool>,
}

impl Default for StrataSrc {
    fn default() -> Self {
        Self {
            settings: Mutex::default(),
            state: Mutex::default(),
            carried: Mutex::default(),
            unlocked: watch::Sender::new(false),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings_error(message: &str) -> gst::ErrorMessage {
    gst::error_msg!(gst::ResourceError::Settings, ("{message}"))
}

/// Whether a datagram does not simply follow the one before it.
fn breaks(datagram: &Datagram) -> bool {
    datagram.new_session || datagram.lost_before > 0
}

impl StrataSrc {
    pub(super) fn set_identity(&self, identity: KeyPair) {
        locked(&self.settings).identity = Some(identity);
    }

    pub(super) fn set_allow(&self, allow: PublicKey) {
        locked(&self.settings).allow = Some(allow.to_string());
    }

    pub(super) fn set_listen(&self, listen: SocketAddr) {
        locked(&self.settings).listen = listen.to_string();
    }

    fn receiver(&self) -> Option<Arc<Receiver>> {
        locked(&self.state).clone()
    }

    pub(super) fn stats(&self) -> Option<SourceStats> {
        self.receiver().map(|receiver| SourceStats { receiver: receiver.stats(), local_address: receiver.local_addr() })
    }

    fn identity(settings: &Settings) -> Result<KeyPair, gst::ErrorMessage> {
        if let Some(identity) = &settings.identity {
            return Ok(identity.clone());
        }
        if let Some(key) = &settings.key {
            return key_from_hex(key)
                .ok_or_else(|| settings_error("property key is not a private key: 64 hexadecimal digits expected"));
        }
        let path = settings.key_file.as_ref().ok_or_else(|| {
            settings_error(
                "neither property key-file nor key is set: make a key with `strata-bond keygen FILE` and name the file",
            )
        })?;
        KeyPair::read(path)
            .map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ("property key-file: {error}")))
    }

    /// The receiver's configuration; each error names the property and what to do.
    fn config(&self) -> Result<ReceiverConfig, gst::ErrorMessage> {
        let settings = locked(&self.settings);
        let identity = Self::identity(&settings)?;
        let allow = settings.allow.as_deref().ok_or_else(|| {
            settings_error("property allow is not set: give the sender's public key (64 hexadecimal digits)")
        })?;
        let allow = allow.parse().map_err(|error| settings_error(&format!("property allow: {error}")))?;
        let listen = settings.listen.parse().map_err(|_| {
            settings_error(&format!(
                "property listen: “{}” is not an address with port, such as 0.0.0.0:15000 or [::]:15000",
                settings.listen
            ))
        })?;
        Ok(ReceiverConfig { identity, allow, listen, latency: Duration::from_millis(settings.latency_ms.into()) })
    }

    /// Waits for a datagram, and a moment more for others behind it; none when unlocked meanwhile or closed.
    fn wait(&self, receiver: &Receiver) -> Result<Option<Datagram>, String> {
        let mut unlocked = self.unlocked.subscribe();
        let gather = Duration::from_millis(locked(&self.settings).gather_ms.into());
        let first = async {
            let first = receiver.recv().await;
            if first.is_some() && !gather.is_zero() {
                tokio::time::sleep(gather).await;
            }
            first
        };
        Ok(runtime::handle()?.block_on(async {
            tokio::select! {
                biased;
                // The sending half lives in this element: waiting cannot fail.
                _ = unlocked.wait_for(|unlocked| *unlocked) => None,
                datagram = first => datagram,
            }
        }))
    }

    /// One buffer of the first datagram and those that are ready behind it: fewer buffers, less work downstream.
    fn gather(&self, receiver: &Receiver, first: Datagram) -> gst::Buffer {
        // Looking for a datagram that is not ready yet arms a timer of the runtime.
        let handle = runtime::handle().ok();
        let _context = handle.as_ref().map(tokio::runtime::Handle::enter);
        let mut flags = gst::BufferFlags::empty();
        if breaks(&first) {
            flags |= gst::BufferFlags::DISCONT;
        }
        if first.new_session {
            flags |= gst::BufferFlags::RESYNC;
        }
        let (offset, mut last) = (first.sequence, first.sequence);
        let mut data = Vec::from(first.payload);
        while data.len() < BUFFER_BYTES {
            let Some(Some(next)) = receiver.recv().now_or_never() else { break };
            if breaks(&next) {
                *locked(&self.carried) = Some(next);
                break;
            }
            last = next.sequence;
            data.extend_from_slice(&next.payload);
        }
        let mut buffer = gst::Buffer::from_mut_slice(data);
        let header = buffer.get_mut().expect("nobody else holds the new buffer");
        header.set_flags(flags);
        header.set_offset(offset);
        header.set_offset_end(last + 1);
        buffer
    }
}

fn key_from_hex(text: &str) -> Option<KeyPair> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut seed = [0u8; 32];
    for (index, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(KeyPair::from_seed(&seed))
}

#[allow(unsafe_code, reason = "written by a macro of glib")]
mod subclass {
    use super::{StrataSrc, glib};
    use gstreamer::subclass::prelude::*;

    #[glib::object_subclass]
    impl ObjectSubclass for StrataSrc {
        const NAME: &'static str = "GstStrataSrc";
        type Type = crate::source::StrataSrc;
        type ParentType = gstreamer_base::PushSrc;
    }
}

impl ObjectImpl for StrataSrc {
    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_live(true);
        element.set_format(gst::Format::Time);
        element.set_do_timestamp(true);
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("key-file")
                    .nick("Key file")
                    .blurb("File with this end's Ed25519 private key (PKCS#8 PEM, mode 0600), as `strata-bond keygen` writes it")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("key")
                    .nick("Key")
                    .blurb("This end's Ed25519 private key as 64 hexadecimal digits, instead of key-file; cannot be read back")
                    .write_only()
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("allow")
                    .nick("Allowed sender")
                    .blurb("Public key of the sender, 64 hexadecimal digits; packets of nobody else are taken")
                    .mutable_ready()
                    .build(),
                glib::ParamSpecString::builder("listen")
                    .nick("Listen address")
                    .blurb("UDP address and port to listen on, such as 0.0.0.0:15000 or [::]:15000; port 0 lets the system choose (see stats)")
                    .default_value(Some(DEFAULT_LISTEN))
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("latency")
                    .nick("Latency")
                    .blurb("Milliseconds from sending to release here, fixed; the larger of both ends' holds")
                    .minimum(20)
                    .maximum(30_000)
                    .default_value(DEFAULT_LATENCY_MS)
                    .mutable_ready()
                    .build(),
                glib::ParamSpecUInt::builder("gather")
                    .nick("Gather")
                    .blurb("Milliseconds that a datagram waits for others to share its buffer, which bounds the number of buffers. 0 hands each on at once")
                    .maximum(100)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("Counters since the start, with an array of links, and local-address. Empty while stopped")
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let text = || value.get::<Option<String>>().ok().flatten();
        let mut settings = locked(&self.settings);
        match pspec.name() {
            "key-file" => settings.key_file = text().map(PathBuf::from),
            "key" => settings.key = text(),
            "allow" => settings.allow = text(),
            "listen" => settings.listen = text().unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
            "gather" => settings.gather_ms = value.get().expect("GObject checks the type of the value"),
            "latency" => settings.latency_ms = value.get().expect("GObject checks the type of the value"),
            name => gst::warning!(CAT, imp = self, "there is no property {name} to set"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = locked(&self.settings);
        match pspec.name() {
            "key-file" => settings.key_file.as_ref().map(|path| path.display().to_string()).to_value(),
            "allow" => settings.allow.to_value(),
            "listen" => settings.listen.to_value(),
            "gather" => settings.gather_ms.to_value(),
            "latency" => settings.latency_ms.to_value(),
            _ => {
                drop(settings);
                stats::receiver_structure(self.stats().as_ref()).to_value()
            }
        }
    }
}

impl GstObjectImpl for StrataSrc {}

impl ElementImpl for StrataSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Strata bonded source",
                "Source/Network",
                "Receives a stream that came over several links, in order and in its source's timing",
                "The Strata authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            vec![
                gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &caps)
                    .expect("the template's name, direction and caps are valid"),
            ]
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for StrataSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let config = self.config()?;
        let bound = runtime::run(Receiver::bind(config))
            .map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")))?;
        let receiver = bound.map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ("{error}")))?;
        *locked(&self.state) = Some(Arc::new(receiver));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *locked(&self.carried) = None;
        let Some(receiver) = locked(&self.state).take() else { return Ok(()) };
        let closed = runtime::run(async move { tokio::time::timeout(CLOSE_LIMIT, receiver.close()).await.is_ok() });
        if closed != Ok(true) {
            gst::warning!(CAT, imp = self, "the receiver did not close within {CLOSE_LIMIT:?}");
        }
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.unlocked.send_replace(true);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.unlocked.send_replace(false);
        Ok(())
    }
}

impl PushSrcImpl for StrataSrc {
    fn create(&self, _buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let receiver = self.receiver().ok_or(gst::FlowError::Flushing)?;
        let carried = locked(&self.carried).take();
        let first = match carried {
            Some(datagram) => datagram,
            None => match self.wait(&receiver) {
                Ok(Some(datagram)) => datagram,
                Ok(None) if *self.unlocked.borrow() => return Err(gst::FlowError::Flushing),
                Ok(None) => return Err(gst::FlowError::Eos),
                Err(error) => {
                    gst::element_imp_error!(self, gst::ResourceError::Read, ("{error}"));
                    return Err(gst::FlowError::Error);
                }
            },
        };
        Ok(CreateSuccess::NewBuffer(self.gather(&receiver, first)))
    }
}
