//! What the process may use and leave behind.

use std::{io, time::Duration};

use nix::{
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
        time::TimeValLike,
        utsname::uname,
    },
    unistd::{SysconfVar, sysconf},
};

/// Raises the limit of open descriptors to what is allowed; returns it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// How many descriptors may be open.
pub fn descriptor_limit() -> io::Result<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(soft)
}

/// User and system time of all threads so far.
pub fn cpu_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(
        u64::try_from(microseconds).unwrap_or(0),
    ))
}

/// Bytes of a page of memory.
pub fn page_bytes() -> io::Result<u64> {
    let bytes = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
    u64::try_from(bytes).map_err(io::Error::other)
}

/// What this machine calls itself (uname(2)); empty where it has no name.
pub fn host_name() -> String {
    let name = uname().map(|system| system.nodename().to_string_lossy().into_owned());
    name.unwrap_or_default()
}

/// No core dump and no debugger of the same user: keys are in memory (prctl(2), PR_SET_DUMPABLE).
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // SAFETY: PR_SET_DUMPABLE takes plain integers.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    super::check(result.into()).map(drop)
}

/// This thread, and those that it starts, run when others leave time for it (setpriority(2): on Linux
/// it is a thread's). There is no way back without privileges.
///
/// `nice`: 1 (a little later) to 19 (last).
pub fn step_back(nice: i32) -> io::Result<()> {
    // SAFETY: setpriority takes plain integers; 0 is the calling thread.
    super::check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }.into()).map(drop)
}

/// This thread asks for so little time at once that, when it is woken, it takes the CPU from one that
/// asked for more, instead of waiting until that one's slice is over. It gets no more of the CPU
/// thereby. From Linux 6.12 (kernel/sched/fair.c, PREEMPT_SHORT); older kernels take the call and do
/// nothing.
///
/// `slice`: 0.1 to 100 ms; the kernel's own is 0.7 ms to a few.
pub fn wake_promptly(slice: Duration) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: libc::SCHED_OTHER.unsigned_abs(),
        sched_flags: 0,
        // It is set as well.
        sched_nice: nice(),
        sched_priority: 0,
        sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure lives longer than the call, which reads its `size` bytes of it.
    super::check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
        .map(drop)
}

/// Of the calling thread: -20 to 19.
fn nice() -> i32 {
    // SAFETY: getpriority takes plain integers; 0 is the calling thread, for which it never fails.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Gives memory back that was freed (malloc_trim(3)); where the C library has no such call, it does
/// so by itself or not.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, by any thread; it takes a number of bytes to keep.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Leaves signals to the threads that did not call this: an interrupted send of kernel TLS used to
/// abort the connection (fixed in 6.1.183 and 6.12.104).
pub fn block_signals() {
    // It fails only for an invalid way of changing the mask.
    let _ = nix::sys::signal::SigSet::all().thread_block();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_wake_promptly_is_granted_and_changes_no_nice_value() {
        let thread = std::thread::spawn(|| {
            step_back(5).unwrap();
            wake_promptly(Duration::from_micros(100)).unwrap();
            nice()
        });
        let nice = thread.join().unwrap();
        assert_eq!(nice, 5);
    }
}
