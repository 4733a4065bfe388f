//! The control plane: starts the other two, changes what they go by, and ends them.

mod build;
mod changes;
mod lifecycle;
mod places;
mod reload;
mod rotation;
mod sockets;
mod source;
mod stamps;
mod watch;

pub use build::{BuildError, build_snapshot};
pub use lifecycle::{Server, StartError};
pub use reload::{Reloader, Reloads, Trigger};
pub use source::Source;
