//! Brings everything together and runs it until a signal.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use nix::fcntl::{Flock, FlockArg};
use strata_fleet::Fleet;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::agent_socket;
use crate::config::Config;
use crate::http::{self, AppState};

/// How long requests may take to end after a signal.
const GRACE: Duration = Duration::from_secs(2);
/// A request's line and headers have this many bytes at most; more is answered with 431.
const MAX_HEADERS: usize = 64 << 10;
/// Threads for requests: the relay moves no media, so few; fewer threads are less memory.
const THREADS: usize = 2;

/// Runs the relay until SIGTERM or SIGINT. Workers go on after that.
///
/// # Errors
/// Says what failed, with which file or address.
pub fn run(config: Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    config.check()?;
    block_on(serve(config))?
}

/// Runs a future on the relay's runtime.
///
/// # Errors
/// When the runtime cannot be made.
pub fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(future))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // Address and data first: a second relay must not touch the first one's streams.
    let listener = bind(config.listen)?;
    let address = listener.local_addr().context("the listening socket has no address")?;
    let fleet_config = config.fleet()?;
    let _lock = lock_data(&fleet_config.data_dir)?;
    let fleet = Fleet::open(fleet_config).await?;

    let app = http::router(AppState::new(fleet.clone(), config.http()))
        .merge(agent_socket::router(fleet.clone(), config.trust_forwarded))
        .into_make_service_with_connect_info::<SocketAddr>();
    let handle = Handle::new();
    let server = match (&config.tls_cert, &config.tls_key) {
        (Some(cert), Some(key)) => {
            let tls = tls(cert, key).await?;
            let mut server = axum_server::from_tcp_rustls(listener, tls).context("cannot serve on the socket")?;
            server.http_builder().http1().max_buf_size(MAX_HEADERS);
            tokio::spawn(server.handle(handle.clone()).serve(app))
        }
        _ => {
            let mut server = axum_server::from_tcp(listener).context("cannot serve on the socket")?;
            server.http_builder().http1().max_buf_size(MAX_HEADERS);
            tokio::spawn(server.handle(handle.clone()).serve(app))
        }
    };
    let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the relay serves {scheme}://{address}");
    if scheme == "http" && !address.ip().is_loopback() {
        tracing::warn!("plain HTTP on {address}: passwords cross the network readable; set tls_cert and tls_key");
    }

    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: ending; workers go on"),
        _ = interrupt.recv() => tracing::info!("SIGINT: ending; workers go on"),
    }
    handle.graceful_shutdown(Some(GRACE));
    fleet.shutdown().await;
    server.await.context("the server ended unexpectedly")?.context("the server failed")
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("{address} is in use by another program: end that one, or set another `listen` address")
        }
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("not permitted to listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE")
        }
        _ => anyhow!("cannot listen on {address}: {error}"),
    })?;
    listener.set_nonblocking(true).with_context(|| format!("cannot prepare the socket on {address}"))?;
    Ok(listener)
}

/// Held as long as the relay runs; the kernel frees it however the relay ends.
fn lock_data(folder: &Path) -> anyhow::Result<Flock<File>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => anyhow!("another relay runs on the data folder {}", folder.display()),
        other => anyhow!("cannot lock {}: {other}", path.display()),
    })
}

async fn tls(cert: &Path, key: &Path) -> anyhow::Result<RustlsConfig> {
    // An error says that a provider is there already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    RustlsConfig::from_pem_file(cert, key).await.with_context(|| {
        format!("{} and {} are not a certificate chain and its key in PEM", cert.display(), key.display())
    })
}
