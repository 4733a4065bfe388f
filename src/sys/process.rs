//! What the process may use and leave behind.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open descriptors to what is allowed; returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// No core dump and no debugger of the same user: keys are in memory (prctl(2), PR_SET_DUMPABLE).
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // SAFETY: PR_SET_DUMPABLE takes plain integers.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    super::check(result.into()).map(drop)
}

/// Leaves signals to the threads that did not call this: an interrupted send of kernel TLS used to
/// abort the connection (fixed in 6.1.183 and 6.12.104).
pub fn block_signals() {
    // It fails only for an invalid way of changing the mask.
    let _ = nix::sys::signal::SigSet::all().thread_block();
}
