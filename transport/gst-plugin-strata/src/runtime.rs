//! The one tokio runtime that all elements of a process share.
//!
//! Owns: starting it at first use, with one worker thread, and running a
//! future to its end from any thread that is not this runtime's own.

use std::future::Future;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Handle, Runtime};

/// The shared runtime; none when the operating system refused a thread.
fn shared() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("strata-link")
                .enable_all()
                .build()
                .map_err(|error| format!("cannot start the transport's thread: {error}"))
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// A handle to the shared runtime.
pub(crate) fn handle() -> Result<Handle, String> {
    shared().map(|runtime| runtime.handle().clone())
}

/// Runs `future` on the shared runtime and waits for its result.
///
/// Works inside another runtime's context too, where `block_on` would panic;
/// the caller's thread blocks meanwhile.
pub(crate) fn run<F>(future: F) -> Result<F::Output, String>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = handle()?.spawn(async move {
        // The receiver waits below; it cannot be gone.
        sender.send(future.await).ok();
    });
    let result = receiver.recv().map_err(|_| "the transport's task panicked; see the log".to_owned());
    drop(task);
    result
}
