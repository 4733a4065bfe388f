//! `lockgate probe`: what this machine's kernel can do for lockgate.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::probe::Kernel;

/// Prints what was found. A kernel that can do nothing is an answer, not a failure.
pub fn run(json: bool) -> ExitCode {
    let kernel = Kernel::probe_with_costs();
    let text = if json {
        format!("{:#}\n", kernel.json())
    } else {
        kernel.table()
    };
    // Whoever closed the output has the exit code.
    io::stdout().write_all(text.as_bytes()).ok();
    ExitCode::SUCCESS
}
