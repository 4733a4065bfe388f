//! What each subcommand does.

pub mod check;
pub mod demo;
pub mod pki;
pub mod probe;
pub mod remote;
pub mod run;
pub mod top;

/// A problem with the configuration (sysexits.h, EX_CONFIG).
pub const EXIT_CONFIG: u8 = 78;
/// Something that is needed is not there (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: u8 = 69;
