//! The control plane: starts the other two, changes what they go by, and ends them.

mod build;
mod lifecycle;

pub use build::{BuildError, build_snapshot};
pub use lifecycle::{Server, StartError};
