//! lockgate: a TLS and mutual-TLS terminator.
pub mod config;
pub mod limits;
pub mod relay;
pub mod sys;
