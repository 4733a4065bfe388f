pub fn run(_: bool) -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
