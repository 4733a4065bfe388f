//! How many pipes there may be, and how large (pipe(7)).

use super::{files::Files, remedy};
use crate::{limits, sys::pipe::Pipe};

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;

#[derive(Debug)]
pub struct Pipes {
    /// Of a new pipe; 16 by default.
    pub slots: Result<usize, String>,
    /// Pages of all pipes of the user, beyond which new ones are small; 0: no bound.
    pub pages_soft: Option<u64>,
    /// Beyond which there are no new ones; 0: no bound.
    pub pages_hard: Option<u64>,
    /// What F_SETPIPE_SZ gives at most.
    pub bytes_max: Option<u64>,
    /// The bounds on pages are not for this process (CAP_SYS_RESOURCE, CAP_SYS_ADMIN).
    pub unbounded: bool,
}

impl Pipes {
    pub(super) fn probe(files: &Files) -> Self {
        Pipes {
            slots: Pipe::new()
                .map(|pipe| pipe.slots())
                .map_err(|error| remedy::errno(&error)),
            pages_soft: files.number("proc/sys/fs/pipe-user-pages-soft"),
            pages_hard: files.number("proc/sys/fs/pipe-user-pages-hard"),
            bytes_max: files.number("proc/sys/fs/pipe-max-size"),
            unbounded: is_privileged(files),
        }
    }

    /// Pipes of full size that all processes of this user may have together; `None`: no bound, or
    /// not known.
    pub fn full_size(&self) -> Option<u64> {
        if self.unbounded {
            return None;
        }
        [self.pages_soft, self.pages_hard]
            .into_iter()
            .flatten()
            .filter(|pages| *pages > 0)
            .min()
            .map(|pages| pages / limits::PIPE_SLOTS_MIN as u64)
    }

    pub(super) fn warning(&self) -> Option<String> {
        let per_thread = limits::PIPES_PER_THREAD;
        match (&self.slots, self.full_size()) {
            (Err(why), _) => Some(format!(
                "no pipe can be made ({why}): lockgate copies bytes instead of splicing them"
            )),
            (Ok(slots), _) if *slots < limits::PIPE_SLOTS_MIN => Some(format!(
                "a new pipe has {slots} slots, and {} are needed: lockgate copies bytes instead of \
                 splicing them. This user's share of pages for pipes is used up: raise \
                 fs.pipe-user-pages-soft",
                limits::PIPE_SLOTS_MIN
            )),
            (Ok(_), Some(full_size)) if full_size < per_thread as u64 => Some(format!(
                "this user may have {full_size} pipes of full size, and one relay thread uses up \
                 to {per_thread}: beyond, lockgate copies bytes instead of splicing them; raise \
                 fs.pipe-user-pages-soft and fs.pipe-user-pages-hard"
            )),
            (Ok(_), _) => None,
        }
    }
}

/// The kernel asks for the capability in its first user namespace (pipe_is_unprivileged_user).
fn is_privileged(files: &Files) -> bool {
    let effective = files.find("proc/self/status", |line| {
        u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok()
    });
    let is_first_namespace = files.find("proc/self/uid_map", |line| {
        line.split_whitespace()
            .eq(["0", "0", "4294967295"])
            .then_some(())
    });
    let wanted = 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE;
    is_first_namespace.is_some() && effective.is_some_and(|set| set & wanted != 0)
}
