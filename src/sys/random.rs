//! Random bytes from the kernel, at once: getrandom(2).

use std::io;

/// Fills `bytes`, even before the kernel has gathered entropy (GRND_INSECURE): for what only has to
/// differ. Whatever has to be secret comes from the cryptographic library.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        // SAFETY: the pointer and the length are those of `rest`.
        let count =
            unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), libc::GRND_INSECURE) };
        let count = super::check(count as libc::c_long)?;
        rest = rest.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}
