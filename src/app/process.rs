//! Permissions and limits of the process.

use crate::app::error::StartError;
use crate::config;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Creates files for this user alone and closes the memory to core files and debuggers of the same user. Must
/// run before any password or key is read.
pub fn harden() -> Result<(), StartError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let fail =
        |operation| move |errno: rustix::io::Errno| StartError::Process { operation, source: errno.into() };
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(fail("switch core files off"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(fail("close the process to debuggers"))
}

/// Keeps all memory, now and later, out of swap, when the settings ask for it. Comes before any password or
/// key is read. Pages that are never touched take no memory all the same.
pub fn lock_memory(settings: &config::Vault) -> Result<(), StartError> {
    if !settings.lock_memory {
        return Ok(());
    }
    let everything = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(everything).map_err(|errno| StartError::LockMemory(errno.into()))
}

/// Raises the limit of open files to the most that the system allows: the usual 1024 are fewer than the
/// allowed connections, and a server without descriptors can neither answer nor write.
///
/// # Errors
/// [`StartError::Process`] when the most that the system allows is too few to start.
pub fn raise_limits() -> Result<(), StartError> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, limit = ?limit.current, "could not raise the limit of open files");
    }
    if limit.maximum.is_some_and(|maximum| maximum < MIN_OPEN_FILES) {
        let most = limit.maximum.unwrap_or_default();
        let source =
            std::io::Error::other(format!("ulimit -n is {most}, and must be at least {MIN_OPEN_FILES}"));
        return Err(StartError::Process { operation: "open enough files", source });
    }
    Ok(())
}

/// The fewest open files that a server starts with: its runtime, its database and a few connections.
const MIN_OPEN_FILES: u64 = 64;

/// From the call on the signals that ask the process to end no longer do so by themselves; the future ends
/// with the first of them.
pub fn shutdown_signal() -> Result<impl Future<Output = ()> + Send + 'static, StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let fail = |source| StartError::Process { operation: "listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
